"""A process answers the signal with its stacks into the file it was given; whoever takes that away, it can be had
back."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator

import pytest

from arbd.host import memory, stack_signal
from arbd.host.stack_signal import STACKS_SIGNAL


@pytest.fixture
def file() -> Iterator[int]:
    fd = memory.create("test-stacks", 1 << 16)
    stack_signal.answer_into(fd)
    yield fd
    stack_signal.forget()
    os.close(fd)


def answer(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    signal.raise_signal(STACKS_SIGNAL)
    return os.pread(fd, os.lseek(fd, 0, os.SEEK_CUR), 0).decode()


def test_it_tells_where_it_is(file: int) -> None:
    assert "in test_it_tells_where_it_is" in answer(file)
    assert stack_signal.answers(STACKS_SIGNAL)
    assert not stack_signal.answers(STACKS_SIGNAL + 1)
    assert not stack_signal.is_lost()


@pytest.mark.parametrize("how", ["handler", "default", "unregister"])
def test_what_was_taken_away_is_noticed_and_had_back(file: int, how: str) -> None:
    if how == "unregister":
        faulthandler.unregister(STACKS_SIGNAL)
    else:
        signal.signal(STACKS_SIGNAL, signal.SIG_DFL if how == "default" else lambda *_: None)
    assert stack_signal.is_lost()
    stack_signal.renew()
    assert not stack_signal.is_lost()
    assert "in test_what_was_taken_away" in answer(file)


def test_another_file_is_none(file: int) -> None:
    with open(os.devnull, "w") as nowhere:
        faulthandler.register(STACKS_SIGNAL, file=nowhere)
    stack_signal.renew()
    assert "in test_another_file" in answer(file)


def test_below_it_nothing_ends_the_process(file: int) -> None:
    faulthandler.unregister(STACKS_SIGNAL)
    assert answer(file) == ""


def test_forgotten_it_has_its_default(file: int) -> None:
    stack_signal.forget()
    assert signal.getsignal(STACKS_SIGNAL) == signal.SIG_DFL
    assert not stack_signal.answers(STACKS_SIGNAL)
    assert not stack_signal.is_lost()
    stack_signal.renew()  # nothing: there is no file
    stack_signal.answer_into(-1)
    assert signal.getsignal(STACKS_SIGNAL) == signal.SIG_DFL


def test_what_does_not_fit_is_cut(file: int) -> None:
    def deep(left: int) -> str:
        return deep(left - 1) if left else answer(file)

    os.lseek(file, (1 << 16) - 10, os.SEEK_SET)
    signal.raise_signal(STACKS_SIGNAL)
    assert os.lseek(file, 0, os.SEEK_CUR) <= 1 << 16
    assert deep(300).count("in deep") <= 100
