"""Clients of Redis, asynchronous and synchronous: one call of the script, and log lines about its failures.

redis-py is an extra (``arbd[redis]``) and is imported when a connection is made, never before: a zygote and its workers
do not import it on account of a monitor that the supervisor serves.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from arbd.host.timing import ProcessTiming
from arbd.logs import get_logger
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.storage.redis_gate import RedisGate
from arbd.rate_limit.storage.redis_lease import RedisLease, Talker
from arbd.rate_limit.storage.redis_script import LUA, LeaseReply, LeaseRequest

if TYPE_CHECKING:
    import redis
    import redis.asyncio


class AsyncRedis:
    """A connection for an event loop, with the script of one limit."""

    def __init__(self, spec: LimitSpec) -> None:
        import redis.asyncio

        url, self._key, options = _connection(spec)
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(url, retry=_one_retry(True), **options)
        self._script: Any = self._client.register_script(LUA)

    async def ask(self, request: LeaseRequest, clock: Callable[[], int]) -> LeaseReply:
        """Send a request; ``clock`` dates it. Raises whatever the client library raises."""
        return LeaseReply.of(await self._script(keys=[self._key], args=request.arguments(clock())))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


class RedisLog:
    """Logs once that Redis cannot be used, and once that it works again."""

    def __init__(self, spec: LimitSpec) -> None:
        self._spec = spec
        self._said: str | None = None
        self._log = get_logger("arbd.limits")

    def note_failure(self, exc: Exception) -> None:
        """Note a call without an answer. The library's messages name the server, not the password."""
        self._say("redis_away", f"{type(exc).__name__}: {exc}")

    def note_answer(self, is_alone: bool) -> None:
        """Note an answer; ``is_alone``: it came from a server that lost its memory."""
        if is_alone:
            self._say(
                "redis_lost_its_memory", "what was admitted before is not known; it counts again after one window"
            )
        elif self._said is not None:
            self._said = None
            self._log.info("redis_back", limit=self._spec.name)

    def _say(self, event: str, reason: str) -> None:
        if self._said != event:
            self._said = event
            backend = self._spec.redis
            policy = backend.on_error if backend else None
            self._log.warning(event, limit=self._spec.name, reason=reason, on_backend_error=policy)


def make_lease(spec: LimitSpec, talker: Talker | None = None) -> RedisLease:
    """A lease with a random member name."""
    rates, backend = spec.rates, spec.redis
    assert backend is not None
    assert rates.max_requests is not None
    return RedisLease(rates.max_requests, rates.window_ns, backend.on_error, secrets.token_hex(8), talker)


def local_gate(spec: LimitSpec) -> RedisGate:
    """The gate of a monitor outside a daemon, with the synchronous client."""
    import redis

    url, key, options = _connection(spec)
    client: redis.Redis = redis.Redis.from_url(url, retry=_one_retry(False), **options)
    script: Any = client.register_script(LUA)
    log = RedisLog(spec)
    lease = make_lease(spec)

    def ask(request: LeaseRequest, clock: Callable[[], int]) -> LeaseReply | None:
        try:
            reply = LeaseReply.of(script(keys=[key], args=request.arguments(clock())))
        except (redis.RedisError, OSError) as exc:
            log.note_failure(exc)
            return None
        except BaseException:  # a task's deadline: a reply to come would be taken for that to another request
            client.connection_pool.disconnect()
            raise
        log.note_answer(reply.settling_us > 0)
        return reply

    return RedisGate(spec, lease, ask, ProcessTiming())


def _connection(spec: LimitSpec) -> tuple[str, str, dict[str, Any]]:
    backend = spec.redis
    if backend is None or not backend.url:
        raise RuntimeError(f"limit {spec.name!r}: the URL of its Redis is not known in this process")
    options = {"socket_timeout": backend.timeout, "socket_connect_timeout": backend.timeout}
    return backend.url, backend.key(spec.rates.window_ns), options


def _one_retry(asynchronous: bool) -> Any:
    """The retry policy: one more try, at once, for a connection that the server closed while it was idle. The script
    counts nothing twice by it. A server that does not answer is not asked again."""
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError

    if asynchronous:
        from redis.asyncio.retry import Retry as AsyncRetry

        return AsyncRetry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    from redis.retry import Retry

    return Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
