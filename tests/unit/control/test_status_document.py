"""`/status.json` says what the snapshot and the counters say, and is whole before there is any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from arbd.control.exposition import Footprint
from arbd.control.probes import Verdict
from arbd.control.recent import Recent
from arbd.control.reports import NotableEvent, StatusReport, WorkerReport
from arbd.control.snapshot import LimitTotals, Snapshot, shortened
from arbd.control.status_document import BOUNDS_S, encode, reading
from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import ActionRow
from arbd.model.link_stats import LinkStats
from arbd.model.reasons import NUMBER_OF

GOOD = Verdict(True, ("ready",))


def row(name: str, counters: Mapping[int, int]) -> ActionRow:
    """One with these words."""
    return ActionRow(name, [counters.get(at, 0) for at in range(page.ROW_WORDS)])


def worker(slot: int, pid: int, busy_s: float = 0.0) -> WorkerReport:
    """One that serves."""
    return WorkerReport(slot, pid, (), "serving", 10.0, 5, busy_s, 1.0, 0)


def snapshot(*workers: WorkerReport, at: float = 1000.0) -> Snapshot:
    """Of a daemon with these."""
    status = StatusReport("prices", "1", 7, "serving", 60.0, "hub", LinkStats("up"), list(workers), 3, 1, 2, 100, {})
    return Snapshot(at, status, [LimitTotals("gpu", 0.5, 7, 1)], events=[NotableEvent(1, 2.0, "info", "started")])


def test_a_reading_is_what_the_rows_say() -> None:
    success, error = page.OF_STATUS["success"], page.OF_STATUS["error"]
    timeouts = page.FAILURES + NUMBER_OF["timeout"]
    quote = row("quote", {success + 20: 8, error + 22: 2, timeouts: 2, page.RUN + 20: 10, page.WAIT + 11: 10})
    others = row("", {success + 20: 1})
    found = reading(12_000_000_000, snapshot(worker(0, 41, 6.5), worker(1, 0)), [others, quote])
    assert (found.at_s, found.unix_s, found.in_flight, found.outbox) == (12.0, 1000.0, 3, 2)
    assert found.busy_s == {41: 6.5}
    assert set(found.actions) == {"", "quote"}
    action = found.actions["quote"]
    assert (action.outcomes, action.timeouts) == ({"success": 8, "error": 2, "limit": 0}, 2)
    assert (action.run[20], action.wait[11]) == (10, 10)
    assert {bits: count for bits, count in enumerate(found.end_to_end) if count} == {20: 9, 22: 2}


def test_a_bucket_ends_where_its_bits_do() -> None:
    assert len(BOUNDS_S) == page.BUCKETS
    for value_ns in (1, 2, 1023, 1024, 10**9):
        bits = value_ns.bit_length()
        assert BOUNDS_S[bits - 1] <= value_ns / 1e9 < BOUNDS_S[bits]


def test_the_document_has_all_that_the_page_shows() -> None:
    recent = Recent(BOUNDS_S)
    seen = snapshot(worker(0, 41), worker(1, 42))
    for number in range(2):
        rows = [row("", {}), row("quote", {page.OF_STATUS["success"] + 20: 10 * number})]
        recent.add(reading(number * 2_000_000_000, seen, rows))
    document = json.loads(encode(seen, 0.4, GOOD, recent, {41: Footprint(5_000, 12, 1.0)}))
    assert (document["at"], document["age_s"], document["problems"]) == (1000.0, 0.4, [])
    workers = document["status"]["workers"]
    assert [(each["rss"], each["descriptors"]) for each in workers] == [(5_000, 12), (None, None)]
    assert document["limits"][0]["refused"] == 1
    assert document["events"][0]["event"] == "started"
    assert [point["success"] for point in document["history"]] == [None, 5.0]
    assert [(each["name"], each["success"]) for each in document["actions"]] == [("", 0.0), ("quote", 5.0)]


def test_what_is_wrong_is_what_readyz_says() -> None:
    bad = Verdict(False, ("the hub hub is not reached", "no worker serves"))
    document = json.loads(encode(snapshot(), 0.4, bad, Recent(BOUNDS_S), {}))
    assert document["problems"] == ["the hub hub is not reached", "no worker serves"]


def test_before_the_supervisor_has_said_anything_it_says_that() -> None:
    waits = Verdict(False, ("the supervisor has not said yet how it is",))
    document = json.loads(encode(None, 3.0, waits, Recent(BOUNDS_S), {}))
    assert document == {
        **dict.fromkeys(("at", "age_s", "status")),
        **{name: [] for name in ("limits", "events", "history", "actions")},
        "problems": ["the supervisor has not said yet how it is"],
        "is_shortened": False,
    }


def test_names_of_any_kind_are_json() -> None:
    name = '<img src=x onerror=alert(1)>\u2028"\\'
    recent = Recent(BOUNDS_S)
    for at in (1, 2):
        recent.add(reading(at * 10**9, snapshot(), [row(name, {})]))
    assert json.loads(encode(snapshot(), 0, GOOD, recent, {}))["actions"][0]["name"] == name


def test_what_others_call_themselves_controls_no_terminal() -> None:
    evil = "a\x1b]0;pwned\x07\x9b31m\u202eb\x7f\u2028"
    problem = Verdict(False, (evil,))
    document = encode(snapshot(), 0.1, problem, Recent(BOUNDS_S), {}).decode()
    assert document.isprintable()
    assert json.loads(document)["problems"] == [evil]


def test_a_snapshot_that_is_too_long_goes_without_what_an_author_can_make_long() -> None:
    whole = snapshot(worker(0, 41))
    short = shortened(whole)
    assert (short.is_shortened, short.limits, short.events, short.status.workers) == (
        True,
        [],
        [],
        whole.status.workers,
    )
    document = json.loads(encode(short, 0.4, GOOD, Recent(BOUNDS_S), {}))
    assert (document["is_shortened"], document["limits"], document["at"]) == (True, [], 1000.0)
