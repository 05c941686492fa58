"""Claims are seen by everybody, held by one, gone with their owner; and where they cannot be had, that is said."""

from __future__ import annotations

import errno
import socket
import time
from itertools import count
from os import getpid
from pathlib import Path
from typing import Any

import pytest

from arbd.host import cpu_claim
from arbd.host.cpu_claim import LEVELS, CpuClaims

_worlds = count()


@pytest.fixture
def world() -> str:
    """A prefix that no other test has, nor any daemon."""
    return f"arbd-test-{getpid()}-{next(_worlds)}"


def test_nothing_is_claimed_at_first(world: str) -> None:
    assert CpuClaims(world).counts([0, 1, 7]) == {0: 0, 1: 0, 7: 0}


def test_what_one_claims_others_see_and_so_does_it(world: str) -> None:
    mine = CpuClaims(world)
    mine.claim([1, 3, 3])
    for looking in (mine, CpuClaims(world)):
        assert looking.counts(range(4)) == {0: 0, 1: 1, 2: 0, 3: 1}
    mine.close()
    assert CpuClaims(world).counts(range(4)) == dict.fromkeys(range(4), 0)


def test_several_daemons_on_one_cpu_are_counted_whoever_leaves_first(world: str) -> None:
    daemons = [CpuClaims(world) for _ in range(3)]
    for daemon in daemons:
        daemon.claim([5])
    assert CpuClaims(world).counts([5]) == {5: 3}
    daemons[0].close()
    assert CpuClaims(world).counts([5]) == {5: 2}
    for daemon in daemons[1:]:
        daemon.close()
    assert CpuClaims(world).counts([5]) == {5: 0}


def test_a_cpu_with_all_its_claims_is_used_without_one(world: str) -> None:
    daemons = [CpuClaims(world) for _ in range(LEVELS + 2)]
    for daemon in daemons:
        daemon.claim([0])
    assert CpuClaims(world).counts([0]) == {0: LEVELS}
    for daemon in daemons:
        daemon.close()


def test_nobody_can_talk_to_a_claim(world: str) -> None:
    mine = CpuClaims(world)
    mine.claim([0])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger, pytest.raises(ConnectionRefusedError):
        stranger.connect(f"\0{world}-0.0")
    mine.close()


def test_one_has_its_turn_at_a_time(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits until the first is done."""
    first, second = CpuClaims(world), CpuClaims(world)
    notes: list[str] = []
    turn = first.turn()
    turn.__enter__()

    def sleep(_: float) -> None:
        notes.append("first ends")
        turn.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", sleep)
    with second.turn():
        notes.append("second's turn")
    assert notes == ["first ends", "second's turn"]


def test_a_turn_that_never_ends_is_not_waited_for_for_ever(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with CpuClaims(world).turn():
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        monkeypatch.setattr(time, "sleep", sleep)
        with CpuClaims(world).turn():
            assert now[0] >= cpu_claim.TURN_S
        monkeypatch.undo()


def test_a_turn_ends_with_what_went_wrong_in_it(world: str) -> None:
    with pytest.raises(ZeroDivisionError), CpuClaims(world).turn():
        raise ZeroDivisionError
    with CpuClaims(world).turn():
        pass


class Forbidden(socket.socket):
    """A socket that may be bound a few times."""

    left = 0

    def bind(self, _: Any) -> None:
        if Forbidden.left == 0:
            raise PermissionError(errno.EPERM, "forbidden")
        Forbidden.left -= 1
        super().bind(_)


def test_where_binding_is_forbidden_that_is_an_oserror_and_nothing_is_held(
    world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", Forbidden)
    claims = CpuClaims(world)
    Forbidden.left = 0
    with pytest.raises(PermissionError), claims.turn():
        pass
    with pytest.raises(PermissionError):
        claims.counts([0])
    Forbidden.left = 2
    with pytest.raises(PermissionError):
        claims.claim([0, 1, 2])
    monkeypatch.undo()
    assert CpuClaims(world).counts(range(3)) == dict.fromkeys(range(3), 0)


def test_claims_can_be_let_go_of_one_by_one_and_taken_once_more(world: str) -> None:
    mine = CpuClaims(world)
    mine.claim([0, 1])
    mine.claim([1, 2])
    assert CpuClaims(world).counts(range(4)) == {0: 1, 1: 1, 2: 1, 3: 0}
    mine.hold_only({1})
    assert CpuClaims(world).counts(range(4)) == {0: 0, 1: 1, 2: 0, 3: 0}
    assert set(mine.held) == {1}
    mine.close()


def test_claims_of_before_stay_where_more_cannot_be_had(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = CpuClaims(world)
    mine.claim([0])
    monkeypatch.setattr(mine, "_bound", _no_descriptor)
    with pytest.raises(OSError, match="Too many"):
        mine.claim([0, 1])
    assert set(mine.held) == {0}
    mine.close()


def _no_descriptor(name: str) -> None:
    raise OSError(24, "Too many open files")


def test_claims_are_seen_without_making_any(world: str) -> None:
    one, other = CpuClaims(world), CpuClaims(world)
    try:
        one.claim([3])
        other.claim([3, 12])
        assert cpu_claim.seen(world) == {3: 2, 12: 1}
    finally:
        one.close()
        other.close()
    assert cpu_claim.seen(world) == {}


def test_what_no_claim_is_does_not_count(tmp_path: Path) -> None:
    listed = tmp_path / "unix"
    names = ("@arbd-cpu-0.0", "@arbd-cpu-0.1", "@arbd-cpu-turn", "@arbd-cpu-1.x", "/tmp/@arbd-cpu-2.0x", "@other-3.0")
    listed.write_text("Num RefCount\n" + "".join(f"0: 2 0 0 1 1 7 {name}\n" for name in names))
    assert cpu_claim.seen(sockets=listed) == {0: 2}
    assert cpu_claim.seen(sockets=tmp_path / "gone") == {}
