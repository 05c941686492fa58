"""Placement: which CPU each worker is pinned to, and where the supervisor runs.

usable      = min(CPUs in the affinity mask, ceil(cgroup quota))
order       = one CPU of every physical core first, then their second threads, by number
workers     = the first CPUs in that order, one each; more workers than CPUs go round again
supervisor  = every allowed CPU that no worker has; all of them when there is no room elsewhere
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

Core = tuple[int, int]  # package and core number: what two hardware threads of one core share


class Placement(NamedTuple):
    """The CPU of each worker slot, and the CPUs of the supervisor."""

    workers: list[int]
    supervisor: frozenset[int]


def usable_cpus(allowed: Collection[int], quota: float | None) -> int:
    """The number of workers for ``auto``. ``quota`` is in CPUs, such as 1.5; ``None``: no quota."""
    count = len(allowed)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def cpu_order(allowed: Collection[int], cores: Mapping[int, Core]) -> list[int]:
    """Allowed CPUs, one of each physical core first. A CPU whose core is not known counts as a core of its own."""
    threads_seen: dict[Core, int] = {}
    ranked: list[tuple[int, int]] = []
    for cpu in sorted(allowed):
        core = cores.get(cpu, (-1, cpu))
        ranked.append((threads_seen.setdefault(core, 0), cpu))
        threads_seen[core] += 1
    return [cpu for _, cpu in sorted(ranked)]


def place(workers: int, allowed: Collection[int], cores: Mapping[int, Core]) -> Placement:
    """The placement of ``workers`` workers on the CPUs ``allowed``."""
    order = cpu_order(allowed, cores)
    pinned = [order[i % len(order)] for i in range(workers)]
    elsewhere = frozenset(allowed) - frozenset(pinned)
    return Placement(pinned, elsewhere or frozenset(allowed))
