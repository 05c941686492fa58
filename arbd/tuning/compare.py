"""The statistics of a difference: whether it is more than noise, between two points or two records. Pure.

Throughput on a shared machine has long tails and no known distribution, and samples are few: so ranks and medians.

* The size of a difference is the ratio of the medians.
* Its chance is the two-sided p-value of the Mann-Whitney U test (H. B. Mann, D. R. Whitney: On a Test of Whether one
  of Two Random Variables is Stochastically Larger than the Other, Ann. Math. Stat. 18 (1947) 50-60), exact, ties
  included: the distribution of the sum of midranks over all ways to deal the samples out, counted by the shift
  algorithm (B. Streitberg, J. Roehmel: Exact Distributions for Permutation and Rank Tests, Stat. Software Newsletter
  12 (1986) 10-17).
* Where many differences are looked at, some are large by chance. So the p-values are taken together (Y. Benjamini,
  Y. Hochberg: Controlling the False Discovery Rate, J. R. Stat. Soc. B 57 (1995) 289-300): of the differences called
  real, at most one in twenty is expected not to be; and where nothing differs, one run in twenty says anything at all.
* A difference below 2 % is not worth a word, however sure.

What this cannot see: that the whole machine was slower on another day. Measure both sides in one sitting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Final, Literal

import msgspec

from arbd.tuning.record import Machine, Measurement, Point, Record, Sample

FALSE_DISCOVERIES: Final = 0.05
LEAST_EFFECT: Final = 0.02

ChangeKind = Literal["more", "less", "noise"]


class Change(msgspec.Struct, frozen=True):
    """The change of a quantity. ``ratio`` of the new median to the old; ``p``: the chance of such a difference between
    equal things."""

    ratio: float
    p: float
    kind: ChangeKind


class Row(msgspec.Struct, frozen=True):
    """One quantity at one point, then and now. ``counts``: to get worse in it is to get slower; ``slower`` and
    ``faster``: it does, by more than noise."""

    point: Point
    quantity: str
    old: float
    new: float
    change: Change
    counts: bool
    slower: bool
    faster: bool


class Comparison(msgspec.Struct, frozen=True):
    """What changed between two records. ``cautions``: what else differs between them. ``only_*``: points that have no
    counterpart. ``can_tell``: at some common point, if any, there are samples enough for a difference to be more than
    noise."""

    cautions: list[str]
    rows: list[Row]
    only_old: list[Point]
    only_new: list[Point]
    can_tell: bool = True

    @property
    def is_slower(self) -> bool:
        """Whether anything got slower by more than noise."""
        return any(row.slower for row in self.rows)


class Quantity(msgspec.Struct, frozen=True):
    """A quantity that is compared. ``counts``: getting worse means that it got slower."""

    name: str
    of: Callable[[Sample], float]
    more_is_better: bool
    counts: bool = True


THROUGHPUT: Final = Quantity("tasks/s", lambda sample: sample.tasks_per_s, more_is_better=True)
QUANTITIES: Final = (
    THROUGHPUT,
    Quantity("alone, p50", lambda sample: sample.idle_p50_s, more_is_better=False),
    Quantity("CPU supervisor", lambda sample: sample.supervisor_cpu_s, more_is_better=False, counts=False),
    Quantity("CPU workers", lambda sample: sample.workers_cpu_s, more_is_better=False, counts=False),
)


def p_value(one: Sequence[float], other: Sequence[float]) -> float:
    """The exact two-sided p-value of the Mann-Whitney U test; 1 where a side has no samples."""
    if not one or not other:
        return 1.0
    ranks = _double_midranks([*one, *other])
    counts = _sums(ranks, len(one))
    centre = len(one) * (len(ranks) + 1)  # twice the expected rank sum
    distance = abs(sum(ranks[: len(one)]) - centre)
    as_far = sum(count for total, count in counts.items() if abs(total - centre) >= distance)
    return as_far / math.comb(len(ranks), len(one))


def smallest_p(one: int, other: int) -> float:
    """The p-value where so many samples on each side do not overlap at all: what few samples can tell at best."""
    return min(1.0, 2 / math.comb(one + other, one))


def changes(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Change]:
    """The change from old to new of each pair, all of them judged together."""
    chances = [p_value(old, new) for old, new in pairs]
    bound = _largest_discovery(chances)
    return [_change(old, new, p, bound) for (old, new), p in zip(pairs, chances, strict=True)]


def compare(old: Record, new: Record) -> Comparison:
    """What changed between two records."""
    then = {measurement.point: measurement for measurement in old.measurements}
    now = {measurement.point: measurement for measurement in new.measurements}
    common = [point for point in now if point in then]
    wanted = [(point, quantity) for point in common for quantity in QUANTITIES]
    found = changes([(values(then[point], quantity), values(now[point], quantity)) for point, quantity in wanted])
    rows = [
        _row(point, quantity, then[point], now[point], change)
        for (point, quantity), change in zip(wanted, found, strict=True)
    ]
    return Comparison(
        cautions=list(_cautions(old, new)),
        rows=rows,
        only_old=[point for point in then if point not in now],
        only_new=[point for point in now if point not in then],
        can_tell=not common
        or any(smallest_p(len(then[point].samples), len(now[point].samples)) <= FALSE_DISCOVERIES for point in common),
    )


def values(measurement: Measurement, quantity: Quantity) -> list[float]:
    """One quantity of all samples."""
    return [quantity.of(sample) for sample in measurement.samples]


def _row(point: Point, quantity: Quantity, old: Measurement, new: Measurement, change: Change) -> Row:
    worse: ChangeKind = "less" if quantity.more_is_better else "more"
    return Row(
        point=point,
        quantity=quantity.name,
        old=median(values(old, quantity)),
        new=median(values(new, quantity)),
        change=change,
        counts=quantity.counts,
        slower=quantity.counts and change.kind == worse,
        faster=quantity.counts and change.kind not in ("noise", worse),
    )


def _change(old: Sequence[float], new: Sequence[float], p: float, bound: float) -> Change:
    before, after = median(old), median(new)
    ratio = after / before if before else math.nan if after else 1.0
    if p > bound or not abs(ratio - 1) >= LEAST_EFFECT:
        return Change(ratio, p, "noise")
    return Change(ratio, p, "more" if ratio > 1 else "less")


def _largest_discovery(chances: Sequence[float]) -> float:
    """The p-value up to which differences count as real."""
    ascending = sorted(chances)
    allowed = (p for rank, p in enumerate(ascending, 1) if p <= rank / len(ascending) * FALSE_DISCOVERIES)
    return max(allowed, default=-1.0)


def _double_midranks(samples: Sequence[float]) -> list[int]:
    """Twice the rank of each sample, so that the shared rank of equal ones is a whole number."""
    ascending = sorted(samples)
    first = {value: rank for rank, value in reversed(list(enumerate(ascending, 1)))}
    last = {value: rank for rank, value in enumerate(ascending, 1)}
    return [first[sample] + last[sample] for sample in samples]


def _sums(ranks: Sequence[int], size: int) -> dict[int, int]:
    """In how many ways ``size`` of the ranks have each sum."""
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in ranks:
        for taken in range(size, 0, -1):  # downward, so that a rank is taken once
            for total, count in ways[taken - 1].items():
                ways[taken][total + rank] = ways[taken].get(total + rank, 0) + count
    return ways[size]


def _cautions(old: Record, new: Record) -> Iterator[str]:
    for field in Machine.__struct_fields__:
        before, after = getattr(old.machine, field), getattr(new.machine, field)
        if field == "packages":
            for name in sorted(before.keys() | after.keys()):
                yield from _differs(name, before.get(name, "none"), after.get(name, "none"))
        else:
            yield from _differs(field.replace("_", " "), before, after)
    for field in ("target", "action", "payload_bytes", "payload_sha256", "duration_s"):
        yield from _differs(field.replace("_", " "), getattr(old.setup, field), getattr(new.setup, field))
    for name in sorted(old.setup.settings.keys() | new.setup.settings.keys()):
        before, after = old.setup.settings.get(name, "default"), new.setup.settings.get(name, "default")
        yield from _differs(f"setting {name}", before, after)
    if not old.complete:
        yield "the older benchmark was cut short"


def _differs(what: str, old: object, new: object) -> Iterator[str]:
    if old != new:
        yield f"another {what}: {_short(old)} then, {_short(new)} now"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
