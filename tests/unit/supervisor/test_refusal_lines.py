"""Tasks refused for what their callers sent are counted and told in the flow of a daemon, and cost nobody a verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import Rig, rig, tasks

from arbd.core.refusals import EVERY_NS
from arbd.ipc import frame
from arbd.model.reasons import NUMBER_OF
from arbd.model.task import Task

__all__ = ["rig"]


@pytest.fixture
def lines(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    log = SimpleNamespace(warning=lambda event, **fields: found.append(fields))
    monkeypatch.setattr(rig.flow.refusals, "_log", log)
    return found


def unknown(number: int) -> Task:
    return Task(f"u{number}", "nonsense", b"{}", b"")


def test_unknown_actions_and_large_payloads_are_counted_and_told_once(rig: Rig, lines: list[dict[str, Any]]) -> None:
    rig.flow.take([unknown(number) for number in range(50)])
    rig.flow.take([Task("big", "act", b"x" * 101, b"")])
    counts = rig.flow.refusals.counts
    assert (counts["unknown action"], counts["payload too large"]) == (50, 1)
    assert [line["kind"] for line in lines] == ["unknown action", "payload too large"]
    assert lines[0]["action"] == "nonsense"
    assert len(rig.results()) == 51


def test_what_was_not_told_is_told_when_the_minute_is_over(rig: Rig, lines: list[dict[str, Any]]) -> None:
    rig.flow.take([unknown(number) for number in range(50)])
    rig.loop.now += EVERY_NS / 1e9 + 1
    rig.flow.refusals._on_time()
    assert [line.get("times", 1) for line in lines] == [1, 49]


def test_the_line_names_the_task_as_all_lines_do(rig: Rig, lines: list[dict[str, Any]]) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    rig.flow.take([Task("u", "nonsense", b"{}", b"", attempt=3, traceparent=f"00-{trace}-b7ad6b7169203331-01")])
    told = {name: lines[0][name] for name in ("task_id", "action", "attempt", "trace_id")}
    assert told == {"task_id": "u", "action": "nonsense", "attempt": 3, "trace_id": trace}


def test_an_invalid_payload_is_what_its_worker_says(rig: Rig, lines: list[dict[str, Any]]) -> None:
    rig.flow.take(tasks("a", "b"))
    worker = next(each for each in rig.workers if each.has)
    first = worker.has[0]
    record = frame.encode_result(first.seq, 1000, "error", b"{}", reason=NUMBER_OF["invalid"])
    worker.cell.records = [record]
    rig.flow.collect_from(worker)  # type: ignore[arg-type] # a fake
    assert rig.flow.refusals.counts["payload invalid"] == 1
    assert [(line["kind"], line["task_id"]) for line in lines] == [("payload invalid", first.task.id)]


def test_a_log_that_fails_costs_no_verdict(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the log is gone")

    monkeypatch.setattr(rig.flow.refusals, "_log", SimpleNamespace(warning=fail))
    with pytest.raises(OSError, match="the log is gone"):
        rig.flow.take([unknown(1), unknown(2)])
    assert set(rig.results()) == {"u1", "u2"}
