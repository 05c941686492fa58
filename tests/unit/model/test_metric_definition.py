"""A metric's definition: everything that is wrong with one is said, each in one sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from arbd.model.metric import MetricDefinition, problems

GOOD = MetricDefinition("counter", "orders", "Orders.")
HISTOGRAM = MetricDefinition("histogram", "seconds", "", buckets=(0.5, 1.0))


def of(**fields: Any) -> list[str]:
    return list(problems(msgspec.structs.replace(GOOD, **fields)))


def test_those_that_can_be() -> None:
    for definition in (
        GOOD,
        HISTOGRAM,
        MetricDefinition("gauge", "a:b_C9", "x", ("le", "_a"), over_workers="last"),
        MetricDefinition("gauge", "thread_count", ""),
    ):
        assert list(problems(definition)) == []


@pytest.mark.parametrize("name", ["", "9a", "a-b", "a b", "a\n", "ü", 'a"} 1\nb', "a" * 201, None, 3, b"a"])
def test_names_that_cannot_be(name: Any) -> None:
    assert len(of(name=name)) == 1
    assert of(name=name)[0].startswith("name: ")


def test_names_of_the_daemon_s_own_are_not_for_authors() -> None:
    assert "daemon's own" in of(name="arbd_tasks")[0]


@pytest.mark.parametrize("label", ["", "9a", "a-b", "__name__", "a:b", 'a="', "ü", "a" * 201, None, ["a"]])
def test_labels_that_cannot_be(label: Any) -> None:
    assert len(of(labelnames=("good", label))) == 1


@pytest.mark.parametrize("labelnames", ["currency", None, 5])
def test_what_is_no_list_of_labels(labelnames: Any) -> None:
    assert "needs a list of names" in of(labelnames=labelnames)[0]


def test_labels_twice_and_too_many() -> None:
    assert "twice" in of(labelnames=("a", "a"))[0]
    assert "more than" in of(labelnames=tuple(f"a{number}" for number in range(17)))[0]


def test_a_histogram_s_own_label_is_not_for_authors() -> None:
    assert "histogram's own" in next(problems(msgspec.structs.replace(HISTOGRAM, labelnames=("le",))))


@pytest.mark.parametrize(
    "buckets", [(), (1.0, 1.0), (2.0, 1.0), (float("nan"),), (float("inf"),), ("1",), tuple(map(float, range(201)))]
)
def test_buckets_that_cannot_be(buckets: Any) -> None:
    assert len(list(problems(msgspec.structs.replace(HISTOGRAM, buckets=buckets)))) == 1


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = of(name="9", labelnames=("9",), documentation=None, over_workers="mean")
    assert [problem.partition(":")[0] for problem in found] == ["name", "labelnames", "documentation", "over_workers"]


def test_what_is_wrong_is_shown_and_not_at_length() -> None:
    assert len(of(name="a" * 10**6)[0]) < 500


def test_what_a_series_takes() -> None:
    gauge = MetricDefinition("gauge", "a", "")
    assert [(each.cells, each.lines) for each in (GOOD, gauge, HISTOGRAM)] == [(1, 1), (2, 1), (4, 5)]


def test_two_names_that_would_meet_where_they_are_read_are_claimed() -> None:
    assert "seconds_sum" in HISTOGRAM.claims
    assert "orders_total" in GOOD.claims
