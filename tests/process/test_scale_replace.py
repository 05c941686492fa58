"""A daemon under load is scaled, its workers are replaced, its code is loaded again: no task is lost, and every command
is answered at once, also while the hub is down and every worker is stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from daemon_support import Arbd, Gate, Hub, at_best, daemon_of, eventually, on_loop, responses

from arbd.control import client as control
from arbd.control import protocol
from arbd.control.protocol import EventsReply, GetEvents, GetOperation, GetStatus, OperationReply, StatusReply
from arbd.control.reports import Operation, StatusReport
from arbd.core.lifecycle import State
from arbd.errors import ControlError
from arbd.hub.board import NewTask
from arbd.hub.client import HubClient
from arbd.hub.memory import Handle
from arbd.hub.process import HubProcess
from arbd.testing import RunningProvider

ANSWER_S = 0.1
CODE = """
import logging, os, time
from pathlib import Path
from arbd import Provider

provider = Provider(name="steered", execution_timeout=20)


@provider.actions.register(name="work")
def work():
    return {{"version": {version}, "pid": os.getpid()}}


@provider.actions.register(name="nap")
def nap():
    time.sleep(0.005)


@provider.actions.register(name="say")
def say(text):
    logging.getLogger("author").debug(text)


@provider.actions.register(name="stuck")
def stuck():
    while True:
        sum(range(10_000_000))
"""


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "steered.py"
    path.write_text(CODE.format(version=1))
    return path


@pytest.fixture
def daemon(source: Path, socket: Path) -> Iterator[RunningProvider]:
    with daemon_of(source, workers=2, control_socket=str(socket)) as daemon:
        yield daemon


def begin(socket: Path, request: protocol.ControlRequest) -> Operation:
    return control.ask(socket, request, OperationReply).operation


def follow(socket: Path, request: protocol.ControlRequest) -> Operation:
    """How an operation ended."""
    operation = begin(socket, request)

    def ended() -> Operation | None:
        now = control.ask(socket, GetOperation(id=operation.id), OperationReply).operation
        return None if now.state == "running" else now

    return eventually(ended, 30.0)


async def submit_stuck(hub: str, count: int) -> None:
    async with HubClient(hub) as client:
        await client.submit([NewTask("stuck", b"") for _ in range(count)], "stuck")


def status(socket: Path) -> StatusReport:
    return control.ask(socket, GetStatus(), StatusReply).report


@contextmanager
def load(daemon: RunningProvider, action: str = "work") -> Iterator[list[Handle]]:
    """Tasks without a pause inside this block; at its end the list has all of them."""
    handles: list[Handle] = []
    stop = Event()

    def submit() -> None:
        while not stop.is_set():
            batch = [daemon.submit(action) for _ in range(20)]
            handles.extend(batch)
            batch[-1].result(30)

    thread = Thread(target=submit)
    thread.start()
    try:
        eventually(lambda: len(handles) > 100)
        yield handles
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("action", ["work", "nap"])
def test_no_task_is_lost_by_more_workers_and_fewer(daemon: RunningProvider, socket: Path, action: str) -> None:
    with load(daemon, action) as handles:
        for workers in (5, 1, 3):
            ended = follow(socket, protocol.Scale(workers=workers))
            assert (ended.state, ended.data["workers"]) == ("done", workers)
            assert len(daemon.worker_pids) == workers
            seen = len(handles)
            eventually(lambda seen=seen: len(handles) > seen + 40)  # type: ignore[misc] # mypy cannot tell its type
    assert {response.status for response in responses(daemon, handles)} == {"success"}
    seen_status = status(socket)
    assert (seen_status.workers_wanted, seen_status.workers_at_next_start) == (3, 2)


def test_what_the_next_start_has_is_told_as_the_last_reload_has_found_it(
    source: Path, socket: Path, tmp_path: Path
) -> None:
    file = tmp_path / "arbd.toml"
    file.write_text(f'name = "prov"\nworkers = 2\npin = false\n[control]\nsocket = "{socket}"\n')
    command = ["-m", "arbd", "run", str(source), "--hub", "127.0.0.1:1", "--log-format", "json"]
    with Arbd(command, tmp_path) as arbd:
        arbd.wait_event("started")
        file.write_text(file.read_text().replace("workers = 2", "workers = 3"))
        assert follow(socket, protocol.Reload()).state == "done"
        assert (status(socket).workers_wanted, status(socket).workers_at_next_start) == (2, 3)
        ended = follow(socket, protocol.Scale(workers=1))
        assert ended.data == {"workers": 1, "next_start": 3}
        assert "the next start has 3 (setting workers: 3)" in ended.text
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_each_of_more_workers_gets_tasks(daemon: RunningProvider, socket: Path) -> None:
    follow(socket, protocol.Scale(workers=4))
    responses(daemon, [daemon.submit("nap") for _ in range(200)])
    assert all(worker.tasks_done for worker in status(socket).workers)


def test_what_a_surplus_worker_runs_it_finishes(socket: Path, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{number}") for number in range(3)]
    with daemon_of(workers=3, control_socket=str(socket), execution_timeout=30) as daemon:
        running = [daemon.submit("hold", gate.payload) for gate in gates]
        for gate in gates:
            assert gate.pid
        operation = begin(socket, protocol.Scale(workers=1))
        eventually(lambda: len([each for each in status(socket).workers if each.state == "serving"]) == 1)
        assert begin(socket, GetOperation(id=operation.id)).state == "running"
        for gate in gates:
            gate.open()
        assert {response.status for response in responses(daemon, running)} == {"success"}
        eventually(lambda: begin(socket, GetOperation(id=operation.id)).state == "done")


def test_no_task_is_lost_when_every_worker_is_replaced(daemon: RunningProvider, socket: Path) -> None:
    before = set(daemon.worker_pids)
    with load(daemon) as handles:
        ended = follow(socket, protocol.Replace())
        assert (ended.state, ended.done) == ("done", 2)
    assert before.isdisjoint(daemon.worker_pids)
    assert {response.status for response in responses(daemon, handles)} == {"success"}


def test_one_worker_is_replaced(daemon: RunningProvider, socket: Path) -> None:
    first, second = daemon.worker_pids
    assert follow(socket, protocol.Replace(worker=1)).state == "done"
    assert daemon.worker_pids[0] == first
    assert daemon.worker_pids[1] != second
    [replaced] = status(socket).replacements
    assert (replaced.slot, replaced.reason) == (1, "command")


def test_a_reload_that_is_followed_is_done_when_only_the_new_code_serves(
    daemon: RunningProvider, socket: Path, source: Path
) -> None:
    source.write_text(CODE.format(version=2) + "\n# a later one\n")
    with load(daemon) as handles:
        ended = follow(socket, protocol.Reload())
        assert ended.state == "done"
        assert {each.generation for each in status(socket).workers if each.state == "serving"} == {2}
        assert daemon.run("work").data["version"] == 2
    assert {response.status for response in responses(daemon, handles)} == {"success"}


def test_a_reload_of_broken_code_fails_with_the_reason_and_the_old_code_goes_on(
    daemon: RunningProvider, socket: Path, source: Path
) -> None:
    source.write_text("1 / 0\n")
    ended = follow(socket, protocol.Reload())
    assert ended.state == "failed"
    assert "ZeroDivisionError" in ended.text
    assert daemon.run("work").data["version"] == 1


def test_a_reload_whose_workers_are_unfit_fails_with_the_reason(
    daemon: RunningProvider, socket: Path, source: Path
) -> None:
    hook = "\n\n@provider.on_worker_start\ndef start():\n    raise ConnectionError('no database')\n"
    source.write_text(CODE.format(version=2) + hook)
    ended = follow(socket, protocol.Reload())
    assert ended.state == "failed"
    assert "no database" in ended.text
    assert daemon.run("work").data["version"] == 1


def test_the_notable_events_tell_of_it_all_without_gaps(daemon: RunningProvider, socket: Path) -> None:
    last = max((each.number for each in control.ask(socket, GetEvents(), EventsReply).events), default=0)
    follow(socket, protocol.Scale(workers=1))
    follow(socket, protocol.Replace())
    os.kill(daemon.worker_pids[0], signal.SIGKILL)
    wanted = ["scaling", "scaled", "replacing", "worker_replaced", "worker_died_idle", "worker_replaced"]

    def told() -> list[str]:
        return [each.event for each in control.ask(socket, GetEvents(after=last), EventsReply).events]

    eventually(lambda: len(told()) >= len(wanted))
    assert sorted(told()) == sorted(wanted)


def test_every_command_is_answered_at_once_while_all_workers_are_stuck_and_the_hub_is_down(
    source: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "run" / "prov.sock"
    env = {"ARBD_RUNTIME_DIR": str(tmp_path / "run")}
    with HubProcess() as hub, Arbd.run(hub.address, tmp_path, target=source, env=env) as arbd:
        arbd.wait_serving()
        asyncio.run(submit_stuck(hub.address, 2))
        eventually(lambda: len([each for each in status(socket).workers if each.running is not None]) == 2)
        hub.process.kill()
        arbd.wait_event("hub_unavailable")

        def ask_all() -> None:
            for request, expected in (
                (protocol.Scale(workers=3), OperationReply),
                (protocol.Scale(workers=1), OperationReply),
                (protocol.Scale(workers=2), OperationReply),
                (protocol.Replace(), OperationReply),
                (protocol.Reload(), OperationReply),
                (protocol.SetLogLevel(level="debug"), protocol.Done),
                (GetEvents(), EventsReply),
                (GetStatus(), StatusReply),
            ):
                began = time.monotonic()
                control.ask(socket, request, expected)
                took = time.monotonic() - began
                assert took < ANSWER_S, f"{type(request).__name__} took {took * 1e3:.0f} ms"

        at_best(ask_all)


class TestSignals:
    @pytest.fixture
    def arbd(self, source: Path, tmp_path: Path) -> Iterator[Arbd]:
        with Hub() as hub, Arbd.run(hub.address, tmp_path, target=source) as arbd:
            arbd.wait_serving()
            yield arbd

    def workers(self, arbd: Arbd) -> int:
        return len([name for name in arbd.family() if name.startswith("arbd:worker-")])

    def test_one_more_and_one_fewer_and_never_none(self, arbd: Arbd) -> None:
        arbd.process.send_signal(signal.SIGTTIN)
        eventually(lambda: self.workers(arbd) == 3)
        for _ in range(3):
            arbd.process.send_signal(signal.SIGTTOU)
            arbd.wait_event("scaled", 1)
            seen = len(arbd.events("scaling"))
            eventually(lambda seen=seen: len(arbd.events("scaled")) >= seen)  # type: ignore[misc] # the same
        eventually(lambda: self.workers(arbd) == 1)
        arbd.process.send_signal(signal.SIGTTOU)
        arbd.wait_event("not_scaled")
        assert self.workers(arbd) == 1

    def test_a_storm_of_them_is_one_request_after_the_other(self, arbd: Arbd) -> None:
        for _ in range(200):
            arbd.process.send_signal(signal.SIGTTOU)
        eventually(lambda: self.workers(arbd) == 1)
        assert len(arbd.events("scaling")) <= 5
        assert arbd.process.poll() is None


class TestLogLevel:
    def said(self, arbd: Arbd, text: str) -> list[str]:
        return [str(event.get("role")) for event in arbd.events(text)]

    def test_all_workers_those_that_come_and_those_of_later_code_obey(self, source: Path, tmp_path: Path) -> None:
        socket = tmp_path / "run" / "prov.sock"
        env = {"ARBD_RUNTIME_DIR": str(tmp_path / "run")}
        with Hub() as hub, Arbd.run(hub.address, tmp_path, target=source, workers=1, env=env) as arbd:
            arbd.wait_serving(1)

            def say(text: str) -> list[str]:
                hub.submit("say", {"text": text})
                hub.results()
                hub.submit("work")
                hub.results()  # what the first wrote is there when the second has ended
                return self.said(arbd, text)

            assert eventually(lambda: say("one")) == ["worker"]
            control.ask(socket, protocol.SetLogLevel(level="info"), protocol.Done)
            assert say("two") == []
            follow(socket, protocol.Replace())
            assert say("four") == []
            follow(socket, protocol.Reload())
            assert say("five") == []
            control.ask(socket, protocol.SetLogLevel(level="debug"), protocol.Done)
            assert eventually(lambda: say("six"))


def test_a_machine_without_descriptors_refuses_and_goes_on(source: Path, tmp_path: Path) -> None:
    socket = tmp_path / "run" / "prov.sock"
    before = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))"
    env = {"ARBD_RUNTIME_DIR": str(tmp_path / "run")}
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=source, env=env, before=before) as arbd:
        arbd.wait_serving()
        with pytest.raises(ControlError, match=r"1000 workers need \d+ open files, and the limit is 200"):
            begin(socket, protocol.Scale(workers=1000))
        assert status(socket).workers_wanted == 2
        hub.submit("work")
        assert len(hub.results()) == 1


def test_a_worker_that_starts_when_its_slot_goes_is_ended(daemon: RunningProvider, socket: Path) -> None:
    begin(socket, protocol.Scale(workers=6))
    assert follow(socket, protocol.Scale(workers=2)).state == "done"
    pool = daemon.daemon.pool
    assert on_loop(daemon, lambda: {worker.state for worker in pool.workers.values()}) == {State.SERVING}
    assert on_loop(daemon, lambda: pool.out_of_service()) == {}
    children = [each.name() for each in psutil.Process().children(recursive=True)]
    assert len([name for name in children if name.startswith("arbd:worker")]) == 2
