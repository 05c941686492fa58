"""Wherever a deadline or a cancel interrupts a worker, its task is answered once, its limit goes on, and so does the
loop."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import uvloop
from interruptions import LATE, Interruptions, elsewhere, interruptions

from arbd.author.provider import Provider
from arbd.host import doorbell
from arbd.interrupts import interruptible
from arbd.ipc import frame, layout
from arbd.ipc.cell import SupervisorCell, WorkerCell
from arbd.rate_limit import AdvancedRateLimitMonitor
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.worker.aio import AsyncRunner
from arbd.worker.execute import Context
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.loop import Loop
from arbd.worker.numbers import Numbers
from arbd.worker.worker_loop import WorkerLoop

__all__ = ["interruptions"]
# Its own way would be the alarm that the soft timer has here.
pytestmark = pytest.mark.timeout(60, method="thread")

uvloop.new_event_loop().close()  # libuv keeps a pipe for signals, opened with a process's first loop

MS = 1_000_000
RING = layout.MIN_RING_BYTES
FAR_S = 3600.0
SEQ = 7


class Worker:
    """A worker's loop in this process, with one task in its ring, and the supervisor's side of its memory."""

    def __init__(
        self, interruptions: Interruptions, provider: Provider, budget: AdvancedRateLimitMonitor, bell: int
    ) -> None:
        size = layout.cell_bytes(RING) + layout.ledger_bytes(1, 1)
        store = mmap.mmap(-1, size)
        words = memoryview(store).cast("Q")
        self.cell = SupervisorCell(store, words, RING)
        self.account = Account(budget.spec)
        at = layout.seat_at(RING, 0)
        self.seat = words[at : at + layout.SEAT_WORDS]
        self.account.attach(1, SupervisorSeat(self.seat))
        self.side, theirs = socket.socketpair()
        worker = self

        class Rings(Bells):
            def __init__(self) -> None:
                """No bells: the supervisor is here."""

            def ring(self) -> None:
                worker.look()

            @interruptible
            def wait_rung(self, timeout_ns: int) -> None:
                worker.look()

        cell = WorkerCell(store, words)
        self.loop = Loop(
            cell,
            mmap.mmap(-1, layout.board_bytes(1)),
            worker_id=1,
            slot=0,
            bell=bell,
            results_bell=bell,
            side=theirs,
            actions=["act"],
            limits=WorkerLimits(words, provider, Numbers(["act"], [budget.spec.name]), Rings()),
            context=Context(provider, utc_now=lambda: datetime.now(UTC), run_async=AsyncRunner(interruptions.timer)),
            timer=interruptions.timer,
        )
        self.theirs = theirs

    @elsewhere
    def look(self) -> None:
        self.account.observe()
        self.account.decide(time.monotonic_ns(), time.time_ns())

    def send(self, timeout: float) -> None:
        assert self.cell.tasks.push(frame.encode_task(SEQ, timeout, 0, b"t", b"", b""))
        self.cell.condemn(layout.LEAVE)  # once it has nothing to do

    def answers(self) -> list[Any]:
        found = []
        while (record := self.cell.results.pop()) is not None:
            result = frame.decode_result(record)
            if result.seq == SEQ:
                found.append(msgspec.json.decode(result.body))
        return found

    def check(self) -> list[Any]:
        """The answers; what was begun has ended, and the limit lets another call through."""
        self.side.close()
        self.theirs.close()
        words = self.seat
        assert (words[layout.NEED], words[layout.ENDED]) == (0, words[layout.SPENT])
        self.look()
        assert self.account.outstanding == 0
        now_ns = time.monotonic_ns() + 60_000 * MS
        self.account.decide(now_ns, now_ns)
        assert self.account.startable(now_ns, now_ns) >= 1
        return self.answers()


@pytest.fixture
def bell() -> Iterator[int]:
    bell = doorbell.create()
    yield bell
    os.close(bell)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setattr("arbd.rate_limit.registry.seal", lambda: None)
    provider = Provider("fx", rate_limit_monitor=AdvancedRateLimitMonitor(max_time_per_second=1.0, name="budget"))
    provider.actions.register(name="act")(lambda: "done")
    return provider


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_task_is_answered_once(interruptions: Interruptions, provider: Provider, bell: int, how: str) -> None:
    timeout, cancel = (1e-9, 0) if how == "deadline" else (FAR_S, SEQ)
    budget = provider.rate_limit_monitor
    assert isinstance(budget, AdvancedRateLimitMonitor)
    codes = set()

    def make() -> Worker:
        worker = Worker(interruptions, provider, budget, bell)
        worker.send(timeout)
        return worker

    def check(worker: Worker) -> None:
        answers = worker.check()
        assert len(answers) == 1
        codes.add(answers[0]["data"]["error_code"] if answers[0]["status"] == "error" else answers[0]["data"])

    interruptions.everywhere(make, lambda worker: worker.loop.run(), check, cancel=cancel)
    assert codes == ({"TIMEOUT"} if how == "deadline" else {"CANCELLED", "done"})


class Async:
    """A worker's runner of async actions, before its first."""

    def __init__(self, interruptions: Interruptions) -> None:
        self.runner = AsyncRunner(interruptions.timer)
        self.ran: list[str] = []
        self.first = self.action("first")

    async def action(self, name: str) -> str:
        self.ran.append(f"{name} begins")
        await asyncio.sleep(0)
        self.ran.append(f"{name} ends")
        return name


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_an_async_action_that_is_interrupted_leaves_nothing_to_the_next(
    interruptions: Interruptions, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    timeout, cancel = (LATE, 0) if how == "deadline" else (time.monotonic() + FAR_S, SEQ)
    with ExitStack() as loops:

        def opened() -> WorkerLoop:
            loop = WorkerLoop()
            loops.callback(loop.close)
            return loop

        def run(it: Async) -> None:
            try:
                interruptions.timer.arm(time.monotonic() + FAR_S if cancel else LATE, SEQ)
                it.runner(it.first, timeout)
            finally:
                interruptions.timer.disarm()
                it.first.close()

        def check(it: Async) -> None:
            interruptions.cancelled.clear()
            it.ran.clear()
            assert it.runner(it.action("second"), time.monotonic() + FAR_S) == "second"
            assert it.ran == ["second begins", "second ends"]
            loops.close()

        monkeypatch.setattr("arbd.worker.aio.WorkerLoop", opened)
        # Tasks that other tests have left would be looked through, and the look be interrupted at each of them.
        monkeypatch.setattr("arbd.worker.leftovers._KNOWN_TASKS", weakref.WeakSet[object]())
        interruptions.everywhere(lambda: Async(interruptions), run, check, cancel=cancel)
    asyncio.set_event_loop(None)
