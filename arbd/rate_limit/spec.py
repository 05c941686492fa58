"""A limit as plain data: what a monitor was asked for, checked, and able to travel to the supervisor.

monitor ──> LimitSpec ──(description)──> supervisor ──build──> the one real ``Limit`` of the daemon
               └───────────────── build ──> a ``Limit`` of its own, where there is no daemon
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from arbd.errors import RegistrationError
from arbd.rate_limit.adaptive import AdaptiveConcurrency
from arbd.rate_limit.algorithms import SECOND_NS, All, Closed, CostBudget, Limit, SlidingWindow, TokenBucket
from arbd.rate_limit.calendar import ByHours, Hours, parse_days, parse_hours
from arbd.rate_limit.redis_backend import RedisBackend
from arbd.zones import zone

OnLimit = Literal["reject", "wait", "hold"]
ON_LIMIT: Final[tuple[OnLimit, ...]] = ("reject", "wait", "hold")
Kind = Literal["time_based", "advanced", "custom", "shared", "adaptive", "redis"]

Scope = Literal["provider", "action", "by hand"]

LONGEST_S: Final = 366 * 24 * 3600.0  # no window, delay or refill of one call may take longer
SHORTEST_S: Final = 1e-6  # a worker cannot even start a call in less
MOST_CALLS: Final = 1_000_000_000


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much is allowed; ``None`` where nothing is said. Seconds, calls, and seconds of cost per second."""

    min_delay: float | None = None
    max_calls_per_second: float | None = None
    requests_per_minute: float | None = None
    burst_size: int | None = None
    max_requests: int | None = None
    window_size: float | None = None
    max_cpu_per_second: float | None = None
    max_time_per_second: float | None = None
    min_concurrency: int | None = None
    max_concurrency: int | None = None


class Schedule(msgspec.Struct, frozen=True):
    """Business hours, and what holds outside them; ``None``: nothing may start then."""

    hours: list[tuple[int, int]]
    days: list[int]
    timezone: str
    outside: Rates | None


class LimitSpec(msgspec.Struct, frozen=True):
    """One limit of a provider. ``name`` tells its limits apart and keeps its state over a reload; ``actions`` are those
    it was put on, where its scope is "action". ``shared``: what it is called among the daemons that share it,
    ``redis``: where it is kept for those of other hosts."""

    name: str
    kind: Kind
    rates: Rates
    scope: Scope = "by hand"
    actions: list[str] = []
    schedule: Schedule | None = None
    on_limit: OnLimit = "reject"
    warning_threshold: float = 0.8
    critical_threshold: float = 0.9
    metered: bool = False
    shared: str | None = None
    redis: RedisBackend | None = None


def build(spec: LimitSpec) -> Limit:
    """The algorithms of a limit, in their initial state."""
    inside = _build_rates(spec.rates)
    schedule = spec.schedule
    if schedule is None:
        return inside
    hours = Hours(schedule.hours, schedule.days, zone(schedule.timezone))
    return ByHours(hours, inside, Closed() if schedule.outside is None else _build_rates(schedule.outside))


def same_limit(one: LimitSpec, other: LimitSpec) -> bool:
    """Whether they allow the same, wherever they are put."""
    return _what(one) == _what(other)


def _what(spec: LimitSpec) -> tuple[object, ...]:
    return spec.kind, spec.rates, spec.schedule, spec.shared, spec.redis


def in_words(spec: LimitSpec) -> str:
    """What a limit allows."""
    inside = _rates_in_words(spec.rates)
    if spec.shared is not None:
        inside += f", over all daemons of this host that share {spec.shared!r}"
    if spec.redis is not None:
        inside += f", over all who share {spec.redis.key_prefix!r} in Redis"
    if spec.schedule is None:
        return inside
    outside = spec.schedule.outside
    return f"in business hours: {inside}; outside: {'nothing' if outside is None else _rates_in_words(outside)}"


def _rates_in_words(rates: Rates) -> str:
    words = []
    if rates.min_delay is not None:
        words.append(f"{rates.min_delay:g} s between starts")
    if rates.max_calls_per_second is not None:
        words.append(f"{rates.max_calls_per_second:g} calls in any second")
    if rates.requests_per_minute is not None:
        words.append(f"{rates.requests_per_minute:g} calls per minute, {burst_of(rates)} at once")
    if rates.max_requests is not None:
        words.append(f"{rates.max_requests} calls in any {rates.window_size:g} s")
    if rates.max_cpu_per_second is not None:
        words.append(f"{rates.max_cpu_per_second:g} s of CPU per second")
    if rates.max_time_per_second is not None:
        words.append(f"{rates.max_time_per_second:g} s of run time per second")
    if rates.max_concurrency is not None:
        words.append(f"{rates.min_concurrency or 1} to {rates.max_concurrency} calls at once, as they fare")
    return ", ".join(words) or "everything"


def calls_per_second(rates: Rates) -> float | None:
    """What the rates allow over time; ``None`` where they do not count calls."""
    found = []
    if rates.min_delay is not None:
        found.append(1 / rates.min_delay)
    if rates.max_calls_per_second is not None:
        found.append(rates.max_calls_per_second)
    if rates.requests_per_minute is not None:
        found.append(rates.requests_per_minute / 60)
    if rates.max_requests is not None and rates.window_size is not None:
        found.append(rates.max_requests / rates.window_size)
    return min(found, default=None)


def burst_of(rates: Rates) -> int:
    """How many calls of a token bucket may start at once: what was asked for, or the calls of one second."""
    return rates.burst_size or max(1, int((rates.requests_per_minute or 0) / 60))


def _build_rates(rates: Rates) -> Limit:
    parts: list[Limit] = []
    if rates.min_delay is not None:
        parts.append(SlidingWindow(1, _ns(rates.min_delay)))
    if rates.max_calls_per_second is not None:
        parts.append(_per_second(rates.max_calls_per_second))
    if rates.requests_per_minute is not None:
        per_minute = Fraction(rates.requests_per_minute).limit_denominator(1_000_000)
        parts.append(TokenBucket(per_minute.numerator, 60 * SECOND_NS * per_minute.denominator, burst_of(rates)))
    if rates.max_requests is not None and rates.window_size is not None:
        parts.append(SlidingWindow(rates.max_requests, _ns(rates.window_size)))
    if rates.max_cpu_per_second is not None:
        parts.append(CostBudget(_ns(rates.max_cpu_per_second), SECOND_NS, cpu=True))
    if rates.max_time_per_second is not None:
        parts.append(CostBudget(_ns(rates.max_time_per_second), SECOND_NS, cpu=False))
    if rates.max_concurrency is not None:
        parts.append(AdaptiveConcurrency(rates.min_concurrency or 1, rates.max_concurrency))
    return parts[0] if len(parts) == 1 else All(parts)


def _per_second(calls: float) -> SlidingWindow:
    """An exact window. A fraction such as 0.5 or 2.5 becomes whole calls in a longer window: 1 in 2 s, 5 in 2 s."""
    exact = Fraction(calls).limit_denominator(1000)
    if exact.numerator == 0:  # less than one call in a thousand seconds
        return SlidingWindow(1, _ns(1 / calls))
    return SlidingWindow(exact.numerator, exact.denominator * SECOND_NS)


def _ns(seconds: float) -> int:
    return round(seconds * SECOND_NS)


# --- checks: an author is told at once, in words ------------------------------------------------------------------


def refuse(where: str, reason: str) -> RegistrationError:
    """What is raised for a limit that cannot be."""
    return RegistrationError(f"{where}: {reason}")


def checked_rates(where: str, given: dict[str, Any]) -> Rates:
    """The rates among an author's arguments. Raises ``RegistrationError`` with the reason."""
    unknown = given.keys() - set(Rates.__struct_fields__)
    if unknown:
        raise refuse(where, f"there is no {', '.join(sorted(unknown))}; there are {', '.join(Rates.__struct_fields__)}")
    values = {name: _CHECKS[name](where, name, value) for name, value in given.items() if value is not None}
    rates = msgspec.convert(values, Rates, strict=False)
    if rates.burst_size is not None and rates.requests_per_minute is None:
        raise refuse(where, "burst_size goes with requests_per_minute; give both")
    if (rates.max_requests is None) != (rates.window_size is None):
        raise refuse(where, "max_requests and window_size go together; give both")
    if (rates.min_concurrency or 1) > (rates.max_concurrency or MOST_CALLS):
        raise refuse(where, "min_concurrency lies above max_concurrency")
    return rates


def number(where: str, name: str, value: object, low: float, high: float, unit: str) -> float:
    """A finite number within bounds."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not isfinite(value)
        or not low <= value <= high
    ):
        raise refuse(where, f"{name} is a number of {unit} from {low:g} to {high:g}; got {value!r}")
    return float(value)


def whole(where: str, name: str, value: object, unit: str) -> int:
    """A whole number of at least one. ``10.0`` is one too."""
    got = number(where, name, value, 1, MOST_CALLS, unit)
    if got != int(got):
        raise refuse(where, f"{name} is a whole number of {unit}; got {value!r}")
    return int(got)


def _seconds(where: str, name: str, value: object) -> float:
    return number(where, name, value, SHORTEST_S, LONGEST_S, "seconds")


def _calls(where: str, name: str, value: object) -> float:
    return number(where, name, value, 1 / LONGEST_S, MOST_CALLS, "calls")


def _cost(where: str, name: str, value: object) -> float:
    return number(where, name, value, 1e-3, 10_000, "seconds of cost per second")


def _whole_calls(where: str, name: str, value: object) -> int:
    return whole(where, name, value, "calls")


_CHECKS: Final[dict[str, Callable[[str, str, object], float]]] = {
    "min_delay": _seconds,
    "max_calls_per_second": _calls,
    "requests_per_minute": _calls,
    "burst_size": _whole_calls,
    "max_requests": _whole_calls,
    "window_size": _seconds,
    "max_cpu_per_second": _cost,
    "max_time_per_second": _cost,
    "min_concurrency": _whole_calls,
    "max_concurrency": _whole_calls,
}


def checked_schedule(
    where: str, business_hours: str | None, days: Any, timezone: object, outside: Any
) -> Schedule | None:
    """The calendar among an author's arguments; ``None`` without one. Raises ``RegistrationError``."""
    try:
        if not isinstance(timezone, str):
            raise ValueError(f"timezone is a name such as 'Europe/Moscow'; got {timezone!r}")
        zone(timezone)
        if business_hours is None:
            if outside is not None:
                raise ValueError("outside= says what holds outside the business hours; give business_hours too")
            return None
        if not isinstance(business_hours, str):
            raise ValueError(f"business_hours is a text such as '09:00-18:00'; got {business_hours!r}")
        hours, weekdays = parse_hours(business_hours), parse_days(days)
    except ValueError as exc:
        raise refuse(where, str(exc)) from None
    return Schedule(hours, weekdays, timezone, _outside(where, outside))


def _outside(where: str, outside: Any) -> Rates | None:
    if outside == "closed":
        return None
    if isinstance(outside, dict) and outside:
        return checked_rates(f"{where}, outside", outside)
    if outside == "unlimited":
        return Rates()
    raise refuse(
        where,
        "business_hours needs outside=: what holds at other times. A dict of rates such as "
        f"{{'max_calls_per_second': 1}}, or 'closed', or 'unlimited'; got {outside!r}",
    )


def checked_thresholds(where: str, warning: object, critical: object) -> tuple[float, float]:
    """Warning and critical thresholds as parts of the limit. Raises ``RegistrationError``."""
    low = number(where, "warning_threshold", warning, 0.01, 1.0, "parts of the limit")
    high = number(where, "critical_threshold", critical, 0.01, 1.0, "parts of the limit")
    if low > high:
        raise refuse(where, f"warning_threshold {low:g} lies above critical_threshold {high:g}")
    return low, high


def checked_on_limit(where: str, on_limit: object) -> OnLimit:
    """What happens at the limit. Raises ``RegistrationError``."""
    for known in ON_LIMIT:
        if on_limit == known:
            return known
    raise refuse(where, f"on_limit is one of {', '.join(ON_LIMIT)}; got {on_limit!r}")
