"""Reports of a daemon, with what a test does not say filled in, and looks that bring them."""

from __future__ import annotations

from typing import Any, Final

from arbd.cli.top.control import Control
from arbd.cli.top.sightings import Sighting
from arbd.control.reports import RunningTask, StatusReport, WorkerReport
from arbd.model.link_stats import LinkStats

TASK = RunningTask("t9", "order", 0.25, 2.0)


_WORKER: Final[dict[str, Any]] = {
    "state": "serving",
    "age_s": 10.0,
    "tasks_done": 0,
    "busy_s": 0.0,
    "cpu_s": 0.0,
    "waiting": 0,
    "rss": 50 << 20,
}
_STATUS: Final[dict[str, Any]] = {
    "provider": "prices",
    "version": "0.1.0",
    "pid": 41,
    "state": "serving",
    "uptime_s": 100.0,
    "hub": "hub:50051",
    "workers": [],
    "in_flight": 0,
    "backlog": 0,
    "outbox": 0,
    "outbox_limit": 100,
    "verdicts": {"success": 0, "error": 0, "limit": 0},
}


def worker(slot: int, **fields: Any) -> WorkerReport:
    usual: dict[str, Any] = {"pid": 100 + slot, "cpus": (slot,)}
    return WorkerReport(slot=slot, **(usual | _WORKER | fields))


def report(**fields: Any) -> StatusReport:
    usual: dict[str, Any] = {"link": LinkStats("up", protocol="stream")}
    return StatusReport(**(usual | _STATUS | fields))


def look(
    at: float = 1000.0, *, limits: Any = (), events: Any = (), operations: Any = (), cpus: Any = None, **status: Any
) -> Sighting:
    return Sighting(at, report(**status), list(limits), list(events), list(operations), dict(cpus or {}))


def control_of(first: Sighting) -> Control:
    control = Control()
    control.looked(first)
    return control
