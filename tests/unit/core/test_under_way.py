"""An id is under way from its arrival to the acknowledgement of its result; what comes under it meanwhile joins."""

from __future__ import annotations

import pytest

from arbd.core.outbox import MemoryOutbox
from arbd.core.under_way import Brake, Join, UnderWay
from arbd.model.task import Outcome, Task

MS = 1_000_000


def test_a_join_tells_how_long_ago_the_first_one_came_and_whether_it_is_the_first_join() -> None:
    under_way = UnderWay()
    first, again = Task("a", "act"), Task("a", "act")
    under_way["a"] = (first, 100 * MS, False)
    under_way.join(again, 1100 * MS)
    under_way.join(again, 2100 * MS)
    joins = under_way.take_joins()
    assert joins == [Join(again, first, 1000 * MS, True), Join(again, first, 2000 * MS, False)]
    assert [join.lease_ns for join in joins] == [1000 * MS, 0]
    assert under_way.take_joins() == []
    assert under_way.joined == 2


def test_what_comes_twice_at_once_says_nothing_of_a_lease() -> None:
    assert Join(Task("a", "act"), Task("a", "act"), 0, True).lease_ns == 0


@pytest.mark.parametrize(
    ("task", "is_another"),
    [
        (Task("a", "act", b"p", b"acc", attempt=2, deadline=5.0, priority=1, traceparent="t"), False),
        (Task("a", "other", b"p", b"acc"), True),
        (Task("a", "act", b"q", b"acc"), True),
        (Task("a", "act", b"p", b""), True),
    ],
)
def test_what_makes_it_another_task(task: Task, is_another: bool) -> None:
    assert Join(task, Task("a", "act", b"p", b"acc"), 0, True).is_another is is_another


def test_an_id_is_forgotten_when_its_result_is_acknowledged_and_not_before() -> None:
    under_way = UnderWay()
    outbox = MemoryOutbox(under_way)
    task = Task("a", "act")
    under_way["a"] = (task, 0, False)
    outbox.append(Outcome(task, "success", b"{}"))
    for _ in range(2):
        outcome = outbox.take()
        assert outcome is not None
        assert "a" in under_way
        outbox.put_back(outcome)
    outcome = outbox.take()
    assert outcome is not None
    outbox.ack(outcome, 0.0)
    assert "a" not in under_way


def test_an_outcome_of_an_id_that_is_not_known_is_acknowledged_too() -> None:
    outbox = MemoryOutbox(UnderWay())
    outbox.append(Outcome(Task("a", "act"), "success", b"{}"))
    outcome = outbox.take()
    assert outcome is not None
    outbox.ack(outcome, 0.0)
    assert len(outbox) == 0


def test_a_hub_that_gives_everything_twice_is_asked_less_and_less_often() -> None:
    brake, now_ns, pauses = Brake(), 0, []
    for _ in range(8):
        pause_s = brake.hold(3, now_ns)
        assert pause_s is not None
        assert brake.hold(2, now_ns) is None  # it waits for the same moment
        assert brake.held == 5
        pauses.append(pause_s)
        now_ns += round(pause_s * 1e9)
        brake.release(now_ns)
        assert brake.held == 0
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5, 0.5]


def test_one_that_does_so_once_a_lease_is_hardly_asked_less() -> None:
    brake = Brake()
    for second in range(5):
        assert brake.hold(1, second * 1000 * MS) == 0.02
        brake.release(second * 1000 * MS + 20 * MS)
