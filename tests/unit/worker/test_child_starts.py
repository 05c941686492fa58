"""A start of a child process is told, whichever function of Python makes it; and arbd has no audit hook for that."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import arbd
from arbd.worker import child_starts


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is told; every wrapped function is put back, and does nothing."""
    found: list[str] = []
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(os, "register_at_fork", lambda before: registered.append(before))
    monkeypatch.setattr(child_starts, "_is_installed", False)
    for owner, name in child_starts._STARTS:
        if hasattr(owner, name):
            monkeypatch.setattr(owner, name, lambda *_: None)
    child_starts.install()
    assert len(registered) == 1
    monkeypatch.setattr(os, "fork", registered[0])
    child_starts.tell(lambda: found.append("told"))
    yield found
    child_starts.tell(None)


@pytest.mark.parametrize("number", range(len(child_starts._STARTS)))
def test_each_wrapped_function_tells(number: int, told: list[str]) -> None:
    owner, name = child_starts._STARTS[number]
    if hasattr(owner, name):
        getattr(owner, name)("true")
        assert told == ["told"]


def test_a_fork_tells(told: list[str]) -> None:
    os.fork()
    assert told == ["told"]


def test_what_is_installed_again_tells_once(told: list[str]) -> None:
    child_starts.install()
    os.system("true")
    assert told == ["told"]


def test_nobody_has_an_audit_hook() -> None:
    """One makes ``id()`` twenty times as slow in every worker."""
    for file in Path(arbd.__file__).parent.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        assert "addaudithook" not in {call.attr for call in calls}, file
