"""What an operator may do to the tasks of a running daemon: drain it and resume, pause actions, kill a task.

    serving ──drain──> draining ──all polls answered, nothing left──> drained
       ^                  └───────────────── resume ─────────────────────┘

Not the end of the daemon: that is ``arbd.supervisor.drain``, which goes its own way from any of these states. Nothing
here waits but ``follow``, and nothing here asks a worker or the hub anything: a command is carried out when it returns.
Who asked, and for what, is noted (``arbd.logs.notable``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from arbd.control.reports import DaemonState
from arbd.control.server import asked_by
from arbd.core.history import shown
from arbd.logs import get_logger, task_fields
from arbd.logs.notable import note
from arbd.supervised import report, supervised
from arbd.supervisor import halt
from arbd.supervisor.flow import Flow
from arbd.supervisor.operations import OperationFailed, Progress

_LOOK_S: Final = 0.2  # the hub may take a result without anybody's telling
_MOST_NAMED: Final = 20  # actions in a message
_MOST_COMPARED: Final = 80  # characters; comparing 60,000 with one name took 80 ms, in which nothing else is done


class Refused(Exception):
    """Why a command was not carried out, for people."""


class Steering:
    """The steering of one daemon. ``is_stopping``: whether the daemon ends, so that nothing is changed any more."""

    def __init__(self, flow: Flow, is_stopping: Callable[[], bool], kill_grace_s: float) -> None:
        self._flow = flow
        self._is_stopping = is_stopping
        self.kill_grace_s = kill_grace_s
        self._is_draining = False
        self._is_quiet = False  # no task can come any more
        self._link_is_there = False
        self._stop: asyncio.Task[None] | None = None
        self._log = get_logger("arbd.steering")

    def link_started(self) -> None:
        """The link takes tasks, unless a drain was asked for before."""
        self._link_is_there = True
        if self._is_draining:
            self._stop_taking()

    def close(self) -> None:
        """Wait for no polls any more."""
        if self._stop is not None:
            self._stop.cancel()

    # -- drain and resume ----------------------------------------------------------------------------------

    def drain(self) -> str:
        """Take no more tasks from now on; what is left then, in words. Asked twice, it goes on. ``Refused``."""
        self.require_service()
        if not self._is_draining:
            self._is_draining, self._is_quiet = True, False
            self._flow.refuse_paused()
            note(self._log, "info", "drain_asked", tasks=self._flow.in_flight(), **asked_by())
            if self._link_is_there:
                self._stop_taking()
        return self._in_words()

    async def follow(self, progress: Progress) -> None:
        """Wait until everything that was taken is finished, and the hub has every result. Raises ``OperationFailed``
        if somebody resumed the daemon before that."""
        most = 0
        while self._is_draining and not self._is_over():
            left = self._left()
            most = max(most, left)
            progress.say(self._in_words(), most - left, most)
            await self._look_later()
        if not self._is_draining:
            raise OperationFailed("the daemon was resumed before it was drained")
        progress.say("drained: no task is left, and none is taken until `arbd resume`", most, most)
        note(self._log, "info", "drained", tasks=most)

    def resume(self) -> str:
        """Take tasks again, and run those of every paused action; what that changed, in words. ``Refused``."""
        self.require_service()
        was_draining = self._end_drain()
        paused = list(self._flow.paused)
        waited = sum(self._flow.resume(action) for action in paused)
        note(self._log, "info", "resumed", was_draining=was_draining, actions=paused[:_MOST_NAMED], **asked_by())
        if not (was_draining or paused):
            return "nothing was drained or paused"
        what = ["takes tasks again"] if was_draining else []
        what += [f"runs {_listed(paused)} again; {_count(waited, 'task')} had waited"] if paused else []
        return f"the daemon {', and '.join(what)}"

    def resume_action(self, action: str) -> str:
        """Run tasks of this action again. ``Refused`` if there is none."""
        self.require_service()
        if action not in self._flow.paused:
            self._require_action(action)
            return f"action {shown(action)} was not paused"
        waited = self._flow.resume(action)
        note(self._log, "info", "action_resumed", action=action, tasks=waited, **asked_by())
        return f"action {shown(action)} runs again; {_count(waited, 'task')} had waited"

    def _end_drain(self) -> bool:
        was_draining, self._is_draining = self._is_draining, False
        self._flow.paused.is_closed = False
        self.close()
        if was_draining and self._link_is_there:
            self._flow.link.take_again()
        self._flow.progress.set()  # whoever follows the drain is told
        return was_draining

    @property
    def state(self) -> DaemonState | None:
        """The state of the daemon as far as it was asked for; ``None``: it serves."""
        if self._is_stopping():
            return "draining"
        if not self._is_draining:
            return None
        return "drained" if self._is_over() else "draining"

    def _is_over(self) -> bool:
        return self._is_quiet and not self._left()

    def _left(self) -> int:
        return self._flow.in_flight() + len(self._flow.verdicts)

    def _in_words(self) -> str:
        tasks, results = self._flow.in_flight(), len(self._flow.verdicts)
        hub = self._flow.link.stats.state
        trouble = f" (the hub is {hub})" if hub in ("down", "refused") else ""
        if not (tasks or results):
            return "drained" if self._is_quiet else f"no task is left; waiting for the polls at the hub to end{trouble}"
        return f"{_count(tasks, 'task')} and {_count(results, 'result')} left{trouble}"

    def _stop_taking(self) -> None:
        self.close()
        self._stop = supervised(self._wait_for_polls(), "the end of polls")

    async def _wait_for_polls(self) -> None:
        try:
            await self._flow.link.stop_taking()
        except OSError as error:
            self._log.error("stop_taking_failed", reason=str(error))
        except Exception as error:
            report(error, "the end of polls")
        self._is_quiet = True
        self._flow.progress.set()

    async def _look_later(self) -> None:
        progress = self._flow.progress
        progress.clear()
        try:
            async with asyncio.timeout(_LOOK_S):
                await progress.wait()
        except TimeoutError:
            pass

    # -- actions and tasks ---------------------------------------------------------------------------------

    def pause(self, action: str) -> str:
        """Begin no task of this action; what becomes of those that are there, in words. ``Refused`` if there is no such
        action."""
        self.require_service()
        if action not in self._flow.paused:
            self._require_action(action)
        is_new = halt.pause(self._flow, action)
        waits = next((tasks for name, tasks, *_ in self._flow.paused.describe(0.0) if name == action), 0)
        if is_new:
            note(self._log, "info", "action_paused", action=action, tasks=waits, **asked_by())
        how = "is paused" if is_new else "was paused already"
        return f"action {shown(action)} {how}; {_count(waits, 'task')} waiting for `arbd resume {shown(action)}`"

    def kill(self, task_id: str) -> str:
        """End this task, wherever it is; what becomes of it, in words. ``Refused`` if there is none."""
        flow = self._flow
        known = flow.under_way.get(task_id) if task_id else None
        if known is None:
            raise Refused(f"no task {shown(task_id)} is here: it has not come, or the hub has its result")
        task = known[0]
        at = flow.dispatcher.assigned((task_id,))
        if not at and not flow.has_no_verdict(task):
            raise Refused(f"task {shown(task_id)} has its result already, which waits for the hub")
        fields = task_fields(task.id, task.action, task.traceparent, task.attempt)
        note(self._log, "warning", "task_kill_asked", **fields, **asked_by())
        flow.cancel((task_id,))
        if at:
            slot = flow.pool.workers[at[0][0]].slot
            return (
                f"task {shown(task_id)} is with worker {slot} and is being cancelled; "
                f"if it runs on for {self.kill_grace_s:g} s, the worker is killed"
            )
        return f"task {shown(task_id)} was waiting, and is answered as cancelled"

    # -- what may not be -----------------------------------------------------------------------------------

    def require_service(self) -> None:
        if self._is_stopping():
            raise Refused("the daemon is stopping; nothing can be changed any more")

    def _require_action(self, action: str) -> None:
        names = [each.name for each in self._flow.actions]
        if action in names:
            return
        close = get_close_matches(action[:_MOST_COMPARED], names, n=1)
        hint = f"did you mean {shown(close[0])}?" if close else f"there are {_listed(names)}"
        raise Refused(f"there is no action {shown(action)}; {hint}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(shown(name) for name in names[:_MOST_NAMED]) or "none") + more
