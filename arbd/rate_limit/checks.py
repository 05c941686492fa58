"""Checks of an author's arguments for a limit, made when the monitor is constructed."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

import msgspec

from arbd.errors import RegistrationError
from arbd.model.limit_spec import ON_LIMIT, LimitSpec, OnLimit, Rates, Schedule
from arbd.rate_limit.algorithms.calendar import parse_days, parse_hours
from arbd.zones import zone

LONGEST_S: Final = 366 * 24 * 3600.0  # no window, delay or refill of one call may take longer
SHORTEST_S: Final = 1e-6  # a worker cannot even start a call in less
MOST_CALLS: Final = 1_000_000_000


def same_limit(one: LimitSpec, other: LimitSpec) -> bool:
    """Whether two specifications allow the same, whatever they are put on."""
    return _what(one) == _what(other)


def _what(spec: LimitSpec) -> tuple[object, ...]:
    return spec.kind, spec.rates, spec.schedule, spec.shared, spec.redis


def refuse(where: str, reason: str) -> RegistrationError:
    """The ``RegistrationError`` for a limit that cannot work."""
    return RegistrationError(f"{where}: {reason}")


def checked_rates(where: str, given: dict[str, Any]) -> Rates:
    """The rates among an author's arguments. Raises ``RegistrationError`` with the reason."""
    unknown = given.keys() - set(Rates.__struct_fields__)
    if unknown:
        raise refuse(where, f"there is no {', '.join(sorted(unknown))}; there are {', '.join(Rates.__struct_fields__)}")
    values = {name: _checked(where, name, value) for name, value in given.items() if value is not None}
    rates = msgspec.convert(values, Rates, strict=False)
    if rates.burst_size is not None and rates.requests_per_minute is None:
        raise refuse(where, "burst_size goes with requests_per_minute; give both")
    if (rates.max_requests is None) != (rates.window_size is None):
        raise refuse(where, "max_requests and window_size go together; give both")
    if (rates.min_concurrency or 1) > (rates.max_concurrency or MOST_CALLS):
        raise refuse(where, "min_concurrency lies above max_concurrency")
    return rates


def number(where: str, name: str, value: object, low: float, high: float, unit: str) -> float:
    """A finite number from ``low`` to ``high``, as a float. Raises ``RegistrationError``."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not isfinite(value)
        or not low <= value <= high
    ):
        raise refuse(where, f"{name} is a number of {unit} from {low:g} to {high:g}; got {value!r}")
    return float(value)


def _checked(where: str, name: str, value: object) -> float:
    if name in _BOUNDS:
        return number(where, name, value, *_BOUNDS[name])
    got = number(where, name, value, 1, MOST_CALLS, "calls")
    if got != int(got):
        raise refuse(where, f"{name} is a whole number of calls; got {value!r}")
    return int(got)


_SECONDS: Final = (SHORTEST_S, LONGEST_S, "seconds")
_CALLS: Final = (1 / LONGEST_S, MOST_CALLS, "calls")
_COST: Final = (1e-3, 10_000, "seconds of cost per second")
_BOUNDS: Final[dict[str, tuple[float, float, str]]] = {
    "min_delay": _SECONDS,
    "max_calls_per_second": _CALLS,
    "requests_per_minute": _CALLS,
    "window_size": _SECONDS,
    "max_cpu_per_second": _COST,
    "max_time_per_second": _COST,
}  # all others: whole calls


def checked_schedule(
    where: str, business_hours: str | None, days: Any, timezone: object, outside: Any
) -> Schedule | None:
    """The business hours among an author's arguments; ``None`` without any. Raises ``RegistrationError``."""
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
    """The warning and critical thresholds, as parts of the limit (0.01 to 1). Raises ``RegistrationError``."""
    low = number(where, "warning_threshold", warning, 0.01, 1.0, "parts of the limit")
    high = number(where, "critical_threshold", critical, 0.01, 1.0, "parts of the limit")
    if low > high:
        raise refuse(where, f"warning_threshold {low:g} lies above critical_threshold {high:g}")
    return low, high


def checked_on_limit(where: str, on_limit: object) -> OnLimit:
    """What a call does at the limit: one of ``ON_LIMIT``. Raises ``RegistrationError``."""
    for known in ON_LIMIT:
        if on_limit == known:
            return known
    raise refuse(where, f"on_limit is one of {', '.join(ON_LIMIT)}; got {on_limit!r}")
