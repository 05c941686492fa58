"""What a limit's calls took over a sliding window, and when that crosses a threshold.

Not a limit: it stops nobody. The window is kept in slices, so it is exact to one slice and small however many calls.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

_SLICES: Final = 60
_HYSTERESIS: Final = 0.9  # a threshold is left below nine tenths of it, so that a level at its edge logs once

NORMAL: Final = 0
WARNING: Final = 1
CRITICAL: Final = 2


class Totals(NamedTuple):
    """Calls that began, and what the calls that ended took."""

    calls: int
    wall_ns: int
    cpu_ns: int


class Figures(NamedTuple):
    """What a response tells about a limit. Usages are parts of the limit; ``level`` is one of the three words above;
    ``members`` are the providers that share the limit."""

    totals: Totals
    call_usage: float
    cpu_usage: float
    level: int
    members: tuple[str, ...] = ()


class Meter:
    """Totals over the last ``window_ns``."""

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self._slice_ns = max(1, window_ns // _SLICES)
        self._slices: deque[tuple[int, list[int]]] = deque()

    def add(self, at_ns: int, calls: int, wall_ns: int, cpu_ns: int) -> None:
        """``calls`` began, or ended after having taken this."""
        number = at_ns // self._slice_ns
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append((number, [0, 0, 0]))
        values = self._slices[-1][1]
        values[0] += calls
        values[1] += wall_ns
        values[2] += cpu_ns

    def totals(self, now_ns: int) -> Totals:
        """What falls into the window that ends now."""
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
    """Where a usage stands against two thresholds, with hysteresis."""

    def __init__(self, warning: float, critical: float) -> None:
        self._bounds = (0.0, warning, critical)
        self.level = NORMAL

    def update(self, usage: float) -> bool:
        """Take the usage of this moment; whether ``level`` has changed."""
        before = self.level
        reached = sum(usage >= bound for bound in self._bounds[1:])
        if reached > before:
            self.level = reached
        else:
            while self.level > reached and usage < self._bounds[self.level] * _HYSTERESIS:
                self.level -= 1
        return self.level != before
