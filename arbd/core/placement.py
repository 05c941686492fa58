"""Placement: which CPUs each worker is pinned to, and where the supervisor runs.

usable      = min(CPUs in the affinity mask, ceil(cgroup quota))
workers     = usable // CPUs of a worker, at least one
a worker    = CPUs of one physical core first, then of its neighbours in the same package
next one    = the CPUs with the fewest users (other daemons' claims, workers placed so far), idle cores before others;
              more workers than CPUs go round again
supervisor  = every allowed CPU that no worker has, nor another daemon's; all of them when there is no room elsewhere

Where a worker has one CPU, this is one CPU of every physical core first, then their second threads, by number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

Core = tuple[int, int]  # package and core number: what two hardware threads of one core share

_NO_CLAIMS: Final[Mapping[int, int]] = {}


class Placement(NamedTuple):
    """The CPUs of each worker slot, and those of the supervisor. ``shared``: CPUs of workers that another daemon has
    claimed as well."""

    workers: list[tuple[int, ...]]
    supervisor: frozenset[int]
    shared: frozenset[int] = frozenset()


def usable_cpus(allowed: Collection[int], quota: float | None) -> int:
    """How many CPUs the workers have together. ``quota`` is in CPUs, such as 1.5; ``None``: no quota."""
    count = len(allowed)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def worker_cpus(asked: int, usable: int) -> int:
    """How many CPUs, and so threads, each worker has: what was asked for, as far as there are so many."""
    return min(asked, usable)


def worker_count(usable: int, cpus_each: int) -> int:
    """The number of workers for ``auto``."""
    return max(1, usable // cpus_each)


def place(
    workers: int,
    allowed: Collection[int],
    cores: Mapping[int, Core],
    cpus_each: int = 1,
    claimed: Mapping[int, int] = _NO_CLAIMS,
    present: Sequence[tuple[int, ...]] = (),
) -> Placement:
    """The placement of ``workers`` workers with ``cpus_each`` CPUs on the CPUs ``allowed``. ``claimed``: by how many
    other daemons each CPU is. ``present``: where the first workers are already, and stay. A CPU whose core is not known
    counts as a core of its own."""
    machine = _Machine(allowed, cores, claimed)
    placed = [machine.keep(cpus) for cpus in present[:workers]]
    placed += [machine.take(min(cpus_each, len(machine.cpus))) for _ in range(workers - len(placed))]
    used = frozenset(cpu for cpus in placed for cpu in cpus)
    theirs = frozenset(cpu for cpu in machine.cpus if claimed.get(cpu))
    everywhere = frozenset(machine.cpus)
    return Placement(placed, everywhere - used - theirs or everywhere - used or everywhere, used & theirs)


class _Machine:
    """CPUs, and how many users each of them has: other daemons, and workers placed so far."""

    def __init__(self, allowed: Collection[int], cores: Mapping[int, Core], claimed: Mapping[int, int]) -> None:
        self.cpus = sorted(allowed)
        self._core = {cpu: cores.get(cpu, (-1, cpu)) for cpu in self.cpus}
        self._users = {cpu: claimed.get(cpu, 0) for cpu in self.cpus}
        self._users_of_core: Counter[Core] = Counter()
        for cpu, users in self._users.items():
            self._users_of_core[self._core[cpu]] += users

    def take(self, count: int) -> tuple[int, ...]:
        """Choose so many CPUs for one worker: the best for its first, then from there outwards."""
        first = min(self.cpus, key=lambda cpu: self._rank_of_first(cpu, count))
        group = [first]
        while len(group) < count:
            mine = {self._core[cpu] for cpu in group}
            others = (cpu for cpu in self.cpus if cpu not in group)
            group.append(min(others, key=lambda cpu: self._rank_of_next(cpu, first, mine)))
        return self.keep(tuple(sorted(group)))

    def keep(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """Note that a worker has these CPUs; one that is not there any more counts for nothing."""
        for cpu in group:
            if cpu in self._users:
                self._users[cpu] += 1
                self._users_of_core[self._core[cpu]] += 1
        return group

    def _rank_of_first(self, cpu: int, count: int) -> tuple[int, bool, int, int]:
        """Few users, then a package that has room for all of them, then an idle core."""
        users, core = self._users[cpu], self._core[cpu]
        is_tight = count > 1 and self._room(core[0], users) < count
        return users, is_tight, self._users_of_core[core], cpu

    def _rank_of_next(self, cpu: int, first: int, mine: set[Core]) -> tuple[int, bool, bool, int, int]:
        """Few users, then a core that is the worker's anyway, then the same package, then an idle core."""
        core = self._core[cpu]
        is_elsewhere = core[0] != self._core[first][0]
        return self._users[cpu], core not in mine, is_elsewhere, self._users_of_core[core], cpu

    def _room(self, package: int, users: int) -> int:
        """How many CPUs of a package have no more users than that."""
        return sum(self._core[cpu][0] == package and self._users[cpu] <= users for cpu in self.cpus)


def in_words(cpus: Collection[int]) -> str:
    """CPUs as the kernel writes lists of them, such as ``0-3,8``; "any" for none: not pinned."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs) or "any"
