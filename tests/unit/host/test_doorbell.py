"""A doorbell wakes whoever waits; any number of rings before that is one."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from arbd.host import doorbell


@pytest.fixture
def bell() -> Iterator[int]:
    fd = doorbell.create()
    yield fd
    os.close(fd)


def rings(fd: int) -> bool:
    """Whether somebody who waits would wake."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def test_a_new_doorbell_is_silent(bell: int) -> None:
    assert rings(bell) is False


@pytest.mark.parametrize("times", [1, 2, 1000])
def test_one_wait_takes_all_rings(bell: int, times: int) -> None:
    for _ in range(times):
        doorbell.ring(bell)
    assert rings(bell) is True
    doorbell.wait(bell)
    assert rings(bell) is False


def test_it_can_be_rung_again(bell: int) -> None:
    for _ in range(3):
        doorbell.ring(bell)
        doorbell.wait(bell)
    assert rings(bell) is False


def test_it_is_closed_on_exec(bell: int) -> None:
    assert os.get_inheritable(bell) is False


def test_one_for_an_event_loop_never_makes_it_wait() -> None:
    """A loop may be told of a ring that is not there, or that somebody else has taken."""
    bell = doorbell.create(blocking=False)
    assert doorbell.clear(bell) is False
    doorbell.wait(bell)
    doorbell.ring(bell)
    doorbell.ring(bell)
    assert doorbell.clear(bell) is True
    assert doorbell.clear(bell) is False
    assert os.get_inheritable(bell) is False
    os.close(bell)


def test_clear_takes_all_rings(bell: int) -> None:
    doorbell.ring(bell)
    doorbell.ring(bell)
    assert doorbell.clear(bell) is True
    assert rings(bell) is False
