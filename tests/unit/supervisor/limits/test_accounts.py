"""The same limit goes on with the same account, another one replaces it, and an account that no worker has is closed;
whatever fails at the closing of one, the others are closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from limits_support import Boom, HandLoop, LogBook, log, loop

from arbd.errors import ConfigError
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.grants.account import Account
from arbd.supervisor.limits.accounts import Accounts, guarded
from arbd.supervisor.limits.put_off import PutOff

__all__ = ["log", "loop"]

NO_SPACE = OSError(28, "No space left on device")


def spec(name: str = "limit", calls: int = 4, **words: Any) -> LimitSpec:
    return LimitSpec(name, "custom", Rates(max_requests=calls, window_size=60), **words)


@pytest.fixture
def accounts(loop: HandLoop, log: LogBook, tmp_path: Path) -> Iterator[Accounts]:
    accounts = Accounts("provider", tmp_path / "run", PutOff(), lambda: None)
    yield accounts
    accounts.close_all([])


def opened(accounts: Accounts, wanted: LimitSpec) -> Account:
    """The account for this limit, in force."""
    with ExitStack() as undo:
        account = accounts.find_or_open(wanted, undo)
        undo.pop_all()
    accounts.adopt(account, wanted)
    return account


def fails_to_close(account: Account, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(account.limit, "close", fails)


def test_a_reload_with_the_same_limit_does_not_start_it_over(accounts: Accounts) -> None:
    account = opened(accounts, spec())
    assert opened(accounts, spec(warning_threshold=0.5)) is account
    assert account.spec.warning_threshold == 0.5
    assert list(accounts.all()) == [account]


def test_other_rates_are_another_account_and_the_old_one_goes_with_its_last_worker(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = opened(accounts, spec())
    worker: Any = object()
    monkeypatch.setitem(old.seats, 1, worker)
    new = opened(accounts, spec(calls=5))
    assert list(accounts.all()) == [new, old]
    accounts.close_if_unused(old)
    assert list(accounts.all()) == [new, old]
    monkeypatch.delitem(old.seats, 1)
    accounts.close_if_unused(old)
    assert list(accounts.all()) == [new]


def test_the_newest_of_its_name_stays_without_workers(accounts: Accounts) -> None:
    account = opened(accounts, spec())
    accounts.close_if_unused(account)
    assert list(accounts.all()) == [account]


def test_going_back_finds_the_older_account(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    old = opened(accounts, spec())
    worker: Any = object()
    monkeypatch.setitem(old.seats, 1, worker)
    new = opened(accounts, spec(calls=5))
    assert opened(accounts, spec()) is old
    assert list(accounts.all()) == [old]
    assert new is not old
    monkeypatch.delitem(old.seats, 1)


def test_one_that_comes_to_nothing_is_closed_by_who_undoes_it(accounts: Accounts) -> None:
    with ExitStack() as undo:
        accounts.find_or_open(spec(), undo)
    assert list(accounts.all()) == []


def test_one_whose_storage_cannot_be_had_is_none(accounts: Accounts, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no directory")
    with ExitStack() as undo, pytest.raises(ConfigError):
        accounts.find_or_open(spec(shared="shared"), undo)
    assert list(accounts.all()) == []


def test_tasks_are_held_back_for_the_provider_s_limit_alone_and_while_a_worker_has_it(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts.held() is None
    opened(accounts, spec("other"))
    held = opened(accounts, spec(scope="provider", on_limit="hold"))
    assert accounts.held() is None
    worker: Any = object()
    monkeypatch.setitem(held.seats, 1, worker)
    assert accounts.held() is held
    monkeypatch.delitem(held.seats, 1)


def test_an_end_that_the_machine_refuses_is_logged(
    accounts: Accounts, log: LogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_to_close(opened(accounts, spec()), monkeypatch, NO_SPACE)
    failures: list[Exception] = []
    accounts.close_all(failures)
    assert failures == []
    assert log.of("limit_not_closed") == [{"limit": "limit", "reason": str(NO_SPACE)}]


def test_something_unexpected_at_one_keeps_no_other_from_its_end(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    fails_to_close(opened(accounts, spec("one")), monkeypatch, error := Boom())
    other = opened(accounts, spec("other"))
    monkeypatch.setattr(other.limit, "close", lambda: closed.append("other"))
    failures: list[Exception] = []
    accounts.close_all(failures)
    assert failures == [error]
    assert closed == ["other"]
    assert list(accounts.all()) == []


def test_what_is_guarded_is_reported_and_not_raised(loop: HandLoop) -> None:
    def fails(error: Exception) -> None:
        raise error

    guarded("something", fails, error := Boom())
    assert loop.reported == [error]
