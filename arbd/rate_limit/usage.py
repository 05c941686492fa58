"""Usage of a limit: totals over a sliding window, the figures of a refusal, the thresholds whose crossing is logged.

Not a limit: it refuses nothing. The window is kept in slices, so it is exact to one slice and small however many calls.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

_SLICES: Final = 60
_HYSTERESIS: Final = 0.9  # a threshold is left below nine tenths of it, so that a level at its edge logs once

NORMAL: Final = 0
WARNING: Final = 1
CRITICAL: Final = 2

# Why a limit refuses, where that is not just that it is used up; flags.
ESTIMATED: Final = 1  # what calls under way will cost is not known, so the wait is an estimate
OUTSIDE: Final = 2  # what holds is what is said for the time outside the hours
UNREACHED: Final = 4  # who knows the limit could not be asked


class Totals(NamedTuple):
    """How many calls began, and the wall and CPU time of the calls that ended."""

    calls: int
    wall_ns: int
    cpu_ns: int


class Figures(NamedTuple):
    """The figures of a limit that responses report. Usages are parts of the limit; ``cause``: flags, why it refuses;
    ``members`` are the providers that share the limit."""

    totals: Totals
    call_usage: float
    cpu_usage: float
    cause: int = 0
    members: tuple[str, ...] = ()

    def refused(self) -> Figures:
        """The figures of a refusal. No further call can start, so nothing of the limit is left: what is too little for
        one more call (a part of a token, a pause that is not over) is none. Only where the limit could not be asked,
        they are what was known last."""
        return self if self.cause & UNREACHED else self._replace(call_usage=max(1.0, self.call_usage))


class UsageMeter:
    """Totals of calls over the last ``window_ns`` nanoseconds."""

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._slice_ns = max(1, window_ns // _SLICES)
        self._slices: deque[tuple[int, list[int]]] = deque()
        self._since_ns: int | None = None

    def begin(self, now_ns: int) -> None:
        """Note that calls may begin from now on; what comes after the first time says nothing new."""
        if self._since_ns is None:
            self._since_ns = now_ns

    def span_ns(self, now_ns: int) -> int:
        """The part of the window in which calls could begin: less than all of it while it is new."""
        since_ns = now_ns if self._since_ns is None else self._since_ns
        return max(1, min(self.window_ns, now_ns - since_ns))

    def add(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        """Add ``calls`` that began, and the times that calls which ended took."""
        self.begin(at_ns - wall_ns)
        number = at_ns // self._slice_ns
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append((number, [0, 0, 0]))
        values = self._slices[-1][1]
        values[0] += calls
        values[1] += wall_ns
        values[2] += cpu_ns

    def totals(self, now_ns: int) -> Totals:
        """The totals of the window that ends at ``now_ns``."""
        oldest = (now_ns - self.window_ns) // self._slice_ns
        while self._slices and self._slices[0][0] <= oldest:
            self._slices.popleft()
        calls = wall_ns = cpu_ns = 0
        for _, values in self._slices:
            calls += values[0]
            wall_ns += values[1]
            cpu_ns += values[2]
        return Totals(calls, wall_ns, cpu_ns)


class Thresholds:
    """The level of a usage against a warning and a critical threshold, with hysteresis."""

    def __init__(self, warning: float, critical: float) -> None:
        self._bounds = (0.0, warning, critical)
        self.level = NORMAL

    def update(self, usage: float) -> bool:
        """Set the level for this usage; returns whether it has changed."""
        before = self.level
        reached = sum(usage >= bound for bound in self._bounds[1:])
        if reached > before:
            self.level = reached
        else:
            while self.level > reached and usage < self._bounds[self.level] * _HYSTERESIS:
                self.level -= 1
        return self.level != before
