"""The watcher kills what is left of a zygote or a daemon, until there is nothing, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from arbd.host import children, procs, tags
from arbd.host.tags import Tag
from arbd.ipc.zygote_protocol import Watched
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


def of(generation: int) -> Callable[[Tag], bool]:
    return lambda tag: tag.generation == generation


def test_the_sweep_takes_what_is_due_and_nothing_else() -> None:
    generation, other = tags.new_generation(), tags.new_generation()
    mine = [tagged(generation, worker) for worker in (tags.MODULE, 1, tags.LIMITS)]
    others = [tagged(other, 1), tagged(generation, tags.WATCH)]
    try:
        watcher.sweep(of(generation))
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
        watcher.sweep(of(generation), everybody=lambda: next(turns), sleep=lambda _: None)
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
        watcher.sweep(of(generation), everybody=lambda: [process.pid], clock=lambda: now[0], sleep=sleep)
        assert process.poll() is None
    finally:
        close(process)


def killed_at(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> list[float]:
    """When something is killed, by a clock that each turn moves on by 0.1 s."""
    found: list[float] = []
    kill = procs.kill

    def note(pidfd: int) -> bool:
        found.append(round(now[0], 1))
        return kill(pidfd)

    monkeypatch.setattr(procs, "kill", note)
    return found


def test_a_resource_tracker_has_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    generation, now = tags.new_generation(), [0.0]
    process = tagged(generation, 1)
    found = killed_at(monkeypatch, now)
    monkeypatch.setattr(children, "is_resource_tracker", lambda _: True)

    def sleep(_: float) -> None:
        now[0] += 0.1

    try:
        watcher.sweep(of(generation), clock=lambda: now[0], sleep=sleep)
        assert process.wait(10) == -9
        assert found[0] == pytest.approx(0.5)
    finally:
        close(process)


def test_a_generation_whose_zygote_lives_has_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has ended: a zygote that is not stuck kills what it has; what has no zygote goes at once."""
    living, orphaned, now = tags.new_generation(), tags.new_generation(), [0.0]
    zygote, its, other = tagged(living, tags.MODULE), tagged(living, 1), tagged(orphaned, 1)
    found = killed_at(monkeypatch, now)
    monkeypatch.setattr(children, "name_of", lambda pid: "arbd:zygote" if pid == zygote.pid else "sleep")

    def sleep(_: float) -> None:
        now[0] += 0.1

    try:
        watcher.sweep(
            lambda tag: tags.are_of_one_daemon(tag.generation, living),
            zygotes_have_s=1.0,
            clock=lambda: now[0],
            sleep=sleep,
        )
        assert [process.wait(10) for process in (zygote, its, other)] == [-9] * 3
        assert found[0] == 0
        assert sorted(set(found[1:]))[-1] >= 1.0
    finally:
        for process in (zygote, its, other):
            close(process)


@pytest.mark.parametrize("watched", ["zygote", "daemon"])
def test_what_is_watched_ends_the_watch(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    generation = tags.new_generation()
    zygote, supervisor = tagged(generation, tags.MODULE), tagged(tags.new_generation() ^ 1 << 31, 1)
    handles = [os.pidfd_open(process.pid) for process in (zygote, supervisor)]
    sweeps: list[float] = []

    def sweep(
        is_due: Callable[[Tag], bool],
        zygotes_have_s: float = 0,
        has_zygote: Callable[[int], bool] = lambda _: False,
    ) -> None:
        assert is_due(Tag(generation, 3))
        assert not has_zygote(generation), "it has ended, whatever is called as it was"
        sweeps.append(zygotes_have_s)
        close(supervisor)  # it ends later

    monkeypatch.setattr(watcher, "sweep", sweep)
    try:
        close(zygote)
        watcher.watch(handles[0], handles[1], generation, watched)
        assert sweeps == [0, watcher.ZYGOTE_END_S][: 1 if watched == "zygote" else 2]
    finally:
        for handle in handles:
            os.close(handle)
        close(supervisor)


def test_a_process_that_is_gone_is_not_looked_for() -> None:
    assert watcher._end(2**22 + 1, Tag(1, 1), spare_trackers=False) is False
