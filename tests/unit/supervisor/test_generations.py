"""One generation follows the other, or what ran goes on; a zygote that dies or hangs is replaced, and a daemon that can
run nothing any more says so. The pool is the real one, zygotes and workers have no process, the clock jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from pool_support import FakeZygote, PoolRig, ProcesslessWorker, namespace
from stepped_loop import SteppedLoop

from arbd.core import restarts
from arbd.core.lifecycle import State
from arbd.errors import EXIT_UNEXPECTED, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.logs import notable
from arbd.settings.files import Sources
from arbd.settings.table import Settings, from_flags, resolve
from arbd.supervisor import generations as module
from arbd.supervisor import loading
from arbd.supervisor.generations import Generations
from arbd.supervisor.in_force import InForce
from arbd.supervisor.loading import Earlier, Loaded
from arbd.supervisor.reload_outcome import ReloadOutcome
from arbd.supervisor.request import RunRequest

FIRST_LOAD_S = 0.2
LOAD_TIMEOUT_S = 60.0
HANG = "hang"


class Boom(Exception):
    """Something nobody expects."""


class FakeFlow:
    """What generations tell about tasks."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.actions: list[str] = []
        self.served: list[int] = []
        self.closed: list[int] = []
        self.settled: list[tuple[int, int | None]] = []
        self.dispatcher = namespace(close_worker=self.closed.append, has_worker=lambda _: False)

    def set_actions(self, description: Any) -> None:
        self.actions = [action.name for action in description.actions]

    def add(self, worker: Any) -> None:
        self.served.append(worker.id)

    def settle(self, worker: Any, status: int | None) -> None:
        self.settled.append((worker.id, status))


class Generation(PoolRig):
    """Generations over a pool of two slots. ``next_loads``: what the next loads come to, each after a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped = SteppedLoop()
        monkeypatch.setattr(time, "monotonic", self.stepped.time)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.stepped.now * 1e9))
        monkeypatch.setattr(loading, "load", self._load)
        self._monkeypatch = monkeypatch
        self.next_loads: list[FakeZygote | Exception | str] = []
        self.loads = 0
        self.befores: list[Earlier] = []
        self.flags: dict[str, Any] = {}  # the settings that are loaded with the code
        self.sources = Sources([], {})
        self.load_s = 1.0
        self.was_serving = 0
        self.reloads_told = 0
        self.given_up: list[tuple[int, str]] = []

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """A test, in the loop."""

        async def run() -> None:
            PoolRig.__init__(self, self._monkeypatch, self.stepped)
            self.flow = FakeFlow(self.pool)
            flow: Any = self.flow
            owner: Any = self
            settings = self.in_force = InForce(resolve([]).settings)
            self.generations = Generations(RunRequest(target="target"), settings, flow, owner)
            try:
                await test()
            finally:
                await self.generations.close()
                self.pool.close()

        self.stepped.run(run())

    async def _load(self, request: RunRequest, before: Earlier) -> Loaded:
        self.loads += 1
        self.befores.append(before)
        outcome = self.next_loads.pop(0)
        if outcome == HANG:
            await asyncio.Event().wait()
        await asyncio.sleep(self.load_s)
        if isinstance(outcome, Exception):
            raise outcome
        return self.loaded(outcome)

    def loaded(self, zygote: Any, took_s: float = FIRST_LOAD_S) -> Loaded:
        return Loaded(zygote, resolve([from_flags(self.flags)]), took_s, self.sources)

    async def serve(self) -> None:
        """The first generation serves."""
        self.generations.adopt(self.loaded(self.zygote))
        self.boot()
        await asyncio.sleep(0)

    async def reload(self, to: FakeZygote | Exception | str, seconds: float = 1.5) -> None:
        """A reload, and so much time."""
        self.next_loads.append(to)
        self.generations.reload()
        await asyncio.sleep(seconds)

    def lose(self, zygote: FakeZygote) -> None:
        """Its process ends."""
        zygote.lost = True
        of_generations: Any = zygote
        self.generations.on_zygote_lost(of_generations)

    def fall_silent(self, zygote: FakeZygote) -> None:
        of_generations: Any = zygote
        self.generations.on_zygote_silent(of_generations)

    def end_all(self, zygote: FakeZygote, status: int = 0) -> None:
        """All its workers end, and it says so."""
        for worker in self.workers(zygote):
            self.end(worker, status)

    def born(self, worker: ProcesslessWorker) -> None:
        self.hear(worker)
        self.generations.on_spawned(worker.id, 5000 + worker.id, 6000 + worker.id)

    def end(self, worker: ProcesslessWorker, status: int = 0, reason: str = "") -> None:
        self.hear(worker)
        self.generations.on_exited(worker.id, status, reason)

    async def until(self, condition: Callable[[], object]) -> None:
        """The clock goes on until then."""
        began_at = self.stepped.now
        while not condition():
            await asyncio.sleep(0.01)
            assert self.stepped.now < began_at + 100, "it never comes"

    # -- the owner

    def on_reloading(self) -> None:
        self.reloads_told += 1

    def on_serving(self) -> None:
        self.was_serving += 1

    def give_up(self, exit_code: int, event: str, hint: str) -> None:
        self.given_up.append((exit_code, event))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Generation]:
    rig = Generation(monkeypatch)
    yield rig
    rig.stepped.close()


# -- adopt -----------------------------------------------------------------------------------------------------------


def test_the_first_worker_puts_its_actions_in_force_and_the_last_completes_it(rig: Generation) -> None:
    async def test() -> None:
        rig.generations.adopt(rig.loaded(rig.zygote))
        assert len(rig.zygote.configured) == 1
        first, second = rig.workers()
        rig.boot(first)
        assert rig.flow.actions == ["act"]
        assert (rig.flow.served, rig.was_serving) == ([first.id], 0)
        rig.boot(second)
        assert rig.was_serving == 1

    rig.run(test)


def test_it_is_complete_as_well_when_the_zygote_is_the_last_to_say_so(rig: Generation) -> None:
    async def test() -> None:
        rig.generations.adopt(rig.loaded(rig.zygote))
        workers: list[Any] = rig.workers()
        for worker in workers:
            rig.pool.on_ready(worker)
        assert rig.was_serving == 0
        for worker in workers:
            rig.born(worker)
        assert rig.was_serving == 1

    rig.run(test)


@pytest.mark.parametrize("who", ["zygote", "limits"])
def test_one_that_cannot_be_adopted_stays_its_caller_s(rig: Generation, who: str) -> None:
    async def test() -> None:
        error: Exception = OSError(105, "No buffer space") if who == "zygote" else ConfigError(["no such directory"])
        owner: Any = rig.zygote if who == "zygote" else rig.limits
        owner.error = error
        with pytest.raises(type(error)):
            rig.generations.adopt(rig.loaded(rig.zygote))
        assert rig.workers() == []
        await rig.generations.close()
        assert not rig.zygote.is_closed

    rig.run(test)


def test_what_concerns_tasks_is_passed_on(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        worker, _ = rig.workers()
        rig.end(worker, -9)
        assert rig.flow.settled == [(worker.id, -9)]

    rig.run(test)


# -- reload ----------------------------------------------------------------------------------------------------------


def test_a_reload_moves_over_and_the_old_zygote_goes_with_its_last_worker(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest", action="new")
        await rig.reload(newest)
        assert rig.flow.actions == ["act"]
        assert not rig.generations.is_loading
        rig.boot(*rig.workers(newest))
        assert rig.flow.actions == ["new"]
        assert rig.flow.closed == [1, 2]
        await asyncio.sleep(0)
        assert not rig.zygote.is_closed
        rig.end_all(rig.zygote)
        await asyncio.sleep(0)
        assert rig.zygote.is_closed
        await asyncio.sleep(0)
        assert (rig.zygote.is_gone, rig.zygote.is_killed) == (True, False)

    rig.run(test)


def test_a_generation_that_a_newer_one_has_overtaken_takes_no_task(rig: Generation) -> None:
    """Its actions never hold: a task of the generation in force could name one that it does not have."""

    async def test() -> None:
        await rig.serve()
        overtaken, newest = FakeZygote("overtaken", action="overtaken"), FakeZygote("newest", action="new")
        await rig.reload(overtaken)
        await rig.reload(newest)
        late = rig.workers(overtaken)
        rig.boot(*late)
        assert [worker.id for worker in late if worker.state is State.SERVING] == []
        assert rig.flow.actions == ["act"]
        rig.boot(*rig.workers(newest))
        assert rig.flow.actions == ["new"]

    rig.run(test)


FAILURES = [ZygoteError("the code fails"), ConfigError(["no such setting"]), OSError(24, "Too many open files"), HANG]


@pytest.mark.parametrize("failure", FAILURES)
def test_code_that_cannot_be_loaded_leaves_what_was_running(rig: Generation, failure: Exception | str) -> None:
    async def test() -> None:
        await rig.serve()
        await rig.reload(failure, LOAD_TIMEOUT_S + 1)
        assert not rig.generations.is_loading
        assert rig.loads == 1
        assert len(rig.workers(rig.zygote)) == 2
        assert {worker.state for worker in rig.workers()} == {State.SERVING}
        assert rig.given_up == []

    rig.run(test)


def test_what_cannot_be_adopted_is_ended_and_what_was_running_goes_on(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        newest.error = OSError(105, "No buffer space")
        await rig.reload(newest)
        assert (newest.is_closed, newest.is_gone) == (True, True)
        assert not rig.generations.is_loading
        assert len(rig.workers(rig.zygote)) == 2

    rig.run(test)


def test_something_unexpected_there_is_told_and_leaves_no_zygote(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        newest.error = Boom()
        await rig.reload(newest)
        assert (newest.is_closed, newest.is_gone) == (True, True)
        assert [type(error) for error in rig.stepped.reported] == [Boom]

    rig.run(test)


def test_reloads_asked_for_during_one_are_one_more(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        rig.next_loads = [FakeZygote("second"), FakeZygote("third")]
        for _ in range(10):
            rig.generations.reload()
            await asyncio.sleep(0.05)
        await rig.until(lambda: not rig.generations.is_loading)
        assert rig.loads == 2
        assert [str(zygote) for zygote in {each.zygote: None for each in rig.workers()}] == [
            "zygote",
            "second",
            "third",
        ]

    rig.run(test)


def test_one_asked_for_after_a_failed_load_began_is_made(rig: Generation) -> None:
    """The code may have been mended since."""

    async def test() -> None:
        await rig.serve()
        rig.next_loads = [ZygoteError("half of a deployment"), FakeZygote("mended")]
        rig.generations.reload()
        await asyncio.sleep(0.5)
        rig.generations.reload()
        await asyncio.sleep(5.0)
        assert rig.loads == 2
        assert len(rig.workers()) == 4

    rig.run(test)


def test_a_load_that_takes_far_too_long_gives_way_to_the_next(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        rig.next_loads = [HANG, FakeZygote("newest")]
        rig.generations.reload()
        await asyncio.sleep(module._ABANDON_S - 0.1)
        assert rig.loads == 1
        await asyncio.sleep(0.2)
        rig.generations.reload()
        await asyncio.sleep(1.5)
        assert rig.loads == 2
        assert len(rig.workers()) == 4
        assert rig.stepped.reported == []

    rig.run(test)


def test_how_long_that_is_follows_from_the_first_load(rig: Generation) -> None:
    async def test() -> None:
        rig.generations.adopt(rig.loaded(rig.zygote, took_s=10.0))
        rig.boot()
        rig.next_loads = [HANG]
        rig.generations.reload()
        await asyncio.sleep(20.0)
        rig.generations.reload()
        await asyncio.sleep(1.0)
        assert rig.loads == 1
        assert rig.generations.is_loading

    rig.run(test)


# -- back to the generation before -----------------------------------------------------------------------------------


def cannot_boot(rig: Generation, zygote: FakeZygote) -> None:
    """Its workers end before they are ready."""
    starting = [each for each in rig.workers(zygote) if each.state is State.STARTING]
    for worker in starting:
        rig.born(worker)
    rig.end(starting[0], 1)


def test_new_code_that_cannot_boot_is_gone_back_from(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        for _ in range(restarts.MAX_CODE_FAILURES):
            cannot_boot(rig, newest)
            await asyncio.sleep(1.0)
        assert rig.pool.zygote is rig.zygote  # type: ignore[comparison-overlap] # a fake
        rig.end_all(newest, -9)
        await asyncio.sleep(0.1)
        assert newest.is_closed
        assert rig.flow.actions == ["act"]
        assert len(rig.workers(rig.zygote)) == 2
        assert rig.given_up == []
        assert rig.loads == 1

    rig.run(test)


def test_if_the_old_zygote_is_silent_another_load_follows(rig: Generation) -> None:
    """It serves with the workers it has, and can start no other."""

    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        rig.zygote.silent = True
        rig.next_loads = [FakeZygote("third")]
        rig.generations.on_cannot_boot(by_machine=False)
        assert rig.loads == 1
        await asyncio.sleep(2.0)
        assert rig.loads == 2

    rig.run(test)


@pytest.mark.parametrize(
    ("by_machine", "expected"),
    [(True, (EXIT_UNEXPECTED, "workers_cannot_start")), (False, (EXIT_UNEXPECTED, "workers_cannot_boot"))],
)
def test_code_that_has_served_and_whose_workers_cannot_boot_any_more_is_to_be_started_again(
    rig: Generation, by_machine: bool, expected: tuple[int, str]
) -> None:
    async def test() -> None:
        await rig.serve()
        rig.generations.on_cannot_boot(by_machine)
        assert rig.given_up == [expected]

    rig.run(test)


@pytest.mark.parametrize(
    ("by_machine", "expected"),
    [(True, (EXIT_UNEXPECTED, "workers_cannot_start")), (False, (EXIT_ZYGOTE, "workers_cannot_boot"))],
)
def test_without_one_before_it_the_daemon_gives_up(
    rig: Generation, by_machine: bool, expected: tuple[int, str]
) -> None:
    async def test() -> None:
        rig.generations.adopt(rig.loaded(rig.zygote))
        rig.generations.on_cannot_boot(by_machine)
        assert rig.given_up == [expected]

    rig.run(test)


def test_a_new_zygote_that_dies_before_any_of_its_workers_is_ready_is_gone_back_from(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        rig.lose(newest)
        await asyncio.sleep(10.0)
        assert rig.pool.zygote is rig.zygote  # type: ignore[comparison-overlap] # a fake
        assert rig.loads == 1
        assert len(rig.workers(rig.zygote)) == 2

    rig.run(test)


# -- a zygote that dies or hangs -------------------------------------------------------------------------------------


def test_one_that_dies_is_replaced_at_once(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        rig.next_loads = [newest]
        rig.lose(rig.zygote)
        assert rig.flow.settled == [(1, -9), (2, -9)]
        assert rig.generations.is_loading
        await asyncio.sleep(1.5)
        rig.boot()
        assert [each.zygote for each in rig.workers()] == [newest] * 2

    rig.run(test)


def test_also_when_settling_its_workers_fails(rig: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        await rig.serve()
        rig.next_loads = [FakeZygote("newest")]

        def fails(*_: Any) -> None:
            raise Boom

        monkeypatch.setattr(rig.flow, "settle", fails)
        with pytest.raises(Boom):
            rig.lose(rig.zygote)
        assert rig.generations.is_loading

    rig.run(test)


def test_one_that_hangs_is_replaced_while_its_workers_serve_on_and_it_is_killed_in_the_end(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        old = rig.workers()
        newest = FakeZygote("newest")
        rig.next_loads = [newest]
        rig.fall_silent(rig.zygote)
        rig.fall_silent(rig.zygote)  # every worker that waits for it says so
        await asyncio.sleep(1.5)
        assert rig.loads == 1
        assert {worker.state for worker in old} == {State.SERVING}
        rig.boot(*rig.workers(newest))
        rig.end_all(rig.zygote)
        await asyncio.sleep(0.1)
        assert rig.zygote.is_closed
        assert rig.zygote.is_killed

    rig.run(test)


def test_an_older_one_that_dies_is_not_replaced(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        rig.boot(*rig.workers(newest))
        rig.lose(rig.zygote)
        await asyncio.sleep(10.0)
        assert rig.loads == 1

    rig.run(test)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ZygoteError("broken for good"), (EXIT_UNEXPECTED, "no_zygote")),
        (ConfigError(["half of arbd.toml"]), (EXIT_UNEXPECTED, "no_zygote")),
        (OSError(11, "no process"), (EXIT_UNEXPECTED, "no_zygote")),
    ],
)
def test_one_for_which_no_other_can_be_had_is_tried_for_a_while(
    rig: Generation, failure: Exception, expected: tuple[int, str]
) -> None:
    """Its code has served: a deployment may take longer, so whoever starts the daemon is to start it again."""

    async def test() -> None:
        await rig.serve()
        rig.next_loads = [failure] * 20
        rig.lose(rig.zygote)
        await asyncio.sleep(200.0)
        assert rig.given_up == [expected]
        assert rig.loads == 7

    rig.run(test)


def test_one_that_can_be_had_at_last_counts_as_a_success(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        zygotes = [rig.zygote, FakeZygote("second"), FakeZygote("third")]
        for before, after in pairwise(zygotes):
            rig.next_loads = [*[ZygoteError("half of a deployment")] * 5, after]
            rig.lose(before)
            await rig.until(partial(rig.workers, after))
            rig.boot()
        assert rig.given_up == []
        assert [each.zygote for each in rig.workers()] == [zygotes[-1]] * 2

    rig.run(test)


def test_a_reload_asked_for_in_such_a_pause_is_made_at_once(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        rig.next_loads = [*[ZygoteError("half of a deployment")] * 5, newest]
        rig.lose(rig.zygote)
        await rig.until(lambda: rig.loads == 5 and rig.generations._is_pausing)
        asked_at = rig.stepped.now
        rig.generations.reload()
        await rig.until(lambda: newest.configured)
        assert rig.stepped.now - asked_at < rig.load_s + 0.1

    rig.run(test)


def test_zygotes_whose_workers_are_never_ready_are_not_loaded_for_ever(rig: Generation) -> None:
    """They die when they fork: a load at once would go on for ever."""

    async def test() -> None:
        rig.generations.adopt(rig.loaded(rig.zygote))
        rig.next_loads = [FakeZygote(f"number {number}") for number in range(20)]
        zygote: Any = rig.zygote

        def moved_on_from(lost: Any) -> bool:
            return bool(rig.given_up) or rig.pool.zygote is not lost

        for _ in range(20):
            if rig.given_up:
                break
            rig.lose(zygote)
            assert rig.pool.zygote is zygote
            await rig.until(partial(moved_on_from, zygote))
            zygote = rig.pool.zygote
        assert rig.given_up == [(EXIT_ZYGOTE, "no_zygote")]
        assert 3 <= rig.loads <= 10

    rig.run(test)


# -- the end ---------------------------------------------------------------------------------------------------------


def test_closing_ends_every_zygote_and_a_load_under_way(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        await rig.reload(HANG)
        await rig.generations.close()
        assert [(each.is_closed, each.is_gone) for each in (rig.zygote, newest)] == [(True, True)] * 2
        assert rig.stepped.reported == []

    rig.run(test)


def test_after_that_nothing_is_loaded_any_more(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        await rig.generations.close()
        rig.generations.reload()
        rig.lose(rig.zygote)
        await asyncio.sleep(10.0)
        assert rig.loads == 0
        assert not rig.generations.is_loading

    rig.run(test)


# -- what systemd is told of, and a zygote that is stopped while nothing is asked of it ------------------------------


def test_each_request_for_a_reload_is_told_and_it_is_settled_when_the_new_code_is_in_force(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        assert rig.generations.is_settled
        newest = FakeZygote("newest")
        rig.next_loads = [newest]
        rig.generations.reload()
        rig.generations.reload()
        assert rig.reloads_told == 2
        assert not rig.generations.is_settled
        await rig.until(lambda: rig.loads == 1 and not rig.generations.is_loading)
        assert not rig.generations.is_settled, "none of its workers is ready"
        rig.boot(*[worker for worker in rig.workers() if worker.state is State.STARTING])
        assert rig.generations.is_settled
        assert not rig.generations.reload_failed

    rig.run(test)


def silences() -> list[str]:
    return [each.event for each in notable.recent() if each.event == "zygote_silent"]


async def seconds_to_silence(rig: Generation, before: int) -> float:
    began_at = rig.stepped.now
    await rig.until(lambda: len(silences()) > before)
    return rig.stepped.now - began_at


def test_one_that_is_stopped_is_replaced_though_nothing_is_asked_of_it(rig: Generation) -> None:
    """Whoever started the daemon, and whatever it does."""

    async def test() -> None:
        await rig.serve()
        rig.next_loads = [FakeZygote("newest")]
        await asyncio.sleep(20.0)
        before = len(silences())
        rig.zygote.is_stopped = True
        assert 5.0 <= await seconds_to_silence(rig, before) <= 11.1
        await asyncio.sleep(1.5)
        assert rig.loads == 1
        rig.boot()
        await asyncio.sleep(60.0)
        assert len(silences()) == before + 1

    rig.run(test)


def test_that_of_a_reload_that_warms_up_is_looked_at_too(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        newest = FakeZygote("newest")
        await rig.reload(newest)
        before = len(silences())
        newest.is_stopped = True
        assert await seconds_to_silence(rig, before) <= 11.1
        assert newest.silent
        assert rig.pool.zygote is rig.zygote  # type: ignore[comparison-overlap] # a fake

    rig.run(test)


def test_one_that_is_stopped_for_a_moment_stays(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        before = len(silences())
        for _ in range(10):
            rig.zygote.is_stopped = True
            await asyncio.sleep(4.0)
            rig.zygote.is_stopped = False
            await asyncio.sleep(6.0)
        assert len(silences()) == before

    rig.run(test)


def test_an_idle_daemon_looks_seldom_and_one_that_ends_not_at_all(rig: Generation) -> None:
    looks: list[float] = []

    class Watched(FakeZygote):
        @property
        def is_stopped(self) -> bool:
            looks.append(rig.stepped.now)
            return False

        @is_stopped.setter
        def is_stopped(self, _: bool) -> None:
            pass

    async def test() -> None:
        rig.generations.adopt(rig.loaded(Watched()))
        rig.boot()
        await asyncio.sleep(100.0)
        assert 19 <= len(looks) <= 20
        rig.pool.stop_replacing()
        await asyncio.sleep(100.0)
        assert len(looks) <= 20

    rig.run(test)


# -- settings --------------------------------------------------------------------------------------------------------


class Outcomes(list[ReloadOutcome]):
    """What listeners were told of reloads."""

    def __init__(self, rig: Generation) -> None:
        super().__init__()
        rig.generations.on_reloaded.append(self.append)


def test_settings_are_in_force_with_the_first_worker_that_has_them(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        outcomes = Outcomes(rig)
        rig.flags = {"prefetch": 9, "worker.max_tasks": 500, "workers": 7}
        newest = FakeZygote("newest")
        await rig.reload(newest)
        assert rig.in_force.settings.prefetch == 256
        assert rig.pool.recycle.max_tasks == 500  # it concerns workers that are started from now on
        assert outcomes == []
        rig.boot(rig.workers(newest)[0])
        assert (rig.in_force.settings.prefetch, rig.in_force.settings.workers) == (9, "auto")
        [outcome] = outcomes
        assert (outcome.number, outcome.failed, outcome.actions) == (1, "", 1)
        assert outcome.applied == {"prefetch": (256, 9), "worker.max_tasks": (0, 500)}
        assert outcome.needs_restart == {"workers": ("auto", 7)}
        rig.boot(rig.workers(newest)[1])
        assert len(outcomes) == 1

    rig.run(test)


def test_what_is_asked_for_while_its_workers_warm_up_is_not_undone(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        asked: dict[str, Any] = {}
        found_levels: list[str] = []

        def adjust(found: Settings) -> Settings:
            found_levels.append(found.log_level)
            return msgspec.structs.replace(found, **asked)

        asked["log_level"] = "warning"
        rig.generations.adjusts.append(adjust)
        rig.generations.adjusts.append(lambda found: msgspec.structs.replace(found, hub_auth_token="of-the-file"))
        outcomes = Outcomes(rig)
        rig.flags = {"prefetch": 9}
        newest = FakeZygote("newest")
        await rig.reload(newest)
        asked["log_level"] = "debug"
        rig.in_force.change(msgspec.structs.replace(rig.in_force.settings, log_level="debug"))
        rig.boot(*rig.workers(newest))
        settings = rig.in_force.settings
        assert (settings.prefetch, settings.log_level, settings.hub_auth_token) == (9, "debug", "of-the-file")
        [outcome] = outcomes
        assert sorted(outcome.applied) == ["hub.auth_token", "prefetch"]
        assert found_levels == ["info", "info"], "what was found, not what was made of it before"

    rig.run(test)


def test_what_the_next_start_would_have_is_what_the_last_reload_has_found(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        seen = [rig.in_force.next_start.workers]
        for number in (7, 3):
            rig.flags = {"workers": number}
            newest = FakeZygote(f"for {number}")
            await rig.reload(newest)
            rig.boot(*rig.workers(newest))
            seen += [rig.in_force.settings.workers, rig.in_force.next_start.workers]
        rig.flags = {"workers": 9}
        await rig.reload(ZygoteError("broken"))
        seen.append(rig.in_force.next_start.workers)
        assert seen == ["auto", "auto", 7, "auto", 3, 3]

    rig.run(test)


def test_a_reload_that_fails_is_settled_and_said_until_one_works(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        rig.next_loads = [ZygoteError("broken"), FakeZygote("mended")]
        rig.generations.reload()
        await rig.until(lambda: not rig.generations.is_loading)
        assert rig.generations.is_settled
        assert rig.generations.reload_failed
        rig.generations.reload()
        await rig.until(lambda: not rig.generations.is_loading)
        assert not rig.generations.reload_failed

    rig.run(test)


@pytest.mark.parametrize("failure", [ZygoteError("the code fails"), ConfigError(["wrong", "and wrong"])])
def test_what_cannot_be_loaded_changes_no_setting_and_says_why(rig: Generation, failure: Exception) -> None:
    async def test() -> None:
        await rig.serve()
        before, outcomes = rig.in_force.settings, Outcomes(rig)
        await rig.reload(failure)
        assert rig.in_force.settings is before
        assert [(each.number, each.failed) for each in outcomes] == [(1, str(failure))]

    rig.run(test)


def test_workers_that_cannot_boot_change_no_setting(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        before, outcomes = rig.in_force.settings, Outcomes(rig)
        rig.flags = {"prefetch": 9, "worker.max_tasks": 500}
        newest = FakeZygote("newest")
        await rig.reload(newest)
        rig.generations.on_cannot_boot(False)
        assert rig.in_force.settings is before
        assert rig.pool.recycle.max_tasks == 0
        assert [each.failed for each in outcomes] == ["its workers cannot boot"]

    rig.run(test)


def test_what_cannot_be_adopted_changes_no_setting(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        outcomes = Outcomes(rig)
        rig.flags = {"worker.max_tasks": 500}
        rig.limits.error = ConfigError(["no such directory"])
        await rig.reload(FakeZygote("newest"))
        assert rig.pool.recycle.max_tasks == 0
        assert ["no such directory" in each.failed for each in outcomes] == [True]

    rig.run(test)


def test_who_waits_for_his_reload_hears_of_the_load_that_began_after_he_asked(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        first, second = FakeZygote("first"), FakeZygote("second")
        rig.next_loads = [first, second]
        waits = [asyncio.ensure_future(rig.generations.reloaded()) for _ in range(2)]
        await asyncio.sleep(0.1)
        late = asyncio.ensure_future(rig.generations.reloaded())
        await rig.until(lambda: not rig.generations.is_loading)
        assert rig.loads == 2
        rig.boot(*rig.workers(second))
        assert {(await each).number for each in (*waits, late)} == {3}

    rig.run(test)


def test_the_end_of_the_daemon_is_an_answer(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        rig.next_loads = [HANG]
        waits = asyncio.ensure_future(rig.generations.reloaded())
        await asyncio.sleep(1.0)
        await rig.generations.close()
        assert (await waits).failed == "the daemon ends"
        assert (await rig.generations.reloaded()).failed == "the daemon ends"

    rig.run(test)


def test_who_only_replaces_a_zygote_goes_by_the_files_of_before(rig: Generation) -> None:
    """They may be half edited, and nobody has asked for what is in them."""

    async def test() -> None:
        await rig.serve()
        outcomes = Outcomes(rig)
        rig.next_loads = [FakeZygote("second"), FakeZygote("third")]
        rig.lose(rig.zygote)
        await asyncio.sleep(1.5)
        assert [each.sources is rig.sources for each in rig.befores] == [True]
        rig.boot()
        assert outcomes == []
        rig.generations.reload()
        await asyncio.sleep(1.5)
        assert rig.befores[-1].sources is None

    rig.run(test)


def test_a_wrong_file_costs_no_daemon_whose_zygote_has_died(rig: Generation) -> None:
    async def test() -> None:
        await rig.serve()
        outcomes = Outcomes(rig)
        rig.next_loads = [ConfigError(["half edited"]), FakeZygote("second")]
        rig.zygote.lost = True
        rig.generations.reload()
        await asyncio.sleep(5.0)
        assert [each.sources for each in rig.befores] == [None, rig.sources]
        assert [each.failed for each in outcomes] == [str(ConfigError(["half edited"]))]

    rig.run(test)
