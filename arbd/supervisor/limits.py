"""The rate limits of the daemon: looks when a worker asks or a waiter's time comes, and rings those it answered.

    limits bell (a worker asks, or gives back) ─┐
    timer (somebody waits)                      ├─> look: every account observes, decides ──> answer bells
    a worker's end                             ─┘

What to grant is decided in ``arbd.core.account``. One account per limit; a reload that brings a limit of the same name
and figures goes on with the same account, so it cannot be used to start over. Other figures start a new one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from arbd.core import layout
from arbd.core.account import Account
from arbd.core.ledger import SupervisorSeat
from arbd.host import doorbell
from arbd.rate_limit.algorithms import SECOND_NS, Limit
from arbd.rate_limit.lease import LeasedLimit
from arbd.rate_limit.monitors import log_crossing
from arbd.rate_limit.spec import LimitSpec, calls_per_second, in_words, same_limit
from arbd.reports import Holding, LimitReport, Rejection
from arbd.supervisor.shared import FileSource


class Limits:
    """All accounts, and the bells of the workers that take part. ``bell`` is what workers ring."""

    def __init__(self, provider: str, directory: Path) -> None:
        self._provider = provider
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self.bell = doorbell.create()
        self._accounts: dict[str, Account] = {}  # the newest of each name
        self._of_worker: dict[int, list[Account]] = {}
        self._bells: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self.bell, self._on_bell)

    def close(self) -> None:
        """Grant nothing more. The workers are gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.bell)
        os.close(self.bell)
        for account in self._all():
            _close(account)
        self._of_worker.clear()  # with the seats goes what keeps the workers' memory mapped
        self._accounts.clear()

    def attach(self, worker_id: int, specs: Sequence[LimitSpec], seats: memoryview, bell: int) -> None:
        """A worker that is about to start has these limits, one seat each; ``bell`` wakes it when it has asked."""
        accounts = [self._account(spec) for spec in specs]
        for number, account in enumerate(accounts):
            at = number * layout.SEAT_WORDS
            account.attach(worker_id, SupervisorSeat(seats[at : at + layout.SEAT_WORDS]))
        self._of_worker[worker_id] = accounts
        self._bells[worker_id] = bell

    def detach(self, worker_id: int) -> None:
        """It is dead: what it had left goes back."""
        accounts = self._of_worker.pop(worker_id)
        for account in accounts:
            account.detach(worker_id)
            if not account.seats and account is not self._accounts[account.spec.name]:
                _close(account)
        del self._bells[worker_id]
        if accounts:
            self._look()

    def report(self, slots: Mapping[int, int]) -> list[LimitReport]:
        """Every limit that a worker has now; ``slots`` are the workers' by their ids."""
        now_ns = time.monotonic_ns()
        return [_report(account, slots, now_ns) for account in self._all() if account.seats]

    def _all(self) -> list[Account]:
        """The newest of each name, and older ones that some worker still has."""
        older = (account for accounts in self._of_worker.values() for account in accounts)
        return list({id(account): account for account in (*self._accounts.values(), *older)}.values())

    def _account(self, spec: LimitSpec) -> Account:
        account = self._accounts.get(spec.name)
        if account is None or not same_limit(account.spec, spec):
            account = self._accounts[spec.name] = Account(spec, self._shared(spec))
        account.spec = spec
        return account

    def _shared(self, spec: LimitSpec) -> Limit | None:
        """The limit that other daemons of this host draw on, too; ``None`` if this one is ours alone."""
        rates = spec.rates
        if spec.shared is None or rates.max_requests is None or rates.window_size is None:
            return None
        source = FileSource(self._directory, spec, self._provider)
        return LeasedLimit(source, rates.max_requests, round(rates.window_size * SECOND_NS))

    def held(self) -> Account | None:
        """The provider's limit, if the daemon is to take no tasks that it would only make wait."""
        for account in self._accounts.values():
            if account.spec.scope == "provider" and account.spec.on_limit == "hold" and account.seats:
                return account
        return None

    def _on_bell(self) -> None:
        doorbell.wait(self.bell)
        self._look()

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        look_at_ns: int | None = None
        for account in self._all():
            at_ns = self._look_into(account)
            if at_ns is not None:
                look_at_ns = at_ns if look_at_ns is None else min(at_ns, look_at_ns)
        if look_at_ns is not None:
            delay_s = max(0, look_at_ns - time.monotonic_ns()) / 1e9
            self._timer = self._loop.call_later(delay_s, self._look)

    def _look_into(self, account: Account) -> int | None:
        account.observe()
        now_ns = time.monotonic_ns()
        decision = account.decide(now_ns, time.time_ns())
        for worker_id in decision.answered:
            doorbell.ring(self._bells[worker_id])
        if decision.crossed:
            log_crossing(account.spec, account.figures(now_ns))
        return decision.look_at_ns


def _close(account: Account) -> None:
    """Nobody has it any more, and nobody will."""
    for worker_id in list(account.seats):
        account.detach(worker_id)
    account.decide(time.monotonic_ns(), time.time_ns())
    account.limit.close()


def _report(account: Account, slots: Mapping[int, int], now_ns: int) -> LimitReport:
    spec = account.spec
    return LimitReport(
        name=spec.name,
        scope=spec.scope,
        rule=in_words(spec),
        rate=calls_per_second(spec.rates),
        usage=account.limit.usage(now_ns),
        at_limit=spec.on_limit,
        holdings=[
            Holding(slots[worker_id], *seat.holding, seat.outstanding)
            for worker_id, seat in account.seats.items()
            if worker_id in slots
        ],
        rejections=account.refused,
        last_rejections=[
            Rejection((now_ns - refusal.at_ns) / 1e9, refusal.wait_ns / 1e9, slots.get(refusal.worker_id))
            for refusal in account.last_refusals
        ],
        actions=spec.actions,
    )
