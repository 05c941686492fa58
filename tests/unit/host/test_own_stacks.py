"""A process tells its own stacks in one form: names and lines, no values, nothing that controls a terminal."""

from __future__ import annotations

import asyncio
import sys
import threading

from arbd.host import own_stacks


def test_the_innermost_call_comes_first() -> None:
    def inner() -> list[str]:
        return own_stacks.lines_of(sys._getframe())

    lines = inner()
    assert lines[0].endswith("in inner")
    assert "in test_the_innermost" in lines[1]
    assert own_stacks.lines_of(sys._getframe(), 1)[-1] == "  ..."
    assert own_stacks.lines_of(None) == []


def test_an_exception_tells_where_it_was_raised() -> None:
    def raises() -> None:
        raise ValueError("s3cret")

    try:
        raises()
    except ValueError as error:
        lines = own_stacks.lines_of_traceback(error.__traceback__)
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["raises", "test_an_exception_tells_where_it_was_raised"]
    assert "s3cret" not in str(lines)


def test_every_thread_is_told_by_name() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="waits \x1b[2J for ever")
    thread.start()
    try:
        text = own_stacks.threads()
    finally:
        go.set()
        thread.join()
    assert "Thread waits ?[2J for ever (most" in text
    assert "in test_every_thread" in text


def test_a_coroutine_is_told_with_those_it_waits_for() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    async def test() -> str:
        task = asyncio.create_task(outer(), name="the one")
        await asyncio.sleep(0)
        text = own_stacks.coroutines([task])
        task.cancel()
        return text

    lines = asyncio.run(test()).split("\n")
    assert lines[0] == "Task the one (most recent call first):"
    assert [line.rsplit(" ", 1)[1] for line in lines[1:]] == ["wait", "inner", "outer"]
