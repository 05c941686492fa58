"""A worker adds where its coroutines wait, and an action never notices."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from arbd.host import memory
from arbd.host.stack_signal import COROUTINES_SIGNAL
from arbd.worker import coroutine_stacks


@pytest.fixture
def file() -> Iterator[int]:
    before = signal.getsignal(COROUTINES_SIGNAL)
    fd = memory.create("test-coroutines", 1 << 16)
    yield fd
    signal.signal(COROUTINES_SIGNAL, before)
    os.close(fd)


def written(fd: int) -> str:
    return os.pread(fd, os.lseek(fd, 0, os.SEEK_CUR), 0).decode()


def test_they_are_written_behind_what_is_there(file: int) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        coroutine_stacks.answer_into(file, asyncio.get_running_loop)
        task = asyncio.create_task(waits(), name="the one")
        await asyncio.sleep(0)
        os.write(file, b"threads\n")
        signal.raise_signal(COROUTINES_SIGNAL)
        task.cancel()

    asyncio.run(test())
    assert written(file).startswith("threads\n\n")
    assert "Task the one" in written(file)
    assert "in waits" in written(file)


def test_without_a_loop_it_answers_all_the_same(file: int) -> None:
    coroutine_stacks.answer_into(file, lambda: None)
    signal.raise_signal(COROUTINES_SIGNAL)
    assert written(file).strip() == ""
    assert written(file)


def test_what_fails_there_is_not_the_actions_fault(file: int) -> None:
    def broken() -> None:
        raise RuntimeError("a loop that an action has put there")

    for fd, loop in ((file, broken), (-1, lambda: None)):
        coroutine_stacks.answer_into(fd, loop)
        signal.raise_signal(COROUTINES_SIGNAL)
    assert written(file) == ""
