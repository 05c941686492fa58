"""Whether the daemon makes progress: which of its parts has something to do, could do it, and does not.

    part        waits while                                                  and moves with
    ----------  -----------------------------------------------------------  -----------------------------------------
    dispatch    a task is first in line, and a worker has nothing to do      another one first, a try to hand it over
    results     workers have said that they answered, and nobody has looked  anything read from their rings
    sending     a result waits, the hub is up, nothing keeps the link back   a result taken or sent
    link        something of it is overdue: a call past its deadline, a      (it ends with that)
                timer that has passed, a coroutine that has ended

So a task that runs long, an idle daemon, a hub that is down, a line behind long tasks and results that a hub refuses
are none of it: nothing of arbd's own could go on there. Time counts only as far as somebody looked: a daemon that was
stopped as a whole has stalled nowhere.

Pure; times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple

MOST_STEP_S: Final = 2.0
"""Between two looks no more time than that counts: looks come each second, and later only where nothing ran at all."""

RESULTS: Final = "results"
_LINK: Final = "link"


class Unmoved:
    """How long something has waited, and not moved, as far as one has looked."""

    def __init__(self) -> None:
        self._mark: Hashable = None
        self._waited = False
        self._looked_at = 0.0
        self._for_s = 0.0

    def look(self, now: float, waits: bool, mark: Hashable = None) -> float:
        """So many seconds it ``waits`` already, with this ``mark`` unchanged; 0: it does not, it has moved, or this is
        the first look that finds it so."""
        same = waits and self._waited and mark == self._mark
        self._for_s = self._for_s + min(max(0.0, now - self._looked_at), MOST_STEP_S) if same else 0.0
        self._waited, self._mark, self._looked_at = waits, mark, now
        return self._for_s


class Sight(NamedTuple):
    """What one look at the daemon saw.

    ``first_in_line``: the number of the task that waits first, ``None``: none does; ``has_idle_worker``: a worker that
    takes tasks has none; ``tried_at``: when the last hand-over was tried that failed for want of memory or a
    descriptor. ``unread``: workers whose news has not been looked at, each with the place up to which its ring was
    read. ``first_result``: what tells the result that waits first from others, ``None``: none does; ``hub_is_up``, and
    ``link_may_send``: nothing keeps the link from sending one; ``sent``: its counters of what becomes of results.
    ``overdue``: what of the link is overdue, in words, or nothing.
    """

    first_in_line: int | None = None
    has_idle_worker: bool = False
    tried_at: float = 0.0
    unread: frozenset[tuple[int, int]] = frozenset()
    first_result: Hashable = None
    hub_is_up: bool = False
    link_may_send: bool = False
    sent: tuple[int, ...] = ()
    overdue: str = ""


class Stall(NamedTuple):
    """A part of the daemon that does not go on: which, in what way, and for how many seconds."""

    part: str
    what: str
    seconds: float


class Stalls:
    """The judge of all parts; told of each look, in their order."""

    def __init__(self) -> None:
        self._parts: dict[str, Unmoved] = {}

    def look(self, now: float, sight: Sight) -> Stall | None:
        """The part that has not moved for longest; ``None``: all have, or had nothing to do. What is overdue is one at
        the first look."""
        longest = None
        for part, what, waits, mark in _parts(sight):
            seconds = self._parts.setdefault(part, Unmoved()).look(now, waits, mark)
            is_one = seconds > 0 or (waits and part == _LINK)
            if is_one and (longest is None or seconds > longest.seconds):
                longest = Stall(part, what, seconds)
        return longest


def _parts(sight: Sight) -> Iterable[tuple[str, str, bool, Hashable]]:
    """Each part: its name, what would be wrong, whether it has something to do that it could, and what changes when it
    does."""
    yield (
        "dispatch",
        "a task waits, a worker has none, and it is not sent",
        sight.first_in_line is not None and sight.has_idle_worker,
        (sight.first_in_line, sight.tried_at),
    )
    yield RESULTS, "workers have answered, and their rings are not read", bool(sight.unread), sight.unread
    yield (
        "sending",
        "a result waits, the hub is up, and it is not sent",
        sight.first_result is not None and sight.hub_is_up and sight.link_may_send,
        (sight.first_result, sight.sent),
    )
    yield _LINK, sight.overdue, bool(sight.overdue), sight.overdue
