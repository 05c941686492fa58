"""A log that nobody reads costs lines, which are counted, and nothing else: no task, no deadline, no end, no exit code.

Standard error is full before the daemon starts: whoever waited for its reader would wait for as long as the test.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, ZOO, Arbd, Hub, eventually, is_alive

from arbd.control import client as control
from arbd.control.protocol import GetStatus, StatusReply
from arbd.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE, EXIT_ZYGOTE
from arbd.hub.board import NewTask

CHATTY = PROVIDERS / "chatty.py"
LINES = 50
FILLING = b"."


class Log:
    """Standard error of a daemon: full, until somebody reads it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        if kind == "socket":
            ours, theirs = socket.socketpair()
            self._read, self.write = ours.detach(), theirs.detach()
        elif kind == "terminal":
            self._read, self.write = os.openpty()
            tty.setraw(self.write)
        else:
            self._read, self.write = os.pipe()
        self._got = bytearray()
        self._reader = threading.Thread(target=self._take)
        self._fill()

    def _fill(self) -> None:
        os.set_blocking(self.write, False)
        for size in (4096, 1):
            try:
                while True:
                    os.write(self.write, FILLING * size)
            except BlockingIOError:
                pass
        os.set_blocking(self.write, True)

    def _take(self) -> None:
        try:
            while data := os.read(self._read, 1 << 16):
                self._got += data
        except OSError:
            pass  # the end of a terminal

    def read_from_now_on(self) -> None:
        """The reader is back."""
        self._reader.start()

    def has_been_read(self) -> bool:
        """Whether the reader has taken all that is there, so that the next line has room."""
        return not select.select([self._read], [], [], 0)[0]

    def text(self) -> bytes:
        """All that was read until nobody could write any more."""
        os.close(self.write)
        self.write = -1
        self._reader.join(30)
        assert not self._reader.is_alive()
        return bytes(self._got).lstrip(FILLING)

    def events(self) -> list[dict[str, Any]]:
        """The same; each line of it is an object."""
        return [json.loads(line) for line in self.text().splitlines()]

    def is_still_shared(self) -> bool:
        """Whether those that it is shared with find it as it was."""
        return fcntl.fcntl(self.write, fcntl.F_GETFL) & os.O_NONBLOCK == 0

    def close(self) -> None:
        """Let go of it."""
        if self.write >= 0:
            os.close(self.write)
        os.close(self._read)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    log = Log(getattr(request, "param", "pipe"))
    yield log
    log.close()


def start(hub: Hub, log: Log, directory: Path, target: Path = CHATTY, workers: int = 2, **env: str) -> Arbd:
    """A daemon with a log of every level, which is asked over a socket of its own."""
    env = {"ARBD_CONTROL_SOCKET": str(directory / "socket"), "ARBD_KILL_GRACE": "0", **env}
    return Arbd.run(hub.address, directory, target=target, workers=workers, env=env, stderr=log.write)


def lines_lost(directory: Path) -> int:
    return control.ask(directory / "socket", GetStatus(), StatusReply).report.log_lines_lost


def chat(hub: Hub, count: int) -> list[str]:
    return hub.submit("chat", {"lines": LINES}, count)


def answers(hub: Hub) -> dict[str, Any]:
    """The data of every answer there is to be."""
    return {task_id: json.loads(result.result)["data"] for task_id, result in hub.results().items()}


@pytest.mark.parametrize("log", ["pipe", "socket", "terminal"], indirect=True)
def test_tasks_are_answered_deadlines_hold_and_the_daemon_drains(log: Log, tmp_path: Path) -> None:
    with Hub() as hub, start(hub, log, tmp_path) as arbd:
        ids = chat(hub, 100)
        found = answers(hub)
        assert [found[task_id] for task_id in ids] == [{"standard_error_waits": True}] * 100
        begun = time.monotonic()
        [late] = hub.submit("late")
        assert answers(hub)[late]["error_code"] == "TIMEOUT"
        assert time.monotonic() - begun < 5
        assert lines_lost(tmp_path) > 90 * LINES  # a terminal has room for some again when it was full
        command = [sys.executable, "-m", "arbd", "status", str(tmp_path / "socket")]
        shown = subprocess.run(command, capture_output=True, text=True, check=True)
        assert " lines lost" in shown.stdout
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
        assert log.is_still_shared()


@pytest.mark.parametrize("log", ["pipe", "socket", "terminal"], indirect=True)
def test_a_reader_that_comes_back_finds_whole_lines_and_what_is_missing(log: Log, tmp_path: Path) -> None:
    with Hub() as hub, start(hub, log, tmp_path, workers=1) as arbd:
        chat(hub, 20)
        hub.results()
        log.read_from_now_on()
        eventually(log.has_been_read)
        chat(hub, 20)
        hub.results()
        eventually(log.has_been_read)  # whoever ends while it is full says it in vain
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
    if log.kind == "terminal":  # there lines go out in parts, and those of several processes may mix
        assert b"log_lines_lost" in log.text()
        return
    events = log.events()
    assert {event["event"] for event in events} >= {"chat", "log_lines_lost", "draining", "stopped"}
    told: Counter[str] = Counter()
    for event in events:
        if event["event"] == "log_lines_lost":
            told[event["role"]] += event["count"]
    assert told["supervisor"] > 0
    assert told["worker"] >= LINES


def test_no_process_of_any_role_waits(log: Log, tmp_path: Path) -> None:
    """Link processes, the zygote, where monitors are asked in one place, workers started by exec."""
    with (
        Hub(lease_s=2.0) as hub,
        start(hub, log, tmp_path, ARBD_HUB_LINKS="2", ARBD_HUB_PROTOCOL="unary") as arbd,
    ):
        chat(hub, 20)
        asked = hub.submit("ask", count=50)
        found = answers(hub)
        assert all(found[task_id] for task_id in asked)  # what the monitor raised
        before = lines_lost(tmp_path)
        assert before > 20 * LINES + 50
        [limits] = arbd.family()["arbd:limits"]
        os.kill(limits, signal.SIGKILL)
        eventually(lambda: lines_lost(tmp_path) > before)  # the zygote's
        hub.submit("ask")
        assert len(hub.results()) == 71
        for pid in [pid for name, pids in arbd.family().items() if name.startswith("arbd:link-") for pid in pids]:
            os.kill(pid, signal.SIGKILL)
        chat(hub, 20)
        assert len(hub.results()) == 91
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


def test_workers_that_are_started_by_exec_count_as_well(log: Log, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(CHATTY.read_text().replace(", rate_limit_monitor=Failing()", ""))
    with Hub() as hub, start(hub, log, tmp_path, tmp_path / "chatty.py", CHATTY_THREAD="1") as arbd:
        chat(hub, 20)
        assert len(hub.results()) == 20
        assert lines_lost(tmp_path) > 20 * LINES
        before = {pid for name, pids in arbd.family().items() if name.startswith("arbd:worker") for pid in pids}
        arbd.signal(signal.SIGHUP)
        eventually(lambda: not any(map(is_alive, before)), 30)  # with what they had not said yet
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK


def test_long_lines_are_whole_or_not_there(log: Log, tmp_path: Path) -> None:
    """Some of them do not fit into a pipe as it is made, even when it is empty."""
    with Hub() as hub, start(hub, log, tmp_path) as arbd:
        sizes = [10, 5_000, 20_000, 100_000]
        tasks = [NewTask("traceback", json.dumps({"length": size}).encode()) for size in sizes * 5]
        hub.results_of(tasks)
        log.read_from_now_on()
        hub.results_of(tasks)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
    assert {len(event["text"]) for event in log.events() if event["event"] == "long"} >= {10, 5_000}


def test_what_was_lost_with_a_worker_that_died_stays_counted(log: Log, tmp_path: Path) -> None:
    with Hub() as hub, start(hub, log, tmp_path):
        counts = []
        for _ in range(3):
            hub.submit("late")
            hub.results()
            counts.append(lines_lost(tmp_path))
        assert counts[0] > 0
        assert counts == sorted(set(counts))


def test_a_reader_that_went_away_costs_lines_as_well(tmp_path: Path) -> None:
    log = Log("pipe")
    os.close(log._read)
    with Hub() as hub, start(hub, log, tmp_path) as arbd:
        chat(hub, 20)
        assert len(hub.results()) == 20
        assert lines_lost(tmp_path) > 20 * LINES
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
    os.close(log.write)


def test_a_worker_leaves_though_nobody_reads_what_its_actions_printed(log: Log, tmp_path: Path) -> None:
    """The text waits in the worker until it leaves, and then finds no room."""
    buffered = {"PYTHONUNBUFFERED": ""}
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=ZOO, env=buffered, stdout=log.write) as arbd:
        arbd.wait_serving()
        hub.submit("print", {"text": "unread"}, 20)
        assert {result.status for result in hub.results().values()} == {"success"}
        workers = {pid for name, pids in arbd.family().items() if name.startswith("arbd:worker") for pid in pids}
        arbd.signal(signal.SIGHUP)
        arbd.wait_event("worker_ready", 4)
        eventually(lambda: not any(map(is_alive, workers)))
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == EXIT_OK
        assert log.is_still_shared()


@pytest.mark.parametrize("flags", [[], ["--debug"]])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["good.py", "--no-such-option"], EXIT_USAGE),
        (["nowhere.py"], EXIT_CONFIG),
        (["good.py", "--workers", "0"], EXIT_CONFIG),
        (["broken.py"], EXIT_ZYGOTE),
        (["loud.py"], EXIT_ZYGOTE),
    ],
)
def test_the_end_and_its_exit_code_are_those_of_a_log_that_is_read(
    arguments: list[str], code: int, flags: list[str], log: Log, tmp_path: Path
) -> None:
    (tmp_path / "good.py").write_text("from arbd import Provider\nprovider = Provider(name='good')\n")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "loud.py").write_text("raise ValueError('x' * 60_000)\n")
    with Arbd(["-m", "arbd", *flags, "run", *arguments, "--name", "p"], tmp_path, stderr=log.write) as arbd:
        assert arbd.exit_code() == code
        assert log.is_still_shared()


def test_the_embedded_hub_starts_and_ends(log: Log, tmp_path: Path) -> None:
    with Arbd(["-m", "arbd", "--debug", "hub", "--listen", "127.0.0.1:0"], tmp_path, stderr=log.write) as hub:
        eventually(lambda: hub.out.read_text().startswith("arbd hub: listening on "))
        hub.signal(signal.SIGTERM)
        assert hub.exit_code() == EXIT_OK
    nowhere = ["--insecure", "--listen", "nowhere:1"]
    with Arbd(["-m", "arbd", "--debug", "hub", *nowhere], tmp_path, stderr=log.write) as hub:
        assert hub.exit_code() == 1
