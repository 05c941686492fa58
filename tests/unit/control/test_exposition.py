"""What Prometheus reads: judged by the parser of its own client, every metric of the table moved by something, labels
bounded and escaped, and a scrape of a large daemon in time."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from unit_flights import answered

from arbd.control import exposition
from arbd.control.exposition import BY_NAME, OTHER_ACTIONS, PREFIX, TABLE, Exposition, Footprint, MetricFigures
from arbd.control.reports import ActionReport, OutOfService, PausedAction, StatusReport, WorkerReport
from arbd.control.snapshot import LimitTotals, Snapshot, decode, encode
from arbd.core.metrics import TaskMetrics
from arbd.ipc.metrics_page import MetricsReader, MetricsWriter, page_bytes
from arbd.model.link_stats import COUNTERS, LinkStats

S = 1_000_000_000


def status(**fields: Any) -> StatusReport:
    worker = WorkerReport(0, 77, (), "serving", 3.0, 5, 1.0, 1.0, 2)
    given: dict[str, Any] = {
        "provider": "shop",
        "version": "1.2",
        "pid": 7,
        "state": "serving",
        "uptime_s": 9.5,
        "hub": "h:1",
        "link": LinkStats(state="up"),
        "workers": [worker],
        "in_flight": 3,
        "backlog": 1,
        "outbox": 2,
        "outbox_limit": 100,
        "verdicts": {},
        "workers_wanted": 1,
        "actions": [ActionReport("a", running=1), ActionReport("")],
    }
    return StatusReport(**{**given, **fields})


def reader(*actions: str) -> tuple[TaskMetrics, MetricsReader]:
    words = memoryview(bytearray(page_bytes(len(actions) + 1, 64))).cast("Q")
    tasks = TaskMetrics(MetricsWriter(words, len(actions) + 1))
    tasks.offer(actions)
    tasks.publish()
    return tasks, MetricsReader(words)


def figures(page: MetricsReader, snapshot: Snapshot | None, **fields: Any) -> MetricFigures:
    given: dict[str, Any] = {
        "rows": page.read_rows(),
        "slots": {0: page.slot(0)},
        "snapshot": snapshot,
        "age_s": 0.25,
        "is_ready": True,
        "workers": {0: Footprint(1000, 12)},
        "supervisor": Footprint(2000, 30, 1.5),
    }
    return MetricFigures(**{**given, **fields})


def parsed(shown: MetricFigures) -> dict[str, Metric]:
    text = b"".join(Exposition().pieces(shown)).decode()
    assert text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    samples = [(sample.name, tuple(sorted(sample.labels.items()))) for each in families for sample in each.samples]
    assert len(set(samples)) == len(samples), "the same series twice: Prometheus would refuse all of it"
    return {family.name: family for family in families}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def quiet() -> Snapshot:
    zeros = dict.fromkeys(("in_flight", "backlog", "outbox", "outbox_limit", "uptime_s", "workers_wanted"), 0)
    return Snapshot(at=0, status=status(state="starting", link=LinkStats(), workers=[], actions=[], **zeros))


def busy() -> Snapshot:
    return Snapshot(
        at=1.5,
        status=status(
            joined=4,
            log_lines_lost=6,
            out_of_service=[OutOfService(1, "unfit", "x", 1, 1.0)],
            paused=[PausedAction("a", 1, 0, 2.0)],
        ),
        limits=[LimitTotals("l", 0.5, 7, 8, True), LimitTotals("l", 0.25, 1, 1)],
        replaced={"timeout": 3},
        link=dict.fromkeys(COUNTERS, 9),
        link_failures={"GetTask UNAVAILABLE": 2, "odd": 1},
    )


def counted() -> MetricsReader:
    tasks, page = reader("a")
    tasks.finished(answered("a", "success", S, 1, 3 * S + 1))
    tasks.finished(answered("a", "error", S, 1, 3 * S + 1))
    tasks.failed("a", 2)
    tasks.decided("a", "limit", "other", 5)
    tasks.killed("a")
    tasks.ended_worker("a")
    tasks.used_cpu("a", S)
    tasks.add_to_slot(0, (2, S, S, 1))
    tasks.publish()
    return page


def test_every_metric_of_the_table_is_shown_and_moved_by_something() -> None:
    before = parsed(
        figures(reader("a")[1], quiet(), age_s=0.0, is_ready=False, slots={}, workers={}, supervisor=Footprint())
    )
    after = parsed(figures(counted(), busy()))
    names = {family.name.removesuffix("_total") if family.kind == "counter" else family.name for family in TABLE}
    assert set(after) == {PREFIX + name for name in names}
    unmoved = [name for name, family in after.items() if name in before and values(before[name]) == values(family)]
    assert unmoved == ["arbd_build_info"]
    assert all(any(sample.value for sample in family.samples) for family in after.values())


def test_types_and_labels_are_those_of_the_table() -> None:
    for name, family in parsed(figures(counted(), busy())).items():
        row = BY_NAME.get(name.removeprefix(PREFIX)) or BY_NAME[f"{name.removeprefix(PREFIX)}_total"]
        assert (family.type, family.documentation) == (row.kind, row.help)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(row.labels)


def test_what_was_counted_is_what_is_shown() -> None:
    shown = parsed(figures(counted(), busy()))
    assert values(shown["arbd_tasks"])["a", "success"] == 1
    assert values(shown["arbd_tasks"])["a", "limit"] == 1
    assert values(shown["arbd_task_failures"])["a", "invalid"] == 1
    assert values(shown["arbd_worker_replacements"]) == {("timeout",): 3}
    assert values(shown["arbd_link_failures"]) == {("GetTask", "UNAVAILABLE"): 2, ("odd", ""): 1}
    assert values(shown["arbd_limit_allowed"]) == {("l",): 8}
    assert values(shown["arbd_worker_rss_bytes"]) == {("0",): 1000}
    assert values(shown["arbd_action_paused"]) == {("a",): 1}
    assert values(shown["arbd_tasks_running"]) == {("a",): 1, (OTHER_ACTIONS,): 0}


def test_a_histogram_holds_what_histograms_hold() -> None:
    tasks, page = reader("a")
    for run_ns in (1, 2**13 - 1, 2**13, 2**20, 2**39 - 1, 2**39, 2**60):
        tasks.finished(answered("a", "success", run_ns, 1, 2**61 + 1))
    tasks.publish()
    family = parsed(figures(page, None))["arbd_task_run_seconds"]
    of_a = [sample for sample in family.samples if sample.labels["action"] == "a"]
    buckets = {float(each.labels["le"]): each.value for each in of_a if each.name.endswith("_bucket")}
    assert list(buckets) == sorted(buckets)
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets[2**13 / 1e9], buckets[2**14 / 1e9], buckets[2**39 / 1e9], buckets[math.inf]) == (2, 3, 5, 7)
    assert next(each.value for each in of_a if each.name.endswith("_count")) == 7
    total = sum((1, 2**13 - 1, 2**13, 2**20, 2**39 - 1, 2**39, 2**60)) / 1e9
    assert next(each.value for each in of_a if each.name.endswith("_sum")) == pytest.approx(total)


def test_end_to_end_counts_every_verdict_also_of_tasks_that_were_not_run() -> None:
    family = parsed(figures(counted(), None))["arbd_task_end_to_end_seconds"]
    of_a = {each.name: each.value for each in family.samples if each.labels["action"] == "a"}
    assert of_a["arbd_task_end_to_end_seconds_count"] == 3
    assert of_a["arbd_task_end_to_end_seconds_sum"] == pytest.approx(6.000000005)


@pytest.mark.parametrize(
    "name", ['"', "\\", "\n", 'a"} 1\narbd_forged_total{x="', "\r", "\x1b[2J", "ü", "{", OTHER_ACTIONS]
)
def test_no_name_breaks_out_of_its_label(name: str) -> None:
    tasks, page = reader(name)
    tasks.finished(answered(name, "success", 1, 1, 5))
    tasks.finished(answered("unknown", "success", 1, 1, 5))
    tasks.publish()
    snapshot = Snapshot(at=0, status=status(provider=name, actions=[ActionReport(name, running=1)]))
    families = parsed(figures(page, snapshot))
    assert set(families) <= {PREFIX + each.name.removesuffix("_total") for each in TABLE}
    assert sum(value for labels, value in values(families["arbd_tasks"]).items()) == 2


def test_actions_that_are_cut_to_the_same_name_share_their_series() -> None:
    tasks, page = reader("a" * 600, "a" * 601)
    tasks.finished(answered("a" * 600, "success", 1, 1, 5))
    tasks.finished(answered("a" * 601, "success", 1, 1, 5))
    tasks.publish()
    assert values(parsed(figures(page, None))["arbd_tasks"])["a" * 504, "success"] == 2


def test_two_workers_of_one_slot_are_one_series() -> None:
    workers = [WorkerReport(0, pid, (), state, 3.0, 5, 1.0, 1.0, 2) for pid, state in ((1, "leaving"), (2, "serving"))]
    shown = parsed(figures(reader("a")[1], Snapshot(at=0, status=status(workers=workers))))
    assert values(shown["arbd_workers"])["serving",] == 1
    assert values(shown["arbd_worker_waiting_tasks"]) == {("0",): 4}
    assert values(shown["arbd_worker_age_seconds"]) == {("0",): 3.0}


def test_without_a_snapshot_there_is_what_was_counted() -> None:
    shown = parsed(figures(counted(), None, is_ready=False))
    assert "arbd_uptime_seconds" not in shown
    assert values(shown["arbd_ready"]) == {(): 0}


def test_what_cannot_be_seen_is_left_out() -> None:
    shown = parsed(figures(counted(), None, workers={0: Footprint()}, supervisor=Footprint()))
    assert not {"arbd_worker_rss_bytes", "arbd_supervisor_rss_bytes"} & set(shown)


def test_names_are_in_base_units_and_only_counters_end_in_total() -> None:
    assert len(BY_NAME) == len(TABLE)
    for family in TABLE:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert not re.search(r"_(ms|ns|us|minutes|kib|mib|percent)(_|$)", family.name)
        assert family.help.endswith(".")


def test_others_families_follow_as_they_are() -> None:
    text = b"".join(Exposition().pieces(figures(reader("a")[1], None), ["# TYPE mine counter\nmine_total 1\n"]))
    assert text.endswith(b"# TYPE mine counter\nmine_total 1\n")


def test_pieces_are_small_so_that_a_probe_never_waits_long() -> None:
    page = reader(*(f"action-{number}" for number in range(200)))[1]
    pieces = list(Exposition().pieces(figures(page, None)))
    assert max(map(len, pieces)) < 300_000
    assert len(pieces) > 20


def test_a_snapshot_comes_back_as_it_went() -> None:
    assert msgspec.to_builtins(decode(encode(busy()))) == msgspec.to_builtins(busy())


def test_escaping_is_that_of_the_format() -> None:
    assert exposition.escape('a\\"\n') == 'a\\\\\\"\\n'


def test_text_of_others_controls_no_terminal_and_ends_no_text() -> None:
    evil = "a\x00\x1b]0;pwned\x07\x9b\u202eb\r\x7f\ud800\nc"
    page = reader(evil)[1]
    limits = [LimitTotals(evil, 0.5, 1)]
    snapshot = Snapshot(1.0, status(provider=evil, actions=[ActionReport(evil, 1)]), limits, link_failures={evil: 1})
    text = b"".join(Exposition().pieces(figures(page, snapshot))).decode()
    assert {letter for letter in text if not letter.isprintable()} == {"\n"}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values = {value for sample in samples for value in sample.labels.values()}
    assert "a\\x00\\x1b]0;pwned\\x07\\x9b\\u202eb\\r\\x7f\\ud800\nc" in values
