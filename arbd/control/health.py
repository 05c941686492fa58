"""Whether a daemon does its work, judged by its report: for load balancers, and for what restarts containers. Pure.

Good is a daemon that takes tasks: it is not asked to drain, a worker serves, and the hub is up. One slot out of service
or a paused action does not make it bad: the others go on.
"""

from __future__ import annotations

from typing import Final

from arbd.control.reports import StatusReport

_NOT_SERVING: Final = {
    "starting": "it is starting",
    "draining": "it takes no more tasks: it drains",
    "drained": "it takes no more tasks: it is drained, until `arbd resume`",
}
_HUB: Final = {
    "connecting": "has not been reached yet",
    "down": "is not reached",
    "refused": "refuses the token",
}


def serving(report: StatusReport) -> int:
    """How many workers serve."""
    return sum(worker.state == "serving" for worker in report.workers)


def problems(report: StatusReport) -> list[str]:
    """Why it is not good, each in words; none: it is."""
    found = []
    if report.state != "serving":
        found.append(_NOT_SERVING.get(report.state, f"it is {report.state}"))
    if report.link.state != "up":
        found.append(f"the hub {report.hub} {_HUB.get(report.link.state, f'is {report.link.state}')}")
    if not serving(report):
        why = f": {report.out_of_service[0].reason}" if report.out_of_service else ""
        found.append(f"no worker serves{why}")
    return found
