"""Orphans are reaped when they have ended and killed when they are condemned; whatever is somebody's is left alone."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from arbd.host import children, orphans, tags
from arbd.host.orphans import Killed, Orphans
from arbd.host.tags import Tag

LIVE, DEAD = Tag(1, 5), Tag(1, 6)


class Kernel:
    """The children of this process, as the kernel would have them; and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tags: dict[int, Tag | None] = {}
        self.ended: set[int] = set()
        self.groups: dict[int, int] = {}
        self.trackers: set[int] = set()
        self.forbidden: set[int] = set()
        self.undying: set[int] = set()
        self.killed: list[int] = []
        self.reaped: list[int] = []
        self.now = 100.0
        self.look_s = 0.0
        monkeypatch.setattr(children, "can_be_listed", lambda: True)
        monkeypatch.setattr(children, "of_this_process", self._children)
        monkeypatch.setattr(children, "name_of", lambda pid: f"process-{pid}")
        monkeypatch.setattr(children, "is_resource_tracker", self.trackers.__contains__)
        monkeypatch.setattr(tags, "of", self.tags.get)
        monkeypatch.setattr(orphans, "has_ended", self.ended.__contains__)
        monkeypatch.setattr(orphans, "reap", self._reap)
        monkeypatch.setattr(orphans, "_group_of", lambda pid: self.groups.get(pid, pid))
        monkeypatch.setattr(os, "kill", self._kill)

    def _children(self) -> list[int]:
        self.now += self.look_s
        return list(self.tags)

    def _reap(self, pid: int) -> None:
        del self.tags[pid]
        self.reaped.append(pid)

    def _kill(self, pid: int, signum: int) -> None:
        assert signum == signal.SIGKILL
        if pid in self.forbidden:
            raise PermissionError
        self.killed.append(pid)
        if pid not in self.undying:
            self.ended.add(pid)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def orphans_of(kernel: Kernel, **options: Any) -> Orphans:
    settings: dict[str, Any] = {"is_kept": lambda pid: pid == 1, "is_condemned": lambda tag: tag == DEAD} | options
    return Orphans(clock=lambda: kernel.now, **settings)


def test_the_condemned_are_killed_then_reaped(kernel: Kernel) -> None:
    kernel.tags |= {1: DEAD, 2: LIVE, 3: DEAD, 4: None, 5: DEAD}
    found = orphans_of(kernel)
    assert found.look() is True
    assert kernel.killed == [3, 5]
    assert found.look() is False
    assert (kernel.reaped, sorted(kernel.tags)) == ([3, 5], [1, 2, 4])


def test_those_that_have_ended_are_reaped_but_for_those_that_are_kept(kernel: Kernel) -> None:
    kernel.tags |= {1: LIVE, 2: LIVE, 3: None}
    kernel.ended |= {1, 2, 3}
    found = orphans_of(kernel)
    assert found.look() is False
    assert (kernel.killed, kernel.reaped, found.due_in_s()) == ([], [2, 3], None)


def test_what_a_killed_one_leaves_is_killed_next(kernel: Kernel) -> None:
    kernel.tags[3] = DEAD
    found = orphans_of(kernel)
    found.look()
    kernel.tags[4] = DEAD  # it has lost its parent, and comes here
    assert found.look() is True
    assert (kernel.killed, kernel.reaped) == ([3, 4], [3])


def test_a_resource_tracker_has_a_moment(kernel: Kernel) -> None:
    kernel.tags |= {3: DEAD, 4: DEAD}
    kernel.trackers.add(3)
    found = orphans_of(kernel)
    assert found.look() is True
    assert kernel.killed == [4]
    kernel.now += 0.3
    kernel.ended.add(3)
    assert found.look() is False
    assert kernel.reaped == [3, 4]


def test_a_resource_tracker_that_does_not_end_is_killed(kernel: Kernel) -> None:
    kernel.tags[3] = DEAD
    kernel.trackers.add(3)
    found = orphans_of(kernel)
    found.look()
    assert found.due_in_s() == pytest.approx(orphans.TRACKER_S)
    kernel.now += orphans.TRACKER_S
    found.look()
    assert kernel.killed == [3]


def test_the_group_of_a_leader_that_has_ended_is_condemned_whatever_its_tag(kernel: Kernel) -> None:
    kernel.tags |= {2: LIVE, 3: None, 4: DEAD}
    kernel.groups |= {2: 2, 3: 77, 4: 4}
    found = orphans_of(kernel)
    found.look(group=77)
    assert kernel.killed == [3, 4]


def test_one_that_may_not_be_killed_is_left_and_not_asked_for_again(kernel: Kernel) -> None:
    """It runs as another user now."""
    kernel.tags[3] = DEAD
    kernel.forbidden.add(3)
    found = orphans_of(kernel)
    assert found.look() is False
    assert (found.due_in_s(), found.look()) == (None, False)
    kernel.ended.add(3)
    found.look()
    assert kernel.reaped == [3]


def test_one_that_does_not_die_is_looked_at_less_and_less_often(kernel: Kernel) -> None:
    kernel.tags[3] = DEAD
    kernel.undying.add(3)
    found = orphans_of(kernel)
    pauses = []
    for _ in range(10):
        assert found.look() is True
        pause = found.due_in_s()
        assert pause is not None
        pauses.append(pause)
        kernel.now += pause
    assert pauses == sorted(pauses)
    assert sum(pauses) > 10


def test_a_status_that_somebody_may_ask_for_rests_for_a_while(kernel: Kernel) -> None:
    kernel.tags |= {2: LIVE, 3: None, 4: DEAD}
    kernel.ended |= {2, 3, 4}
    found = orphans_of(kernel, rest_s=lambda tag: {LIVE: 0.0, None: 2.0, DEAD: float("inf")}[tag])
    assert found.look() is False
    assert (kernel.reaped, found.due_in_s()) == ([2], 2.0)
    kernel.now += 2
    found.look()
    assert (kernel.reaped, found.due_in_s()) == ([2, 3], None)


def test_each_that_is_killed_is_told_once(kernel: Kernel) -> None:
    told: list[list[Killed]] = []
    kernel.tags |= {3: DEAD, 4: DEAD}
    kernel.undying |= {3, 4}
    found = orphans_of(kernel, on_kill=told.append)
    for _ in range(3):
        found.look()
        kernel.now += 1
    assert told == [[Killed(3, "process-3", DEAD), Killed(4, "process-4", DEAD)]]


def test_a_number_that_is_used_again_is_another_process(kernel: Kernel) -> None:
    told: list[list[Killed]] = []
    found = orphans_of(kernel, on_kill=told.append)
    for _ in range(2):
        kernel.tags[3] = DEAD
        found.look()
        found.look()
        kernel.ended.clear()
    assert (kernel.reaped, len(told)) == ([3, 3], 2)


def test_news_makes_a_look_due_but_not_all_the_time(kernel: Kernel) -> None:
    """Very many orphans, of an action that starts and leaves them in a loop: each look takes long."""
    found = orphans_of(kernel)
    assert found.due_in_s() is None
    found.news()
    assert found.due_in_s() == 0
    kernel.look_s = 0.01
    found.look()
    found.news()
    assert 0.01 < (found.due_in_s() or 0) < 0.1
    kernel.now += 0.1
    assert found.due_in_s() == 0


def test_without_proc_those_that_have_ended_are_reaped_as_the_kernel_names_them(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.tags |= {1: None, 3: DEAD, 4: DEAD}
    named = iter([3, 4, 1])
    monkeypatch.setattr(children, "can_be_listed", lambda: False)
    monkeypatch.setattr(orphans, "any_that_has_ended", lambda: next(named))
    assert orphans_of(kernel).look() is False
    assert (kernel.killed, kernel.reaped) == ([], [3, 4])
