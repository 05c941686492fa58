"""Verdicts are counted by action, names that nobody offers make no row, and no count is lost when actions change."""

from __future__ import annotations

from arbd.core.tally import Tally
from arbd.model.task import Status


def count(tally: Tally, action: str, status: Status) -> None:
    tally.rows.get(action, tally.others)[status] += 1


def test_each_action_has_a_row_and_all_others_share_one() -> None:
    tally = Tally()
    tally.offer(["order", "total"])
    for number in range(100):
        count(tally, f"guess {number}", "error")
    count(tally, "order", "success")
    assert list(tally) == [
        ("order", {"success": 1, "error": 0, "limit": 0}),
        ("total", {"success": 0, "error": 0, "limit": 0}),
        ("", {"success": 0, "error": 100, "limit": 0}),
    ]
    assert tally.total() == {"success": 1, "error": 100, "limit": 0}


def test_a_row_stays_when_other_actions_come_and_joins_the_others_when_its_action_goes() -> None:
    tally = Tally()
    tally.offer(["order"])
    count(tally, "order", "limit")
    tally.offer(["order", "new"])
    assert tally.rows["order"]["limit"] == 1
    tally.offer(["new"])
    count(tally, "order", "success")  # one that was under way
    assert list(tally) == [
        ("new", {"success": 0, "error": 0, "limit": 0}),
        ("", {"success": 1, "error": 0, "limit": 1}),
    ]
    tally.offer(["order"])
    assert tally.rows["order"] == {"success": 0, "error": 0, "limit": 0}
    assert sum(tally.total().values()) == 2
