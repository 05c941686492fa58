"""The action by itself is timed inside its handler, in a process of its own, without limits and without the token."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from arbd.tuning.own import ActionError, OwnTimeRequest, Workload, measure
from arbd.tuning.record import OwnTime

SOURCE = """
import asyncio, os, sys, time
from arbd import Provider
from arbd.rate_limit import CustomRateLimitMonitor

print("what is printed is no answer")
provider = Provider(name="own")
register = provider.actions.register

@register(name="sleeps", payload_schema={"seconds": float})
def sleeps(seconds):
    print("nor is this")
    time.sleep(seconds)

@register(name="awaits")
async def awaits():
    await asyncio.sleep(0.01)

@register(name="burns")
def burns():
    end = time.process_time() + 0.005
    while time.process_time() < end:
        pass

@register(name="limited", rate_limit_monitor=CustomRateLimitMonitor(window_size=60, max_requests=1))
def limited():
    pass

@register(name="asks", account_schema={"key": str})
def asks(account, task):
    if account["key"] != "x":
        raise ValueError("another key")

@register(name="exits")
def exits():
    os._exit(3)

@register(name="hangs")
def hangs():
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("own") / "own_provider.py"
    path.write_text(SOURCE)
    return str(path)


def own(
    target: str,
    action: str,
    payload: object = None,
    account: object = None,
    duration_s: float = 0.1,
    timeout_s: float = 5.0,
) -> OwnTime:
    given = [b"" if value is None else json.dumps(value).encode() for value in (payload, account)]
    return measure(
        OwnTimeRequest(Workload(target, action, *given), duration_s, timeout_s, os.getpid()), dict(os.environ)
    )


def test_waiting_is_time_but_no_cpu(target: str) -> None:
    found = own(target, "sleeps", {"seconds": 0.01})
    assert 0.01 <= found.median_s <= found.p99_s < 1
    assert found.cpu_s < 0.005
    assert 3 <= found.calls <= 10


def test_an_awaitable_is_timed_to_its_end(target: str) -> None:
    assert 0.009 < own(target, "awaits").median_s < 1


def test_work_is_cpu(target: str) -> None:
    assert 0.005 <= own(target, "burns").cpu_s < 0.05


def test_a_slow_action_is_called_a_few_times(target: str) -> None:
    assert own(target, "sleeps", {"seconds": 0.2}).calls == 3


def test_a_rate_limit_does_not_count(target: str) -> None:
    assert own(target, "limited").calls > 3


def test_an_account_is_given_to_it(target: str) -> None:
    assert own(target, "asks", account={"key": "x"}).calls > 3
    with pytest.raises(ActionError, match="fails with this payload: error: another key"):
        own(target, "asks", account={"key": "y"})


def test_an_action_that_ends_its_process_is_said(target: str) -> None:
    with pytest.raises(ActionError, match=r"'exits' ended its process \(exit code 3\)"):
        own(target, "exits")


def test_an_action_that_does_not_return_is_given_up(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.tuning.own._START_TIMEOUT_S", 0.5)
    with pytest.raises(ActionError, match="'hangs' did not return within 1 s"):
        own(target, "hangs", timeout_s=0.05)


def test_a_target_elsewhere_is_found(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(target).parent)
    assert own("own_provider", "limited").calls > 3
