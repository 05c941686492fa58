"""What was noticed or is due is put back, told once; what cannot be spoils; what is adopted becomes the baseline."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from arbd import logs
from arbd.host.fork_mark import EVERYBODY, NOBODY
from arbd.worker.guard.guard import Depth, Guard, NoGuard
from arbd.worker.guard.kinds import Look, Spoiled, StateKind, Undone
from arbd.worker.guard.notices import NOTICES, Notices
from arbd.worker.guard.wrappers import replace, watch


class Place:
    """Something that can be changed."""

    def __init__(self, value: Any = "home") -> None:
        self.value = value
        self.is_stuck = False

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        if self.is_stuck:
            raise OSError("no way back")
        self.value = value


def a_guard(*kinds: StateKind) -> tuple[Guard, Notices]:
    notices = Notices()
    guard = Guard(kinds, notices)
    guard.arm(EVERYBODY)
    return guard, notices


def a_kind(place: Place, name: str = "the place", **how: Any) -> StateKind:
    return StateKind(name, place.read, place.write, **how)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            lines.append({"event": event, **fields})

        error = warning

    monkeypatch.setattr("arbd.logs.get_logger", lambda name: Log())
    return lines


def test_what_was_noticed_is_put_back_and_told_once(told: list[dict[str, Any]]) -> None:
    place = Place()
    guard, notices = a_guard(a_kind(place, describe=lambda before, after: f"it was {after}"))
    for _ in range(2):
        place.value = "elsewhere"
        notices.changes("the place")
        assert guard.noticed
        assert guard.after("act", "noticed") == ""
        assert place.value == "home"
        assert not guard.noticed
    [line] = told
    assert (line["event"], line["action"], line["what"]) == ("changed_by_action", "act", "the place")
    assert line["how"] == "it was elsewhere"


def test_the_line_names_the_task_that_has_changed_it(told: list[dict[str, Any]]) -> None:
    place = Place()
    guard, notices = a_guard(a_kind(place))
    logs.enter_task("t-1", "act", attempt=2)
    place.value = "elsewhere"
    notices.changes("the place")
    logs.leave_task()
    guard.after("act", "noticed")
    [line] = told
    assert (line["task_id"], line["action"], line["attempt"]) == ("t-1", "act", 2)


@pytest.mark.parametrize(("look", "found_at"), [("noticed", ()), ("quick", ("quick", "full")), ("full", ("full",))])
@pytest.mark.parametrize("depth", ["noticed", "quick", "full"])
def test_what_nobody_noticed_is_found_when_it_is_due(look: Look, depth: Depth, found_at: tuple[str, ...]) -> None:
    place = Place()
    guard, _ = a_guard(a_kind(place, look=look))
    place.value = "elsewhere"
    guard.after("act", depth)
    assert (place.value == "home") == (depth in found_at)


def test_what_cannot_be_put_back_is_said(told: list[dict[str, Any]]) -> None:
    place = Place()
    guard, notices = a_guard(a_kind(place))
    place.value, place.is_stuck = "elsewhere", True
    notices.changes("the place")
    assert "the place cannot be put back" in guard.after("act", "noticed")


def test_one_that_pretends_to_be_put_back_is_found_out() -> None:
    place = Place()
    guard, notices = a_guard(StateKind("the place", place.read, lambda _: None))
    place.value = "elsewhere"
    notices.changes("the place")
    assert "cannot be put back" in guard.after("act", "noticed")


def test_one_that_breaks_whoever_looks_spoils_the_worker(told: list[dict[str, Any]]) -> None:
    place = Place()
    kind = a_kind(place)
    guard, notices = a_guard(kind, a_kind(other := Place(), "the other"))

    def breaks() -> Any:
        raise ZeroDivisionError

    kind._read = breaks
    other.value = "elsewhere"
    notices.changes("the place")
    notices.changes("the other")
    assert "the place" in guard.after("act", "noticed")
    assert other.value == "home", "the others are put back all the same"
    assert told[0]["event"] == "look_failed"


def test_what_is_adopted_is_the_baseline_and_what_was_changed_before_is_not() -> None:
    theirs, actions = Place(), Place()
    guard, _ = a_guard(a_kind(theirs, "theirs", look="full"), a_kind(actions, "an action's", look="full"))
    actions.value = "elsewhere"
    with guard.adopting():
        theirs.value = "a resource's"
    assert (theirs.value, actions.value) == ("a resource's", "home")
    theirs.value = "elsewhere"
    guard.after("act", "full")
    assert theirs.value == "a resource's"


def test_what_could_not_be_put_back_before_an_adoption_is_not_forgotten() -> None:
    place = Place()
    guard, _ = a_guard(a_kind(place, look="full"))
    place.value, place.is_stuck = "elsewhere", True
    with guard.adopting():
        pass
    assert "cannot be put back" in guard.after("act", "noticed")
    assert guard.after("act", "noticed") == ""


def test_one_that_is_undone_by_a_call(told: list[dict[str, Any]]) -> None:
    undone: list[int] = []
    guard, notices = a_guard(Undone("the plan", lambda: undone.append(1), (), quiet=True))
    assert guard.after("act", "full") == ""
    assert undone == []
    notices.changes("the plan")
    guard.after("act", "noticed")
    assert undone == [1]
    assert told == []


def test_one_that_cannot_be_undone() -> None:
    def fails() -> None:
        raise OSError("busy")

    with pytest.raises(Spoiled):
        Undone("the plan", fails, ()).put_back()


def test_a_forked_child_notices_nothing() -> None:
    notices = Notices()
    notices.arm(NOBODY)
    notices.changes("the place")
    assert not notices.is_armed
    assert not notices.changed


def test_no_guard_looks_at_nothing() -> None:
    assert NoGuard().after("act", "full") == ""


def test_a_module_s_import_may_change_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that a library sets when an action imports it."""
    (tmp_path / "changes_at_import.py").write_text("import builtins\nbuiltins.change_the_place()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    place, other = Place(), Place()
    guard, notices = a_guard(a_kind(place, adopts=True), a_kind(other, "the other"))

    def change() -> None:
        place.value = other.value = "a library's"
        notices.changes("the place")
        notices.changes("the other")

    monkeypatch.setattr("builtins.change_the_place", change, raising=False)
    importlib.import_module("changes_at_import")
    sys.modules.pop("changes_at_import")
    guard.after("act", "noticed")
    assert (place.value, other.value) == ("a library's", "home")


class Owner:
    """Something with a function that changes the process."""

    @staticmethod
    def move(place: str, *, far: bool = False) -> str:
        """Move."""
        if far:
            raise ValueError(place)
        return place


def test_a_wrapper_does_what_is_wrapped_and_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Owner.move
    monkeypatch.setattr(Owner, "move", Owner.move)
    monkeypatch.setattr(NOTICES, "_mark", EVERYBODY)
    watch(Owner, "move", "the place")
    watch(Owner, "move", "the place")
    try:
        assert Owner.move("here") == "here"
        assert NOTICES.changed == {"the place"}
        NOTICES.changed.clear()
        with pytest.raises(ValueError, match="here"):
            Owner.move("here", far=True)
        assert NOTICES.changed == {"the place"}, "it may have done half of it"
        assert (Owner.move.__name__, Owner.move.__doc__) == ("move", "Move.")
        assert replace(Owner, "move", lambda: None) is real, "nothing is wrapped twice"
    finally:
        NOTICES.changed.clear()


def test_a_function_that_python_does_not_have_is_not_wrapped() -> None:
    watch(Owner, "nothing_of_that_name", "the place")
    assert not hasattr(Owner, "nothing_of_that_name")
