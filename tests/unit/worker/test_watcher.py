"""The watcher kills what has a tag of its zygote's generation, until there is none, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from arbd.host import procs, tags
from arbd.host.tags import Tag
from arbd.worker import watcher

TAGGED = """
import sys
from arbd.host import tags
from arbd.host.tags import Tag
tags.put_on(Tag(int(sys.argv[1]), int(sys.argv[2])))
print("up", flush=True)
sys.stdin.read()
"""


def tagged(generation: int, worker: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TAGGED, str(generation), str(worker)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def close(process: subprocess.Popen[str]) -> None:
    process.kill()
    with process:
        pass


def test_the_sweep_takes_this_generation_and_no_other() -> None:
    generation, other = tags.new_generation(), tags.new_generation()
    mine = [tagged(generation, worker) for worker in (tags.MODULE, 1, tags.LIMITS)]
    others = [tagged(other, 1), tagged(generation, tags.WATCH)]
    try:
        watcher.sweep(generation)
        assert [process.wait(10) for process in mine] == [-9, -9, -9]
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in (*mine, *others):
            close(process)


def test_it_looks_again_until_nobody_new_is_found() -> None:
    generation = tags.new_generation()
    first, second = tagged(generation, 1), tagged(generation, 2)
    turns = iter([[first.pid], [first.pid], [second.pid], [], [], [first.pid]])
    try:
        watcher.sweep(generation, everybody=lambda: next(turns), sleep=lambda _: None)
        assert (first.wait(10), second.wait(10)) == (-9, -9)
    finally:
        close(first)
        close(second)
    assert next(turns) == [first.pid], "two looks that find nobody are enough"


def test_it_gives_up_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is stuck in the kernel."""
    generation = tags.new_generation()
    process, now = tagged(generation, 1), [0.0]
    monkeypatch.setattr(procs, "kill", lambda _: True)

    def sleep(_: float) -> None:
        now[0] += 1

    try:
        watcher.sweep(generation, everybody=lambda: [process.pid], clock=lambda: now[0], sleep=sleep)
        assert process.poll() is None
    finally:
        close(process)


def test_a_resource_tracker_has_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    generation = tags.new_generation()
    process, now, killed_at = tagged(generation, 1), [0.0], []
    kill = procs.kill
    monkeypatch.setattr("arbd.host.children.is_resource_tracker", lambda _: True)

    def note(pidfd: int) -> bool:
        killed_at.append(now[0])
        return kill(pidfd)

    monkeypatch.setattr(procs, "kill", note)

    def sleep(_: float) -> None:
        now[0] += 0.1

    try:
        watcher.sweep(generation, clock=lambda: now[0], sleep=sleep)
        assert process.wait(10) == -9
        assert killed_at[0] == pytest.approx(0.5)
    finally:
        close(process)


def test_a_zygote_that_does_not_end_after_its_supervisor_is_killed() -> None:
    zygote, supervisor = tagged(tags.new_generation(), 1), tagged(tags.new_generation(), 1)
    handles = [os.pidfd_open(process.pid) for process in (zygote, supervisor)]
    try:
        close(supervisor)
        watcher.wait(handles[0], handles[1], zygote_end_s=0.01)
        assert zygote.wait(10) == -9
    finally:
        for handle in handles:
            os.close(handle)
        close(zygote)


def test_a_process_that_is_gone_is_not_looked_for() -> None:
    generation = tags.new_generation()
    assert watcher._end(2**22 + 1, generation, spare_trackers=False) is False
    assert tags.of(0) != Tag(generation, tags.WATCH)
