"""Reading the recorder has every task once, counts what was overwritten, and always ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from arbd.control import trace_reader
from arbd.control.protocol import GetTrace, TraceReply
from arbd.control.trace_reader import TraceReader
from arbd.model.flight import Flight

PAGE = 3


class FakeDaemon:
    """A recorder that holds all, and gives pages of three; a clock that only sleeping moves."""

    def __init__(self, begins_at: int = 0) -> None:
        self.flights: list[Flight] = []
        self.acks: list[tuple[str, int]] = []
        self.now = float(begins_at)
        self.total = 0
        self.on_sleep: Callable[[], None] = lambda: None
        self.asked = 0

    def answer(self, count: int, *, is_acked: bool = True) -> None:
        for _ in range(count):
            self.total += 1
            at_ns = round(self.now * 1e9) + self.total
            self.flights.append(Flight(f"t{self.total}", "act", 0, 1, "success", 1, 0, 1, 0, 1, at_ns))
            if is_acked:
                self.acks.append((f"t{self.total}", at_ns + 1))

    def ask(self, request: GetTrace) -> TraceReply:
        self.asked += 1
        flights = [each for each in self.flights if each.answered_ns > request.answered_after_ns][:PAGE]
        acks = [each for each in self.acks if each[1] > request.acked_after_ns][:PAGE]
        return TraceReply(
            provider="p",
            now_ns=round(self.now * 1e9) + self.total,
            now_unix_ns=0,
            total=self.total,
            flights=flights,
            acks=acks,
            running=[],
            has_more=PAGE in (len(flights), len(acks)),
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def reader(self) -> TraceReader:
        return TraceReader(self.ask, clock=lambda: self.now, sleep=self.sleep)


def ids(flights: list[Flight]) -> list[str]:
    return [each.id for each in flights]


def test_what_it_holds_is_read_whole() -> None:
    daemon = FakeDaemon()
    daemon.answer(10)
    found = daemon.reader().last()
    assert ids(found.flights) == [f"t{number}" for number in range(1, 11)]
    assert len(found.acks) == 10
    assert (found.missed, found.is_cut) == (0, False)


def test_only_what_is_answered_in_that_time_is_read() -> None:
    daemon = FakeDaemon(begins_at=7)
    daemon.answer(5)
    daemon.on_sleep = lambda: daemon.answer(2)
    found = daemon.reader().during(0.2)
    assert ids(found.flights) == [f"t{number}" for number in range(6, 6 + len(found.flights))]
    assert 20 <= len(found.flights) <= 22  # it looks each 20 ms
    assert found.missed == 0


def test_what_was_overwritten_is_counted() -> None:
    daemon = FakeDaemon(begins_at=1)

    def too_fast() -> None:
        daemon.answer(10)
        del daemon.flights[:-4]

    daemon.on_sleep = too_fast
    found = daemon.reader().during(0.1)
    assert (len(found.flights) % 4, found.missed % 6) == (0, 0)
    assert found.missed


def test_acknowledgements_that_never_come_are_not_waited_for_long() -> None:
    daemon = FakeDaemon(begins_at=1)
    daemon.on_sleep = lambda: daemon.answer(1, is_acked=False)
    before = daemon.now
    daemon.reader().during(1)
    assert daemon.now - before < 1.7


def test_those_that_come_late_are_had() -> None:
    daemon = FakeDaemon(begins_at=1)
    daemon.on_sleep = lambda: daemon.answer(1, is_acked=False)
    reader = daemon.reader()

    def later() -> None:
        if daemon.now > 1.25:
            for each in daemon.flights[len(daemon.acks) :]:
                daemon.acks.append((each.id, round(daemon.now * 1e9) + len(daemon.acks)))
        daemon.answer(1, is_acked=False)

    daemon.on_sleep = later
    found = reader.during(0.2)
    assert set(ids(found.flights)) <= {task_id for task_id, _ in found.acks}


def test_ctrl_c_ends_it_and_keeps_what_there_is() -> None:
    daemon = FakeDaemon(begins_at=1)

    def interrupted() -> None:
        daemon.answer(2)
        if daemon.now > 2:
            daemon.on_sleep = lambda: None
            raise KeyboardInterrupt

    daemon.on_sleep = interrupted
    found = daemon.reader().during(60)
    assert len(found.flights) == daemon.total


def test_it_ends_where_a_browser_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_reader, "MOST_TASKS", 20)
    daemon = FakeDaemon(begins_at=1)
    daemon.on_sleep = lambda: daemon.answer(9)
    found = daemon.reader().during(60)
    assert found.is_cut
    assert 20 <= len(found.flights) < 20 + PAGE
