"""A worker asks for its successor in time, begins no more tasks than it may, and leaves when it holds too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host import footprint
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon
from arbd.worker.quota import Quota

MIB = 1 << 20


def said_by(quota: Quota, tasks: int) -> dict[int, Notice]:
    """What is said after which of so many tasks."""
    return {done: quota.at(done) for done in range(1, tasks + 1) if done >= quota.next_at}


@given(st.integers(1, 3000))
def test_it_leaves_after_exactly_so_many_tasks(most: int) -> None:
    said = said_by(Quota(most, 0), most + 5)
    assert [done for done, each in said.items() if isinstance(each, Leaving)] == [most]
    asked = [done for done, each in said.items() if isinstance(each, ReplaceSoon)]
    assert asked == ([] if most == 1 else [max(1, most - max(1, most // 10))])


def test_without_a_bound_nothing_is_said() -> None:
    assert said_by(Quota(0, 0), 10_000) == {}


def test_one_that_holds_more_than_it_may_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [10 * MIB]
    monkeypatch.setattr(footprint, "rss_of", lambda _: held[0])
    quota = Quota(0, 20 * MIB)
    quota.begin()
    held[0] = 20 * MIB
    assert quota.over_memory("act") is None
    held[0] = 21 * MIB
    assert quota.over_memory("act") == Leaving(
        "memory", "it held 21 MiB after a task, more than worker.memory_limit", "act"
    )


def test_one_that_held_that_before_its_first_task_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "rss_of", lambda _: 30 * MIB)
    quota = Quota(0, 20 * MIB)
    quota.begin()
    assert quota.memory_limit == 0


def test_one_of_which_nobody_can_tell_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "rss_of", lambda _: None)
    quota = Quota(0, 20 * MIB)
    quota.begin()
    assert quota.over_memory("act") is None
