"""The common part of the built-in monitors, from the check of a call to the response.

spec   what holds: plain data, checked (``arbd.rate_limit.checks``)
gate   whether it does now: the daemon's, once a worker has attached it, or one of this process
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Final

from arbd.interrupts import call, interruptible, uninterruptible
from arbd.model.limit_spec import Kind, LimitSpec, Rates
from arbd.rate_limit import registry
from arbd.rate_limit.base import RateLimitMonitor
from arbd.rate_limit.checks import checked_on_limit, checked_rates, checked_schedule, checked_thresholds, refuse
from arbd.rate_limit.gates import Gate, LocalGate
from arbd.rate_limit.usage import ESTIMATED, OUTSIDE, UNREACHED, Figures

ERROR: Final = "Rate limit exceeded"
SECOND_NS: Final = 1_000_000_000
#: A task that waits gives up this long before its deadline, so that it can still say why.
_TO_ANSWER_NS: Final = 5_000_000


class LimitMonitor(RateLimitMonitor):
    """The base class of the built-in monitors. ``spec`` says what the limit is; ``gate`` decides about each call."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        rates: dict[str, Any],
        *,
        on_limit: str,
        name: str | None,
        timezone: str = "UTC",
        business_hours: str | None = None,
        days: str | Iterable[str] = "mon-fri",
        outside: Any = None,
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
        """A monitor for a specification, made in a worker for a limit that was set while the daemon runs."""
        cls = next(cls for cls in LimitMonitor.__subclasses__() if cls.kind == spec.kind)
        monitor = cls.__new__(cls)
        monitor.spec = spec
        monitor._gate = None
        return monitor

    def attach(self, gate: Gate) -> None:
        """Use this gate from now on; called when a worker starts."""
        self._gate = gate

    def redact(self) -> None:
        """Drop secrets that workers need not know; called before the process forks."""

    @property
    def gate(self) -> Gate:
        """The gate that decides: one of this process, unless a worker has attached the daemon's."""
        if self._gate is None:
            from arbd.host.timing import ProcessTiming  # not at import: this package is pure, this gate is not

            if registry.is_sealed():
                _warn_late(self)
            self._gate = LocalGate(self.spec, ProcessTiming(), log_crossing)
        return self._gate

    def check_rate_limits(self) -> dict[str, Any] | None:
        """``None`` if a call could start now; otherwise when, and how much of the limit is used. Nothing is counted."""
        wait_ns = self.gate.peek()
        return self._told(wait_ns) if wait_ns else None

    def admit(self, deadline: float) -> dict[str, Any] | None:
        """Count one call: ``None`` if it may start, otherwise the refusal. A monitor that waits does so until shortly
        before ``deadline`` (seconds of the monotonic clock)."""
        until_ns = 0 if self.spec.on_limit == "reject" else round(deadline * SECOND_NS) - _TO_ANSWER_NS
        wait_ns = self.gate.take(until_ns)
        return self._refusal(wait_ns) if wait_ns else None

    @uninterruptible
    def make_safe_request(self, request_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``request_func`` if the limit allows it, and count the call.

        At the limit it returns a dict with ``error``, ``retry_after`` and the monitor's figures; with
        ``on_limit="wait"`` it makes the call after the wait. With an ``async`` function it returns an awaitable of the
        same.
        """
        if iscoroutinefunction(request_func):
            return self._request_async(request_func, args, kwargs)
        while (wait_ns := self.gate.take()) > 0:
            if self.spec.on_limit == "reject":
                return self._told(wait_ns)
            call(self.handle_throttling, (_seconds(wait_ns),))
        if not self.spec.metered:
            return call(request_func, args, kwargs)
        begun = self.gate.begin()  # no deadline is raised between the counting and the `try`, whose end is counted, too
        failed = True
        try:
            value = call(request_func, args, kwargs)
            failed = False
            return value
        finally:
            self.gate.end(begun, failed=failed)

    @uninterruptible
    async def _request_async(
        self, request_func: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from asyncio import sleep  # not at import: only async code pays for it

        while (wait_ns := self.gate.take()) > 0:
            if self.spec.on_limit == "reject":
                return self._told(wait_ns)
            await _awaited(sleep, (_seconds(wait_ns),), {})
        begun = self.gate.begin()
        failed = True
        try:
            value = await _awaited(request_func, args, kwargs)
            failed = False
            return value
        finally:
            self.gate.end(begun, failed=failed)

    def _told(self, wait_ns: int) -> dict[str, Any]:
        """The refusal as authors see it: the keys of the spec's "Response Format" beside the figures."""
        figures = self.gate.figures()
        refusal = self._refusal_of(wait_ns, figures)
        return {
            "error": ERROR,
            "retry_after": refusal["wait_time"],
            "current_usage": usage_of(figures),
            "limit_type": self.kind,
            **refusal,
        }

    def _refusal(self, wait_ns: int) -> dict[str, Any]:
        return self._refusal_of(wait_ns, self.gate.figures())

    def _refusal_of(self, wait_ns: int, figures: Figures) -> dict[str, Any]:
        wait_s = _seconds(wait_ns)
        refusal = {"rate_limited": True, "wait_time": wait_s, **self._fields(figures)}
        return refusal | {"message": _reason(wait_s, figures.cause)} if figures.cause else refusal

    def _fields(self, figures: Figures) -> dict[str, Any]:
        return {"current_usage": usage_of(figures), "limit_type": self.kind}

    def _window_fields(self, figures: Figures) -> dict[str, Any]:
        rates = self._rates_now(figures)
        limit = rates.max_requests or 0
        return {
            "current_count": min(limit, round(figures.call_usage * limit)),
            "limit": limit,
            "window_size": plain(rates.window_size),
        }

    def _rates_now(self, figures: Figures) -> Rates:
        """The rates that hold at the moment of these figures. What is closed allows nothing in the same window."""
        rates, schedule = self.spec.rates, self.spec.schedule
        if schedule is None or not figures.cause & OUTSIDE:
            return rates
        return schedule.outside or Rates(max_requests=0, window_size=rates.window_size)


@interruptible
async def _awaited(function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``arbd.interrupts.call`` for an async function."""
    return await function(*args, **kwargs)


def _warn_late(monitor: LimitMonitor) -> None:
    from arbd.logs import get_logger

    get_logger("arbd.limits").warning(
        "limit_made_late",
        monitor=type(monitor).__name__,
        hint="it was made inside a worker, so it holds for this worker alone; make it where the provider is made, or "
        "use actions.set_custom_rate_limit",
    )


def log_crossing(spec: LimitSpec, usage: float, level: int) -> None:
    """Log that a limit's usage has entered or left a threshold, and is at this level now."""
    from arbd.logs import get_logger

    log = get_logger("arbd.limits")
    say = (log.info, log.warning, log.error)[level]
    event = ("limit_usage_normal", "limit_usage_warning", "limit_usage_critical")[level]
    say(event, limit=spec.name or spec.kind, usage=round(usage, 4))


def _reason(wait_s: float, cause: int) -> str:
    """The message of a refusal that has a cause of its own."""
    if cause & UNREACHED:
        return f"Rate limit could not be asked. Please try again in {wait_s:g} seconds"
    where = "Rate limit outside the business hours" if cause & OUTSIDE else ERROR
    if cause & ESTIMATED:
        return f"{where}. Please wait about {wait_s:g} seconds: what calls under way will cost is not known yet"
    return f"{where}. Please wait {wait_s:g} seconds"


def plain(number: float | None) -> float | None:
    """A number as an author writes it: 60 rather than 60.0."""
    return int(number) if number is not None and number == int(number) else number


def usage_of(figures: Figures) -> float:
    """The used part of the limit, rounded for responses and logs."""
    return round(figures.call_usage, 4)


def _seconds(wait_ns: int) -> float:
    """Nanoseconds as seconds, rounded up to a microsecond, so that a caller that waits does not come too early."""
    return -(-wait_ns // 1000) / 1e6
