"""An outcome is offered until the hub has it, to one sender at a time, and nothing is ever lost."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from thoroughness import examples

from arbd.core.outbox import MemoryOutbox, Outbox, Verdicts
from arbd.errors import InvariantError
from arbd.model.task import Outcome, Task


def outcome(number: int) -> Outcome:
    return Outcome(Task(str(number), "act"), "success", b"{}")


class AgainstModel(RuleBasedStateMachine):
    """Any interleaving of the four verbs against two lists."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox: Outbox = MemoryOutbox()
        self.waiting: list[Outcome] = []
        self.with_sender: list[Outcome] = []
        self.appended = 0

    @rule()
    def append(self) -> None:
        self.appended += 1
        self.outbox.append(outcome(self.appended))
        self.waiting.append(outcome(self.appended))

    @rule()
    def take(self) -> None:
        expected = self.waiting.pop(0) if self.waiting else None
        assert self.outbox.take() == expected
        if expected is not None:
            self.with_sender.append(expected)

    @precondition(lambda self: self.with_sender)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        self.outbox.ack(self._any_sent(data), 0.0)

    @precondition(lambda self: self.with_sender)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        failed = self._any_sent(data)
        self.outbox.put_back(failed)
        self.waiting.insert(0, failed)

    @precondition(lambda self: not self.with_sender)
    @rule()
    def nobody_can_give_back_what_nobody_took(self) -> None:
        for give_back in (lambda given: self.outbox.ack(given, 0.0), self.outbox.put_back):
            with pytest.raises(InvariantError, match="an outcome came back that no sender had taken"):
                give_back(outcome(0))

    def _any_sent(self, data: st.DataObject) -> Outcome:
        return self.with_sender.pop(data.draw(st.integers(0, len(self.with_sender) - 1)))

    def teardown(self) -> None:
        """Whatever happened: what has not been acknowledged is all there, once."""
        assert len(self.outbox) == len(self.waiting) + len(self.with_sender)
        assert [self.outbox.take() for _ in self.waiting] == self.waiting
        assert self.outbox.take() is None


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(max_examples=examples(60), stateful_step_count=30)


def test_what_failed_comes_before_what_is_newer() -> None:
    outbox = MemoryOutbox()
    for number in (1, 2, 3):
        outbox.append(outcome(number))
    first = outbox.take()
    assert first is not None
    outbox.put_back(first)
    assert [outbox.take() for _ in range(4)] == [outcome(1), outcome(2), outcome(3), None]


def test_length_counts_what_is_with_senders() -> None:
    outbox = MemoryOutbox()
    outbox.append(outcome(1))
    outbox.append(outcome(2))
    taken = outbox.take()
    assert len(outbox) == 2
    assert taken is not None
    outbox.ack(taken, 0.0)
    assert len(outbox) == 1


def test_the_first_is_what_would_be_taken() -> None:
    outbox = MemoryOutbox()
    assert outbox.first is None
    outbox.append(outcome(1))
    outbox.append(outcome(2))
    assert outbox.first == outbox.take() == outcome(1)
    assert outbox.first == outcome(2)


def test_verdicts_are_counted_by_action_also_those_that_the_outbox_does_not_take() -> None:
    class Full(MemoryOutbox):
        def append(self, outcome: Outcome) -> None:
            raise OSError

    for outbox in (MemoryOutbox(), Full()):
        verdicts = Verdicts(outbox)
        verdicts.tally.offer(["act"])
        for task, status in ((Task("1", "act"), "success"), (Task("2", "gone"), "error")):
            with suppress(OSError):
                verdicts.add(Outcome(task, status, b"{}"))  # type: ignore[arg-type] # it is one of three
        assert verdicts.counts == {"success": 1, "error": 1, "limit": 0}
        assert verdicts.total == len(verdicts) == 2
        assert [action for action, _ in verdicts.tally] == ["act", ""]
