"""The reserve is one free descriptor when there is no other, and never closes what is not its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from descriptor_support import no_free_descriptor, with_reserve

from arbd.host import reserve


def reserve_fd() -> int:
    """Its number, as the kernel shows it."""
    return next(int(fd) for fd in os.listdir("/proc/self/fd") if "arbd-reserve" in os.readlink(f"/proc/self/fd/{fd}"))


@with_reserve()
def test_given_up_it_is_the_only_free_descriptor() -> None:
    with no_free_descriptor():
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        assert reserve.give_up() is True
        fd = os.open(os.devnull, os.O_RDONLY)
        assert reserve.give_up() is False
        os.close(fd)
        reserve.restore()
        assert reserve.give_up() is True


@with_reserve()
def test_it_is_closed_on_exec() -> None:
    assert os.get_inheritable(reserve_fd()) is False


@with_reserve()
def test_a_number_that_the_author_s_code_has_closed_and_uses_for_itself_is_not_touched(tmp_path: Path) -> None:
    """What makes itself a daemon closes every number there is, and opens its own files."""
    fd = reserve_fd()
    os.close(fd)
    assert reserve.give_up() is False
    reserve.restore()
    fd = reserve_fd()
    os.close(fd)
    with open(tmp_path / "theirs", "w") as theirs:
        assert theirs.fileno() == fd
        assert reserve.give_up() is False
        theirs.write("still open")
    assert (tmp_path / "theirs").read_text() == "still open"


def test_a_process_that_never_wanted_one_has_none() -> None:
    """A test daemon lives in somebody else's process."""
    before = os.listdir("/proc/self/fd")
    reserve.restore()
    assert os.listdir("/proc/self/fd") == before
    assert reserve.give_up() is False


@with_reserve()
def test_it_is_lent_to_what_asks_again_and_again() -> None:
    open_now = set(os.listdir("/proc/self/fd"))
    with no_free_descriptor():
        for _ in range(3):
            assert open_now - set(reserve.lend(lambda: os.listdir("/proc/self/fd"))) <= {str(reserve.number())}
        assert reserve.give_up() is True


@with_reserve()
def test_without_it_whoever_asks_is_told_the_reason() -> None:
    with no_free_descriptor():
        os.close(reserve.number())
        taken = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(OSError, match="Too many open files"):
            reserve.lend(lambda: os.listdir("/proc/self/fd"))
        os.close(taken)


@with_reserve()
def test_another_failure_is_no_reason_to_give_it_up() -> None:
    before = reserve_fd()
    with pytest.raises(FileNotFoundError):
        reserve.lend(lambda: os.listdir("/nowhere"))
    assert (reserve_fd(), reserve.number()) == (before, before)


def test_it_has_no_number_where_there_is_none() -> None:
    assert reserve.number() == -1
