"""The README tells the truth: its files are saved, its commands are run in order, its tests pass."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbd.testing import run_action

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Set-up from a clone: what .ci/run and the Makefile do before any test can run.
SETUP = {"make demo", "make test"}
STAYS = re.compile(r"^(?:\w+=\S+ )?arbd (?:dev|run|hub) ")

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines() if line not in SETUP]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the README's provider in it."""
    (tmp_path / "prices.py").write_text(PYTHON[0])
    (tmp_path / "test_prices.py").write_text(PYTHON[2])
    return tmp_path


@pytest.fixture
def environ() -> dict[str, str]:
    """The caller's environment without settings, and with this interpreter's commands first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARBD_", "PROVIDER_", "HUB_"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}


@pytest.fixture
def background(place: Path, environ: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands that stay; they end with the test."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    _stop(running)


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(running):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
    running.clear()


def _wait_for(log: Path, text: bytes) -> None:
    deadline = time.monotonic() + 20
    while text not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def test_commands_in_order(place: Path, environ: dict[str, str], background: list[subprocess.Popen[bytes]]) -> None:
    """Every command succeeds, in the order and in the company in which the README shows them."""
    assert len(COMMANDS) >= 9
    for number, command in enumerate(COMMANDS):
        if STAYS.match(command):
            if command.startswith("arbd hub"):
                _stop(background)  # this chapter has a hub of its own
            log = place / f"{number}.log"
            with log.open("wb") as output:
                background.append(
                    subprocess.Popen(
                        ["sh", "-c", f"exec env {command}"],
                        cwd=place,
                        env=environ,
                        stdout=output,
                        stderr=output,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
            _wait_for(log, b"listening" if command.startswith("arbd hub") else b"hub_connected")
        else:
            subprocess.run(["sh", "-c", command], cwd=place, env=environ, check=True, timeout=60)


def test_its_tests_pass(place: Path, environ: dict[str, str]) -> None:
    """The test module that the README shows passes beside its provider."""
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_prices.py"],
        cwd=place,
        env=environ,
        check=True,
        timeout=60,
    )


def test_the_limited_provider_can_be_made() -> None:
    """The provider of the chapter on limits registers, and its free action runs."""
    names: dict[str, Any] = {"download": lambda url: url}
    exec(compile(PYTHON[1], "README.md", "exec"), names)
    assert run_action(names["Api"](), "ping").data == {"pong": True}
