"""CPU time by action: all that was used between two looks is some action's, and what the start used is none's."""

from __future__ import annotations

from arbd.worker.action_cpu import ActionCpu, nowhere


def made() -> tuple[ActionCpu, memoryview]:
    words = memoryview(bytearray(16)).cast("Q")
    return ActionCpu(words, ["a", "b"]), words


def test_one_action_gets_all() -> None:
    cpu, words = made()
    cpu.begin(1000)
    cpu.turn_to("b", 0)
    cpu.share_out(1300, 5)
    assert words.tolist() == [0, 300]


def test_several_share_it_by_how_long_they_ran() -> None:
    cpu, words = made()
    cpu.begin(0)
    for action, busy_ns in (("a", 0), ("b", 10), ("a", 20)):  # a: 10, b: 10, a: 20
        cpu.turn_to(action, busy_ns)
    cpu.share_out(400, 40)
    assert words.tolist() == [300, 100]
    cpu.share_out(440, 50)  # only what has run since
    assert words.tolist() == [340, 100]


def test_what_is_used_between_tasks_counts_with_the_next() -> None:
    cpu, words = made()
    cpu.begin(0)
    cpu.share_out(50, 0)
    cpu.turn_to("a", 0)
    cpu.share_out(80, 1)
    assert words.tolist() == [80, 0]


def test_runs_of_no_length_leave_their_time_to_the_next() -> None:
    cpu, words = made()
    cpu.begin(0)
    cpu.turn_to("a", 0)
    cpu.turn_to("b", 0)
    cpu.share_out(80, 0)
    assert words.tolist() == [0, 0]
    cpu.share_out(90, 1)
    assert words.tolist() == [0, 90]


def test_one_that_nobody_reads_needs_no_actions() -> None:
    nowhere([]).share_out(5, 0)
