"""A worker leaves when an action was interrupted, unless it says keep, or when something cannot be put back."""

from __future__ import annotations

import pytest

from arbd.ipc.notice import Leaving
from arbd.worker.farewell import Farewell
from arbd.worker.guard.guard import Guard
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import Notices
from arbd.worker.soft_timer import Strike


class Broken(StateKind):
    """A kind that cannot be put back."""

    def __init__(self) -> None:
        super().__init__("it", lambda: None, lambda _: None)

    def put_back(self) -> str | None:
        raise Spoiled("it is gone")


def a_farewell() -> Farewell:
    return Farewell(Guard([Broken()], Notices()), lambda action: action == "kept")


def test_nothing_happened() -> None:
    assert a_farewell().after("act", "full") is None


@pytest.mark.parametrize("struck", ["interrupted", "cancelled"])
def test_an_interruption(struck: Strike) -> None:
    farewell = a_farewell()
    farewell.strike(struck)
    assert farewell.noticed
    found = farewell.after("act", "noticed")
    assert isinstance(found, Leaving)
    assert (found.reason, found.action) == (struck, "act")
    assert not farewell.noticed
    assert farewell.after("act", "noticed") is None, "told once"


def test_an_interruption_of_an_action_that_says_keep() -> None:
    farewell = a_farewell()
    farewell.strike("interrupted")
    assert farewell.after("kept", "noticed") is None


def test_what_is_left_behind_counts_all_the_same() -> None:
    farewell = a_farewell()
    farewell.strike("interrupted")
    farewell.spoil("the loop is closed")
    assert farewell.after("kept", "noticed") == Leaving("changed", "the loop is closed", "kept")


def test_what_cannot_be_put_back() -> None:
    farewell = a_farewell()
    farewell.noticed.add("it")
    assert farewell.after("act", "noticed") == Leaving("changed", "it is gone", "act")
