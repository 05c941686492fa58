"""What the kernel says of a process is understood, and nobody is held up by one that is gone."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from arbd.host import process_facts

STATUS = """Name:	arbd:worker-0
State:	T (stopped)
Threads:	3
SigPnd:	0000000000000000
ShdPnd:	0000001000000000
SigBlk:	0000000000000200
SigIgn:	0000000000001000
SigCgt:	0000001000000000
"""


def test_state_and_signals_are_read() -> None:
    facts = process_facts.parse(STATUS)
    assert (facts.state, facts.threads, facts.is_stopped, facts.has_ended) == ("T", 3, True, False)
    assert [facts.is_pending(37), facts.is_caught(37), facts.is_blocked(37)] == [True, True, False]
    assert [facts.is_pending(10), facts.is_caught(10), facts.is_blocked(10)] == [False, False, True]
    assert facts.in_words == "stopped"


@pytest.mark.parametrize("state", ["Z", "X"])
def test_one_that_has_ended_is_told(state: str) -> None:
    assert process_facts.parse(f"State:\t{state}\n").has_ended


def test_a_state_that_nobody_knows_is_told_by_its_letter() -> None:
    assert process_facts.parse("State:\tQ\n").in_words == "Q"
    assert process_facts.parse("").state == "?"


def test_this_process_is_seen() -> None:
    facts = process_facts.look(os.getpid())
    assert facts is not None
    assert facts.state == "R"
    assert facts.is_caught(signal.SIGINT)
    assert isinstance(process_facts.where(os.getpid()), str)


def test_one_that_is_gone_is_nobody() -> None:
    assert process_facts.look(2**22 + 1) is None
    assert process_facts.where(2**22 + 1) == ""


def test_the_start_is_read_behind_whatever_name_a_process_has() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = f"41 (a) 9 (b c) S 1 {' '.join(['0'] * 17)} {90 * ticks} 7 8"
    assert process_facts.started_of(stat, 1000.0) == 1090.0


def test_the_start_of_this_process_and_of_none() -> None:
    started_at = process_facts.started_at(os.getpid())
    assert started_at == pytest.approx(psutil.Process().create_time(), abs=1.5), "psutil knows the boot to a second"
    assert process_facts.started_at(2**22 + 1) is None
