"""The supervisor's calls of Redis for one limit: one at a time, made when the lease says that it is due.

    account looks ─> lease.settle ─wake─> timer ─> look, plan ─> Redis ─> receive or fail ─> look: answers who waits

What to ask for, and what holds without an answer, is in ``arbd.rate_limit.storage.redis_lease``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from arbd.errors import ConfigError
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.storage.redis_client import AsyncRedis, RedisLog, make_lease
from arbd.supervised import supervised

_LEAVE_TIMEOUT_S: Final = 0.25  # giving back is best effort: the lease ends by itself
_CLOSE_TIMEOUT_S: Final = 0.25  # so is closing the connection in good order


class RedisTalk:
    """The calls for one limit. ``look`` has its account look at the workers, and answer them. Raises ``ConfigError`` if
    the library is not installed."""

    def __init__(self, spec: LimitSpec, look: Callable[[], None]) -> None:
        self._name = spec.name
        self._look = look
        self._loop = asyncio.get_running_loop()
        try:
            self._redis = AsyncRedis(spec)
        except ImportError as error:
            raise ConfigError([f"rate limit {spec.name!r} is kept in Redis, but {error}"]) from error
        self._redis_log = RedisLog(spec)
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[None] | None = None
        self._is_closing = False
        self.lease = make_lease(spec, self)
        self.wake()

    def wake(self) -> None:
        """Set the timer for the next call."""
        if self._call is not None or self._is_closing:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ns = self.lease.due_at()
        if due_ns is not None:
            self._timer = self._loop.call_later(max(0, due_ns - time.monotonic_ns()) / 1e9, self._start)

    def close(self) -> None:
        """Return the rest of the lease in the background, and stop."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._call = supervised(self._leave(self._call), f"leaving redis limit {self._name!r}")

    @property
    def is_closed(self) -> bool:
        """Whether all is done after ``close``."""
        return self._is_closing and (self._call is None or self._call.done())

    async def wait_closed(self) -> None:
        """Wait until ``close`` is done, for a second at most."""
        if self._is_closing and self._call is not None:
            await asyncio.wait((self._call,), timeout=2 * (_LEAVE_TIMEOUT_S + _CLOSE_TIMEOUT_S))

    def _start(self) -> None:
        self._timer = None
        self._call = supervised(self._talk(), f"talk about redis limit {self._name!r}")

    async def _talk(self) -> None:
        try:
            self._look()  # what workers have started since the last look is reported now
            await self._exchange()
        except BaseException:  # unexpected: the loop's handler reports it; workers that wait are answered
            self.lease.fail(time.monotonic_ns())
            raise
        finally:
            if not self._is_closing:
                self._call = None
                self._look()
                self.wake()

    async def _exchange(self) -> None:
        lease = self.lease
        request = lease.plan(time.monotonic_ns())
        sent_at_ns = time.monotonic_ns()
        try:
            reply = await self._redis.ask(request, time.monotonic_ns)
        except Exception as exc:  # whatever the library raises: without an answer, Redis is away
            lease.fail(time.monotonic_ns())
            self._redis_log.note_failure(exc)
            return
        lease.receive(reply, sent_at_ns, time.monotonic_ns())
        self._redis_log.note_answer(reply.settling_us > 0)

    async def _leave(self, call: asyncio.Task[None] | None) -> None:
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                if call is not None:
                    await call
                request = self.lease.plan(time.monotonic_ns(), leaving=True)
                if request.granted:
                    await self._redis.ask(request, time.monotonic_ns)
        except Exception:  # whatever the library raises: the answer is not needed
            pass
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._redis.close()
        except Exception:  # the same: the process ends, and the connection with it
            pass
