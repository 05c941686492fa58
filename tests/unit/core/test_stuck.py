"""A task that cannot be handed over is given up after a while of trying; time in which nobody tried does not count."""

from __future__ import annotations

from arbd.core.dispatch import Assignment
from arbd.core.stuck import GIVE_UP_S, Stuck
from arbd.model.task import Task

ONE, OTHER = Assignment(1, Task("a", "act"), 1.0), Assignment(2, Task("b", "act"), 1.0)


def try_for(stuck: Stuck, assignment: Assignment, seconds: float, begin: float = 0.0, every_s: float = 0.5) -> None:
    for number in range(round(seconds / every_s) + 1):
        stuck.tried(assignment, begin + number * every_s)


def test_a_task_is_given_up_after_a_while_of_trying() -> None:
    stuck = Stuck()
    try_for(stuck, ONE, GIVE_UP_S)
    assert not stuck.is_given_up(ONE)
    stuck.tried(ONE, GIVE_UP_S + 0.1)
    assert stuck.is_given_up(ONE)
    assert not stuck.is_given_up(OTHER)


def test_the_next_one_has_its_own_time() -> None:
    stuck = Stuck()
    try_for(stuck, ONE, GIVE_UP_S + 1)
    try_for(stuck, OTHER, GIVE_UP_S - 1, begin=GIVE_UP_S + 1)
    assert not stuck.is_given_up(OTHER)


def test_time_in_which_nobody_tried_does_not_count() -> None:
    stuck = Stuck()
    stuck.tried(ONE, 0.0)
    stuck.tried(ONE, 60.0)
    stuck.tried(ONE, 60.5)
    assert not stuck.is_given_up(ONE)
