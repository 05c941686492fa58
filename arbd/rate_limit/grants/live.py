"""Limits that are set while the daemon runs: a worker's wish goes to the supervisor, and its decision to every worker.

    worker                                supervisor                              every worker, before its next task
      wish(action, limit) ──ring──>         an account for it, a seat in          CHANGES is new: reads the table,
      waits until it was seen  <──ring──    every worker, the table, CHANGES      its action asks the new seat

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
_WISH: Final = layout.PAGE_WORDS + layout.LINE


class LiveLimit(msgspec.Struct, frozen=True):
    """What limits an action from now on; ``None`` for the action: all that have no limit of their own; ``None`` for the
    limit: nothing limits it."""

    action: str | None
    limit: LimitSpec | None


_encode: Final = msgspec.msgpack.Encoder().encode
_table: Final = msgspec.msgpack.Decoder(list[LiveLimit])
_wish: Final = msgspec.msgpack.Decoder(LiveLimit)


class LiveLimits:
    """What was set while one generation of the author's code runs: one with these actions, and so many limits of its
    own, whose seats come first."""

    def __init__(self, actions: Iterable[str], limits: int) -> None:
        self._first = limits
        self._numbers = {action: number for number, action in enumerate(actions)}
        self._set: dict[str | None, LiveLimit] = {}

    @property
    def limits(self) -> list[LiveLimit]:
        """The last of each action."""
        return list(self._set.values())

    def number_of(self, action: str | None) -> int:
        """The seat of an action, or of the default, among all seats of a worker."""
        return self._first + (len(self._numbers) if action is None else self._numbers[action])

    def of(self, action: str | None) -> LiveLimit | None:
        """What was set for an action, or as default."""
        return self._set.get(action)

    def put_back(self, action: str | None, before: LiveLimit | None) -> None:
        """What was added last cannot be had: the one before holds."""
        del self._set[action]
        if before is not None:
            self._set[action] = before

    def add(self, wish: LiveLimit) -> LiveLimit | None:
        """The wish with its limit named after the action; ``None`` if it cannot be granted: the action is unknown, or
        the table would be too long."""
        action = wish.action
        if action is not None and action not in self._numbers:
            return None
        named = wish
        if wish.limit is not None:
            name, actions = ("default, set", []) if action is None else (f"action {action}, set", [action])
            named = LiveLimit(action, replace(wish.limit, name=name, scope="action", actions=actions))
        if len(_encode([*self._set.values(), named])) > TABLE_BYTES:
            return None
        self._set[action] = named
        return named


class SupervisorLive:
    """The supervisor's side of the two pages."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._reading: int | None = None  # the number of the wish that was read and not answered yet

    @property
    def has_wish(self) -> bool:
        """Whether the worker wishes something that was not answered yet."""
        return bool(self._words[layout.WISHES] != self._words[layout.WISHES_SEEN])

    def wish(self) -> LiveLimit | None:
        """What the worker wishes and was not answered yet. Raises ``msgspec.MsgspecError`` for what is no wish."""
        words = self._words
        number = words[layout.WISHES]
        self._reading = None if number == words[layout.WISHES_SEEN] else number
        if self._reading is None:
            return None
        length = min(words[layout.WISH_LENGTH], TABLE_BYTES)
        return _wish.decode(_load(words, _WISH, length))

    def answer(self, *, granted: bool) -> None:
        """The wish was seen; the worker may be rung.

        The one that was read: a worker whose task's deadline struck while it waited may have wished again meanwhile.
        """
        words = self._words
        number = words[layout.WISHES] if self._reading is None else self._reading
        self._reading = None
        if not granted:
            words[layout.WISH_REFUSED] = number
        words[layout.WISHES_SEEN] = number

    def publish(self, limits: list[LiveLimit]) -> None:
        """Replace the table."""
        words, text = self._words, _encode(limits)
        words[layout.CHANGES] += 1
        _store(words, _TABLE, text)
        words[layout.TABLE_LENGTH] = len(text)
        words[layout.CHANGES] += 1


class WorkerLive:
    """The worker's side."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._known = 0

    def is_new(self) -> bool:
        """Whether the table has changed since it was read last."""
        return bool(self._words[layout.CHANGES] != self._known)

    def read(self) -> list[LiveLimit] | None:
        """The table; ``None`` if it is being written just now."""
        words = self._words
        changes = words[layout.CHANGES]
        text = _load(words, _TABLE, words[layout.TABLE_LENGTH])
        if changes & 1 or words[layout.CHANGES] != changes:
            return None
        self._known = changes
        return _table.decode(text)

    def wish(self, limit: LiveLimit) -> None:
        """Tell the supervisor, which must be rung then. Raises ``ValueError`` if it is too long to be told."""
        words, text = self._words, _encode(limit)
        if len(text) > TABLE_BYTES:
            raise ValueError(f"a limit of {len(text)} bytes is too long; at most {TABLE_BYTES} can be passed on")
        _store(words, _WISH, text)
        words[layout.WISH_LENGTH] = len(text)
        words[layout.WISHES] += 1

    def answer(self) -> bool | None:
        """Whether the last wish was granted; ``None``: not answered yet."""
        words = self._words
        if words[layout.WISHES_SEEN] != words[layout.WISHES]:
            return None
        return bool(words[layout.WISH_REFUSED] != words[layout.WISHES])


def _store(words: memoryview, at: int, text: bytes) -> None:
    padded = memoryview(text + bytes(-len(text) % 8)).cast("Q")
    words[at : at + len(padded)] = padded


def _load(words: memoryview, at: int, length: int) -> bytes:
    return words[at : at + -(-length // 8)].tobytes()[:length]
