"""A result that is put aside lets others go first, comes back when its time has come, and is never lost."""

from __future__ import annotations

import math

import pytest

from arbd.core.backoff import Backoff
from arbd.core.outbox import MemoryOutbox
from arbd.links.unary.messages import Form
from arbd.links.unary.sending import Delivery, SendQueue
from arbd.model.task import Outcome, Task


def make(*ids: str) -> tuple[MemoryOutbox, SendQueue]:
    outbox = MemoryOutbox()
    for task_id in ids:
        outbox.append(Outcome(Task(task_id, "a"), "success", b"{}"))
    return outbox, SendQueue(outbox, lambda: Backoff(1.0, 60.0, jitter=float))


def taken(queue: SendQueue, now: float) -> Delivery:
    delivery = queue.take(now)
    assert delivery is not None
    return delivery


def test_a_deferred_result_lets_the_next_one_go_first() -> None:
    outbox, queue = make("poison", "good")
    queue.defer(taken(queue, 0.0), now=0.0)
    assert taken(queue, 0.5).outcome.task.id == "good"
    assert queue.take(0.9) is None
    assert queue.due_at() == 1.0
    assert taken(queue, 1.0).outcome.task.id == "poison"
    assert len(outbox) == 2


def test_each_result_has_a_back_off_of_its_own() -> None:
    _, queue = make("a", "b")
    for now, due in ((0.0, 1.0), (1.0, 3.0), (3.0, 7.0)):
        queue.defer(taken(queue, now), now)
        assert queue.due_at() == due
    queue.defer(taken(queue, 3.0), now=3.0)  # b, for the first time
    assert queue.due_at() == 4.0


def test_results_of_the_same_moment_keep_their_order() -> None:
    _, queue = make("a", "b", "c")
    deliveries = [taken(queue, 0.0) for _ in range(3)]
    for delivery in deliveries:
        queue.defer(delivery, now=0.0)
    assert [taken(queue, 1.0).outcome.task.id for _ in range(3)] == ["a", "b", "c"]


def test_a_result_shrinks_until_there_is_no_smaller_form() -> None:
    _, queue = make("a")
    forms = []
    delivery = taken(queue, 0.0)
    while queue.shrink(delivery, now=0.0):
        delivery = taken(queue, 0.0)
        forms.append(delivery.form)
    assert forms == [Form.NO_ECHO, Form.REPLACED]
    assert queue.take(0.0) is None


def test_a_flush_makes_everything_due() -> None:
    _, queue = make("a", "b")
    for now in (0.0, 0.0):
        queue.defer(taken(queue, now), now)
    queue.expedite()
    assert [taken(queue, 0.0).outcome.task.id for _ in range(2)] == ["a", "b"]


def test_what_was_put_aside_returns_to_the_outbox() -> None:
    outbox, queue = make("a")
    queue.defer(taken(queue, 0.0), now=0.0)
    queue.put_all_back()
    assert queue.due_at() == math.inf
    again = outbox.take()
    assert again is not None
    assert again.task.id == "a"


def test_an_outbox_that_raises_when_results_return_loses_none() -> None:
    class Faulty(MemoryOutbox):
        fails = True

        def put_back(self, outcome: Outcome) -> None:
            if self.fails:
                self.fails = False
                raise RuntimeError
            super().put_back(outcome)

    outbox = Faulty()
    for task_id in ("a", "b", "c"):
        outbox.append(Outcome(Task(task_id, "a"), "success", b"{}"))
    queue = SendQueue(outbox, lambda: Backoff(1.0, 60.0, jitter=float))
    for delivery in [taken(queue, 0.0) for _ in range(3)]:
        queue.defer(delivery, now=0.0)
    with pytest.raises(RuntimeError):
        queue.put_all_back()
    queue.put_all_back()
    assert len(outbox) == 3
    assert {outcome.task.id for _ in range(3) if (outcome := outbox.take()) is not None} == {"a", "b", "c"}
