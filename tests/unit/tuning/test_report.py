"""The report marks the best and the recommended point, says why, and writes settings that can be pasted."""

from __future__ import annotations

import tomllib

import msgspec
import pytest
from tuning_support import BASE, SETUP, record, sample

from arbd.settings.table import from_toml, resolve
from arbd.tuning import report
from arbd.tuning.compare import compare
from arbd.tuning.record import Measurement, Point, Record

UNPINNED = msgspec.structs.replace(BASE, pin=False)
THREE = msgspec.structs.replace(BASE, workers=3)
UNARY = msgspec.structs.replace(BASE, protocol="unary")


def around(rate: float, count: int = 6) -> list[float]:
    return [rate * (1 + number / 1000) for number in range(count)]


def lines(found: Record) -> list[str]:
    recommendation = report.recommend(found)
    assert recommendation is not None
    return report.snippet(recommendation)


def test_without_a_better_point_the_settings_stay_with_a_reason_for_each() -> None:
    found = record({BASE: around(100), THREE: around(100.5), UNPINNED: around(90), UNARY: around(20)})
    recommendation = report.recommend(found)
    assert recommendation is not None
    assert (recommendation.point, recommendation.is_change) == (BASE, False)
    assert report.snippet(recommendation) == [
        'workers = "auto"       # as it is: workers = 3 makes no difference beyond noise (1.00 times the tasks/s)',
        "pin = true             # as it is: pin = false does 0.90 times the tasks/s",
        "prefetch = 256         # as it is: nothing else was tried",
        'hub.protocol = "auto"  # as it is: hub.protocol = "unary" does 0.20 times the tasks/s',
    ]


def test_a_change_says_what_it_is_worth() -> None:
    found = record({BASE: around(100), UNPINNED: around(150)})
    assert "pin = false            # 1.50 times the tasks/s of pin = true, more than noise" in lines(found)


@pytest.mark.parametrize("best", [BASE, UNPINNED, THREE, UNARY])
def test_the_snippet_is_a_settings_file(best: Point) -> None:
    rates = {point: around(100) for point in (BASE, UNPINNED, THREE, UNARY)} | {best: around(200)}
    layer = from_toml(tomllib.loads("\n".join(lines(record(rates)))))
    settings = resolve([layer]).settings
    assert settings.pin == best.pin
    assert settings.prefetch == best.prefetch
    assert settings.workers == ("auto" if best.workers == 2 else best.workers)
    assert settings.hub_protocol == ("auto" if best.protocol == "stream" else "unary")


def test_a_number_that_the_operator_wrote_stays_a_number() -> None:
    found = record({BASE: around(100), UNARY: around(20)})
    written = msgspec.structs.replace(found, setup=msgspec.structs.replace(SETUP, settings={"workers": 2}))
    assert lines(written)[0].startswith("workers = 2 ")


def test_links_are_recommended_where_they_were_tried() -> None:
    links = msgspec.structs.replace(UNARY, links=2)
    unary = msgspec.structs.replace(record({UNARY: around(100), links: around(300)}), baseline=UNARY)
    assert "hub.links = 2           # 3.00 times the tasks/s of hub.links = 0, more than noise" in lines(unary)
    assert not any("links" in line for line in lines(record({BASE: around(100), UNARY: around(20)})))


def test_nothing_is_recommended_where_nothing_can_be_told() -> None:
    few = record({BASE: [100.0], UNPINNED: [200.0]})
    assert report.recommend(few) is None
    assert [note.partition(",")[0] for note in report.notes(few)] == ["too few samples to tell a difference from noise"]


def test_a_point_with_failures_is_named_and_never_recommended() -> None:
    failing = Measurement(UNPINNED, [sample(500.0, failed=3) for _ in range(6)])
    found = record({BASE: around(100), UNARY: around(20)})
    found = msgspec.structs.replace(found, measurements=[*found.measurements, failing])
    recommendation = report.recommend(found)
    assert recommendation is not None
    assert recommendation.point == BASE
    assert list(report.notes(found)) == [
        "18 tasks failed with stream, 2 workers unpinned, prefetch 256; the first: error: no"
    ]
    assert [row[0] for row in report.rows(found, recommendation)] == ["*>", "failed", ""]


def test_without_a_good_baseline_there_is_no_recommendation() -> None:
    assert report.recommend(record({UNPINNED: around(100), UNARY: around(20)})) is None


def test_the_table_has_the_figures_of_every_point() -> None:
    found = record({UNARY: around(3000), BASE: [81_000.0, 82_000.0, 83_000.0]})
    rows = report.rows(found, report.recommend(found))
    assert [len(row) for row in rows] == [len(report.COLUMNS)] * 2
    assert rows[0] == (
        *("*>", "stream", "2", "on", "256", "82,000", "1%", "100%", "50%"),
        *("8.0+6.0", "0.50/1.0", "5.0/10"),
    )
    assert rows[1][:3] == ("", "unary", "2")


def test_links_are_shown_where_there_are_any() -> None:
    links = msgspec.structs.replace(UNARY, links=2)
    assert report.show_point(links) == "unary, 2 workers, prefetch 256, links 2"
    row = report.rows(record({links: [1.0]}), None)[0]
    assert (row[1], row[9]) == ("unary +2", "8.0+0+6.0")


def test_an_interrupted_sweep_says_so() -> None:
    cut = msgspec.structs.replace(record({BASE: around(100)}), complete=False)
    assert list(report.notes(cut)) == ["the sweep was cut short: this is what had been measured by then"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(2.5, "2.50 s"), (0.012, "12.0 ms"), (0.000456, "456 µs"), (7.75e-6, "7.75 µs"), (0.0, "0 µs"), (120, "120 s")],
)
def test_times_have_three_digits_and_a_unit_that_fits(seconds: float, expected: str) -> None:
    assert report.show_time(seconds) == expected


def test_the_comparison_says_what_changed_and_hides_cpu_times_that_did_not() -> None:
    rows = report.comparison_rows(compare(record({BASE: around(100)}), record({BASE: around(50)})))
    assert rows == [
        ("stream, 2 workers, prefetch 256", "tasks/s", "100", "50.1", "0.50", "0.002", "SLOWER"),
        ("", "alone, p50", "500 µs", "500 µs", "1.00", "1.000", "noise"),
    ]


def test_the_comparison_names_what_is_not_the_same() -> None:
    new = msgspec.structs.replace(record({UNARY: around(50)}), complete=False)
    older = msgspec.structs.replace(record({BASE: around(100)}), complete=False)
    assert list(report.comparison_notes(compare(older, new))) == [
        "not the same: the older benchmark was cut short",
        "only in the older one: stream, 2 workers, prefetch 256",
        "only in the newer one: unary, 2 workers, prefetch 256",
    ]


@pytest.mark.parametrize(("load", "noted"), [(0.3, False), (3.9, True)])
def test_a_busy_machine_is_noted(load: float, noted: bool) -> None:
    found = msgspec.structs.replace(record({BASE: around(100)}), load_before=load)
    assert any("other work" in note for note in report.notes(found)) == noted


def test_the_headline_names_action_and_machine() -> None:
    headline = report.headline(record({}))
    assert headline == "total: 5.00 ms by itself (p99 6.00 ms, CPU 4.00 ms); 2 of 4 x Z80, Python 3.11.7"


def test_where_the_settings_of_today_were_not_measured_it_does_not_say_that_they_are_good() -> None:
    asked = msgspec.structs.replace(record({BASE: around(100)}), current=msgspec.structs.replace(BASE, prefetch=16))
    recommendation = report.recommend(asked)
    assert recommendation is not None
    assert not recommendation.is_against_today
    assert recommendation.reasons["prefetch"] == "as asked for: nothing else was tried"
    assert recommendation.reasons["workers"] == "as it is: nothing else was tried"


@pytest.mark.parametrize(("count", "notes"), [(1, 1), (3, 1), (4, 1), (5, 0)])
def test_a_comparison_of_too_few_samples_says_so(count: int, notes: int) -> None:
    found = record({BASE: around(100, count)})
    told = list(report.comparison_notes(compare(found, found)))
    assert len([note for note in told if note.startswith("too few samples")]) == notes
