"""Descriptions of a limit for people: its rules in words, and its rate."""

from __future__ import annotations

from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.algorithms.build import burst_of


def in_words(spec: LimitSpec) -> str:
    """What a limit allows, as a phrase."""
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
    """The sustained rate in calls per second; ``None`` where the rates do not count calls."""
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
