"""The rate limits of the daemon: looks when a worker asks or a waiter's time comes, and rings those it answered.

    limits bell (a worker asks, or gives back) ─┐
    timer (somebody waits)                      ├─> look: every account observes, decides ──> answer bells
    a worker's end                             ─┘

What to grant is decided in ``arbd.rate_limit.grants.account``. One account per limit; a reload that brings a limit of
the same name and figures goes on with the same account, so it cannot be used to start over. Other figures start a new
one.

Each account is on its own: one that fails is put off (``put_off.py``), who asks it is refused meanwhile, and the others
are answered. Where that was no ``OSError``, the loop's exception handler hears of it as well.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVarTuple

import msgspec

from arbd.control.reports import Holding, LimitReport, Rejection
from arbd.errors import ConfigError
from arbd.host import doorbell
from arbd.ipc import layout
from arbd.logs import get_logger
from arbd.model.description import Description
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.algorithms.base import SECOND_NS, Limit
from arbd.rate_limit.checks import same_limit
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.live import LiveLimit, LiveLimits, SupervisorLive
from arbd.rate_limit.grants.seat import SupervisorSeat
from arbd.rate_limit.limit_monitor import log_crossing
from arbd.rate_limit.storage.host_lease import LeasedLimit
from arbd.rate_limit.words import calls_per_second, in_words
from arbd.supervised import report
from arbd.supervisor.limits.host_file import FileSource
from arbd.supervisor.limits.put_off import PutOff

if TYPE_CHECKING:
    from arbd.supervisor.limits.redis_talk import RedisTalk

Ts = TypeVarTuple("Ts")


class Part:
    """What one worker has: its ledger, its accounts by the number of their seat, and the limits set at run time.

    ``bell`` wakes it when it has asked, ``wake`` when it sleeps because it has no task.
    """

    def __init__(
        self, words: memoryview, bell: int, wake: int | None, description: Description, live: LiveLimits
    ) -> None:
        self.words = words
        self.bell = bell
        self.wake = wake
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
        self._newest: tuple[Description, LiveLimits] | None = None  # what came last
        self._put_off = PutOff()
        self._troubled = self._put_off.reasons
        # What `_all` and `held` found last; ``None``: it may be something else now. There may be thousands of accounts.
        self._every: list[Account] | None = None
        self._holding: list[Account] | None = None
        self._talks: list[RedisTalk] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop.add_reader(self.bell, self._on_bell)

    def close(self) -> None:
        """Grant nothing more. The workers are gone. Raises what nobody expected, when all is closed."""
        if self._is_closed:
            return
        self._is_closed = True
        failures: list[Exception] = []
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.bell)
        _attempt(failures, os.close, self.bell)
        for account in self._all():
            _attempt(failures, self._close, account)
        self._parts.clear()  # with the seats goes what keeps the workers' memory mapped
        self._accounts.clear()
        self._every = self._holding = self._newest = None
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("several limits could not be closed", failures)

    async def wait_closed(self) -> None:
        """Wait until those who share a limit over a network have been told, but not for long."""
        await asyncio.gather(*(talk.wait_closed() for talk in self._talks))

    def attach(
        self, worker_id: int, description: Description, words: memoryview, bell: int, wake: int | None = None
    ) -> None:
        """A worker that is about to start has the limits of this description, one seat each, and room for those that
        are set while it runs. ``words``: its ledger, from the first seat on; ``bell`` wakes it when it has asked,
        ``wake`` when it sleeps because it has no task.

        Raises ``ConfigError`` if one of the limits cannot be had. Then nothing has changed, and nothing of it is left.
        """
        live = self._live_of(description)
        part = Part(words, bell, wake, description, live)
        specs = dict(enumerate(description.limits))
        specs.update((live.number_of(each.action), each.limit) for each in live.limits if each.limit is not None)
        with ExitStack() as undo:
            for number, spec in specs.items():
                account = part.accounts[number] = self._found_or_opened(spec, undo)
                at = number * layout.SEAT_WORDS
                account.attach(worker_id, SupervisorSeat(words[at : at + layout.SEAT_WORDS]))
                undo.callback(account.detach, worker_id)
            part.page.publish(live.limits)
            undo.pop_all()
        for number, spec in specs.items():
            self._adopt(part.accounts[number], spec)
        self._parts[worker_id] = part
        self._newest = (description, live)

    def detach(self, worker_id: int) -> None:
        """It is dead: what it had left goes back. Nothing, if it has never been attached."""
        part = self._parts.pop(worker_id, None)
        if part is None:
            return
        self._every = None
        for account in part.accounts.values():
            self._with_care(f"a worker's end in limit {account.spec.name!r}", self._detach, account, worker_id)
        if part.accounts:
            self._look()

    def _detach(self, account: Account, worker_id: int) -> None:
        account.detach(worker_id)
        if not account.seats and account is not self._accounts.get(account.spec.name):
            self._close(account)

    # -- limits that are set while the daemon runs ---------------------------------------------------------

    def _live_of(self, description: Description) -> LiveLimits:
        """Of one generation of the author's code: a reload begins without."""
        for part in self._parts.values():
            if part.description is description:
                return part.live
        if self._newest is not None and self._newest[0] is description:  # its only worker has just died
            return self._newest[1]
        return LiveLimits((action.name for action in description.actions), len(description.limits))

    def _hear_wishes(self) -> None:
        for worker_id, part in self._parts.items():
            if part.page.has_wish:
                self._with_care("a worker's wish for a limit", self._hear_wish, worker_id, part)

    def _hear_wish(self, worker_id: int, part: Part) -> None:
        granted = False
        try:
            wish = part.page.wish()
            granted = wish is not None and self._grant_wish(part.live, wish)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._log.error("limit_wish_unreadable", worker_id=worker_id, reason=str(error))
        finally:
            part.page.answer(granted=granted)
            doorbell.ring(part.bell)

    def _grant_wish(self, live: LiveLimits, wish: LiveLimit) -> bool:
        before = live.of(wish.action)
        named = live.add(wish)
        if named is None:
            self._log.error("limit_not_set", action=wish.action, reason="unknown action, or too many limits were set")
            return False
        parts = {worker_id: part for worker_id, part in self._parts.items() if part.live is live}
        try:
            account = None if named.limit is None else self._changed(live, named.action, named.limit, parts.values())
        except BaseException as error:
            live.put_back(wish.action, before)  # or a worker that starts later would want what cannot be had
            if not isinstance(error, ConfigError):
                raise
            self._log.error("limit_not_set", action=wish.action, reason=str(error))
            return False
        for worker_id, part in parts.items():
            if account is not None and live.number_of(named.action) not in part.accounts:
                self._seat(worker_id, part, live.number_of(named.action), account)
            part.page.publish(live.limits)
        rule = "nothing" if named.limit is None else in_words(named.limit)
        self._log.info("limit_set", action=wish.action or "all without one", limit=rule)
        return True

    def _changed(self, live: LiveLimits, action: str | None, spec: LimitSpec, parts: Iterable[Part]) -> Account:
        """The account of a limit that is set: the one its action's seats have, changed, or another."""
        number = live.number_of(action)
        account = next((part.accounts[number] for part in parts if number in part.accounts), None)
        if account is None:
            with ExitStack() as undo:
                account = self._found_or_opened(spec, undo)
                undo.pop_all()
            self._adopt(account, spec)
        elif not same_limit(account.spec, spec):
            limit = self._shared(spec)
            try:
                account.change(spec, limit)
            except OSError as error:
                self._note_unclosed(account, error)
        return account

    def _seat(self, worker_id: int, part: Part, number: int, account: Account) -> None:
        part.accounts[number] = account
        self._every = None
        at = number * layout.SEAT_WORDS
        account.attach(worker_id, SupervisorSeat(part.words[at : at + layout.SEAT_WORDS]))

    def report(self, slots: Mapping[int, int]) -> list[LimitReport]:
        """Every limit that a worker has now; ``slots`` are the workers' by their ids."""
        now_ns = time.monotonic_ns()
        reason = self._put_off.reason
        return [_report(account, reason(account), slots, now_ns) for account in self._all() if account.seats]

    def _all(self) -> list[Account]:
        """The newest of each name, and older ones that some worker still has."""
        if self._every is None:
            older = (account for part in self._parts.values() for account in part.accounts.values())
            self._every = list({id(account): account for account in (*self._accounts.values(), *older)}.values())
        return self._every

    # -- accounts ------------------------------------------------------------------------------------------

    def _found_or_opened(self, spec: LimitSpec, undo: ExitStack) -> Account:
        """The newest account of that name, if it is for the same limit, or an older one that is still in use, because
        what was newer could not serve; otherwise a new one, which ``undo`` closes."""
        account = self._accounts.get(spec.name)
        if account is not None and not same_limit(account.spec, spec):
            account = self._older(spec)
        if account is not None:
            return account
        account = Account(spec, self._shared(spec))
        undo.callback(self._close, account)
        return account

    def _older(self, spec: LimitSpec) -> Account | None:
        if len(self._all()) == len(self._accounts):  # almost always: there are older ones only during a reload
            return None
        same = (each for each in self._all() if each.spec.name == spec.name and same_limit(each.spec, spec))
        return next(same, None)

    def _adopt(self, account: Account, spec: LimitSpec) -> None:
        """From now on it is the newest of its name, and put where ``spec`` says."""
        before = self._accounts.get(spec.name)
        self._accounts[spec.name] = account
        account.spec = spec
        self._every = self._holding = None
        if before is not None and before is not account and not before.seats:
            self._with_care(f"closing limit {spec.name!r}", self._close, before)

    def _close(self, account: Account) -> None:
        """Nobody has it any more, and nobody will."""
        self._put_off.forget(account)
        try:
            with ExitStack() as closing:
                closing.callback(account.limit.close)
                for worker_id in list(account.seats):
                    account.detach(worker_id)
                account.decide(time.monotonic_ns(), time.time_ns())
        except OSError as error:
            self._note_unclosed(account, error)

    def _note_unclosed(self, account: Account, error: OSError) -> None:
        self._log.warning("limit_not_closed", limit=account.spec.name, reason=str(error))

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
        from arbd.supervisor.limits.redis_talk import RedisTalk  # an extra

        talk = RedisTalk(spec, self._look)
        self._talks = [each for each in self._talks if not each.is_closed]
        self._talks.append(talk)
        return talk.lease

    def held(self) -> Account | None:
        """The provider's limit, if the daemon is to take no tasks that it would only make wait."""
        if self._holding is None:
            specs = ((account, account.spec) for account in self._accounts.values())
            self._holding = [account for account, spec in specs if (spec.scope, spec.on_limit) == ("provider", "hold")]
        return next((account for account in self._holding if account.seats), None)

    def put_off_until(self, account: Account) -> int:
        """Before this moment nothing can be said of it; 0, as a rule."""
        return self._put_off.until(account)

    # -- looking -------------------------------------------------------------------------------------------

    def _on_bell(self) -> None:
        try:
            doorbell.clear(self.bell)
        finally:
            self._hear_wishes()
            self._look()

    def _look(self) -> None:
        if self._is_closed:
            return
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
        """Look into one account, whatever comes of it; when to look again."""
        if self._troubled and time.monotonic_ns() < self._put_off.until(account):
            return self._refuse_meanwhile(account)
        try:
            account.observe()
            now_ns = time.monotonic_ns()
            decision = account.decide(now_ns, time.time_ns())
            for worker_id in decision.answered:
                self._ring(account, worker_id)
            if decision.crossed:
                log_crossing(account.spec, account.figures(now_ns))
        except Exception as error:
            self._put_off.failed(account, error, time.monotonic_ns())
            if not isinstance(error, OSError):
                report(error, f"looking into limit {account.spec.name!r} failed")
            return self._refuse_meanwhile(account)
        if self._troubled or account.limit.trouble is not None:
            self._put_off.worked(account)
        return decision.look_at_ns

    def _ring(self, account: Account, worker_id: int) -> None:
        part = self._parts[worker_id]
        doorbell.ring(part.bell)
        # Its deadline may have struck while it was answered: then it sleeps on what was granted, and others wait for
        # that. Woken, it gives it back. Most often it is only just waking up, and then once more does no harm.
        if part.wake is not None and account.seats[worker_id].is_left:
            doorbell.ring(part.wake)

    def _refuse_meanwhile(self, account: Account) -> int:
        """It is put off: nobody is to wait for it who cannot. When to look again."""
        until_ns = self._put_off.until(account)
        self._with_care(f"refusing calls of limit {account.spec.name!r}", self._refuse_until, account, until_ns)
        return until_ns

    def _refuse_until(self, account: Account, until_ns: int) -> None:
        account.put_off(time.monotonic_ns(), until_ns)
        for worker_id in account.seats:  # all: who was answered before it failed is not known
            doorbell.ring(self._parts[worker_id].bell)

    # -- what nobody expected ------------------------------------------------------------------------------

    @staticmethod
    def _with_care(what: str, act: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Do it; whoever owns the process hears of what nobody expected, and the rest goes on."""
        try:
            act(*arguments)
        except Exception as error:
            report(error, f"{what} failed")


def _attempt(failures: list[Exception], act: Callable[[*Ts], object], *arguments: *Ts) -> None:
    try:
        act(*arguments)
    except Exception as error:
        failures.append(error)


def _report(account: Account, trouble: str | None, slots: Mapping[int, int], now_ns: int) -> LimitReport:
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
        trouble=trouble,
    )
