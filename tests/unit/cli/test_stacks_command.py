"""``arbd stacks``: what people and programs see, and that it follows py-spy to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_support import invoke

from arbd.control import client as control
from arbd.control.protocol import GetOperation, GetStacks, OperationReply, StacksReply
from arbd.control.reports import Operation, ProcessStacks, RunningTask
from arbd.errors import ControlError

FOUND = [
    ProcessStacks("supervisor", 41, None, "Thread MainThread:\n  here"),
    ProcessStacks("worker", 42, 3, "  waits in nanosleep", RunningTask("t9", "total", 0.25, 2.0), "it is stopped"),
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the daemon is asked for; ``replies`` come one after the other."""
    requests: list[Any] = []

    def ask(path: Path, request: Any, expected: type[Any]) -> Any:
        requests.append((str(path), request))
        reply = replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, expected)
        return reply

    monkeypatch.setattr(control, "find", lambda name, settings: Path(f"/run/{name}.sock"))
    monkeypatch.setattr(control, "ask", ask)
    monkeypatch.setattr("time.sleep", lambda _: None)
    replies.clear()
    return requests


replies: list[Any] = []


def operation(state: Any, text: str = "", data: Any = None) -> OperationReply:
    return OperationReply(operation=Operation(5, "stacks", state, text, 1, 2, data))


def test_people_see_who_where_and_why_not(asked: list[Any]) -> None:
    replies.append(StacksReply(stacks=FOUND))
    result = invoke("stacks", "prices")
    assert asked == [("/run/prices.sock", GetStacks())]
    assert result.exit_code == 0
    assert result.output.split("\n") == [
        "== supervisor (pid 41)",
        "  Thread MainThread:",
        "    here",
        "",
        "== worker 3 (pid 42, runs total (t9) for 0.2 s)",
        "-- it is stopped",
        "    waits in nanosleep",
        "",
    ]


def test_programs_get_all_of_it(asked: list[Any]) -> None:
    replies.append(StacksReply(stacks=FOUND))
    found = json.loads(invoke("stacks", "--worker", "3", "--json").output)
    assert asked[0][1] == GetStacks(worker=3)
    assert msgspec.convert(found["stacks"], list[ProcessStacks]) == FOUND


def test_native_ones_are_followed_to_their_end(asked: list[Any]) -> None:
    data = msgspec.to_builtins(FOUND)
    replies.extend([operation("running"), operation("running", "looking at worker 3"), operation("done", "", data)])
    result = invoke("stacks", "--native")
    assert [request for _, request in asked] == [GetStacks(native=True), GetOperation(id=5), GetOperation(id=5)]
    assert "== worker 3 (pid 42" in result.output


@pytest.mark.parametrize("last", [operation("failed", "the daemon ends"), ControlError("the daemon ends")])
def test_one_that_fails_says_why(asked: list[Any], last: Any) -> None:
    replies.extend([operation("running"), last])
    result = invoke("stacks", "--native")
    assert result.exit_code == 1
    assert "the daemon ends" in result.stderr


def test_native_ones_need_not_be_waited_for_and_are_shown_later(asked: list[Any]) -> None:
    data = msgspec.to_builtins(FOUND)
    replies.append(operation("running", "asking py-spy"))
    result = invoke("stacks", "--native", "--worker", "3", "--no-wait")
    assert (result.exit_code, result.output) == (0, "stacks has begun: arbd stacks --begun 5 shows them\n")
    replies.extend([operation("running"), operation("done", "", data)])
    assert "== worker 3 (pid 42" in invoke("stacks", "--begun", "5").output
    assert [request for _, request in asked] == [
        GetStacks(worker=3, native=True),
        GetOperation(id=5),
        GetOperation(id=5),
    ]


def test_the_words_for_later_name_the_same_daemon(asked: list[Any], tmp_path: Path) -> None:
    config = tmp_path / "my arbd.toml"
    config.write_text("", encoding="utf-8")
    replies.append(operation("running"))
    told = invoke("stacks", "prices", "--native", "--no-wait", "--config", str(config)).output
    assert told == f"stacks has begun: arbd stacks prices --config '{config}' --begun 5 shows them\n"


def test_programs_learn_the_number_of_what_has_begun(asked: list[Any]) -> None:
    replies.append(operation("running"))
    begun = json.loads(invoke("stacks", "--native", "--no-wait", "--json").output)
    assert (begun["id"], begun["state"]) == (5, "running")


def test_ctrl_c_ends_the_following_and_says_that_the_daemon_goes_on(asked: list[Any]) -> None:
    replies.extend([operation("running"), operation("running", "looking at worker 3"), KeyboardInterrupt()])
    result = invoke("stacks", "--native")
    assert result.exit_code == 1
    assert "stacks goes on in the daemon: looking at worker 3" in result.stderr


def test_what_has_another_number_is_not_shown_as_stacks(asked: list[Any]) -> None:
    replies.append(OperationReply(operation=Operation(6, "drain", "done", "drained", 1, 1)))
    result = invoke("stacks", "--begun", "6")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no stacks but: drain" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-wait"], "--no-wait is for --native"),
        (["--begun", "5", "--native"], "without --native"),
        (["--begun", "5", "--worker", "1"], "without --native"),
        (["--begun", "0"], "--begun"),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_command_line(
    asked: list[Any], words: list[str], told: str
) -> None:
    result = invoke("stacks", *words)
    assert (result.exit_code, asked) == (2, [])
    assert told in result.stderr


def test_a_worker_is_a_number() -> None:
    assert invoke("stacks", "--worker", "-1").exit_code == 2
