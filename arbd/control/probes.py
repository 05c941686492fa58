"""The two questions of whoever runs containers: is the daemon alive, and does it do its work. Pure.

Alive is a supervisor whose event loop turns: it writes a snapshot about once a second. A restart helps one that is not.
Ready is one that is alive and takes tasks (``arbd.control.health``): a hub that is away does not make it dead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from arbd.control import health
from arbd.control.reports import StatusReport

STALE_S: Final = 5.0
"""An older snapshot than that is one of a supervisor that is stopped, or stuck: it writes one each second."""


class Verdict(NamedTuple):
    """An answer: whether it is good, and the reason in words, one line for each."""

    is_good: bool
    lines: tuple[str, ...]


def live(age_s: float) -> Verdict:
    """Whether the supervisor lives, by the age of its last snapshot."""
    if age_s > STALE_S:
        return Verdict(False, (f"the supervisor has said nothing for {age_s:.1f} s: it is stopped, or stuck",))
    return Verdict(True, ("alive",))


def ready(age_s: float, report: StatusReport | None) -> Verdict:
    """Whether it takes tasks; ``None``: it has said nothing that could be read."""
    alive = live(age_s)
    if not alive.is_good:
        return alive
    if report is None:
        return Verdict(False, ("the supervisor has not said yet how it is",))
    found = health.problems(report)
    if found:
        return Verdict(False, tuple(found))
    return Verdict(True, (f"ready: {health.serving(report)} of {report.workers_wanted} workers serve",))
