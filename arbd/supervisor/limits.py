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
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arbd.core import layout
from arbd.core.account import Account
from arbd.core.ledger import SupervisorSeat
from arbd.core.live_limits import LiveLimit, LiveLimits, SupervisorLive
from arbd.description import Description
from arbd.errors import ConfigError
from arbd.host import doorbell
from arbd.logs import get_logger
from arbd.rate_limit.algorithms import SECOND_NS, Limit
from arbd.rate_limit.lease import LeasedLimit
from arbd.rate_limit.limit_monitor import log_crossing
from arbd.rate_limit.spec import LimitSpec, calls_per_second, in_words, same_limit
from arbd.reports import Holding, LimitReport, Rejection
from arbd.supervisor.shared import FileSource

if TYPE_CHECKING:
    from arbd.supervisor.redis_limits import RedisTalk


class Part:
    """What one worker has: its ledger, its accounts by the number of their seat, and the limits set at run time."""

    def __init__(self, words: memoryview, bell: int, description: Description, live: LiveLimits) -> None:
        self.words = words
        self.bell = bell
        self.description = description  # one object per generation of the author's code
        self.live = live
        self.accounts: dict[int, Account] = {}
        self.page = SupervisorLive(words[len(words) - layout.LIVE_WORDS :])


class Limits:
    """All accounts, and the bells of the workers that take part. ``bell`` is what workers ring."""

    def __init__(self, provider: str, directory: Path) -> None:
        self._provider = provider
        self._directory = directory
        self._log = get_logger("arbd.limits")
        self._loop = asyncio.get_running_loop()
        self.bell = doorbell.create(blocking=False)
        self._accounts: dict[str, Account] = {}  # the newest of each name
        self._parts: dict[int, Part] = {}  # of workers
        # What `_all` and `held` found last; ``None``: it may be something else now. There may be thousands of accounts.
        self._every: list[Account] | None = None
        self._holding: list[Account] | None = None
        self._talks: list[RedisTalk] = []
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
        self._parts.clear()  # with the seats goes what keeps the workers' memory mapped
        self._accounts.clear()

    async def wait_closed(self) -> None:
        """Wait until those who share a limit over a network have been told."""
        for talk in self._talks:
            await talk.wait_closed()

    def attach(self, worker_id: int, description: Description, words: memoryview, bell: int) -> None:
        """A worker that is about to start has the limits of this description, one seat each, and room for those that
        are set while it runs. ``words``: its ledger, from the first seat on; ``bell`` wakes it when it has asked."""
        part = self._parts[worker_id] = Part(words, bell, description, self._live_of(description))
        for number, spec in enumerate(description.limits):
            self._seat(worker_id, part, number, self._account(spec))
        for live in part.live.limits:
            self._seat_live(worker_id, part, live)
        part.page.publish(part.live.limits)

    def detach(self, worker_id: int) -> None:
        """It is dead: what it had left goes back."""
        part = self._parts.pop(worker_id)
        self._every = None
        for account in part.accounts.values():
            account.detach(worker_id)
            if not account.seats and account is not self._accounts[account.spec.name]:
                _close(account)
        if part.accounts:
            self._look()

    def _seat(self, worker_id: int, part: Part, number: int, account: Account) -> None:
        part.accounts[number] = account
        self._every = None
        at = number * layout.SEAT_WORDS
        account.attach(worker_id, SupervisorSeat(part.words[at : at + layout.SEAT_WORDS]))

    # -- limits that are set while the daemon runs ---------------------------------------------------------

    def _live_of(self, description: Description) -> LiveLimits:
        """Of one generation of the author's code: a reload begins without."""
        for part in self._parts.values():
            if part.description is description:
                return part.live
        return LiveLimits((action.name for action in description.actions), len(description.limits))

    def _hear_wishes(self) -> None:
        for worker_id, part in self._parts.items():
            try:
                wish = part.page.wish()
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._log.error("limit_wish_unreadable", worker_id=worker_id, reason=str(error))
                part.page.answer(granted=False)
                continue
            if wish is not None:
                part.page.answer(granted=self._grant_wish(part.live, wish))
                doorbell.ring(part.bell)

    def _grant_wish(self, live: LiveLimits, wish: LiveLimit) -> bool:
        named = live.add(wish)
        if named is None:
            self._log.error("limit_not_set", action=wish.action, reason="unknown action, or too many limits were set")
            return False
        try:
            for worker_id, part in self._parts.items():
                if part.live is live:
                    self._seat_live(worker_id, part, named)
                    part.page.publish(live.limits)
        except ConfigError as error:
            self._log.error("limit_not_set", action=wish.action, reason=str(error))
            return False
        rule = "nothing" if named.limit is None else in_words(named.limit)
        self._log.info("limit_set", action=wish.action or "all without one", limit=rule)
        return True

    def _seat_live(self, worker_id: int, part: Part, live: LiveLimit) -> None:
        if live.limit is None:
            return
        number = part.live.number_of(live.action)
        account = part.accounts.get(number)
        if account is None:
            self._seat(worker_id, part, number, self._account(live.limit))
        elif not same_limit(account.spec, live.limit):
            account.change(live.limit, self._shared(live.limit))

    def report(self, slots: Mapping[int, int]) -> list[LimitReport]:
        """Every limit that a worker has now; ``slots`` are the workers' by their ids."""
        now_ns = time.monotonic_ns()
        return [_report(account, slots, now_ns) for account in self._all() if account.seats]

    def _all(self) -> list[Account]:
        """The newest of each name, and older ones that some worker still has."""
        if self._every is None:
            older = (account for part in self._parts.values() for account in part.accounts.values())
            self._every = list({id(account): account for account in (*self._accounts.values(), *older)}.values())
        return self._every

    def _account(self, spec: LimitSpec) -> Account:
        account = self._accounts.get(spec.name)
        if account is None or not same_limit(account.spec, spec):
            account = self._accounts[spec.name] = Account(spec, self._shared(spec))
            self._every = None
        account.spec = spec
        self._holding = None
        return account

    def _shared(self, spec: LimitSpec) -> Limit | None:
        """The limit that other daemons of this host draw on, too; ``None`` if this one is ours alone."""
        rates = spec.rates
        if spec.redis is not None:
            return self._over_redis(spec)
        if spec.shared is None or rates.max_requests is None or rates.window_size is None:
            return None
        source = FileSource(self._directory, spec, self._provider)
        return LeasedLimit(source, rates.max_requests, round(rates.window_size * SECOND_NS))

    def _over_redis(self, spec: LimitSpec) -> Limit:
        from arbd.supervisor.redis_limits import RedisTalk  # an extra

        talk = RedisTalk(spec, self._look)
        self._talks.append(talk)
        return talk.lease

    def held(self) -> Account | None:
        """The provider's limit, if the daemon is to take no tasks that it would only make wait."""
        if self._holding is None:
            specs = ((account, account.spec) for account in self._accounts.values())
            self._holding = [account for account, spec in specs if (spec.scope, spec.on_limit) == ("provider", "hold")]
        return next((account for account in self._holding if account.seats), None)

    def _on_bell(self) -> None:
        doorbell.wait(self.bell)
        self._hear_wishes()
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
            doorbell.ring(self._parts[worker_id].bell)
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
