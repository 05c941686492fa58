"""What links report is summed in one place, fits into a link cell, and is read by commands of any age."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from arbd.ipc import layout
from arbd.model.link_stats import COUNTERS, LinkProcessStats, LinkStats, best_state, total


def counted(each: int, **failures: int) -> LinkStats:
    stats = LinkStats(failures=Counter(failures))
    for name in COUNTERS:
        setattr(stats, name, each)
    return stats


def test_every_counter_is_summed_and_every_failure() -> None:
    one = counted(1, UNAVAILABLE=2)
    assert total([one, counted(2, UNAVAILABLE=1, INTERNAL=1)]) == counted(3, UNAVAILABLE=3, INTERNAL=1)
    assert one.tasks == 1


def test_state_protocol_and_processes_are_nothing_to_be_summed() -> None:
    process = LinkProcessStats(1, 42, "up", 3, 0, 1.0, 0.5)
    assert total([LinkStats(state="up", protocol="stream", links=[process])]) == LinkStats()


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"up", "refused", "down"}, "up"),
        ({"refused", "down", "connecting"}, "refused"),
        ({"down", "connecting"}, "down"),
        ({"connecting"}, "connecting"),
        (set(), "connecting"),
    ],
)
def test_several_links_are_in_the_best_state_of_any(states: set[str], expected: str) -> None:
    assert best_state(states) == expected


def test_the_counters_fit_into_a_link_cell() -> None:
    assert COUNTERS[:3] == ("polls", "empty", "tasks")
    assert len(COUNTERS) <= layout.COUNTER_WORDS


def test_what_is_counted_comes_back_from_json() -> None:
    stats = LinkStats(protocol="stream", frames_in=4, cancels=1, links=[LinkProcessStats(1, 42, "up", 3, 0, 1.0, 0.5)])
    stats.failures["Connect UNAVAILABLE"] += 1
    assert msgspec.json.decode(msgspec.json.encode(stats), type=LinkStats) == stats


def test_reports_of_an_older_and_of_a_newer_daemon_are_understood() -> None:
    older = b'{"state":"up","polls":3,"failures":{"GetTask INTERNAL":1},"links":[]}'
    assert msgspec.json.decode(older, type=LinkStats) == LinkStats("up", polls=3, failures={"GetTask INTERNAL": 1})
    newer = b'{"state":"parked","polls":3,"hops":7}'
    assert msgspec.json.decode(newer, type=LinkStats) == LinkStats("parked", polls=3)


def test_a_new_state_is_told_once() -> None:
    stats = LinkStats()
    assert [stats.changed_to("down"), stats.changed_to("down"), stats.changed_to("up")] == [True, False, True]
