"""``on_limit="hold"``: tasks that the provider's limit would only make wait here are left with the hub.

    room = starts the limit has left, now or in a moment - tasks that are here and not yet admitted

Not the limit itself, which decides in the worker as for ``"wait"``: a task that was taken too early waits there. When
there is no room, a timer tells the link when there will be; also where the limit's account fails, and is put off.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from arbd.core.dispatch import Dispatcher
from arbd.links.base import HubLink
from arbd.rate_limit.algorithms.base import UNBOUNDED
from arbd.rate_limit.grants.account import Account
from arbd.supervised import report
from arbd.supervisor.limits.limits import DaemonLimits
from arbd.supervisor.pool import Pool
from arbd.supervisor.worker import Worker

AHEAD_NS: Final = 5_000_000  # a hub call takes about 1 ms, 4 under load: so long before its start a task is fetched
_LONGEST_S: Final = 3600.0
_FAILED_NS: Final = 50_000_000  # so long later it is looked into again


class Hold:
    """How many tasks may be taken from the hub as far as the provider's limit is concerned."""

    def __init__(self, limits: DaemonLimits, pool: Pool, dispatcher: Dispatcher, link: HubLink) -> None:
        self._limits = limits
        self._pool = pool
        self._dispatcher = dispatcher
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def room(self) -> int:
        """How many more tasks could start soon; ``UNBOUNDED`` without such a limit."""
        account = self._limits.held()
        if account is None:
            return UNBOUNDED
        put_off_until_ns = self._limits.put_off_until(account)
        if put_off_until_ns and (now_ns := time.monotonic_ns()) < put_off_until_ns:
            self._wait_until(put_off_until_ns, now_ns)
            return 0
        try:
            return self._room_of(account)
        except Exception as error:  # the caller is about to take tasks, and goes on without
            report(error, "asking a limit for room failed")
            now_ns = time.monotonic_ns()
            self._wait_until(now_ns + _FAILED_NS, now_ns)
            return 0

    def _room_of(self, account: Account) -> int:
        account.observe()
        now_ns = time.monotonic_ns()
        room = account.startable(now_ns, now_ns + AHEAD_NS) - self._not_admitted(account)
        if room <= 0:
            self._wait_until(account.limit.next_at(now_ns, account.outstanding) - AHEAD_NS, now_ns)
        return max(0, room)

    def _wait_until(self, at_ns: int, now_ns: int) -> None:
        """Have the link told at this moment (monotonic clock), unless that is arranged already."""
        if self._timer is None:
            # At least a millisecond: what stands in the way may also be a task that is about to be admitted.
            delay_s = min(_LONGEST_S, max(1e-3, (at_ns - now_ns) / 1e9))
            self._timer = self._loop.call_later(delay_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._link.slots_changed()

    def _not_admitted(self, account: Account) -> int:
        admitted = sum(self._has_admitted(account, worker) for worker in self._pool.workers.values())
        return self._dispatcher.in_flight() - admitted

    def _has_admitted(self, account: Account, worker: Worker) -> bool:
        """Whether the limit has admitted the task that this worker runs."""
        seat = account.seats.get(worker.id)
        if seat is None or not self._dispatcher.has_worker(worker.id):
            return False
        running = worker.cell.running()
        # The worker notes when it begins a task, and then when the limit has let a call through.
        return running.seq in self._dispatcher.outstanding(worker.id) and seat.last_start_ns >= running.since_ns
