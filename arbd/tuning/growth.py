"""The growth of a sweep: which number of workers to try next for an action that waits. Pure.

    one sample each     CPUs, 2 x, 4 x, ...     as long as throughput grows, as far as memory and descriptors allow
    then                between the best and its neighbours
    then                the best few have all their repeats, in turn (``arbd.tuning.plan``)

An action that computes all the time needs none of this: no more workers than CPUs do more. One that waits may need
hundreds, and how many cannot be calculated from its run time alone, because they wait for the same things.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from arbd.tuning.record import OwnTime

_GREW: Final = 1.05  # times the best before: one sample's noise is about that
_STALLS: Final = 2  # doublings in a row without growth end it: one may be a busy moment
_GAP: Final = 1.5  # neighbours of the best are not farther from it than that
_NEAR: Final = 0.85  # of the best: worth all repeats
MOST_REPEATED: Final = 4
_COMPUTES: Final = 0.75  # of its time: such an action needs no more workers than CPUs


def waits(own: OwnTime) -> bool:
    """Whether an action leaves its CPU to others for a good part of its time."""
    return own.cpu_s < _COMPUTES * own.median_s


def next_count(rates: Mapping[int, float], first: int, most: int) -> int | None:
    """The number of workers to try next, after these (tasks/s by number of workers); ``None``: it is known well
    enough."""
    if not rates:
        return min(first, most)
    last = max(rates)
    if last < most and not _has_stalled(rates):
        return min(2 * last, most)
    return _between(rates)


def worth_repeating(rates: Mapping[int, float]) -> list[int]:
    """The numbers of workers that may be the best, ascending: those near the best, by one sample each."""
    best = max(rates.values())
    near = [count for count, rate in rates.items() if rate >= _NEAR * best]
    return sorted(sorted(near, key=lambda count: -rates[count])[:MOST_REPEATED])


def is_at_edge(rates: Mapping[int, float]) -> bool:
    """Whether throughput still grew at the largest number that was tried."""
    return bool(rates) and not _has_stalled(rates) and max(rates, key=rates.__getitem__) == max(rates)


def most_tries(first: int, most: int) -> int:
    """How many numbers are tried at most: all doublings, and one on either side of the best."""
    return max(1, most // max(1, first)).bit_length() + 3


def predicted(first: int, most: int, guess: Callable[[int], float]) -> dict[int, float]:
    """What will be tried if the guesses (tasks/s for a number of workers) are right."""
    rates: dict[int, float] = {}
    while (count := next_count(rates, first, most)) is not None:
        rates[count] = guess(count)
    return rates


def _has_stalled(rates: Mapping[int, float]) -> bool:
    best, stalls = 0.0, 0
    for count in sorted(rates):
        if rates[count] > _GREW * best:
            best, stalls = rates[count], 0
        else:
            stalls += 1
    return stalls >= _STALLS


def _between(rates: Mapping[int, float]) -> int | None:
    """A number between the best and a neighbour that is far from it; upward first."""
    tried = sorted(rates)
    at = tried.index(max(tried, key=rates.__getitem__))
    for low, high in ((at, at + 1), (at - 1, at)):
        if low >= 0 and high < len(tried) and tried[high] > _GAP * tried[low]:
            middle = round(math.sqrt(tried[low] * tried[high]))
            if middle not in rates:
                return middle
    return None
