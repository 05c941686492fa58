"""A generator that is seeded is noticed, however its function was taken, and is seeded anew."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.host.fork_mark import EVERYBODY
from arbd.worker.guard import generators
from arbd.worker.guard.guard import Guard
from arbd.worker.guard.notices import NOTICES

A_LIBRARY = """
numbers = []
def seed(number=None):
    numbers.append("from the kernel" if number is None else number)
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The finder and the wrappers, for the length of a test, with nothing of numpy loaded."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in list(sys.modules):
        if name.partition(".")[0] in ("numpy", "torch"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("seed", "setstate"):
        monkeypatch.setattr(random, name, getattr(random, name))
    generators.install()
    NOTICES.arm(EVERYBODY)
    yield
    NOTICES.disarm()
    NOTICES.changed.clear()
    for name in ("numpy", "numpy.random", "takes_seed"):
        sys.modules.pop(name, None)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One that stands for numpy and is imported now."""
    package = tmp_path / "numpy"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "random.py").write_text(A_LIBRARY)
    (tmp_path / "takes_seed.py").write_text("from numpy.random import seed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("numpy.random")


def test_python_s_own_is_noticed_where_it_was_taken_out_at_import() -> None:
    from random import seed

    guard = Guard(generators.kinds())
    seed(42)
    assert guard.after("act", "noticed") == ""
    drawn = random.random()
    seed(42)
    assert random.random() != drawn


def test_a_library_that_an_action_imports_is_watched_from_its_import_on(library: Any) -> None:
    guard = Guard(generators.kinds())
    importlib.import_module("takes_seed").seed(42)
    assert NOTICES.changed == {"the generator numpy.random"}
    guard.after("act", "noticed")
    assert library.numbers == [42, "from the kernel"]
    assert guard.found


def test_where_nothing_is_seeded_anew_it_is_left_as_the_action_did(library: Any) -> None:
    guard = Guard(())
    library.seed(42)
    guard.after("act", "full")
    assert library.numbers == [42]
    assert not guard.found


def test_another_module_is_imported_as_ever() -> None:
    finder = sys.meta_path[0]
    assert isinstance(finder, generators._Finder)
    assert finder.find_spec("json") is None
    generators.install()
    assert [type(each) for each in sys.meta_path].count(generators._Finder) == 1


def test_one_that_nobody_has_fails_as_ever() -> None:
    finder = generators._Finder()
    assert finder.find_spec("torch", []) is None
    generators._seed_anew("torch")
