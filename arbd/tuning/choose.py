"""The choice of a point: the best so far for the sweep, the recommendation for the report. Pure.

Of the points that are better than the baseline by more than noise, the best; and of those that cannot be told from it,
the one with the fewest changes. If none is better by more than noise, the baseline stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from arbd.tuning.compare import THROUGHPUT, Change, changes, values
from arbd.tuning.plan import DIMENSIONS
from arbd.tuning.record import Measurement, Point

Measured = Mapping[Point, Measurement]


def choose(good: Measured, baseline: Point) -> Point:
    """The point to choose of those that were measured ``good``, without failures; the baseline is among them."""
    better = [point for point, change in against(good, baseline).items() if change.kind == "more"]
    if not better:
        return baseline
    best = max(better, key=lambda point: throughput(good[point]))
    others = against({point: good[point] for point in better}, best)
    equal = [best, *(point for point, change in others.items() if change.kind == "noise")]
    return min(equal, key=lambda point: (_distance(point, baseline), -throughput(good[point])))


def against(good: Measured, point: Point) -> dict[Point, Change]:
    """The change of throughput from this point to each of the others."""
    others = [other for other in good if other != point]
    mine = values(good[point], THROUGHPUT)
    return dict(zip(others, changes([(mine, values(good[other], THROUGHPUT)) for other in others]), strict=True))


def throughput(found: Measurement) -> float:
    """The median throughput, in tasks/s."""
    return median(values(found, THROUGHPUT))


def _distance(point: Point, baseline: Point) -> int:
    return sum(getattr(point, name) != getattr(baseline, name) for name in DIMENSIONS)
