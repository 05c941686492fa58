"""Orphans: processes that became children of this one because their own parent has ended. Reaped, and killed when due.

    a descendant's parent ended ──kernel, PR_SET_CHILD_SUBREAPER──> it is a child of this process
                                     has ended ──> reaped, and nobody else's status is touched
                                     condemned ──> SIGKILL; what it leaves becomes a child here, and so on
                                     else ───────> left alone: whoever it belongs to still lives

Only children are killed, and only here are they reaped; so a number is never somebody else's. A resource tracker
(``children.is_resource_tracker``) ends by itself once those that it works for have ended, and unlinks their shared
memory then: it is killed only if that takes longer than ``TRACKER_S``.

Where ``/proc`` does not show this process, its children cannot be listed: then those that have ended are reaped, as the
kernel names them, and none is killed.

Not whose an orphan is: that is its tag's to tell (``arbd.host.tags``), and the owner's to decide.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from arbd.host import children, tags
from arbd.host.tags import Tag

TRACKER_S: Final = 0.5
_AGAIN_S: Final = 0.02  # while something condemned was there: the list may have missed another
_MOST_SHARE: Final = 0.25  # of the time, where an action leaves very many of them


class Killed(NamedTuple):
    """An orphan that was killed."""

    pid: int
    name: str
    tag: Tag | None


class Orphans:
    """The orphans that this process has, or will have.

    ``is_kept``: this child is somebody's who waits for it. ``is_condemned``: what has this tag is to be killed.
    ``rest_s``: so long one that has ended is left to whoever may wait for it, by its tag. ``on_kill``: told, once, of
    those that were killed.
    """

    def __init__(
        self,
        *,
        is_kept: Callable[[int], bool],
        is_condemned: Callable[[Tag | None], bool],
        rest_s: Callable[[Tag | None], float] = lambda _: 0.0,
        on_kill: Callable[[list[Killed]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_kept = is_kept
        self._is_condemned = is_condemned
        self._rest_s = rest_s
        self._on_kill = on_kill
        self._clock = clock
        self._condemned_at: dict[int, float] = {}
        self._killed: set[int] = set()
        self._forbidden: set[int] = set()  # they run as another user now, and this one may not kill them
        self._ended_at: dict[int, float] = {}
        self._look_at = math.inf
        self._not_before = 0.0

    def news(self) -> None:
        """A child has ended, or another one was found: ``look`` is due, though not all the time."""
        self._look_at = min(self._look_at, max(self._clock(), self._not_before))

    def due_in_s(self) -> float | None:
        """Seconds until ``look`` should be called; ``None``: not before there is news."""
        return None if self._look_at == math.inf else max(0.0, self._look_at - self._clock())

    def look(self, group: int = 0) -> bool:
        """Reap, and kill, what is to be; whether something condemned is still there. ``group``: whatever is in this
        group is condemned, too: its leader has ended."""
        begun_at = self._clock()
        if not children.can_be_listed():
            self._reap_as_named()
            return False
        found = [pid for pid in children.of_this_process() if not self._is_kept(pid)]
        self._forget_all_but(set(found))
        killed_before = set(self._killed)
        pauses = [pause for pid in found if (pause := self._judge(pid, group, begun_at)) is not None]
        self._tell([pid for pid in found if pid in self._killed - killed_before])
        now = self._clock()
        self._not_before = now + (now - begun_at) / _MOST_SHARE
        self._look_at = max(now + min(pauses), self._not_before) if pauses else math.inf
        return any(pid in self._condemned_at for pid in found)

    def _tell(self, killed: list[int]) -> None:
        if killed:
            self._on_kill([Killed(pid, children.name_of(pid), tags.of(pid)) for pid in killed])

    def _reap_as_named(self) -> None:
        self._look_at = math.inf
        while (pid := any_that_has_ended()) and not self._is_kept(pid):
            reap(pid)

    def _forget_all_but(self, found: set[int]) -> None:
        self._killed &= found
        self._forbidden &= found
        for known in (self._condemned_at, self._ended_at):
            for pid in known.keys() - found:
                del known[pid]

    def _judge(self, pid: int, group: int, now: float) -> float | None:
        """Do with one of them what is due; after how many seconds to look at it again, if nothing is heard of it."""
        tag = tags.of(pid)
        if has_ended(pid):
            return self._take_leave(pid, tag, now)
        if pid in self._forbidden:
            return None
        if pid not in self._condemned_at:
            if not (self._is_condemned(tag) or (group and _group_of(pid) == group)):
                return None
            self._condemned_at[pid] = now
        return self._end(pid, now - self._condemned_at[pid])

    def _take_leave(self, pid: int, tag: Tag | None, now: float) -> float | None:
        self._condemned_at.pop(pid, None)
        left_s = self._ended_at.setdefault(pid, now) + self._rest_s(tag) - now
        if left_s > 0:
            return left_s if left_s < math.inf else None
        reap(pid)
        del self._ended_at[pid]  # the next one with that number is another process
        self._killed.discard(pid)
        self._forbidden.discard(pid)
        return None

    def _end(self, pid: int, condemned_s: float) -> float | None:
        if condemned_s < TRACKER_S and pid not in self._killed and children.is_resource_tracker(pid):
            return TRACKER_S - condemned_s
        try:
            os.kill(pid, signal.SIGKILL)  # a child that nobody else reaps: the number is its own
        except ProcessLookupError:
            pass
        except PermissionError:
            self._forbidden.add(pid)
            del self._condemned_at[pid]
            return None
        self._killed.add(pid)
        return max(_AGAIN_S, condemned_s)  # less and less often, should the kernel be stuck with it


def any_that_has_ended() -> int:
    """A child that has ended, its status being left where it is; 0: there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return 0 if found is None else found.si_pid


def has_ended(pid: int) -> bool:
    """Whether a child has ended, its status being left where it is; also if it is no child of this process."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def reap(pid: int) -> None:
    """Reap a child that has ended."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:  # somebody has; in a zygote's threads the author's code may
        pass


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
