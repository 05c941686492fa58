"""The gate that a monitor asks before each call, and the gate of a limit that holds for one process alone.

In a daemon's worker the gate is a seat of the daemon's ledger (``arbd.rate_limit.grants.worker_seat``); anywhere else a
``LocalGate``, which runs the same algorithms in this process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from arbd.interrupts import uninterruptible
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.algorithms.base import SECOND_NS, Limit
from arbd.rate_limit.algorithms.build import build
from arbd.rate_limit.usage import Figures, Thresholds, UsageMeter

if TYPE_CHECKING:
    from threading import Lock

METER_NS = 60 * SECOND_NS


class Gate(Protocol):
    """Decides whether a call may start now."""

    def take(self, until_ns: int = 0) -> int:
        """Count a call and return 0 if it may start now; otherwise the nanoseconds after which to try again. With
        ``until_ns`` (monotonic clock) it waits for its turn, if that comes before this moment."""

    def peek(self) -> int:
        """The same answer as ``take`` without waiting and without counting."""

    def begin(self) -> tuple[int, int]:
        """Note that a measured call starts; ``end`` needs the result."""

    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        """Note that the call has ended, and whether it failed, which limits that learn want to know."""

    def figures(self) -> Figures:
        """The figures of the refusal that was just given."""


class Timing(Protocol):
    """The clocks (nanoseconds), locks and sleep of a process, as ``arbd.host.timing`` has them. ``sleep`` is
    interruptible."""

    def clock(self) -> int: ...
    def cpu_clock(self) -> int: ...
    def utc_ns(self) -> int: ...
    def new_lock(self) -> Lock: ...
    def sleep(self, ns: int) -> None: ...


class LocalGate:
    """A limit that holds for this process alone; threads may share it. ``on_crossing`` is called when usage enters or
    leaves a threshold. A task's deadline never interrupts the counting; it may interrupt the sleep."""

    def __init__(self, spec: LimitSpec, timing: Timing, on_crossing: Callable[[LimitSpec, float, int], None]) -> None:
        self._spec = spec
        self._timing = timing
        self._on_crossing = on_crossing
        self._limit = build(spec)
        self._meter = UsageMeter(meter_window_ns(spec))
        self._thresholds = Thresholds(spec.warning_threshold, spec.critical_threshold)
        self._warns = warns(spec, self._limit)
        self._lock = timing.new_lock()
        self._running: dict[int, int] = {}  # calls that are measured: when they began
        self._last_key = 0

    @uninterruptible
    def take(self, until_ns: int = 0) -> int:
        timing = self._timing
        while True:
            with self._lock:
                now_ns = timing.clock()
                wait_ns = self._wait_ns(now_ns)
                if wait_ns == 0:
                    self._limit.spend(now_ns, 1)
                    self._meter.add(now_ns, 1, 0, 0)
                usage = self._limit.usage(now_ns) if self._warns else 0.0
                crossed = self._warns and self._thresholds.update(usage)
            if crossed:
                self._on_crossing(self._spec, usage, self._thresholds.level)
            if wait_ns == 0 or now_ns + wait_ns > until_ns:
                return wait_ns
            timing.sleep(wait_ns)

    @uninterruptible
    def peek(self) -> int:
        with self._lock:
            return self._wait_ns(self._timing.clock())

    @uninterruptible
    def begin(self) -> tuple[int, int]:
        with self._lock:
            self._last_key += 1
            self._running[self._last_key] = self._timing.clock()
            return self._last_key, self._timing.cpu_clock()

    @uninterruptible
    def end(self, begun: tuple[int, int], *, failed: bool = False) -> None:
        cpu_ns = self._timing.cpu_clock() - begun[1]
        with self._lock:
            now_ns = self._timing.clock()
            wall_ns = now_ns - self._running.pop(begun[0])
            if failed:
                self._limit.blame(now_ns, 1)
            self._limit.charge(now_ns, 1, wall_ns, cpu_ns)
            self._meter.add(now_ns, 0, wall_ns, cpu_ns)

    @uninterruptible
    def figures(self) -> Figures:
        with self._lock:
            return self._figures(self._timing.clock())

    def _wait_ns(self, now_ns: int) -> int:
        limit = self._limit
        limit.set_utc(now_ns, self._timing.utc_ns())
        limit.forget(now_ns)
        if self._spec.metered:
            limit.progress(len(self._running), sum(now_ns - since_ns for since_ns in self._running.values()))
        return 0 if limit.available(now_ns, 0) > 0 else max(1, limit.next_at(now_ns, 0) - now_ns)

    def _figures(self, now_ns: int) -> Figures:
        return figures_of(self._meter, self._limit, 0, now_ns)


def warns(spec: LimitSpec, limit: Limit) -> bool:
    """Whether crossings of the limit's thresholds are logged."""
    return spec.kind == "advanced" and limit.graded


def meter_window_ns(spec: LimitSpec) -> int:
    """The window over which responses total a limit's calls: the limit's own, or a minute; in nanoseconds."""
    return spec.rates.window_ns or METER_NS


def figures_of(meter: UsageMeter, limit: Limit, outstanding: int, now_ns: int) -> Figures:
    """The figures of a limit that refuses a call at ``now_ns``. CPU usage is that of its CPU budget; where it has none,
    the CPUs that calls used, on average, in the meter's window."""
    totals = meter.totals(now_ns)
    cpu_usage = limit.cpu_usage(now_ns, outstanding)
    if cpu_usage is None:
        cpu_usage = totals.cpu_ns / meter.span_ns(now_ns)
    usage = limit.usage(now_ns, outstanding)
    return Figures(totals, usage, cpu_usage, limit.cause(now_ns, outstanding), limit.members).refused()
