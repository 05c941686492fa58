"""Whatever a daemon, a hub or an author's code calls itself: no command lets it control a terminal or forge a line."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_support import invoke
from msgspec import inspect

from arbd.cli import COMMANDS, _hub_client, demo
from arbd.control import client as control
from arbd.control.protocol import (
    Done,
    EventsReply,
    GetProfile,
    LimitsReply,
    OperationReply,
    StacksReply,
    StatusReply,
    TraceReply,
)
from arbd.control.reports import Operation, Profile
from arbd.doctor import examine
from arbd.doctor.findings import fail
from arbd.errors import ControlError, HubError, ZygoteError
from arbd.hub.board import Result
from arbd.hub.client import Batch, HubStatus
from arbd.model.description import Description
from arbd.supervisor import describe as describing
from arbd.supervisor import trial

#: A title, a colour by a C1 control, a bell, text that runs backwards, an invisible letter, and lines of its own.
EVIL = "x\x1b]0;pwned\x07\x9b31m\u202eabc\u200b\u2028\x85\nFORGED: all is well\r\x00\x7fFORGED\n"


def filled(kind: Any) -> Any:
    """A value of that type whose every text is hostile."""
    return msgspec.convert(_fill(inspect.type_info(kind)), kind)


def _fill(kind: inspect.Type) -> Any:
    match kind:
        case inspect.StrType() | inspect.AnyType():
            return EVIL
        case inspect.StructType(array_like=True, tag=None):
            return [_fill(field.type) for field in kind.fields]
        case inspect.StructType():
            found = {field.encode_name: _fill(field.type) for field in kind.fields}
            return found | ({kind.tag_field: kind.tag} if kind.tag_field else {})
        case inspect.ListType() | inspect.CollectionType() | inspect.VarTupleType() | inspect.SetType():
            return [_fill(kind.item_type)]
        case inspect.TupleType():
            return [_fill(each) for each in kind.item_types]
        case inspect.DictType():
            return {_fill(kind.key_type): _fill(kind.value_type)}
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.UnionType():
            return _fill(next(each for each in kind.types if not isinstance(each, inspect.NoneType)))
        case inspect.BoolType():
            return False
        case inspect.FloatType():
            return 0.5
        case inspect.IntType():
            return 1
    raise AssertionError(f"what would be hostile of a {kind}?")


def reply(_path: Path, request: Any, kind: Any, **_: Any) -> Any:
    if kind is OperationReply:
        stacks = msgspec.to_builtins(filled(Profile) if type(request) is GetProfile else filled(StacksReply).stacks)
        return OperationReply(
            operation=msgspec.structs.replace(filled(Operation), state="done", kind="stacks", data=stacks)
        )
    if kind is TraceReply:
        return msgspec.structs.replace(filled(TraceReply), has_more=False)
    assert kind in (StatusReply, LimitsReply, EventsReply, StacksReply, Done)
    return filled(kind)


def refuse(*_: Any, **__: Any) -> Any:
    raise ControlError(f"the daemon says: {EVIL}")


class EvilHub:
    """The client of a hub that says what it likes."""

    def __init__(self, refuses: bool) -> None:
        self._refuses = refuses

    async def __aenter__(self) -> EvilHub:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def status(self) -> HubStatus:
        if self._refuses:
            raise HubError("PERMISSION_DENIED", EVIL)
        found: HubStatus = filled(HubStatus)
        return found

    async def submit(self, _tasks: Any) -> Batch:
        if self._refuses:
            raise HubError("PERMISSION_DENIED", EVIL * 1000)
        return Batch(EVIL, [EVIL])

    async def results(self, _batch: str) -> AsyncIterator[Result]:
        response = {"status": "error", "data": {EVIL: EVIL}, EVIL: [EVIL]}
        yield Result(EVIL, EVIL, EVIL, EVIL, msgspec.json.encode(response), 1, 0.5)
        yield Result(EVIL, EVIL, EVIL, EVIL, EVIL.encode(), 1, 0.5)

    async def cancel(self, _task_id: str) -> bool:
        if self._refuses:
            raise HubError("ABORTED", EVIL)
        return False


@pytest.fixture(params=["answers", "refuses"])
def others(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Daemon, hub and provider are all hostile."""
    refuses = request.param == "refuses"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(control, "find", lambda *_: Path("/nowhere.sock"))
    monkeypatch.setattr(control, "ask", refuse if refuses else reply)
    monkeypatch.setattr(_hub_client.HubConnection, "client", lambda *_: EvilHub(refuses))
    description: Description = msgspec.structs.replace(filled(Description), given={"name": "p"}, problems=[EVIL])

    def describe(*_: Any, **__: Any) -> Description:
        if refuses:
            raise ZygoteError(f"it does not load:\n{EVIL.replace('FORGED', 'forged')}")
        return description

    monkeypatch.setattr(describing, "describe", describe)
    monkeypatch.setattr(trial, "try_out", lambda *_, **__: trial.Tried(describe(), [EVIL]))
    monkeypatch.setattr(examine, "examine", lambda *_: [fail("hub", EVIL, EVIL, EVIL)])


#: What of others each command shows, by the arguments that have it show all of it.
CASES: dict[str, list[list[str]]] = {
    "status": [[], ["--json"], ["--check"], ["--check", "--json"]],
    "top": [["--once"], ["--once", "--json"]],
    "limits": [[], ["--json"]],
    "events": [[], ["--json"]],
    "stacks": [[], ["--json"], ["--native"]],
    "profile": [["--out", "p.txt"], ["--out", "p\x1b[2J.svg"], [EVIL, "--out", "p.svg"], ["--out", "p.txt", "--json"]],
    "trace": [
        ["--last", "--out", "t.json"],
        ["--last", "--out", "t\x1b[2J\u202e.json"],
        ["--last", "--out", "t", "--json"],
    ],
    "drain": [[], ["--json"]],
    "resume": [[EVIL], [EVIL, "--json"]],
    "pause": [[EVIL], [EVIL, "--json"]],
    "kill": [[EVIL], [EVIL, "--json"]],
    "reload": [[], ["--json"], ["--no-wait"]],
    "scale": [["2"], ["2", "--json"]],
    "replace": [["--worker", "1"], ["--worker", "1", "--json"]],
    "log-level": [["info"], ["info", "--json"]],
    "check": [["p.py"], ["p.py", "--json"]],
    "schema": [["p.py"], ["p.py", EVIL], ["p.py", "other"]],
    "config": [["p.py"], ["p.py", "--json"]],
    "hub": [["status"], ["status", "--json"]],
    "submit": [["a", "--wait"], ["a", "--wait", "--count", "2"], ["a", "--wait", "--json"], ["a"], ["a", "--json"]],
    "cancel": [[EVIL], [EVIL, "--json"]],
    "bench": [["p.py", "other"]],
    "doctor": [[], ["--json"]],
}
#: These show nothing that somebody else has written, or it is what runs that writes: through the log.
NOTHING_OF_OTHERS = {"demo", "dev", "run", "install-units", "completion", "version"}


def test_every_command_is_here() -> None:
    assert set(CASES) | NOTHING_OF_OTHERS == set(COMMANDS)
    assert demo.command.name == "demo"


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize(("command", "words"), [(name, words) for name, cases in CASES.items() for words in cases])
def test_it_is_shown_harmless(command: str, words: list[str]) -> None:
    found = invoke("--debug", command, *words)
    written = found.stdout + found.stderr
    assert written != "", found.exception
    assert {letter for letter in written if not letter.isprintable()} <= {"\n"}
    assert [line for line in written.splitlines() if line.startswith("FORGED")] == []
    assert len(written) < 200_000
    for file in Path().iterdir():  # what a command writes is shown by whoever opens it
        text = file.read_text()
        assert {letter for letter in text if not letter.isprintable()} <= {"\n"}, file.name
        assert [line for line in text.splitlines() if line.startswith("FORGED")] == []


@pytest.mark.usefixtures("others")
def test_json_says_what_was_said(request: pytest.FixtureRequest) -> None:
    if "answers" in request.node.name:
        assert json.loads(invoke("events", "--json").stdout)[0]["event"] == EVIL
        assert json.loads(invoke("submit", "a", "--json").stdout) == {"id": EVIL}


@pytest.mark.usefixtures("others")
def test_a_refusal_has_an_end(request: pytest.FixtureRequest) -> None:
    if "refuses" in request.node.name:
        found = invoke("submit", "a")
        assert (found.exit_code, len(found.stderr) < 4000) == (1, True)


def test_nothing_prints_but_by_the_one_place() -> None:
    """``click.echo`` prints what it is given; ``_show`` makes it printable first."""
    ours = {"_show.py", "__init__.py", "_complete.py", "_help.py", "completion.py"}
    directory = Path(_hub_client.__file__).parent
    found = []
    for file in sorted(directory.rglob("*.py")):
        if file.name in ours and file.parent == directory:
            continue
        calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
        found += [
            f"{file.name}:{call.lineno}"
            for call in calls
            if ast.unparse(call.func) in ("click.echo", "click.secho", "print")
        ]
    assert found == []
