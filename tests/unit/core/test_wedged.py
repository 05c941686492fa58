"""A worker that takes none of its tasks, look after look, hangs; one that takes or answers anything does not."""

from __future__ import annotations

from arbd.core.wedged import LOOK_S, Unbegun, Wedged

ONE, OTHER = Unbegun(1, 7, (64, 0)), Unbegun(2, 8, (64, 0))


def look(wedged: Wedged, times: int, *waiting: Unbegun, begin: float = 0.0) -> list[int]:
    for number in range(times):
        found = wedged.look(begin + number * LOOK_S, waiting)
    return found


def test_it_hangs_at_the_third_look() -> None:
    assert look(Wedged(), 2, ONE) == []
    assert look(Wedged(), 3, ONE) == [1]


def test_each_worker_has_its_own_time() -> None:
    wedged = Wedged()
    look(wedged, 1, ONE)
    assert look(wedged, 2, ONE, OTHER, begin=LOOK_S) == [1]


def test_one_that_took_or_answered_something_or_runs_has_its_time_again() -> None:
    for moved in (ONE._replace(places=(128, 0)), ONE._replace(places=(64, 32)), ONE._replace(first=9)):
        wedged = Wedged()
        look(wedged, 2, ONE)
        assert look(wedged, 1, moved, begin=2 * LOOK_S) == []
    wedged = Wedged()
    look(wedged, 2, ONE)
    look(wedged, 1, begin=2 * LOOK_S)
    assert look(wedged, 2, ONE, begin=3 * LOOK_S) == []


def test_looks_that_come_one_after_the_other_count_once() -> None:
    wedged = Wedged()
    for number in range(50):
        assert wedged.look(number * LOOK_S / 100, [ONE]) == []


def test_nobody_waits() -> None:
    assert look(Wedged(), 5) == []
