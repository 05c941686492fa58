"""A printed line as an event: its level, its text within bounds, and its fields where it is a line of JSON already."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from arbd.logs.format import LEVELS
from arbd.logs.lines import MAX_LINE, Line
from arbd.logs.output import LineOutput

_LEVELS: Final = {"stdout": "info", "stderr": "warning"}
_DESCRIPTORS: Final = {"stdout": 1, "stderr": 2}
_TEXT_KEYS: Final = ("event", "message", "msg")
_LEVEL_KEYS: Final = ("level", "levelname", "severity")
_OTHER_NAMES: Final = {"warn": "warning", "fatal": "critical", "notset": "debug"}


def as_event(name: str, line: Line, record: logging.LogRecord | None, redacted: Callable[[str], str]) -> dict[str, Any]:
    """The event of a line of stream ``name``: always with ``level`` and ``event``. ``record``: what it was written
    for."""
    text = line.text
    event = _fields_of(text) if not line.left_out and len(text) <= MAX_LINE else None
    if event is None:
        event = {"event": _cut(text, line.left_out, redacted)}
        if record is not None and record.exc_text and text.endswith(f"\n{record.exc_text}"):
            head = text[: -len(record.exc_text) - 1]
            event = {"event": _cut(head, 0, redacted), "exception": _cut(record.exc_text, 0, redacted)}
    if record is not None:
        event["level"] = _level(record.levelname) or _level_of_number(record.levelno)
    event.setdefault("level", _LEVELS.get(name, "info"))
    return event


def _fields_of(text: str) -> dict[str, Any] | None:
    """The fields of a line that a JSON formatter has written."""
    if not (text.startswith("{") and text.rstrip().endswith("}")):
        return None
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    key = next((key for key in _TEXT_KEYS if isinstance(found.get(key), str)), None)
    if key is None:
        return None
    event = {"event": found.pop(key)}
    for key in _LEVEL_KEYS:
        level = _level(found.get(key))
        if level is not None:
            event["level"] = level
            del found[key]
            break
    for key, value in found.items():
        event[f"{key}_" if key in ("level", "event") else key] = value
    return event


def _level(name: object) -> str | None:
    text = name.lower() if isinstance(name, str) else ""
    text = _OTHER_NAMES.get(text, text)
    return text if text in LEVELS else None


def _level_of_number(number: int) -> str:
    return max((level for level in LEVELS if LEVELS[level] <= number), key=LEVELS.__getitem__, default="debug")


def _cut(text: str, left_out: int, redacted: Callable[[str], str]) -> str:
    """A text within bounds. Without its secrets first: half of one would not be found."""
    if len(text) <= MAX_LINE and not left_out:
        return text
    kept = redacted(text)[:MAX_LINE]
    more = left_out + max(0, len(text) - MAX_LINE)
    return f"{kept} [... and {more} bytes more]"


class RawLines:
    """Lines to standard output and standard error as they are, for a log that is silent; nobody waits for a reader."""

    def __init__(self, lines_to: Callable[[int], LineOutput]) -> None:
        self._outputs: dict[str, LineOutput] = {}
        for name, fd in _DESCRIPTORS.items():
            try:
                self._outputs[name] = lines_to(fd)
            except OSError:
                pass  # it is closed

    def write(self, name: str, line: Line) -> None:
        """Write a line to stream ``name``."""
        if name in self._outputs:
            self._outputs[name].write(line.data + b"\n")


def descriptor_of_log(fd: int | None) -> int:
    """A descriptor of the log that stays when 2 is a captured one: ``fd``, or a copy of standard error."""
    if fd is not None:
        os.set_inheritable(fd, False)
        return fd
    return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
