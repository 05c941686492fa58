"""Daemons that share a limit never exceed it together, whatever becomes of its files, whichever call to them fails."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from arbd.errors import ConfigError
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.storage.host_lease import MOVING_NS, PRESENCE_NS, Lease, LeasedLimit
from arbd.supervisor.limits.host_file import FileSource

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
WINDOW_NS: Final = 60 * SECOND
SPEC: Final = LimitSpec("limit", "shared", Rates(max_requests=5, window_size=60), shared="the limit")


def source_of(directory: Path, provider: str = "p", spec: LimitSpec = SPEC) -> FileSource:
    return FileSource(directory, spec, provider)


def exchange(source: FileSource, *arguments: Any) -> Lease:
    """An exchange that nothing stands in the way of."""
    lease = source.exchange(*arguments)
    assert lease is not None
    return lease


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def two(run: Path) -> Iterator[tuple[FileSource, FileSource]]:
    one, other = source_of(run, "one"), source_of(run, "other")
    yield one, other
    one.close()
    other.close()


# -- files that are lost ---------------------------------------------------------------------------------------------


def removed(*patterns: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        for path in [path for pattern in patterns for path in run.glob(pattern)]:
            path.unlink()

    return remove


LOSSES: Final[dict[str, Callable[[Path], object]]] = {
    "directory": shutil.rmtree,
    "all files": removed("*"),
    "lock": removed("*.lock"),
    "state": removed("*.limit"),
    "lock and state": removed("*.lock", "*.limit"),
    "alive": removed("*.alive"),
    "lock and alive": removed("*.lock", "*.alive"),
}


def replace_by_a_copy(run: Path) -> None:
    """What a backup does that is put back: everything in it is known twice."""
    copy = run.with_name("copy")
    shutil.copytree(run, copy)
    shutil.rmtree(run)
    copy.rename(run)


ALL_LOSSES: Final = {**LOSSES, "copy": replace_by_a_copy}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("first", [0, 1])
def test_what_was_known_is_known_after_a_loss(
    run: Path, two: tuple[FileSource, FileSource], lose: Callable[[Path], object], first: int
) -> None:
    """One has started two and has one on lease, the other has started one: one is left, whoever comes first."""
    one, other = two
    assert exchange(one, SECOND, [], 0, 3).granted == 3
    assert exchange(one, SECOND, [(SECOND, 2)], 0, 0).count == 2
    assert exchange(other, SECOND, [], 0, 1).granted == 1
    assert exchange(other, SECOND, [(SECOND, 1)], 0, 0).count == 3
    lose(run)
    assert exchange(two[first], 2 * SECOND, [], 0, 9).granted == 1
    assert exchange(two[1 - first], 2 * SECOND, [], 0, 9).granted == 0
    after = SECOND + WINDOW_NS
    assert exchange(one, after, [], 0, 0).members == ["one", "other"]
    assert exchange(two[first], after, [], 0, 9).granted == 3  # two on lease


def test_both_go_on_in_the_same_new_files(run: Path, two: tuple[FileSource, FileSource]) -> None:
    one, other = two
    exchange(one, SECOND, [], 0, 1)
    exchange(other, SECOND, [], 0, 1)
    shutil.rmtree(run)
    exchange(other, SECOND, [], 0, 0)
    exchange(one, SECOND, [], 0, 0)
    assert sorted(path.suffix for path in run.iterdir()) == [".alive", ".alive", ".limit", ".lock"]
    assert open_files_outside(run) == []


def open_files_outside(run: Path) -> list[str]:
    """Files of limits that are open here, and that no name leads to any more."""
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_open(fd)]
    return [name for name in names if "/limit-" in name and not Path(name).exists()]


def is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_who_comes_to_files_that_were_lost_twice_waits_for_who_knows_the_ones_between(
    run: Path, two: tuple[FileSource, FileSource]
) -> None:
    one, other = two
    assert exchange(one, SECOND, [], 0, 1).granted == 1
    shutil.rmtree(run)
    assert exchange(other, SECOND, [], 0, 2).granted == 2
    shutil.rmtree(run)
    assert exchange(one, SECOND, [(SECOND, 1)], 0, 9).granted == 0
    assert exchange(other, SECOND, [(SECOND, 2)], 0, 0).count == 3
    assert exchange(one, SECOND, [], 0, 9).granted == 2


def test_one_may_lose_them_many_times_before_the_other_comes(run: Path, two: tuple[FileSource, FileSource]) -> None:
    one, other = two
    assert exchange(other, SECOND, [], 0, 2).granted == 2
    for _ in range(3):
        shutil.rmtree(run)
        assert exchange(one, SECOND, [], 0, 1).granted == 1
    assert exchange(other, SECOND, [(SECOND, 1)], 0, 1).granted == 0
    assert exchange(other, SECOND, [], 1, 1).granted == 1


def test_a_directory_that_is_moved_away_and_back_loses_nothing(run: Path, two: tuple[FileSource, FileSource]) -> None:
    one, other = two
    assert exchange(one, SECOND, [], 0, 2).granted == 2
    assert exchange(other, SECOND, [], 0, 1).granted == 1
    run.rename(run.with_name("away"))
    assert exchange(one, SECOND, [], 0, 1).granted == 1
    shutil.rmtree(run)
    run.with_name("away").rename(run)
    for _ in range(2):
        assert exchange(other, SECOND, [], 0, 0).granted == 0
        assert exchange(one, SECOND, [], 0, 0).granted == 0
    assert exchange(other, SECOND, [], 0, 9).granted == 1


def test_one_that_starts_after_the_loss_learns_what_the_others_knew(
    run: Path, two: tuple[FileSource, FileSource]
) -> None:
    one, _ = two
    assert exchange(one, SECOND, [], 0, 4).granted == 4
    shutil.rmtree(run)
    late = source_of(run, "late")
    assert exchange(one, SECOND, [], 0, 0).granted == 0
    assert exchange(late, SECOND, [], 0, 5).granted == 1
    late.close()


def test_one_that_is_missed_counts_as_living_for_a_while_and_then_as_dead(
    run: Path, two: tuple[FileSource, FileSource]
) -> None:
    one, other = two
    assert exchange(one, SECOND, [], 0, 2).granted == 2
    exchange(other, SECOND, [], 0, 0)
    shutil.rmtree(run)
    lost_ns = 100 * SECOND
    assert exchange(other, lost_ns, [], 0, 9).granted == 3  # two are still on lease
    assert exchange(other, lost_ns + MOVING_NS - 1, [], 3, 0).members == ["one", "other"]
    assert exchange(other, lost_ns + MOVING_NS, [], 0, 0).members == ["other"]
    dead_ns = lost_ns + MOVING_NS + SECOND
    assert exchange(other, dead_ns + WINDOW_NS - 1, [], 0, 9).granted == 3
    assert exchange(other, dead_ns + WINDOW_NS, [], 3, 9).granted == 5
    assert exchange(one, dead_ns + WINDOW_NS, [], 0, 9).granted == 0  # it comes after all: with what it has
    assert exchange(other, dead_ns + WINDOW_NS, [], 2, 9).granted == 0


def test_one_that_leaves_is_no_member_any_more_and_what_it_had_counts(run: Path) -> None:
    one, other = source_of(run, "one"), source_of(run, "other")
    now_ns = 10**17  # beyond any clock of this host, by which the leaving is dated
    exchange(one, now_ns, [], 0, 2)
    one.close()
    lease = exchange(other, now_ns, [], 0, 9)
    assert (lease.members, lease.granted) == (["other"], 5)  # what it had was dated long ago
    other.close()


def test_what_is_lost_at_the_end_is_no_obstacle(run: Path) -> None:
    source = source_of(run)
    exchange(source, SECOND, [], 0, 2)
    shutil.rmtree(run)
    run.write_text("a file in its place")
    source.close()


# -- any trace of events ---------------------------------------------------------------------------------------------


class Daemon:
    """An account in small: what it holds, what its workers hold, what it has seen of that, and when it looks again."""

    def __init__(self, run: Path, spec: LimitSpec, window_ns: int) -> None:
        self.source = source_of(run, "p", spec)
        self.limit = LeasedLimit(self.source, spec.rates.max_requests or 0, window_ns)
        self.outstanding = 0
        self.unseen: list[int] = []
        self.look_at_ns: int | None = None

    def start(self, now_ns: int, calls: int) -> list[int]:
        """Workers start as many calls as they can; nobody has seen them yet."""
        held = self.outstanding - len(self.unseen)
        if held < calls:
            self.limit.refill(now_ns, calls - held)
            more = min(calls - held, self.limit.available(now_ns, self.outstanding))
            self.outstanding += more
            held += more
        begun = [now_ns] * min(held, calls)
        self.unseen += begun
        self._plan(now_ns)
        return begun

    def look(self, now_ns: int) -> None:
        for at_ns in self.unseen:
            self.limit.spend(at_ns, 1)
        self.outstanding -= len(self.unseen)
        self.unseen = []
        self.limit.settle(now_ns, self.outstanding)
        self._plan(now_ns)

    def give_back(self, now_ns: int) -> None:
        self.look(now_ns)
        self.outstanding = 0
        self.limit.settle(now_ns, 0)
        self._plan(now_ns)

    def _plan(self, now_ns: int) -> None:
        self.look_at_ns = self.limit.look_at(now_ns, busy=self.outstanding > 0)


class Trace:
    """Three daemons, their files, and a clock that is stepped by hand. Timers fire when their time comes."""

    def __init__(self, run: Path, calls: int, window_ms: int) -> None:
        self.run = run
        self.window_ns = window_ms * MS
        self.spec = LimitSpec("t", "shared", Rates(max_requests=calls, window_size=window_ms / 1000), shared="t")
        self.now_ns = SECOND
        self.starts: list[int] = []
        self.daemons = [self.daemon() for _ in range(3)]

    def daemon(self) -> Daemon:
        return Daemon(self.run, self.spec, self.window_ns)

    def act(self, what: str, which: int, amount: int) -> None:
        daemon = self.daemons[which]
        if what == "start":
            self.starts += daemon.start(self.now_ns, amount)
        elif what == "step":
            self.step(amount * 20 * MS)
        elif what == "late":
            daemon.source.close()
            for each in self.daemons:  # another begins in its place, when those that are there have come
                if each is not daemon:
                    each.source.exchange(self.now_ns, [], 0, 0)
            self.daemons[which] = self.daemon()
        elif what in ALL_LOSSES:
            if self.run.exists():
                ALL_LOSSES[what](self.run)
        else:
            getattr(daemon, what)(self.now_ns)

    def step(self, length_ns: int) -> None:
        end_ns = self.now_ns + length_ns
        while due := min((each.look_at_ns or end_ns for each in self.daemons), default=end_ns):
            self.now_ns = min(end_ns, max(self.now_ns, due))
            if due >= end_ns:
                return
            for each in self.daemons:
                if each.look_at_ns is not None and each.look_at_ns <= self.now_ns:
                    each.look(self.now_ns)

    def close(self) -> None:
        for each in self.daemons:
            each.source.close()


acts = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "start", "look", "give_back", "step", "late", *ALL_LOSSES]),
        st.integers(0, 2),
        st.integers(1, 9),
    ),
    max_size=50,
)


@settings(max_examples=examples(200))
@given(script=acts, calls=st.integers(1, 12), window_ms=st.integers(1, 400))
def test_no_window_sees_more_than_is_allowed(script: list[tuple[str, int, int]], calls: int, window_ms: int) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        trace = Trace(Path(directory, "run"), calls, window_ms)
        patch.setattr("time.monotonic_ns", lambda: trace.now_ns)  # by which one that leaves dates what it had
        for what, which, amount in script:
            trace.act(what, which, amount)
        trace.close()
    starts = trace.starts
    assert [b - a for a, b in zip(starts, starts[calls:], strict=False) if b - a < trace.window_ns] == []


@settings(max_examples=examples(100))
@given(script=acts, calls=st.integers(1, 12))
def test_nothing_is_lost_for_good(script: list[tuple[str, int, int]], calls: int) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        trace = Trace(Path(directory, "run"), calls, 50)
        patch.setattr("time.monotonic_ns", lambda: trace.now_ns)
        for what, which, amount in script:
            trace.act(what, which, amount)
        for _ in range(3):
            trace.step(MOVING_NS)
            for each in trace.daemons:
                each.give_back(trace.now_ns)
                each.source.exchange(trace.now_ns, [], 0, 0)
        assert len(trace.daemons[0].start(trace.now_ns, 100)) == calls
        trace.close()


# -- calls that fail -------------------------------------------------------------------------------------------------


class Failing:
    """Has one call that a source makes to the machine fail, counted from the first; ``calls`` is how many were made."""

    NAMES: Final = ("open", "stat", "fstat", "pread", "pwrite", "mkdir", "close", "unlink")

    def __init__(self, number: int | None) -> None:
        self.calls = 0
        self._number = number

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self._number:
                if function.__name__ == "close":
                    function(*arguments)  # the descriptor is gone, whatever it says
                raise OSError(errno.EIO, "Input/output error")
            return function(*arguments, **options)

        return call

    @contextmanager
    def here(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in self.NAMES:
                patch.setattr(os, name, self.of(getattr(os, name)))
            patch.setattr(fcntl, "flock", self.of(fcntl.flock))
            yield


@pytest.mark.parametrize("lose", [None, *LOSSES.values()], ids=["nothing", *LOSSES])
def test_an_exchange_that_fails_at_any_call_has_done_nothing(
    tmp_path: Path, lose: Callable[[Path], object] | None
) -> None:
    """It is made again as if nothing had been, and nothing is forgotten or counted twice."""
    number = 0
    while True:
        run = tmp_path / str(number)
        one, other = source_of(run, "one"), source_of(run, "other")
        assert exchange(one, SECOND, [], 0, 2).granted == 2
        assert exchange(other, SECOND, [], 0, 1).granted == 1
        if lose is not None:
            lose(run)
        failing = Failing(number)
        with failing.here():
            try:
                lease = one.exchange(SECOND, [(SECOND, 1)], 1, 1)
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017 - or it has not failed at all
                lease = None
        if lease is None:
            lease = exchange(one, SECOND, [(SECOND, 1)], 1, 1)
        # One has started one and has one on lease, the other has one on lease.
        assert lease.granted == 1
        assert exchange(other, SECOND, [], 0, 9).granted == 2
        one.close()
        other.close()
        if failing.calls <= number:
            return
        number += 1


def test_a_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    number, words = 0, set()
    while True:
        before = os.listdir("/proc/self/fd")
        failing = Failing(number)
        with failing.here():
            try:
                source = source_of(tmp_path / str(number))
            except ConfigError as error:
                source = None
                words.add("is shared with other daemons, but" in str(error))
        if source is None:
            assert os.listdir("/proc/self/fd") == before
        else:
            source.close()
            if failing.calls <= number:
                break
        number += 1
    assert words == {True}


def test_a_full_disk_grants_nothing_and_forgets_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(run)
    limit = LeasedLimit(source, 5, WINDOW_NS)
    limit.refill(SECOND, 2)
    limit.spend(SECOND, 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        limit.refill(2 * SECOND, 3)
        assert limit.available(2 * SECOND, 0) == 1  # what was on lease still is
        assert limit.trouble == "No space left on device"
        assert limit.next_at(2 * SECOND, 0) == 2 * SECOND + 50 * MS
    limit.refill(3 * SECOND, 5)
    assert limit.available(3 * SECOND, 0) == 4
    assert limit.trouble is None
    assert [path.suffix for path in sorted(run.iterdir())] == [".alive", ".limit", ".lock"]
    source.close()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 300, b"\x81\xa4boot\xa1x"])
def test_a_state_that_is_none_is_what_it_was_when_last_seen(run: Path, content: bytes) -> None:
    source = source_of(run)
    assert exchange(source, SECOND, [], 0, 4).granted == 4
    exchange(source, SECOND, [(SECOND, 2)], 0, 0)
    next(run.glob("*.limit")).write_bytes(content)
    assert exchange(source, SECOND, [], 0, 9).granted == 1 if content else 9
    source.close()


def test_a_daemon_of_another_user_in_its_place_is_trouble_not_the_end(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(run)
    limit = LeasedLimit(source, 5, WINDOW_NS)
    limit.refill(SECOND, 1)
    shutil.rmtree(run)
    run.mkdir(mode=0o777)
    run.chmod(0o777)
    limit.refill(SECOND, 5)
    assert limit.trouble is not None
    assert "others can write into" in limit.trouble
    run.chmod(0o700)
    limit.refill(2 * SECOND, 9)
    assert limit.available(2 * SECOND, 0) == 5
    source.close()


def test_one_that_is_idle_shows_itself_while_its_starts_count(run: Path) -> None:
    source = source_of(run)
    limit = LeasedLimit(source, 5, WINDOW_NS)
    limit.refill(SECOND, 1)
    limit.spend(SECOND, 1)
    limit.settle(2 * SECOND, 0)
    assert limit.look_at(2 * SECOND, busy=False) == 2 * SECOND + PRESENCE_NS
    shutil.rmtree(run)
    limit.settle(3 * SECOND, 0)
    late = source_of(run, "late")
    assert exchange(late, 3 * SECOND, [], 0, 9).granted == 4
    assert limit.look_at(SECOND + WINDOW_NS, busy=False) is None
    late.close()
    source.close()
