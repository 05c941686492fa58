"""A process's CPU clock grows while it runs; of one that is gone nothing is known."""

from __future__ import annotations

import os

import pytest

from arbd.host import cpu_clock

NOBODY = 2**22 + 1  # above the largest number of a process


def test_it_grows_while_the_process_runs() -> None:
    before = cpu_clock.used_s(os.getpid())
    sum(range(200_000))
    assert cpu_clock.used_s(os.getpid()) > before > 0


def test_of_one_that_is_gone_nothing_is_known() -> None:
    assert cpu_clock.used_s(NOBODY) == 0.0
    with pytest.raises(OSError, match=r"\[Errno"):
        cpu_clock.used_ns(NOBODY)
