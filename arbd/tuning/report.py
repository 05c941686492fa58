"""The report of a benchmark: a table, the settings to choose and why, what changed since the last time. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

import msgspec

from arbd.tuning import plan
from arbd.tuning.bounds import measured_hub, measured_limit
from arbd.tuning.choose import Measured, against, choose, throughput
from arbd.tuning.compare import FALSE_DISCOVERIES, THROUGHPUT, Change, Comparison, Row, smallest_p, values
from arbd.tuning.record import Measurement, Point, Record

_GROWS: Final = 1.05  # times the next smaller value: it may go on
_BUSY_LOAD: Final = 0.5  # of each CPU
_HARDLY: Final = 0.05  # as far as that from 1 a ratio may be called no difference
COLUMNS: Final = (
    *("", "proto-\ncol", "work-\ners", "\npin", "pre-\nfetch", "\ntasks/s", "\n±", "\ninside", "\nbusy"),
    *("CPU,\nµs", "alone,\nms", "loaded,\nms"),
)
LEGEND: Final = (
    "* most tasks/s  > recommended; medians of all repeats; ± half the range of them",
    "inside  share of the usable CPUs inside the action",
    "busy    share of the workers' time in tasks",
    "CPU     per task: supervisor + links, if any + all workers",
    "alone   one task at a time: submission to verdict, p50/p99, by the hub's clock",
    "loaded  from a full queue: hand-out to verdict, p50/p99",
)


class Recommendation(msgspec.Struct, frozen=True):
    """The point to choose, one sentence for each dimension, and the settings as they are written in ``arbd.toml``."""

    point: Point
    is_change: bool
    is_against_today: bool  # the settings of today were measured
    reasons: dict[str, str]
    settings: dict[str, str | int | bool]


def headline(record: Record) -> str:
    """What was measured, and on which machine, in one line."""
    own, machine = record.own, record.machine
    return (
        f"{record.setup.action}: {show_time(own.median_s)} by itself (p99 {show_time(own.p99_s)}, CPU "
        f"{show_time(own.cpu_s)}); {machine.usable_cpus} of {machine.cpus} x {machine.cpu}, Python {machine.python}"
    )


def recommend(record: Record) -> Recommendation | None:
    """The point to choose and why; ``None`` if the baseline was not measured without failures, or there are too few
    samples."""
    good = {found.point: found for found in record.measurements if not found.failed}
    if record.baseline not in good or not can_tell(record):
        return None
    chosen = choose(good, record.baseline)
    return Recommendation(
        point=chosen,
        is_change=chosen != record.baseline,
        is_against_today=_today(record) == record.baseline,
        reasons=dict(_reasons(good, chosen, record.baseline, _today(record))),
        settings={plan.SETTINGS[name]: _value(record, name, getattr(chosen, name)) for name in _dimensions(record)},
    )


def can_tell(record: Record) -> bool:
    """Whether any difference could be more than noise, with so many samples. With one point there is none."""
    counts = sorted((len(found.samples) for found in record.measurements), reverse=True)
    return len(counts) < 2 or smallest_p(counts[0], counts[1]) <= FALSE_DISCOVERIES


def snippet(recommendation: Recommendation) -> list[str]:
    """The recommended settings as lines of ``arbd.toml``."""
    written = {name: f"{name} = {msgspec.json.encode(value).decode()}" for name, value in _by_setting(recommendation)}
    width = max(map(len, written.values()))
    reasons = {plan.SETTINGS[name]: reason for name, reason in recommendation.reasons.items()}
    return [f"{line:<{width}}  # {reasons[name]}" for name, line in written.items()]


def rows(record: Record, recommendation: Recommendation | None) -> list[tuple[str, ...]]:
    """The table, in the order of ``COLUMNS``: protocol by protocol, by workers."""
    ordered = sorted(record.measurements, key=lambda found: _order(found.point))
    good = [found for found in ordered if not found.failed]
    best = max(good, key=throughput).point if good else None
    chosen = recommendation.point if recommendation else None
    return [_row(record, found, _mark(found.point, best, chosen)) for found in ordered]


def notes(record: Record) -> Iterator[str]:
    """Notes on the table of measurements."""
    if record.load_before > _BUSY_LOAD * record.machine.cpus:
        yield f"the machine had other work when this began (load {record.load_before:.1f}), so there is more noise"
    for found in record.measurements:
        if found.failed:
            failure = next(sample.failure for sample in found.samples if sample.failed)
            yield f"{found.failed} tasks failed with {show_point(found.point)}; the first: {failure}"
    if not can_tell(record):
        yield "too few samples to tell a difference from noise, so nothing is recommended; use --repeat 5 or more"
    yield from _bounds(record)
    if not record.complete:
        yield "the sweep was cut short: this is what had been measured by then"


def _bounds(record: Record) -> Iterator[str]:
    """What was measured instead of the settings, and where the best lies at the edge of what was tried."""
    good = [found for found in record.measurements if not found.failed]
    if not good:
        return
    best = max(good, key=throughput)
    if limit := measured_limit(best.samples):
        yield f"a rate limit is what was measured: {limit}; no settings change that"
    elif measured_hub(best.samples):
        busy = median(sample.hub_busy for sample in best.samples)
        yield (
            f"the hub is what was measured: this benchmark's own used {busy:.0%} of a CPU at the most tasks/s; "
            f"another hub may take more"
        )
    else:
        yield from _edges(record, good, best)


def _edges(record: Record, good: list[Measurement], best: Measurement) -> Iterator[str]:
    """Dimensions whose largest value is the best, and is better than the next by more than noise."""
    for name in ("workers", "prefetch", "links"):
        rivals = {found.point: found for found in good if _differs_only_in(name, found.point, best.point)}
        below = [point for point in rivals if getattr(point, name) < getattr(best.point, name)]
        if not below or len(below) < len(rivals):
            continue
        rival = max(below, key=lambda point: getattr(point, name))
        if throughput(best) < _GROWS * throughput(rivals[rival]):
            continue
        value = getattr(best.point, name)
        why = f" (not more: {record.bound})" if name == "workers" and record.bound else ""
        option = f"--{name} {value},{2 * value},{4 * value}"
        yield f"the best lies at the edge: {_short(name, best.point)} is the most that was tried{why}; try {option}"


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table of changes, point by point; CPU times only where they changed by more than noise."""
    shown = [row for row in comparison.rows if row.counts or row.change.kind != "noise"]
    points = [None, *(row.point for row in shown)]
    return [
        _comparison_row(row, is_first=row.point != before, claims=not comparison.obstacles)
        for before, row in zip(points, shown, strict=False)
    ]


def comparison_verdict(comparison: Comparison) -> str:
    """What the comparison says, in a sentence."""
    if comparison.inconclusive is not None:
        return f"Nothing is said about slower or faster: {comparison.inconclusive}."
    return "Slower by more than noise." if comparison.is_slower else "Nothing is slower by more than noise."


def comparison_notes(comparison: Comparison) -> Iterator[str]:
    """Notes on the table of changes."""
    for caution in comparison.cautions:
        yield f"not the same: {caution}"
    if not comparison.can_tell:
        yield (
            f"too few samples to tell slower from noise, so nothing is found; use --repeat {comparison.needed} or "
            f"more, both times"
        )
    for point in comparison.only_old:
        yield f"only in the older one: {show_point(point)}"
    for point in comparison.only_new:
        yield f"only in the newer one: {show_point(point)}"


def show_point(point: Point) -> str:
    """A point in one phrase."""
    links = f", links {point.links}" if point.links else ""
    workers = "1 worker" if point.workers == 1 else f"{point.workers} workers"
    return f"{point.protocol}, {workers}{'' if point.pin else ' unpinned'}, prefetch {point.prefetch}{links}"


def show_time(seconds: float) -> str:
    """A length of time with three digits, in a unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds * 1e6)} µs"


# -- recommendation --------------------------------------------------------------------------------------------------


def _today(record: Record) -> Point:
    """The settings of today; a file of an older arbd knows the baseline only."""
    return record.current or record.baseline


def _reasons(good: Measured, chosen: Point, baseline: Point, today: Point) -> Iterator[tuple[str, str]]:
    seen = against(good, chosen)
    for name in plan.DIMENSIONS:
        kept = "as it is" if getattr(chosen, name) == getattr(today, name) else "as asked for"
        rivals = [point for point in seen if _differs_only_in(name, point, chosen)]
        if getattr(chosen, name) != getattr(baseline, name):
            rival = next((point for point in rivals if getattr(point, name) == getattr(baseline, name)), baseline)
            yield name, f"{1 / seen[rival].ratio:.2f} times the tasks/s of {_short(name, rival)}, more than noise"
        elif rivals:
            rival = max(rivals, key=lambda point: throughput(good[point]))
            yield name, f"{kept}: {_short(name, rival)} {_seen(seen[rival])}"
        else:
            yield name, f"{kept}: nothing else was tried"


def _seen(change: Change) -> str:
    does = f"does {change.ratio:.2f} times the tasks/s"
    if change.kind != "noise":
        return does
    if abs(change.ratio - 1) < _HARDLY:
        return f"makes no difference beyond noise ({change.ratio:.2f} times the tasks/s)"
    return f"{does}, which these samples cannot tell from noise"


def _differs_only_in(name: str, one: Point, other: Point) -> bool:
    if name == "protocol":  # a stream has no links to differ in
        one, other = (msgspec.structs.replace(point, links=0) for point in (one, other))
    return [each for each in plan.DIMENSIONS if getattr(one, each) != getattr(other, each)] == [name]


def _short(name: str, point: Point) -> str:
    return f"{plan.SETTINGS[name]} = {msgspec.json.encode(getattr(point, name)).decode()}"


def _dimensions(record: Record) -> list[str]:
    """The dimensions that were tried: links only where there were any."""
    return [name for name in plan.DIMENSIONS if name != "links" or any(m.point.links for m in record.measurements)]


def _value(record: Record, name: str, value: Any) -> Any:
    """A value as a setting: ``auto`` where that means the same, unless the operator has written a value himself."""
    if record.setup.settings.get(plan.SETTINGS[name], "auto") == "auto":
        same = {"protocol": "stream", "workers": record.machine.usable_cpus, "links": 0}
        if name in same and same[name] == value:
            return "auto"
    return value


def _by_setting(recommendation: Recommendation) -> Iterator[tuple[str, Any]]:
    """Plain names before those of tables, as TOML wants it."""
    yield from sorted(recommendation.settings.items(), key=lambda item: "." in item[0])


# -- the table -------------------------------------------------------------------------------------------------------


def _order(point: Point) -> tuple[Any, ...]:
    return point.protocol, point.workers, not point.pin, point.prefetch, point.links


def _mark(point: Point, best: Point | None, chosen: Point | None) -> str:
    return "".join(sign for sign, marked in (("*", best), (">", chosen)) if point == marked)


def _row(record: Record, found: Measurement, mark: str) -> tuple[str, ...]:
    point, rates = found.point, values(found, THROUGHPUT)
    inside = median(rates) * record.own.cpu_s / record.machine.usable_cpus
    return (
        "failed" if found.failed else mark,
        point.protocol + (f" +{point.links}" if point.links else ""),
        str(point.workers),
        "on" if point.pin else "off",
        str(point.prefetch),
        _three_digits(median(rates)),
        f"{(max(rates) - min(rates)) / 2 / median(rates):.0%}",
        f"{min(inside, 1.0):.0%}",
        f"{_median(found, 'busy'):.0%}",
        _pair(found, "+", 1e6, "supervisor_cpu_s", *(["links_cpu_s"] if point.links else []), "workers_cpu_s"),
        _pair(found, "/", 1e3, "idle_p50_s", "idle_p99_s"),
        _pair(found, "/", 1e3, "loaded_p50_s", "loaded_p99_s"),
    )


def _pair(found: Measurement, between: str, units_per_s: float, *fields: str) -> str:
    return between.join(_digits(_median(found, field) * units_per_s, 2) for field in fields)


def _median(found: Measurement, field: str) -> float:
    middle: float = median(getattr(sample, field) for sample in found.samples)
    return middle


def _three_digits(value: float) -> str:
    return _digits(value, 3)


def _digits(value: float, count: int) -> str:
    """So many significant digits, without an exponent: ``82,400``, ``3.07``."""
    if value <= 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = count - 1 - math.floor(math.log10(value))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


# -- the comparison --------------------------------------------------------------------------------------------------


def _comparison_row(row: Row, *, is_first: bool, claims: bool) -> tuple[str, ...]:
    return (
        show_point(row.point) if is_first else "",
        row.quantity,
        _show_quantity(row, row.old),
        _show_quantity(row, row.new),
        f"{row.change.ratio:.2f}",
        f"{row.change.p:.3f}" if row.change.p >= 0.001 else "<.001",
        _verdict(row) if claims else "not comparable",
    )


def _show_quantity(row: Row, value: float) -> str:
    return _three_digits(value) if row.quantity == THROUGHPUT.name else show_time(value)


def _verdict(row: Row) -> str:
    if row.change.kind == "noise":
        return "noise"
    if row.slower or row.faster:
        return "SLOWER" if row.slower else "faster"
    return row.change.kind
