"""The lease that a process holds of a limit in Redis: what it may start, when to call Redis, what holds without it.

    refill ── a start is asked for ──> wake: whoever does the input and output looks at due_at()
    plan(now) ─> LeaseRequest ─> Redis ─> LeaseReply ─> receive()          no answer ─> fail()

    state      ends with               a start needs
    leased     fail, or memory lost    a start on lease, before the lease ends; refused: to wait until told
    away       an answer               on_backend_error:  "closed"  what is left on lease, then nothing
    settling   one window              (the same)         "local"   that, or this member's share: limit / members seen
                                                          "open"    nothing

Only "closed" is exact without Redis: it is not known what the others do meanwhile. Starts made without a lease are
reported when Redis is back. ``redis_script`` has the other side and the proof.

Pure: asked by ``arbd.rate_limit.grants.account`` like any other limit; ``arbd.supervisor.limits.redis_talk`` and
``redis_gate`` do the input and output.
"""

from __future__ import annotations

from typing import Final, Protocol

from arbd.core.backoff import Retry
from arbd.model.limit_spec import OnBackendError
from arbd.rate_limit.algorithms.base import NEVER_NS, UNBOUNDED, Limit
from arbd.rate_limit.algorithms.window import SlidingWindow
from arbd.rate_limit.storage.redis_script import GROUPS, LEASE_NS, MARGIN_NS, LeaseReply, LeaseRequest
from arbd.rate_limit.usage import UNREACHED

_BATCHES: Final = 200  # a batch is at most this part of the limit, so that members hold next to nothing unused
_MOST_ASKED: Final = 64  # more is asked for only where that is no more than a batch
_EAGER_NS: Final = 10_000_000  # out of starts again this soon: ask for twice as many
_SPARE_NS: Final = 20_000_000  # without a start or a request for so long: return the rest
_LENT_NS: Final = 10_000_000  # others hold all that is free: ask again after this time
_ANSWER_NS: Final = 100_000_000  # a worker waits for an answer that long
_REPORT_MIN_NS: Final = 5_000_000
_REPORT_MAX_NS: Final = LEASE_NS // 4
_RETRY_MIN_S: Final = 0.1
_RETRY_MAX_S: Final = 2.0
_US: Final = 1000


class Talker(Protocol):
    """Calls Redis for a lease whenever a call is due."""

    def wake(self) -> None:
        """Look at ``due_at`` again: it may have changed."""

    def close(self) -> None:
        """Release the lease; it is not used afterwards."""


class RedisLease(Limit):
    """At most ``calls`` starts in any ``window_ns``, over all members of the limit; ``member`` names this one."""

    def __init__(
        self, calls: int, window_ns: int, on_error: OnBackendError, member: str, talker: Talker | None = None
    ) -> None:
        self._calls = calls
        self._window_ns = window_ns
        self._on_error = on_error
        self._member = member
        self._talker = talker
        self.max_batch = max(1, calls // _BATCHES)
        self._report_ns = min(_REPORT_MAX_NS, max(_REPORT_MIN_NS, window_ns // 8))
        self._own = SlidingWindow(calls, window_ns)  # the starts of this member alone
        # The session: counters that only grow, and the end of the lease.
        self._session = 1
        self._granted = self._started = self._returned = 0
        self._ends_at_ns = 0
        self._starts: list[list[int]] = []  # not reported yet: date of the first, date of the last, how many
        self._sent = 0  # so many of them are in the request under way
        # What Redis said last.
        self._epoch = ""
        self._heard = self._heard_at_ns = 0
        self._taken = 0
        self._members_seen = 1
        self._refused_until_ns = 0
        self._settled_at_ns = 0
        # Failures.
        self._is_away = False
        self._retry = Retry(_RETRY_MIN_S, _RETRY_MAX_S)
        self._due_ns: int | None = 0  # asked for once at the start, so that trouble shows at once
        # Demand.
        self._asked = self._asking = 0
        self._outstanding = 0
        self._batch = 1
        self._last_ask_ns = self._used_at_ns = 0

    # -- a limit -----------------------------------------------------------------------------------------

    def spend(self, at_ns: int, calls: int) -> None:
        self._started += calls
        self._own.spend(at_ns, calls)
        self._used_at_ns = max(self._used_at_ns, at_ns)
        starts = self._starts
        if len(starts) > self._sent and at_ns - starts[-1][0] <= self._window_ns // GROUPS:
            starts[-1][1] = max(starts[-1][1], at_ns)
            starts[-1][2] += calls
        else:
            starts.append([at_ns, at_ns, calls])

    def available(self, now_ns: int, outstanding: int) -> int:
        free = self._left if now_ns < self._ends_at_ns else 0
        if self._on_error != "closed" and self.is_alone(now_ns):
            if self._on_error == "open":
                return UNBOUNDED
            return max(0, free - outstanding, self._own.available(now_ns, outstanding + self._others_share))
        return max(0, free - outstanding)

    def next_at(self, now_ns: int, outstanding: int) -> int:
        if not self.is_alone(now_ns):
            return now_ns + _ANSWER_NS if self.undecided else max(now_ns + 1, self._refused_until_ns)
        if self._on_error == "closed":
            return max(now_ns + 1, self._settled_at_ns, (self._due_ns or 0) if self._is_away else 0)
        return now_ns if self._on_error == "open" else self._own.next_at(now_ns, outstanding + self._others_share)

    def usable_until(self, now_ns: int, outstanding: int) -> int:
        if self._on_error != "closed" and self.is_alone(now_ns):
            return NEVER_NS
        # What workers hold is good only if all of it is on lease. It is not where the lease was lost.
        return self._ends_at_ns if self._left >= outstanding else 0

    def startable(self, now_ns: int, outstanding: int) -> int:
        free = self.available(now_ns, outstanding)
        if free or self.is_alone(now_ns) or now_ns < self._refused_until_ns:
            return free + outstanding
        return outstanding + self.max_batch  # not known before a worker asks, so let one

    def refill(self, now_ns: int, want: int) -> None:
        self.undecided = not self.is_alone(now_ns) and now_ns >= self._refused_until_ns
        if self.undecided:
            self._asking += want

    def settle(self, now_ns: int, outstanding: int) -> None:
        self._outstanding = outstanding
        self._asked, self._asking = self._asking, 0
        if self._talker is not None:
            self._talker.wake()

    def close(self) -> None:
        if self._talker is not None:
            self._talker.close()

    def forget(self, now_ns: int) -> None:
        self._own.forget(now_ns)

    def cause(self, now_ns: int, outstanding: int) -> int:
        return UNREACHED if self._on_error == "closed" and self.is_alone(now_ns) else 0

    def usage(self, now_ns: int, outstanding: int = 0) -> float:
        if self.is_alone(now_ns):
            return min(1.0, self._own.count(now_ns) / self._calls)
        is_stale = now_ns - self._heard_at_ns > self._window_ns
        return 0.0 if is_stale else min(1.0, self._taken / self._calls)

    # -- the talk with Redis -----------------------------------------------------------------------------

    def is_alone(self, now_ns: int) -> bool:
        """Whether Redis cannot be used now: it is away, or settling after it lost its memory."""
        return self._is_away or now_ns < self._settled_at_ns

    def due_at(self) -> int | None:
        """When to call Redis next, unless a call is under way; ``None``: not before something changes."""
        if self._is_away or self._due_ns == 0:
            return self._due_ns
        if self._asked:
            return 0
        moments = []
        if self._starts:
            moments.append(self._starts[0][0] + self._report_ns)
        if self._outstanding:  # workers may have started them: that has to be seen; and the lease has to go on
            moments.append(self._heard_at_ns + self._report_ns)
        if self._settled_at_ns:  # so that it is said that all is well again
            moments.append(self._settled_at_ns)
        if self._left > self._outstanding:
            moments.append(max(self._used_at_ns, self._last_ask_ns) + _SPARE_NS)
        return min(moments, default=None)

    def plan(self, now_ns: int, *, leaving: bool = False) -> LeaseRequest:
        """The request to send now; ``receive`` or ``fail`` must follow. ``leaving``: return everything."""
        if self._granted and now_ns >= self._ends_at_ns:
            self._begin_session()
        asked, self._asked = self._asked, 0
        spare = self._left - self._outstanding
        is_idle = not asked and now_ns - max(self._used_at_ns, self._last_ask_ns) >= _SPARE_NS
        if spare > 0 and (is_idle or leaving):
            self._returned += spare
        # After a window without a call, the server may rightly have dropped the log.
        known = self._epoch if now_ns - self._heard_at_ns < self._window_ns + LEASE_NS // 2 else ""
        since_ns = now_ns - self._window_ns
        while self._starts and self._starts[0][1] <= since_ns:  # they no longer count
            del self._starts[0]
        self._sent = len(self._starts)
        return LeaseRequest(
            *(self._calls, self._window_ns, self._member, self._session),
            *(self._granted, self._started, self._returned),
            want=self._want(now_ns, asked) if asked else 0,
            starts=[(at_ns, calls) for _, at_ns, calls in self._starts],
            epoch=known,
            heard=self._heard,
            heard_at_ns=self._heard_at_ns,
        )

    def receive(self, reply: LeaseReply, sent_at_ns: int, now_ns: int) -> None:
        """Process the reply to the request that was sent at ``sent_at_ns``."""
        self._is_away = False
        self._retry.worked()
        self._due_ns = None
        self._epoch, self._heard, self._heard_at_ns = reply.epoch, reply.now, sent_at_ns
        self._taken, self._members_seen = reply.taken, max(1, reply.members)
        self._settled_at_ns = now_ns + reply.settling_us * _US if reply.settling_us else 0
        self.undecided = False
        if reply.granted < 0:  # the server has dated what was left of the session, and not read the report
            self._sent = 0
            self._begin_session()
            self._due_ns = 0
            return
        del self._starts[: self._sent]
        self._sent = 0
        self._granted = reply.granted
        self._ends_at_ns = sent_at_ns + LEASE_NS - MARGIN_NS
        if reply.wait_us == 0:
            self._refused_until_ns = 0
        elif reply.wait_us > 0:
            self._refused_until_ns = now_ns + reply.wait_us * _US
        else:
            self._refused_until_ns = now_ns + _LENT_NS

    def fail(self, now_ns: int) -> None:
        """Note a request without a valid reply. What is on lease stays so until it ends."""
        self._is_away = True
        self.undecided = False
        self._sent = 0
        self._due_ns = self._retry.failed(now_ns)

    # -- inside ------------------------------------------------------------------------------------------

    @property
    def _left(self) -> int:
        return self._granted - self._started - self._returned

    @property
    def _others_share(self) -> int:
        return self._calls - max(1, self._calls // self._members_seen)

    def _begin_session(self) -> None:
        """Start a new session after the lease has ended; starts that were not reported are reported in it."""
        self._session += 1
        self._granted = self._returned = 0
        self._started = sum(calls for _, _, calls in self._starts)

    def _want(self, now_ns: int, asked: int) -> int:
        eager = now_ns - self._last_ask_ns < _EAGER_NS
        self._batch = min(self.max_batch, 2 * self._batch) if eager else 1
        self._last_ask_ns = now_ns
        # What workers still hold of a lease that was lost comes first.
        unbacked = max(0, self._outstanding - max(0, self._left))
        return unbacked + max(self._batch, min(asked, max(_MOST_ASKED, self.max_batch)))
