"""What the import has left is written once and removed by its owner; what a worker has made is written at its end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import multiprocessing.process
import os
import shelve
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arbd.worker import inherited


class Heap(list[Any]):
    """The objects of the process, as far as they are the test's."""

    def has(self, *files: Any) -> None:
        """There are these files, and what they are made of."""
        for file in files:
            self.append(file)
            below = getattr(file, "buffer", None) or getattr(file, "fileobj", None) or getattr(file, "_fp", None)
            if below is not None:
                self.has(below)


@pytest.fixture(autouse=True)
def heap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heap]:
    """Nothing is remembered, before and afterwards; and nothing of the test's own process is touched."""
    heap = Heap()
    monkeypatch.setattr(inherited, "_is_remembered", False)
    monkeypatch.setattr(inherited, "gc", SimpleNamespace(get_objects=lambda: list(heap)))
    yield heap
    inherited._files.clear()
    inherited._temporary.clear()


# --- files -------------------------------------------------------------------------------------------------------


def test_what_was_written_at_import_is_written_out(tmp_path: Path, heap: Heap) -> None:
    with (tmp_path / "text").open("w") as text, (tmp_path / "binary").open("wb") as binary:
        heap.has(text, binary)
        text.write("text")
        binary.write(b"binary")
        inherited.remember()
        assert (tmp_path / "text").read_text() == "text"
        assert (tmp_path / "binary").read_bytes() == b"binary"


def test_a_worker_writes_out_what_was_open_before_and_what_is_its_own(tmp_path: Path, heap: Heap) -> None:
    with (tmp_path / "old").open("w") as old:
        heap.has(old)
        inherited.remember()
        heap.clear()  # frozen
        with (tmp_path / "new").open("w") as new:
            heap.has(new)
            old.write("old")
            new.write("new")
            assert inherited.write_out() == []
            assert [(tmp_path / name).read_text() for name in ("old", "new")] == ["old", "new"]


def test_archives_are_finished(tmp_path: Path, heap: Heap) -> None:
    """Files that write their last bytes when they are closed."""
    files: list[Any] = []
    for module, name in ((gzip, "gz"), (bz2, "bz2"), (lzma, "xz")):
        files.append(module.open(tmp_path / name, "wt"))
    for file in files:
        file.write("text")
    archive = zipfile.ZipFile(tmp_path / "zip", "w")
    archive.writestr("name", "text")
    shelf = shelve.open(str(tmp_path / "shelf"))  # noqa: SIM115,S301 # the point; nobody else's data
    shelf["key"] = "value"
    heap.has(*reversed(files), archive, shelf)
    inherited.write_out()
    with gzip.open(tmp_path / "gz", "rt") as one, bz2.open(tmp_path / "bz2", "rt") as two:
        assert (one.read(), two.read()) == ("text", "text")
    with lzma.open(tmp_path / "xz", "rt") as three, zipfile.ZipFile(tmp_path / "zip") as four:
        assert (three.read(), four.read("name")) == ("text", b"text")
    with shelve.open(str(tmp_path / "shelf")) as read:  # noqa: S301 # nobody else's data
        assert read["key"] == "value"


def test_what_cannot_be_written_is_told_of_and_the_others_are(tmp_path: Path, heap: Heap) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 # closing it fails as well
    with (tmp_path / "new").open("w") as new:
        full.write("text")
        new.write("text")
        heap.has(full, new)
        failures = inherited.write_out()
        assert {str(each) for each in failures} == {"[Errno 28] No space left on device"}
        assert (tmp_path / "new").read_text() == "text"
    with pytest.raises(OSError, match="No space"):
        full.close()


def test_files_in_memory_closed_and_detached_ones_are_no_matter(tmp_path: Path, heap: Heap) -> None:
    in_memory = io.TextIOWrapper(io.BytesIO())
    closed = (tmp_path / "closed").open("w")
    closed.close()
    detached = io.TextIOWrapper(io.BytesIO())
    detached.detach()
    heap.extend((in_memory, closed, detached, io.BytesIO(), 3))
    assert inherited.write_out() == []
    assert not in_memory.closed


def test_a_proxy_is_not_asked_what_it_is(heap: Heap) -> None:
    """Lazy objects are made by the first question."""

    class Lazy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"asked for {name}")

    heap.append(Lazy())
    assert inherited.write_out() == []


# --- what is temporary -------------------------------------------------------------------------------------------


def test_temporary_files_of_the_import_are_the_zygote_s(tmp_path: Path, heap: Heap) -> None:
    directory = tempfile.TemporaryDirectory(dir=tmp_path)
    file = tempfile.NamedTemporaryFile(dir=tmp_path)  # noqa: SIM115 # it is to be left open
    heap.has(file)
    inherited.remember()
    own = tempfile.TemporaryDirectory(dir=tmp_path)
    inherited.disown()
    assert (_finalizer(directory).atexit, _finalizer(own).atexit) == (False, True)
    assert Path(directory.name).exists()
    assert Path(file.name).exists()
    inherited.tidy_up(0.0)
    assert [*tmp_path.iterdir()] == [Path(own.name)]
    own.cleanup()


def test_a_zygote_that_started_no_worker_removes_them_too(tmp_path: Path) -> None:
    directory = tempfile.TemporaryDirectory(dir=tmp_path)
    inherited.tidy_up(0.0)
    assert not Path(directory.name).exists()


def test_other_finalizers_are_the_worker_s_as_other_exit_functions_are() -> None:
    class Owner:
        pass

    owner = Owner()
    finalizer = weakref.finalize(owner, print)
    inherited.remember()
    inherited.disown()
    assert finalizer.atexit
    finalizer.detach()


def _finalizer(directory: Any) -> Any:
    return directory._finalizer


# --- processes ---------------------------------------------------------------------------------------------------


def test_children_of_multiprocessing_that_are_the_zygote_s_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a process its exit function terminates those that are daemons."""
    own, others = SimpleChild(os.getpid()), SimpleChild(os.getpid() + 1)
    children = {own, others}
    monkeypatch.setattr(multiprocessing.process, "_children", children)
    inherited.disown()
    assert children == {own}


class SimpleChild:
    """What is looked at of a process object."""

    def __init__(self, parent: int) -> None:
        self._parent_pid = parent


def test_only_an_own_resource_tracker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import resource_tracker

    read, write = os.pipe()
    tracker = SimpleNamespace(_pid=os.getppid(), _fd=write)  # no child of this process
    monkeypatch.setattr(resource_tracker, "_resource_tracker", tracker)
    inherited.end_tracker(0.0)
    assert tracker._fd == write
    os.close(read)
    os.close(write)


def test_one_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import resource_tracker

    read, write = os.pipe()
    monkeypatch.setattr(resource_tracker, "_resource_tracker", SimpleNamespace(_pid=5, _fd=write))
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (0, 0))
    inherited.end_tracker(0.0)
    assert os.read(read, 1) == b""  # its end of the pipe is closed
    os.close(read)
