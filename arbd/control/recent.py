"""The last ten minutes of a daemon as points of a chart, and its actions over the last seconds. Pure.

    readings of counters, every 2 s ──> differences ──> Point: rates, percentiles, busy share
                                    └─> over 20 s  ──> ActionRates: one per action

A counter that is smaller than before began anew, from zero, and what it shows is what it has counted since. After a
gap, as of a machine that slept, the first reading gives no rates: they would be a mean over a time that nobody saw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

PERIOD_S: Final = 2.0
POINTS: Final = 300  # ten minutes
WINDOW: Final = 10  # readings, over which the rates of actions are means
_GAP_S: Final = 2.5 * PERIOD_S  # one reading may be late; two that are missing are a gap
_NO_TIME_S: Final = 1e-3  # two readings closer than that give no rate worth showing

Buckets = Sequence[int]


class ActionReading(NamedTuple):
    """What one action has counted since the start: answers by status, timeouts, and how long runs and waits took."""

    outcomes: Mapping[str, int]
    timeouts: int = 0
    run: Buckets = ()
    wait: Buckets = ()


class Reading(NamedTuple):
    """The counters of a daemon ``at_s`` seconds of a monotonic clock, which was ``unix_s`` for people. ``end_to_end``:
    how long tasks took from arrival to verdict, of all actions; ``busy_s``: by worker process, how long it was busy."""

    at_s: float
    unix_s: float
    actions: Mapping[str, ActionReading]
    end_to_end: Buckets = ()
    busy_s: Mapping[int, float] = {}
    in_flight: int = 0
    outbox: int = 0


class Point(msgspec.Struct, frozen=True):
    """The daemon over the ``PERIOD_S`` seconds before ``at``, in seconds since 1970: answers per second, by status;
    percentiles of the time from arrival to verdict; the share of workers that were busy. ``None``: not known, as there
    was no answer, or no reading before."""

    at: float
    in_flight: int
    outbox: int
    success: float | None = None
    error: float | None = None
    limit: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    busy: float | None = None


class ActionRates(msgspec.Struct, frozen=True):
    """One action over the last ``span_s`` seconds: answers per second by status, percentiles of run time and of the
    wait for a worker; ``timeouts``: how many since the start."""

    name: str
    span_s: float
    success: float
    error: float
    limit: float
    timeouts: int
    run_p50_s: float | None
    run_p99_s: float | None
    wait_p99_s: float | None


def quantile(share: float, buckets: Buckets, bounds: Sequence[float]) -> float | None:
    """The value below which this share of a histogram lies, as even over each bucket; ``None``: it is empty.

    ``bounds`` are the upper ends of the buckets, in rising order; what lies beyond the last one counts as that one.
    This is what Prometheus's ``histogram_quantile`` gives for the same buckets, so that page and dashboard agree.
    """
    total = sum(buckets)
    if not total:
        return None
    rank, below = share * total, 0
    for number, count in enumerate(buckets):
        if count and below + count >= rank:
            if number >= len(bounds):
                break
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * max(0.0, rank - below) / count
        below += count
    return bounds[-1]


def increase(now: int, before: int) -> int:
    """By how much a counter has grown."""
    return now - before if now >= before else now


def _increases(now: Buckets, before: Buckets) -> list[int]:
    if len(now) != len(before) or any(later < earlier for later, earlier in zip(now, before, strict=True)):
        return list(now)
    return [later - earlier for later, earlier in zip(now, before, strict=True)]


class Recent:
    """The readings of the last seconds and the points of the last minutes. ``bounds``: of all buckets, in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._readings: deque[Reading] = deque(maxlen=WINDOW + 1)
        self.points: deque[Point] = deque(maxlen=POINTS)

    def add(self, reading: Reading) -> None:
        """Take a reading that is later than the last one."""
        before = self._readings[-1] if self._readings else None
        if before is not None and reading.at_s - before.at_s < _NO_TIME_S:
            return
        if before is not None and reading.at_s - before.at_s > _GAP_S:
            self._readings.clear()
            before = None
        self._readings.append(reading)
        self.points.append(self._point(reading, before))

    def _point(self, now: Reading, before: Reading | None) -> Point:
        if before is None:
            return Point(now.unix_s, now.in_flight, now.outbox)
        span_s = now.at_s - before.at_s
        took = _increases(now.end_to_end, before.end_to_end)
        return Point(
            at=now.unix_s,
            in_flight=now.in_flight,
            outbox=now.outbox,
            success=_total_rate(now, before, "success", span_s),
            error=_total_rate(now, before, "error", span_s),
            limit=_total_rate(now, before, "limit", span_s),
            p50_s=quantile(0.5, took, self._bounds),
            p95_s=quantile(0.95, took, self._bounds),
            p99_s=quantile(0.99, took, self._bounds),
            busy=_busy(now, before, span_s),
        )

    def actions(self) -> list[ActionRates]:
        """The actions over the last seconds, in the order of the last reading; none before there are two readings."""
        if len(self._readings) < 2:
            return []
        first, last = self._readings[0], self._readings[-1]
        span_s = last.at_s - first.at_s
        none = ActionReading({})
        return [self._action(name, now, first.actions.get(name, none), span_s) for name, now in last.actions.items()]

    def _action(self, name: str, now: ActionReading, before: ActionReading, span_s: float) -> ActionRates:
        run, wait = _increases(now.run, before.run), _increases(now.wait, before.wait)
        return ActionRates(
            name=name,
            span_s=span_s,
            success=_rate(now.outcomes, before.outcomes, "success", span_s),
            error=_rate(now.outcomes, before.outcomes, "error", span_s),
            limit=_rate(now.outcomes, before.outcomes, "limit", span_s),
            timeouts=now.timeouts,
            run_p50_s=quantile(0.5, run, self._bounds),
            run_p99_s=quantile(0.99, run, self._bounds),
            wait_p99_s=quantile(0.99, wait, self._bounds),
        )


def _rate(now: Mapping[str, int], before: Mapping[str, int], status: str, span_s: float) -> float:
    return increase(now.get(status, 0), before.get(status, 0)) / span_s


def _total_rate(now: Reading, before: Reading, status: str, span_s: float) -> float:
    none = ActionReading({})
    return sum(
        _rate(each.outcomes, before.actions.get(name, none).outcomes, status, span_s)
        for name, each in now.actions.items()
    )


def _busy(now: Reading, before: Reading, span_s: float) -> float | None:
    """The mean over the workers that are in both readings; of one that has just started nothing is known."""
    shares = list(_shares(now.busy_s, before.busy_s, span_s))
    return sum(shares) / len(shares) if shares else None


def _shares(now: Mapping[int, float], before: Mapping[int, float], span_s: float) -> Iterable[float]:
    for pid, busy_s in now.items():
        if pid in before:
            yield min(1.0, max(0.0, busy_s - before[pid]) / span_s)
