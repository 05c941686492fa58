"""Rates are differences of two reports of one daemon, by the daemon's own clock; else means since the start."""

from __future__ import annotations

import msgspec
from top_support import report, worker

from arbd.cli.top.rates import ActionRates, WorkerRates, rates
from arbd.control.reports import ActionReport
from arbd.model.link_stats import LinkStats


def test_between_two_reports() -> None:
    before = report(
        uptime_s=10.0,
        link=LinkStats("up", tasks=100, accepted=90),
        workers=[worker(0, age_s=9.0, tasks_done=50, busy_s=4.0, cpu_s=1.0)],
        verdicts={"success": 80, "error": 10, "limit": 0},
        actions=[ActionReport("order", 80, 10, 0)],
    )
    now = report(
        uptime_s=12.0,
        link=LinkStats("up", tasks=140, accepted=94),
        workers=[worker(0, age_s=11.0, tasks_done=60, busy_s=5.0, cpu_s=4.0)],
        verdicts={"success": 100, "error": 11, "limit": 0},
        actions=[ActionReport("order", 100, 11, 0)],
    )
    found = rates(before, now)
    assert (found.since_start, found.span_s, found.taken, found.accepted) == (False, 2.0, 20.0, 2.0)
    assert found.verdicts == {"success": 10.0, "error": 0.5, "limit": 0.0}
    assert found.workers == [WorkerRates(tasks=5.0, busy=0.5, cpu=1.5)]
    assert found.actions == {"order": ActionRates(10.0, 0.5, 0.0)}
    assert found.actions["order"].all == 10.5


def test_without_an_earlier_one_it_is_the_mean_since_the_start() -> None:
    now = report(
        uptime_s=20.0,
        link=LinkStats("up", tasks=100),
        workers=[worker(0, age_s=10.0, tasks_done=5, busy_s=5.0, cpu_s=1.0)],
        actions=[ActionReport("order", 40)],
    )
    found = rates(None, now)
    assert (found.since_start, found.span_s, found.taken) == (True, 20.0, 5.0)
    assert found.workers == [WorkerRates(0.5, 0.5, 0.1)]
    assert found.actions == {"order": ActionRates(2.0, 0.0, 0.0)}


def test_a_daemon_that_was_started_anew_is_another_one_even_with_the_same_number() -> None:
    """In a container each is number 1."""
    before = report(pid=1, uptime_s=500.0, actions=[ActionReport("order", 1000)])
    now = report(pid=1, uptime_s=2.0, actions=[ActionReport("order", 4)])
    assert rates(before, now).actions == {"order": ActionRates(2.0, 0.0, 0.0)}
    assert rates(msgspec.structs.replace(before, pid=2, uptime_s=1.0), now).since_start


def test_a_worker_in_place_of_another_begins_anew() -> None:
    before = report(uptime_s=10.0, workers=[worker(0, pid=7, age_s=9.0, tasks_done=100)])
    now = report(uptime_s=12.0, workers=[worker(0, pid=8, age_s=0.5, tasks_done=2)])
    assert rates(before, now).workers == [WorkerRates(4.0, 0.0, 0.0)]


def test_an_action_that_went_and_came_again_has_no_negative_rate() -> None:
    before = report(uptime_s=10.0, actions=[ActionReport("order", 100)])
    now = report(uptime_s=12.0, actions=[ActionReport("order", 1), ActionReport("new", 4)])
    assert rates(before, now).actions == {"order": ActionRates(), "new": ActionRates(2.0)}


def test_a_worker_of_no_age_divides_by_nothing() -> None:
    assert rates(None, report(uptime_s=0.0, workers=[worker(0, age_s=0.0)])).workers == [WorkerRates()]
