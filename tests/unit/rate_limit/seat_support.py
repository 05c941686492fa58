"""A daemon of seats in plain memory, for tests of limits over several workers."""

from __future__ import annotations

import threading
from typing import Final

from arbd.errors import TaskTimeout
from arbd.ipc import layout
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.rate_limit.grants.worker_seat import WorkerSeat

SECOND: Final = 1_000_000_000


class World:
    """A daemon of seats in plain memory, one clock that is stepped by hand, and a supervisor that may be stalled."""

    def __init__(self, rates: Rates, workers: int, *, metered: bool = False) -> None:
        self.now_ns = 1
        self.stalled = False
        self.account = Account(LimitSpec("test", "custom", rates, metered=metered))
        self.starts: list[int] = []
        self.ids: list[int] = []
        self.seats: list[WorkerSeat] = []
        self.words: list[memoryview] = []
        self.is_late = False  # whether an action's deadline is raised while it sleeps
        self._next_id = 1
        for slot in range(workers):
            self.ids.append(0)
            self.seats.append(None)  # type: ignore[arg-type] # filled by the next line
            self.words.append(memoryview(b""))
            self.boot(slot)

    # what a worker needs of its process
    def clock(self) -> int:
        return self.now_ns

    def cpu_clock(self) -> int:
        return self.now_ns

    def new_lock(self) -> threading.Lock:
        return threading.Lock()

    def ring(self) -> None:
        """Seen at the next look."""

    def wait_rung(self, timeout_ns: int) -> None:
        if self.stalled:
            self.now_ns += timeout_ns
            return
        before = self.now_ns
        look_at = self.look()
        if look_at is not None:
            self.now_ns = max(before, min(before + timeout_ns, look_at))

    def sleep(self, ns: int) -> None:
        if self.is_late:
            raise TaskTimeout
        self.now_ns += ns

    # what happens
    def boot(self, slot: int) -> None:
        words = memoryview(bytearray(layout.SEAT_WORDS * 8)).cast("Q")
        self.ids[slot], self.words[slot] = self._next_id, words
        self._next_id += 1
        self.account.attach(self.ids[slot], SupervisorSeat(words))
        self.seats[slot] = WorkerSeat(words, self)

    def look(self) -> int | None:
        self.account.observe()
        return self.account.decide(self.now_ns, self.now_ns).look_at_ns

    def start(self, slot: int, until_ns: int = 0) -> int:
        wait_ns = self.seats[slot].take(until_ns)
        if wait_ns == 0:
            self.starts.append(self.now_ns)
        return wait_ns

    def start_interrupted(self, slot: int, until_ns: int) -> None:
        """Wait for a start, and be interrupted: what was granted for later stays with the worker."""
        self.is_late = True
        try:
            self.start(slot, until_ns)
        except TaskTimeout:
            pass
        self.is_late = False

    def kill(self, slot: int) -> None:
        self.account.detach(self.ids[slot])
        self.boot(slot)
