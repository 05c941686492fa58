"""What is set without a function is compared with what it was; what an imported module sets stays."""

from __future__ import annotations

import builtins
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from arbd.worker.guard import modules, settings
from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.modules import LoadedModules
from arbd.worker.guard.settings import Attributes, Builtins, Lists, TemporaryDir, Values

A_NAME = "arbd_test_imported_by_an_action"


@pytest.fixture(autouse=True)
def baseline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is loaded now, for the length of a test."""
    monkeypatch.setattr(modules, "_before", frozenset(sys.modules))
    yield
    for name in (A_NAME, "arbd_test_settings"):
        sys.modules.pop(name, None)


@pytest.fixture
def module() -> Any:
    """A module whose settings actions change."""
    module: Any = ModuleType("arbd_test_settings")
    sys.modules["arbd_test_settings"] = module
    module.setting, module.items = "the author's", [1, 2]
    LoadedModules().remember()
    return module


def remembered(kind: StateKind) -> StateKind:
    kind.remember()
    return kind


def of_an_import() -> type:
    """A class of a module that was imported since the last look."""
    sys.modules[A_NAME] = ModuleType(A_NAME)
    return type("Theirs", (), {"__module__": A_NAME})


def test_an_attribute_is_put_back_with_its_name(module: Any) -> None:
    kind = remembered(Attributes("settings", "arbd_test_settings", ("setting", "absent")))
    assert kind.put_back() is None
    module.setting, module.absent = "an action's", 1
    assert kind.put_back() == "setting, absent"
    assert (module.setting, hasattr(module, "absent")) == ("the author's", False)
    del module.setting
    assert kind.put_back() == "setting"
    assert kind.put_back() is None


def test_an_attribute_that_an_imported_module_has_set_stays(module: Any) -> None:
    kind = remembered(Attributes("settings", "arbd_test_settings", ("setting",)))
    module.setting = theirs = of_an_import()
    assert kind.put_back() is None
    LoadedModules().put_back()
    module.setting = "an action's"
    assert kind.put_back() == "setting"
    assert module.setting is theirs
    module.setting = type("Later", (), {"__module__": A_NAME})
    assert kind.put_back() == "setting", "it is not new any more"


def test_a_module_that_is_loaded_later(module: Any) -> None:
    kind = Attributes("settings", "arbd_test_settings", ("setting",), first=lambda _: ("as it is made",))
    del sys.modules["arbd_test_settings"]
    kind.remember()
    assert kind.put_back() is None
    sys.modules["arbd_test_settings"] = module
    assert kind.put_back() == "setting"
    assert module.setting == "as it is made"


def test_a_list_is_put_back_itself_and_what_is_in_it(module: Any) -> None:
    told: list[str] = []
    kind = remembered(Lists("items", module, "items", then=lambda: told.append("put back")))
    before = module.items
    assert kind.put_back() is None
    module.items = [3, 1]
    assert kind.put_back() == ""
    assert module.items is before
    assert before == [1, 2]
    before.clear()
    assert kind.put_back() == ""
    assert before == [1, 2]
    assert told == ["put back"] * 2


def test_what_an_imported_module_adds_to_a_list_stays(module: Any) -> None:
    kind = remembered(Lists("items", module, "items"))
    first, last = of_an_import(), of_an_import()
    module.items[:] = [first, "an action's", 2, last]
    assert kind.put_back() == ""
    assert module.items == [first, 1, 2, last]
    LoadedModules().put_back()
    assert kind.put_back() is None


def test_names_of_builtins(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = remembered(Builtins())
    monkeypatch.setattr(builtins, "breakpoint", print)
    vars(builtins)["arbd_test"] = 1
    assert kind.put_back() == "arbd_test, breakpoint"
    assert builtins.breakpoint is not print
    assert not hasattr(builtins, "arbd_test")
    monkeypatch.setattr(builtins, "arbd_test", of_an_import(), raising=False)
    assert kind.put_back() is None
    assert hasattr(builtins, "arbd_test")


def test_the_place_for_temporary_files_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    kind = remembered(TemporaryDir())
    found = tempfile.gettempdir()
    assert kind.put_back() is None
    tempfile.tempdir = "/nowhere"
    assert kind.put_back() == "it was /nowhere"
    assert tempfile.tempdir == found


def test_one_that_followed_from_the_action_s_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    kind = remembered(TemporaryDir())
    with monkeypatch.context() as patch:
        patch.setenv("TMPDIR", os.path.dirname(__file__))
        assert tempfile.gettempdir() == os.path.dirname(__file__)
    assert kind.put_back() is not None
    assert tempfile.tempdir != os.path.dirname(__file__)


def test_nothing_is_found_where_nothing_was_changed() -> None:
    kinds = [remembered(kind) for kind in settings.kinds()]
    assert [kind.name for kind in kinds if kind.put_back() is not None] == []


# -- plain values ------------------------------------------------------------------------------------------------------


def test_a_value_is_put_back(module: Any) -> None:
    kind = remembered(Values("values", "arbd_test_settings", "", {"setting": "the default"}))
    assert kind.put_back() is None
    module.setting = "an action's"
    assert kind.put_back() == "setting"
    assert module.setting == "the author's"


def test_a_value_of_a_class_that_an_action_loads_and_changes(module: Any) -> None:
    kind = remembered(Values("values", "arbd_test_settings", "Owner", {"level": 0}))
    module.Owner = type("Owner", (), {"level": 7})
    assert kind.put_back() == "level"
    assert module.Owner.level == 0


def test_a_value_that_changes_while_a_library_is_loaded_is_its_own(module: Any) -> None:
    kind = remembered(Values("values", "arbd_test_settings", "", {"setting": "the default"}))
    of_an_import()
    module.setting = "the library's"
    assert kind.put_back() is None
    LoadedModules().remember()
    module.setting = "an action's"
    assert kind.put_back() == "setting"
    assert module.setting == "the library's"


def test_values_of_a_module_that_nobody_has_loaded() -> None:
    assert remembered(Values("values", "arbd_test_settings", "", {"setting": 1})).put_back() is None
