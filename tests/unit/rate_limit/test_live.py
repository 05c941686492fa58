"""A request reaches the supervisor whole, the table reaches the workers whole, and neither side trusts the other."""

from __future__ import annotations

import msgspec
import pytest

from arbd.ipc import layout
from arbd.rate_limit import CustomRateLimitMonitor, TimeBasedRateLimitMonitor
from arbd.rate_limit.grants.live import LiveLimit, LiveLimits, SupervisorLive, WorkerLive
from arbd.rate_limit.limit_monitor import LimitMonitor

SPEC = TimeBasedRateLimitMonitor(min_delay=0.5).spec


def pages() -> tuple[SupervisorLive, WorkerLive, memoryview]:
    words = memoryview(bytearray(layout.LIVE_WORDS * 8)).cast("Q")
    return SupervisorLive(words), WorkerLive(words), words


def test_a_request_is_seen_once_and_answered() -> None:
    supervisor, worker, _ = pages()
    assert supervisor.request() is None
    worker.request(LiveLimit("a", SPEC))
    assert worker.answer() is None
    assert supervisor.request() == LiveLimit("a", SPEC)
    supervisor.answer(granted=True)
    assert (supervisor.request(), worker.answer()) == (None, True)
    worker.request(LiveLimit(None, None))
    supervisor.answer(granted=False)
    assert worker.answer() is False


def test_a_table_is_new_until_it_is_read() -> None:
    supervisor, worker, _ = pages()
    assert not worker.is_new()
    for table in ([LiveLimit("a", SPEC)], [LiveLimit("a", None), LiveLimit(None, SPEC)], []):
        supervisor.publish(table)
        assert worker.is_new()
        assert worker.read() == table
        assert not worker.is_new()


def test_a_table_that_is_being_written_is_read_later() -> None:
    supervisor, worker, words = pages()
    supervisor.publish([LiveLimit("a", SPEC)])
    words[layout.CHANGES] += 1
    assert worker.read() is None
    assert worker.is_new()
    words[layout.CHANGES] += 1
    assert worker.read() == [LiveLimit("a", SPEC)]


def test_what_is_no_request_is_refused() -> None:
    supervisor, worker, words = pages()
    worker.request(LiveLimit("a", SPEC))
    words[layout.REQUEST_LENGTH] = 1 << 63
    with pytest.raises(msgspec.MsgspecError):
        supervisor.request()


def test_a_request_that_does_not_fit_is_told_so() -> None:
    _, worker, _ = pages()
    with pytest.raises(ValueError, match="too long"):
        worker.request(LiveLimit("a" * 5000, SPEC))


def test_each_action_has_a_seat_behind_those_of_the_limits() -> None:
    live = LiveLimits(["a", "b"], 1)
    assert [live.number_of(action) for action in ("a", "b", None)] == [1, 2, 3]


def test_limits_are_named_after_what_they_were_set_for() -> None:
    live = LiveLimits(["a", "b"], 1)
    for action in ("a", None, "a"):
        live.add(LiveLimit(action, SPEC))
    named = [it.limit for it in live.limits if it.limit]
    assert [(it.name, it.scope, it.actions) for it in named] == [
        ("action a, set", "action", ["a"]),
        ("default, set", "action", []),
    ]


def test_unknown_actions_and_more_than_fits_are_refused() -> None:
    assert LiveLimits(["a", "b"], 1).add(LiveLimit("c", SPEC)) is None
    many = LiveLimits([f"action-{n}" for n in range(100)], 1)
    granted = [many.add(LiveLimit(f"action-{n}", SPEC)) is not None for n in range(100)]
    assert granted == sorted(granted, reverse=True)
    assert (granted[0], granted[-1]) == (True, False)
    assert len(many.limits) == sum(granted)


def test_a_monitor_can_be_made_from_its_limit() -> None:
    spec = CustomRateLimitMonitor(window_size=60, max_requests=1).spec
    monitor = LimitMonitor.of(spec)
    assert isinstance(monitor, CustomRateLimitMonitor)
    assert monitor.admit(0) is None
    refusal = monitor.admit(0)
    assert refusal is not None
    assert refusal["window_size"] == 60
