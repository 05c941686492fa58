"""Claim: higher priority first, then first come, first served; and leases end in the order in which they were begun."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbd.hub.leases import NOT_LEASED, Leases
from arbd.hub.queues import ANYBODY, TaskQueues


class Entry:
    def __init__(self, number: int, priority: int = 0, provider: str = ANYBODY) -> None:
        self.number = number
        self.priority = priority
        self.provider = provider
        self.is_queued = True
        self.lease_until = NOT_LEASED


@given(st.lists(st.tuples(st.integers(-2, 2), st.sampled_from([ANYBODY, "me", "other"]), st.booleans())))
def test_a_provider_gets_its_own_and_everybodys_in_order(tasks: list[tuple[int, str, bool]]) -> None:
    entries = [Entry(number, priority, provider) for number, (priority, provider, _) in enumerate(tasks)]
    queues: TaskQueues[Entry] = TaskQueues()
    for entry in entries:
        queues.push(entry)
    for entry, (_, _, gone) in zip(entries, tasks, strict=True):
        entry.is_queued = not gone
    mine = [entry for entry in entries if entry.is_queued and entry.provider in (ANYBODY, "me")]
    popped = [queues.pop("me") for _ in range(len(mine) + 1)]
    assert popped == [*sorted(mine, key=lambda entry: (-entry.priority, entry.number)), None]


def test_what_comes_back_stands_before_its_equals_only() -> None:
    queues: TaskQueues[Entry] = TaskQueues()
    urgent, first, second = Entry(0, 5), Entry(1), Entry(2)
    queues.push(second)
    queues.push(urgent)
    queues.push(first, first=True)
    assert [queues.pop("me") for _ in range(3)] == [urgent, first, second]


def test_leases_end_in_order_and_a_renewed_one_later() -> None:
    leases: Leases[Entry] = Leases(10.0)
    one, two, three = Entry(1), Entry(2), Entry(3)
    for at, entry in ((0.0, one), (1.0, two), (2.0, three)):
        leases.begin(entry, at)
    leases.begin(one, 5.0)
    leases.end(two)
    assert (len(leases), leases.next_end()) == (2, 12.0)
    assert leases.pop_ended(11.9) is None
    assert leases.pop_ended(12.0) is three
    assert leases.pop_ended(14.9) is None
    assert leases.pop_ended(15.0) is one
    assert (len(leases), leases.next_end(), one.lease_until) == (0, None, NOT_LEASED)


def test_a_million_short_tasks_behind_a_long_one_are_not_kept() -> None:
    leases: Leases[Entry] = Leases(10.0)
    leases.begin(Entry(0), 0.0)
    short = Entry(1)
    for number in range(50_000):
        leases.begin(short, number * 1e-6)
        leases.end(short)
    assert len(leases._entries) <= 10_001
