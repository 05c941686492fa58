"""``arbd scale``, ``replace``, ``reload``, ``log-level`` and ``events``: what they ask, and how they answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import invoke

from arbd.control import client as control
from arbd.control.protocol import (
    Done,
    EventsReply,
    GetEvents,
    OperationReply,
    Reload,
    Replace,
    Scale,
    SetLogLevel,
)
from arbd.control.reports import NotableEvent, Operation
from arbd.errors import ControlError
from arbd.settings.table import Settings

DONE = OperationReply(operation=Operation(1, "scale to 8", "done", "8 workers serve", 4, 4, {"workers": 8}))
FAILED = OperationReply(operation=Operation(1, "replace", "failed", "worker 3 is out of service"))
BEGUN = OperationReply(operation=Operation(1, "reload", "running", "code and settings are being loaded"))


class FakeDaemon:
    """What was asked of whom, and what is answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.replies: list[Any] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def find(self, name: str | None, _settings: Settings) -> Path:
        return Path(f"/run/{name}.sock")

    def ask(self, path: Path, request: object, expected: type) -> Any:
        self.asked.append((path.stem, request))
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, expected)
        return reply


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDaemon:
    daemon = FakeDaemon()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(control, "find", daemon.find)
    monkeypatch.setattr(control, "ask", daemon.ask)
    monkeypatch.setattr(time, "sleep", lambda _: daemon.on_sleep())
    return daemon


@pytest.mark.parametrize(
    ("arguments", "name", "request_"),
    [
        (["scale", "8"], "None", Scale(workers=8)),
        (["scale", "8", "prices"], "prices", Scale(workers=8)),
        (["replace"], "None", Replace()),
        (["replace", "3"], "None", Replace(worker=3)),
        (["replace", "prices"], "prices", Replace()),
        (["replace", "3", "prices"], "prices", Replace(worker=3)),
        (["replace", "./a.sock"], "a", Replace()),
        (["reload", "prices@2"], "prices@2", Reload()),
    ],
)
def test_it_asks_whom_and_what_it_should(daemon: FakeDaemon, arguments: list[str], name: str, request_: object) -> None:
    daemon.replies = [DONE]
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (0, "8 workers serve\n")
    [(asked, request)] = daemon.asked
    assert (asked.removesuffix(".sock"), request) == (name, request_)


@pytest.mark.parametrize(
    "arguments",
    [
        ["scale"],
        ["scale", "many"],
        ["scale", "2.5"],
        ["replace", "one", "prices"],
        ["log-level"],
        ["log-level", "loud"],
    ],
)
def test_a_wrong_command_line_asks_nobody(daemon: FakeDaemon, arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2
    assert daemon.asked == []


def test_what_failed_is_told_with_its_reason(daemon: FakeDaemon) -> None:
    daemon.replies = [FAILED]
    result = invoke("replace", "3")
    assert (result.exit_code, result.stderr) == (1, "arbd: worker 3 is out of service\n")


def test_what_is_refused_is_told_with_its_reason(daemon: FakeDaemon) -> None:
    daemon.replies = [ControlError("0 workers cannot be; allowed: 1 to 1024")]
    result = invoke("scale", "0")
    assert (result.exit_code, result.stderr) == (1, "arbd: 0 workers cannot be; allowed: 1 to 1024\n")


@pytest.mark.parametrize("arguments", [["scale", "8"], ["replace"], ["reload"]])
def test_who_does_not_wait_asks_once(daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.replies = [BEGUN]
    result = invoke(*arguments, "--no-wait")
    assert (result.exit_code, len(daemon.asked)) == (0, 1)
    assert "has begun" in result.stdout


@pytest.mark.parametrize("arguments", [["scale", "8"], ["replace"], ["reload"]])
def test_for_programs_it_is_one_document(daemon: FakeDaemon, arguments: list[str]) -> None:
    daemon.replies = [DONE]
    document = json.loads(invoke(*arguments, "--json").stdout)
    assert (document["state"], document["data"]) == ("done", {"workers": 8})


def test_a_log_level_is_set(daemon: FakeDaemon) -> None:
    daemon.replies = [Done(text="lines of level debug and above are written"), Done(text="")]
    assert invoke("log-level", "debug", "prices").stdout == "lines of level debug and above are written\n"
    assert json.loads(invoke("log-level", "error", "--json").stdout) == {"log_level": "error"}
    assert daemon.asked == [("prices", SetLogLevel(level="debug")), ("None", SetLogLevel(level="error"))]


EVENTS = [
    NotableEvent(4, 75.0, "info", "reloaded", {"actions": 3}),
    NotableEvent(7, 0.25, "error", "worker_unfit", {"worker": 2, "reason": "no \x1b[31mdatabase"}),
]


def test_events_are_lines_and_nothing_in_them_reaches_the_terminal(daemon: FakeDaemon) -> None:
    daemon.replies = [EventsReply(events=EVENTS)]
    result = invoke("events", "prices")
    assert daemon.asked == [("prices", GetEvents())]
    assert [" ".join(line.split()) for line in result.stdout.splitlines()] == [
        "1 min 15 s ago info reloaded actions=3",
        "0.2 s ago error worker_unfit worker=2 reason=no \\x1b[31mdatabase",
    ]


def test_no_events_are_no_lines(daemon: FakeDaemon) -> None:
    daemon.replies = [EventsReply(events=[])]
    result = invoke("events")
    assert (result.exit_code, result.stdout) == (0, "")


def test_events_for_programs(daemon: FakeDaemon) -> None:
    daemon.replies = [EventsReply(events=EVENTS)]
    assert [each["number"] for each in json.loads(invoke("events", "--json").stdout)] == [4, 7]


def test_events_are_followed_each_once_until_the_daemon_is_gone(daemon: FakeDaemon) -> None:
    more = [NotableEvent(8, 0.1, "info", "scaled", {})]
    daemon.replies = [EventsReply(events=EVENTS), EventsReply(events=more), ControlError("no daemon listens")]
    result = invoke("events", "--follow", "--json")
    assert [json.loads(line)["number"] for line in result.stdout.splitlines()] == [4, 7, 8]
    assert [request.after for _, request in daemon.asked] == [0, 7, 8]
    assert result.exit_code == 1


def test_following_ends_with_ctrl_c(daemon: FakeDaemon) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    daemon.on_sleep = interrupt
    daemon.replies = [EventsReply(events=EVENTS)]
    assert invoke("events", "--follow").exit_code == 0


def test_who_resumes_a_daemon_by_its_name_alone_is_told_how(daemon: FakeDaemon) -> None:
    """``arbd drain prices`` takes the name as it is, and the argument of ``arbd resume`` is an action."""
    daemon.replies = [ControlError("there is no action prices; there are order")] * 2
    result = invoke("resume", "prices", "--daemon", "prices")
    assert result.exit_code == 1
    assert "there is no action prices; there are order; the daemon takes tasks again by: arbd resume --daemon" in (
        result.stderr
    )
    assert "--daemon" not in invoke("resume", "other", "--daemon", "prices").stderr
