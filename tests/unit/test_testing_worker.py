"""``arbd.testing`` opens what an action needs and closes it again; a worker there has its hooks run around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from arbd.author.provider import Provider
from arbd.testing import run_action, worker

said: list[str] = []


def make(end: str = "") -> Provider:
    """A provider with a resource that an action takes, and one that nothing does."""
    said.clear()
    provider = Provider("fx")

    @provider.resource
    async def db() -> AsyncIterator[str]:
        said.append("open db")
        async with asyncio.TaskGroup():
            yield "db"
        said.append("close db")
        if end:
            raise OSError(end)

    @provider.resource
    def eager(db: Any) -> Iterator[str]:
        said.append("open eager")
        yield "eager"
        said.append("close eager")
        if end:
            raise OSError(end)

    @provider.on_worker_start
    async def start(db: Any) -> None:
        said.append(f"start with {db}")

    @provider.on_worker_stop
    def stop(eager: Any) -> None:
        said.append(f"stop with {eager}")

    @provider.actions.register()
    async def use(db: Any) -> Any:
        return db

    @provider.actions.register()
    def plain() -> int:
        return 1

    return provider


def test_run_action_opens_what_it_needs_and_closes_it() -> None:
    provider = make()
    assert run_action(provider, "plain").data == 1
    assert said == []
    assert run_action(provider, "use", {"db": "mine"}).data == "db"
    assert said == ["open db", "close db"]


def test_what_fails_to_close_is_raised() -> None:
    with pytest.raises(OSError, match="lost"):
        run_action(make("lost"), "use")


def test_a_worker_has_everything_once() -> None:
    with worker(make()) as here:
        assert [here.run("use").data for _ in range(3)] == ["db"] * 3
        assert said == ["open db", "start with db", "open eager"]
    assert said[3:] == ["stop with eager", "close eager", "close db"]


def test_also_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), worker(make()):
        raise ZeroDivisionError
    assert said[3:] == ["stop with eager", "close eager", "close db"]


def test_all_are_closed_whatever_fails() -> None:
    with pytest.raises(ExceptionGroup) as caught, worker(make("lost")):
        pass
    assert [str(each) for each in caught.value.exceptions] == ["lost", "lost"]
    assert said[3:] == ["stop with eager", "close eager", "close db"]


def test_a_start_that_fails_closes_what_was_open() -> None:
    provider = make()

    @provider.on_worker_start
    def broken() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError), worker(provider):
        pass
    assert said == ["open db", "start with db", "close db"]


def test_all_stop_hooks_run_whatever_fails() -> None:
    provider = make()

    @provider.on_worker_stop
    def fails() -> None:
        raise OSError("first")

    @provider.on_worker_stop
    async def fails_too() -> None:
        raise OSError("second")

    with pytest.raises(ExceptionGroup) as caught, worker(provider):
        pass
    assert [str(each) for each in caught.value.exceptions] == ["second", "first"]
    assert said[3:] == ["stop with eager", "close eager", "close db"]
