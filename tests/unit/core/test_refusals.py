"""Refusals are counted one by one and told once a minute for each kind, none of them never."""

from __future__ import annotations

from typing import get_args

import pytest

from arbd.core.refusals import EVERY_NS, RefusalKind, RefusalLine, Refusals, kind_of
from arbd.model import response as shapes
from arbd.model.response import ProviderResponse

UNKNOWN: RefusalKind = "unknown action"


def test_the_first_of_a_kind_has_its_line_at_once() -> None:
    refusals = Refusals()
    assert refusals.note(UNKNOWN, "a", "t1", "no such", 5) == RefusalLine(UNKNOWN, 1, "a", "t1", "no such")
    line = refusals.note("payload invalid", "b", "t2", "no", 6)
    assert (line is not None and line.times, refusals.next_due_ns()) == (1, None)


def test_the_others_are_told_together_when_the_minute_is_over() -> None:
    refusals = Refusals()
    refusals.note(UNKNOWN, "a", "t1", "", 0)
    lines = [refusals.note(UNKNOWN, f"a{number}", f"t{number}", "", 1000 + number) for number in range(100)]
    assert (lines, refusals.next_due_ns()) == ([None] * 100, EVERY_NS)
    assert refusals.due(EVERY_NS - 1) == []
    assert refusals.due(EVERY_NS) == [RefusalLine(UNKNOWN, 100, "a99", "t99", "")]
    assert (refusals.due(EVERY_NS + 1), refusals.next_due_ns()) == ([], None)
    assert refusals.counts[UNKNOWN] == 101


def test_one_that_comes_after_the_minute_tells_of_those_before() -> None:
    refusals = Refusals()
    for number in range(3):
        refusals.note(UNKNOWN, "a", "t", "", number)
    line = refusals.note(UNKNOWN, "a", "t", "", EVERY_NS)
    assert line is not None
    assert line.times == 3


def test_no_refusal_is_untold_and_none_told_twice() -> None:
    refusals, told = Refusals(), 0
    for second in range(0, 400, 7):
        line = refusals.note(UNKNOWN, "a", "t", "", second * 1_000_000_000)
        told += line.times if line else 0
    told += sum(line.times for line in refusals.due(10_000 * 1_000_000_000))
    assert told == refusals.counts[UNKNOWN] == len(range(0, 400, 7))


def test_callers_words_forge_no_line() -> None:
    line = Refusals().note(UNKNOWN, "a\x1b[2J\n{", "t" * 5000, "\u202e", 0)
    assert line is not None
    assert all(text.isprintable() and len(text) <= 200 for text in (line.action, line.task_id, line.reason))


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (shapes.action_not_found("a", ["b"]), UNKNOWN),
        (shapes.action_not_found("", []), UNKNOWN),
        (shapes.payload_too_large(9, 5), "payload too large"),
        (shapes.payload_too_large(9, 5, "account"), "payload too large"),
        (shapes.expired("a"), "too late"),
        (shapes.error("The task's id has 9999 characters"), "id too long"),
        (shapes.aborted("a"), None),
        (shapes.no_resources("a", "no memory"), None),
        (shapes.paused("a", 3), None),
        (ProviderResponse("success"), None),
    ],
)
def test_what_the_supervisor_says_is_of_a_kind(response: ProviderResponse, kind: RefusalKind | None) -> None:
    assert kind_of(response) == kind


def test_every_kind_has_a_count_from_the_beginning() -> None:
    assert Refusals().counts == dict.fromkeys(get_args(RefusalKind), 0)
