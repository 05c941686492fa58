"""What workers print, in Python, in C and in child processes, comes as log lines of their task, and never of another's;
bounded, and never to anybody's harm."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from daemon_support import PROVIDERS, Arbd, Hub, at_best, eventually

from arbd.hub.board import NewTask

PRINTING = PROVIDERS / "printing.py"


class Daemon(NamedTuple):
    """A daemon with one worker, and its hub."""

    hub: Hub
    arbd: Arbd

    def run(self, action: str, payload: Any = None) -> tuple[str, dict[str, Any]]:
        """Run a task that must succeed; its id and its answer."""
        [task] = self.hub.submit(action, payload)
        result = self.hub.results()[task]
        assert result.status == "success", result.result
        return task, json.loads(result.result)

    def line(self, text: str) -> dict[str, Any]:
        """The one line with that text."""
        [line] = self.arbd.wait_event(text)
        return line


@pytest.fixture(scope="module", params=["forked", "by exec"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    env = {"PRINTING_THREAD": "1"} if request.param == "by exec" else {}
    directory = tmp_path_factory.mktemp("printing")
    with Hub() as hub, Arbd.run(hub.address, directory, target=PRINTING, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        yield Daemon(hub, arbd)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert arbd.out.read_text() == ""
        for line in arbd.log.read_text().splitlines():
            json.loads(line)


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Daemon]:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=PRINTING, workers=1) as arbd:
        arbd.wait_serving(1)
        yield Daemon(hub, arbd)


def about(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["logger"], line["level"], line["role"], line["worker"], line.get("task_id"), line.get("action")


def test_what_python_prints(daemon: Daemon) -> None:
    task, answer = daemon.run("python", {"text": "a"})
    assert answer["data"] == {"fileno": [1, 2], "isatty": False, "encoding": "utf-8", "is_one": True}
    for text in ("print a", "one a", "two a", "bytes a", "wrapped a", "original a", "a 100 %", "no end a"):
        assert about(daemon.line(text)) == ("stdout", "info", "worker", 0, task, "python")
    for text in ("stderr a", "kept a"):
        assert about(daemon.line(text)) == ("stderr", "warning", "worker", 0, task, "python")
    [warned] = [line for line in daemon.arbd.events() if "UserWarning: warned a" in line["event"]]
    assert about(warned) == ("py.warnings", "warning", "worker", 0, task, "python")


def test_what_is_printed_at_import_is_of_no_task(daemon: Daemon) -> None:
    assert {line.get("task_id") for line in daemon.arbd.wait_event("printed at import")} == {None}


def test_what_is_written_to_the_descriptors(daemon: Daemon) -> None:
    task, _ = daemon.run("descriptors", {"text": "b"})
    for text, logger in (("write b", "stdout"), ("error b", "stderr"), ("puts b", "stdout"), ("no end b", "stdout")):
        line = daemon.line(text)
        assert (line["logger"], line["role"], line["worker"]) == (logger, "worker", 0)
        assert line.get("task_id") in (task, None)


def test_a_lone_task_is_told_from_its_lines(forked: Daemon) -> None:
    """Nothing else runs that could print: no thread, no child, no task before. At best: the reader needs its turn."""
    texts = iter("cdjklm")

    def attempt() -> None:
        for text in (next(texts), next(texts)):
            task, _ = forked.run("descriptors", {"text": text})
            found = [forked.line(f"{what} {text}").get("task_id") for what in ("write", "error", "puts", "no end")]
            assert found == [task] * 4

    at_best(attempt)


def test_what_children_print(forked: Daemon) -> None:
    task, _ = forked.run("child", {"text": "e"})
    for what in ("run", "shell", "system", "spawn", "forked"):
        line = forked.line(f"{what} e")
        assert (what, line.get("task_id"), line["logger"]) == (what, task, "stderr" if what == "shell" else "stdout")
    task, _ = forked.run("async_child", {"text": "f"})
    for what in ("exec", "shell"):
        assert (what, forked.line(f"{what} f").get("task_id")) == (what, task)


def test_what_a_child_prints_after_its_task_is_of_that_task(forked: Daemon) -> None:
    task, _ = forked.run("leave_child", {"text": "g", "seconds": 0.3})
    other, _ = forked.run("descriptors", {"text": "h"})
    assert forked.line("late g").get("task_id") == task
    assert forked.line("write h").get("task_id") == other


def test_garbage_and_long_lines(daemon: Daemon) -> None:
    task, _ = daemon.run("garbage", {"text": "i"})
    assert daemon.line("garbage \\xff\x00\\xfe i")["task_id"] == task
    assert daemon.line("\\xff\x00 i child")["role"] == "worker"
    assert daemon.line("escape \x1b[31m i")["task_id"] == task
    [long] = [line for line in daemon.arbd.events() if line["event"].startswith("long i")]
    assert 16_000 < len(long["event"]) < 17_000
    assert long["event"].endswith("bytes more]")


def test_a_flood_is_cut_and_counted_and_holds_up_nobody(forked: Daemon) -> None:
    begun = time.monotonic()
    task, _ = forked.run("flood", {"size": 10_000_000, "text": "flooding"})
    assert time.monotonic() - begun < 15
    forked.run("python", {"text": "after"})
    forked.line("print after")
    lines = forked.arbd.events("flooding")
    assert {line.get("task_id") for line in lines} == {task}
    assert 500 < len(lines) < 4_000
    assert 500 < len(forked.arbd.events("python flooding")) < 2_000
    told = eventually(lambda: len(found := forked.arbd.events("output_dropped")) >= 2 and found)
    dropped = sum(line["lines"] for line in told)
    assert dropped + len(lines) + len(forked.arbd.events("python flooding")) == pytest.approx(1_116_111, abs=3)
    assert {line.get("task_id") for line in told} == {task}


@pytest.mark.parametrize("how", ["close", "descriptors", "none", "replaced"])
def test_a_closed_stream_fails_nobody_and_is_back_for_the_next(how: str, daemon: Daemon) -> None:
    daemon.run("close", {"how": how})
    task, _ = daemon.run("python", {"text": f"after {how}"})
    assert daemon.line(f"print after {how}")["task_id"] == task
    assert daemon.line(f"stderr after {how}")["task_id"] == task
    daemon.run("descriptors", {"text": f"after {how}"})
    daemon.line(f"write after {how}")
    daemon.line(f"error after {how}")


def test_the_last_words_of_a_worker(forked: Daemon) -> None:
    [task] = forked.hub.submit("crash")
    forked.hub.results()
    assert forked.line("the last words").get("task_id") in (task, None)


def test_no_line_is_ever_of_another_task(tmp_path: Path) -> None:
    """10,000 short tasks that write to the descriptor, and 2,000 of every kind, leftover threads and children too."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=PRINTING, workers=2) as arbd:
        found = hub.results_of([NewTask("short", b"")] * 10_000 + [NewTask("mixed", b"")] * 2_000)
        assert {result.status for result in found.values()} == {"success"}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        lines = [line for line in arbd.events() if line["event"].startswith("mine ")]
    wrong = [line for line in lines if line.get("task_id") not in (None, line["event"].split()[-1])]
    assert wrong == []
    assert len(lines) > 11_000
    assert len([line for line in lines if "task_id" in line]) > 500


def test_nobody_needs_a_zygote_that_runs(forked: Daemon) -> None:
    [zygote] = forked.arbd.family()["arbd:zygote"]
    os.kill(zygote, signal.SIGSTOP)
    try:
        for number in range(300):  # more than the pipes hold
            forked.hub.submit("descriptors", {"text": f"{number} " + "x" * 4_000})
        assert {result.status for result in forked.hub.results().values()} == {"success"}
        forked.run("python", {"text": "meanwhile"})
        forked.line("print meanwhile")
    finally:
        os.kill(zygote, signal.SIGCONT)

    def is_read_again() -> bool:  # not before the zygote has had its turn: until then the worker throws away what waits
        forked.run("descriptors", {"text": "again"})
        return bool(forked.arbd.events("write again"))

    eventually(is_read_again)
    assert forked.arbd.wait_event("output_dropped")
