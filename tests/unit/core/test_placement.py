"""Workers get physical cores first, within mask and quota; the supervisor goes where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.core.placement import Core, Placement, cpu_order, place, usable_cpus

#: Two packages of two cores of two threads, numbered as Linux does on most machines: second threads come last.
SMT = {cpu: (cpu % 4 // 2, cpu % 2) for cpu in range(8)}

cpu_sets = st.sets(st.integers(0, 63), min_size=1)
topologies = st.dictionaries(st.integers(0, 63), st.tuples(st.integers(0, 1), st.integers(0, 7)))


@pytest.mark.parametrize(
    ("count", "quota", "usable"),
    [(4, None, 4), (4, 8.0, 4), (4, 2.0, 2), (4, 1.5, 2), (4, 2.01, 3), (4, 0.1, 1), (1, None, 1), (4, 4.0, 4)],
)
def test_usable_is_the_smaller_of_mask_and_quota(count: int, quota: float | None, usable: int) -> None:
    assert usable_cpus(range(count), quota) == usable


def test_one_thread_of_every_core_comes_first() -> None:
    assert cpu_order(range(8), SMT) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert cpu_order(range(4), {0: (0, 0), 1: (0, 0), 2: (0, 1), 3: (0, 1)}) == [0, 2, 1, 3]


def test_the_lower_number_is_the_first_thread_in_whatever_order_they_come() -> None:
    assert cpu_order([3, 1, 0], {0: (0, 0), 1: (0, 0), 3: (0, 0)}) == [0, 1, 3]


def test_a_mask_may_hold_only_the_second_thread_of_a_core() -> None:
    assert cpu_order([0, 4, 5], SMT) == [0, 5, 4]


def test_equal_core_numbers_in_two_packages_are_two_cores() -> None:
    assert cpu_order(range(3), {0: (0, 0), 1: (0, 0), 2: (1, 0)}) == [0, 2, 1]


def test_cpus_the_kernel_says_nothing_about_are_cores_of_their_own() -> None:
    assert cpu_order([3, 1, 2], {}) == [1, 2, 3]
    assert cpu_order([0, 1, 2], {0: (0, 0), 1: (0, 0)}) == [0, 2, 1]


def test_the_supervisor_runs_elsewhere() -> None:
    assert place(3, range(8), SMT) == Placement([0, 1, 2], frozenset({3, 4, 5, 6, 7}))


def test_without_room_elsewhere_the_supervisor_runs_anywhere() -> None:
    assert place(2, [0, 1], {}) == Placement([0, 1], frozenset({0, 1}))


def test_more_workers_than_cpus_go_round_again() -> None:
    assert place(5, [4, 6], {}) == Placement([4, 6, 4, 6, 4], frozenset({4, 6}))


@given(workers=st.integers(1, 200), allowed=cpu_sets, cores=topologies)
def test_placement(workers: int, allowed: set[int], cores: dict[int, Core]) -> None:
    pinned, supervisor = place(workers, allowed, cores)
    loads = [pinned.count(cpu) for cpu in allowed]
    assert len(pinned) == workers
    assert sum(loads) == workers, "a worker is outside the mask"
    assert max(loads) - min(loads) <= 1
    assert supervisor == (allowed - set(pinned) or allowed)


@given(workers=st.integers(1, 64), allowed=cpu_sets, cores=topologies)
def test_no_core_has_two_workers_while_another_has_none(
    workers: int, allowed: set[int], cores: dict[int, Core]
) -> None:
    pinned, _ = place(workers, allowed, cores)
    core_of = {cpu: cores.get(cpu, ("alone", cpu)) for cpu in allowed}
    used = [core_of[cpu] for cpu in pinned]
    assert len(set(used)) == min(workers, len(set(core_of.values())))
