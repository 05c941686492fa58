"""How busy the CPUs of the machine have been, by all that runs there: ``/proc/stat``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_IDLE: Final = (3, 4)  # idle, and idle while the disk is waited for
_GUESTS: Final = 8  # the fields from there on are counted in earlier ones, too


class CpuTime(NamedTuple):
    """The time of one CPU since the machine was started, in the kernel's clock ticks."""

    busy: int
    total: int


def read() -> dict[int, CpuTime]:
    """Of each CPU by its number; nothing where nobody may look."""
    try:
        with open("/proc/stat", encoding="ascii", errors="replace") as stat:
            return parsed(stat.read())
    except OSError:
        return {}


def parsed(text: str) -> dict[int, CpuTime]:
    """The same, of the text of that file; lines of another form are left out."""
    found = {}
    for line in text.splitlines():
        name, *fields = line.split() or [""]
        number, ticks = name.removeprefix("cpu"), fields[:_GUESTS]
        if not name.startswith("cpu") or not number.isdecimal() or not all(tick.isdecimal() for tick in ticks):
            continue
        times = [int(tick) for tick in ticks]
        if len(times) > max(_IDLE):
            found[int(number)] = CpuTime(sum(times) - sum(times[each] for each in _IDLE), sum(times))
    return found


def shares(before: Mapping[int, CpuTime], now: Mapping[int, CpuTime]) -> dict[int, float]:
    """The part of the time between two readings in which each CPU was busy, 0 to 1."""
    passed = {
        cpu: (now[cpu].busy - then.busy, now[cpu].total - then.total) for cpu, then in before.items() if cpu in now
    }
    return {cpu: min(1.0, max(0.0, busy / total)) for cpu, (busy, total) in passed.items() if total > 0}
