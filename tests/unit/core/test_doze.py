"""A process rests while nothing would come of looking sooner, and sleeps when there is no load; with link processes a
rest grows until one wake-up serves enough."""

from __future__ import annotations

import pytest

from arbd.core.doze import LONGEST_S, MOST_EMPTY_LOOKS, TICK_S, WORTH, Doze


class Load:
    """What there is to do, as the test says."""

    def __init__(self, *, hub: bool = False, workers: bool = False, links: bool = False) -> None:
        self.hub = hub
        self.workers = workers
        self.links = links
        self.asked_for_ns = 0

    def hub_is_busy(self) -> bool:
        return self.hub

    def workers_are_busy(self, duration_ns: int) -> bool:
        self.asked_for_ns = duration_ns
        return self.workers

    def links_have_slots(self) -> bool:
        return self.links


def after(*brought: int) -> float:
    """How long it rests after looks to which link processes brought so many, each as late as planned."""
    doze, now = Doze(), 0.0
    doze.brought(0, now)
    for count in brought:
        now += doze.rest_s
        doze.brought(count, now)
    return doze.rest_s


def test_without_any_load_it_sleeps() -> None:
    assert Doze().after_nothing(Load()) == 0


def test_it_rests_while_the_hub_is_busy_or_the_workers_are() -> None:
    assert Doze().after_nothing(Load(hub=True)) == TICK_S
    load = Load(workers=True)
    assert Doze().after_nothing(load) == TICK_S
    assert load.asked_for_ns == 1_000_000


def test_looks_that_find_nothing_end_in_sleep_and_one_that_does_begins_anew() -> None:
    doze, load = Doze(), Load(hub=True)
    for _ in range(2):
        assert [doze.after_nothing(load) for _ in range(MOST_EMPTY_LOOKS + 1)] == [TICK_S] * MOST_EMPTY_LOOKS + [0]
        doze.found()


def test_it_grows_by_ticks_while_there_is_too_little_for_a_wake_up() -> None:
    assert after(20) == pytest.approx(2 * TICK_S)
    assert after(*[WORTH - 1] * 100) == LONGEST_S


def test_what_is_worth_it_changes_nothing() -> None:
    assert after(20, WORTH, 2 * WORTH) == after(20)


def test_it_shrinks_when_there_is_much() -> None:
    assert after(20, 20, 2 * WORTH + 1) == pytest.approx(2 * TICK_S)
    assert after(20, *[1000] * 100) == TICK_S


def test_few_a_second_are_no_load() -> None:
    assert after(20, 20, 1) == pytest.approx(2 * TICK_S)


def grown() -> Doze:
    """One that rests longer than the shortest."""
    doze = Doze()
    doze.brought(0, 0.0)
    doze.brought(20, TICK_S)
    assert doze.rest_s > TICK_S
    return doze


def test_only_link_processes_with_all_the_slots_they_can_use_are_left_alone_for_longer() -> None:
    doze = grown()
    assert doze.after_nothing(Load(hub=True, links=True)) == doze.rest_s > TICK_S
    assert doze.after_nothing(Load(hub=True)) == TICK_S


def test_sleep_begins_anew_with_the_shortest() -> None:
    doze = grown()
    doze.after_nothing(Load())
    assert doze.rest_s == TICK_S


def test_looks_that_come_sooner_count_towards_the_next() -> None:
    doze = Doze()
    doze.brought(0, 0.0)
    for now in (0.2 * TICK_S, 0.6 * TICK_S):
        doze.brought(10, now)
        assert doze.rest_s == TICK_S
    doze.brought(0, TICK_S)
    assert doze.rest_s == pytest.approx(2 * TICK_S)


@pytest.mark.parametrize("per_s", [100, 400, 1_500, 3_000, 12_000, 100_000])
def test_at_an_even_rate_it_settles(per_s: int) -> None:
    """So many records a second, each look as late as planned: soon every look finds enough, or comes as late as may be,
    or at once."""
    doze, now = Doze(), 0.0
    for _ in range(100):
        now += doze.rest_s
        doze.brought(round(per_s * doze.rest_s), now)
    found = per_s * doze.rest_s
    assert WORTH <= found <= 2 * WORTH or doze.rest_s in (pytest.approx(TICK_S), LONGEST_S)
