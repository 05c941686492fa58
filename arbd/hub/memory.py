"""A hub in the same process: the board without a network, for tests of authors and of arbd itself.

Not a simulation of gRPC: calls cannot fail and take no time. What ``arbd.hub.board`` decides holds here too: leases,
first verdict wins, history.

    any thread:  MemoryHub.submit() ──> board ──wake──> MemoryLink on the supervisor's loop ──> port.take
                 Handle.result()    <── board <───────────────────────────────────────────── port.outbox

Any thread may use the hub; a link belongs to the loop it was started on. Each ``link()`` is one more provider.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from arbd.errors import InvariantError
from arbd.hub.board import NewTask, Result, TaskBoard, TaskEvent
from arbd.links.base import HubPort, LinkHealth
from arbd.model.link_stats import LinkStats
from arbd.model.task import Outcome, Task

if TYPE_CHECKING:  # what it is told of settings it does not look at
    from arbd.links.options import LinkOptions
    from arbd.settings.table import Settings

_FLUSH_PAUSE_S: Final = 0.005


class Handle:
    """A submitted task, as its submitter sees it."""

    def __init__(self, task_id: str) -> None:
        self.id = task_id
        self._future: Future[Result] = Future()

    def done(self) -> bool:
        """Whether the verdict is there."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the verdict, at most ``timeout`` seconds; raises ``TimeoutError`` after that."""
        return self._future.result(timeout)


class MemoryHub:
    """A hub for the tasks and links of this process. ``lease_s`` and ``max_attempts`` as in ``TaskBoard``."""

    def __init__(self, *, lease_s: float = 30.0, max_attempts: Mapping[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._board = TaskBoard(lease_s=lease_s, max_attempts=max_attempts, run=uuid.uuid4().hex[:8])
        self._handles: dict[str, Handle] = {}
        self._links: list[MemoryLink] = []
        self._link_numbers = itertools.count(1)
        self._batch = "all"
        self._seen = 0  # results already given to their handles

    def submit(
        self, action: str, payload: bytes = b"{}", account: bytes = b"", *, task_id: str = "", provider: str = ""
    ) -> Handle:
        """Submit one task, from any thread. Raises ``SubmitError`` if ``task_id`` is taken."""
        new = NewTask(action, payload, account, task_id, provider)
        with self._lock:
            _, [task_id] = self._board.submit([new], time.monotonic(), self._batch)
            handle = self._handles[task_id] = Handle(task_id)
            links = list(self._links)
        for link in links:
            link.wake()
        return handle

    def cancel(self, task_id: str) -> bool:
        """Cancel a task; ``False``: its verdict is there already. Raises ``ForgottenError``."""
        with self._lock:
            cancelled = self._board.cancel(task_id, time.monotonic())
            links = list(self._links)
        for link in links if cancelled else ():
            link.cancel(task_id)
        self._publish()
        return cancelled

    def history(self, task_id: str) -> list[TaskEvent]:
        """What happened to a task. Raises ``ForgottenError`` for an id that was never submitted."""
        with self._lock:
            return self._board.history(task_id)

    def link(self, provider: str = "") -> MemoryLink:
        """A new link to this hub: a ``LinkFactory``."""
        return MemoryLink(self, provider or f"memory-{next(self._link_numbers)}")

    # -- for links ---------------------------------------------------------------------------------------------

    def attach(self, link: MemoryLink) -> None:
        """Wake this link when there is something to take."""
        with self._lock:
            self._links.append(link)

    def detach(self, link: MemoryLink) -> None:
        """Stop waking this link."""
        with self._lock:
            if link in self._links:
                self._links.remove(link)

    def take(self, provider: str) -> tuple[Task | None, float | None]:
        """The next task, and when the next lease ends (seconds of ``time.monotonic()``)."""
        with self._lock:
            now = time.monotonic()
            self._board.expire(now)
            task = self._board.hand_out(provider, now)
            expiry = self._board.next_expiry()
        self._publish()
        return task, expiry

    def report(self, provider: str, outcome: Outcome) -> None:
        """Record a verdict."""
        with self._lock:
            self._board.record_result(outcome.task.id, provider, outcome.status, outcome.result, time.monotonic())
        self._publish()

    def _publish(self) -> None:
        """Give new results to their handles; outside the lock, since a waiter may run at once."""
        with self._lock:
            if not self._handles:
                return
            results = list(self._board.results(self._batch, self._seen))
            self._seen += len(results)
            waiting = [(self._handles.pop(result.id), result) for result in results]
        for handle, result in waiting:
            handle._future.set_result(result)


class MemoryLink:
    """A ``HubLink`` to a ``MemoryHub``."""

    def __init__(self, hub: MemoryHub, provider: str) -> None:
        self.stats = LinkStats(protocol="memory")
        self.sends_one_by_one = False
        self._hub = hub
        self._provider = provider
        self._port: HubPort | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taking = False
        self._timer: asyncio.TimerHandle | None = None

    def health(self, now: float) -> LinkHealth:
        return LinkHealth(may_send=True)  # it sends whatever it is told of

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._taking = True
        self._hub.attach(self)
        self.stats.changed_to("up")
        self.wake()

    def wake(self) -> None:
        """Have the link look for tasks. From any thread."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                pass  # the loop was closed without close(): a test that killed its supervisor

    def cancel(self, task_id: str) -> None:
        """Have the daemon cancel a task. From any thread."""
        loop, port = self._loop, self._port
        if loop is not None and port is not None:
            try:
                loop.call_soon_threadsafe(port.cancel, [task_id])
            except RuntimeError:
                pass  # as in ``wake``

    def renew(self, settings: Settings, options: LinkOptions) -> None:
        """A hub in memory asks for no token."""

    def slots_changed(self) -> None:
        # Not at once: the supervisor may be in the middle of what freed the slot.
        if self._loop is not None:
            self._loop.call_soon(self._take)

    def results_ready(self) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._report)

    async def stop_taking(self) -> None:
        self._taking = False
        if self._timer is not None:
            self._timer.cancel()

    def take_again(self) -> None:
        self._taking = True
        self.wake()

    async def flush(self, timeout: float) -> bool:
        outbox = self._started_port().outbox
        until = time.monotonic() + timeout
        pause_s = 0.0
        while True:
            asyncio.get_running_loop().call_soon(self._report)  # what it raises is told there, and it is tried again
            await asyncio.sleep(pause_s)
            if not len(outbox) or time.monotonic() >= until:
                return len(outbox) == 0
            pause_s = _FLUSH_PAUSE_S

    async def close(self) -> None:
        await self.stop_taking()
        self._hub.detach(self)
        self._loop = None

    def _take(self) -> None:
        port = self._started_port()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._taking and port.free_slots() > 0:
            task, expiry = self._hub.take(self._provider)
            if task is None:
                self._wait_for_lease(expiry)
                return
            self.stats.tasks += 1
            port.take((task,))

    def _wait_for_lease(self, expiry: float | None) -> None:
        if expiry is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(0.0, expiry - time.monotonic()), self._take)

    def _report(self) -> None:
        if self._loop is None:
            return  # closed since it was asked for
        outbox = self._started_port().outbox
        while (outcome := outbox.take()) is not None:
            try:
                self._hub.report(self._provider, outcome)
                outbox.ack(outcome, time.monotonic())
            except Exception:
                outbox.put_back(outcome)
                raise
            self.stats.accepted += 1

    def _started_port(self) -> HubPort:
        if self._port is None:
            raise InvariantError("memory link: used before start()")
        return self._port
