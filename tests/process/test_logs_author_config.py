"""An author's configuration of logging holds, however and whenever it is made: each line once, at the level it sets.

The log stays one of JSON lines. What an action raises is a record of logging as well, and one line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, Arbd, Hub

AUTHOR = PROVIDERS / "author_logging.py"
ROOT = ("basic", "force", "dict", "dict keep", "file", "handler")


def told(how: str, when: str, directory: Path, **env: str) -> list[dict[str, Any]]:
    """What is in the log of a daemon that has run each action once; all of it is JSON."""
    env = {"AUTHOR_HOW": how, "AUTHOR_WHEN": when, **env}
    with Hub() as hub, Arbd.run(hub.address, directory, target=AUTHOR, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        for action, payload in (("say", {"text": "x"}), ("fail", {"text": "x"})):
            hub.submit(action, payload)
            hub.results()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert arbd.out.read_text() == ""
        return [json.loads(line) for line in arbd.log.read_text().splitlines()]


def check_own_lines(lines: list[dict[str, Any]]) -> None:
    """Those of arbd are as they are without any configuration."""
    [own] = [line for line in lines if line["event"] == "own"]
    assert (own["level"], own["text"], own["action"]) == ("info", "x", "say")
    [failed] = [line for line in lines if line["event"] == "action failed"]
    assert (failed["level"], failed["logger"], failed["action"]) == ("error", "arbd.action", "fail")
    assert failed["exception"].splitlines()[-1] == "ValueError: x"
    assert failed["exception"].count("  File ") == 1
    assert not [line for line in lines if "action failed" in line["event"] and line is not failed]
    assert [line["event"] for line in lines if line["event"] == "worker_ready"] == ["worker_ready"]


def said(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What it says through ``logging``, without arbd's own lines."""
    of_task = [line for line in lines if line.get("action") == "say" and not line["logger"].startswith("arbd.")]
    return [(line["level"], line["event"]) for line in of_task if line["event"] != "own"]


@pytest.mark.parametrize("when", ["import", "hook", "action"])
@pytest.mark.parametrize("how", ROOT)
def test_the_authors_handlers_write_each_line_once_at_his_level(how: str, when: str, tmp_path: Path) -> None:
    lines = told(how, when, tmp_path)
    assert said(lines) == [
        ("info", "mine INFO root root x"),
        ("debug", "mine DEBUG app debug x"),
        ("info", "mine INFO app info x"),
        ("error", "mine ERROR app error x"),
        ("error", "mine ERROR app caught x"),
    ]
    [caught] = [line for line in lines if line["event"] == "mine ERROR app caught x"]
    assert caught["exception"].splitlines()[-1] == "KeyError: 'x'"
    assert (caught["role"], caught["worker"]) == ("worker", 0)
    check_own_lines(lines)


@pytest.mark.parametrize("how", ["basic", "dict"])
def test_in_workers_that_are_started_by_exec(how: str, tmp_path: Path) -> None:
    lines = told(how, "import", tmp_path, AUTHOR_THREAD="1")
    assert said(lines)[1] == ("debug", "mine DEBUG app debug x")
    assert len(said(lines)) == 5
    check_own_lines(lines)


def test_a_handler_of_one_logger(tmp_path: Path) -> None:
    lines = told("dict named", "import", tmp_path)
    assert [event for _, event in said(lines)] == ["root x"] + [
        f"mine {level} app {what} x"
        for level, what in (("DEBUG", "debug"), ("INFO", "info"), ("ERROR", "error"), ("ERROR", "caught"))
    ]
    check_own_lines(lines)


def test_a_formatter_of_json_stays_readable(tmp_path: Path) -> None:
    lines = told("json", "import", tmp_path)
    [info] = [line for line in lines if line["event"] == "info x"]
    assert (info["level"], info["queue"], info["logger"], info["action"]) == ("info", "q", "stdout", "say")
    assert len(said(lines)) == 5
    check_own_lines(lines)


def test_a_level_without_a_handler(tmp_path: Path) -> None:
    lines = told("level", "import", tmp_path)
    assert said(lines) == [("error", "error x"), ("error", "caught x")]
    check_own_lines(lines)


def test_no_configuration_at_all(tmp_path: Path) -> None:
    lines = told("", "import", tmp_path)
    assert said(lines)[0] == ("info", "root x")
    assert said(lines)[1:] == [("debug", "debug x"), ("info", "info x"), ("error", "error x"), ("error", "caught x")]
    check_own_lines(lines)


def test_sentry_is_told_of_what_an_action_raises(tmp_path: Path) -> None:
    lines = told("sentry", "import", tmp_path)
    check_own_lines(lines)
    events = [json.loads(line) for line in (tmp_path / "sentry.jsonl").read_text().splitlines()]
    [failed] = [event for event in events if event["logger"] == "arbd.action"]
    [exception] = failed["exception"]["values"]
    assert (exception["type"], exception["value"], failed["level"]) == ("ValueError", "x", "error")
    assert [frame["function"] for frame in exception["stacktrace"]["frames"]] == ["fail"]
    assert failed["extra"]["action"] == "fail"
