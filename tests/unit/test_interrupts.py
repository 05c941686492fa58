"""The innermost function that is marked decides whether an exception may be raised; without a mark, it may."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest

from arbd.interrupts import call, interruptible, may_interrupt, take_turn, uninterruptible


def here() -> bool:
    return may_interrupt(sys._getframe())


@uninterruptible
def closed(inner: Callable[[], bool] = here) -> bool:
    return inner()


@interruptible
def opened(inner: Callable[[], bool] = here) -> bool:
    return inner()


@pytest.mark.parametrize(
    ("place", "may"),
    [
        (here, True),
        (closed, False),
        (opened, True),
        (lambda: closed(opened), True),
        (lambda: opened(closed), False),
        (lambda: closed(lambda: opened(closed)), False),
        (lambda: closed(lambda: bool(call(here))), True),
        (lambda: closed(lambda: bool(call(closed, (here,)))), False),
        (lambda: closed(lambda: max([1], key=lambda _: here()) == 1 and here()), False),
    ],
)
def test_the_innermost_mark_decides(place: Callable[[], bool], may: bool) -> None:
    assert place() is may


def test_nothing_is_no_place() -> None:
    assert may_interrupt(None)


def test_two_functions_that_look_the_same_are_two() -> None:
    makers = [eval("lambda: lambda: here()", {"here": here}) for _ in range(2)]  # equal code, as two authors may write
    first, second = (make() for make in makers)
    assert first.__code__ == second.__code__
    uninterruptible(first)
    assert (first(), second()) == (False, True)


def test_a_call_passes_arguments_and_result() -> None:
    assert call(divmod, (7, 2)) == (3, 1)
    assert call(dict, (), {"function": 1}) == {"function": 1}


def test_who_waits_for_a_turn_sleeps_in_between_and_has_it_then() -> None:
    lock = threading.Lock()
    lock.acquire()
    slept: list[int] = []

    def sleep(ns: int) -> None:
        slept.append(ns)
        if len(slept) == 2:
            lock.release()

    take_turn(lock, sleep)
    assert lock.locked()
    assert len(slept) == 2
