"""The clock: whether it is right, and cheap to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn

_LONG_AGO: Final = 1_735_689_600  # 2025-01-01: before this was written
_SLOW: Final = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"})
_FAR_OFF_S: Final = 1.0


class ClockFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The wall clock, in seconds since 1970. ``is_synchronised``: by what the kernel was told; ``None``: it does not
    say. ``may_be_off_s``: how far off it may be, as whoever steers it thinks. ``source``: what it counts by."""

    now: float
    is_synchronised: bool | None
    may_be_off_s: float = 0.0
    source: str = ""


def check_clock(facts: ClockFacts) -> Iterator[Finding]:
    """Whether the time of day can be relied on. Deadlines go by another clock, which nobody steps."""
    findings = [*_right(facts), *_cheap(facts)]
    yield from findings
    if not findings:
        yield ok(
            "clock", "synchronised" if facts.is_synchronised else "the kernel does not say whether it is set right"
        )


def _right(facts: ClockFacts) -> Iterator[Finding]:
    if facts.now < _LONG_AGO:
        yield fail(
            "clock.time",
            "the clock stands in the past",
            "certificates seem not yet valid, so no TLS hub is reached; office hours and timestamps are wrong",
            "set it, and have it kept right (chrony, systemd-timesyncd)",
        )
    elif facts.is_synchronised is False:
        yield warn(
            "clock.synchronised",
            "nobody keeps the clock right, as far as the kernel was told",
            "office hours, timestamps in results and logs, and the validity of certificates go by it; deadlines and "
            "limits do not",
            "install chrony or enable systemd-timesyncd; in a container the host does it, and this says nothing",
        )
    elif facts.may_be_off_s > _FAR_OFF_S:
        yield warn(
            "clock.off",
            f"the clock may be {facts.may_be_off_s:.1f} s off, as the service that keeps it thinks",
            "office hours and timestamps are off by as much",
            "look at its time servers (chronyc sources, timedatectl timesync-status)",
        )


def _cheap(facts: ClockFacts) -> Iterator[Finding]:
    if facts.source in _SLOW:
        yield warn(
            "clock.source",
            f"the kernel counts time by {facts.source}",
            "each look at the clock is a system call of a microsecond or more, several for each task",
            "look in the kernel's log why tsc was given up; choose it (clocksource=tsc) if the machine's is reliable",
        )
