"""A report says of every worker what it is at that moment, whatever its page holds, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from flow_support import FakeWorker, Rig, rig, tasks

from arbd import logs
from arbd.control.reports import ActionReport, OutOfService, PausedAction, Replacement, RunningTask
from arbd.core.history import History, Why
from arbd.core.lifecycle import State
from arbd.host import cpu_clock, footprint
from arbd.ipc.cell import Running
from arbd.model.link_stats import LinkStats
from arbd.model.task import Task
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.slots import Trouble

__all__ = ["rig"]

SECOND_NS = 1_000_000_000
BEGAN_AT_S = 100.0  # of the clock of the rig


class Totals:
    """What a worker's page counts: tasks done, nanoseconds busy, nanoseconds of CPU."""

    def __init__(self, *totals: int) -> None:
        self._totals = totals

    def __call__(self) -> tuple[int, ...]:
        return self._totals


@pytest.fixture(autouse=True)
def cpu_clocks(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """CPU seconds of processes, by pid: those of the rig are none, and their numbers somebody else's."""
    used: dict[int, float] = {}
    monkeypatch.setattr(cpu_clock, "used_s", lambda pid: used.get(pid, 0.0))
    return used


def reporter_of(rig: Rig, *, is_draining: bool = False) -> Reporter:
    """A reporter, whose workers are as old as the flow, on CPUs of their number."""
    settings: Any = rig.flow._settings
    settings.name, settings.hub_url = "prov", "hub:1"
    pool: Any = rig.pool
    pool.cpus_of = lambda worker: (worker.id,)
    rig.stats = LinkStats()
    for worker in rig.workers:
        of_worker: Any = worker
        of_worker.spawned_at_ns = round(BEGAN_AT_S * SECOND_NS)
        of_worker.cell.totals = Totals(7, 2 * SECOND_NS, SECOND_NS)
    return Reporter(settings, rig.flow, lambda: "draining" if is_draining else None)


def busy(rig: Rig, *ids: str) -> FakeWorker:
    """The worker that has these tasks, all of them."""
    rig.learn_that_tasks_are_short()
    rig.flow.take(tasks(*ids))
    [worker] = [each for each in rig.workers if each.has]
    return worker


def test_the_daemon_is_told_with_its_counts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "lines_lost", lambda: 5)
    reporter = reporter_of(rig)
    rig.loop.now += 60.0
    rig.flow.take([Task("x", "unknown"), *tasks(*map(str, range(5)))])
    status = reporter.status()
    assert (status.provider, status.hub, status.state) == ("prov", "hub:1", "serving")
    assert status.uptime_s == 60.0
    assert (status.in_flight, status.backlog) == (5, 2)
    assert (status.outbox, status.outbox_limit) == (1, 100)
    assert status.verdicts == {"success": 0, "error": 1, "limit": 0}
    assert status.log_lines_lost == 5
    assert status.joined == 0
    rig.flow.take(tasks("0"))
    assert reporter.status().joined == 1


def test_paused_actions_are_told_with_what_waits_for_them(rig: Rig) -> None:
    reporter = reporter_of(rig)
    rig.flow.pause("act")
    rig.flow.take(tasks("a", "b"))
    rig.loop.now += 5.0
    status = reporter.status()
    assert status.paused == [PausedAction("act", waiting=2, refused=0, for_s=5.0)]
    assert (status.in_flight, status.backlog) == (2, 0)


def test_the_link_is_told_as_it_counts_itself(rig: Rig) -> None:
    reporter = reporter_of(rig)
    rig.stats.polls = 3
    rig.stats.tasks = 2
    link = reporter.status().link
    assert (link.polls, link.tasks, link.links) == (3, 2, [])


def test_an_idle_worker_is_told(rig: Rig) -> None:
    reporter = reporter_of(rig)
    rig.loop.now += 10.0
    [worker, *_] = reporter.status().workers
    assert (worker.slot, worker.pid, worker.cpus, worker.state) == (1, 1, (1,), "serving")
    assert (worker.age_s, worker.tasks_done, worker.busy_s, worker.cpu_s) == (10.0, 7, 2.0, 1.0)
    assert (worker.waiting, worker.running) == (0, None)


def test_one_that_runs_a_task_is_told_with_that_and_what_waits_behind_it(rig: Rig) -> None:
    reporter = reporter_of(rig)
    worker = busy(rig, "a", "b", "c")
    worker.begin("a", round(rig.loop.now * SECOND_NS))
    rig.loop.now += 0.5
    [report] = [each for each in reporter.status().workers if each.slot == worker.slot]
    assert report.running == RunningTask("a", "act", 0.5, 1.0)
    assert report.waiting == 2
    assert report.busy_s == 2.5


def test_the_cpu_time_of_a_task_that_runs_is_told_before_it_has_ended(rig: Rig, cpu_clocks: dict[int, float]) -> None:
    reporter = reporter_of(rig)
    rig.workers[1].pid = 0  # it has no process yet
    cpu_clocks |= {0: 99.0, 1: 4.5, 3: 0.5}
    assert [each.cpu_s for each in reporter.status().workers] == [4.5, 1.0, 1.0]


def test_actions_are_told_with_their_verdicts_and_what_runs(rig: Rig) -> None:
    reporter = reporter_of(rig)
    worker = busy(rig, "a", "b")
    worker.begin("a", round(rig.loop.now * SECOND_NS))
    rig.flow.take([Task("x", "unknown"), Task("y", "as unknown")])
    [act, others] = [each for each in reporter.status().actions if each.name != "slow"]
    assert act == ActionReport("act", running=1, run_s=act.run_s, timeout_s=1.0)
    assert act.run_s is not None
    assert others == ActionReport("", error=2)


@pytest.mark.parametrize("page", ["before its first", "finished", "unknown number"])
def test_one_that_has_tasks_and_runs_none_has_them_waiting(rig: Rig, page: str) -> None:
    reporter = reporter_of(rig)
    worker = busy(rig, "a", "b")
    now_ns = round(rig.loop.now * SECOND_NS)
    first = worker.has[0].seq
    pages = {"before its first": (0, 0), "finished": (first, 0), "unknown number": (first + 1000, now_ns)}
    worker.cell.runs = Running(*pages[page])
    [report] = [each for each in reporter.status().workers if each.slot == worker.slot]
    assert (report.running, report.waiting) == (None, 2)


def test_a_beginning_in_the_future_is_none(rig: Rig) -> None:
    """Its page is the worker's to damage."""
    reporter = reporter_of(rig)
    worker = busy(rig, "a")
    worker.begin("a", 1 << 62)
    [report] = [each for each in reporter.status().workers if each.running]
    assert report.running is not None
    assert report.running.elapsed_s == 0


def test_workers_are_in_the_order_of_their_slots_and_one_without_tasks_to_come_is_among_them(rig: Rig) -> None:
    reporter = reporter_of(rig)
    [first, *others] = rig.workers
    first.slot = 9
    first.state = State.STARTING
    rig.flow.dispatcher.remove_worker(first.id, 0)
    found = reporter.status().workers
    assert [each.slot for each in found] == [*(worker.slot for worker in others), 9]
    assert found[-1].state == "starting"


@pytest.mark.parametrize(
    ("states", "is_draining", "expected"),
    [
        ([State.STARTING, State.SERVING, State.RETIRING], False, "serving"),
        ([State.STARTING, State.STARTING, State.RETIRING], False, "starting"),
        ([State.SERVING, State.SERVING, State.SERVING], True, "draining"),
    ],
)
def test_the_daemon_is_in_one_of_three_states(rig: Rig, states: list[State], is_draining: bool, expected: str) -> None:
    reporter = reporter_of(rig, is_draining=is_draining)
    for worker, state in zip(rig.workers, states, strict=True):
        worker.state = state
    assert reporter.status().state == expected


def test_limits_are_told_by_the_slots_of_workers(rig: Rig) -> None:
    reporter = reporter_of(rig)
    rig.workers[0].slot = 9
    asked: list[dict[int, int]] = []
    rig.pool.limits.report = asked.append
    reporter.limits()
    assert asked == [{1: 9, 2: 2, 3: 3}]


# -- what workers hold, and why they were replaced -------------------------------------------------------------------


def test_what_a_worker_holds_is_told_where_it_can_be_seen(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = reporter_of(rig)
    rig.workers[2].pid = 0  # not yet there
    monkeypatch.setattr(footprint, "rss_of", lambda pid: pid * 1000)
    monkeypatch.setattr(footprint, "descriptors_of", lambda pid: None if pid == 2 else 7)
    found = [(each.rss, each.descriptors, each.generation) for each in reporter.status().workers]
    assert found == [(1000, 7, 1), (2000, None, 1), (None, None, 1)]


def test_the_last_replacements_and_the_slots_out_of_service_are_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = reporter_of(rig)
    now_ns = round(rig.loop.now * SECOND_NS)
    history = History()
    history.note(now_ns - 3 * SECOND_NS, 1, Why("interrupted", "its deadline struck", "slow"))
    trouble = Trouble("unfit", "no database", 4, now_ns + 2 * SECOND_NS)
    pool: Any = rig.pool
    pool.history = history
    pool.out_of_service = lambda: {2: trouble}
    status = reporter.status()
    assert status.replacements == [Replacement(1, "interrupted", "its deadline struck", "slow", 3.0)]
    assert status.out_of_service == [OutOfService(2, "unfit", "no database", 4, 2.0)]


def test_the_actions_that_end_workers_are_told_the_worst_first_and_not_without_end(rig: Rig) -> None:
    reporter = reporter_of(rig)
    for number in range(30):
        rig.flow.culprits.ended(f"a{number}", 1)
    for worker_id in range(3):
        rig.flow.culprits.ended("worst", worker_id)
    told = reporter.status().ending_actions
    assert list(told.items())[:2] == [("worst", 3), ("a0", 1)]
    assert len(told) == 20


def test_how_many_workers_the_next_start_has_is_asked_each_time(rig: Rig) -> None:
    """A reload may have found another number."""
    reporter, numbers = reporter_of(rig), iter([2, 8])
    assert reporter.status().workers_at_next_start == rig.pool.size
    asked = Reporter(reporter.settings, rig.flow, lambda: None, lambda: next(numbers))
    assert [asked.status().workers_at_next_start for _ in range(2)] == [2, 8]
