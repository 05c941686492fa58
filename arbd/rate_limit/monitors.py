"""The built-in monitors. In a daemon each of them holds for all its workers together; elsewhere for its process.

    check_rate_limits()        looks only: nothing counts
    make_safe_request(f)       counts, and calls ``f`` if it may; from threads, and awaited with an ``async`` ``f``
    on a provider or action    counts before each call; what is refused becomes a ``limit`` response

What happens at the limit is ``on_limit``: ``"reject"`` (default) refuses and says how long to wait, ``"wait"`` waits
for its turn (an action's deadline still holds), ``"hold"`` is ``"wait"`` and, on a provider, also stops the daemon from
taking tasks that could not start.

Every argument is checked at construction; ``RegistrationError`` gives the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final

from arbd.rate_limit import registry
from arbd.rate_limit.base import RateLimitMonitor
from arbd.rate_limit.gates import Gate, LocalGate
from arbd.rate_limit.spec import (
    Kind,
    LimitSpec,
    Rates,
    checked_on_limit,
    checked_rates,
    checked_schedule,
    checked_thresholds,
    refuse,
)
from arbd.rate_limit.usage import CRITICAL, NORMAL, Figures

ERROR: Final = "Rate limit exceeded"
_SECOND_NS: Final = 1_000_000_000
#: A task that waits gives up this long before its deadline, so that it can still say why.
_TO_ANSWER_NS: Final = 5_000_000


class LimitMonitor(RateLimitMonitor):
    """What the built-in monitors have in common. ``spec`` says what holds; the gate knows whether it does now."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        rates: dict[str, Any],
        *,
        on_limit: str,
        timezone: str,
        business_hours: str | None,
        days: str | Iterable[str],
        outside: Any,
        name: str | None,
        thresholds: tuple[float, float] = (0.8, 0.9),
        metered: bool = False,
        shared: str | None = None,
    ) -> None:
        where = type(self).__name__
        checked = checked_rates(where, rates)
        if checked == Rates():
            raise refuse(where, "it limits nothing; give at least one rate, or use NoRateLimitMonitor")
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise refuse(where, f"name is a text that is not empty; got {name!r}")
        warning, critical = checked_thresholds(where, *thresholds)
        self.spec = LimitSpec(
            name=name or "",
            kind=self.kind,
            rates=checked,
            schedule=checked_schedule(where, business_hours, days, timezone, outside),
            on_limit=checked_on_limit(where, on_limit),
            warning_threshold=warning,
            critical_threshold=critical,
            metered=metered,
            shared=shared,
        )
        self._gate: Gate | None = None
        registry.add(self)

    @staticmethod
    def of(spec: LimitSpec) -> LimitMonitor:
        """The monitor that a limit came from, or one just like it. For a worker that is told of a limit."""
        cls = next(cls for cls in LimitMonitor.__subclasses__() if cls.kind == spec.kind)
        monitor = cls.__new__(cls)
        monitor.spec = spec
        monitor._gate = None
        return monitor

    def attach(self, gate: Gate) -> None:
        """From now on this gate decides. For a worker's start."""
        self._gate = gate

    def redact(self) -> None:
        """Let go of what workers need not know, before they share this memory."""

    @property
    def gate(self) -> Gate:
        """What decides; a gate of this process, unless a worker has attached the daemon's."""
        if self._gate is None:
            from arbd.host.timing import ProcessTiming  # not at import: this package is pure, this gate is not

            if registry.is_sealed():
                _warn_late(self)
            self._gate = LocalGate(self.spec, ProcessTiming(), log_crossing)
        return self._gate

    def check_rate_limits(self) -> dict[str, Any] | None:
        """``None`` if a call could start now; otherwise when, and how much of the limit is used. Nothing counts."""
        wait_ns = self.gate.peek()
        return self._told(wait_ns) if wait_ns else None

    def admit(self, deadline: float) -> dict[str, Any] | None:
        """Count one call: ``None`` if it may start, else the refusal. ``deadline`` in seconds of the monotonic clock:
        until shortly before it a monitor that waits will wait."""
        until_ns = 0 if self.spec.on_limit == "reject" else round(deadline * _SECOND_NS) - _TO_ANSWER_NS
        wait_ns = self.gate.take(until_ns)
        return self._refusal(wait_ns) if wait_ns else None

    def make_safe_request(self, request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``request_func`` if the limit allows it, and count that. At the limit: a dict with ``error``,
        ``retry_after`` and the monitor's figures, or, with ``on_limit="wait"``, the call after the wait.

        With an ``async`` function it gives an awaitable of the same.
        """
        if iscoroutinefunction(request_func):
            return self._request_async(request_func, args, kwargs)
        while (wait_ns := self.gate.take()) > 0:
            if self.spec.on_limit == "reject":
                return self._told(wait_ns)
            self.handle_throttling(_seconds(wait_ns))
        if not self.spec.metered:
            return request_func(*args, **kwargs)
        begun = self.gate.begin()
        failed = True
        try:
            value = request_func(*args, **kwargs)
            failed = False
            return value
        finally:
            self.gate.end(begun, failed=failed)

    async def _request_async(
        self, request_func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from asyncio import sleep  # not at import: nobody pays for it who does not use it

        while (wait_ns := self.gate.take()) > 0:
            if self.spec.on_limit == "reject":
                return self._told(wait_ns)
            await sleep(_seconds(wait_ns))
        begun = self.gate.begin()
        failed = True
        try:
            value = await request_func(*args, **kwargs)
            failed = False
            return value
        finally:
            self.gate.end(begun, failed=failed)

    def _told(self, wait_ns: int) -> dict[str, Any]:
        """The refusal for authors: with the words of the spec's "Response Format" beside the figures."""
        refusal = self._refusal(wait_ns)
        return {
            "error": ERROR,
            "retry_after": refusal["wait_time"],
            "current_usage": _usage(self.gate.figures()),
            "limit_type": self.kind,
            **refusal,
        }

    def _refusal(self, wait_ns: int) -> dict[str, Any]:
        return {"rate_limited": True, "wait_time": _seconds(wait_ns), **self._fields(self.gate.figures())}

    def _fields(self, figures: Figures) -> dict[str, Any]:
        return {"current_usage": _usage(figures), "limit_type": self.kind}


class TimeBasedRateLimitMonitor(LimitMonitor):
    """At least ``min_delay`` seconds between two starts, at most ``max_calls_per_second`` in any one second."""

    kind = "time_based"

    def __init__(
        self,
        min_delay: float | None = None,
        max_calls_per_second: float | None = None,
        timezone: str = "UTC",
        *,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"min_delay": min_delay, "max_calls_per_second": max_calls_per_second},
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
        )


class AdvancedRateLimitMonitor(LimitMonitor):
    """Spacing and calls per second, or a token bucket (``requests_per_minute`` with at most ``burst_size`` at once),
    or budgets of CPU and run time (seconds of it per second); any of them together.

    Usage above the thresholds (parts of the limit) is logged once per crossing and told in responses. What calls
    take is measured.
    """

    kind = "advanced"

    def __init__(
        self,
        min_delay: float | None = None,
        max_calls_per_second: float | None = None,
        warning_threshold: float = 0.8,
        critical_threshold: float = 0.9,
        timezone: str = "UTC",
        *,
        requests_per_minute: float | None = None,
        burst_size: int | None = None,
        max_cpu_per_second: float | None = None,
        max_time_per_second: float | None = None,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {
                "min_delay": min_delay,
                "max_calls_per_second": max_calls_per_second,
                "requests_per_minute": requests_per_minute,
                "burst_size": burst_size,
                "max_cpu_per_second": max_cpu_per_second,
                "max_time_per_second": max_time_per_second,
            },
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
            thresholds=(warning_threshold, critical_threshold),
            metered=True,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        totals = figures.totals
        return {
            "metrics": {
                "call_count": totals.calls,
                "total_time": totals.wall_ns / _SECOND_NS,
                "total_cpu": totals.cpu_ns / _SECOND_NS,
            },
            "is_near_limit": figures.level > NORMAL,
            "is_critical": figures.level == CRITICAL,
            "call_usage": _usage(figures),
            "cpu_usage": round(figures.cpu_usage, 4),
        }


class CustomRateLimitMonitor(LimitMonitor):
    """At most ``max_requests`` starts in any ``window_size`` seconds, exactly."""

    kind = "custom"

    def __init__(
        self,
        window_size: float = 60,
        max_requests: int = 100,
        timezone: str = "UTC",
        *,
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"window_size": window_size, "max_requests": max_requests},
            on_limit=on_limit,
            timezone=timezone,
            business_hours=business_hours,
            days=days,
            outside=outside,
            name=name,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        limit = self.spec.rates.max_requests or 0
        return {
            "current_count": min(limit, round(figures.call_usage * limit)),
            "limit": limit,
            "window_size": _plain(self.spec.rates.window_size),
        }


class AdaptiveRateLimitMonitor(LimitMonitor):
    """So many calls at once as what they call can take: between ``min_concurrency`` and ``max_concurrency``, learnt
    from how long calls take and how often they fail (``arbd.rate_limit.adaptive`` says how).

    Nothing uses it unless it is put somewhere.
    """

    kind = "adaptive"

    def __init__(
        self,
        max_concurrency: int = 100,
        min_concurrency: int = 1,
        *,
        on_limit: str = "reject",
        name: str | None = None,
    ) -> None:
        super().__init__(
            {"min_concurrency": min_concurrency, "max_concurrency": max_concurrency},
            on_limit=on_limit,
            timezone="UTC",
            business_hours=None,
            days="mon-fri",
            outside=None,
            name=name,
            metered=True,
        )


class SharedRateLimitMonitor(LimitMonitor):
    """At most ``max_requests`` starts in any ``window_size`` seconds, over all daemons of this host that share it.

    They share it by ``name``; without one, by the place in the source where it is made, so that two providers of one
    module that are given the same monitor share it. They have to use the same runtime directory (setting
    ``runtime_dir``). Outside a daemon it holds for its process alone.
    """

    kind = "shared"

    def __init__(
        self,
        max_requests: int = 100,
        window_size: float = 60,
        name: str | None = None,
        timezone: str = "UTC",
        *,
        on_limit: str = "reject",
    ) -> None:
        super().__init__(
            {"window_size": window_size, "max_requests": max_requests},
            on_limit=on_limit,
            timezone=timezone,
            business_hours=None,
            days="mon-fri",
            outside=None,
            name=name,
            shared=_place_in_source() if name is None else name,
        )

    def _fields(self, figures: Figures) -> dict[str, Any]:
        limit = self.spec.rates.max_requests or 0
        return {
            "current_count": min(limit, round(figures.call_usage * limit)),
            "limit": limit,
            "window_size": _plain(self.spec.rates.window_size),
            "providers": list(figures.members),
        }


def _warn_late(monitor: LimitMonitor) -> None:
    from arbd.logs import get_logger

    get_logger("arbd.limits").warning(
        "limit_made_late",
        monitor=type(monitor).__name__,
        hint="it was made inside a worker, so it holds for this worker alone; make it where the provider is made, or "
        "use actions.set_custom_rate_limit",
    )


def _place_in_source() -> str:
    """File and line of whoever makes a monitor."""
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def log_crossing(spec: LimitSpec, figures: Figures) -> None:
    """One line when a limit's usage enters or leaves a threshold."""
    from arbd.logs import get_logger  # where the lines go is the process's business

    log = get_logger("arbd.limits")
    say = (log.info, log.warning, log.error)[figures.level]
    event = ("limit_usage_normal", "limit_usage_warning", "limit_usage_critical")[figures.level]
    say(event, limit=spec.name or spec.kind, usage=_usage(figures))


def _plain(number: float | None) -> float | None:
    """60 rather than 60.0: as an author writes it."""
    return int(number) if number is not None and number == int(number) else number


def _usage(figures: Figures) -> float:
    return round(figures.call_usage, 4)


def _seconds(wait_ns: int) -> float:
    """Rounded up to a microsecond, so that who waits that long does not come too early."""
    return -(-wait_ns // 1000) / 1e6
