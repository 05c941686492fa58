"""Which limits cannot be asked for now, until when, and why; said once when it begins, and once when it is over.

Two places notice that: the limit itself, whose exchange with those it shares with fails and which answers all the same
(``arbd.rate_limit.storage.host_lease``), and whoever looks into its account, where anything may fail.
"""

from __future__ import annotations

from arbd.core.backoff import Retry
from arbd.logs import get_logger
from arbd.rate_limit.grants.account import Account


class PutOff:
    """The accounts of a daemon that are put off."""

    def __init__(self) -> None:
        self._log = get_logger("arbd.limits")
        self._pauses: dict[Account, Retry] = {}
        #: Of those that are put off, or have trouble of their own.
        self.reasons: dict[Account, str] = {}

    def until(self, account: Account) -> int:
        """Before when it need not be looked into."""
        pause = self._pauses.get(account)
        return 0 if pause is None else pause.until_ns

    def reason(self, account: Account) -> str | None:
        """What stands in the way; ``None``: nothing."""
        return self.reasons.get(account)

    def failed(self, account: Account, error: Exception, now_ns: int) -> int:
        """Looking into it failed; when to try again."""
        self._note(account, f"{type(error).__name__}: {error}")
        return self._pauses.setdefault(account, Retry()).failed(now_ns)

    def worked(self, account: Account) -> None:
        """Looking into it worked; it may have trouble of its own."""
        self._pauses.pop(account, None)
        self._note(account, account.limit.trouble)

    def forget(self, account: Account) -> None:
        """It is closed."""
        self._pauses.pop(account, None)
        self.reasons.pop(account, None)

    def _note(self, account: Account, reason: str | None) -> None:
        was_said = account in self.reasons
        if reason is not None:
            self.reasons[account] = reason
            if not was_said:
                self._log.warning(
                    "limit_put_off",
                    limit=account.spec.name,
                    reason=reason,
                    hint="nothing more is let through by this limit until it works; it is tried again by itself",
                )
        elif was_said:
            del self.reasons[account]
            self._log.info("limit_works_again", limit=account.spec.name)
