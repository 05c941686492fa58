"""The plan of a sweep: which settings are tried, and in which order. Pure.

    stage 1    protocol x workers      the two that matter most, and that depend on each other
    stage 2    pin                     one at a time from here on, around the best so far
    stage 3    prefetch
    stage 4    links                   where the best so far is unary: a stream has no link processes

``--full`` makes one stage of all of them. Every stage holds the best so far as well, measured again in turn with its
rivals: what is compared was measured in the same minutes. A dimension with one value has no stage.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from arbd.tuning.record import OwnTime, Point

STAGES: Final = (("protocol", "workers"), ("pin",), ("prefetch",), ("links",))
DIMENSIONS: Final = tuple(itertools.chain.from_iterable(STAGES))
# The setting that each dimension is.
SETTINGS: Final = {
    "protocol": "hub.protocol",
    "workers": "workers",
    "pin": "pin",
    "prefetch": "prefetch",
    "links": "hub.links",
}
MAX_TASKS: Final = 150_000  # in one run: the hub remembers each
_MAX_BYTES: Final = 256 * 1024 * 1024  # of payloads in the hub
_BYTES_PER_TASK: Final = 2048  # beside its payload: assumed, on the safe side
ROUNDS_PER_WORKER: Final = 5  # at least so many tasks for each worker, however slow they are
_HELD_UP: Final = 0.2  # of the workers at work
_FEWEST_TASKS: Final = 5
WINDOW: Final = 0.8  # of the tasks: from one tenth done to nine tenths done
# What a run takes beside its tasks: a hub and a daemon start and end. Measured: 0.8 to 1.2 s on two cores.
_START_S: Final = 1.0
_WORKER_START_S: Final = 0.004  # for each worker: it is forked, and ends
# A first guess, low on purpose: too few tasks cost a second run of a second, too many could cost minutes. From the
# first run on the measured rate counts.
_FASTEST: Final = {"stream": 5_000.0, "unary": 2_000.0}
_IDLE_SHARE: Final = 0.25  # of the duration, for one task at a time
FEWEST_IDLE: Final = 3
_AROUND_ACTION_S: Final = 10e-6  # a worker's own time for a task


class Space(msgspec.Struct, frozen=True):
    """Everything that may be tried: values by dimension, the point to begin from, and the settings of today, which are
    that point unless other values were asked for. ``may_grow``: more workers than these, if the action waits."""

    baseline: Point
    values: dict[str, list[Any]]
    current: Point | None = None
    may_grow: bool = False


def worker_counts(cpus: int) -> list[int]:
    """The numbers of workers to try: 1, 2, 4, ..., all CPUs, and one more."""
    return [*_powers_of_two(below=cpus), cpus, cpus + 1]


def link_counts(cpus: int) -> list[int]:
    """The numbers of link processes to try: 0, and 1, 2, 4, ... up to a quarter of the CPUs; none at all where there is
    no room beside one."""
    if cpus <= 2:
        return [0]
    return [0, *_powers_of_two(below=max(1, cpus // 4) + 1)]


def space(current: Point, asked: Mapping[str, Sequence[Any]], cpus: int) -> Space:
    """The space to search: the values ``asked`` for, or else the usual ones and the current value among them.

    The baseline is the current point. Where its value was not asked for, the first value that was takes its place.
    """
    usual: dict[str, list[Any]] = {
        "protocol": ["stream", "unary"],
        "workers": worker_counts(cpus),
        "pin": [True, False],
        "prefetch": [1, 16, 256],
        "links": link_counts(cpus),
    }
    values, begin = {}, {}
    for name in DIMENSIONS:
        now = getattr(current, name)
        found = list(asked[name]) if name in asked else [*usual[name], now]
        values[name] = list(dict.fromkeys(found if name == "protocol" else sorted(found)))
        begin[name] = now if now in found else found[0]
    return Space(_valid(Point(**begin)), values, _valid(current), may_grow="workers" not in asked)


def stages(of: Space, *, full: bool) -> list[tuple[str, ...]]:
    """The dimensions of each stage; none without a choice, but for one point there is one stage, too."""
    if full:
        return [DIMENSIONS]
    first, *others = STAGES
    return [first, *(stage for stage in others if any(len(of.values[name]) > 1 for name in stage))]


def points(of: Space, stage: Sequence[str], best: Point) -> list[Point]:
    """The points of a stage: all values of its dimensions, with ``best`` in everything else.

    Without a rival of ``best`` there is nothing to measure again.
    """
    combinations = itertools.product(*(of.values[name] for name in stage))
    found = [_valid(msgspec.structs.replace(best, **dict(zip(stage, one, strict=True)))) for one in combinations]
    distinct = list(dict.fromkeys([*found, best]))
    return distinct if len(distinct) > 1 or "workers" in stage else []


def rounds(of: Sequence[Point], repeats: int) -> list[list[Point]]:
    """The points of a stage in rounds: each has every point once, in an order of its own, so that no point always
    follows the same other one and a busy minute of the machine hits all alike. The same for the same points."""
    shuffled = Random(len(of))
    return [shuffled.sample(list(of), len(of)) for _ in range(repeats)]


def most_runs(of: Space, repeats: int, *, full: bool) -> int:
    """How many runs there are at most: a stage without rivals may fall away."""
    return repeats * sum(len(points(of, stage, of.baseline)) or 1 for stage in stages(of, full=full))


def idle_tasks_s(own_s: float, duration_s: float) -> float:
    """For how many seconds to send one task at a time."""
    return max(_IDLE_SHARE * duration_s, FEWEST_IDLE * own_s)


def run_s(point: Point, own: OwnTime, cpus: int, duration_s: float, limit_rate: float | None = None) -> float:
    """About how long one run takes."""
    rate = guess_rate(point, own, cpus, limit_rate)
    loaded_s = max(duration_s / WINDOW, task_count(rate, point.workers, duration_s, 0, own.median_s) / rate)
    each_s = max(own.median_s, 1 / limit_rate if limit_rate else 0.0)
    return _START_S + _WORKER_START_S * point.workers + loaded_s + idle_tasks_s(each_s, duration_s)


def estimate_s(
    of: Space,
    own: OwnTime,
    duration_s: float,
    repeats: int,
    *,
    full: bool,
    cpus: int = 1,
    limit_rate: float | None = None,
) -> float:
    """About how long a sweep of these points takes."""
    runs = [point for stage in stages(of, full=full) for point in points(of, stage, of.baseline) or [of.baseline]]
    return repeats * sum(run_s(point, own, cpus, duration_s, limit_rate) for point in runs)


def grown(of: Space, workers: Sequence[int]) -> Space:
    """The space with these numbers of workers in place of the usual ones, and that of the baseline."""
    counts = sorted({*workers, of.baseline.workers})
    return msgspec.structs.replace(of, values=of.values | {"workers": counts}, may_grow=False)


def guess_rate(point: Point, own: OwnTime, cpus: int, limit_rate: float | None = None) -> float:
    """Tasks/s to expect where nothing was measured yet. ``limit_rate``: what a rate limit allows."""
    # An action that waits leaves its CPU to others: then it is the number of workers that counts, as long as there is
    # CPU enough for all.
    waits = own.cpu_s < own.median_s / 2
    at_once = point.workers if waits else min(point.workers, cpus)
    bounds = [at_once / (own.median_s + _AROUND_ACTION_S), _FASTEST[point.protocol]]
    bounds += [cpus / own.cpu_s] if waits and own.cpu_s > 0 else []
    bounds += [limit_rate] if limit_rate is not None else []
    return min(bounds)


def task_count(rate: float, workers: int, duration_s: float, payload_bytes: int, own_s: float | None = None) -> int:
    """How many tasks to put into the hub, so that the window of a run lasts about ``duration_s``. ``own_s``: what a
    call takes by itself; where workers do much less than that allows, something holds them up: then one task for each
    will do."""
    most = min(MAX_TASKS, _MAX_BYTES // (payload_bytes + _BYTES_PER_TASK))
    is_held_up = own_s is not None and rate * own_s < _HELD_UP * workers
    rounds = 1 if is_held_up else ROUNDS_PER_WORKER
    return min(max(round(rate * duration_s / WINDOW), rounds * workers, _FEWEST_TASKS), max(most, _FEWEST_TASKS))


def _powers_of_two(below: int) -> Iterator[int]:
    return itertools.takewhile(lambda power: power < below, (2**exponent for exponent in itertools.count()))


def _valid(point: Point) -> Point:
    return msgspec.structs.replace(point, links=0) if point.protocol == "stream" else point
