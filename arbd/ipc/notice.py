"""The notices of a worker: what it tells the supervisor of itself, in its result ring, between answers.

    Unfit          it cannot take tasks: a start hook or a resource failed; it ends with code 75, never ready
    ReplaceSoon    it serves on, and should be replaced: start a successor; it leaves when it is told to
    Leaving        it begins no task any more: whatever still lies in its ring it answers as skipped; once it is told to
                   leave (``layout.LEAVE``) and its ring is empty, it ends in order. Said by every worker that leaves,
                   also by one that was told to: then the ``reason`` is ``told``.
    Stopped        where a task was when its deadline struck; its answer follows

``reason`` is a word for figures; ``detail`` a sentence for people, with ``action`` where one is to blame. Both come
from a process that runs an author's code: texts, bounded by who encodes them, and never trusted further.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

#: Why a worker ends that was not told to, or asks for its replacement.
Reason = Literal["told", "interrupted", "cancelled", "changed", "tasks", "age", "memory", "descriptors"]

# Bytes of UTF-8. Together they fit a record of the smallest ring.
_MOST_OF_DETAIL: Final = 3000
_MOST_OF_ACTION: Final = 500


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """Says that this worker cannot take tasks, and why; the pool tries again in its slot after a pause."""

    detail: str


class ReplaceSoon(msgspec.Struct, frozen=True, tag=True):
    """Asks for a successor that is ready before this worker leaves."""

    reason: Reason
    detail: str = ""


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """Says that this worker begins no more tasks, and ends."""

    reason: Reason
    detail: str = ""
    action: str = ""


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """Says where the task with this number was when its deadline struck inside it: a stack, the innermost call
    first."""

    seq: int
    stack: str


Notice = Unfit | ReplaceSoon | Leaving | Stopped

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Notice]] = msgspec.msgpack.Decoder(Notice)


def encode(notice: Notice) -> bytes:
    """The body of a notice's record; what is too long is cut, and lone surrogates are escaped."""
    if isinstance(notice, Stopped):
        return _encode(Stopped(notice.seq, _cut(notice.stack, _MOST_OF_DETAIL)))
    changes = {"detail": _cut(notice.detail, _MOST_OF_DETAIL)}
    if isinstance(notice, Leaving):
        changes["action"] = _cut(notice.action, _MOST_OF_ACTION)
    return _encode(msgspec.structs.replace(notice, **changes))


def decode(body: bytes) -> Notice:
    """The notice in a record. Raises ``msgspec.DecodeError`` if there is none."""
    return _decoder.decode(body)


def _cut(text: str, most: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "..."
