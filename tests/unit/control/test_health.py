"""A daemon is good if it takes tasks; each reason why not is told, and what does not keep it from that is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from arbd.control.health import problems, serving
from arbd.control.reports import OutOfService, PausedAction, StatusReport, WorkerReport
from arbd.model.link_stats import LinkStats

SERVES = WorkerReport(0, 42, (0,), "serving", 1.0, 0, 0.0, 0.0, 0)
RETIRES = msgspec.structs.replace(SERVES, slot=1, state="retiring")
UNFIT = OutOfService(1, "unfit", "no database", 4, 2.0)
GOOD = StatusReport(
    *("prices", "0.1.0", 41, "serving", 9.0, "hub:1", LinkStats("up"), [SERVES, RETIRES]),
    *(0, 0, 0, 100),
    verdicts={},
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"out_of_service": [UNFIT], "paused": [PausedAction("order", 1, 0, 1.0)]}, []),
        ({"outbox": 100, "backlog": 10}, []),
        ({"link": LinkStats("down")}, ["the hub hub:1 is not reached"]),
        ({"link": LinkStats("refused")}, ["the hub hub:1 refuses the token"]),
        ({"link": LinkStats("connecting")}, ["the hub hub:1 has not been reached yet"]),
        ({"link": LinkStats("of a later release")}, ["the hub hub:1 is of a later release"]),
        ({"state": "draining"}, ["it takes no more tasks: it drains"]),
        ({"state": "drained"}, ["it takes no more tasks: it is drained, until `arbd resume`"]),
        ({"state": "of a later release"}, ["it is of a later release"]),
        ({"workers": [RETIRES]}, ["no worker serves"]),
        (
            {"state": "starting", "workers": [], "out_of_service": [UNFIT], "link": LinkStats("down")},
            ["it is starting", "the hub hub:1 is not reached", "no worker serves: no database"],
        ),
    ],
)
def test_problems(changes: dict[str, Any], expected: list[str]) -> None:
    assert problems(msgspec.structs.replace(GOOD, **changes)) == expected


def test_workers_that_serve_are_counted() -> None:
    assert serving(GOOD) == 1
