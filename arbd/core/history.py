"""What is shown of the recent past of workers: the last replacements, and the actions that end workers. Pure.

Texts come from processes that run an author's code: they are cut, and made of printable characters alone, before they
are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from arbd.printable import printable

_MOST_REPLACEMENTS: Final = 20
_MOST_OF_DETAIL: Final = 300  # characters
_MOST_NAMES: Final = 20  # on a line
_MOST_OF_NAME: Final = 60  # characters
_MOST_ACTIONS: Final = 1000
_TELL_APART_NS: Final = 1_000_000_000  # of one reason: workers may be replaced after a few tasks, many times a second


def shown(text: str, most: int = _MOST_OF_DETAIL) -> str:
    """A text as it may be printed anywhere: cut, and whatever is no printable character written as its escape."""
    return printable(text if len(text) <= most else f"{text[: most - 3]}...")


def first_names(names: Sequence[str]) -> list[str]:
    """The first of many names as they may be printed, and how many more there are."""
    first = [shown(name, _MOST_OF_NAME) for name in names[:_MOST_NAMES]]
    left = len(names) - len(first)
    return [*first, f"and {left} more"] if left else first


class Why(NamedTuple):
    """Why a worker was replaced: in a word, in a sentence, and the action to blame, if any."""

    reason: str
    detail: str = ""
    action: str = ""


class Replaced(NamedTuple):
    """A worker that was replaced: when (nanoseconds of a monotonic clock), its slot, and why."""

    at_ns: int
    slot: int
    why: Why


class History:
    """The last replacements, newest first."""

    def __init__(self) -> None:
        self._replaced: deque[Replaced] = deque(maxlen=_MOST_REPLACEMENTS)
        self._told: dict[str, tuple[int, int]] = {}  # by reason: since when, and how many were not told since

    def note(self, now_ns: int, slot: int, why: Why) -> int:
        """Note a replacement. How many of this reason there are to tell of, this one included; 0: not so soon."""
        since_ns, untold = self._told.get(why.reason, (now_ns - _TELL_APART_NS, 0))
        is_due = now_ns - since_ns >= _TELL_APART_NS
        self._told[why.reason] = (now_ns, 0) if is_due else (since_ns, untold + 1)
        self._append(now_ns, slot, why)
        return untold + 1 if is_due else 0

    def _append(self, now_ns: int, slot: int, why: Why) -> None:
        self._replaced.appendleft(Replaced(now_ns, slot, Why(why.reason, shown(why.detail), shown(why.action))))

    def __iter__(self) -> Iterator[Replaced]:
        return iter(self._replaced)


class _Row(msgspec.Struct):
    count: int
    finished_by: int = 0  # the worker in which it then ended well: it may yet turn out that the worker ends for it


class Culprits:
    """How many workers each action has ended in a row. An action that finished without ending its worker begins anew.

    A worker says that it ends for an action after it has answered that action's task; so an answer only ends the row
    if the worker does not say so next.
    """

    def __init__(self) -> None:
        self.rows: dict[str, _Row] = {}  # asked for each result whether there is any: that must cost next to nothing

    def finished(self, action: str, worker_id: int) -> None:
        """Note an answer."""
        row = self.rows.get(action)
        if row is None:
            return
        if row.finished_by:
            del self.rows[action]
        else:
            row.finished_by = worker_id

    def ended(self, action: str, worker_id: int) -> int:
        """Note that a worker ended for it; how many in a row that makes."""
        row = self.rows.get(action)
        if row is None or row.finished_by not in (0, worker_id):
            if len(self.rows) >= _MOST_ACTIONS:
                self.rows.clear()  # by a reload each minute, with other names each time
            row = self.rows[action] = _Row(0)
        row.count += 1
        row.finished_by = 0
        return row.count

    def counts(self) -> dict[str, int]:
        """The actions whose last runs ended workers, with the length of the row; the longest first."""
        rows = [(action, row.count) for action, row in self.rows.items() if not row.finished_by]
        return dict(sorted(rows, key=lambda each: -each[1]))


def is_worth_a_line(count: int) -> bool:
    """Whether a row of this length is logged: once per doubling."""
    return count > 1 and count & (count - 1) == 0
