"""Looks and commands run beside the terminal: one of each at a time, and whatever becomes of them is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from top_support import report

from arbd.cli.top.asking import Answer, Asking, Looker
from arbd.cli.top.sightings import Sighting
from arbd.control import client, protocol
from arbd.control.protocol import Done, EventsReply, LimitsReply, OperationReply, StatusReply
from arbd.control.reports import NotableEvent, Operation
from arbd.errors import ControlError

PATH = Path("/run/c.sock")


class FakeDaemon:
    """Answers requests by their kind; ``asked`` are those that came."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.uptime_s = 100.0
        self.events = [NotableEvent(1, 5.0, "info", "started"), NotableEvent(2, 1.0, "info", "drained")]
        self.answers: dict[type, Callable[[Any], Any]] = {
            protocol.GetStatus: lambda _: StatusReply(report=report(uptime_s=self.uptime_s)),
            protocol.GetLimits: lambda _: LimitsReply(provider="prices", limits=[]),
            protocol.GetEvents: lambda asked: EventsReply(
                events=[event for event in self.events if event.number > asked.after]
            ),
            protocol.GetOperation: lambda asked: OperationReply(operation=Operation(asked.id, "drain", "running", "")),
            protocol.DrainDaemon: lambda _: Done(text="drained"),
        }

    def ask(self, path: Path, request: Any, expected: Any, timeout_s: float = 5.0) -> Any:
        assert path == PATH
        self.asked.append(request)
        return self.answers[type(request)](request)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    fake = FakeDaemon()
    monkeypatch.setattr(client, "ask", fake.ask)
    return fake


def refuse(_: Any) -> Any:
    raise ControlError("nobody listens there")


def later(go: threading.Event, answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda request: go.wait(20) and answer(request)


class TestLooks:
    def test_a_look_asks_for_all_that_is_shown_and_for_new_events_alone(self, daemon: FakeDaemon) -> None:
        looker = Looker(PATH)
        assert [event.number for event in looker.look().events] == [1, 2]
        daemon.uptime_s += 1
        daemon.events.append(NotableEvent(3, 0.1, "info", "resumed"))
        assert [event.number for event in looker.look().events] == [3]

    def test_a_daemon_that_was_started_anew_is_asked_for_its_first_events_and_no_operation(
        self, daemon: FakeDaemon
    ) -> None:
        looker = Looker(PATH)
        looker.look()
        daemon.uptime_s = 1.0
        look = looker.look([7])
        assert [event.number for event in look.events] == [1, 2]
        assert look.operations == []

    def test_an_operation_that_is_not_known_any_more_has_failed_and_the_rest_is_told(self, daemon: FakeDaemon) -> None:
        looker = Looker(PATH)
        looker.look()
        daemon.uptime_s += 1
        daemon.answers[protocol.GetOperation] = refuse
        look = looker.look([7])
        assert look.operations == [Operation(7, "operation", "failed", "nobody listens there")]
        assert look.status.uptime_s == 101.0


class TestBesideTheTerminal:
    def asking(self) -> tuple[Asking, threading.Semaphore]:
        rung = threading.Semaphore(0)
        return Asking(PATH, rung.release), rung

    def test_answers_come_with_a_ring(self, daemon: FakeDaemon) -> None:
        asking, rung = self.asking()
        assert asking.answers() == []
        asking.look([])
        assert rung.acquire(timeout=20)
        [answer] = asking.answers()
        assert isinstance(answer.value, Sighting)
        assert asking.command(protocol.DrainDaemon())
        assert rung.acquire(timeout=20)
        assert asking.answers() == [Answer(False, Done(text="drained"))]

    def test_one_look_and_one_command_at_a_time(self, daemon: FakeDaemon) -> None:
        asking, rung = self.asking()
        go = threading.Event()
        for kind in (protocol.GetStatus, protocol.DrainDaemon):
            daemon.answers[kind] = later(go, daemon.answers[kind])
        asking.look([])
        asking.look([])
        assert asking.command(protocol.DrainDaemon())
        assert not asking.command(protocol.DrainDaemon())
        go.set()
        assert rung.acquire(timeout=20)
        assert rung.acquire(timeout=20)
        assert sorted(answer.is_look for answer in asking.answers()) == [False, True]
        assert [type(request) for request in daemon.asked].count(protocol.GetStatus) == 1
        assert asking.command(protocol.DrainDaemon())
        assert rung.acquire(timeout=20)

    def test_a_refusal_is_an_answer(self, daemon: FakeDaemon) -> None:
        asking, rung = self.asking()
        daemon.answers[protocol.GetLimits] = refuse
        asking.look([])
        assert rung.acquire(timeout=20)
        assert asking.answers() == [Answer(True, None, "nobody listens there")]

    def test_what_nobody_expected_is_raised_where_answers_are_taken(self, daemon: FakeDaemon) -> None:
        asking, rung = self.asking()

        def break_(_: Any) -> Any:
            raise ZeroDivisionError

        daemon.answers[protocol.DrainDaemon] = break_
        asking.command(protocol.DrainDaemon())
        assert rung.acquire(timeout=20)
        with pytest.raises(ZeroDivisionError):
            asking.answers()
