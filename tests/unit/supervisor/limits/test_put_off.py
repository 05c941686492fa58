"""What is put off is said once when it begins and once when it is over, whoever notices it, and tried less and less
often meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from limits_support import LogBook, log

from arbd.core.backoff import RETRY_MAX_S, RETRY_MIN_S
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.grants.account import Account
from arbd.supervisor.limits.put_off import PutOff

__all__ = ["log"]


class Limit:
    """A limit that may have trouble of its own."""

    trouble: str | None = None


def an_account(name: str = "limit") -> Account:
    limit: Any = Limit()
    return Account(LimitSpec(name, "custom", Rates(max_requests=4, window_size=60)), limit)


@pytest.fixture
def put_off(log: LogBook) -> PutOff:
    return PutOff()


def test_nothing_is_put_off_at_first(put_off: PutOff) -> None:
    account = an_account()
    assert (put_off.until(account), put_off.reasons.get(account)) == (0, None)


def test_one_that_fails_is_said_once_and_tried_less_and_less_often(put_off: PutOff, log: LogBook) -> None:
    account = an_account()
    now_ns, pauses = 1_000, []
    for _ in range(10):
        put_off.failed(account, OSError(28, "No space left on device"), now_ns)
        pauses.append((put_off.until(account) - now_ns) / 1e9)
        now_ns = put_off.until(account)
    assert pauses[:3] == [RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S]
    assert pauses[-1] == RETRY_MAX_S
    assert put_off.reasons.get(account) == "OSError: [Errno 28] No space left on device"
    [line] = log.of("limit_put_off")
    assert line["limit"] == "limit"


def test_the_reason_is_the_last_one(put_off: PutOff) -> None:
    account = an_account()
    put_off.failed(account, OSError("first"), 0)
    put_off.failed(account, ValueError("last"), 0)
    assert put_off.reasons.get(account) == "ValueError: last"


def test_one_that_works_again_is_said_and_its_next_failure_is_a_first(put_off: PutOff, log: LogBook) -> None:
    account = an_account()
    for _ in range(5):
        put_off.failed(account, OSError("full"), 0)
    put_off.worked(account)
    put_off.worked(account)
    assert (put_off.until(account), put_off.reasons.get(account)) == (0, None)
    assert len(log.of("limit_works_again")) == 1
    put_off.failed(account, OSError("full"), 0)
    assert put_off.until(account) == RETRY_MIN_S * 1e9
    assert len(log.of("limit_put_off")) == 2


def test_trouble_of_the_limit_s_own_is_said_as_well_but_it_is_looked_into_all_the_same(
    put_off: PutOff, log: LogBook
) -> None:
    account = an_account()
    limit: Any = account.limit
    limit.trouble = "nobody answers"
    put_off.worked(account)
    put_off.worked(account)
    assert (put_off.until(account), put_off.reasons.get(account)) == (0, "nobody answers")
    assert len(log.of("limit_put_off")) == 1
    limit.trouble = None
    put_off.worked(account)
    assert put_off.reasons.get(account) is None
    assert len(log.of("limit_works_again")) == 1


def test_one_that_is_closed_is_forgotten_without_a_word(put_off: PutOff, log: LogBook) -> None:
    account, other = an_account(), an_account("other")
    put_off.failed(account, OSError("full"), 0)
    put_off.failed(other, OSError("full"), 0)
    put_off.forget(account)
    put_off.forget(account)
    assert (put_off.until(account), put_off.reasons.get(account)) == (0, None)
    assert put_off.reasons == {other: "OSError: full"}
    assert log.of("limit_works_again") == []
