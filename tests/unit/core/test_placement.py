"""Workers get physical cores first, within mask and quota, away from other daemons; the supervisor goes where they are
not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.core.placement import Core, Placement, in_words, place, usable_cpus, worker_count, worker_cpus

#: Two packages of two cores of two threads, numbered as Linux does on most machines: second threads come last.
SMT = {cpu: (cpu % 4 // 2, cpu % 2) for cpu in range(8)}

cpu_sets = st.sets(st.integers(0, 63), min_size=1)
topologies = st.dictionaries(st.integers(0, 63), st.tuples(st.integers(0, 1), st.integers(0, 7)))
claims = st.dictionaries(st.integers(0, 63), st.integers(0, 4))


def firsts(workers: int, allowed: set[int] | range | list[int], cores: dict[int, Core]) -> list[int]:
    """The CPU of each worker that has one."""
    return [cpu for (cpu,) in place(workers, allowed, cores).workers]


@pytest.mark.parametrize(
    ("count", "quota", "usable"),
    [(4, None, 4), (4, 8.0, 4), (4, 2.0, 2), (4, 1.5, 2), (4, 2.01, 3), (4, 0.1, 1), (1, None, 1), (4, 4.0, 4)],
)
def test_usable_is_the_smaller_of_mask_and_quota(count: int, quota: float | None, usable: int) -> None:
    assert usable_cpus(range(count), quota) == usable


@pytest.mark.parametrize(
    ("usable", "asked", "each", "count"),
    [(8, 1, 1, 8), (8, 2, 2, 4), (8, 3, 3, 2), (8, 8, 8, 1), (8, 9, 8, 1), (1, 4, 1, 1), (2, 1024, 2, 1)],
)
def test_auto_is_as_many_workers_as_have_their_cpus(usable: int, asked: int, each: int, count: int) -> None:
    assert worker_cpus(asked, usable) == each
    assert worker_count(usable, each) == count


# One CPU each -----------------------------------------------------------------------------------------------------


def test_one_thread_of_every_core_comes_first() -> None:
    assert firsts(8, range(8), SMT) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert firsts(4, range(4), {0: (0, 0), 1: (0, 0), 2: (0, 1), 3: (0, 1)}) == [0, 2, 1, 3]


def test_the_lower_number_is_the_first_thread_in_whatever_order_they_come() -> None:
    assert firsts(3, [3, 1, 0], {0: (0, 0), 1: (0, 0), 3: (0, 0)}) == [0, 1, 3]


def test_a_mask_may_hold_only_the_second_thread_of_a_core() -> None:
    assert firsts(3, [0, 4, 5], SMT) == [0, 5, 4]


def test_equal_core_numbers_in_two_packages_are_two_cores() -> None:
    assert firsts(3, range(3), {0: (0, 0), 1: (0, 0), 2: (1, 0)}) == [0, 2, 1]


def test_cpus_the_kernel_says_nothing_about_are_cores_of_their_own() -> None:
    assert firsts(3, [3, 1, 2], {}) == [1, 2, 3]
    assert firsts(3, [0, 1, 2], {0: (0, 0), 1: (0, 0)}) == [0, 2, 1]


def test_the_supervisor_runs_elsewhere() -> None:
    assert place(3, range(8), SMT) == Placement([(0,), (1,), (2,)], frozenset({3, 4, 5, 6, 7}))


def test_without_room_elsewhere_the_supervisor_runs_anywhere() -> None:
    assert place(2, [0, 1], {}) == Placement([(0,), (1,)], frozenset({0, 1}))


def test_more_workers_than_cpus_go_round_again() -> None:
    assert place(5, [4, 6], {}) == Placement([(4,), (6,), (4,), (6,), (4,)], frozenset({4, 6}))


# Several CPUs each ------------------------------------------------------------------------------------------------


def test_two_cpus_are_the_threads_of_one_core() -> None:
    assert place(3, range(8), SMT, 2) == Placement([(0, 4), (1, 5), (2, 6)], frozenset({3, 7}))


def test_four_are_the_cores_of_one_package() -> None:
    assert place(2, range(8), SMT, 4).workers == [(0, 1, 4, 5), (2, 3, 6, 7)]


def test_three_are_a_core_and_a_thread_of_its_neighbour_and_two_such_share_no_core() -> None:
    assert place(2, range(8), SMT, 3).workers == [(0, 1, 4), (2, 3, 6)]


def test_where_second_threads_are_not_allowed_they_are_neighbours() -> None:
    assert place(2, [0, 1, 2, 3], SMT, 2).workers == [(0, 1), (2, 3)]


def test_no_worker_is_spread_over_two_packages_while_one_of_them_has_room() -> None:
    packages = {cpu: (cpu // 3, cpu) for cpu in range(6)}
    assert place(3, range(6), packages, 2).workers == [(0, 1), (3, 4), (2, 5)]


def test_more_than_there_are_is_all_of_them() -> None:
    assert place(2, [1, 2], {}, 5) == Placement([(1, 2), (1, 2)], frozenset({1, 2}))


# Beside other daemons ---------------------------------------------------------------------------------------------


def test_cpus_that_nobody_claims_come_first() -> None:
    assert place(2, range(4), {}, claimed={0: 1, 1: 1}) == Placement([(2,), (3,)], frozenset(range(4)) - {2, 3})


def test_then_those_whose_core_is_idle() -> None:
    assert place(2, [0, 1, 4, 5], SMT, claimed={0: 1}).workers == [(1,), (4,)]


def test_the_supervisor_goes_where_no_daemon_s_workers_are_if_there_is_such_a_place() -> None:
    assert place(1, range(4), {}, claimed={0: 1, 1: 1}) == Placement([(2,)], frozenset({3}))


def test_where_all_are_claimed_the_least_claimed_are_shared() -> None:
    both = place(2, range(3), {}, claimed={0: 2, 1: 1, 2: 1})
    assert both == Placement([(1,), (2,)], frozenset({0}), frozenset({1, 2}))


def test_claims_on_cpus_that_are_not_allowed_are_nobody_s_business() -> None:
    assert place(1, [0, 1], {}, claimed={7: 3}) == Placement([(0,)], frozenset({1}))


# Properties -------------------------------------------------------------------------------------------------------


@given(workers=st.integers(1, 200), allowed=cpu_sets, cores=topologies)
def test_placement(workers: int, allowed: set[int], cores: dict[int, Core]) -> None:
    pinned = firsts(workers, allowed, cores)
    loads = [pinned.count(cpu) for cpu in allowed]
    assert len(pinned) == workers
    assert sum(loads) == workers, "a worker is outside the mask"
    assert max(loads) - min(loads) <= 1
    assert place(workers, allowed, cores).supervisor == (allowed - set(pinned) or allowed)


@given(workers=st.integers(1, 64), allowed=cpu_sets, cores=topologies)
def test_no_core_has_two_workers_while_another_has_none(
    workers: int, allowed: set[int], cores: dict[int, Core]
) -> None:
    core_of = {cpu: cores.get(cpu, ("alone", cpu)) for cpu in allowed}
    used = [core_of[cpu] for cpu in firsts(workers, allowed, cores)]
    assert len(set(used)) == min(workers, len(set(core_of.values())))


@given(workers=st.integers(1, 20), each=st.integers(1, 20), allowed=cpu_sets, cores=topologies, claimed=claims)
def test_every_worker_has_its_cpus_and_the_load_is_even(
    workers: int, each: int, allowed: set[int], cores: dict[int, Core], claimed: dict[int, int]
) -> None:
    placed, supervisor, shared = place(workers, allowed, cores, each, claimed)
    assert [len(cpus) for cpus in placed] == [min(each, len(allowed))] * workers
    assert all(len(set(cpus)) == len(cpus) and set(cpus) <= allowed for cpus in placed)
    used = {cpu for cpus in placed for cpu in cpus}
    assert supervisor
    assert supervisor <= allowed
    assert not supervisor & used or used == allowed
    assert shared == {cpu for cpu in used if claimed.get(cpu)}


@given(workers=st.integers(1, 8), each=st.integers(1, 8), allowed=cpu_sets, cores=topologies, claimed=claims)
def test_none_shares_a_cpu_while_there_are_free_ones(
    workers: int, each: int, allowed: set[int], cores: dict[int, Core], claimed: dict[int, int]
) -> None:
    free = {cpu for cpu in allowed if not claimed.get(cpu)}
    placed, _, shared = place(workers, allowed, cores, each, claimed)
    if workers * each <= len(free):
        assert not shared
        assert len({cpu for cpus in placed for cpu in cpus}) == workers * each


@given(count=st.integers(1, 8), threads=st.integers(1, 4), each=st.integers(1, 8), workers=st.integers(1, 8))
def test_on_an_idle_machine_workers_with_whole_cores_share_none(
    count: int, threads: int, each: int, workers: int
) -> None:
    cores = {cpu: (0, cpu % count) for cpu in range(count * threads)}
    if each % threads == 0 and workers * each <= len(cores):
        used = [{cores[cpu] for cpu in cpus} for cpus in place(workers, cores, cores, each).workers]
        assert [len(group) for group in used] == [each // threads] * workers
        assert len(set().union(*used)) == workers * each // threads


@pytest.mark.parametrize(
    ("cpus", "words"),
    [((), "any"), ((3,), "3"), ((2, 3), "2-3"), ((0, 4), "0,4"), ((8, 0, 1, 2, 10, 11), "0-2,8,10-11")],
)
def test_cpus_in_words(cpus: tuple[int, ...], words: str) -> None:
    assert in_words(cpus) == words


def test_workers_that_are_there_stay_and_the_others_go_beside_them() -> None:
    cores = {cpu: (0, cpu % 4) for cpu in range(8)}
    two = place(2, range(8), cores)
    assert place(5, range(8), cores, present=two.workers) == place(5, range(8), cores)
    assert place(3, range(4), {}, present=[(3,), (2,)]).workers == [(3,), (2,), (0,)]
    assert place(1, range(4), {}, present=[(3,), (2,)]).workers == [(3,)]


def test_a_present_worker_on_a_cpu_that_is_gone_or_on_none_counts_for_nothing() -> None:
    assert place(3, range(2), {}, present=[(7,), ()]).workers == [(7,), (), (0,)]


def test_others_claims_of_now_count_for_those_that_come() -> None:
    assert place(2, range(3), {}, claimed={0: 1, 1: 1}, present=[(0,)]).workers == [(0,), (2,)]
