"""A real daemon that is drained, resumed, paused and told to kill: no task is lost, over every link, whatever the hub
and the workers do, and each answer is there within 100 ms."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from daemon_support import ONCE, Arbd, Gate, Hub, at_best, daemon_of, eventually, learn, responses

from arbd.control import client, protocol
from arbd.control.protocol import Done, EventsReply, OperationReply, StatusReply
from arbd.control.reports import NotableEvent, Operation, StatusReport
from arbd.errors import ControlError
from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.memory import Handle
from arbd.hub.process import HubProcess

LINKS = {
    "unary": {"ARBD_HUB_PROTOCOL": "unary"},
    "stream": {"ARBD_HUB_PROTOCOL": "stream"},
    "auto": {"ARBD_HUB_PROTOCOL": "auto"},
    "link processes": {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_LINKS": "2"},
}
IN_TIME_S = 0.1


class Steer:
    """What an operator asks a daemon for, by its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def status(self) -> StatusReport:
        return client.ask(self.path, protocol.GetStatus(), StatusReply).report

    def drain(self) -> Operation:
        return client.ask(self.path, protocol.DrainDaemon(), OperationReply).operation

    def at(self, operation: Operation) -> Operation:
        return client.ask(self.path, protocol.GetOperation(id=operation.id), OperationReply).operation

    def ended(self, operation: Operation, timeout_s: float = 20.0) -> Operation:
        return eventually(lambda: (now := self.at(operation)).state != "running" and now, timeout_s)

    def resume(self, action: str | None = None) -> str:
        return client.ask(self.path, protocol.Resume(action=action), Done).text

    def pause(self, action: str) -> str:
        return client.ask(self.path, protocol.PauseAction(action=action), Done).text

    def kill(self, task_id: str) -> str:
        return client.ask(self.path, protocol.Kill(task_id=task_id), Done).text

    def events(self) -> list[NotableEvent]:
        return client.ask(self.path, protocol.GetEvents(), EventsReply).events


def run(hub: str, directory: Path, env: dict[str, str] | None = None, workers: int = 2) -> tuple[Arbd, Steer]:
    path = directory / "s.sock"
    arbd = Arbd.run(hub, directory, workers=workers, env={"ARBD_CONTROL_SOCKET": str(path), **(env or {})})
    return arbd, Steer(path)


def arbd_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arbd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("link", LINKS)
def test_drains_and_resumes_under_load_lose_nothing(tmp_path: Path, link: str) -> None:
    with Hub(hold_s=0.3) as hub:
        arbd, steer = run(hub.address, tmp_path, LINKS[link])
        with arbd:
            arbd.wait_serving()
            ids = hub.submit("sleep", {"seconds": 0.005}, count=1000)
            for done in (50, 300):
                eventually(lambda done=done: hub.done() > done)  # type: ignore[misc] # a default binds it
                operation = steer.drain()
                assert steer.ended(operation).state == "done"
                drained_at = hub.done()
                assert steer.status().state == "drained"
                assert hub.stats()["leased"] == 0
                time.sleep(0.1)  # for something that must not happen: a task that is taken
                assert hub.done() == drained_at < 1000
                assert steer.resume() == "the daemon takes tasks again"
                assert steer.status().state == "serving"
            results = hub.results()
            assert {results[task_id].status for task_id in ids} == {"success"}
            assert [hub.kinds(task_id) for task_id in ids] == [ONCE] * len(ids)


@pytest.mark.parametrize("link", LINKS)
def test_hasty_operators_leave_a_daemon_that_takes_tasks(tmp_path: Path, link: str) -> None:
    """Drains and resumes that overtake each other: what counts is the last word."""
    with Hub(hold_s=0.3) as hub:
        arbd, steer = run(hub.address, tmp_path, LINKS[link])
        with arbd:
            arbd.wait_serving()
            for _ in range(20):
                operation = steer.drain()
                steer.resume()
            assert steer.ended(operation).state in ("failed", "done")  # it may have been over before the resume
            assert set(hub.submit("echo", {}, count=20)) <= set(hub.results())
            for _ in range(5):
                steer.resume()
                operation = steer.drain()
            assert steer.ended(operation).state == "done"
            [task_id] = hub.submit("echo", {})
            time.sleep(0.1)  # for something that must not happen
            assert hub.kinds(task_id) == ["submitted"]
            steer.resume()
            assert hub.results()[task_id].status == "success"


def test_running_tasks_are_finished_and_counted_and_who_asked_is_noted(tmp_path: Path) -> None:
    with Hub() as hub:
        gate = Gate(tmp_path)
        arbd, steer = run(hub.address, tmp_path)
        with arbd:
            arbd.wait_serving()
            [held] = hub.submit("hold", gate.payload)
            assert gate.pid
            operation = steer.drain()
            assert (operation.state, operation.text) == ("running", "1 task and 0 results left")
            said = eventually(lambda: (now := steer.at(operation)).total == 1 and now)
            assert (said.done, steer.status().state) == (0, "draining")
            gate.open()
            assert steer.ended(operation).state == "done"
            assert hub.results()[held].status == "success"
            [asked, drained] = [each for each in steer.events() if "drain" in each.event]
            assert (asked.event, drained.event) == ("drain_asked", "drained")
            assert (asked.fields["by_uid"], asked.fields["by_pid"]) == (os.getuid(), os.getpid())


def test_sigterm_in_the_middle_of_a_drain_and_when_it_is_over(tmp_path: Path) -> None:
    with Hub() as hub:
        for name in ("middle", "over"):
            directory = tmp_path / name
            directory.mkdir()
            gate = Gate(directory)
            arbd, steer = run(hub.address, directory)
            with arbd:
                arbd.wait_serving()
                [held] = hub.submit("hold", gate.payload)
                assert gate.pid
                operation = steer.drain()
                if name == "over":
                    gate.open()
                    steer.ended(operation)
                arbd.signal(signal.SIGTERM)
                if name == "middle":
                    arbd.wait_event("draining")
                    with pytest.raises(ControlError, match="stopping"):
                        steer.resume()
                    gate.open()
                assert arbd.exit_code() == 0
                assert hub.results()[held].status == "success"


def test_sigterm_does_not_wait_for_tasks_of_a_paused_action(tmp_path: Path) -> None:
    with Hub() as hub:
        arbd, steer = run(hub.address, tmp_path, {"ARBD_DRAIN_TIMEOUT": "20"})
        with arbd:
            arbd.wait_serving()
            steer.pause("echo")
            [task_id] = hub.submit("echo", {})
            eventually(lambda: steer.status().in_flight == 1)
            begin = time.monotonic()
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0
            assert time.monotonic() - begin < 10
            assert hub.results()[task_id].status == "limit"


@pytest.mark.parametrize("link", LINKS)
def test_a_paused_action_takes_no_room_from_others(tmp_path: Path, link: str) -> None:
    """Many more of its tasks than may wait, and then one of another action, which has to come through."""
    with Hub() as hub:
        arbd, steer = run(hub.address, tmp_path, LINKS[link])
        with arbd:
            arbd.wait_serving()
            assert "action echo is paused" in steer.pause("echo")
            paused = hub.submit("echo", {}, count=400)
            [other] = hub.submit("innocent", {})
            eventually(lambda: hub.kinds(other) == ONCE)
            [seen] = eventually(lambda: (now := steer.status().paused)[0].waiting + now[0].refused == 400 and now)
            assert (seen.action, seen.waiting, seen.refused) == ("echo", 256, 144)
            assert "256 tasks had waited" in steer.resume("echo")
            results = hub.results()
            statuses = [results[task_id].status for task_id in paused]
            assert (statuses.count("success"), statuses.count("limit")) == (256, 144)
            limited = next(results[each] for each in paused if results[each].status == "limit")
            assert json.loads(limited.result)["data"]["wait_time"] == 30
            assert [hub.kinds(task_id) for task_id in paused] == [ONCE] * 400


def test_what_lies_in_a_ring_behind_a_running_task_is_not_begun(tmp_path: Path) -> None:
    """Twenty times in a row under load: no task of the action begins after the answer, and none is lost."""
    with daemon_of(workers=2, control_socket=str(tmp_path / "s.sock")) as daemon:
        steer = Steer(tmp_path / "s.sock")
        learn(daemon, tmp_path)
        handles: list[Handle] = []
        for _ in range(20):
            responses(daemon, handles[:-100])  # more than 256 that wait are refused
            handles += [daemon.submit("echo", {}) for _ in range(100)]
            steer.pause("echo")
            running = [worker.running for worker in steer.status().workers if worker.running]
            eventually(lambda: not [each for each in steer.status().workers if each.running])
            done = sum(handle.done() for handle in handles)
            assert len(running) <= 2
            assert daemon.run("mirror", {"text": "others run"}).status == "success"
            assert sum(handle.done() for handle in handles) <= done + 2  # those that were just being reported
            steer.resume("echo")
        assert {each.status for each in responses(daemon, handles)} == {"success"}


def test_a_pause_survives_a_reload(tmp_path: Path) -> None:
    with daemon_of(control_socket=str(tmp_path / "s.sock")) as daemon:
        steer = Steer(tmp_path / "s.sock")
        before = daemon.worker_pids
        steer.pause("echo")
        handle = daemon.submit("echo", {})
        daemon.reload()
        eventually(lambda: set(daemon.worker_pids).isdisjoint(before) and steer.status().workers[0].state == "serving")
        assert daemon.run("innocent").status == "success"
        [seen] = steer.status().paused
        assert (seen.action, seen.waiting) == ("echo", 1)
        assert not handle.done()
        steer.resume()
        assert daemon.response(handle).status == "success"


def test_a_kill_ends_a_task_that_runs_and_one_that_waits_behind_it(tmp_path: Path) -> None:
    with daemon_of(control_socket=str(tmp_path / "s.sock"), execution_timeout=30) as daemon:
        steer = Steer(tmp_path / "s.sock")
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        begun, waiting = daemon.submit("hold", gate.payload), daemon.submit("echo", {})
        assert gate.pid
        eventually(lambda: steer.status().in_flight == 2)
        steer.kill(waiting.id)
        assert daemon.response(waiting).error_code == "CANCELLED"
        assert "with worker 0" in steer.kill(begun.id)
        assert daemon.response(begun).error_code == "CANCELLED"
        with pytest.raises(ControlError, match="no task"):
            steer.kill(begun.id)
        assert daemon.run("echo", {}).status == "success"


def test_a_kill_ends_a_task_that_is_stuck_in_c_with_its_worker(tmp_path: Path) -> None:
    with daemon_of(control_socket=str(tmp_path / "s.sock"), kill_grace=0.3, execution_timeout=30) as daemon:
        steer = Steer(tmp_path / "s.sock")
        before = daemon.worker_pids
        stuck = daemon.submit("stuck_in_c")
        eventually(lambda: [each for each in steer.status().workers if each.running])
        assert "if it runs on for 0.3 s, the worker is killed" in steer.kill(stuck.id)
        assert daemon.response(stuck).error_code == "CANCELLED"
        assert daemon.run("echo", {}).status == "success"
        assert set(daemon.worker_pids).isdisjoint(before)


def _asks(steer: Steer) -> list[Callable[[], Any]]:
    return [
        steer.drain,
        steer.resume,
        lambda: steer.pause("echo"),
        lambda: steer.resume("echo"),
        lambda: steer.kill("x"),
    ]


def test_every_answer_is_there_in_time_while_the_hub_is_down_and_all_workers_are_stuck(tmp_path: Path) -> None:
    """Tasks are stuck in C with others behind them, then the hub is stopped, then it is gone."""
    hub = HubProcess(hold_s=0.2)
    arbd, steer = run(hub.address, tmp_path, {"TASK_EXECUTION_TIMEOUT": "600"}, workers=4)
    with arbd, closing_hub(hub):
        arbd.wait_serving(4)
        asyncio.run(submit(hub.address, "stuck_in_c", 4))
        eventually(lambda: len([each for each in steer.status().workers if each.running]) == 4)
        hub.process.send_signal(signal.SIGSTOP)
        slowest: list[float] = []

        def measured() -> None:
            slowest.clear()
            for ask in _asks(steer):
                begin = time.monotonic()
                with suppress(ControlError):  # there is no task x
                    ask()
                slowest.append(time.monotonic() - begin)
            assert max(slowest) < IN_TIME_S

        at_best(measured)
        hub.process.kill()
        eventually(lambda: steer.status().link.state == "down", 30)
        at_best(measured)
        print(f"slowest answer: {max(slowest) * 1000:.1f} ms")
        [stuck] = [each.running for each in steer.status().workers if each.slot == 0]
        assert stuck is not None
        assert "with worker 0" in steer.kill(stuck.id)


@contextmanager
def closing_hub(hub: HubProcess) -> Iterator[None]:
    """A hub that may be stopped or gone already when the block ends."""
    try:
        yield
    finally:
        hub.process.kill()
        hub.stop()


async def submit(address: str, action: str, count: int) -> None:
    async with HubClient(address) as hub:
        await hub.submit([NewTask(action, b"{}") for _ in range(count)])


def test_a_drain_while_the_hub_is_down_says_so_and_a_resume_ends_it(tmp_path: Path) -> None:
    arbd, steer = run("127.0.0.1:1", tmp_path)
    with arbd:
        arbd.wait_serving()
        eventually(lambda: steer.status().link.state == "down")
        assert steer.ended(steer.drain()).state == "done"  # nothing is left, and nothing can come
        assert steer.status().state == "drained"
        steer.resume()
        assert steer.status().state == "serving"


def test_the_commands(tmp_path: Path) -> None:
    with Hub() as hub:
        arbd, steer = run(hub.address, tmp_path)
        daemon = str(steer.path)
        with arbd:
            arbd.wait_serving()
            gate = Gate(tmp_path)
            [held] = hub.submit("hold", gate.payload)
            assert gate.pid
            begun = arbd_command("drain", daemon, "--no-wait")
            assert (begun.returncode, begun.stdout) == (0, "drain has begun: 1 task and 0 results left\n")
            gate.open()
            drained = arbd_command("drain", daemon)
            assert (drained.returncode, drained.stderr) == (0, "")
            assert drained.stdout.startswith("drained: no task is left")
            assert json.loads(arbd_command("drain", daemon, "--json").stdout)["state"] == "done"
            assert "drained" in arbd_command("status", daemon).stdout
            assert arbd_command("resume", "--daemon", daemon).stdout == "the daemon takes tasks again\n"
            assert arbd_command("pause", "echo", "--daemon", daemon).returncode == 0
            [waits] = hub.submit("echo", {})
            eventually(lambda: steer.status().in_flight == 1)
            assert "1 task waiting for `arbd resume echo`" in arbd_command("status", daemon).stdout
            killed = arbd_command("kill", waits, "--daemon", daemon, "--json")
            assert "was waiting" in json.loads(killed.stdout)["text"]
            assert arbd_command("resume", "echo", "--daemon", daemon).returncode == 0
            wrong = arbd_command("pause", "ecco", "--daemon", daemon)
            assert (wrong.returncode, wrong.stdout) == (1, "")
            assert "did you mean echo?" in wrong.stderr
            assert arbd_command("pause").returncode == 2
            assert arbd_command("kill", "unknown", "--daemon", daemon).returncode == 1
            assert hub.results()[held].status == "success"
