"""Claim: an action that fails again and again writes one traceback, and how often it failed; each answer tells all the
same, and a level of ``debug`` writes them all. Under systemd each line has its priority."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from daemon_support import Arbd, Hub

from arbd.hub.board import NewTask

FAILING = """
import threading
from arbd import Provider
from arbd.errors import ProviderError

provider = Provider(name="failing"{more})

class NotForMe(ProviderError): ...

@provider.actions.register()
def fails(n: int):
    if n % 2:
        raise LookupError(f"no {{n}}")
    raise KeyError(n)

@provider.actions.register()
def refuses(n: int):
    raise NotForMe(f"not {{n}}")

@provider.actions.register()
def starts(n: int):
    thread = threading.Thread(target=lambda: [][n])
    thread.start()
    thread.join()
"""
OWN = ", logger=__import__('arbd.logger').logger.Logger('own')"
COUNT = 20


def events_of(directory: Path, level: str, more: str, action: str) -> list[dict[str, object]]:
    target = directory / "failing.py"
    target.write_text(FAILING.format(more=more))
    tasks = [NewTask(action, json.dumps({"n": n}).encode()) for n in range(COUNT)]
    command = ["-m", "arbd", "run", str(target), "--name", "prov", "--workers", "1", "--no-pin", "--log-format", "json"]
    with Hub() as hub, Arbd([*command, "--hub", hub.address, "--log-level", level], directory) as daemon:
        results = hub.results_of(tasks)
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
    assert len(results) == COUNT
    return daemon.events()


@pytest.mark.parametrize("more", ["", OWN], ids=["default logger", "own logger"])
def test_one_of_each_kind_is_whole_and_the_others_are_counted(tmp_path: Path, more: str) -> None:
    events = events_of(tmp_path, "info", more, "fails")
    failed = [event for event in events if event["event"] == "action failed"]
    assert sorted(str(event["exception"]).splitlines()[-1] for event in failed) == ["KeyError: 0", "LookupError: no 1"]
    told = [event for event in events if event["event"] == "error_repeated"]
    named = ("what", "error", "at", "count", "worker", "level")
    assert sorted(tuple(event[name] for name in named) for event in told) == [
        ("action failed", "KeyError", "failing.py:14", 9, 0, "error"),
        ("action failed", "LookupError", "failing.py:13", 9, 0, "error"),
    ]
    assert {event["action"] for event in told} == {"fails"}


@pytest.mark.parametrize(("action", "what"), [("refuses", "action refused the task"), ("starts", "thread failed")])
def test_refusals_and_threads_as_well(tmp_path: Path, action: str, what: str) -> None:
    events = events_of(tmp_path, "info", "", action)
    whole = [event for event in events if str(event["event"]).startswith(what)]
    [told] = [event for event in events if event["event"] == "error_repeated"]
    assert (len(whole), told["what"], told["count"]) == (1, what, COUNT - 1)


def test_debug_writes_them_all(tmp_path: Path) -> None:
    events = events_of(tmp_path, "debug", "", "fails")
    assert sum(event["event"] == "action failed" for event in events) == COUNT


def test_under_systemd_each_line_has_a_priority(tmp_path: Path) -> None:
    """Where the journal's own socket is not there: in a sandbox, or here."""
    target = tmp_path / "failing.py"
    target.write_text(FAILING.format(more=""))
    ours, theirs = socket.socketpair()
    found = os.fstat(theirs.fileno())
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.extend(iter(lambda: ours.recv(1 << 16), b"")))
    reader.start()
    env = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    before = "from arbd.logs import journal; journal.SOCKET = '/nonexistent'"
    with (
        Hub() as hub,
        Arbd.run(hub.address, tmp_path, target=target, workers=1, env=env, stderr=theirs.fileno(), before=before) as d,
    ):
        hub.results_of([NewTask("fails", b'{"n": 1}', id="under systemd")])
        d.signal(signal.SIGTERM)
        d.exit_code()
    theirs.close()
    reader.join()
    ours.close()
    lines = b"".join(read).splitlines()
    assert lines
    priorities = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
    for line in lines:
        mark, event = line[:3], json.loads(line[3:])
        assert mark == b"<%d>" % priorities[event["level"]]
    assert any(json.loads(line[3:]).get("task_id") == "under systemd" for line in lines)
