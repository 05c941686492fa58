"""However the account of a provider's limit fails, who asks for room has an answer, and is told when there is some."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from limits_support import SECOND, Boom, HandLoop, LogBook, Memory, a_description, log, loop, memories

from arbd.host import doorbell
from arbd.model.description import Description
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.grants.account import Account
from arbd.supervisor.limits.hold import Hold
from arbd.supervisor.limits.limits import DaemonLimits

__all__ = ["log", "loop", "memories"]

HELD = LimitSpec("provider", "custom", Rates(max_requests=4, window_size=60), scope="provider", on_limit="hold")


class Link:
    """A link that counts how often it was told to look."""

    def __init__(self) -> None:
        self.told = 0

    def slots_changed(self) -> None:
        self.told += 1


class Idle:
    """A pool without workers, and a dispatcher without tasks."""

    def __init__(self) -> None:
        self.workers: dict[int, Any] = {}

    def in_flight(self) -> int:
        return 0


@pytest.fixture
def limits(loop: HandLoop, log: LogBook, tmp_path: Path) -> Iterator[DaemonLimits]:
    limits = DaemonLimits("provider", tmp_path / "run")
    yield limits
    limits.close()


@pytest.fixture
def held(limits: DaemonLimits, memories: Callable[[Description], Memory]) -> None:
    description = a_description(HELD)
    memory = memories(description)
    limits.attach(1, description, memory.words, memory.bell)


def a_hold(limits: DaemonLimits, link: Link) -> Hold:
    idle: Any = Idle()
    its_link: Any = link
    return Hold(limits, idle, idle, its_link)


@pytest.mark.usefixtures("held")
def test_an_account_that_fails_has_no_room_until_it_works(
    limits: DaemonLimits, loop: HandLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, error = Link(), Boom()
    hold = a_hold(limits, link)
    assert hold.room() == 4

    def fails(*_: object) -> int:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Account, "startable", fails)
        assert hold.room() == 0
        assert loop.reported == [error]
        loop.turn(SECOND)
        assert link.told == 1
    assert hold.room() == 4
    hold.close()


@pytest.mark.usefixtures("held")
def test_an_account_that_is_put_off_has_no_room_until_it_is_looked_into_again(
    limits: DaemonLimits, loop: HandLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link()
    hold = a_hold(limits, link)

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Account, "decide", fails)
        doorbell.ring(limits.bell)
        loop.turn()
        assert hold.room() == 0
        assert hold.room() == 0
        assert (link.told, loop.reported) == (0, [])
    loop.turn(SECOND)
    assert link.told == 1
    assert hold.room() == 4
    hold.close()
