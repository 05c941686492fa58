"""A module that is gone or blocked is put back; one that has another in its place is the author's."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from arbd.worker.guard.imports import ModuleTable, broken_import


@pytest.fixture
def modules() -> dict[str, Any]:
    return {name: ModuleType(name) for name in ("sys", "library", "library.part", "other")}


@pytest.fixture
def kind(modules: dict[str, Any]) -> ModuleTable:
    kind = ModuleTable(lambda: modules)
    kind.remember()
    return kind


def test_nothing_has_changed(kind: ModuleTable, modules: dict[str, Any]) -> None:
    assert kind.put_back() is None
    modules["new"] = ModuleType("new")
    assert kind.put_back() is None


def test_what_is_gone_or_blocked_is_put_back(kind: ModuleTable, modules: dict[str, Any]) -> None:
    before = dict(modules)
    del modules["library"], modules["library.part"]
    modules["other"] = None
    modules["never_loaded"] = None
    assert kind.put_back() == "library, library.part, never_loaded, other"
    assert modules == before
    assert kind.put_back() is None


def test_what_came_later_is_kept_as_well(kind: ModuleTable, modules: dict[str, Any]) -> None:
    modules["new"] = new = ModuleType("new")
    assert kind.put_back() is None
    modules["new"] = None
    assert kind.put_back() == "new"
    assert modules["new"] is new


def test_another_in_its_place_is_the_author_s(kind: ModuleTable, modules: dict[str, Any]) -> None:
    modules["other"] = again = ModuleType("other")
    assert kind.put_back() is None
    assert modules["other"] is again
    assert kind.put_back() is None


def test_an_import_that_fails_for_good_is_known_by_what_it_says() -> None:
    once = ImportError("cannot load module more than once per process")
    assert broken_import(once) == "cannot load module more than once per process"
    assert broken_import(ModuleNotFoundError("import of numpy halted; None in sys.modules"))
    wrapped = RuntimeError("numpy is broken")
    wrapped.__cause__ = once
    assert broken_import(wrapped)
    assert not broken_import(ImportError("No module named 'numpy'"))
    assert not broken_import(ValueError("cannot load module more than once per process"))
    assert not broken_import(None)
