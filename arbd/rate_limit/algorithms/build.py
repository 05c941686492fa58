"""Construction of a limit's algorithm from its specification."""

from __future__ import annotations

from fractions import Fraction

from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.algorithms.adaptive import AdaptiveConcurrency
from arbd.rate_limit.algorithms.base import SECOND_NS, All, Closed, Limit
from arbd.rate_limit.algorithms.bucket import TokenBucket
from arbd.rate_limit.algorithms.budget import CostBudget
from arbd.rate_limit.algorithms.calendar import ByHours, Hours
from arbd.rate_limit.algorithms.window import SlidingWindow
from arbd.zones import zone


def build(spec: LimitSpec) -> Limit:
    """The algorithm of a limit, in its initial state."""
    inside = _build_rates(spec.rates)
    schedule = spec.schedule
    if schedule is None:
        return inside
    hours = Hours(schedule.hours, schedule.days, zone(schedule.timezone))
    return ByHours(hours, inside, Closed() if schedule.outside is None else _build_rates(schedule.outside))


def burst_of(rates: Rates) -> int:
    """How many calls of a token bucket may start at once: the given burst, or the calls of one second."""
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
    if rates.max_requests is not None:
        parts.append(SlidingWindow(rates.max_requests, rates.window_ns))
    if rates.max_cpu_per_second is not None:
        parts.append(CostBudget(_ns(rates.max_cpu_per_second), SECOND_NS, cpu=True))
    if rates.max_time_per_second is not None:
        parts.append(CostBudget(_ns(rates.max_time_per_second), SECOND_NS, cpu=False))
    if rates.max_concurrency is not None:
        parts.append(AdaptiveConcurrency(rates.min_concurrency or 1, rates.max_concurrency))
    return parts[0] if len(parts) == 1 else All(parts)


def _per_second(calls: float) -> SlidingWindow:
    """An exact window for calls per second. A fraction becomes whole calls in a longer window: 0.5 is 1 in 2 s."""
    exact = Fraction(calls).limit_denominator(1000)
    if exact.numerator == 0:  # less than one call in a thousand seconds
        return SlidingWindow(1, _ns(1 / calls))
    return SlidingWindow(exact.numerator, exact.denominator * SECOND_NS)


def _ns(seconds: float) -> int:
    return round(seconds * SECOND_NS)
