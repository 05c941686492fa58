"""systemd's watchdog is fed while every part of a daemon makes progress, whatever its tasks and its hub do; when a part
hangs, it is not: then the last ping is so old that the restart begins within ``WatchdogSec`` and a second."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
from daemon_support import Arbd, Hub, at_best, eventually
from hub_support import Context, ScriptedHub, free_port
from notify_support import WATCHDOG_S, NotifySocket

from arbd.hub.process import HubProcess
from arbd.wire.pb import hub_pb2 as pb

LATE_S = 0.5  # a busy machine, and a poll under way
WHILE_S = 2.5 * WATCHDOG_S

HEAD = """
import asyncio, os, time
def hangs(): return os.path.exists("hang")
"""
#: What hangs once the file is there: the protocol that it takes, the part that the log names, how it is brought about.
STALLS = {
    "loop": ("auto", "event loop", """
from arbd.supervisor.flow import Flow
real = Flow.take
def take(self, tasks):
    time.sleep(600 if hangs() else 0)
    real(self, tasks)
Flow.take = take
"""),
    "dispatch": ("auto", "dispatch", """
from arbd.core.dispatch import Dispatcher
place, following = Dispatcher.place, Dispatcher.next_assignment
def _place(self, task, timeout, *before):
    if not hangs():
        return place(self, task, timeout, *before)
    self.offer(task, timeout)
Dispatcher.place = _place
Dispatcher.next_assignment = lambda self, *a: None if hangs() else following(self, *a)
"""),
    "results": ("auto", "results", """
from arbd.supervisor.wakeup import Wakeup
look = Wakeup._look
Wakeup._look = lambda self: False if hangs() else look(self)
"""),
    "results unary": ("unary", "results", """
from arbd.supervisor.flow import Flow
collect = Flow.collect
Flow.collect = lambda self: 0 if hangs() else collect(self)
"""),
    "sending": ("stream", "sending", """
from arbd.core.outbox import MemoryOutbox
take = MemoryOutbox.take
MemoryOutbox.take = lambda self: None if hangs() else take(self)
"""),
    "sending unary": ("unary", "sending", """
from arbd.links.unary.submits import Submits
release = Submits.release
Submits.release = lambda self: None if hangs() else release(self)
"""),
    "link": ("stream", "link", """
from arbd.links.stream.link import GrpcStreamLink
serve = GrpcStreamLink._serve
async def _serve(self):
    task = asyncio.ensure_future(serve(self))
    while not hangs():
        await asyncio.sleep(0.01)
    task.cancel()
GrpcStreamLink._serve = _serve
"""),
    "link unary": ("unary", "link", """
from arbd.links.unary.polls import Polls
release = Polls.release
Polls.release = lambda self: None if hangs() else release(self)
"""),
}  # fmt: skip


@contextmanager
def watched(directory: Path, before: str = "", hub: str = "", **env: str) -> Iterator[tuple[Arbd, NotifySocket]]:
    """A daemon that serves, and its systemd."""
    with (
        NotifySocket(directory) as systemd,
        Arbd.run(hub, directory, env={**systemd.env, **env}, before=before) as daemon,
    ):
        systemd.wait("READY=1")
        systemd.wait("WATCHDOG=1")
        yield daemon, systemd


@pytest.mark.parametrize("stall", STALLS)
def test_a_stalled_part_is_restarted_in_time(tmp_path: Path, stall: str) -> None:
    protocol, part, before = STALLS[stall]
    with Hub() as hub, watched(tmp_path, HEAD + before, hub.address, ARBD_HUB_PROTOCOL=protocol) as (daemon, systemd):
        (tmp_path / "hang").touch()
        hangs_at = time.monotonic()
        hub.submit("echo", {"n": 1})
        restarts_at = eventually(
            lambda: time.monotonic() > (last := systemd.pings()[-1]) + WATCHDOG_S and last + WATCHDOG_S
        )
        assert restarts_at <= hangs_at + WATCHDOG_S + 1 + LATE_S
        [line] = daemon.wait_event("stalled")
        assert (line["level"], line["part"]) == ("critical", part)
        [stacks] = daemon.wait_event("stalled_at")
        assert "most recent call first" in stacks["stacks"]
        time.sleep(0.5)
        assert systemd.pings()[-1] == restarts_at - WATCHDOG_S, "no ping comes after that"
        if part != "event loop":
            assert "stalled: " + part in systemd.all("STATUS=")[-1].text


def pings_go_on(systemd: NotifySocket, daemon: Arbd, meanwhile: Callable[[], object] = lambda: None) -> None:
    began_at = time.monotonic()
    meanwhile()
    time.sleep(max(0.0, began_at + WHILE_S - time.monotonic()))
    assert systemd.longest_silence(began_at, time.monotonic()) < WATCHDOG_S
    assert daemon.events("stalled") == []


@pytest.mark.parametrize("protocol", ["stream", "unary"])
def test_idle_or_with_long_tasks_and_a_line_behind_them_it_goes_on(tmp_path: Path, protocol: str) -> None:
    with Hub() as hub, watched(tmp_path, hub=hub.address, ARBD_HUB_PROTOCOL=protocol) as (daemon, systemd):
        at_best(lambda: pings_go_on(systemd, daemon))
        hub.submit("sleep", {"seconds": 1.5 * WHILE_S}, count=2)
        hub.submit("echo", {}, count=50)
        pings_go_on(systemd, daemon)
        hub.results()


@pytest.mark.parametrize("protocol", ["stream", "unary"])
def test_a_hub_that_is_down_stalls_nothing(tmp_path: Path, protocol: str) -> None:
    """With a result that waits for it."""
    address = f"127.0.0.1:{free_port()}"
    process = HubProcess(address=address)
    try:
        with watched(tmp_path, hub=address, ARBD_HUB_PROTOCOL=protocol) as (daemon, systemd):
            pings_go_on(systemd, daemon, process.stop)
            process = HubProcess(address=address)
            systemd.wait_status("hub connected")
            pings_go_on(systemd, daemon)
    finally:
        process.stop()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "INVALID_ARGUMENT", "UNAUTHENTICATED"])
def test_results_that_a_hub_refuses_stall_nothing(tmp_path: Path, code: str) -> None:
    async def refuse(hub: ScriptedHub, result: pb.TaskResult, context: Context) -> bytes:
        await context.abort(grpc.StatusCode[code], "not today")
        raise AssertionError

    async def task_after_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        await asyncio.sleep(0.05)
        return pb.Task(id=f"t{hub.polls}", action="innocent").SerializeToString()

    def watch(address: str) -> None:
        env = {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_START_WITHOUT": "true"}
        with watched(tmp_path, hub=address, **env) as (daemon, systemd):
            pings_go_on(systemd, daemon)

    async def test() -> None:
        async with ScriptedHub(task_after_task, refuse) as hub:
            await asyncio.to_thread(watch, hub.address)
            assert hub.results

    asyncio.run(test())


def test_link_processes_that_work_or_hang_stall_nothing(tmp_path: Path) -> None:
    """One that was stopped has results that nobody sends; it is replaced by those who know it."""
    env = {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_LINKS": "1"}
    with Hub() as hub, watched(tmp_path, hub=hub.address, **env) as (daemon, systemd):
        hub.submit("echo", {}, count=3000)
        pings_go_on(systemd, daemon)
        hub.results()
        [link] = [pid for name, pids in daemon.family().items() if name.startswith("arbd:link") for pid in pids]
        hub.submit("sleep", {"seconds": 0.3}, count=4)
        systemd.wait_status("2 of 2 workers busy")
        os.kill(link, signal.SIGSTOP)
        try:
            pings_go_on(systemd, daemon)
        finally:
            os.kill(link, signal.SIGCONT)
        hub.results()


def test_a_wedged_worker_is_replaced_and_the_daemon_stays(tmp_path: Path) -> None:
    """It was stopped between two tasks: what waits in its ring runs elsewhere, long before any deadline."""
    with Hub() as hub, watched(tmp_path, hub=hub.address, TASK_EXECUTION_TIMEOUT="600") as (daemon, systemd):
        began_at = time.monotonic()
        workers = [pid for name, pids in daemon.family().items() if name.startswith("arbd:worker") for pid in pids]
        os.kill(workers[0], signal.SIGSTOP)
        ids = hub.submit("echo", {}, count=40)
        results = hub.results()
        assert {result.status for result in results.values()} == {"success"}
        assert len(results) == len(ids)
        assert [hub.kinds(task_id) for task_id in ids] == [["submitted", "handed_out", "result"]] * len(ids)
        assert time.monotonic() - began_at < 9
        assert len(daemon.wait_event("worker_wedged")) == 1
        daemon.wait_event("worker_ready", count=3)
        assert not psutil.pid_exists(workers[0])
        assert systemd.longest_silence(began_at, time.monotonic()) < WATCHDOG_S
        assert daemon.events("stalled") == []


def test_a_stopped_zygote_is_noticed_with_nothing_running(tmp_path: Path) -> None:
    with Hub() as hub, watched(tmp_path, hub=hub.address) as (daemon, systemd):
        began_at = time.monotonic()
        family = daemon.family()
        os.kill(family["arbd:zygote"][0], signal.SIGSTOP)
        daemon.wait_event("zygote_silent", timeout_s=30)
        daemon.wait_event("worker_ready", count=4)
        assert systemd.longest_silence(began_at, time.monotonic()) < WATCHDOG_S
        hub.submit("echo", {})
        assert len(hub.results()) == 1


def test_a_daemon_that_was_stopped_as_a_whole_has_stalled_nowhere(tmp_path: Path) -> None:
    with Hub() as hub, watched(tmp_path, hub=hub.address) as (daemon, systemd):
        daemon.signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        time.sleep(WHILE_S)
        assert systemd.pings(stopped_at + 0.2) == []
        daemon.signal(signal.SIGCONT)
        pings = len(systemd.pings())
        eventually(lambda: len(systemd.pings()) >= pings + 3)
        assert daemon.events("stalled") == []
