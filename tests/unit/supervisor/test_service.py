"""systemd hears what holds at that moment: ready, reloading, stopping, in words once a second; and it is asked for time
only where something takes it, and not for ever. The clock is stepped by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from flow_support import HandLoop
from notify_fakes import FakeDaemon, Heard

from arbd.core.lifecycle import State
from arbd.core.progress import Sight
from arbd.host.notify import Notifier
from arbd.supervisor.drain import POLLS_MARGIN_S
from arbd.supervisor.service import CLOSE_S, IMPORT_MOST_S, Service

SERVES = [State.SERVING, State.SERVING]


class Told:
    """A service, its daemon, and what systemd was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, watchdog_s: float | None = None) -> None:
        self.loop = HandLoop()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        self.heard = Heard(watchdog_s)
        self.daemon = FakeDaemon()
        self.service = Service(self.heard, lambda: self.loop.now)

    def serve(self, daemon: FakeDaemon | None = None) -> None:
        self.daemon = daemon or self.daemon
        self.service.serve(self.daemon.settings, self.daemon.flow, self.daemon.generations)

    def be_ready(self) -> None:
        self.service.start()
        self.daemon.states = SERVES
        self.daemon.stats.state = "up"
        self.serve()
        self.loop.step(2.0)
        assert self.states() == ["READY=1"]
        self.heard.take()

    def states(self) -> list[str]:
        return [text for text in self.heard.texts if text in ("READY=1", "RELOADING=1", "STOPPING=1")]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


# -- start -----------------------------------------------------------------------------------------------------------


def test_it_is_ready_when_each_slot_has_served_and_the_hub_has_answered(told: Told) -> None:
    told.service.start()
    told.serve()
    told.daemon.states = [State.SERVING, State.STARTING]
    told.loop.step(2.0)
    assert told.heard.of("STATUS=")[-1] == "STATUS=starting: 1 of 2 workers have been ready"
    told.daemon.states = [State.STARTING, State.SERVING]  # the first is being replaced meanwhile
    told.loop.step(2.0)
    assert told.heard.of("STATUS=")[-1] == "STATUS=waiting for the hub: hub not reached yet"
    assert told.states() == []
    told.daemon.stats.state = "up"
    told.loop.step(0.1)
    assert told.states() == ["READY=1"]


def test_who_looks_as_soon_as_the_start_is_over_reads_that_it_serves(told: Told) -> None:
    """Not how many workers were ready half a second before: `systemctl start` returns with READY."""
    told.service.start()
    told.daemon.stats.state = "up"
    told.serve()
    told.daemon.states = SERVES
    told.loop.step(0.1)
    until_ready = told.heard.texts[: told.heard.texts.index("READY=1")]
    line = [text for text in until_ready if text.startswith("STATUS=")][-1]
    assert line.startswith("STATUS=serving: ")


def test_a_hub_that_has_answered_and_gone_has_answered(told: Told) -> None:
    told.service.start()
    told.serve()
    told.daemon.stats.state = "up"
    told.loop.step(0.2)
    told.daemon.stats.state = "down"
    told.daemon.states = SERVES
    told.loop.step(0.2)
    assert told.states() == ["READY=1"]


@pytest.mark.parametrize("state", ["down", "refused", "connecting"])
def test_a_hub_that_does_not_answer_or_refuses_the_token_keeps_it_waiting(told: Told, state: str) -> None:
    told.service.start()
    told.daemon.states = SERVES
    told.daemon.stats.state = state
    told.serve()
    told.loop.step(100.0)
    assert told.states() == []


def test_unless_it_may_start_without(told: Told) -> None:
    told.service.start()
    daemon = FakeDaemon(start_without=True)
    daemon.states = SERVES
    told.serve(daemon)
    told.loop.step(0.2)
    assert told.states() == ["READY=1"]


# -- time ------------------------------------------------------------------------------------------------------------


def extended_s(told: Told) -> float:
    """For how long systemd was asked to wait, in all."""
    began_at = told.loop.now
    until = began_at
    for _ in range(700):
        told.loop.step(1.0)
        if told.heard.of("EXTEND"):
            until = told.loop.now
        told.heard.take()
    return until - began_at


def test_an_import_has_more_time_but_not_for_ever(told: Told) -> None:
    told.service.start()
    assert told.heard.of("EXTEND") == ["EXTEND_TIMEOUT_USEC=15000000"]
    assert IMPORT_MOST_S - 10 < extended_s(told) <= IMPORT_MOST_S


def test_workers_that_start_have_what_is_configured(told: Told) -> None:
    told.service.start()
    told.serve()
    most_s = 60.0 + told.daemon.settings.worker_start_timeout
    assert most_s - 10 < extended_s(told) <= most_s


def test_for_the_hub_nobody_is_asked_for_time(told: Told) -> None:
    told.service.start()
    told.daemon.states = SERVES
    told.serve()
    told.loop.step(1.0)
    told.heard.take()
    assert extended_s(told) == 0


def test_a_drain_has_what_is_configured(told: Told) -> None:
    told.be_ready()
    told.service.stopping()
    settings = told.daemon.settings
    own_s = settings.drain_timeout + settings.worker_stop_timeout + 1.0
    most_s = max(own_s, settings.hub_long_poll + POLLS_MARGIN_S) + 5.0 + CLOSE_S
    assert most_s - 10 < extended_s(told) <= most_s


def test_while_it_serves_nothing_is_extended(told: Told) -> None:
    told.be_ready()
    assert extended_s(told) == 0


# -- reload ----------------------------------------------------------------------------------------------------------


def test_a_reload_ends_when_the_code_is_in_force(told: Told) -> None:
    told.be_ready()
    told.service.reloading()
    told.daemon.generations.is_settled = False
    told.loop.step(5.0)
    assert told.states() == ["RELOADING=1"]
    told.daemon.generations.is_settled = True
    told.loop.step(0.2)
    assert told.states() == ["RELOADING=1", "READY=1"]


def test_one_that_never_settles_ends_at_its_bound(told: Told) -> None:
    told.be_ready()
    told.daemon.generations.is_settled = False
    told.service.reloading()
    told.loop.step(200.0)
    assert told.states() == ["RELOADING=1", "READY=1"]


def test_one_asked_for_before_it_serves_is_part_of_the_start(told: Told) -> None:
    told.service.start()
    told.serve()
    told.service.reloading()
    told.loop.step(1.0)
    assert told.states() == []


def test_one_asked_for_in_a_drain_is_nothing(told: Told) -> None:
    told.be_ready()
    told.service.stopping()
    told.service.reloading()
    told.loop.step(1.0)
    assert told.states() == ["STOPPING=1"]


# -- words -----------------------------------------------------------------------------------------------------------


def test_a_line_comes_once_a_second_and_only_when_it_has_changed(told: Told) -> None:
    told.be_ready()
    told.loop.step(60.0)
    assert told.heard.take() == []
    for number in range(100):
        told.daemon.total += number
        told.daemon.busy = [number % 2]
        told.loop.step(0.1)
    assert 8 <= len(told.heard.of("STATUS=")) <= 11


def test_the_rate_is_that_of_the_last_second(told: Told) -> None:
    told.be_ready()
    told.daemon.total += 400
    told.loop.step(1.0)
    assert "400 tasks/s" in told.heard.of("STATUS=")[-1]
    told.loop.step(1.0)
    assert "serving: 0 tasks/s" in told.heard.of("STATUS=")[-1]


def test_the_stop_is_told_at_once_and_once(told: Told) -> None:
    told.be_ready()
    told.daemon.in_flight = 3
    told.service.stopping()
    told.service.stopping()
    assert told.heard.take()[:2] == ["STOPPING=1", "STATUS=draining: 3 tasks left"]
    told.service.close()
    assert told.heard.take() == ["STATUS=stopped"]
    assert told.loop.is_quiet


def test_without_a_socket_it_does_nothing(told: Told) -> None:
    service = Service(Notifier(""), lambda: told.loop.now)
    service.start()
    service.serve(told.daemon.settings, told.daemon.flow, told.daemon.generations)
    service.reloading()
    service.stopping()
    service.close()
    assert told.loop.is_quiet


# -- what else a tick does -------------------------------------------------------------------------------------------


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr("arbd.supervisor.stall_watch.StallWatch.start", lambda self: None)  # no thread, no handlers
    return Told(monkeypatch, watchdog_s=10.0)


def test_answers_nobody_rang_for_are_looked_at(fed: Told) -> None:
    """By a worker that was stopped between its answer and the ring."""
    fed.be_ready()
    fed.daemon.seen = Sight(unread=frozenset({(1, 64)}))
    fed.loop.step(2.5)
    assert fed.daemon.rung >= 1
    fed.daemon.seen = Sight()
    fed.loop.step(10.0)
    assert len(fed.heard.of("WATCHDOG")) >= 1


def test_a_drain_is_not_judged_but_the_loop_is_alive(fed: Told) -> None:
    fed.be_ready()
    fed.daemon.seen = Sight(overdue="its task has ended")
    fed.service.stopping()
    fed.loop.step(20.0)
    assert len(fed.heard.of("WATCHDOG")) >= 3


def test_a_loop_that_goes_on_after_a_stall_says_so_though_nothing_else_has_changed(fed: Told) -> None:
    fed.be_ready()
    fed.loop.step(10.0)
    fed.heard.take()
    assert fed.service._stall_watch is not None
    ticks = iter([False, False, False, True])
    fed.service._stall_watch._closed = SimpleNamespace(wait=lambda _: next(ticks))  # type: ignore[assignment] # a fake
    fed.service._stall_watch._watch_loop()
    assert fed.heard.of("STATUS=") == ["STATUS=stalled: event loop: it does not turn"]
    fed.loop.step(2.0)
    assert fed.heard.of("STATUS=")[1:] == ["STATUS=serving: 0 tasks/s, 0 of 2 workers busy, hub connected (stream)"]


def test_after_a_stall_its_words_stay(fed: Told) -> None:
    fed.be_ready()
    fed.daemon.seen = Sight(overdue="its task has ended")
    fed.loop.step(10.0)
    fed.daemon.total += 1000
    fed.loop.step(10.0)
    assert fed.heard.of("STATUS=")[-1] == "STATUS=stalled: link: its task has ended"
