"""The metadata of the unary calls that arbd's own hub and link know; another hub ignores it.

GetTask          arbd-long-poll-ms   hold this call at most so long
                 arbd-tell-lease     tell how long a task belongs to whom it is handed out
and its answer   arbd-lease-ms       so long; told by a call that was held
                 traceparent, tracestate   the W3C trace context of its task
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

LONG_POLL_KEY: Final = "arbd-long-poll-ms"
TELL_LEASE_KEY: Final = "arbd-tell-lease"
LEASE_KEY: Final = "arbd-lease-ms"
TRACE_KEYS: Final = ("traceparent", "tracestate")
_MILLISECONDS: Final = re.compile("[0-9]{1,12}")

Metadata = Iterable[tuple[str, str | bytes]]


def seconds_of(metadata: Metadata, key: str) -> float | None:
    """The length of time under this key, which is in milliseconds there; ``None`` without one."""
    for each, value in metadata:
        if each == key and _MILLISECONDS.fullmatch(str(value)):
            return int(value) / 1000
    return None


def trace_of(metadata: Metadata | None) -> tuple[str, str]:
    """The trace context in metadata, as it is; empty texts without one."""
    found = {key: value for key, value in metadata or () if key in TRACE_KEYS and isinstance(value, str)}
    return found.get("traceparent", ""), found.get("tracestate", "")


def milliseconds(seconds: float) -> str:
    """A length of time as it stands in metadata."""
    return str(round(seconds * 1000))
