"""The statistics of a difference: whether it is more than noise, between two points or two records. Pure.

Throughput on a shared machine has long tails and no known distribution, and samples are few: so ranks and medians.

* The size of a difference is the ratio of the medians.
* Its chance is the two-sided p-value of the Mann-Whitney U test (H. B. Mann, D. R. Whitney: On a Test of Whether one
  of Two Random Variables is Stochastically Larger than the Other, Ann. Math. Stat. 18 (1947) 50-60), exact, ties
  included: the distribution of the sum of midranks over all ways to deal the samples out, counted by the shift
  algorithm (B. Streitberg, J. Roehmel: Exact Distributions for Permutation and Rank Tests, Stat. Software Newsletter
  12 (1986) 10-17).
* Where many differences are looked at, some are large by chance. Between the points of one sweep, where a wrong one of
  several costs little, the p-values are taken together (Y. Benjamini, Y. Hochberg: Controlling the False Discovery
  Rate, J. R. Stat. Soc. B 57 (1995) 289-300): of the differences called real, at most one in twenty is expected not to
  be. Between two records, where one false "slower" is a false alarm, the chance of any at all is held (S. Holm: A
  Simple Sequentially Rejective Multiple Test Procedure, Scand. J. Stat. 6 (1979) 65-70).
* A difference below 2 % is not worth a word, however sure; between two records, below ``LEAST_BETWEEN``.

Two records were measured one after the other: what the machine did meanwhile is in the difference, and no test can take
it out. Where the records themselves show that something else differs (machine, Python, packages, what was run, the load
of others), nothing is claimed but that: "not comparable". ``arbd.tuning.paired`` has no such trouble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Final, Literal

import msgspec

from arbd.tuning.record import Machine, Measurement, Point, Record, Sample

FALSE_DISCOVERIES: Final = 0.05
FALSE_ALARMS: Final = 0.05  # of a whole comparison of two records
LEAST_EFFECT: Final = 0.02
LEAST_BETWEEN: Final = 0.05  # so much a machine without other work differs from itself within the hour
_OTHER_LOAD: Final = 0.1  # of the CPUs: the part that others had may differ by so much

ChangeKind = Literal["more", "less", "noise"]
Pair = tuple[Sequence[float], Sequence[float]]  # of samples: old and new


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
    """What changed between two records. ``cautions``: what else differs between them; ``obstacles``: those of them that
    could make the difference by themselves, so that nothing is claimed. ``only_*``: points that have no counterpart.
    ``can_tell``: at some common point there are samples enough for a difference to be more than noise; ``needed``: how
    many each point needs for that."""

    cautions: list[str]
    rows: list[Row]
    only_old: list[Point]
    only_new: list[Point]
    can_tell: bool = True
    obstacles: list[str] = []
    needed: int = 0

    @property
    def inconclusive(self) -> str | None:
        """Why it says nothing about slower or not; ``None``: it does."""
        if self.obstacles:
            return f"not comparable: {'; '.join(self.obstacles)}"
        if not self.rows:
            return "there is no point that both have measured"
        if not self.can_tell:
            return f"too few samples to tell slower from noise; use --repeat {self.needed} or more, both times"
        return None

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
    ranks = double_midranks([*one, *other])
    counts = _sums_of(ranks, len(one))
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
    return [
        _change(old, new, p, is_real=p <= bound, least=LEAST_EFFECT)
        for (old, new), p in zip(pairs, chances, strict=True)
    ]


def compare(old: Record, new: Record) -> Comparison:
    """What changed between two records."""
    then = {measurement.point: measurement for measurement in old.measurements}
    now = {measurement.point: measurement for measurement in new.measurements}
    common = [point for point in now if point in then]
    obstacles = list(_obstacles(old, new, common))
    wanted = [(point, quantity) for quantity in QUANTITIES for point in common]
    sides = [(values(then[point], quantity), values(now[point], quantity)) for point, quantity in wanted]
    # Two families: what counts as slower, and what is told beside it. Pairs with too few samples to say anything would
    # only make the others need more.
    judged = {counts: _family(wanted, sides, counts=counts) for counts in (True, False)}
    can_tell = any(judged[True].values())
    found: dict[int, Change] = {}
    for family in judged.values():
        found |= _between(sides, family, claims=not obstacles)
    rows = [
        _row(point, quantity, then[point], now[point], found[number]) for number, (point, quantity) in enumerate(wanted)
    ]
    return Comparison(
        cautions=list(_cautions(old, new)),
        rows=sorted(rows, key=lambda row: common.index(row.point)),
        only_old=[point for point in then if point not in now],
        only_new=[point for point in now if point not in then],
        can_tell=can_tell or not common,
        obstacles=obstacles,
        needed=_needed(len(judged[True])),
    )


def holm(chances: Sequence[float], alpha: float) -> list[bool]:
    """Which of these p-values count as real, if the chance of any false one among them is to be ``alpha`` at most."""
    real = [False] * len(chances)
    for rank, number in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[number] > alpha / (len(chances) - rank):
            break
        real[number] = True
    return real


def _family(wanted: Sequence[tuple[Point, Quantity]], sides: Sequence[Pair], *, counts: bool) -> dict[int, bool]:
    """The pairs that are judged together, by number, and whether each has samples enough for that."""
    family = [number for number, (_, quantity) in enumerate(wanted) if quantity.counts == counts]
    alone = {number: smallest_p(*map(len, sides[number])) for number in family}
    able = sum(p <= FALSE_ALARMS for p in alone.values())
    return {number: able > 0 and p <= FALSE_ALARMS / able for number, p in alone.items()}


def _between(sides: Sequence[Pair], family: Mapping[int, bool], *, claims: bool) -> dict[int, Change]:
    """The changes of one family between two records."""
    chances = {number: p_value(*sides[number]) for number in family}
    able = [number for number, is_able in family.items() if is_able]
    real = dict(zip(able, holm([chances[number] for number in able], FALSE_ALARMS), strict=True))
    return {
        number: _change(*sides[number], p, is_real=claims and real.get(number, False), least=LEAST_BETWEEN)
        for number, p in chances.items()
    }


def _needed(comparisons: int) -> int:
    """How many samples each point of both records needs, if so many comparisons are judged together."""
    bound = FALSE_ALARMS / max(1, comparisons)
    return next(count for count in range(1, 100) if smallest_p(count, count) <= bound)


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


def _change(old: Sequence[float], new: Sequence[float], p: float, *, is_real: bool, least: float) -> Change:
    before, after = median(old), median(new)
    ratio = after / before if before else math.nan if after else 1.0
    if not is_real or not abs(ratio - 1) >= least:
        return Change(ratio, p, "noise")
    return Change(ratio, p, "more" if ratio > 1 else "less")


def _largest_discovery(chances: Sequence[float]) -> float:
    """The p-value up to which differences count as real."""
    ascending = sorted(chances)
    allowed = (p for rank, p in enumerate(ascending, 1) if p <= rank / len(ascending) * FALSE_DISCOVERIES)
    return max(allowed, default=-1.0)


def double_midranks(samples: Sequence[float]) -> list[int]:
    """Twice the rank of each sample, so that the shared rank of equal ones is a whole number."""
    ascending = sorted(samples)
    first = {value: rank for rank, value in reversed(list(enumerate(ascending, 1)))}
    last = {value: rank for rank, value in enumerate(ascending, 1)}
    return [first[sample] + last[sample] for sample in samples]


def sums(ranks: Sequence[int]) -> dict[int, int]:
    """In how many ways some of the ranks, or none, or all, have each sum."""
    ways = {0: 1}
    for rank in ranks:
        longer = {total + rank: count for total, count in ways.items()}
        ways = {total: ways.get(total, 0) + longer.get(total, 0) for total in ways.keys() | longer.keys()}
    return ways


def _sums_of(ranks: Sequence[int], size: int) -> dict[int, int]:
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
    yield from _settings(old, new)
    common = [found.point for found in new.measurements if found.point in {each.point for each in old.measurements}]
    yield from _load(old, new, common)
    if not old.complete:
        yield "the older benchmark was cut short"


def _obstacles(old: Record, new: Record, common: Sequence[Point]) -> Iterator[str]:
    """What differs and could make the difference by itself. Another version of arbd is what is compared."""
    for field in ("cpu", "cpus", "usable_cpus", "kernel", "python"):
        yield from _differs(field.replace("_", " "), getattr(old.machine, field), getattr(new.machine, field))
    for name in sorted(old.machine.packages.keys() | new.machine.packages.keys()):
        if name != "arbd":
            before, after = old.machine.packages.get(name, "none"), new.machine.packages.get(name, "none")
            yield from _differs(name, before, after)
    for field in ("action", "payload_bytes", "payload_sha256", "duration_s"):
        yield from _differs(field.replace("_", " "), getattr(old.setup, field), getattr(new.setup, field))
    yield from _settings(old, new)
    yield from _load(old, new, common)


def _settings(old: Record, new: Record) -> Iterator[str]:
    for name in sorted(old.setup.settings.keys() | new.setup.settings.keys()):
        before, after = old.setup.settings.get(name, "default"), new.setup.settings.get(name, "default")
        yield from _differs(f"setting {name}", before, after)


def _load(old: Record, new: Record, common: Sequence[Point]) -> Iterator[str]:
    """Another load of the machine: what others used while it was measured, or, where a file does not know that, the
    load average before it began."""
    allowed = _OTHER_LOAD * new.machine.cpus
    before, after = _of_others(old, common), _of_others(new, common)
    if before is None or after is None:
        if abs(old.load_before - new.load_before) > max(0.5, allowed):
            yield f"another load before it began: {old.load_before:.1f} then, {new.load_before:.1f} now"
    elif abs(before - after) > allowed:
        yield f"another load: others used {before:.1f} CPUs then, {after:.1f} now"


def _of_others(record: Record, common: Sequence[Point]) -> float | None:
    """How many CPUs processes of others used while the common points were measured."""
    found = [
        sample.others_cpus
        for measurement in record.measurements
        if measurement.point in common
        for sample in measurement.samples
        if sample.others_cpus is not None
    ]
    return median(found) if found else None


def _differs(what: str, old: object, new: object) -> Iterator[str]:
    if old != new:
        yield f"another {what}: {_short(old)} then, {_short(new)} now"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
