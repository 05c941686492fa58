"""Notable events: the last lines of the log that an operator asks for, whatever level is written.

``note`` writes a line and keeps it, ``keep`` only keeps; everything else is a line and no more. What is worth it:
replacements, reloads, the hub lost and found, actions that are held back, commands of an operator. Fields hold no
payload and no secret.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import Any, Final, Literal, NamedTuple

from arbd import logs

KEPT: Final = 256
_MOST_OF_FIELD: Final = 4000  # characters: of all together a reply has a few MiB at most

Level = Literal["info", "warning", "error", "critical"]


class Notable(NamedTuple):
    """One notable event; ``at``: seconds of the monotonic clock."""

    number: int
    at: float
    level: str
    event: str
    fields: dict[str, Any]


_numbers = itertools.count(1)
_recent: deque[Notable] = deque(maxlen=KEPT)


def keep(level: Level, event: str, **fields: Any) -> None:
    """Keep an event of which another line tells, or none because it is usual."""
    kept = {name: _kept(value) for name, value in fields.items() if name != "exc_info"}  # the log has the traceback
    _recent.append(Notable(next(_numbers), time.monotonic(), level, event, kept))


def _kept(value: Any) -> Any:
    """A value as it may be told to whoever asks: plain, without secrets, and not without end."""
    plain = logs.redacted(value)
    if len(str(plain)) <= _MOST_OF_FIELD:
        return plain
    return f"{str(plain)[:_MOST_OF_FIELD]}..."


def note(log: Any, level: Level, event: str, **fields: Any) -> None:
    """Write a line with this logger, and keep it."""
    keep(level, event, **fields)
    getattr(log, level)(event, **fields)


def recent(after: int = 0) -> list[Notable]:
    """Those with a larger number than that, oldest first."""
    return [each for each in _recent if each.number > after]
