"""A printed line as an event: level, bounds, the fields of a JSON formatter, and no secret, not even half of one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arbd.logs.captured import RawLines, as_event
from arbd.logs.lines import MAX_LINE, Line

SECRET = "secret-0123456789"


def event(text: str, name: str = "stdout", record: logging.LogRecord | None = None, left_out: int = 0) -> Any:
    return as_event(name, Line(text.encode(), left_out), record, lambda text: text.replace(SECRET, "[redacted]"))


def test_text() -> None:
    assert event("hello") == {"event": "hello", "level": "info"}
    assert event("hello", "stderr") == {"event": "hello", "level": "warning"}


@pytest.mark.parametrize("key", ["event", "message", "msg"])
@pytest.mark.parametrize(("level", "shown"), [("WARNING", "warning"), ("warn", "warning"), ("fatal", "critical")])
def test_json(key: str, level: str, shown: str) -> None:
    text = f'{{"{key}": "hello", "levelname": "{level}", "n": 1}}'
    assert event(text) == {"event": "hello", "level": shown, "n": 1}


def test_json_without_a_level_that_is_known() -> None:
    assert event('{"msg": "hello", "level": 30}', "stderr") == {"event": "hello", "level": "warning", "level_": 30}


@pytest.mark.parametrize("text", ['{"a": 1}', '{"event": 1}', "{not json}", "{}", "[1]", '{"event": "x"} more'])
def test_what_is_no_line_of_a_json_formatter_is_text(text: str) -> None:
    assert event(text) == {"event": text, "level": "info"}


def test_a_long_line_is_cut_after_its_secrets_are_gone() -> None:
    text = "x" * (MAX_LINE - 5) + SECRET + "y" * 100
    found = event(text, left_out=10)["event"]
    assert "secret" not in found
    assert found.endswith(f" [... and {10 + len(text) - MAX_LINE} bytes more]")


def test_the_level_is_that_of_the_record() -> None:
    assert event("x", "stderr", logging.makeLogRecord({"levelname": "DEBUG", "levelno": 10}))["level"] == "debug"
    odd = logging.makeLogRecord({"levelname": "NOTICE", "levelno": 25})
    assert event("x", "stderr", odd)["level"] == "info"
    low = logging.makeLogRecord({"levelname": "TRACE", "levelno": 5})
    assert event("x", "stderr", low)["level"] == "debug"


def test_the_traceback_of_a_record_is_a_field() -> None:
    record = logging.makeLogRecord({"levelname": "ERROR", "levelno": 40, "exc_text": "Traceback\nValueError"})
    assert event("mine: failed\nTraceback\nValueError", "stderr", record) == {
        "event": "mine: failed",
        "exception": "Traceback\nValueError",
        "level": "error",
    }


def test_raw_lines_go_where_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, bytes]] = []

    class Output:
        def __init__(self, fd: int) -> None:
            self._fd = fd

        def write(self, line: bytes) -> None:
            written.append((self._fd, line))

    def open_output(fd: int) -> Any:
        if fd == 2:
            raise OSError(9, "it is closed")
        return Output(fd)

    raw = RawLines(open_output)
    raw.write("stdout", Line(b"a"))
    raw.write("stderr", Line(b"lost"))
    assert written == [(1, b"a\n")]
