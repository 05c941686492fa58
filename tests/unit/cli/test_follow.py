"""An operation is followed to its end, which decides the exit code; without waiting, its beginning is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from arbd.cli import _follow
from arbd.control.protocol import GetOperation, OperationReply
from arbd.control.reports import Operation
from arbd.errors import ControlError

RUNNING = Operation(7, "drain", "running", "2 tasks are left", 1, 3)
DONE = Operation(7, "drain", "done", "drained", 3, 3)
FAILED = Operation(7, "drain", "failed", "resumed before it was drained", 1, 3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the daemon says of the operation, one after the other; an exception is raised instead."""
    says: list[Any] = []
    monkeypatch.setattr("arbd.control.client.ask", lambda *request: _say(says, request))
    monkeypatch.setattr("time.sleep", lambda _: None)
    return says


def _say(says: list[Any], request: Any) -> OperationReply:
    assert request == (Path("/sock"), GetOperation(id=7), OperationReply)
    said = says.pop(0)
    if isinstance(said, BaseException):
        raise said
    return OperationReply(operation=said)


def _run(operation: Operation, as_json: bool = False, wait: bool = True) -> Result:
    @click.command()
    def command() -> None:
        _follow.follow(Path("/sock"), operation, as_json, wait)

    return CliRunner().invoke(command)


@pytest.fixture(autouse=True)
def _all_is_asked(asked: list[Any]) -> Iterator[None]:
    yield
    assert asked == []


def test_it_is_asked_for_until_it_is_done(asked: list[Any]) -> None:
    asked += [RUNNING, RUNNING, DONE]
    result = _run(RUNNING)
    assert (result.exit_code, result.output) == (0, "drained\n")


def test_one_that_is_over_at_once_is_not_asked_for() -> None:
    assert _run(DONE).output == "drained\n"


def test_a_failed_one_is_an_error_that_says_why(asked: list[Any]) -> None:
    asked += [FAILED]
    with pytest.raises(ControlError, match="resumed before it was drained"):
        _follow.follow(Path("/sock"), RUNNING, as_json=False, wait=True)


def test_without_waiting_its_beginning_is_told() -> None:
    assert _run(RUNNING, wait=False).output == "drain has begun: 2 tasks are left\n"


def test_json_is_one_document_and_the_exit_code_tells_of_the_failure(asked: list[Any]) -> None:
    asked += [FAILED]
    result = _run(RUNNING, as_json=True)
    assert result.exit_code == 1
    assert json.loads(result.output)["state"] == "failed"
    assert json.loads(_run(RUNNING, as_json=True, wait=False).output)["state"] == "running"


def test_ctrl_c_ends_the_following_and_says_that_the_daemon_goes_on(asked: list[Any]) -> None:
    asked += [RUNNING, KeyboardInterrupt()]
    with pytest.raises(ControlError, match="drain goes on in the daemon: 2 tasks are left"):
        _follow.follow(Path("/sock"), RUNNING, as_json=False, wait=True)


def test_a_daemon_that_ends_meanwhile_is_an_error(asked: list[Any]) -> None:
    asked += [ControlError("/sock: nobody listens there; its daemon has ended")]
    with pytest.raises(ControlError, match="has ended"):
        _follow.follow(Path("/sock"), RUNNING, as_json=False, wait=True)
