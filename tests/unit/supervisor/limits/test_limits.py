"""Each limit of a daemon is on its own: one that fails is put off and comes back, the others go on, nothing hangs."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from limits_support import (
    SECOND,
    Boom,
    HandLoop,
    LogBook,
    Memory,
    Seat,
    a_description,
    has_rung,
    log,
    loop,
    memories,
)

from arbd.errors import ConfigError
from arbd.host import doorbell
from arbd.ipc import layout
from arbd.model.description import Description
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.algorithms.base import Limit
from arbd.rate_limit.algorithms.window import SlidingWindow
from arbd.rate_limit.grants.account import Account
from arbd.rate_limit.grants.live import LiveLimit
from arbd.rate_limit.grants.supervisor_seat import SupervisorSeat
from arbd.supervisor.limits.limits import DaemonLimits

__all__ = ["log", "loop", "memories"]

MS: Final = 1_000_000
FAR_NS: Final = 1 << 60
NO_SPACE: Final = OSError(errno.ENOSPC, "No space left on device")

Memories = Callable[[Description], Memory]


def custom(name: str, calls: int = 4) -> LimitSpec:
    return LimitSpec(name, "custom", Rates(max_requests=calls, window_size=60))


def shared(name: str = "shared", calls: int = 4) -> LimitSpec:
    return LimitSpec(name, "shared", Rates(max_requests=calls, window_size=60), shared=name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def limits(loop: HandLoop, log: LogBook, run: Path) -> Iterator[DaemonLimits]:
    limits = DaemonLimits("provider", run)
    yield limits
    limits.close()


class Breaks:
    """Has one method fail for the limit of one name, while ``error`` says so."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str, name: str) -> None:
        self.error: Exception | None = None
        self.at_ns: list[int] = []
        self._whole = getattr(Account, method)
        patch.setattr(Account, method, lambda account, *arguments: self._call(account, name, *arguments))

    def _call(self, account: Account, name: str, *arguments: Any) -> Any:
        if account.spec.name == name and self.error is not None:
            self.at_ns.append(time.monotonic_ns())
            raise self.error
        return self._whole(account, *arguments)


def attached(limits: DaemonLimits, memories: Memories, description: Description, worker_id: int = 1) -> Memory:
    memory = memories(description)
    limits.attach(worker_id, description, memory.words, memory.bell, memory.wake)
    return memory


def ask(limits: DaemonLimits, loop: HandLoop, *seats: Seat, until_ns: int = 0) -> None:
    for seat in seats:
        seat.ask(until_ns)
    doorbell.ring(limits.bell)
    loop.turn()


# -- one that fails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NO_SPACE, Boom()], ids=["ordinary", "unexpected"])
@pytest.mark.parametrize("method", ["observe", "decide"])
def test_one_that_fails_is_put_off_and_the_others_are_answered(
    limits: DaemonLimits,
    loop: HandLoop,
    memories: Memories,
    method: str,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks = Breaks(monkeypatch, method, "two")
    memory = attached(limits, memories, a_description(custom("one"), custom("two"), custom("three")))
    one, two, three = (memory.seat(number) for number in range(3))
    breaks.error = error
    ask(limits, loop, one, two, three)
    assert [seat.is_answered for seat in (one, two, three)] == [True] * 3
    assert [seat.granted > 0 for seat in (one, two, three)] == [True, False, True]
    assert 0 < two.next_at_ns - loop.now_ns <= 50 * MS  # refused, and told when to come again
    assert has_rung(memory.bell)
    assert loop.reported == ([] if error is NO_SPACE else [error])
    assert loop.next_ns is not None
    ask(limits, loop, one, two, three)  # while it is put off
    assert [seat.is_answered for seat in (one, two, three)] == [True] * 3
    breaks.error = None
    loop.turn(50 * MS)
    ask(limits, loop, two)
    assert two.granted > 0


def test_who_can_wait_waits_until_it_works_again(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = Breaks(monkeypatch, "decide", "one")
    seat = attached(limits, memories, a_description(custom("one"))).seat(0)
    breaks.error = NO_SPACE
    ask(limits, loop, seat, until_ns=FAR_NS)
    loop.turn(SECOND)
    assert not seat.is_answered
    breaks.error = None
    loop.turn(SECOND)  # by the timer alone
    assert (seat.is_answered, seat.granted > 0) == (True, True)


def test_it_is_tried_again_after_a_while_that_grows_and_said_once(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, log: LogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = Breaks(monkeypatch, "decide", "one")
    attached(limits, memories, a_description(custom("one")))
    breaks.error = NO_SPACE
    doorbell.ring(limits.bell)
    loop.turn(20 * SECOND)
    pauses = [(b - a) // MS for a, b in zip(breaks.at_ns, breaks.at_ns[1:], strict=False)]
    assert pauses == [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]
    [said] = log.of("limit_put_off")
    assert (said["limit"], said["reason"]) == ("one", "OSError: [Errno 28] No space left on device")
    [told] = limits.report({1: 0})
    assert told.trouble == said["reason"]
    breaks.error = None
    loop.turn(5 * SECOND)
    assert len(log.of("limit_works_again")) == 1
    assert limits.report({1: 0})[0].trouble is None
    breaks.error = NO_SPACE
    doorbell.ring(limits.bell)
    loop.turn()
    assert len(log.of("limit_put_off")) == 2


def test_nothing_is_granted_twice_for_what_failed_in_between(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that could not be settled stays outstanding, however often it is tried."""
    seat = attached(limits, memories, a_description(custom("one", calls=2))).seat(0)
    ask(limits, loop, seat)
    seat.start(loop.now_ns)

    def fails(*_: object) -> None:
        raise Boom

    with monkeypatch.context() as patch:
        patch.setattr(SlidingWindow, "spend", fails)
        doorbell.ring(limits.bell)
        loop.turn(SECOND)
    ask(limits, loop, seat)
    seat.start(loop.now_ns)
    for _ in range(3):
        ask(limits, loop, seat)
    assert seat.granted <= 2


def test_a_bell_that_was_not_rung_does_no_harm(limits: DaemonLimits, loop: HandLoop) -> None:
    loop.readers[limits.bell]()


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_removed_runtime_directory_is_made_again(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, run: Path, log: LogBook
) -> None:
    memory = attached(limits, memories, a_description(shared(), custom("other")))
    seat = memory.seat(0)
    for number in range(1, 5):
        shutil.rmtree(run)
        ask(limits, loop, seat, memory.seat(1))
        assert seat.granted == number
        assert memory.seat(1).granted >= 1
        seat.start(loop.now_ns)
        loop.turn(100 * MS)
    ask(limits, loop, seat)
    assert (seat.is_answered, seat.granted) == (True, 4)
    assert (log.of("limit_put_off"), loop.reported) == ([], [])


def test_a_place_that_cannot_be_used_puts_off_one_limit_and_heals(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, run: Path, log: LogBook
) -> None:
    memory = attached(limits, memories, a_description(shared(), custom("other")))
    one, other = memory.seat(0), memory.seat(1)
    shutil.rmtree(run)
    run.write_text("in its place")
    ask(limits, loop, one, other)
    assert (one.is_answered, one.granted, other.granted > 0) == (True, 0, True)
    assert one.next_at_ns - loop.now_ns <= 50 * MS
    [said] = log.of("limit_put_off")
    assert str(run) in said["reason"]
    assert loop.reported == []
    run.unlink()
    loop.turn(60 * MS)
    assert len(log.of("limit_works_again")) == 1
    ask(limits, loop, one)
    assert one.granted == 1


# -- who takes part --------------------------------------------------------------------------------------------------


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_a_limit_that_cannot_be_opened_leaves_nothing_of_the_worker(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, run: Path
) -> None:
    run.mkdir(mode=0o700)
    description = a_description(custom("one"), shared("two"), shared("three"))
    memory = memories(description)
    before = descriptors()
    opened = os.open

    def fails(path: Any, *arguments: Any) -> int:
        if "three" in str(path):
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return opened(path, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", fails)
        with pytest.raises(ConfigError, match="rate limit 'three' is shared with other daemons, but"):
            limits.attach(1, description, memory.words, memory.bell)
    assert descriptors() == before
    assert limits.report({1: 0}) == []
    assert loop.next_ns is None
    limits.detach(1)  # there is nothing of it
    limits.attach(1, description, memory.words, memory.bell)
    assert [limit.name for limit in limits.report({1: 0})] == ["one", "two", "three"]


def test_a_reload_whose_limit_cannot_be_opened_changes_nothing(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, run: Path
) -> None:
    old = a_description(custom("one", calls=2))
    seat = attached(limits, memories, old).seat(0)
    for _ in range(2):
        ask(limits, loop, seat)
        seat.start(loop.now_ns)
    run.write_text("no directory")
    new = a_description(custom("one", calls=9), shared("two"))
    memory = memories(new)
    with pytest.raises(ConfigError):
        limits.attach(2, new, memory.words, memory.bell)
    again = attached(limits, memories, old, worker_id=3).seat(0)
    ask(limits, loop, again)
    assert (again.is_answered, again.granted) == (True, 0)  # what was used is used
    [told] = limits.report({1: 0, 3: 1})
    assert [holding.worker for holding in told.holdings] == [0, 1]


def test_a_reload_that_is_given_up_later_leaves_its_limit_to_the_old_workers(
    limits: DaemonLimits, loop: HandLoop, memories: Memories
) -> None:
    old, new = a_description(custom("one", calls=1)), a_description(custom("one", calls=9))
    seat = attached(limits, memories, old).seat(0)
    ask(limits, loop, seat)
    seat.start(loop.now_ns)
    attached(limits, memories, new, worker_id=2)
    limits.detach(2)  # it could not boot
    again = attached(limits, memories, old, worker_id=3).seat(0)
    ask(limits, loop, again)
    assert (again.is_answered, again.granted) == (True, 0)


def test_a_limit_that_nobody_has_and_that_was_replaced_is_closed(
    limits: DaemonLimits, memories: Memories, run: Path
) -> None:
    old = a_description(shared(calls=1))
    attached(limits, memories, old)
    limits.detach(1)
    before = descriptors()
    attached(limits, memories, a_description(shared(calls=2)), worker_id=2)
    assert len(descriptors()) == len(before) + 2  # the bells of the new worker
    assert len(list(run.glob("*.alive"))) == 1


def test_a_worker_s_end_that_fails_in_one_limit_ends_it_in_the_others(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = a_description(custom("one"), custom("two"), custom("three"))
    memory = attached(limits, memories, description)
    third = memory.seat(2)
    ask(limits, loop, third)
    other = attached(limits, memories, description, worker_id=2)
    breaks = Breaks(monkeypatch, "detach", "two")
    breaks.error = Boom()
    limits.detach(1)
    assert loop.reported == [breaks.error]
    for number in (0, 2):
        for _ in range(8):
            ask(limits, loop, other.seat(number))
        assert other.seat(number).granted >= 4  # what the dead one held is free again
    breaks.error = None


def test_who_was_granted_something_it_no_longer_waits_for_is_woken(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deadline was raised while it was answered. It sleeps, and would keep from others what it holds."""
    memory = attached(limits, memories, a_description(custom("one")))
    seat = memory.seat(0)
    grant = SupervisorSeat.grant

    def grants(self: SupervisorSeat, calls: int, not_before_ns: int = 0) -> None:
        seat.words[layout.NEED] = 0
        grant(self, calls, not_before_ns)

    ask(limits, loop, seat)
    assert not has_rung(memory.wake)
    with monkeypatch.context() as patch:
        patch.setattr(SupervisorSeat, "grant", grants)
        ask(limits, loop, seat)
    assert has_rung(memory.wake)


# -- limits that are set while the daemon runs -----------------------------------------------------------------------


def test_a_request_that_cannot_be_granted_is_refused_and_later_workers_do_without(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, run: Path
) -> None:
    description = a_description()
    memory = attached(limits, memories, description)
    run.write_text("no directory")
    memory.live.request(LiveLimit("a0", shared()))
    doorbell.ring(limits.bell)
    loop.turn()
    assert memory.live.answer() is False
    attached(limits, memories, description, worker_id=2)
    memory.live.request(LiveLimit("a0", custom("mine")))
    doorbell.ring(limits.bell)
    loop.turn()
    assert memory.live.answer() is True
    memory.live.request(LiveLimit("a0", shared()))
    doorbell.ring(limits.bell)
    loop.turn()
    assert memory.live.answer() is False
    attached(limits, memories, description, worker_id=3)
    assert [limit.rule for limit in limits.report({})] == ["4 calls in any 60 s"]  # the one before holds


def test_what_was_set_holds_when_the_only_worker_has_died(
    limits: DaemonLimits, loop: HandLoop, memories: Memories
) -> None:
    description = a_description()
    memory = attached(limits, memories, description)
    memory.live.request(LiveLimit("a0", custom("mine")))
    doorbell.ring(limits.bell)
    loop.turn()
    limits.detach(1)
    again = attached(limits, memories, description, worker_id=2)
    assert [limit.rule for limit in limits.report({})] == ["4 calls in any 60 s"]
    assert again.live.read() == memory.live.read()
    limits.detach(2)
    attached(limits, memories, a_description(), worker_id=3)  # the code was loaded again
    assert limits.report({}) == []


def test_a_request_that_fails_is_refused_and_another_worker_s_is_answered(
    limits: DaemonLimits, loop: HandLoop, memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = a_description(actions=2)
    one, other = attached(limits, memories, description), attached(limits, memories, description, worker_id=2)
    one.live.request(LiveLimit("a0", custom("broken", calls=7)))
    other.live.request(LiveLimit("a1", custom("fine")))
    whole = Account.__init__

    def fails(self: Account, spec: LimitSpec, limit: Limit | None = None) -> None:
        if spec.rates.max_requests == 7:
            raise Boom
        whole(self, spec, limit)

    monkeypatch.setattr(Account, "__init__", fails)
    doorbell.ring(limits.bell)
    loop.turn()
    assert (one.live.answer(), other.live.answer()) == (False, True)
    assert [type(error) for error in loop.reported] == [Boom]


# -- the end ---------------------------------------------------------------------------------------------------------


def test_closing_one_that_fails_closes_the_others_and_is_told_at_the_end(
    loop: HandLoop, log: LogBook, memories: Memories, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    limits = DaemonLimits("provider", run)
    attached(limits, memories, a_description(shared("one"), custom("two"), shared("three")))
    error = Boom()

    def fails(_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(SlidingWindow, "close", fails)
        with pytest.raises(Boom):
            limits.close()
    assert len(descriptors()) == len(before) + 2  # the bells of the worker
    assert list(run.glob("*.alive")) == []
    assert loop.readers == {}
    limits.close()
    assert loop.next_ns is None


def test_what_cannot_be_closed_in_good_order_is_said_and_no_more(
    loop: HandLoop, log: LogBook, memories: Memories, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = DaemonLimits("provider", run)
    attached(limits, memories, a_description(custom("one")))

    def fails(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(SlidingWindow, "close", fails)
    limits.close()
    assert [fields["limit"] for fields in log.of("limit_not_closed")] == ["one"]


def test_who_looks_after_the_end_finds_nothing(loop: HandLoop, log: LogBook, memories: Memories, run: Path) -> None:
    limits = DaemonLimits("provider", run)
    attached(limits, memories, a_description(custom("one"))).seat(0).ask()
    look = loop.readers[limits.bell]
    limits.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        look()
    assert loop.next_ns is None
