"""A task that is handed out again while under way runs once, and its one result answers for all, wherever it is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flow_support import Rig, rig, tasks

from arbd.model.link_stats import LinkStats
from arbd.model.task import Task
from arbd.supervisor import joins as joins_module

__all__ = ["rig"]


class Lines:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **words: self.lines.append((level, event, words))

    def of(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        return [(level, words) for level, each, words in self.lines if each == event]


@pytest.fixture
def log(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Lines:
    lines = Lines()
    monkeypatch.setattr(rig.flow._joins, "_log", lines)
    rig.stats = LinkStats(protocol="unary")
    return lines


def test_it_joins_while_it_runs(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a"))
    for _ in range(3):
        rig.loop.now += 1.0
        rig.flow.take(tasks("a"))
    assert rig.sent == ["a"]
    assert rig.flow.under_way.joined == 3
    rig.workers[2].answer()
    rig.flow.collect()
    assert list(rig.results()) == ["a"]
    [(level, words)] = log.of("task_joined")
    assert (level, words["task_id"], words["after_s"]) == ("info", "a", 1.0)


def test_it_joins_while_it_waits_for_a_worker(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a", "b", "c", "d"))
    assert rig.flow.dispatcher.backlog == 1
    rig.flow.take(tasks("d"))
    assert rig.flow.dispatcher.in_flight() == 4


def test_it_joins_while_its_result_waits(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a"))
    rig.workers[2].answer()
    rig.flow.collect()
    rig.flow.take(tasks("a"))
    taken = rig.flow.outbox.take()
    assert taken is not None
    rig.flow.take(tasks("a"))  # while a sender has it
    rig.flow.outbox.put_back(taken)
    rig.flow.take(tasks("a"))
    assert rig.sent == []
    assert list(rig.results()) == ["a"]
    rig.flow.take(tasks("a"))  # accepted: from now on it is another task
    assert rig.sent == ["a"]


def test_it_joins_the_verdict_of_a_task_that_was_refused(rig: Rig, log: Lines) -> None:
    rig.flow.take([Task("a", "unknown")])
    rig.flow.take([Task("a", "unknown")])
    assert list(rig.results()) == ["a"]


def test_the_same_id_twice_in_one_batch_runs_once(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a", "b", "a", "a"))
    assert sorted(rig.sent) == ["a", "b"]
    assert rig.flow.under_way.joined == 2
    assert not log.of("timeout_longer_than_lease")


def test_tasks_without_an_id_never_join(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("", ""))
    rig.flow.take(tasks(""))
    assert rig.flow.dispatcher.in_flight() == 3
    assert rig.flow.under_way.joined == 0


def test_a_cancel_is_for_every_hand_out_of_the_id(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a", "b", "c", "w"))
    rig.flow.take(tasks("a", "w"))
    rig.flow.cancel(["a", "w"])
    assert sum(worker.signals for worker in rig.workers) == 1
    assert "CANCELLED" in rig.results()["w"]
    rig.flow.take(tasks("a"))  # still ending: it gets that run's verdict
    assert sorted(rig.sent) == ["a", "b", "c"]


def test_another_task_under_the_same_id_joins_with_a_warning(rig: Rig, log: Lines) -> None:
    rig.flow.take([Task("a", "act", b"1")])
    rig.flow.take([Task("a", "act", b"secret"), Task("a", "other", b"1")])
    assert rig.sent == ["a"]
    [(level, words)] = log.of("task_id_used_twice")
    assert level == "warning"
    assert "secret" not in str(words)


def test_what_waits_during_a_reload_does_not_join_itself(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a", "b", "c", "w"))
    rig.set_actions("act", "other")
    assert rig.flow.under_way.joined == 0
    assert rig.waiting() == {"a", "b", "c", "w"}


def test_a_worker_s_death_ends_the_run_for_all(rig: Rig, log: Lines) -> None:
    rig.flow.take(tasks("a"))
    rig.flow.take(tasks("a"))
    worker = rig.workers[2]
    worker.begin("a")
    rig.flow.settle(worker, 1)  # type: ignore[arg-type] # a fake
    assert "WORKER_LOST" in rig.results()["a"]
    assert len(rig.flow.under_way) == 0


def test_what_joins_keeps_a_slot_back_for_a_moment(rig: Rig, log: Lines) -> None:
    """Or a hub that gives the same task to every poll would be asked without end."""
    rig.flow.take(tasks("a"))
    free = rig.flow.free_slots()
    rig.flow.take(tasks("a", "a"))
    assert rig.flow.free_slots() == free - 2
    for _ in range(50):
        rig.flow.take(tasks("a"))
    assert rig.flow.free_slots() == 0
    rig.told.clear()
    rig.loop.step(0.03)
    assert rig.flow.free_slots() == free
    assert rig.told == ["slots"]
    rig.flow.take(tasks("a"))
    rig.flow.close()
    assert rig.loop.later == []


def test_an_action_that_may_outlast_the_lease_is_warned_of_once(rig: Rig, log: Lines) -> None:
    rig.set_actions("act", timeout=60.0)
    rig.flow.take(tasks("a", "b"))
    rig.loop.now += 2.0
    rig.flow.take(tasks("a", "b"))
    [(level, words)] = log.of("timeout_longer_than_lease")
    assert level == "warning"
    assert (words["action"], words["timeout"], words["lease_s"]) == ("act", 60.0, 2.0)
    assert "timeout=" in words["hint"]


@pytest.mark.parametrize(
    ("timeout", "protocol"), [(1.5, "unary"), (60.0, "stream")], ids=["shorter", "renewed by the stream"]
)
def test_no_warning_where_no_lease_ends_too_early(rig: Rig, log: Lines, timeout: float, protocol: str) -> None:
    rig.stats.protocol = protocol
    rig.set_actions("act", timeout=timeout)
    rig.flow.take(tasks("a"))
    rig.loop.now += 2.0
    rig.flow.take(tasks("a"))
    assert len(log.of("task_joined")) == 1
    assert not log.of("timeout_longer_than_lease")


def test_a_lease_that_the_hub_tells_is_compared_with_every_action(rig: Rig, log: Lines) -> None:
    rig.set_actions("act", "other", timeout=60.0)
    for _ in range(2):
        rig.flow.note_lease(30.0)
    assert [words["action"] for _, words in log.of("timeout_longer_than_lease")] == ["act", "other"]
    assert all("after 30 s" in words["hint"] for _, words in log.of("timeout_longer_than_lease"))
    rig.set_actions("act", "third", timeout=45.0)  # after a reload
    assert [words["action"] for _, words in log.of("timeout_longer_than_lease")] == ["act", "other", "third"]
    rig.flow.take(tasks("a"))
    rig.loop.now += 30.0
    rig.flow.take(tasks("a"))
    assert len(log.of("timeout_longer_than_lease")) == 3


def test_thousands_of_them_are_no_thousands_of_lines(rig: Rig, log: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins_module, "_MOST_SAID", 3)
    for _ in range(2):
        rig.flow.take(tasks(*map(str, range(10))))
    levels = [level for level, _ in log.of("task_joined")]
    assert levels == ["info"] * 3 + ["debug"] * 7


def test_a_log_that_fails_keeps_no_task_from_its_worker(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    rig.flow.take(tasks("a"))
    monkeypatch.setattr(rig.flow._joins, "note", fail)
    with pytest.raises(RuntimeError):
        rig.flow.take(tasks("a", "b"))
    assert sorted(rig.sent) == ["a", "b"]


def test_something_unexpected_gives_no_second_verdict_to_an_id(rig: Rig, log: Lines) -> None:
    for worker in rig.workers:
        worker.error["b"] = RuntimeError("injected")
    rig.flow.take(tasks("a"))
    with pytest.raises(RuntimeError):
        rig.flow.take(tasks("b", "a", "c", "c"))
    assert set(rig.results()) == {"c"}
    assert rig.waiting() == {"a", "b"}
    rig.flow.take(tasks("x"))
    assert time.monotonic() == rig.loop.now


def test_ids_leave_when_their_results_do(rig: Rig, log: Lines) -> None:
    for number in range(500):
        rig.flow.take(tasks(str(number)))
        for worker in rig.workers:
            worker.answer()
        rig.flow.collect()
        rig.results()
    assert len(rig.flow.under_way) == 0
