"""``arbd profile``: the picture or the stacks are written, and what could not be seen is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from cli_support import invoke

from arbd.control import client as control
from arbd.control.protocol import GetOperation, GetProfile, OperationReply
from arbd.control.reports import Operation, Profile
from arbd.errors import ControlError

SEEN = Profile(2, 2, 100, 10.0, 7, [("total (/a.py:9);<b>&\x1b (/a.py:2)", 5), ("total (/a.py:9)", 2)])
replies: list[Any] = []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the daemon is asked for; ``replies`` come one after the other."""
    requests: list[Any] = []

    def ask(path: Path, request: Any, expected: type[Any]) -> Any:
        requests.append(request)
        reply = replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    monkeypatch.setattr(control, "find", lambda name, settings: Path(f"/run/{name}.sock"))
    monkeypatch.setattr(control, "ask", ask)
    monkeypatch.setattr("time.sleep", lambda _: None)
    replies.clear()
    return requests


def operation(state: Any, profile: Profile | None = None, text: str = "") -> OperationReply:
    return OperationReply(operation=Operation(5, "profile", state, text, 1, 2, msgspec.to_builtins(profile)))


def test_the_picture_is_drawn_when_it_is_over(asked: list[Any], tmp_path: Path) -> None:
    replies.extend([operation("running"), operation("done", SEEN)])
    result = invoke("profile", "total", "--idle", "--daemon", "prices", "--out", str(tmp_path / "a.svg"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.endswith("a.svg: 7 samples of 2 workers; open it in a browser\n")
    assert asked == [GetProfile(seconds=10, action="total", idle=True), GetOperation(id=5)]
    assert ElementTree.parse(tmp_path / "a.svg").getroot()[0].text == "total"


def test_stacks_are_written_as_text(asked: list[Any], tmp_path: Path) -> None:
    replies.append(operation("done", SEEN))
    assert invoke("profile", "--out", str(tmp_path / "a.txt")).exit_code == 0
    assert sorted((tmp_path / "a.txt").read_text().splitlines())[0] == "total (/a.py:9) 2"


def test_programs_are_told_where_it_is(asked: list[Any], tmp_path: Path) -> None:
    replies.append(operation("done", SEEN))
    found = json.loads(invoke("profile", "--out", str(tmp_path / "a.svg"), "--json").output)
    expected = {"file": str(tmp_path / "a.svg"), "samples": 7, "workers": 2, "of_workers": 2, "troubles": []}
    assert found == expected


def test_people_are_told_what_was_not_seen(asked: list[Any], tmp_path: Path) -> None:
    partly = msgspec.structs.replace(SEEN, of_workers=20, troubles=["worker 3: gone"], shared_with=["sum"])
    replies.append(operation("done", partly))
    said = invoke("profile", "total", "--out", str(tmp_path / "a.svg")).stderr
    assert "worker 3: gone" in said
    assert "20 workers are too many" in said
    assert "same code as sum" in said


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (ControlError("there is no action 'x'"), "no action 'x'"),
        (operation("failed", None, "py-spy: Permission denied"), "Permission denied"),
        (operation("done", msgspec.structs.replace(SEEN, samples=0, stacks=[])), "use --idle"),
    ],
)
def test_what_fails_leaves_no_file(asked: list[Any], tmp_path: Path, reply: Any, says: str) -> None:
    replies.append(reply)
    result = invoke("profile", "x", "--out", str(tmp_path / "a.svg"))
    assert result.exit_code == 1
    assert says in result.stderr
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("words", [(), ("--out", "x", "--seconds", "0"), ("--out", "x", "--seconds", "601")])
def test_a_wrong_command_line(asked: list[Any], words: tuple[str, ...]) -> None:
    assert invoke("profile", *words).exit_code == 2
