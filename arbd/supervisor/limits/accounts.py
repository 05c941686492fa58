"""The accounts of a daemon: one for each rate limit that a worker has, opened, replaced and closed.

A reload that brings a limit of the same name and rates goes on with the same account, so it cannot be used to start
over. Other rates open a new account; the old one is closed when its last worker is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVarTuple

from arbd.logs import get_logger
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.algorithms.base import Limit
from arbd.rate_limit.checks import same_limit
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.storage.host_lease import LeasedLimit
from arbd.supervised import report
from arbd.supervisor.limits.host_file import FileSource
from arbd.supervisor.limits.put_off import PutOff

if TYPE_CHECKING:
    from arbd.supervisor.limits.redis_talk import RedisTalk

Ts = TypeVarTuple("Ts")


class Accounts:
    """The open accounts. ``look`` is called when Redis has answered, so that workers may be answered."""

    def __init__(self, provider: str, directory: Path, put_off: PutOff, look: Callable[[], None]) -> None:
        self._provider = provider
        self._directory = directory
        self._put_off = put_off
        self._look = look
        self._log = get_logger("arbd.limits")
        self._newest: dict[str, Account] = {}  # of each name
        self._older: list[Account] = []  # replaced ones that some worker still has
        # Computed when needed, ``None`` after a change: there may be thousands of accounts.
        self._all: Sequence[Account] | None = None
        self._holding: list[Account] | None = None
        self._talks: list[RedisTalk] = []

    def all(self) -> Sequence[Account]:
        """The newest account of each name, and older ones that some worker still has."""
        if self._all is None:
            self._all = (*self._newest.values(), *self._older)
        return self._all

    def held(self) -> Account | None:
        """The account of the provider's limit, if that is one for which tasks are left with the hub."""
        if self._holding is None:
            specs = ((account, account.spec) for account in self._newest.values())
            self._holding = [account for account, spec in specs if (spec.scope, spec.on_limit) == ("provider", "hold")]
        return next((account for account in self._holding if account.seats), None)

    def find_or_open(self, spec: LimitSpec, undo: ExitStack) -> Account:
        """The account for a limit: the newest of its name, an older one, or a new one, which ``undo`` closes. An older
        one fits where what was newer could not serve. Raises ``ConfigError`` if none can be opened."""
        account = self._newest.get(spec.name)
        if account is not None and not same_limit(account.spec, spec):
            same = (each for each in self._older if each.spec.name == spec.name and same_limit(each.spec, spec))
            account = next(same, None)
        if account is None:
            account = Account(spec, self._shared(spec))
            undo.callback(self.close, account)
        return account

    def adopt(self, account: Account, spec: LimitSpec) -> None:
        """Make it the newest of its name, put where ``spec`` says."""
        before = self._newest.get(spec.name)
        self._newest[spec.name] = account
        account.spec = spec
        self._all = self._holding = None
        if before is not None and before is not account:
            if account in self._older:
                self._older.remove(account)
            self._older.append(before)
            guarded(f"closing limit {spec.name!r}", self.close_if_unused, before)

    def change(self, account: Account, spec: LimitSpec) -> None:
        """Replace the limit of an account whose seats stay. Raises ``ConfigError`` if it cannot be had."""
        limit = self._shared(spec)
        try:
            account.change(spec, limit)
        except OSError as error:
            self._note_unclosed(account, error)

    def close_if_unused(self, account: Account) -> None:
        """Close an account without workers, unless it is the newest of its name."""
        if not account.seats and account is not self._newest.get(account.spec.name):
            if account in self._older:
                self._older.remove(account)
                self._all = None
            self.close(account)

    def close(self, account: Account) -> None:
        """Detach the account's workers, and close its limit."""
        self._put_off.forget(account)
        try:
            with ExitStack() as closing:
                closing.callback(account.limit.close)
                for worker_id in list(account.seats):
                    account.detach(worker_id)
                account.decide(time.monotonic_ns(), time.time_ns())
        except OSError as error:
            self._note_unclosed(account, error)

    def close_all(self, failures: list[Exception]) -> None:
        """Close every account; what nobody expected is added to ``failures``."""
        for account in self.all():
            try:
                self.close(account)
            except Exception as error:
                failures.append(error)
        self._newest.clear()
        self._older.clear()
        self._all = self._holding = None

    async def wait_closed(self) -> None:
        """Wait until Redis has been told of closed limits, for a fraction of a second at most."""
        await asyncio.gather(*(talk.wait_closed() for talk in self._talks))

    def _note_unclosed(self, account: Account, error: OSError) -> None:
        self._log.warning("limit_not_closed", limit=account.spec.name, reason=str(error))

    def _shared(self, spec: LimitSpec) -> Limit | None:
        """The limit whose starts are kept elsewhere; ``None`` if it is this daemon's alone."""
        rates = spec.rates
        if spec.redis is not None:
            return self._over_redis(spec)
        if spec.shared is None or rates.max_requests is None:
            return None
        source = FileSource(self._directory, spec, self._provider)
        return LeasedLimit(source, rates.max_requests, rates.window_ns)

    def _over_redis(self, spec: LimitSpec) -> Limit:
        from arbd.supervisor.limits.redis_talk import RedisTalk  # an extra

        talk = RedisTalk(spec, self._look)
        self._talks = [each for each in self._talks if not each.is_closed]
        self._talks.append(talk)
        return talk.lease


def guarded(what: str, act: Callable[[*Ts], object], *arguments: *Ts) -> None:
    """Do it, and report an unexpected exception to the event loop's handler, so that the rest goes on."""
    try:
        act(*arguments)
    except Exception as error:
        report(error, f"{what} failed")
