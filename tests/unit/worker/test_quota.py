"""A worker asks for its successor in time, begins no more tasks than it may, and leaves when it holds too much."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host.footprint import OwnMemory
from arbd.ipc.notice import Leaving, Notice, ReplaceSoon
from arbd.worker.quota import Quota

MIB = 1 << 20


@pytest.fixture
def limited() -> Iterator[Quota]:
    """One that may hold 20 MiB."""
    quota = Quota(0, 20 * MIB)
    yield quota
    for fd in quota.descriptors:
        os.close(fd)


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


def test_one_that_holds_more_than_it_may_leaves(limited: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [10 * MIB]
    monkeypatch.setattr(OwnMemory, "read", lambda _: held[0])
    limited.begin()
    held[0] = 19 * MIB
    assert limited.over_memory("act") is None
    held[0] = 21 * MIB
    assert limited.over_memory("act") == Leaving(
        "memory", "it held 21 MiB after a task, and worker.memory_limit is 20 MiB", "act"
    )


def test_one_that_is_about_to_leaves_before_another_task_is_ended_for_it(
    limited: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [20 * MIB - 1024]
    monkeypatch.setattr(OwnMemory, "read", lambda _: held[0])
    limited.begin()
    assert limited.over_memory("act") is None
    held[0] = 20 * MIB - 1
    assert limited.over_memory("act") is not None
    held[0] = 10 * MIB
    limited.begin()
    held[0] = 20 * MIB - 1024
    assert limited.over_memory("act") is not None


def test_one_that_held_that_before_its_first_task_does_not(limited: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnMemory, "read", lambda _: 30 * MIB)
    limited.begin()
    assert limited.memory_limit == 0


def test_one_of_which_nobody_can_tell_stays(limited: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnMemory, "read", lambda _: 0)
    limited.begin()
    assert limited.over_memory("act") is None


def test_its_memory_is_looked_at_alone_where_there_is_a_limit(limited: Quota) -> None:
    assert Quota(5, 0).descriptors == ()
    assert len(limited.descriptors) == 1
