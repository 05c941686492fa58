"""Tasks on their way in, and outcomes on their way out."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

Status = Literal["success", "error", "limit"]
STATUSES: Final[tuple[Status, ...]] = ("success", "error", "limit")


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as the hub handed it out. The bytes are opaque here: only a worker decodes them.

    ``attempt``: 1 for the first time it is handed out. ``deadline``: when its result is worth nothing any more, in
    seconds of the local monotonic clock. ``traceparent``, ``tracestate``: W3C trace context, empty if there is none.
    ``priority``: the higher one first. Only a stream link and the embedded hub know more than the defaults; a unary
    link knows a trace context where tracing is on.
    """

    id: str
    action: str
    payload: bytes = b""
    account: bytes = b""
    attempt: int = 1
    deadline: float = math.inf
    traceparent: str = ""
    priority: int = 0
    tracestate: str = ""

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, action={self.action!r})"  # never the payload: this may end in a log


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The one verdict on a task: ``result`` is the JSON text of its response dict."""

    task: Task
    status: Status
    result: bytes

    def __repr__(self) -> str:
        return f"Outcome({self.task!r}, status={self.status!r})"


class TaskInfo(msgspec.Struct, frozen=True):
    """The value of the reserved parameter ``task`` of a handler.

    ``deadline`` is the moment of the soft timeout, in seconds of ``time.monotonic()``. ``traceparent`` and
    ``tracestate`` are the W3C trace context the hub sent with the task, empty if it sent none: the headers of these
    names for requests to others. Where tracing is on, ``traceparent`` is that of the task's own span. ``attempt``: 1
    for the first time that the hub has handed the task out, as far as it tells.
    """

    id: str
    action: str
    deadline: float
    traceparent: str = ""
    tracestate: str = ""
    attempt: int = 1
