"""What a zygote's processes started is judged by whose it is; where it cannot be followed that is said, and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from arbd import logs
from arbd.host import children, procs, tags
from arbd.host.tags import Tag
from arbd.ipc.zygote_protocol import Watched
from arbd.worker import descendants, watcher
from arbd.worker.descendants import Descendants


@pytest.fixture
def zygote_s(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The descendants of a zygote, of which nothing is set for the process of the tests."""
    found = Descendants(tags.new_generation())
    yield found
    os.close(found.fd)
    os.close(found._wakeup)


def test_whose_worker_lives_is_left_alone(zygote_s: Descendants) -> None:
    generation = zygote_s.generation
    zygote_s.started(100, zygote_s.number_of(1))
    zygote_s.started(101, tags.LIMITS)
    judged = {number: zygote_s._is_condemned(Tag(generation, number)) for number in (tags.MODULE, 1, 2, tags.LIMITS)}
    assert judged == {tags.MODULE: False, 1: False, 2: True, tags.LIMITS: False}
    assert not zygote_s._is_condemned(None), "whose it is cannot be told"
    assert not zygote_s._is_condemned(Tag(generation ^ 1, 2)), "another daemon's, inside this one"


def test_after_its_end_a_worker_s_are_condemned(zygote_s: Descendants, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[int, bool]] = []
    tag = Tag(zygote_s.generation, zygote_s.number_of(1))
    zygote_s.started(100, tag.worker)
    zygote_s._follows = True
    monkeypatch.setattr(procs, "wait_ended", lambda pid: None)
    monkeypatch.setattr(procs, "wait", lambda pid: -9)

    def look(group: int = 0) -> bool:
        looks.append((group, zygote_s._is_condemned(tag)))
        assert zygote_s._orphans._is_kept(100), "the zygote itself must learn how it ended"
        return True

    monkeypatch.setattr(zygote_s._orphans, "look", look)
    assert zygote_s.reap(100) == -9
    assert looks == [(100, True)]
    assert not zygote_s._orphans._is_kept(100)
    assert zygote_s.due_in_s() == 0, "the list may have missed one"


def test_where_nothing_can_be_followed_the_group_goes(zygote_s: Descendants, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []

    def reap(pid: int) -> int:
        groups.append(pid)
        return 3

    monkeypatch.setattr(procs, "reap", reap)
    zygote_s.started(100, 1)
    assert zygote_s.reap(100) == 3
    assert groups == [100]


@pytest.mark.parametrize("fault", ["become_subreaper", "put_on", "can_be_listed"])
def test_what_cannot_be_followed_is_said(
    zygote_s: Descendants, monkeypatch: pytest.MonkeyPatch, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    log = SimpleNamespace(warning=lambda event, **_: said.append(event))
    monkeypatch.setattr(logs, "get_logger", lambda _: log)
    monkeypatch.setattr(watcher, "start", lambda *_: None)

    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(procs, "become_subreaper", forbidden if fault == "become_subreaper" else lambda: None)
    monkeypatch.setattr(tags, "put_on", forbidden if fault == "put_on" else lambda _: None)
    monkeypatch.setattr(children, "can_be_listed", lambda: fault != "can_be_listed")
    zygote_s.begin(os.getppid(), "zygote")
    assert said == ["descendants_not_followed"]
    assert zygote_s._follows is False


@pytest.mark.parametrize(("watched", "started"), [("", []), ("zygote", ["zygote"]), ("daemon", ["daemon"])])
def test_a_watcher_is_started_where_one_is_asked_for(
    zygote_s: Descendants, monkeypatch: pytest.MonkeyPatch, watched: Watched, started: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(watcher, "start", lambda _generation, _supervisor, watched: asked.append(watched))
    monkeypatch.setattr(procs, "become_subreaper", lambda: None)
    monkeypatch.setattr(tags, "put_on", lambda _: None)
    zygote_s.begin(os.getppid(), watched)
    assert asked == started


def test_the_module_s_own_threads_may_wait_for_what_it_started(zygote_s: Descendants) -> None:
    zygote_s._module_waits = True
    rests = [zygote_s._rest_s(tag) for tag in (None, Tag(zygote_s.generation, tags.MODULE))]
    assert rests == [float("inf")] * 2
    assert zygote_s._rest_s(Tag(zygote_s.generation, 5)) == 0
    zygote_s._module_waits = False
    assert zygote_s._rest_s(None) == 0


def test_at_the_end_everything_goes_that_is_a_child(zygote_s: Descendants) -> None:
    """In a process of its own: nothing of this one's must go."""
    code = """
import subprocess, sys
from arbd.worker.descendants import Descendants
mine = Descendants(0)
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
mine.end()
print(child.wait())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr  # it is reaped already, so Popen finds no status


def test_a_child_that_the_module_forked_ends_nobody(zygote_s: Descendants, monkeypatch: pytest.MonkeyPatch) -> None:
    zygote_s._process = os.getpid() + 1
    monkeypatch.setattr(children, "of_this_process", lambda: pytest.fail("it looked for children"))
    zygote_s.end()


def test_the_pipe_to_a_tracker_of_the_module_s_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    tracker = SimpleNamespace(_fd=writing)
    monkeypatch.setitem(sys.modules, descendants._TRACKERS[0], SimpleNamespace(_resource_tracker=tracker))
    descendants._hang_up_on_trackers()
    assert os.read(reading, 1) == b""
    assert tracker._fd is None
    descendants._hang_up_on_trackers()
    os.close(reading)
