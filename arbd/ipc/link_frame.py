"""The records in the rings between the supervisor and a link process.

    up    TASK      | kind u32 | flags u32 | id u32 | action u32 | payload u32 | trace u32 |
                                                                   id action payload trace account         |
          ACKS      | kind u32 | 0 u32     | number u64 ...                                                        |
          STOPPED   | kind u32 | stop u32  |                   every poll is answered, and its task is above
          FAILURES  | kind u32 | 0 u32     | msgpack: calls that failed, by method and status                      |
          LEASE     | kind u32 | 0 u32     | milliseconds u64: how long the hub waits for a task                   |
    down  RESULT    | number u64 | flags u32 | status u32 | id u32 | action u32 | payload u32 | account u32 |
                                                                   id action payload account result         |

With ``BY_REFERENCE`` the record ends after its numbers: what follows them otherwise is a memfd that was sent over the
side socket before. ``number`` is the supervisor's own for a result, never used twice towards one link.

The supervisor trusts no record: for an invalid one every function here raises ``LinkRecordError``, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

import msgspec

from arbd.errors import ArbdError
from arbd.model.task import STATUSES, Outcome, Status, Task
from arbd.model.trace import joined

TASK: Final = 1
ACKS: Final = 2
STOPPED: Final = 3
FAILURES: Final = 4
LEASE: Final = 5

_BY_REFERENCE: Final = 1
_KIND: Final = Struct("<II")
_TASK: Final = Struct("<IIIIII")
_RESULT: Final = Struct("<QIIIIII")
_STATUS_CODE: Final[dict[Status, int]] = {status: code for code, status in enumerate(STATUSES)}
_ACK_BYTES: Final = 8
_LEASE: Final = Struct("<IIQ")

_pack_task = _TASK.pack
_unpack_task = _TASK.unpack_from
_pack_result = _RESULT.pack
_unpack_result = _RESULT.unpack_from
_failures = msgspec.msgpack.Decoder(dict[str, int])


class LinkRecordError(ArbdError):
    """A record that no link of this version writes."""


class NumberedOutcome(Outcome, frozen=True, gc=False):
    """An outcome in a link process, with the number by which it is acknowledged."""

    number: int


class Encoded(NamedTuple):
    """An encoded record. ``parcel`` goes beside it as a memfd, if it is too long for the ring."""

    record: bytes
    parcel: tuple[bytes, ...] | None


def encode_task(task: Task, longest: int) -> Encoded:
    """The record of a task on its way up. ``longest``: bytes of the longest record that travels in the ring."""
    task_id, action = _text(task.id), _text(task.action)
    trace = joined(task.traceparent, task.tracestate).encode() if task.traceparent else b""
    body = (task_id, action, task.payload, trace, task.account)
    lengths = (len(task_id), len(action), len(task.payload), len(trace))
    if _TASK.size + sum(map(len, body)) <= longest:
        return Encoded(b"".join((_pack_task(TASK, 0, *lengths), *body)), None)
    return Encoded(_pack_task(TASK, _BY_REFERENCE, *lengths), body)


def kind_of(record: bytes) -> int:
    """The kind of a record that came up: ``TASK``, ``ACKS``, ``STOPPED``, ``FAILURES`` or ``LEASE``."""
    try:
        kind: int = _KIND.unpack_from(record)[0]
    except StructError as error:
        raise LinkRecordError(f"a record of {len(record)} bytes is too short") from error
    return kind


def decode_task(record: bytes, take_parcel: Callable[[], bytes]) -> Task:
    """The task in a record. ``take_parcel`` returns what came beside it."""
    try:
        _, flags, id_length, action_length, payload_length, trace_length = _unpack_task(record)
        at, body = (0, take_parcel()) if flags & _BY_REFERENCE else (_TASK.size, record)
        action_at = at + id_length
        payload_at = action_at + action_length
        trace_at = payload_at + payload_length
        account_at = trace_at + trace_length
        if account_at > len(body) or not id_length:
            raise LinkRecordError(f"a task of {len(body)} bytes does not hold what its lengths say")
        parent, _, state = body[trace_at:account_at].decode("ascii").partition(" ") if trace_length else ("", "", "")
        return Task(
            body[at:action_at].decode("utf-8", "surrogatepass"),
            body[action_at:payload_at].decode("utf-8", "surrogatepass"),
            body[payload_at:trace_at],
            body[account_at:],
            traceparent=parent,
            tracestate=state,
        )
    except (StructError, UnicodeDecodeError) as error:
        raise LinkRecordError(f"a record is no task: {error}") from error


def encode_acks(numbers: Sequence[int]) -> bytes:
    """The record that acknowledges these results."""
    return _KIND.pack(ACKS, 0) + Struct(f"<{len(numbers)}Q").pack(*numbers)


def most_acks(longest: int) -> int:
    """How many acknowledgements one record holds."""
    return (longest - _KIND.size) // _ACK_BYTES


def decode_acks(record: bytes) -> tuple[int, ...]:
    """The numbers of the acknowledged results in a record."""
    count, rest = divmod(len(record) - _KIND.size, _ACK_BYTES)
    if rest or not count:
        raise LinkRecordError(f"a record of {len(record)} bytes holds no whole numbers")
    return Struct(f"<{count}Q").unpack_from(record, _KIND.size)


def encode_stopped(number: int) -> bytes:
    """The record that says that the stop of this number is done."""
    return _KIND.pack(STOPPED, number)


def decode_stopped(record: bytes) -> int:
    """The number in such a record."""
    if len(record) != _KIND.size:
        raise LinkRecordError(f"a record of {len(record)} bytes is no end of polls")
    number: int = _KIND.unpack(record)[1]
    return number


def encode_failures(failures: dict[str, int]) -> bytes:
    """The record of the counts of failed calls, by method and status."""
    return _KIND.pack(FAILURES, 0) + msgspec.msgpack.encode(failures)


def decode_failures(record: bytes) -> dict[str, int]:
    """The counts of failed calls in a record."""
    try:
        return _failures.decode(record[_KIND.size :])
    except msgspec.MsgspecError as error:
        raise LinkRecordError(f"a record holds no counts: {error}") from error


def encode_lease(lease_s: float) -> bytes:
    """The record that tells how long the hub waits for a task, in seconds."""
    return _LEASE.pack(LEASE, 0, round(lease_s * 1000))


def decode_lease(record: bytes) -> float:
    """The seconds in such a record."""
    if len(record) != _LEASE.size:
        raise LinkRecordError(f"a record of {len(record)} bytes holds no lease")
    milliseconds: int = _LEASE.unpack(record)[2]
    return milliseconds / 1000


def encode_result(outcome: Outcome, number: int, longest: int) -> Encoded:
    """The record of a result on its way down. ``longest`` as in ``encode_task``."""
    task, result = outcome.task, outcome.result
    task_id, action = _text(task.id), _text(task.action)
    body = (task_id, action, task.payload, task.account, result)
    lengths = (len(task_id), len(action), len(task.payload), len(task.account))
    status = _STATUS_CODE[outcome.status]
    if _RESULT.size + sum(map(len, body)) <= longest:
        return Encoded(b"".join((_pack_result(number, 0, status, *lengths), *body)), None)
    return Encoded(_pack_result(number, _BY_REFERENCE, status, *lengths), body)


def decode_result(record: bytes, take_parcel: Callable[[], bytes]) -> NumberedOutcome:
    """The result in a record, with its number."""
    try:
        number, flags, status, id_length, action_length, payload_length, account_length = _unpack_result(record)
        at, body = (0, take_parcel()) if flags & _BY_REFERENCE else (_RESULT.size, record)
        action_at = at + id_length
        payload_at = action_at + action_length
        account_at = payload_at + payload_length
        result_at = account_at + account_length
        if result_at > len(body):
            raise LinkRecordError(f"a result of {len(body)} bytes does not hold what its lengths say")
        task = Task(
            body[at:action_at].decode("utf-8", "surrogatepass"),
            body[action_at:payload_at].decode("utf-8", "surrogatepass"),
            body[payload_at:account_at],
            body[account_at:result_at],
        )
        return NumberedOutcome(task, STATUSES[status], body[result_at:], number)
    except (StructError, UnicodeDecodeError, IndexError) as error:
        raise LinkRecordError(f"a record is no result: {error}") from error


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
