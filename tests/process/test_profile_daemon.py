"""The real py-spy tells in which functions the workers of a real daemon are, and of one action only what is its own."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from daemon_support import Arbd, daemon_of, eventually

from arbd.control import client as control
from arbd.control.protocol import GetOperation, GetProfile, OperationReply
from arbd.errors import ControlError
from arbd.supervisor import native_stacks
from arbd.testing import RunningProvider

TARGET = """
import functools
import time
from arbd import Provider

provider = Provider(name="busy")
register = provider.actions.register


def wrapped(function):
    @functools.wraps(function)
    def around(payload):
        return function(payload)
    return around


def burn(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(1000))


@register(name="computes")
@wrapped
def computes(payload):
    burn(0.05)


@register(name="other")
def other(payload):
    burn(0.05)


@register(name="waits")
def waits(payload):
    time.sleep(0.05)


provider.actions.register(name="of_c")(len)
"""


# Writes its words and its environment, as one stack that was seen seven times, to where it was told.
TELLS_ALL = """words=$*
while [ "$1" != --output ]; do shift; done
echo "$words;$(env | tr '\\n' ' ') 7" > $2"""


def why_not() -> str:
    """Why py-spy cannot be tried here; empty: it can."""
    program = native_stacks.find()
    if program is None:
        return "no py-spy here: pip install -e '.[stacks]'"
    run = subprocess.run([program, "dump", "--pid", str(os.getpid())], capture_output=True, text=True, timeout=60)
    return "" if run.returncode == 0 else f"py-spy may not look at processes here: {run.stderr.strip()[:200]}"


@pytest.fixture(scope="module")
def py_spy() -> None:
    if reason := why_not():
        pytest.skip(f"THE REAL PY-SPY IS NOT TRIED: {reason}")


@contextmanager
def busy(here: Path, *actions: str, workers: int = 1) -> Iterator[RunningProvider]:
    """A daemon whose workers have something to do all the time."""
    target = here / "busy.py"
    target.write_text(TARGET)
    ended = threading.Event()
    with daemon_of(target, workers=workers, control_socket=str(here / "c.sock"), execution_timeout=30.0) as daemon:

        def feed() -> None:
            while not ended.is_set():
                for handle in [daemon.submit(action, {}) for action in actions]:
                    daemon.response(handle, timeout=60)

        feeders = [threading.Thread(target=feed) for _ in range(workers)]
        for each in feeders:
            each.start()
        try:
            yield daemon
        finally:
            ended.set()
            for each in feeders:
                each.join()


def profile(here: Path, *words: str, code: int = 0) -> str:
    with Arbd(["-m", "arbd", "profile", "--daemon", str(here / "c.sock"), *words], here) as command:
        assert command.exit_code(60) == code, command.log.read_text()
        return command.out.read_text() + command.log.read_text()


@pytest.mark.usefixtures("py_spy")
def test_only_what_is_in_the_action_is_drawn(tmp_path: Path) -> None:
    with busy(tmp_path, "computes", "other", workers=2):
        found = json.loads(profile(tmp_path, "computes", "--seconds", "1", "--out", str(tmp_path / "a.svg"), "--json"))
        profile(tmp_path, "computes", "--seconds", "1", "--out", str(tmp_path / "a.txt"))
    assert found["workers"] == found["of_workers"] == 2
    assert found["samples"] > 10
    ElementTree.parse(tmp_path / "a.svg")
    stacks = (tmp_path / "a.txt").read_text().splitlines()
    assert all(line.startswith("computes (") for line in stacks)
    assert any(";burn (" in line for line in stacks)


@pytest.mark.usefixtures("py_spy")
def test_all_of_them_are_seen_and_what_waits_with_idle(tmp_path: Path) -> None:
    with busy(tmp_path, "computes", "waits"):
        profile(tmp_path, "--seconds", "1", "--out", str(tmp_path / "all.txt"))
        assert "computes (" in (tmp_path / "all.txt").read_text()
        profile(tmp_path, "waits", "--idle", "--seconds", "1", "--out", str(tmp_path / "waits.txt"))
        assert (tmp_path / "waits.txt").read_text().startswith("waits (")
        said = profile(tmp_path, "other", "--seconds", "1", "--out", str(tmp_path / "no.svg"), code=1)
        assert "no worker was seen in other" in said
        assert not (tmp_path / "no.svg").exists()


def fake_spy(here: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = here / "py-spy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("arbd.supervisor.native_stacks.find", lambda: str(program))


def ended(here: Path, **words: Any) -> Any:
    """The operation when it is over."""
    socket = here / "c.sock"
    number = control.ask(socket, GetProfile(**{"seconds": 1, **words}), OperationReply).operation.id

    def over() -> Any:
        operation = control.ask(socket, GetOperation(id=number), OperationReply).operation
        return operation.state != "running" and operation

    return eventually(over, 30)


def test_py_spy_is_given_no_secret_and_told_not_to_stop_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_AUTH_TOKEN", "t0p-s3cret")
    fake_spy(tmp_path, monkeypatch, TELLS_ALL)
    with busy(tmp_path):
        operation = ended(tmp_path)
    assert operation.state == "done", operation.text
    [[stack, count]] = operation.data["stacks"]
    assert count == 7
    assert "--nonblocking" in stack
    assert "s3cret" not in stack


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo Permission denied >&2; exit 1", "Permission denied"),
        ("exit 3", "it ended with 3"),
        ("kill -9 $$", "it ended with -9"),
    ],
)
def test_why_it_cannot_look_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str) -> None:
    fake_spy(tmp_path, monkeypatch, script)
    with busy(tmp_path):
        operation = ended(tmp_path)
    assert operation.state == "failed"
    assert says in operation.text
    assert "CAP_SYS_PTRACE" in operation.text


def test_one_that_hangs_ends_with_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_spy(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with busy(tmp_path):
        control.ask(tmp_path / "c.sock", GetProfile(seconds=1), OperationReply)
        pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_what_cannot_be_profiled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with busy(tmp_path):
        monkeypatch.setattr("arbd.supervisor.native_stacks.find", lambda: None)
        for words, says in (
            ({"action": "nope"}, "no action 'nope'"),
            ({"action": "of_c"}, "no Python code"),
            ({"seconds": 0}, "more than 0"),
            ({"seconds": 1e9}, "at most"),
            ({}, r"pip install 'arbd\[stacks\]'"),
        ):
            with pytest.raises(ControlError, match=says):
                ended(tmp_path, **words)
