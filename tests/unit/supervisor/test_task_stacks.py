"""A task that is stopped or killed leaves where it was, seldom; and the kill waits for that no longer than a moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import Rig, rig, tasks

from arbd.host import process_facts
from arbd.ipc import frame, notice
from arbd.supervisor import halt
from arbd.supervisor.task_stacks import EVERY_S, WAIT_S, TaskStacks

__all__ = ["rig"]
DUMP = 'Current thread 0x1 (most recent call first):\n  File "/x/a.py", line 3 in act\n'


class Dump:
    """The stacks of a worker: it answers at the look with that number."""

    def __init__(self, done_at: int = 1, trouble: str | None = None, error: OSError | None = None) -> None:
        self.done_at, self.trouble, self.error = done_at, trouble, error
        self.asked = self.looks = 0

    def ask(self, pid: int, send: Any) -> str | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.trouble

    def is_done(self, pid: int) -> bool:
        self.looks += 1
        return self.looks >= self.done_at

    def why_not(self, pid: int) -> str | None:
        return None if self.looks >= self.done_at else "it has not answered"

    def text(self) -> str:
        return DUMP if self.looks >= self.done_at else ""


class Told:
    """Stacks of tasks, with a clock that only moves when somebody waits; ``lines``: what went to the log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.lines: list[dict[str, Any]] = []
        self.stacks = TaskStacks(lambda: self.now, self.sleep)
        log = SimpleNamespace(warning=lambda event, **fields: self.lines.append({"event": event, **fields}))
        monkeypatch.setattr(self.stacks, "_log", log)
        monkeypatch.setattr(process_facts, "where", lambda pid: "  in a call")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def worker(self, dump: Dump) -> Any:
        return SimpleNamespace(stacks=dump, pid=7, slot=1, send_signal=None)

    def kill(self, dump: Dump, action: str = "act") -> str | None:
        worker, assignment = self.worker(dump), assignment_of(action)
        stack = self.stacks.take(worker, assignment)
        self.stacks.tell(worker, assignment, stack)
        return stack

    def stop(self, action: str = "act") -> None:
        self.stacks.stopped(self.worker(Dump()), assignment_of(action), "  there")


def assignment_of(action: str) -> Any:
    return SimpleNamespace(task=tasks("t", action=action)[0])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_one_that_is_killed_leaves_where_it_was(told: Told) -> None:
    assert told.kill(Dump(3)) == '  File "/x/a.py", line 3 in act'
    [line] = told.lines
    assert (line["event"], line["struck"], line["task_id"], line["action"]) == ("task_stack", "killed", "t", "act")
    assert (line["worker"], line["pid"], line["not_told"]) == (1, 7, 0)
    assert "in act" in line["stack"]


def test_one_that_does_not_answer_is_not_waited_for(told: Told) -> None:
    stack = told.kill(Dump(10**9))
    assert told.now - 100.0 <= WAIT_S + 0.001
    assert stack == "(it has not answered)\n  in a call"


def test_one_that_cannot_be_asked_is_not_waited_for_at_all(told: Told) -> None:
    assert told.kill(Dump(trouble="it is stopped")) == "(it is stopped)\n  in a call"
    assert told.now == 100.0


def test_what_fails_there_does_not_keep_the_kill(told: Told) -> None:
    assert "no descriptors" in (told.kill(Dump(error=OSError(24, "no descriptors"))) or "")


def test_the_second_of_an_action_is_counted_and_costs_nothing(told: Told) -> None:
    told.kill(Dump())
    second = Dump()
    assert told.kill(second) is None
    assert second.asked == 0
    told.stop()
    told.stop("other")
    assert [line["action"] for line in told.lines] == ["act", "other"]
    told.now += EVERY_S
    told.stop()
    assert (told.lines[-1]["struck"], told.lines[-1]["not_told"]) == ("stopped", 2)


def test_thousands_of_actions_do_not_hold_the_loop_up(told: Told) -> None:
    for number in range(5000):
        told.kill(Dump(10**9), f"action {number}")
    assert told.now - 100.0 <= 5 * WAIT_S
    assert len(told.lines) <= 5


# -- in the flow -----------------------------------------------------------------------------------------------------


def begun(rig: Rig) -> Any:
    rig.flow.take(tasks("a"))
    [worker] = [each for each in rig.workers if each.has]
    worker.begin("a")
    return worker


def test_a_kill_asks_before_and_tells_after(rig: Rig) -> None:
    worker = begun(rig)
    assert halt.kill(rig.flow, worker, worker.has[0])
    assert rig.stacks.asked == ["a"]
    assert rig.stacks.told == [("a", "killed", "somewhere")]


def test_one_that_ends_meanwhile_is_asked_and_not_told(rig: Rig) -> None:
    worker = begun(rig)
    assignment = worker.has[0]
    rig.pool.on_fence.append(lambda: worker.answer("a") if worker.has else None)
    assert halt.kill(rig.flow, worker, assignment)
    assert (rig.stacks.asked, rig.stacks.told) == (["a"], [])


def test_a_worker_that_says_where_a_task_was_stopped_is_heard(rig: Rig) -> None:
    worker = begun(rig)
    seq = worker.has[0].seq
    said = [notice.Stopped(seq, "  there"), notice.Stopped(seq + 1, "  of none")]
    worker.cell.records = [frame.encode_notice(notice.encode(each)) for each in said]
    worker.answer("a")
    rig.flow.collect()
    assert rig.stacks.told == [("a", "stopped", "  there")]
    assert rig.pool.heard == []
    assert list(rig.outcomes()) == ["a"]


def test_one_that_says_so_before_it_is_ready_is_damaged(rig: Rig) -> None:
    [worker, *_] = rig.workers
    worker.said_ready = False
    worker.cell.records = [frame.encode_notice(notice.encode(notice.Stopped(1, "")))]
    rig.flow.collect()
    assert rig.pool.given_up == ["result_ring_unreadable"]
