"""The records in a worker's rings: a task on its way to the worker, and its answer on the way back.

    task     | seq u64 | timeout f64 s | action u32 | flags u32 | id u32 | payload u32 | id payload account |
                                                                                          └ with TRACED: id NUL trace
                                                     └ the bits, and above them how often it was tried before
    result   | seq u64 | run u64 ns | since u64 ns | woke u32 ns | status u8 | flags u8 | reason u16 | response JSON |

With ``BY_REFERENCE`` the long part (payload and account; the response) is not in the record: it is a memfd that
was sent over the worker's side socket *before* the record was published, in the same order.
With ``SKIPPED`` a result is none: the task was not begun, because it has been taken back.
With ``NOTICE`` it is none either: the body says something of the worker itself (``arbd.ipc.notice``), ``seq`` is 0.
``reason`` is the number of why a result is an error (``arbd.model.reasons``).
With ``TRACED`` a trace context stands behind the id (``arbd.model.trace``: traceparent, and perhaps tracestate);
without one it costs no byte and no look.
``seq`` is the supervisor's own number of a task, never 0 and never used twice; 0 in a result says *ready*.
``since`` is when the run began (CLOCK_MONOTONIC), ``woke`` how long before that its worker had been woken for it; 0: it
was awake.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import msgspec

from arbd.model.task import STATUSES, Status

BY_REFERENCE: Final = 1
TRACED: Final = 2
SKIPPED: Final = 4
NOTICE: Final = 8
READY_SEQ: Final = 0
_TRIES_SHIFT: Final = 8
_MOST_TRIES: Final = (1 << 24) - 1

_TASK: Final = Struct("<QdIIII")
_RESULT: Final = Struct("<QQQIBBH")
_STATUS_CODE: Final[dict[Status, int]] = {status: code for code, status in enumerate(STATUSES)}

TASK_HEADER: Final = _TASK.size
RESULT_HEADER: Final = _RESULT.size
LONGEST_WOKE_NS: Final = 0xFFFF_FFFF

_pack_task = _TASK.pack
_unpack_task = _TASK.unpack_from
_pack_result = _RESULT.pack
_unpack_result = _RESULT.unpack_from


class TaskFrame(msgspec.Struct, gc=False):
    """A decoded task record. ``timeout`` is in seconds. ``body`` is payload and account, empty if it comes by
    reference; ``trace`` is its W3C trace context (``arbd.model.trace.joined``), empty if it has none; ``attempt`` is 1
    for the first time that it was handed out."""

    seq: int
    timeout: float
    action: int
    by_reference: bool
    id: str
    payload_length: int
    body: bytes
    trace: str = ""
    attempt: int = 1


class ResultFrame(msgspec.Struct, gc=False):
    """A decoded result record. ``body`` is the response JSON, empty if it comes by reference; or the notice.
    ``since_ns``: when the run began; ``woke_ns``: how long before that its worker was woken, 0 if it was awake;
    ``reason``: the number of why it is an error."""

    seq: int
    run_ns: int
    status: Status
    body: bytes
    since_ns: int = 0
    woke_ns: int = 0
    reason: int = 0
    flags: int = 0

    @property
    def by_reference(self) -> bool:
        """Whether the response comes beside the ring."""
        return self.flags & BY_REFERENCE != 0

    @property
    def skipped(self) -> bool:
        """Whether the task was not begun."""
        return self.flags & SKIPPED != 0

    @property
    def notice(self) -> bool:
        """Whether this is no result, but what the worker says of itself."""
        return self.flags & NOTICE != 0


def encode_task(
    seq: int,
    timeout: float,
    action: int,
    task_id: bytes,
    payload: bytes,
    account: bytes,
    trace: bytes = b"",
    tries: int = 0,
) -> bytes:
    """The record of a task with its body. ``trace`` is free of NUL; ``tries``: ``tries_of`` its attempt."""
    if trace:
        task_id = b"\0".join((task_id, trace))
        head = _pack_task(seq, timeout, action, TRACED | tries, len(task_id), len(payload))
    else:
        head = _pack_task(seq, timeout, action, tries, len(task_id), len(payload))
    return b"".join((head, task_id, payload, account))


def encode_task_reference(
    seq: int, timeout: float, action: int, task_id: bytes, payload_length: int, trace: bytes = b"", tries: int = 0
) -> bytes:
    """The record of a task whose body (payload, then account) goes through a memfd."""
    flags = BY_REFERENCE | tries
    if trace:
        task_id = b"\0".join((task_id, trace))
        flags |= TRACED
    return _pack_task(seq, timeout, action, flags, len(task_id), payload_length) + task_id


def tries_of(attempt: int) -> int:
    """The bits of a task's flags that tell its attempt; none for the first."""
    return max(0, min(attempt - 1, _MOST_TRIES)) << _TRIES_SHIFT


def decode_task(record: bytes) -> TaskFrame:
    """The task in a record. Raises ``struct.error`` or ``UnicodeDecodeError`` if there is none."""
    seq, timeout, action, flags, id_length, payload_length = _unpack_task(record)
    body_at = TASK_HEADER + id_length
    task_id = record[TASK_HEADER:body_at].decode("utf-8", "surrogatepass")
    if not flags:
        return TaskFrame(seq, timeout, action, False, task_id, payload_length, record[body_at:])
    trace = ""
    if flags & TRACED:
        task_id, _, trace = task_id.rpartition("\0")
    by_reference, attempt = flags & BY_REFERENCE != 0, 1 + (flags >> _TRIES_SHIFT)
    return TaskFrame(seq, timeout, action, by_reference, task_id, payload_length, record[body_at:], trace, attempt)


def encode_result(
    seq: int, run_ns: int, status: Status, body: bytes, since_ns: int = 0, woke_ns: int = 0, reason: int = 0
) -> bytes:
    """The record of a result with its response. ``woke_ns`` is at most ``LONGEST_WOKE_NS``."""
    return _pack_result(seq, run_ns, since_ns, woke_ns, _STATUS_CODE[status], 0, reason) + body


def encode_result_reference(
    seq: int, run_ns: int, status: Status, since_ns: int = 0, woke_ns: int = 0, reason: int = 0
) -> bytes:
    """The record of a result whose response goes through a memfd."""
    return _pack_result(seq, run_ns, since_ns, woke_ns, _STATUS_CODE[status], BY_REFERENCE, reason)


def encode_skipped(seq: int) -> bytes:
    """The record of a task that was not begun."""
    return _pack_result(seq, 0, 0, 0, 0, SKIPPED, 0)


def encode_notice(body: bytes) -> bytes:
    """The record of a notice: what a worker says of itself."""
    return _pack_result(READY_SEQ, 0, 0, 0, 0, NOTICE, 0) + body


READY: Final = _pack_result(READY_SEQ, 0, 0, 0, 0, 0, 0)


def decode_result(record: bytes) -> ResultFrame:
    """The result in a record. Raises ``struct.error`` or ``IndexError`` if there is none."""
    seq, run_ns, since_ns, woke_ns, status, flags, reason = _unpack_result(record)
    return ResultFrame(seq, run_ns, STATUSES[status], record[RESULT_HEADER:], since_ns, woke_ns, reason, flags)
