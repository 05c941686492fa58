"""The comparison with other task queues: who counts as the best rival, when the goal is met, and that "never" is said
wherever one round saw it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.peers import registry, report
from bench.peers.base import Peer
from bench.peers.clients.executor_peer import ExecutorPeer
from bench.peers.record import FULL, About, Kill, Record, Row, Speed, best_broker

SPEED = Speed(
    tasks=100,
    rate=1.0,
    rate_unawaited=None,
    rate_discarded=None,
    cpu_us=30.0,
    cpu_caller_us=10.0,
    cpu_broker_us=5.0,
    ones=10,
    p50_us=500.0,
    p99_us=900.0,
    inner_p50_us=None,
    share=0.95,
    bare_calls_per_s=400.0,
)


def row(name: str, *rates: float, broker: bool = True, limit_s: float | None = 0.5, **more: Any) -> Row:
    speeds = [msgspec.structs.replace(SPEED, rate=rate, **more) for rate in rates]
    return Row(name, About(name.title(), "as it is", {}, broker, limit_s), speeds)


def record(*rows: Row) -> Record:
    return Record({"cpu": "2 x any"}, 3, FULL, 1000, list(rows))


def test_the_best_rival_has_a_broker_is_not_arbd_and_is_judged_by_its_median() -> None:
    rows = [
        row("arbd", 90_000.0),
        row("arbd-unary", 50_000.0),
        row("pool", 60_000.0, broker=False),
        row("huey", 4_000.0, 5_000.0, 6_000.0),
        row("celery", 100.0, 200.0, 99_999.0),
    ]
    best = best_broker(rows, lambda speed: speed.rate)
    assert best is not None
    assert best.name == "huey"


@pytest.mark.parametrize(("mine", "verdict"), [(50_000.0, "met"), (49_999.0, "MISSED")])
def test_the_goal_is_ten_times_the_best_rival(mine: float, verdict: str) -> None:
    (figure,) = report.figures([row("arbd", mine), row("huey", 5_000.0)])
    assert f"at least 10: {verdict}" in str(figure)


def test_rates_are_compared_with_those_of_the_same_kind() -> None:
    arbd = row("arbd", 70_000.0, rate_unawaited=80_000.0)
    huey = row("huey", 5_000.0, rate_unawaited=8_000.0, rate_discarded=16_000.0)
    assert [figure.ratio for figure in report.figures([arbd, huey])] == [14.0, 10.0, 5.0]


def test_without_arbd_or_without_a_rival_there_is_no_figure() -> None:
    assert report.figures([row("huey", 5_000.0)]) == []
    assert report.figures([row("arbd", 5_000.0), row("pool", 5.0, broker=False)]) == []
    assert report.figures([row("arbd", 5_000.0), Row("huey", failures=["speed: it broke"])]) == []


@pytest.mark.parametrize(
    ("kills", "cell"),
    [
        ([Kill(4.0, 170.0), Kill(5.0, 180.0), Kill(6.0, 3_000.0)], "5.0 / 180"),
        ([Kill(4.0, 170.0), Kill(5.0, None)], "4.5 / never (10 s)"),
        ([Kill(None, None)], "never (10 s)"),
        ([], "-"),
    ],
)
def test_how_late_a_kill_was(kills: list[Kill], cell: str) -> None:
    peer = row("celery", 1.0)
    peer.kills["hang_python"] = kills
    assert report.cells(peer, 10.0)[-2] == cell


def test_a_peer_without_time_limit_says_so() -> None:
    assert report.cells(row("pool", 1.0, limit_s=None), 10.0)[-2:] == ["no limit", "no limit"]


def test_a_peer_that_failed_keeps_its_row() -> None:
    failed = Row("ray", failures=["speed: start: ImportError: no ray"])
    text = report.markdown(record(row("arbd", 10.0), failed))
    assert "| ray | failed |" in text
    assert "- ray failed in speed: start: ImportError: no ray" in text


def test_the_fastest_stands_first_and_every_line_has_all_columns() -> None:
    lines = report.markdown(record(row("huey", 10.0), row("arbd", 20.0))).splitlines()
    table = [line for line in lines if line.startswith("| ") and line.count("|") == len(report.COLUMNS) + 1]
    assert [line.split(" | ")[0] for line in table[1:]] == ["| Arbd", "| Huey"]


@pytest.mark.parametrize(
    ("changes", "over"),
    [
        ({}, False),
        ({"kills": {"hang_c": [Kill(5.0, 9.0)]}}, False),
        ({"kills": {"hang_c": [Kill(5.0, None)]}}, True),
        ({"failures": ["speed: once"]}, False),
        ({"failures": ["speed: once", "hang_c: twice"]}, True),
    ],
)
def test_a_stage_is_over_when_another_turn_can_tell_nothing_new(changes: dict[str, Any], over: bool) -> None:
    assert msgspec.structs.replace(row("huey", 1.0), **changes).is_over("hang_c") is over


def test_every_peer_that_can_be_imported_is_complete() -> None:
    found: list[type[Peer]] = [registry.find(name) for name in ("arbd", "arbd-unary", "executor", "pool")]
    assert found[2] is ExecutorPeer
    assert len({peer.title for peer in found}) == 4
    assert all(peer.settings and not peer.__abstractmethods__ for peer in found)
