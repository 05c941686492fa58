"""The supervisor kills only what has a tag of its own daemon, and takes nobody's status."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from arbd.host import child, children, procs, tags
from arbd.host.orphans import Killed
from arbd.host.tags import Tag
from arbd.supervisor import adopted
from arbd.supervisor.adopted import Adopted

OWN = tags.new_generation()


@pytest.mark.parametrize(
    ("tag", "condemned", "rest_s"),
    [
        (None, False, adopted.FOREIGN_REST_S),
        (Tag(OWN ^ 1 << 31, 3), False, adopted.FOREIGN_REST_S),
        (Tag(OWN, 3), True, 0.0),
        (Tag(OWN, tags.MODULE), True, 0.0),
        (Tag(OWN, tags.LIMITS), True, 0.0),
        (Tag(OWN, tags.WATCH), False, 0.0),
    ],
)
def test_whose_it_is_decides(tag: Tag | None, condemned: bool, rest_s: float) -> None:
    assert (adopted._is_condemned(tag), adopted._rest_s(tag)) == (condemned, rest_s)


@pytest.fixture
def not_a_subreaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is that of the tests."""
    monkeypatch.setattr(procs, "become_subreaper", lambda: None)


def test_what_it_has_and_what_it_started_is_not_touched(not_a_subreaper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(children, "of_this_process", lambda: [7])
        found = Adopted()
        monkeypatch.setattr(child, "is_waited_for", {8}.__contains__)
        assert [found._is_kept(pid) for pid in (7, 8, 9)] == [True, True, False]
        monkeypatch.setattr(children, "of_this_process", list)
        await found.close()

    before = signal.getsignal(signal.SIGCHLD)
    asyncio.run(scenario())
    assert signal.getsignal(signal.SIGCHLD) == before


def test_a_child_that_ends_is_looked_at(not_a_subreaper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[str]:
        looks: list[str] = []
        found = Adopted()
        looked = asyncio.Event()

        def look(group: int = 0) -> bool:
            looks.append("look")
            found._orphans._look_at = float("inf")
            looked.set()
            return False

        monkeypatch.setattr(found._orphans, "look", look)
        os.kill(os.getpid(), signal.SIGCHLD)
        async with asyncio.timeout(10):
            await looked.wait()
        seen = list(looks)
        await found.close()
        return seen

    assert asyncio.run(scenario()) == ["look"]


def test_a_sandbox_that_forbids_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Log:
        def warning(self, event: str, **_: Any) -> None:
            said.append(event)

    def forbidden() -> None:
        raise PermissionError(1, "Operation not permitted")

    async def scenario() -> None:
        await Adopted().close()

    monkeypatch.setattr(procs, "become_subreaper", forbidden)
    monkeypatch.setattr(adopted, "get_logger", lambda _: Log())
    asyncio.run(scenario())
    assert said == ["no_subreaper"]


def test_what_is_killed_is_told_but_for_workers_of_a_dead_zygote(
    not_a_subreaper: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []

    class Log:
        def info(self, event: str, **words: Any) -> None:
            said.append({"event": event, **words})

    async def scenario() -> None:
        monkeypatch.setattr(adopted, "get_logger", lambda _: Log())
        found = Adopted()
        found._on_kill([Killed(3, "arbd:worker-0", Tag(OWN, 1))])
        found._on_kill([Killed(3, "arbd:worker-0", Tag(OWN, 1)), Killed(4, "sleep", Tag(OWN, 1))])
        await found.close()

    asyncio.run(scenario())
    assert said == [{"event": "descendants_killed", "count": 1, "names": ["sleep"]}]


def test_a_process_that_was_started_is_waited_for_until_its_status_is_read() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    child._started.append(process)  # as ``child.start`` does
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert child.is_waited_for(process.pid)
    process.wait()
    assert not child.is_waited_for(process.pid)
    child._started.remove(process)
