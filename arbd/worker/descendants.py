"""A zygote's descendants beside its workers: what its workers, its shared monitors and the module's import started.

    begin     ─> the watcher, then subreaper and tag: before the author's code runs
    settle    ─> told of each child that ends, from now on
    reap      ─> a worker has ended: kill what it started, in whatever session or group; only then read its status
    end       ─> kill everything that is left

What a worker starts is a descendant of the zygote's for ever, because the zygote is a subreaper: whatever loses its
parent becomes the zygote's own child. Whose it was its tag says (``arbd.host.tags``). While that worker lives it is
left alone, and reaped when it ends; nobody waits for it any more.

Where a sandbox forbids the subreaper or the tag, that is logged, and a worker takes its process group along only.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from arbd import logs
from arbd.host import children, procs, reserve, strays, tags
from arbd.host.orphans import Killed, Orphans
from arbd.host.tags import Tag
from arbd.ipc.zygote_protocol import Watched
from arbd.worker import watcher

_END_S: Final = 2.0  # for everything that is left, at the zygote's end
_TURN_S: Final = 0.002
_MOST_NAMES: Final = 10  # in one log line
_TRACKERS: Final = ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")


class Descendants:
    """The descendants of this process, the zygote of one generation. ``fd`` is readable when one has ended."""

    def __init__(self, generation: int) -> None:
        self.generation = generation or tags.new_generation()
        self._process = os.getpid()
        self._tags: dict[int, Tag] = {}  # of the processes that the zygote itself waits for, by pid
        self._living: set[int] = {tags.MODULE}  # the numbers in them of those that have not ended
        self._strays: list[int] = []
        self._module_waits = False
        self._wakeup_before = -1
        self.fd, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._follows = False
        self._orphans = Orphans(
            is_kept=self._tags.__contains__,
            is_condemned=self._is_condemned,
            rest_s=self._rest_s,
            on_kill=_log_kills,
        )

    def begin(self, supervisor: int, watched: Watched) -> None:
        """Tag this process, and have what descends from it come to it. Before the author's code runs."""
        if watched:
            watcher.start(self.generation, supervisor, watched)
        try:
            procs.become_subreaper()  # at the end everything is killed that descends from here, even without tags
            tags.put_on(Tag(self.generation, tags.MODULE))
        except OSError as error:
            self._cannot_follow(error.strerror or str(error))
        else:
            self._follows = children.can_be_listed()
            if not self._follows:
                self._cannot_follow("/proc is missing, or that of another PID namespace")

    def _cannot_follow(self, reason: str) -> None:
        logs.get_logger("arbd.zygote").warning(
            "descendants_not_followed",
            reason=reason,
            hint="what an action starts in a group of its own may outlive its worker; it needs "
            "prctl(PR_SET_CHILD_SUBREAPER), an unlimited hard limit of file locks (ulimit -Hx), and /proc",
        )

    def settle(self) -> None:
        """Be told of children that end, and ignore signals without a meaning. After the author's code was imported."""
        self._module_waits = len(reserve.lend(procs.threads_of_this_process)) > 1
        # It does nothing: what tells is the descriptor, which Python's own handler writes to.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        self._strays = strays.ignore(logs.get_logger("arbd.zygote"))
        self._orphans.news()

    def release(self, number: int) -> None:
        """Leave all that to the zygote, and take the tag of this worker, or ``tags.LIMITS``: in a forked child."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        strays.restore(self._strays)
        try:
            signal.set_wakeup_fd(self._wakeup_before)
        except (ValueError, OSError):  # the author's code has closed it since
            signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._wakeup)
        self.tag_this_process(number)

    def tag_this_process(self, number: int) -> None:
        """Have what this process starts from now on be known by this number."""
        try:
            tags.put_on(Tag(self.generation, number))
        except OSError:  # logged already, by the zygote
            pass

    # -- processes that the zygote waits for itself ----------------------------------------------------------------

    def number_of(self, worker_id: int) -> int:
        """The number that a worker's descendants have in their tags."""
        return tags.of_worker(self.generation, worker_id).worker

    def started(self, pid: int, number: int) -> None:
        """A process was started that the zygote waits for; what it starts has this number in its tag."""
        self._tags[pid] = Tag(self.generation, number)
        self._living.add(number)

    def reap(self, pid: int) -> int:
        """Reap one of them, which has ended, once what it started is killed; its exit code, or minus its signal."""
        if not self._follows:
            self._forget(pid)
            return procs.reap(pid)
        procs.wait_ended(pid)
        self._living.discard(self._tags[pid].worker)
        self._orphans.look(group=pid)
        self._orphans.news()
        self._forget(pid)
        return procs.wait(pid)

    def _forget(self, pid: int) -> None:
        tag = self._tags.pop(pid, None)
        if tag is not None:
            self._living.discard(tag.worker)

    # -- orphans ------------------------------------------------------------------------------------------------------

    def due_in_s(self) -> float | None:
        """Seconds until ``look`` should be called; ``None``: not before ``fd`` is readable."""
        return self._orphans.due_in_s()

    def heard(self) -> None:
        """``fd`` is readable: a child has ended."""
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            pass
        self._orphans.news()

    def look(self) -> None:
        """Reap and kill what is due."""
        self._orphans.look()

    def _is_condemned(self, tag: Tag | None) -> bool:
        return tag is not None and tag.generation == self.generation and tag.worker not in self._living

    def _rest_s(self, tag: Tag | None) -> float:
        """What the module started its own threads may wait for."""
        of_worker = tag is not None and tag.generation == self.generation and tag.worker != tags.MODULE
        return float("inf") if self._module_waits and not of_worker else 0.0

    # -- the end ------------------------------------------------------------------------------------------------------

    def end(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        """Kill everything that is left, workers included."""
        if os.getpid() != self._process:
            return  # a child that the module forked while it was imported, and that went on
        _hang_up_on_trackers()
        if not self._follows:
            for pid in self._tags:
                procs.kill_group(pid)
        everything = Orphans(is_kept=lambda _: False, is_condemned=lambda _: True, on_kill=self._log_others)
        until, clean = clock() + _END_S, 0
        while clean < 2 and clock() < until:
            clean = 0 if everything.look() else clean + 1
            sleep(_TURN_S)

    def _log_others(self, killed: list[Killed]) -> None:
        _log_kills([each for each in killed if each.pid not in self._tags])


def _log_kills(killed: list[Killed]) -> None:
    if killed:
        names = sorted({each.name for each in killed})[:_MOST_NAMES]
        logs.get_logger("arbd.zygote").info("descendants_killed", count=len(killed), names=names)


def _hang_up_on_trackers() -> None:
    """Close the zygote's ends of the pipes to resource trackers that the module started: they remove its shared memory
    when the last of them is closed."""
    for name in _TRACKERS:
        tracker: Any = getattr(sys.modules.get(name), "_resource_tracker", None)
        fd = getattr(tracker, "_fd", None)
        if isinstance(fd, int) and fd > 2:
            try:
                os.close(fd)
                tracker._fd = None
            except (OSError, AttributeError):
                pass
