"""The form of a log line: an event as one JSON object, or as one console line, without secrets.

Pure, and it never raises: what cannot be encoded is shown as text. Which fields an event has, and where its line goes,
is ``arbd.logs``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Final

import msgspec

from arbd.printable import printable, printable_json_bytes, printable_lines
from arbd.settings.secrets import swap

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
REDACTED: Final = "[redacted]"
_INDENT: Final = "    "
_OF_LINES: Final = frozenset({"stack", "exception"})
_BEGIN: Final = re.compile(r"^(?=\d{4}-\d\d-\d\d)", re.MULTILINE)
_SHOWN_BY_FORMAT: Final = frozenset({"timestamp", "level", "event", "logger", "stack", "exception"})
# A lone surrogate, a key that is no text, a list inside itself, an integer of more than 64 bits.
_UNENCODABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)

EventDict = MutableMapping[str, Any]
Console = Callable[[Any, str, EventDict], str]


class EventLine(bytes):
    """A log line that keeps the event it was made of, without its secrets."""

    event: EventDict


class LineFormat:
    """The form of a process's log lines: ``secrets`` are replaced; ``console`` renders events, or JSON without one.
    ``keeps_events``: each line keeps its event, for an output with fields."""

    def __init__(
        self, secrets: Sequence[str] = (), console: Console | None = None, *, keeps_events: bool = False
    ) -> None:
        self._keeps_events = keeps_events
        self._secrets = tuple(sorted({secret for secret in secrets if secret}, key=len, reverse=True))
        self._console = console

    def line(self, event: EventDict, formatter: logging.Formatter | None = None) -> bytes:
        """The line of an event. ``formatter`` takes the place of ``console``, where there is one."""
        if self._secrets:
            event = {self._redacted(key): self._redacted(_plain(value)) for key, value in event.items()}
        line = self._line(event, formatter)
        if self._keeps_events:
            line = EventLine(line)
            line.event = event
        return line

    def _line(self, event: EventDict, formatter: logging.Formatter | None) -> bytes:
        if self._console is None:
            return _json(event)
        # Control characters would let a task's id or an author's value write to the operator's terminal.
        clean = _reason_below({printable(str(key)): _shown(key, value) for key, value in event.items()})
        line = self._console(None, "", clean) if formatter is None else _percent(formatter, clean)
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def redacted(self, text: str) -> str:
        """A text without the secrets."""
        return str(self._redacted(text)) if self._secrets else text

    def plain(self, value: Any) -> Any:
        """A value as plain data that is fit for JSON, without the secrets."""
        plain = self._redacted(_plain(value)) if self._secrets else _plain(value)
        try:
            return msgspec.json.decode(msgspec.json.encode(plain))
        except _UNENCODABLE:
            return _text(plain).encode("utf-8", "backslashreplace").decode()

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._redacted(key): self._redacted(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redacted(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return REDACTED if str(value) in self._secrets else value
        text = _text(value)
        for secret in self._secrets:
            text = swap(text, secret, REDACTED)
        return text


def _shown(key: str, value: Any) -> Any:
    """A value on an operator's terminal: it controls nothing there, and no part of it looks like the begin of a line of
    the log."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = "\t".join(map(printable_lines, _text(value).split("\t")))
    if "\n" not in text:
        return text
    return _BEGIN.sub(_INDENT, text) if key in _OF_LINES else text.replace("\n", f"\n{_INDENT}")


def _reason_below(event: EventDict) -> EventDict:
    """An event whose reason has several lines, such as a traceback: those behind the first stand below, as they are."""
    first, _, rest = str(event.get("reason", "")).partition("\n")
    return event if not rest or "stack" in event else {**event, "reason": first, "stack": rest}


def _plain(value: Any) -> Any:
    """A value as dicts, lists, text and numbers only, so that no object's own encoding can hide a secret."""
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_text, builtin_types=(bytes, bytearray))
    except _UNENCODABLE:
        return _text(value)


def _json(event: EventDict) -> bytes:
    try:
        return printable_json_bytes(msgspec.json.encode(event, enc_hook=_text)) + b"\n"
    except _UNENCODABLE:
        plain = {key: value if isinstance(value, int) else _text(value) for key, value in event.items()}
        return printable_json_bytes(json.dumps(plain).encode()) + b"\n"


def _percent(formatter: logging.Formatter, event: EventDict) -> str:
    """A line in an author's %-format, and what that format has no place for behind it."""
    level = event["level"]
    record = {
        "name": event["logger"],
        "levelname": level.upper(),
        "levelno": LEVELS.get(level, 0),
        "msg": event["event"],
    }
    line = formatter.format(logging.makeLogRecord(dict(event) | record))
    rest = "".join(f" {key}={value}" for key, value in event.items() if key not in _SHOWN_BY_FORMAT)
    return line + rest + "".join(f"\n{event[key]}" for key in ("stack", "exception") if key in event)


def _text(value: object) -> str:
    """Any object as text, even one whose ``repr`` fails."""
    if isinstance(value, str):
        return value
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}: its repr failed>"
