"""What a real daemon did is a file that keeps the rules of its format: every task once, runs on tracks of workers."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

from daemon_support import Arbd, Gate, daemon_of, eventually, responses, serving

from arbd.testing import RunningProvider


def trace(here: Path, *words: str, code: int = 0) -> str:
    """What the command printed."""
    with Arbd(["-m", "arbd", "trace", str(here / "c.sock"), *words], here) as command:
        assert command.exit_code() == code, command.log.read_text()
        return command.out.read_text() + command.log.read_text()


def events(file: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    found: list[dict[str, Any]] = json.loads(content)["traceEvents"]
    return found


def runs(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event.get("cat") == "run"]


def daemon(here: Path, **settings: Any) -> Any:
    return daemon_of(control_socket=str(here / "c.sock"), **settings)


def submit(running: RunningProvider, count: int) -> set[str]:
    handles = [running.submit("echo", {"text": "s3cret"}) for _ in range(count)]
    responses(running, handles)
    return {handle.id for handle in handles}


def test_the_last_tasks_are_there_each_once(tmp_path: Path) -> None:
    with daemon(tmp_path, workers=2) as running:
        ids = submit(running, 200)
        said = trace(tmp_path, "--last", "--out", str(tmp_path / "last.json"))
        assert "200 tasks" in said
        found = events(tmp_path / "last.json")
        assert "s3cret" not in (tmp_path / "last.json").read_text()
    assert sorted(each["args"]["id"] for each in runs(found)) == sorted(ids)
    tracks = {each["tid"]: each["args"]["name"] for each in found if each["name"] == "thread_name"}
    assert {each["tid"] for each in runs(found)} == set(tracks)
    for track in tracks:
        of_track = [each for each in found if each["ph"] == "X" and each["tid"] == track]
        for before, after in itertools.pairwise(of_track):
            assert before["ts"] + before["dur"] <= after["ts"] + 0.001
    whole = [each for each in found if each["ph"] == "b" and "args" in each]
    assert sorted(each["args"]["id"] for each in whole) == sorted(ids)
    assert [each for each in found if each["ph"] == "b" and each["name"] == "the result waits for the hub"]
    assert [each["ts"] for each in found if "ts" in each] == sorted(each["ts"] for each in found if "ts" in each)


def test_what_happens_from_now_on_is_recorded(tmp_path: Path) -> None:
    with daemon(tmp_path) as running:
        before = submit(running, 20)
        out = tmp_path / "now.json.gz"
        words = ["-m", "arbd", "trace", str(tmp_path / "c.sock"), "--seconds", "1.5", "--out", str(out)]
        with Arbd(words, tmp_path) as command:
            eventually(out.exists)
            after: set[str] = set()
            while command.process.poll() is None:
                after |= submit(running, 5)
            assert command.exit_code() == 0
    seen = {each["args"]["id"] for each in runs(events(out))}
    assert not seen & before
    assert seen <= after
    assert seen


def test_what_hangs_and_what_was_killed_is_in_the_picture(tmp_path: Path) -> None:
    with daemon(tmp_path, execution_timeout=60.0) as running:
        gate = Gate(tmp_path)
        handle = running.submit("hold", gate.payload)
        assert gate.pid
        trace(tmp_path, "--last", "--out", str(tmp_path / "hangs.json"))
        [hangs] = runs(events(tmp_path / "hangs.json"))
        assert (hangs["args"]["id"], hangs["args"]["outcome"]) == (handle.id, "still running")
        pid = serving(running).pid
        os.kill(pid, signal.SIGKILL)
        running.response(handle)
        trace(tmp_path, "--last", "--out", str(tmp_path / "killed.json"))
        [killed] = runs(events(tmp_path / "killed.json"))
        assert (killed["args"]["id"], killed["args"]["outcome"]) == (handle.id, "error")
        assert killed["dur"] >= hangs["dur"]


def test_a_file_that_cannot_be_written_is_told_at_once_and_nothing_empty_is_left(tmp_path: Path) -> None:
    with daemon(tmp_path):
        said = trace(tmp_path, "--seconds", "300", "--out", str(tmp_path / "no" / "dir.json"), code=1)
        assert "cannot be written" in said
    out = tmp_path / "gone.json"
    trace(tmp_path, "--out", str(out), code=1)
    assert not out.exists()
