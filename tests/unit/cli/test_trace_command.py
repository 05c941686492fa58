"""``arbd trace``: the file is written, what is not in it is said, and nothing is lost where it cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import invoke

from arbd.cli import trace
from arbd.control import client as control
from arbd.control.protocol import GetTrace, TraceReply
from arbd.control.trace_reader import Recording
from arbd.errors import ControlError
from arbd.model.flight import Flight

FLIGHT = Flight("t1", "total", 0, 41, "success", 1000, 0, 2000, 0, 500, 3000)


def recording(**words: Any) -> Recording:
    fields: dict[str, Any] = {"provider": "prices", "now_ns": 9000, "now_unix_ns": 10**18, "flights": [FLIGHT]}
    return Recording(**fields | {"acks": [("t1", 4000)], "running": []} | words)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds the daemon was read; the next recording is ``found[0]``."""
    seconds: list[float] = []

    def read(path: Path, length: float) -> Recording:
        seconds.append(length)
        if isinstance(found[0], BaseException):
            raise found[0]
        assert isinstance(found[0], Recording)
        return found[0]

    monkeypatch.setattr(control, "find", lambda name, settings: Path(f"/run/{name}.sock"))
    monkeypatch.setattr(trace, "_read", read)
    found[:] = [recording()]
    return seconds


found: list[Any] = []


def runs(content: bytes) -> list[str]:
    return [each["args"]["id"] for each in json.loads(content)["traceEvents"] if each.get("cat") == "run"]


def test_the_file_is_written(asked: list[float], tmp_path: Path) -> None:
    result = invoke("trace", "prices", "--seconds", "2", "--out", str(tmp_path / "t.json"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 task; open it at" in result.output
    assert runs((tmp_path / "t.json").read_bytes()) == ["t1"]
    assert asked == [2.0]


def test_it_is_compressed_where_its_name_says_so(asked: list[float], tmp_path: Path) -> None:
    assert invoke("trace", "--last", "--out", str(tmp_path / "t.json.gz")).exit_code == 0
    assert runs(gzip.decompress((tmp_path / "t.json.gz").read_bytes())) == ["t1"]
    assert asked == [0.0]


def test_programs_are_told_where_it_is(asked: list[float], tmp_path: Path) -> None:
    found[:] = [recording(missed=3)]
    result = invoke("trace", "--out", str(tmp_path / "t.json"), "--json")
    assert json.loads(result.output) == {"file": str(tmp_path / "t.json"), "tasks": 1, "missed": 3, "cut": False}


@pytest.mark.parametrize(
    ("words", "says"),
    [({"missed": 2}, "2 tasks came too fast to be recorded"), ({"is_cut": True}, "it ended after 100000 tasks")],
)
def test_people_are_told_what_is_not_in_it(
    asked: list[float], tmp_path: Path, words: dict[str, Any], says: str
) -> None:
    found[:] = [recording(**words)]
    assert says in invoke("trace", "--out", str(tmp_path / "t.json")).stderr


def test_what_fails_leaves_what_was_there_and_nothing_empty(asked: list[float], tmp_path: Path) -> None:
    found[:] = [ControlError("nobody listens there")]
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        result = invoke("trace", "--out", str(tmp_path / name))
        assert (result.exit_code, "nobody listens" in result.stderr) == (1, True)
    assert (tmp_path / "old.json").read_text() == "old"
    assert not (tmp_path / "new.json").exists()


def test_a_file_that_cannot_be_written_is_told_before_the_time_is_spent(asked: list[float], tmp_path: Path) -> None:
    result = invoke("trace", "--seconds", "600", "--out", str(tmp_path / "no" / "t.json"))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert asked == []


@pytest.mark.parametrize(
    "words",
    [(), ("--out", "x", "--seconds", "0"), ("--out", "x", "--seconds", "1e9"), ("--out", "x", "--seconds", "nan")],
)
def test_a_wrong_command_line(asked: list[float], words: tuple[str, ...]) -> None:
    assert invoke("trace", *words).exit_code == 2


def test_the_daemon_is_asked_page_by_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    requests: list[GetTrace] = []

    def ask(path: Path, request: GetTrace, expected: type[TraceReply]) -> TraceReply:
        requests.append(request)
        flights = [FLIGHT] if len(requests) == 1 else []
        times = {"now_ns": 9000, "now_unix_ns": 10**18, "total": 1}
        return TraceReply(provider="p", flights=flights, acks=[], running=[], has_more=len(requests) == 1, **times)

    monkeypatch.setattr(control, "find", lambda name, settings: Path("/run/p.sock"))
    monkeypatch.setattr(control, "ask", ask)
    assert invoke("trace", "--last", "--out", str(tmp_path / "t.json")).exit_code == 0
    assert requests == [GetTrace(), GetTrace(answered_after_ns=3000)]


def test_a_name_that_no_file_system_takes_is_said_before_the_time_is_spent(asked: list[float], tmp_path: Path) -> None:
    result = invoke("trace", "--out", str(tmp_path / ("x" * 300)))
    assert (result.exit_code, asked) == (1, [])
    assert "cannot be written" in result.stderr
