"""The rate limits of the daemon: answers workers that ask for starts, when they ask or when their time comes.

    limits bell (a worker asks, or gives back) ─┐
    timer (a worker waits)                      ├─> look: every account observes, decides ──> answer bells
    a worker's end                             ─┘

What to grant is decided in ``arbd.rate_limit.grants.account``, which accounts there are in ``accounts.py``.

Each account is on its own: one that fails is put off (``put_off.py``), the workers that ask it are refused meanwhile,
and the others are answered. Where that was no ``OSError``, it is reported to the loop's exception handler as well.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from arbd.control.reports import Holding, LimitReport, Rejection
from arbd.errors import ConfigError
from arbd.host import doorbell
from arbd.ipc import layout
from arbd.logs import get_logger
from arbd.model.description import Description
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.checks import same_limit
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.live import LiveLimit, LiveLimits, SupervisorLive
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.rate_limit.limit_monitor import log_crossing
from arbd.rate_limit.words import calls_per_second, in_words
from arbd.supervised import report
from arbd.supervisor.limits.accounts import Accounts, guarded
from arbd.supervisor.limits.put_off import PutOff


class WorkerLedger:
    """The limits of one worker: its ledger, its accounts by the number of their seat, and its live limits. ``bell``
    wakes it when it has asked, ``wake`` when it sleeps because it has no task."""

    def __init__(
        self, words: memoryview, bell: int, wake: int | None, description: Description, live: LiveLimits
    ) -> None:
        self._words = words
        self.bell = bell
        self.wake = wake
        self.description = description  # one object per generation of the author's code
        self.live = live
        self.accounts: dict[int, Account] = {}
        self.page = SupervisorLive(words[len(words) - layout.LIVE_WORDS :])

    def attach(self, worker_id: int, number: int, account: Account) -> None:
        """Give this worker a seat in an account."""
        self.accounts[number] = account
        at = number * layout.SEAT_WORDS
        account.attach(worker_id, SupervisorSeat(self._words[at : at + layout.SEAT_WORDS]))


class DaemonLimits:
    """All rate limits of a daemon over all its workers. ``bell`` is the doorbell that workers ring."""

    def __init__(self, provider: str, directory: Path) -> None:
        self._log = get_logger("arbd.limits")
        self._loop = asyncio.get_running_loop()
        self.bell = doorbell.create(blocking=False)
        self._workers: dict[int, WorkerLedger] = {}
        self._newest: tuple[Description, LiveLimits] | None = None  # of the worker attached last
        self._put_off = PutOff()
        self._troubled = self._put_off.reasons
        self._accounts = Accounts(provider, directory, self._put_off, self._look)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop.add_reader(self.bell, self._on_bell)

    def close(self) -> None:
        """Grant nothing more; called when the workers are gone. Raises what nobody expected, when all is closed."""
        if self._is_closed:
            return
        self._is_closed = True
        failures: list[Exception] = []
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.bell)
        try:
            os.close(self.bell)
        except OSError as error:
            failures.append(error)
        self._accounts.close_all(failures)
        self._workers.clear()  # with the seats goes what keeps the workers' memory mapped
        self._newest = None
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("several limits could not be closed", failures)

    async def wait_closed(self) -> None:
        """Wait until shared storage has been told, for a fraction of a second at most."""
        await self._accounts.wait_closed()

    def attach(
        self, worker_id: int, description: Description, words: memoryview, bell: int, wake: int | None = None
    ) -> None:
        """Give a worker that is about to start a seat in each limit of its description, and in each live limit.

        ``words`` is its ledger, from the first seat on; ``bell`` wakes it when it has asked, ``wake`` when it sleeps
        because it has no task. Raises ``ConfigError`` if one of the limits cannot be had; then nothing has changed.
        """
        live = self._live_of(description)
        ledger = WorkerLedger(words, bell, wake, description, live)
        specs = dict(enumerate(description.limits))
        specs.update((live.number_of(each.action), each.limit) for each in live.limits if each.limit is not None)
        with ExitStack() as undo:
            for number, spec in specs.items():
                account = self._accounts.find_or_open(spec, undo)
                ledger.attach(worker_id, number, account)
                undo.callback(account.detach, worker_id)
            ledger.page.publish(live.limits)
            undo.pop_all()
        for number, spec in specs.items():
            self._accounts.adopt(ledger.accounts[number], spec)
        self._workers[worker_id] = ledger
        self._newest = (description, live)

    def detach(self, worker_id: int) -> None:
        """Return what a dead worker had left; nothing, if it was never attached."""
        ledger = self._workers.pop(worker_id, None)
        if ledger is None:
            return
        for account in ledger.accounts.values():
            guarded(f"a worker's end in limit {account.spec.name!r}", self._detach, account, worker_id)
        if ledger.accounts:
            self._look()

    def _detach(self, account: Account, worker_id: int) -> None:
        account.detach(worker_id)
        self._accounts.close_if_unused(account)

    def report(self, slots: Mapping[int, int]) -> list[LimitReport]:
        """The report of every limit that a worker has; ``slots`` are the workers' by their ids."""
        now_ns = time.monotonic_ns()
        return [
            _report(account, self._troubled.get(account), slots, now_ns)
            for account in self._accounts.all()
            if account.seats
        ]

    def accounts(self) -> Iterator[tuple[Account, str | None]]:
        """Every limit that a worker has, and what stands in its way."""
        return ((account, self._troubled.get(account)) for account in self._accounts.all() if account.seats)

    def held(self) -> Account | None:
        """The provider's limit, if the daemon is to take no tasks that it would only make wait."""
        return self._accounts.held()

    def put_off_until(self, account: Account) -> int:
        """The moment before which an account that failed is not looked into; 0 as a rule."""
        return self._put_off.until(account)

    # -- limits that are set while the daemon runs ---------------------------------------------------------

    def _live_of(self, description: Description) -> LiveLimits:
        """The live limits of one generation of the author's code: a reload begins without any."""
        for ledger in self._workers.values():
            if ledger.description is description:
                return ledger.live
        if self._newest is not None and self._newest[0] is description:  # its only worker has just died
            return self._newest[1]
        return LiveLimits((action.name for action in description.actions), len(description.limits))

    def _read_requests(self) -> None:
        for worker_id, ledger in self._workers.items():
            if ledger.page.has_request:
                guarded("a worker's request for tokens", self._read_request, worker_id, ledger)

    def _read_request(self, worker_id: int, ledger: WorkerLedger) -> None:
        granted = False
        try:
            request = ledger.page.request()
            granted = request is not None and self._set(ledger.live, request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._log.error("limit_request_unreadable", worker_id=worker_id, reason=str(error))
        finally:
            ledger.page.answer(granted=granted)
            doorbell.ring(ledger.bell)

    def _set(self, live: LiveLimits, request: LiveLimit) -> bool:
        """Set a live limit for all workers of its generation; whether it could be done."""
        before = live.of(request.action)
        named = live.add(request)
        if named is None:
            self._log.error(
                "limit_not_set", action=request.action, reason="unknown action, or too many limits were set"
            )
            return False
        ledgers = {worker_id: ledger for worker_id, ledger in self._workers.items() if ledger.live is live}
        try:
            account = None if named.limit is None else self._changed(live, named.action, named.limit, ledgers.values())
        except BaseException as error:
            live.put_back(request.action, before)  # or a worker that starts later would want what cannot be had
            if not isinstance(error, ConfigError):
                raise
            self._log.error("limit_not_set", action=request.action, reason=str(error))
            return False
        number = live.number_of(named.action)
        for worker_id, ledger in ledgers.items():
            if account is not None and number not in ledger.accounts:
                ledger.attach(worker_id, number, account)
            ledger.page.publish(live.limits)
        rule = "nothing" if named.limit is None else in_words(named.limit)
        self._log.info("limit_set", action=request.action or "all without one", limit=rule)
        return True

    def _changed(
        self, live: LiveLimits, action: str | None, spec: LimitSpec, ledgers: Iterable[WorkerLedger]
    ) -> Account:
        """The account of a live limit: the one its action's seats have, changed, or another."""
        number = live.number_of(action)
        account = next((ledger.accounts[number] for ledger in ledgers if number in ledger.accounts), None)
        if account is None:
            with ExitStack() as undo:
                account = self._accounts.find_or_open(spec, undo)
                undo.pop_all()
            self._accounts.adopt(account, spec)
        elif not same_limit(account.spec, spec):
            self._accounts.change(account, spec)
        return account

    # -- answering -----------------------------------------------------------------------------------------

    def _on_bell(self) -> None:
        try:
            doorbell.clear(self.bell)
        finally:
            self._read_requests()
            self._look()

    def _look(self) -> None:
        if self._is_closed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        look_at_ns: int | None = None
        for account in self._accounts.all():
            at_ns = self._look_into(account)
            if at_ns is not None:
                look_at_ns = at_ns if look_at_ns is None else min(at_ns, look_at_ns)
        if look_at_ns is not None:
            delay_s = max(0, look_at_ns - time.monotonic_ns()) / 1e9
            self._timer = self._loop.call_later(delay_s, self._look)

    def _look_into(self, account: Account) -> int | None:
        """Look into one account, also if it fails; when to look again."""
        if self._troubled and time.monotonic_ns() < self._put_off.until(account):
            return self._refuse_meanwhile(account)
        try:
            account.observe()
            now_ns = time.monotonic_ns()
            decision = account.decide(now_ns, time.time_ns())
            for worker_id in decision.answered:
                self._ring(account, worker_id)
            if decision.crossed is not None:
                log_crossing(account.spec, decision.crossed, account.thresholds.level)
        except Exception as error:
            self._put_off.failed(account, error, time.monotonic_ns())
            if not isinstance(error, OSError):
                report(error, f"looking into limit {account.spec.name!r} failed")
            return self._refuse_meanwhile(account)
        if self._troubled or account.limit.trouble is not None:
            self._put_off.worked(account)
        return decision.look_at_ns

    def _ring(self, account: Account, worker_id: int) -> None:
        ledger = self._workers[worker_id]
        doorbell.ring(ledger.bell)
        # Its task's deadline may have been raised while it was answered: then it sleeps on what was granted, and others
        # wait for that. Woken, it returns it. Most often it is only just waking up; another ring does no harm then.
        if ledger.wake is not None and account.seats[worker_id].has_abandoned_grant:
            doorbell.ring(ledger.wake)

    def _refuse_meanwhile(self, account: Account) -> int:
        """Refuse the requests to an account that is put off; when to look again."""
        until_ns = self._put_off.until(account)
        guarded(f"refusing calls of limit {account.spec.name!r}", self._refuse_until, account, until_ns)
        return until_ns

    def _refuse_until(self, account: Account, until_ns: int) -> None:
        account.put_off(time.monotonic_ns(), until_ns)
        for worker_id in account.seats:  # all: which were answered before it failed is not known
            doorbell.ring(self._workers[worker_id].bell)


def _report(account: Account, trouble: str | None, slots: Mapping[int, int], now_ns: int) -> LimitReport:
    spec = account.spec
    return LimitReport(
        name=spec.name,
        scope=spec.scope,
        rule=in_words(spec),
        rate=calls_per_second(spec.rates),
        usage=account.limit.usage(now_ns, account.outstanding),
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
        trouble=trouble,
    )
