"""A thread or coroutine logs with its own task's id or with none, never with another's; what nobody handles in one is a
single event."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from daemon_support import PROVIDERS, Arbd, Hub

WAYS = ("arbd", "structlog", "logging", "print")


class Threaded(NamedTuple):
    hub: Hub
    arbd: Arbd

    def run(self, action: str, text: str = "") -> str:
        """Run a task that must succeed; its id."""
        [task] = self.hub.submit(action, {"text": text} if text else {})
        result = self.hub.results()[task]
        assert result.status == "success", result.result
        return task

    def owners(self, text: str) -> set[str | None]:
        """The tasks of all lines that say this, in whatever way; each must be there."""
        found = [line for way in WAYS for line in self.arbd.wait_event(f"{way} {text}")]
        found += self.arbd.wait_event(f"ValueError: {text}")
        assert len(found) == len(WAYS) + 1
        return {line.get("task_id") for line in found}

    def line_with(self, text: str) -> dict[str, Any]:
        """The one line that has this anywhere."""
        [line] = [line for line in self.arbd.events() if text in json.dumps(line)]
        return line


@pytest.fixture
def threaded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Threaded]:
    target, env = PROVIDERS / "threaded.py", getattr(request, "param", {})
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        yield Threaded(hub, arbd)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_threads_of_a_task_that_runs(threaded: Threaded) -> None:
    task = threaded.run("inside", "a")
    assert [threaded.owners(f"a{number}") for number in range(3)] == [{task}] * 3


def test_threads_that_outlive_their_task(threaded: Threaded) -> None:
    task = threaded.run("leave", "b")
    other = threaded.run("release", "c")
    assert threaded.owners("c main") == {other}
    for text in ("b inner", "b outer"):
        assert (text, threaded.owners(text) <= {task, None}) == (text, True)


def test_a_pool_that_was_started_in_another_task(threaded: Threaded) -> None:
    first = threaded.run("on_pool", "d")
    second = threaded.run("on_pool", "e")  # on the same thread
    assert threaded.owners("d pool") == {first}
    assert threaded.owners("e pool") <= {second, None}


def test_coroutines_and_what_they_hand_to_threads(threaded: Threaded) -> None:
    for text in ("h", "i"):
        task = threaded.run("to_thread", text)
        assert threaded.owners(f"{text} to_thread") == {task}
        assert threaded.owners(f"{text} coroutine") == {task}


def test_what_was_handed_to_a_thread_and_outlives_its_task(threaded: Threaded) -> None:
    task = threaded.run("leave_to_thread", "j")
    threaded.run("nap")
    assert threaded.owners("j late") == {task}


def test_what_nobody_handles_is_one_event(threaded: Threaded) -> None:
    task = threaded.run("thread_fails", "k")
    line = threaded.line_with("in a thread k")
    assert (line["event"], line["level"], line["thread"]) == ("thread failed", "error", "failing")
    assert (line["task_id"], line["action"]) == (task, "thread_fails")
    assert line["exception"].splitlines()[-1] == "ValueError: in a thread k"
    task = threaded.run("finalizer_fails", "l")
    line = threaded.line_with("in a finalizer l")
    assert (line["level"], line["task_id"]) == ("error", task)
    assert line["where"].endswith("Broken.__del__")
    task = threaded.run("callback_fails", "m")
    line = threaded.line_with("never awaited m")
    assert line["level"] == "error"
    assert line.get("task_id") in (task, None)
    assert line["where"].endswith("callback_fails.<locals>.fail")


@pytest.mark.parametrize("threaded", [{"THREADED_HOOKS": "1"}], indirect=True)
def test_an_authors_own_hooks_stay(threaded: Threaded) -> None:
    threaded.run("thread_fails", "n")
    threaded.run("finalizer_fails", "o")
    assert threaded.line_with("in a thread n")["event"] == "my hook in a thread n"
    assert threaded.line_with("in a finalizer o")["event"] == "my other hook in a finalizer o"
