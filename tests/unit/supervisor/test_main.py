"""The daemon comes up left to right and goes right to left, also from half way; whoever asks it to stop, the first
reason is the one that counts. Its parts are told what to do and note it; no process, no signal, the clock jumps."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pool_support import FakeLimits, FakeZygote
from stepped_loop import SteppedLoop

from arbd.errors import EXIT_FAILURE, EXIT_OK, EXIT_UNEXPECTED, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.host import open_files
from arbd.links.base import LinkHealth
from arbd.model.link_stats import LinkStats
from arbd.settings.table import Resolved, from_flags, resolve
from arbd.supervisor import loading, sources
from arbd.supervisor import main as module
from arbd.supervisor.loading import Loaded
from arbd.supervisor.log_level import LogLevelChange
from arbd.supervisor.main import HURRIED_DRAIN_S, Daemon
from arbd.supervisor.reload_outcome import ReloadOutcome, SettingChange
from arbd.supervisor.request import RunRequest
from arbd.supervisor.rotation import Rotation

FLAGS = {"name": "p", "control.socket": "off", "workers": 2, "pin": False, "drain_timeout": 30.0}


class Boom(Exception):
    """Something nobody expects."""


class Link:
    """A link to no hub."""

    sends_one_by_one = False

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.stats = LinkStats()
        self.error: Exception | None = None

    def health(self, now: float) -> LinkHealth:
        return LinkHealth()

    async def start(self, port: Any) -> None:
        self.notes.append("link starts")
        if self.error is not None:
            raise self.error

    def renew(self, settings: Any, options: Any) -> None:
        self.renewed = settings, options

    def slots_changed(self) -> None:
        pass

    def results_ready(self) -> None:
        pass

    async def close(self) -> None:
        self.notes.append("link closes")


class Limits(FakeLimits):
    """Limits that note their end."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__()
        self.notes = notes

    def close(self) -> None:
        self.notes.append("limits close")

    async def wait_closed(self) -> None:
        self.notes.append("limits closed")


class Rig:
    """A daemon whose generations, drain and link are notes. ``when``: what happens in the loop, and after how long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.loop = SteppedLoop()
        self.notes: list[str] = []
        self.hurried: list[float] = []
        self.on_reloaded: list[Callable[[ReloadOutcome], None]] = []
        self.drain_s = 0.0
        self.sends_all = True
        self.load_s = 0.0
        self.load_error: Exception | None = None
        self.start_error: Exception | None = None
        self.zygote = FakeZygote()
        self.link = Link(self.notes)
        self.flags: dict[str, Any] = {**FLAGS, "runtime_dir": str(directory)}
        self.when: list[tuple[float, Callable[[], object]]] = []
        self.ended_at_last: list[tuple[float, int]] = []
        self.at_once: asyncio.Event | None = None
        rig = self

        class Generations:
            def __init__(self, request: Any, settings: Any, flow: Any, owner: Any) -> None:
                self.on_reloaded = rig.on_reloaded
                self.adjusts: list[Any] = []
                assert owner is rig.daemon

            def adopt(self, loaded: Loaded) -> None:
                rig.notes.append("adopt")
                if rig.start_error is not None:
                    raise rig.start_error

            def reload(self) -> None:
                rig.notes.append("reload")

            async def close(self) -> None:
                rig.notes.append("generations close")

        class Drain:
            def __init__(self, flow: Any, at_once: asyncio.Event, stop_timeout: float, long_poll: float) -> None:
                rig.at_once = at_once

            def hurry(self, timeout: float) -> None:
                rig.hurried.append(timeout)

            async def run(self, timeout: float) -> bool:
                rig.notes.append(f"drain {timeout:g}")
                await asyncio.sleep(rig.drain_s)
                return rig.sends_all

        class Thread:
            def __init__(self, target: Any, args: tuple[float, int], daemon: bool) -> None:
                self.args = args

            def start(self) -> None:
                rig.ended_at_last.append(self.args)

        monkeypatch.setattr(module, "Generations", Generations)
        monkeypatch.setattr(module, "Drain", Drain)
        monkeypatch.setattr(module, "DaemonLimits", lambda *_: Limits(self.notes))
        monkeypatch.setattr(loading, "load", self._load)
        monkeypatch.setattr(threading, "Thread", Thread)
        monkeypatch.setattr(time, "monotonic", self.loop.time)
        self.daemon = self.make(owns_process=False)

    def make(self, *, owns_process: bool, **words: Any) -> Daemon:
        link: Any = self.link
        return Daemon(RunRequest(target="t", **words), lambda *_: link, owns_process=owns_process)

    async def _load(self, request: RunRequest) -> Loaded:
        self.notes.append("load")
        try:
            await asyncio.sleep(self.load_s)
        except asyncio.CancelledError:
            self.notes.append("load cancelled")
            raise
        if self.load_error is not None:
            raise self.load_error
        zygote: Any = self.zygote
        return Loaded(zygote, self.resolved(), 0.1)

    def resolved(self) -> Resolved:
        return resolve([from_flags(self.flags)])

    def run(self) -> int:
        """The exit code."""

        async def run() -> int:
            for seconds, act in self.when:
                self.loop.call_later(seconds, act)
            return await self.daemon.run()

        return self.loop.run(run())


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(monkeypatch, tmp_path)
    yield rig
    rig.loop.close()


def boom() -> None:
    raise Boom


# -- the course of events --------------------------------------------------------------------------------------------


def test_it_starts_from_left_to_right_and_stops_from_right_to_left(rig: Rig) -> None:
    rig.when = [(1.0, rig.daemon.request_stop)]
    assert rig.run() == EXIT_OK
    assert rig.notes == [
        "load",
        "adopt",
        "link starts",
        "drain 30",
        "link closes",
        "generations close",
        "limits close",
        "limits closed",
    ]
    assert rig.zygote.is_closed
    assert rig.hurried == []


def test_results_that_are_left_are_a_failure(rig: Rig) -> None:
    rig.sends_all = False
    rig.when = [(1.0, rig.daemon.request_stop)]
    assert rig.run() == EXIT_FAILURE


def test_a_second_request_to_stop_is_immediate(rig: Rig) -> None:
    seen: list[bool] = []
    rig.drain_s = 10.0
    rig.when = [
        (1.0, rig.daemon.request_stop),
        (2.0, lambda: seen.append(bool(rig.at_once and rig.at_once.is_set()))),
        (3.0, rig.daemon.request_stop),
        (4.0, lambda: seen.append(bool(rig.at_once and rig.at_once.is_set()))),
    ]
    assert rig.run() == EXIT_OK
    assert seen == [False, True]


def test_a_stop_while_the_code_is_loaded_waits_for_nothing(rig: Rig) -> None:
    rig.load_s = 600.0
    rig.when = [(1.0, rig.daemon.request_stop)]
    began_at = rig.loop.now
    assert rig.run() == EXIT_OK
    assert rig.notes == ["load", "load cancelled"]
    assert rig.loop.now - began_at < 2.0


def test_one_in_the_moment_in_which_it_is_loaded_leaves_no_zygote(rig: Rig) -> None:
    rig.load_s = 1.0
    rig.when = [(1.0, rig.daemon.request_stop)]
    assert rig.run() == EXIT_OK
    assert rig.notes[:2] == ["load", "adopt"]
    assert rig.notes[-1] == "limits closed"
    assert rig.zygote.is_closed


@pytest.mark.parametrize("error", [ConfigError(["wrong"]), ZygoteError("the code fails")])
def test_what_is_the_operator_s_or_the_author_s_to_mend_is_raised(rig: Rig, error: Exception) -> None:
    rig.load_error = error
    with pytest.raises(type(error)):
        rig.run()
    assert rig.notes == ["load"]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), Boom()])
def test_what_is_not_ends_it_with_a_code_of_its_own(rig: Rig, error: Exception) -> None:
    rig.load_error = error
    assert rig.run() == EXIT_UNEXPECTED


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), Boom(), ConfigError(["wrong"])])
@pytest.mark.parametrize("where", ["adopt", "link starts"])
def test_a_start_that_fails_half_way_gives_everything_back(rig: Rig, where: str, error: Exception) -> None:
    if where == "adopt":
        rig.start_error = error
    else:
        rig.link.error = error
    if isinstance(error, ConfigError):
        with pytest.raises(ConfigError):
            rig.run()
    else:
        assert rig.run() == EXIT_UNEXPECTED
    assert rig.notes[rig.notes.index(where) + 1 :] == ["generations close", "limits close", "limits closed"]
    assert rig.zygote.is_closed
    assert rig.zygote.is_gone


# -- what ends it otherwise ------------------------------------------------------------------------------------------


def test_something_unexpected_ends_it_in_a_hurry(rig: Rig) -> None:
    rig.drain_s = 1.0
    rig.when = [(1.0, boom)]
    assert rig.run() == EXIT_UNEXPECTED
    assert rig.hurried[0] == HURRIED_DRAIN_S
    assert "drain 30" in rig.notes
    assert rig.notes[-1] == "limits closed"


def test_so_it_does_before_there_is_a_drain_that_could_be_told(rig: Rig) -> None:
    rig.load_s = 2.0
    rig.when = [(1.0, boom)]
    assert rig.run() == EXIT_UNEXPECTED
    assert "drain 30" not in rig.notes  # there is nothing yet that could be drained
    assert rig.notes == ["load", "load cancelled"]


def test_or_while_it_starts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails_later(port: Any) -> None:
        rig.loop.call_soon(boom)
        await asyncio.sleep(0.1)

    monkeypatch.setattr(rig.link, "start", fails_later)
    assert rig.run() == EXIT_UNEXPECTED
    assert rig.hurried[-1] == HURRIED_DRAIN_S
    assert "drain 30" in rig.notes


def test_and_while_it_drains(rig: Rig) -> None:
    rig.drain_s = 5.0
    rig.when = [(1.0, rig.daemon.request_stop), (2.0, boom)]
    assert rig.run() == EXIT_UNEXPECTED
    assert rig.hurried == [HURRIED_DRAIN_S]


def test_a_request_to_stop_after_that_is_the_first_one(rig: Rig) -> None:
    rig.drain_s = 5.0
    rig.when = [(1.0, boom), (2.0, rig.daemon.request_stop)]
    assert rig.run() == EXIT_UNEXPECTED
    assert rig.at_once is not None
    assert not rig.at_once.is_set()


def test_one_that_can_run_nothing_any_more_says_so_by_its_exit_code(rig: Rig) -> None:
    rig.when = [(1.0, lambda: rig.daemon.give_up(EXIT_ZYGOTE, "no_zygote", "hint"))]
    assert rig.run() == EXIT_ZYGOTE
    assert rig.hurried[0] == HURRIED_DRAIN_S


@pytest.mark.parametrize("sends_all", [True, False])
def test_the_first_reason_is_the_one_that_counts(rig: Rig, sends_all: bool) -> None:
    rig.drain_s = 5.0
    rig.sends_all = sends_all
    rig.when = [
        (1.0, lambda: rig.daemon.give_up(EXIT_ZYGOTE, "no_zygote", "hint")),
        (2.0, lambda: rig.daemon.give_up(EXIT_UNEXPECTED, "workers_cannot_start", "hint")),
        (3.0, boom),
    ]
    assert rig.run() == EXIT_ZYGOTE


# -- reload ----------------------------------------------------------------------------------------------------------


def test_a_reload_is_passed_on(rig: Rig) -> None:
    rig.when = [(1.0, rig.daemon.request_reload), (2.0, rig.daemon.request_stop)]
    rig.run()
    assert rig.notes.count("reload") == 1


def test_one_that_is_asked_for_while_it_starts_is_made_once_it_serves(rig: Rig) -> None:
    """What is being loaded may be the code of before."""
    rig.load_s = 1.0
    rig.when = [(0.2, rig.daemon.request_reload), (0.5, rig.daemon.request_reload), (2.0, rig.daemon.request_stop)]
    rig.run()
    assert rig.notes.count("reload") == 1
    assert rig.notes.index("reload") > rig.notes.index("link starts")


def test_one_that_is_asked_for_after_a_stop_is_not_made(rig: Rig) -> None:
    rig.drain_s = 5.0
    rig.when = [(1.0, rig.daemon.request_stop), (2.0, rig.daemon.request_reload)]
    rig.run()
    assert "reload" not in rig.notes


def watches(*batches: list[str], then: Exception | None = None) -> Callable[[Any, Any], AsyncIterator[list[str]]]:
    """In place of ``sources.changes``: one change a second, and then an error, or nothing more."""

    async def changes(files: Callable[[], list[str]], others: Callable[[], list[str]]) -> AsyncIterator[list[str]]:
        for batch in batches:
            await asyncio.sleep(1.0)
            yield batch
        if then is not None:
            raise then
        await asyncio.Event().wait()

    return changes


def test_what_needs_a_restart_ends_a_daemon_under_dev_to_be_started_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "changes", watches())
    rig.daemon = rig.make(owns_process=False, dev=True)
    applied = ReloadOutcome(number=1, applied={"prefetch": SettingChange(1, 2)})
    needed = ReloadOutcome(number=2, needs_restart={"workers": SettingChange(1, 2)})
    rig.when = [
        (1.0, lambda: rig.on_reloaded[0](applied)),
        (2.0, lambda: rig.notes.append("still there")),
        (3.0, lambda: rig.on_reloaded[0](needed)),
    ]
    assert rig.run() == EXIT_OK
    assert rig.notes.index("still there") < rig.notes.index("drain 30")
    assert rig.daemon.is_to_be_restarted


def test_another_daemon_does_not_end_for_that(rig: Rig) -> None:
    rig.when = [(1.0, rig.daemon.request_stop)]
    rig.run()
    assert (rig.on_reloaded, rig.daemon.is_to_be_restarted) == ([], False)


def test_settings_that_change_reach_every_part_the_link_last(rig: Rig) -> None:
    changed = msgspec.structs.replace(rig.resolved().settings, prefetch=5, kill_grace=1.5, drain_timeout=7.0)
    rig.when = [(1.0, lambda: rig.daemon._in_force.reload(changed, changed)), (2.0, rig.daemon.request_stop)]
    rig.run()
    assert rig.link.renewed[0] == changed
    generations: Any = rig.daemon._generations
    adjusting = [type(adjust.__self__) for adjust in generations.adjusts]
    assert adjusting == [LogLevelChange, Rotation]
    assert "drain 7" in rig.notes


@pytest.mark.parametrize("then", [None, OSError(28, "No space left on device"), RuntimeError("inotify limit")])
def test_a_change_of_a_source_is_a_reload_as_long_as_the_kernel_watches(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, then: Exception | None
) -> None:
    monkeypatch.setattr(sources, "changes", watches(["a.py"], ["b.py"], then=then))
    rig.daemon = rig.make(owns_process=False, dev=True)
    rig.when = [(5.0, rig.daemon.request_stop)]
    assert rig.run() == EXIT_OK
    assert rig.notes.count("reload") == 2


# -- a process of its own --------------------------------------------------------------------------------------------


@pytest.fixture
def owner(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A daemon that owns its process: what it would do to this one is noted."""
    rig.daemon = rig.make(owns_process=True)
    monkeypatch.setattr(open_files, "raise_limit", lambda: 1024)
    monkeypatch.setattr(open_files, "require", lambda count, what: rig.notes.append(f"require {count}"))
    monkeypatch.setattr(gc, "freeze", lambda: rig.notes.append("freeze"))
    monkeypatch.setattr(Daemon, "_configure_logs", lambda *_: rig.notes.append("logs"))
    monkeypatch.setattr(rig.loop, "add_signal_handler", lambda *_: None)
    return rig


def test_signals_call_what_others_call(owner: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(owner.loop, "add_signal_handler", lambda signum, call, *_: handlers.update({signum: call}))
    owner.when = [(1.0, lambda: handlers[signal.SIGHUP]()), (2.0, lambda: handlers[signal.SIGTERM]())]
    assert owner.run() == EXIT_OK
    assert handlers == {
        signal.SIGTERM: owner.daemon.request_stop,
        signal.SIGINT: owner.daemon.request_stop,
        signal.SIGHUP: owner.daemon.request_reload,
        signal.SIGTTIN: owner.daemon.request_scale,
        signal.SIGTTOU: owner.daemon.request_scale,
        signal.SIGUSR1: owner.daemon.request_self_report,
    }
    assert "reload" in owner.notes


def test_descriptors_are_asked_for_before_anything_takes_them(owner: Rig) -> None:
    owner.when = [(1.0, owner.daemon.request_stop)]
    owner.run()
    assert owner.notes.index("require 80") < owner.notes.index("adopt")
    assert owner.notes[:2] == ["load", "logs"]


def test_too_few_of_them_are_told(owner: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_few(*_: Any) -> None:
        raise ConfigError(["2 workers need 76 open files"])

    monkeypatch.setattr(open_files, "require", too_few)
    with pytest.raises(ConfigError, match="76 open files"):
        owner.run()
    assert owner.zygote.is_closed


def test_its_end_has_an_end_whatever_hangs(owner: Rig) -> None:
    owner.when = [(1.0, owner.daemon.request_stop)]
    owner.run()
    assert owner.ended_at_last == [(15.0, EXIT_OK)]


def test_and_a_hurried_one_a_nearer_one(owner: Rig) -> None:
    owner.when = [(1.0, boom)]
    owner.run()
    assert owner.ended_at_last == [(9.5, EXIT_UNEXPECTED), (15.0, EXIT_UNEXPECTED)]


@pytest.mark.parametrize(("exit_code", "expected"), [(EXIT_OK, EXIT_UNEXPECTED), (EXIT_ZYGOTE, EXIT_ZYGOTE)])
def test_that_end_is_no_success(monkeypatch: pytest.MonkeyPatch, exit_code: int, expected: int) -> None:
    done: list[Any] = []
    monkeypatch.setattr(time, "sleep", done.append)
    monkeypatch.setattr(os, "_exit", done.append)
    module._end_process(15.0, exit_code)
    assert done == [15.0, expected]
