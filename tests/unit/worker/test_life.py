"""A worker starts and stops step by step: what fails, takes too long or hangs is named, and costs no other step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from arbd.author.provider import Provider
from arbd.errors import EXIT_FAILURE, EXIT_UNFIT, TaskTimeout
from arbd.worker import endings, inherited, life
from arbd.worker.life import NotFit, WorkerLife
from arbd.worker.resources import OpenResources, common_values


class FakeTimer:
    """Strikes when a step says so; notes whether it was armed, and for when."""

    def __init__(self) -> None:
        self.armed: list[float] = []
        self.is_armed = False

    def arm(self, deadline: float, seq: int = 0) -> None:
        self.armed.append(deadline)
        self.is_armed = True

    def disarm(self) -> None:
        self.is_armed = False


class FakeWatchdog:
    """Watches nothing; keeps what it would call."""

    made: list[FakeWatchdog]

    def __init__(self, seconds: float, on_late: Callable[[str], NoReturn]) -> None:
        self.seconds, self.on_late, self.step = seconds, on_late, ""
        self.made.append(self)

    def __enter__(self) -> FakeWatchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.step += " (done)"


class Clock:
    """The clock of the life, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Living:
    """A worker's life on fakes; ``said``: what its steps did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.provider = Provider("fx")
        self.said: list[str] = []
        self.unfit: list[str] = []
        self.clock = Clock()
        self.timer = FakeTimer()
        FakeWatchdog.made = []
        monkeypatch.setattr(life, "time", self.clock)
        monkeypatch.setattr(life, "Watchdog", FakeWatchdog)
        for module, name in (
            (endings, "shut_down"),
            (endings, "join_threads"),
            (endings, "run_exit_functions"),
            (inherited, "end_tracker"),
        ):
            monkeypatch.setattr(module, name, self._noting(name))
        monkeypatch.setattr(inherited, "write_out", self._write_out)

    def _noting(self, name: str) -> Callable[..., None]:
        return lambda *_: self.said.append(name)

    def _write_out(self) -> list[Exception]:
        self.said.append("write_out")
        return []

    def make(self, start_timeout: float = 30.0, stop_timeout: float = 5.0, **options: Any) -> WorkerLife:
        lifespan = self.provider.actions.lifespan
        run: Any = lambda awaitable, _: awaitable.close()  # noqa: E731 # nothing asynchronous here
        resources = OpenResources(lifespan, common_values(self.provider), run)
        runner: Any = SimpleNamespace(made_loop=None)
        timer: Any = self.timer
        options |= {"start_timeout": start_timeout, "stop_timeout": stop_timeout}
        return WorkerLife(lifespan, resources, runner, timer, self.unfit.append, **options)

    def hook(self, moment: str, name: str, act: Callable[[], Any] = lambda: None) -> None:
        def function() -> None:
            self.said.append(f"{moment} {name}")
            assert self.timer.is_armed
            act()

        function.__name__ = name
        getattr(self.provider, f"on_worker_{moment}")(function)

    def resource(self, name: str, lazy: bool = False, end: Callable[[], Any] = lambda: None) -> None:
        def function() -> Iterator[str]:
            self.said.append(f"open {name}")
            yield name
            self.said.append(f"close {name}")
            end()

        self.provider.resource(name=name, lazy=lazy)(function)

    def strike(self) -> NoReturn:
        """The timer strikes: the time is over."""
        self.clock.now = self.timer.armed[-1]
        raise TaskTimeout


LAST = ["shut_down", "join_threads", "run_exit_functions", "write_out", "end_tracker"]


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> Living:
    return Living(monkeypatch)


def events(capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, Any]]:
    """The log lines of one event."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def raising(exc: BaseException) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise exc

    return act


# --- start -------------------------------------------------------------------------------------------------------


def test_without_hooks_and_resources_nothing_is_watched(living: Living) -> None:
    living.resource("lazy", lazy=True)
    living.make().start()
    assert (living.said, living.timer.armed, FakeWatchdog.made) == ([], [], [])


def test_hooks_then_resources_each_behind_what_it_takes(living: Living) -> None:
    living.resource("first")
    living.resource("lazy", lazy=True)
    living.hook("start", "one")
    living.provider.resource(name="derived")(lambda lazy: living.said.append("open derived"))
    living.provider.on_worker_start(lambda derived: living.said.append("start two"))
    living.make().start()
    assert living.said == ["start one", "open lazy", "open derived", "start two", "open first"]
    assert {*living.timer.armed} == {1030.0}
    assert not living.timer.is_armed
    assert [(each.seconds, each.step) for each in FakeWatchdog.made] == [(31.0, "resource first (done)")]


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (ConnectionRefusedError("nobody listens"), "ConnectionRefusedError: nobody listens"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_one_that_fails_is_named_and_ends_the_start(living: Living, exc: BaseException, words: str) -> None:
    living.hook("start", "one", raising(exc))
    living.hook("start", "two")
    with pytest.raises(NotFit) as caught:
        living.make().start()
    assert str(caught.value) == f"start hook one: {words}"
    assert living.said == ["start one"]


def test_so_is_one_whose_resource_takes_too_long(living: Living) -> None:
    living.provider.resource(name="slow")(living.strike)
    living.provider.resource(name="user")(lambda slow: 1)
    with pytest.raises(NotFit) as caught:
        living.make(start_timeout=2.5).start()
    assert str(caught.value) == "resource slow: TimeoutError: not done within worker.start_timeout (2.5 s)"


def test_and_one_that_swallows_the_interruption(living: Living) -> None:
    def swallow() -> None:
        living.clock.now += 60

    living.hook("start", "one", swallow)
    with pytest.raises(NotFit, match="start hook one: TimeoutError"):
        living.make().start()


def test_one_that_cannot_be_interrupted_ends_the_process(living: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    living.hook("start", "one", lambda: FakeWatchdog.made[0].on_late(FakeWatchdog.made[0].step))
    living.make().start()
    assert living.unfit == ["start hook one: TimeoutError: not done within worker.start_timeout (30 s)"]
    assert ended == [EXIT_UNFIT]


def test_a_child_that_comes_back_from_a_step_ends(living: Living) -> None:
    class Child(BaseException):
        pass

    living.hook("start", "one")
    living.hook("start", "two")
    with pytest.raises(NotFit, match="Child"):
        living.make(end_if_child=raising(Child())).start()
    assert living.said == ["start one"]


# --- stop --------------------------------------------------------------------------------------------------------


def test_everything_in_reverse_and_then_the_rest(living: Living) -> None:
    for name in ("one", "two"):
        living.hook("stop", name)
        living.resource(name)
    living.resource("lazy", lazy=True)
    worker = living.make()
    worker.start()
    worker.stop()
    assert living.said[2:] == ["stop two", "stop one", "close two", "close one", *LAST]
    assert {*living.timer.armed[2:]} == {1004.5}
    assert FakeWatchdog.made[-1].seconds == 5.0


def test_without_any_hook_the_rest_is_done(living: Living) -> None:
    worker = living.make()
    worker.start()
    worker.stop()
    assert living.said == LAST


def test_with_no_time_nothing_is(living: Living) -> None:
    living.hook("stop", "one")
    worker = living.make(stop_timeout=0)
    worker.start()
    worker.stop()
    assert living.said == []


def test_one_that_did_not_start_closes_what_was_open(living: Living) -> None:
    living.resource("one")
    living.provider.resource(name="broken")(raising(OSError("no")))
    living.hook("stop", "hook")
    worker = living.make()
    with pytest.raises(NotFit):
        worker.start()
    worker.stop()
    assert living.said == ["open one", "close one", *LAST]


@pytest.mark.parametrize("exc", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_fails_costs_no_other_step(
    living: Living, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, exc: BaseException
) -> None:
    living.resource("one")
    living.resource("two", end=raising(exc))
    living.hook("stop", "one")
    living.hook("stop", "two", raising(exc))
    monkeypatch.setattr(endings, "join_threads", lambda _: raising(exc)())
    worker = living.make()
    worker.start()
    worker.stop()
    rest = [each for each in LAST if each != "join_threads"]
    assert living.said[2:] == ["stop two", "stop one", "close two", "close one", *rest]
    steps = [line["step"] for line in events(capsys, "stop_step_failed")]
    assert steps == ["stop hook two", "resource two", "threads"]


def test_one_that_takes_all_the_time_leaves_the_others_a_moment(
    living: Living, capsys: pytest.CaptureFixture[str]
) -> None:
    living.resource("one")
    living.hook("stop", "one")
    living.hook("stop", "two", living.strike)
    worker = living.make()
    worker.start()
    worker.stop()
    assert living.said[1:] == ["stop two", "stop one", "close one", *LAST]
    two, one, closing = living.timer.armed[1:]
    assert two == 1004.5
    assert 1004.5 < one < closing < 1005
    [line] = events(capsys, "stop_step_interrupted")
    assert line["step"] == "stop hook two"


def test_what_hangs_ends_with_the_process_and_is_named(
    living: Living, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    late: Any = lambda _: FakeWatchdog.made[-1].on_late(FakeWatchdog.made[-1].step)  # noqa: E731 # one expression
    monkeypatch.setattr(endings, "run_exit_functions", late)
    living.make().stop()
    assert ended == [EXIT_FAILURE]
    [line] = events(capsys, "stop_timeout")
    assert line["step"] == "atexit"


def test_files_that_cannot_be_written_are_told_of(
    living: Living, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inherited, "write_out", lambda: [OSError("No space left on device")])
    living.make().stop()
    [line] = events(capsys, "file_not_written")
    assert line["reason"] == "No space left on device"
