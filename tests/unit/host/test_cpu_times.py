"""How busy CPUs were is read from the kernel's file, whatever lines that has, and told for what is in both readings."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.host import cpu_times
from arbd.host.cpu_times import CpuTime

STAT = """cpu  130 0 40 820 10 0 0 0 7 0
cpu0 100 1 20 800 10 2 3 4 50 6
cpu12 30 0 20 20 0 0 0 0 0 0
cpu3 1 2
cpux 1 2 3 4 5
cpu4 a b c d e
intr 123 4

"""


def test_lines_of_cpus_are_read_and_others_are_not() -> None:
    assert cpu_times.parsed(STAT) == {0: CpuTime(130, 940), 12: CpuTime(50, 70)}


def test_the_share_of_each_cpu_between_two_readings() -> None:
    before = {0: CpuTime(100, 1000), 1: CpuTime(5, 10), 2: CpuTime(5, 10), 3: CpuTime(50, 100)}
    now = {0: CpuTime(175, 1100), 1: CpuTime(5, 10), 3: CpuTime(40, 200), 4: CpuTime(1, 1)}
    assert cpu_times.shares(before, now) == {0: 0.75, 3: 0.0}


def test_this_machine_s_are_read() -> None:
    assert all(0 <= time.busy <= time.total for time in cpu_times.read().values())
    assert cpu_times.read()


def test_where_nobody_may_look_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("builtins.open", refuse)
    assert cpu_times.read() == {}
