"""The metrics page is written once a second, whatever is wrong with what it tells of: a snapshot that is too long, a
worker whose memory cannot be read, a report that fails, no memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flow_support import HandLoop

from arbd.control import probes, snapshot
from arbd.control.reports import ActionReport, StatusReport
from arbd.errors import ConfigError
from arbd.host import memory
from arbd.ipc.metrics_page import SLOT_TASKS, MetricsReader
from arbd.logs import notable
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.model.link_stats import LinkStats
from arbd.supervisor.metrics import EVERY_S, Metrics, MetricsPage, opened

S = 1_000_000_000


class FakeCell:
    """The totals of a worker, or what reading them raises."""

    error: BaseException | None = None

    def totals(self) -> tuple[int, int, int]:
        if self.error is not None:
            raise self.error
        return 3, 2 * S, S


class FakeAccount:
    """The account of a limit, of whose ten calls five are used and three outstanding."""

    spent, refused, outstanding = 5, 1, 3

    def __init__(self, spec: LimitSpec) -> None:
        self.spec = spec
        self.limit = SimpleNamespace(usage=lambda now_ns, outstanding=0: (5 + outstanding) / 10)


class Rig:
    """Metrics over a small page, of a daemon of fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, snapshot_bytes: int = 4096) -> None:
        self.loop = HandLoop()
        self.lines: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        monkeypatch.setattr(notable, "_recent", deque())
        self.page = MetricsPage(2, snapshot_bytes)
        self.accounts: list[tuple[FakeAccount, str | None]] = []
        self.workers: dict[int, Any] = {}
        limits = SimpleNamespace(accounts=lambda: iter(self.accounts))
        pool = SimpleNamespace(workers=self.workers, limits=limits, replaced={})
        self.actions = [ActionReport("quote")]
        self.error: BaseException | None = None
        flow: Any = SimpleNamespace(pool=pool, link=SimpleNamespace(stats=LinkStats("up")))
        reporter: Any = SimpleNamespace(status=self._status)
        self.metrics = Metrics(self.page, flow, reporter)
        log = SimpleNamespace(error=lambda event, **fields: self.lines.append((event, fields)))
        monkeypatch.setattr(self.metrics, "_log", log)
        self.reader = MetricsReader(memory.words_of(self.page.mapping))

    def _status(self, *, with_footprints: bool) -> StatusReport:
        assert not with_footprints
        if self.error is not None:
            raise self.error
        return StatusReport(
            "prices", "1", 7, "serving", 60.0, "hub", LinkStats("up"), [], 0, 0, 0, 9, {}, actions=self.actions
        )

    def add_worker(self, number: int) -> Any:
        worker = SimpleNamespace(
            id=number,
            slot=number,
            answered=4,
            spawned_at_ns=0,
            cell=FakeCell(),
            action_cpu=memoryview(bytes(8)).cast("Q"),
            zygote=SimpleNamespace(description=SimpleNamespace(actions=[SimpleNamespace(name="quote")])),
        )
        self.workers[number] = worker
        return worker

    def seen(self) -> snapshot.Snapshot:
        document = self.reader.snapshot()
        assert document is not None
        return snapshot.decode(document)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    rig.metrics.close()
    rig.page.close()


def test_it_is_written_once_a_second_until_it_is_closed(rig: Rig) -> None:
    rig.metrics.start()
    rig.actions = []
    rig.loop.step(EVERY_S)
    assert rig.seen().status.actions == []
    rig.metrics.close()
    assert rig.loop.later == []


def test_it_is_written_sooner_where_nobody_should_learn_a_change_late(rig: Rig) -> None:
    rig.metrics.start()
    rig.actions = []
    rig.metrics.write_soon()
    rig.loop.step(0)
    assert rig.seen().status.actions == []
    rig.actions = [ActionReport("quote")]
    rig.loop.step(EVERY_S)  # as ever after that, and once
    assert [each.name for each in rig.seen().status.actions] == ["quote"]
    assert len(rig.loop.later) == 1


def test_one_that_was_closed_is_not_written_any_more(rig: Rig) -> None:
    rig.metrics.start()
    rig.metrics.close()
    rig.metrics.write_soon()
    assert rig.loop.later == []


def test_a_report_that_fails_is_asked_for_again(rig: Rig) -> None:
    rig.error = RuntimeError("no report")
    with pytest.raises(RuntimeError, match="no report"):
        rig.metrics.start()
    rig.error = None
    rig.loop.step(EVERY_S)
    assert rig.seen().status.provider == "prices"


def test_what_does_not_fit_is_left_out_and_the_daemon_looks_alive(rig: Rig) -> None:
    rig.actions = [ActionReport(f"action {number}") for number in range(200)]
    before_ns = time.monotonic_ns()
    rig.metrics.start()
    rig.loop.step(EVERY_S)
    seen = rig.seen()
    assert (seen.is_shortened, seen.status.actions, seen.status.provider) == (True, [], "prices")
    assert rig.reader.snapshot_at_ns >= before_ns
    assert probes.live((time.monotonic_ns() - rig.reader.snapshot_at_ns) / 1e9).is_good
    assert [event for event, _ in rig.lines] == ["metrics_not_written"], "not each second"
    rig.actions = []
    rig.loop.step(EVERY_S)
    assert not rig.seen().is_shortened


def test_what_does_not_fit_at_all_leaves_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, snapshot_bytes=64)
    rig.metrics.start()
    assert (rig.reader.snapshot(), [event for event, _ in rig.lines]) == (None, ["metrics_not_written"])
    rig.metrics.close()
    rig.page.close()


def test_a_worker_s_totals_are_counted_once_and_stay_when_it_is_gone(rig: Rig) -> None:
    worker = rig.add_worker(1)
    rig.metrics.write()
    rig.metrics.worker_gone(worker)
    rig.workers.clear()
    rig.metrics.write()
    assert rig.reader.slot(1)[SLOT_TASKS] == 4


def test_a_worker_whose_memory_cannot_be_read_is_reported_and_forgotten(rig: Rig) -> None:
    worker = rig.add_worker(1)
    rig.metrics.write()
    worker.cell.error = ValueError("no such memory")
    rig.metrics.worker_gone(worker)
    assert [str(error) for error in rig.loop.reported] == ["no such memory"]
    assert rig.metrics._seen == {}


def test_a_limit_tells_its_rule_and_counts_calls_that_are_granted_and_not_made(rig: Rig) -> None:
    spec = LimitSpec("gpu", "custom", Rates(max_requests=10, window_size=60.0))
    rig.accounts = [(FakeAccount(spec), None), (FakeAccount(spec), "redis is gone")]
    rig.metrics.write()
    (told,) = rig.seen().limits
    assert (told.name, told.usage, told.allowed, told.refused, told.troubled) == ("gpu", 0.8, 10, 2, True)
    assert told.rule == "10 calls in any 60 s"


def test_events_are_told_with_their_fields_as_they_are(rig: Rig) -> None:
    notable.keep("info", "started", names=["quote"], workers=2, limits={"gpu": None})
    rig.metrics.write()
    assert rig.seen().events[0].fields == {"names": ["quote"], "workers": 2, "limits": {"gpu": None}}


def test_no_memory_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(memory, "create", fail)
    with pytest.raises(ConfigError, match=r"metrics\.listen: no memory"), opened():
        pass


def test_a_page_that_cannot_be_mapped_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    create = memory.create

    def keep(*arguments: Any) -> int:
        made.append(create(*arguments))
        return made[-1]

    def fail(_: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(memory, "create", keep)
    monkeypatch.setattr(memory, "attach", fail)
    with pytest.raises(OSError, match="Cannot allocate"):
        MetricsPage(2, 64)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
