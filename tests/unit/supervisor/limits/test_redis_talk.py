"""The talk about a limit over Redis: what nobody expected is told to the loop's owner, and the talk goes on; its end is
bounded, whatever hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from arbd.errors import ConfigError
from arbd.model.limit_spec import LimitSpec, Rates, RedisBackend
from arbd.rate_limit.storage.redis_script import LeaseReply, LeaseRequest
from arbd.supervisor.limits import redis_talk
from arbd.supervisor.limits.redis_talk import RedisTalk

SPEC = LimitSpec(
    "limit",
    "redis",
    Rates(max_requests=100, window_size=60),
    redis=RedisBackend("redis://nobody", "k", "closed", 0.25),
)


class Boom(Exception):
    """Something that nobody expected."""


class Redis:
    """A server that answers, unless told otherwise."""

    def __init__(self, spec: LimitSpec) -> None:
        self.asked = asyncio.Event()
        self.hangs = False
        self.is_closed = False
        self.granted = 0

    async def ask(self, request: LeaseRequest, clock: Callable[[], int]) -> LeaseReply:
        self.asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        self.granted += request.want
        return LeaseReply("epoch", 1, self.granted, 0, 0, 1, 0)

    async def close(self) -> None:
        self.is_closed = True
        if self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> list[Redis]:
    made: list[Redis] = []

    def make(spec: LimitSpec) -> Redis:
        made.append(Redis(spec))
        return made[-1]

    monkeypatch.setattr(redis_talk, "AsyncRedis", make)
    return made


def run(test: Callable[[list[BaseException]], Any]) -> None:
    async def main() -> None:
        reported: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        await asyncio.wait_for(test(reported), 20)

    asyncio.run(main())


@pytest.mark.parametrize("where", ["plan", "receive"])
def test_what_nobody_expected_is_told_and_the_talk_goes_on(
    redis: list[Redis], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(reported: list[BaseException]) -> None:
        talk = RedisTalk(SPEC, lambda: None)
        error = Boom()
        failed = asyncio.Event()

        def fails(*_: object, **__: object) -> None:
            failed.set()
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(talk.lease, where, fails)
            await failed.wait()
        redis[0].asked.clear()
        await redis[0].asked.wait()  # asked again by itself, after a while
        assert reported == [error]
        talk.close()
        await talk.wait_closed()
        assert redis[0].is_closed

    run(test)


def test_its_end_is_bounded_whatever_hangs(redis: list[Redis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_talk, "_LEAVE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(redis_talk, "_CLOSE_TIMEOUT_S", 0.01)

    async def test(reported: list[BaseException]) -> None:
        talk = RedisTalk(SPEC, lambda: None)
        redis[0].hangs = True
        await redis[0].asked.wait()
        talk.close()
        assert not talk.is_closed
        await talk.wait_closed()
        assert talk.is_closed
        assert reported == []

    run(test)


def test_without_the_library_the_limit_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(spec: LimitSpec) -> None:
        raise ModuleNotFoundError("No module named 'redis'")

    monkeypatch.setattr(redis_talk, "AsyncRedis", missing)

    async def test(reported: list[BaseException]) -> None:
        with pytest.raises(ConfigError, match="rate limit 'limit' is kept in Redis, but No module named 'redis'"):
            RedisTalk(SPEC, lambda: None)

    run(test)
