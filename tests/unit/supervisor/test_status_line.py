"""The line for people says in words what the daemon does at that moment."""

from __future__ import annotations

import pytest

from arbd.supervisor.status_line import Phase, StatusFigures, status_line

SERVING = StatusFigures(tasks_per_s=1234.4, busy=7, workers=8, ready=8, slots=8, hub="up", protocol="stream")


@pytest.mark.parametrize(
    ("phase", "figures", "line"),
    [
        ("importing", StatusFigures(), "starting: importing the provider"),
        ("starting", StatusFigures(ready=1, slots=4), "starting: 1 of 4 workers have been ready"),
        ("waiting", StatusFigures(), "waiting for the hub: hub not reached yet"),
        ("waiting", StatusFigures(hub="down"), "waiting for the hub: hub not reached, trying again"),
        ("waiting", StatusFigures(hub="refused"), "waiting for the hub: hub refuses the token"),
        ("serving", SERVING, "serving: 1,234 tasks/s, 7 of 8 workers busy, hub connected (stream)"),
        (
            "serving",
            SERVING._replace(workers=6, busy=6, tasks_per_s=1.0, hub="down"),
            "serving: 1 task/s, 6 of 6 workers busy, 2 out of service, hub not reached, trying again",
        ),
        (
            "serving",
            SERVING._replace(reload_failed=True),
            "serving: 1,234 tasks/s, 7 of 8 workers busy, hub connected (stream); the last reload failed, see the log",
        ),
        (
            "reloading",
            SERVING._replace(reload_failed=True),
            "reloading: 1,234 tasks/s, 7 of 8 workers busy, hub connected (stream)",
        ),
        ("serving", SERVING._replace(hub="resting"), "serving: 1,234 tasks/s, 7 of 8 workers busy, hub resting"),
        ("draining", StatusFigures(tasks=1200, results=3), "draining: 1,200 tasks left"),
        ("draining", StatusFigures(tasks=1), "draining: 1 task left"),
        ("draining", StatusFigures(results=1), "draining: 1 result left for the hub"),
        ("draining", StatusFigures(), "draining: nothing left, workers end"),
        ("stopped", SERVING, "stopped"),
    ],
)
def test_the_line(phase: Phase, figures: StatusFigures, line: str) -> None:
    assert status_line(phase, figures) == line
