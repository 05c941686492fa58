"""The decision whether systemd's watchdog is fed: only while every part of the daemon makes progress.

    each tick of the event loop ─> sight ─> ``core.progress`` ─┬─ all parts move, or have nothing to do ──> WATCHDOG=1
                                                               ├─ one does not ────> no ping, until it moves again
                                                               └─ for half of WatchdogSec ─> judged: a line, stacks,
                                                                                             no ping any more
    a thread ─> no tick for half of WatchdogSec ─> the same line for the event loop itself

The last ping is at most one tick younger than the stall, so systemd acts within ``WatchdogSec`` and a second of it. The
thread feeds nothing: a ping from there would prove nothing. A part that is slow for a moment costs a ping, not the
daemon.
"""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Callable
from typing import Final

from arbd.core.progress import Sight, Stall, Stalls
from arbd.host import own_stacks
from arbd.host.notify import Notifier
from arbd.logs import get_logger, notable

_TICK_S: Final = (0.05, 1.0)  # the shortest and the longest
_HINT: Final = "systemd is not told any more that the daemon works, and restarts it"
_LOOP_HINT: Final = "unless it turns again soon, systemd restarts the daemon"
_STDERR: Final = 2


class StallWatch:
    """The pings of one daemon. ``watchdog_s``: within that time systemd wants to hear of it. ``on_status``: told, in
    whatever thread, when the status line is one of a stall. ``is_judged``: a part has stalled, and systemd is about to
    end the daemon."""

    def __init__(self, notifier: Notifier, watchdog_s: float, on_status: Callable[[], None] = lambda: None) -> None:
        self.tick_s = max(_TICK_S[0], min(_TICK_S[1], watchdog_s / 4))
        self._notifier = notifier
        self._on_status = on_status
        self._watchdog_s = watchdog_s
        self._stalls = Stalls()
        self._pinged_at = float("-inf")
        self.is_judged = False
        self._ticks = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch_loop, name="arbd-stall-watch", daemon=True)
        self._log = get_logger("arbd.watchdog")

    def start(self) -> None:
        """Watch the event loop from a thread, too; and have the signal by which systemd ends a daemon that says nothing
        leave its stacks."""
        faulthandler.enable(_STDERR)
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread is to be had; systemd acts all the same
            self._log.warning("event_loop_not_watched", reason=str(error))

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        faulthandler.disable()

    def tick(self, now: float, look: Callable[[], Sight] | None) -> Stall | None:
        """The event loop runs. ``look``: at what there is to judge, if there is anything yet. The part that does not
        move at this moment, if any."""
        self._ticks += 1
        if self.is_judged:
            return None
        stall = None if look is None else self._stalls.look(now, look())
        if stall is None:
            # Half of it, as systemd asks for; a tick may come a little early or late.
            if now - self._pinged_at >= self._watchdog_s / 2 - self.tick_s / 2:
                self._pinged_at = now
                self._notifier.ping()
        elif stall.seconds >= self._watchdog_s / 2:
            self.is_judged = True
            self._tell(stall, _HINT)
        return stall

    def _tell(self, stall: Stall, hint: str) -> None:
        seconds = round(stall.seconds, 1)
        notable.note(self._log, "critical", "stalled", part=stall.part, what=stall.what, seconds=seconds, hint=hint)
        self._log.critical("stalled_at", part=stall.part, stacks=own_stacks.threads())
        self._notifier.status(f"stalled: {stall.part}: {stall.what}")
        self._on_status()

    def _watch_loop(self) -> None:
        """Counted in looks of its own: where the whole process was stopped, it has not looked either."""
        seen, unmoved = -1, 0
        while not self._closed.wait(self._watchdog_s / 4):
            unmoved = unmoved + 1 if self._ticks == seen else 0
            seen = self._ticks
            if unmoved == 2:
                self._tell(Stall("event loop", "it does not turn", self._watchdog_s / 2), _LOOP_HINT)
