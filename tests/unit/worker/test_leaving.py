"""A worker leaves when an action was interrupted, unless it says keep, or when something cannot be put back."""

from __future__ import annotations

import pytest

from arbd.ipc.notice import Leaving
from arbd.worker.guard.guard import Guard
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import Notices
from arbd.worker.leaving import LeaveReasons
from arbd.worker.soft_timer import Strike


class Broken(StateKind):
    """A kind that cannot be put back."""

    def __init__(self) -> None:
        super().__init__("it", lambda: None, lambda _: None)

    def put_back(self) -> str | None:
        raise Spoiled("it is gone")


def leave_reasons() -> LeaveReasons:
    return LeaveReasons(Guard([Broken()], Notices()), lambda action: action == "kept")


def test_nothing_happened() -> None:
    assert leave_reasons().after("act", "full") is None


@pytest.mark.parametrize("struck", ["interrupted", "cancelled"])
def test_an_interruption(struck: Strike) -> None:
    reasons = leave_reasons()
    reasons.strike(struck)
    assert reasons.noticed
    found = reasons.after("act", "noticed")
    assert isinstance(found, Leaving)
    assert (found.reason, found.action) == (struck, "act")
    assert not reasons.noticed
    assert reasons.after("act", "noticed") is None, "told once"


def test_an_interruption_of_an_action_that_says_keep() -> None:
    reasons = leave_reasons()
    reasons.strike("interrupted")
    assert reasons.after("kept", "noticed") is None


def test_what_is_left_behind_counts_all_the_same() -> None:
    reasons = leave_reasons()
    reasons.strike("interrupted")
    reasons.spoil("the loop is closed")
    assert reasons.after("kept", "noticed") == Leaving("changed", "the loop is closed", "kept")


def test_what_cannot_be_put_back() -> None:
    reasons = leave_reasons()
    reasons.noticed.add("it")
    assert reasons.after("act", "noticed") == Leaving("changed", "it is gone", "act")
