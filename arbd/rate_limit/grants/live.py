"""Live limits: a worker requests one while the daemon runs, and the supervisor publishes it to every worker.

    worker                                supervisor                              every worker, before its next task
      request(action, limit) ──ring──>      an account for it, a seat in          CHANGES is new: reads the table,
      waits for the answer  <──ring──       every worker, the table, CHANGES      its action asks the new seat

Two pages behind the seats of a cell: the first is written by the supervisor, the second by the worker (``layout``).
CHANGES is odd while the table is being written, so a reader that meets that reads it before the task after this one.
Every action has a seat of its own for this, and the default has one, so a limit that is changed again keeps its seat.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from arbd.ipc import layout
from arbd.model.limit_spec import LimitSpec

TABLE_BYTES: Final = layout.PAGE_BYTES - layout.LINE * 8
_TABLE: Final = layout.LINE
_REQUEST: Final = layout.PAGE_WORDS + layout.LINE


class LiveLimit(msgspec.Struct, frozen=True):
    """The limit that an action has from now on. ``action`` is ``None`` for all actions without a limit of their own,
    ``limit`` is ``None`` for no limit."""

    action: str | None
    limit: LimitSpec | None


_encode: Final = msgspec.msgpack.Encoder().encode
_table: Final = msgspec.msgpack.Decoder(list[LiveLimit])
_request: Final = msgspec.msgpack.Decoder(LiveLimit)


class LiveLimits:
    """The live limits of one generation of the author's code. ``limits``: how many seats come before theirs."""

    def __init__(self, actions: Iterable[str], limits: int) -> None:
        self._first = limits
        self._numbers = {action: number for number, action in enumerate(actions)}
        self._set: dict[str | None, LiveLimit] = {}

    @property
    def limits(self) -> list[LiveLimit]:
        """The present limit of each action for which one was set."""
        return list(self._set.values())

    def number_of(self, action: str | None) -> int:
        """The number of the seat of an action, or of the default, among all seats of a worker."""
        return self._first + (len(self._numbers) if action is None else self._numbers[action])

    def of(self, action: str | None) -> LiveLimit | None:
        """The live limit of an action, or of the default."""
        return self._set.get(action)

    def put_back(self, action: str | None, before: LiveLimit | None) -> None:
        """Undo ``add``: the limit that was set before holds again."""
        del self._set[action]
        if before is not None:
            self._set[action] = before

    def add(self, request: LiveLimit) -> LiveLimit | None:
        """Set a limit, named after its action; ``None``: the action is unknown, or the table would be too long."""
        action = request.action
        if action is not None and action not in self._numbers:
            return None
        named = request
        if request.limit is not None:
            name, actions = ("default, set", []) if action is None else (f"action {action}, set", [action])
            named = LiveLimit(action, replace(request.limit, name=name, scope="action", actions=actions))
        if len(_encode([*self._set.values(), named])) > TABLE_BYTES:
            return None
        self._set[action] = named
        return named


class SupervisorLive:
    """The supervisor's side of the two pages of one worker."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._reading: int | None = None  # the number of the request that was read and not answered yet

    @property
    def has_request(self) -> bool:
        """Whether the worker has made a request that was not answered yet."""
        return bool(self._words[layout.REQUESTS] != self._words[layout.REQUESTS_SEEN])

    def request(self) -> LiveLimit | None:
        """The open request; ``None`` without one. Raises ``msgspec.MsgspecError`` if it cannot be read."""
        words = self._words
        number = words[layout.REQUESTS]
        self._reading = None if number == words[layout.REQUESTS_SEEN] else number
        if self._reading is None:
            return None
        length = min(words[layout.REQUEST_LENGTH], TABLE_BYTES)
        return _request.decode(_load(words, _REQUEST, length))

    def answer(self, *, granted: bool) -> None:
        """Store the answer to the request that was read; the worker may be rung. A worker whose task's deadline was
        raised while it waited may have made another request meanwhile."""
        words = self._words
        number = words[layout.REQUESTS] if self._reading is None else self._reading
        self._reading = None
        if not granted:
            words[layout.REQUEST_REFUSED] = number
        words[layout.REQUESTS_SEEN] = number

    def publish(self, limits: list[LiveLimit]) -> None:
        """Replace the table."""
        words, text = self._words, _encode(limits)
        words[layout.CHANGES] += 1
        _store(words, _TABLE, text)
        words[layout.TABLE_LENGTH] = len(text)
        words[layout.CHANGES] += 1


class WorkerLive:
    """The worker's side of its two pages."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._known = 0

    def is_new(self) -> bool:
        """Whether the table has changed since it was read last."""
        return bool(self._words[layout.CHANGES] != self._known)

    def read(self) -> list[LiveLimit] | None:
        """The table; ``None`` while it is being written."""
        words = self._words
        changes = words[layout.CHANGES]
        text = _load(words, _TABLE, words[layout.TABLE_LENGTH])
        if changes & 1 or words[layout.CHANGES] != changes:
            return None
        self._known = changes
        return _table.decode(text)

    def request(self, limit: LiveLimit) -> None:
        """Store a request; the supervisor must be rung then. Raises ``ValueError`` if it is too long."""
        words, text = self._words, _encode(limit)
        if len(text) > TABLE_BYTES:
            raise ValueError(f"a limit of {len(text)} bytes is too long; at most {TABLE_BYTES} can be passed on")
        _store(words, _REQUEST, text)
        words[layout.REQUEST_LENGTH] = len(text)
        words[layout.REQUESTS] += 1

    def answer(self) -> bool | None:
        """Whether the last request was granted; ``None`` while it is not answered."""
        words = self._words
        if words[layout.REQUESTS_SEEN] != words[layout.REQUESTS]:
            return None
        return bool(words[layout.REQUEST_REFUSED] != words[layout.REQUESTS])


def _store(words: memoryview, at: int, text: bytes) -> None:
    padded = memoryview(text + bytes(-len(text) % 8)).cast("Q")
    words[at : at + len(padded)] = padded


def _load(words: memoryview, at: int, length: int) -> bytes:
    return words[at : at + -(-length // 8)].tobytes()[:length]
