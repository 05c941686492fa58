"""What is known by name: databases by their first bytes, libraries by their modules, threads by name or library."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from arbd.worker.fork_safety import known


@pytest.mark.parametrize(
    ("head", "read", "written"),
    [
        (b"SQLite format 3\0and more", "sqlite", "sqlite"),
        (b"12345678DUCK", "", "DuckDB"),
        (b"\0" * 16 + b"\xde\xc0\xef\xbe", "LMDB", "LMDB"),
        (b"\x89HDF\r\n\x1a\n", "", "HDF5"),
        (b"\xce\x9a\x57\x13", "", "gdbm"),
        (b"PK\x03\x04", "", ""),
        (b"", "", ""),
    ],
)
def test_databases(head: bytes, read: str, written: str) -> None:
    assert (known.database_of(head, written=False), known.database_of(head, written=True)) == (read, written)
    assert len(head[: known.LONGEST_MAGIC]) <= known.LONGEST_MAGIC


def module(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    made = ModuleType(name)
    vars(made).update(attributes)
    monkeypatch.setitem(sys.modules, name, made)


class TestLibraries:
    def test_none_is_loaded(self) -> None:
        assert known.unsafe_libraries() == []

    def test_numba_has_run_something_in_parallel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module(monkeypatch, "numba.np.ufunc.omppool")
        assert known.unsafe_libraries() == ["numba (its OpenMP pool has run a parallel function)"]

    @pytest.mark.parametrize(("begun", "count"), [(True, 1), (False, 0)])
    def test_torch_with_cards(self, monkeypatch: pytest.MonkeyPatch, begun: bool, count: int) -> None:
        module(monkeypatch, "torch.cuda", is_initialized=lambda: begun)
        assert len(known.unsafe_libraries()) == count

    @pytest.mark.parametrize(("backends", "count"), [({"cpu": 1}, 1), ({}, 0)])
    def test_jax(self, monkeypatch: pytest.MonkeyPatch, backends: dict[str, int], count: int) -> None:
        module(monkeypatch, "jax._src.xla_bridge", _backends=backends)
        assert len(known.unsafe_libraries()) == count

    def test_cupy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module(monkeypatch, "cupy")
        assert known.unsafe_libraries() == []
        module(monkeypatch, "cupy.cuda.memory")
        assert len(known.unsafe_libraries()) == 1

    def test_another_release_counts_as_begun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module(monkeypatch, "torch.cuda")  # without the function that is asked
        assert len(known.unsafe_libraries()) == 1


@pytest.mark.parametrize(
    ("name", "library", "harmless"),
    [
        ("jemalloc_bg_thd", "", True),
        ("arbd:zygote", "/site/numpy.libs/libscipy_openblas64_.so", True),
        ("arbd:zygote", "/site/numexpr/interpreter.cpython-311.so", True),
        ("arbd:zygote", "/site/pyarrow/libarrow.so.2600", True),
        ("arbd:zygote", "/site/torch.libs/libgomp.so.1", False),
        ("polars-0", "/site/polars.so", False),
        ("", "", False),
    ],
)
def test_threads(name: str, library: str, harmless: bool) -> None:
    assert known.is_harmless(name, library) is harmless


def test_libraries_are_called_by_what_they_are() -> None:
    assert known.name_of_library("/site/torch.libs/libgomp.so.1") == "torch.libs/libgomp.so.1 (OpenMP (GNU))"
    assert known.name_of_library("/site/own/fast.so") == "own/fast.so"


def test_pools_among_what_is_mapped() -> None:
    files = ("/site/numpy.libs/libscipy_openblas.so", "/usr/lib/libgomp.so.1", "", "/usr/lib/libc.so.6")
    maps = "".join(f"1000-2000 r-xp 00000000 08:01 11 {file}\n" for file in files)
    assert known.pools_in(maps) == ["OpenBLAS", "OpenMP (GNU)"]
    assert known.pools_in("") == []
