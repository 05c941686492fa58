"""Claim: the higher priority comes first, equals in the order of their coming, what is put back before its equals; and
no line of a priority is kept that nobody stands in."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from thoroughness import examples

from arbd.core.lines import Lines

priorities = st.integers(-2, 2)


class AsAList(RuleBasedStateMachine):
    """The model is a list in the order of taking, searched from one end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Lines[tuple[int, int]] = Lines()
        self.model: list[tuple[int, int]] = []  # priority, number
        self.number = 0

    def new(self, priority: int) -> tuple[int, int]:
        self.number += 1
        return priority, self.number

    @rule(priority=priorities)
    def append(self, priority: int) -> None:
        item = self.new(priority)
        self.lines.append(item, priority)
        self.model.insert(sum(1 for other, _ in self.model if other >= priority), item)

    @rule(priority=priorities)
    def appendleft(self, priority: int) -> None:
        item = self.new(priority)
        self.lines.appendleft(item, priority)
        self.model.insert(sum(1 for other, _ in self.model if other > priority), item)

    @precondition(lambda self: self.model)
    @rule()
    def popleft(self) -> None:
        assert self.lines.popleft() == self.model.pop(0)

    @precondition(lambda self: not self.model)
    @rule()
    def popleft_of_nothing(self) -> None:
        with pytest.raises(IndexError):
            self.lines.popleft()

    @rule(remainder=st.integers(0, 2))
    def take_out(self, remainder: int) -> None:
        def unwanted(item: tuple[int, int]) -> bool:
            return item[1] % 3 == remainder

        assert self.lines.take_out(unwanted) == [item for item in self.model if unwanted(item)]
        self.model = [item for item in self.model if not unwanted(item)]

    @rule()
    def clear(self) -> None:
        self.lines.clear()
        self.model.clear()

    @invariant()
    def they_agree(self) -> None:
        assert list(self.lines) == self.model
        assert len(self.lines) == len(self.model)
        assert self.lines.head() == (self.model[0] if self.model else None)

    @invariant()
    def no_line_is_kept_for_nobody(self) -> None:
        used = {priority for priority, _ in self.model}
        assert len(self.lines._lines) == len(self.lines._order) == max(1, len(used))


TestAsAList = AsAList.TestCase
TestAsAList.settings = settings(max_examples=examples(100), stateful_step_count=40)
