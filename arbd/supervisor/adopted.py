"""Processes that became children of the supervisor because their own parent has ended: reaped, and killed when due.

They are what a zygote that was killed has left: its workers, which the kernel kills with it, and what those had
started, which nobody else would end. As PID 1 of a container it is anything there that loses its parent, which is
reaped, and never killed. What the supervisor itself has started, or had when it started, is not touched.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

from arbd.host import child, children, procs, tags
from arbd.host.orphans import Killed, Orphans
from arbd.host.tags import Tag
from arbd.logs import get_logger

FOREIGN_REST_S: Final = 2.0  # a library of this process may have started it, and be about to ask for its status
_END_S: Final = 1.0  # SIGKILL takes well under a millisecond, a resource tracker some more
_TURN_S: Final = 0.005
_MOST_NAMES: Final = 10  # in one log line


class Adopted:
    """The orphans of this process, which is a supervisor's own. Made on its event loop's thread, the main one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.supervisor")
        self._had = frozenset(children.of_this_process())
        self._timer: asyncio.TimerHandle | None = None
        self._orphans = Orphans(
            is_kept=self._is_kept, is_condemned=_is_condemned, rest_s=_rest_s, on_kill=self._on_kill
        )
        try:
            procs.become_subreaper()
        except OSError as error:
            hint = "what actions start may outlive a process of the daemon that is killed; allow PR_SET_CHILD_SUBREAPER"
            self._log.warning("no_subreaper", reason=error.strerror or str(error), hint=hint)
        # Not the loop's: uvloop gives this signal to nobody. A Python handler it runs as soon as it comes.
        self._before = signal.signal(signal.SIGCHLD, lambda *_: self._loop.call_soon_threadsafe(self._news))

    async def close(self) -> None:
        """Have nothing left of this daemon's; after its zygotes are gone."""
        signal.signal(signal.SIGCHLD, self._before or signal.SIG_DFL)
        if self._timer is not None:
            self._timer.cancel()
        until, clean = time.monotonic() + _END_S, 0
        while clean < 2 and time.monotonic() < until:
            clean = 0 if self._orphans.look() or self._has_own() else clean + 1
            await asyncio.sleep(_TURN_S)

    def _has_own(self) -> bool:
        found = children.of_this_process()
        return any(tags.is_of_this_daemon(tags.of(pid)) for pid in found if not self._is_kept(pid))

    def _is_kept(self, pid: int) -> bool:
        return pid in self._had or child.is_waited_for(pid)

    def _on_kill(self, killed: list[Killed]) -> None:
        # Not the workers of a zygote that was killed: the kernel is killing them as well.
        names = [each.name for each in killed if not each.name.startswith("arbd:")]
        if names:
            self._log.info("descendants_killed", count=len(names), names=sorted(set(names))[:_MOST_NAMES])

    def _news(self) -> None:
        self._orphans.news()
        self._plan()

    def _look(self) -> None:
        self._timer = None
        self._orphans.look()
        self._plan()

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due_s = self._orphans.due_in_s()
        self._timer = None if due_s is None else self._loop.call_later(due_s, self._look)


def _is_condemned(tag: Tag | None) -> bool:
    """The zygotes are subreapers, so what comes here with a tag has lost its zygote. The watcher is leaving."""
    return tag is not None and tag.worker != tags.WATCH and tags.is_of_this_daemon(tag)


def _rest_s(tag: Tag | None) -> float:
    return 0.0 if tags.is_of_this_daemon(tag) else FOREIGN_REST_S
