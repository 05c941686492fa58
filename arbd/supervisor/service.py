"""What systemd is told of the daemon: when it serves, reloads and stops, a line for people, and that it is alive.

    importing ─> starting ─> waiting ─> serving <──────> reloading          any of them ─> draining ─> stopped
                 workers     the hub    READY=1          RELOADING=1 ─> READY=1            STOPPING=1

READY comes when each slot has had a worker that served, and the hub has answered once (``hub.start_without``: without
that). A reload has ended when nothing is being loaded, and the code that was loaded last has a worker that serves, or
the one before goes on. While start, reload or drain take their time, systemd is asked for more of it, as far as the
settings go; not for the hub: for how long that is waited for is ``TimeoutStartSec``'s.

Without somebody to tell (``Notifier``) it does nothing at all. ``stall_watch`` decides
what feeds the watchdog.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from arbd.core.lifecycle import State
from arbd.core.progress import RESULTS, Sight
from arbd.host.notify import Notifier
from arbd.settings.table import Settings
from arbd.supervisor.drain import FLUSH_MIN_S, POLLS_MARGIN_S
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations
from arbd.supervisor.lives import BOOT_TIMEOUT_S, STOP_MARGIN_S
from arbd.supervisor.stall_watch import StallWatch
from arbd.supervisor.status_line import Phase, StatusFigures, status_line

IMPORT_MOST_S: Final = 600.0
"""For so long an import at the start may take more time than ``TimeoutStartSec``."""
CLOSE_S: Final = 20.0
"""To give everything back after a drain, at most."""
_STATUS_EVERY_S: Final = 1.0
_CHANGING_TICK_S: Final = 0.1  # while something is waited for that ends a phase
_EXTEND_EVERY_S: Final = 5.0
_EXTEND_BY_S: Final = 15.0  # what hangs has no more time than that
_CHANGING: Final[frozenset[Phase]] = frozenset({"importing", "starting", "waiting", "reloading"})
_EXTENDED: Final[frozenset[Phase]] = frozenset({"importing", "starting", "reloading", "draining"})


class Service:
    """The daemon as a service of systemd."""

    def __init__(self, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._clock = clock
        self._stall_watch: StallWatch | None = None
        if notifier.watchdog_s is not None:
            self._stall_watch = StallWatch(notifier, notifier.watchdog_s, self._another_line_was_told)
        self._phase: Phase = "importing"
        self._settings: Settings | None = None
        self._flow: Flow | None = None
        self._generations: Generations | None = None
        self._have_served: set[int] = set()
        self._hub_has_answered = False
        self._timer: asyncio.TimerHandle | None = None
        self._status = ""
        self._status_at = -math.inf
        self._extend_at = 0.0
        self._extend_until = 0.0
        self._counted_at = 0.0
        self._counted = 0
        self._tasks_per_s = 0.0

    # -- what the daemon says --------------------------------------------------------------------------------

    def start(self) -> None:
        """The process runs, and begins to import the provider."""
        if not self._notifier:
            return
        if self._stall_watch is not None:
            self._stall_watch.start()
        self._enter("importing", IMPORT_MOST_S)
        self._tick()

    def serve(self, settings: Settings, flow: Flow, generations: Generations) -> None:
        """Everything has been started; workers may not be ready yet."""
        self._settings, self._flow, self._generations = settings, flow, generations
        if self._notifier:
            self._counted_at = self._clock()
            self._enter("starting", BOOT_TIMEOUT_S + settings.worker_start_timeout)
            self._tick()

    def reloading(self) -> None:
        """A reload was asked for; also when one is under way, for whoever asked waits for a word of his own."""
        if not self._notifier or self._phase not in ("serving", "reloading"):
            return
        assert self._generations is not None
        assert self._settings is not None
        self._notifier.reloading()
        boot_s = BOOT_TIMEOUT_S + self._settings.worker_start_timeout
        self._enter("reloading", self._generations.load_timeout_s + boot_s)
        self._tick_in(_CHANGING_TICK_S)

    def stopping(self) -> None:
        """The daemon begins to stop."""
        if not self._notifier or self._phase in ("draining", "stopped"):
            return
        self._notifier.stopping()
        settings = self._settings
        own_s = 0.0
        if settings is not None:
            own_s = settings.drain_timeout + settings.worker_stop_timeout + STOP_MARGIN_S
            own_s = max(own_s, settings.hub_long_poll + POLLS_MARGIN_S)
        self._enter("draining", own_s + FLUSH_MIN_S + CLOSE_S)
        self._tick()

    def close(self) -> None:
        """The daemon has stopped."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._notifier:
            return
        if self._stall_watch is not None:
            self._stall_watch.close()
        self._enter("stopped", 0.0)

    # -- ticks -----------------------------------------------------------------------------------------------

    def _tick_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        try:
            self._look_around()
        finally:  # whatever was raised: until the daemon has ended, its loop is alive
            steady_s = _STATUS_EVERY_S if self._stall_watch is None else self._stall_watch.tick_s
            self._tick_in(min(steady_s, _CHANGING_TICK_S) if self._phase in _CHANGING else steady_s)

    def _look_around(self) -> None:
        now = self._clock()
        self._go_on()
        self._extend(now)
        self._tell(now)
        if self._stall_watch is not None:
            stall = self._stall_watch.tick(now, self._look if self._is_judged else None)
            if stall is not None and stall.part == RESULTS and self._flow is not None:
                self._flow.look_soon()

    @property
    def _is_judged(self) -> bool:
        """Whether there is something to be judged; a drain has limits of its own."""
        return self._flow is not None and self._phase not in ("draining", "stopped")

    def _look(self) -> Sight:
        assert self._flow is not None
        return self._flow.sight(self._clock())

    def _enter(self, phase: Phase, most_s: float) -> None:
        """A phase begins, which may take that long. That the daemon stops is told at once: there may be no other
        second. That it serves, too: the line is read by whoever has just started it."""
        now = self._clock()
        if phase in ("serving", "draining", "stopped"):
            self._status_at = -math.inf
        self._phase = phase
        self._extend_at, self._extend_until = now, now + most_s
        self._tell(now)

    def _go_on(self) -> None:
        """Find out whether what is waited for has come."""
        if self._flow is None or self._generations is None or self._settings is None:
            return
        pool, link = self._flow.pool, self._flow.link.stats
        self._hub_has_answered = self._hub_has_answered or link.state == "up" or link.tasks + link.empty > 0
        if self._phase in ("starting", "waiting"):
            self._have_served |= pool.serving()
            if self._phase == "starting" and len(self._have_served) >= pool.size:
                self._enter("waiting", 0.0)
            if self._phase == "waiting" and (self._hub_has_answered or self._settings.hub_start_without):
                self._be_ready()
        elif self._phase == "reloading" and (self._generations.is_settled or self._clock() >= self._extend_until):
            self._be_ready()

    def _be_ready(self) -> None:
        self._enter("serving", 0.0)  # first, for after the next line the start is over
        self._notifier.ready()

    # -- more time, and the line for people --------------------------------------------------------------------

    def _extend(self, now: float) -> None:
        if self._phase in _EXTENDED and self._extend_at <= now < self._extend_until:
            self._extend_at = now + _EXTEND_EVERY_S
            self._notifier.extend_timeout(min(_EXTEND_BY_S, self._extend_until - now))

    def _tell(self, now: float) -> None:
        has_stalled = self._stall_watch is not None and self._stall_watch.is_judged  # what that said is to be read
        if now - self._status_at < _STATUS_EVERY_S or (has_stalled and self._phase != "stopped"):
            return
        line = status_line(self._phase, self._figures(now))
        if line != self._status:
            self._status, self._status_at = line, now
            self._notifier.status(line)

    def _another_line_was_told(self) -> None:
        """What systemd shows is not the last line of this; so the next one is told even if it is the same. Called in a
        thread, after that other line: one that is told here at this moment comes later than it, or is told again."""
        self._status = ""

    def _figures(self, now: float) -> StatusFigures:
        flow, generations = self._flow, self._generations
        if flow is None or generations is None:
            return StatusFigures()
        stats, workers = flow.link.stats, flow.pool.workers
        busy = sum(workers[each].state is State.SERVING for each in flow.dispatcher.busy_workers())
        return StatusFigures(
            tasks_per_s=self._rate(now, flow.verdicts.total),
            busy=busy,
            workers=sum(worker.state is State.SERVING for worker in workers.values()),
            ready=len(self._have_served),
            slots=flow.pool.size,
            tasks=flow.dispatcher.in_flight(),
            results=len(flow.verdicts),
            hub=stats.state,
            protocol=stats.protocol,
            reload_failed=generations.reload_failed,
        )

    def _rate(self, now: float, total: int) -> float:
        passed_s = now - self._counted_at
        if passed_s >= _STATUS_EVERY_S / 2:
            self._tasks_per_s = (total - self._counted) / passed_s
            self._counted_at, self._counted = now, total
        return self._tasks_per_s
