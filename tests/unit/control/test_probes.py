"""Alive and ready: a supervisor that says nothing is not alive, and one that is alive may still not be ready."""

from __future__ import annotations

import pytest
from test_exposition import status

from arbd.control.probes import STALE_S, live, ready
from arbd.control.reports import StatusReport
from arbd.model.link_stats import LinkStats


def test_a_supervisor_that_has_just_spoken_is_alive() -> None:
    assert live(STALE_S).is_good


def test_one_that_has_said_nothing_for_long_is_not_and_the_reason_says_so() -> None:
    verdict = live(STALE_S + 0.3)
    assert (verdict.is_good, verdict.lines) == (
        False,
        ("the supervisor has said nothing for 5.3 s: it is stopped, or stuck",),
    )
    assert ready(STALE_S + 0.3, status()) == verdict


def test_one_that_takes_tasks_is_ready() -> None:
    assert ready(0.1, status()).lines == ("ready: 1 of 1 workers serve",)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (status(state="draining"), "drains"),
        (status(link=LinkStats(state="down")), "the hub h:1 is not reached"),
        (status(workers=[]), "no worker serves"),
        (None, "has not said yet"),
    ],
)
def test_one_that_does_not_says_why_and_is_alive(report: StatusReport | None, reason: str) -> None:
    verdict = ready(0.1, report)
    assert not verdict.is_good
    assert reason in verdict.lines[0]
    assert live(0.1).is_good
