"""Whatever else the code of an action has on the loop ends with it, too; what resources have there goes on."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from interruptions import StillTimer

from arbd.logs import tasks
from arbd.worker.aio import AsyncRunner
from arbd.worker.guard import threads
from arbd.worker.guard.notices import NOTICES
from arbd.worker.leftovers import Leftovers, shown
from arbd.worker.thread_calls import mark_thread


@pytest.fixture
def spoiled() -> list[str]:
    return []


@pytest.fixture
def runner(spoiled: list[str]) -> Iterator[AsyncRunner]:
    runner = AsyncRunner(StillTimer(), spoil=spoiled.append)
    yield runner
    runner.loop().close()


@pytest.fixture
def told(runner: AsyncRunner, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    class Log:
        def warning(self, event: str, what: str, **_: Any) -> None:
            lines.append(what)

    monkeypatch.setattr(runner, "_log", Log())
    return lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.write(ends[1], b"x")
    yield ends
    for end in ends:
        os.close(end)


def soon() -> float:
    return time.monotonic() + 5


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
    await asyncio.sleep(0.005)


def test_readers_and_writers_are_removed(runner: AsyncRunner, pipe: tuple[int, int], told: list[str]) -> None:
    called: list[str] = []

    async def act() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe[0], called.append, "read")  # a function of C's, asked for by the author's code
        loop.add_writer(pipe[1], lambda: called.append("write"))

    runner(act(), soon())
    called.clear()
    runner(turns(), soon())
    assert called == []
    assert "add_reader" in told[0]
    assert "add_writer" in told[0]


def test_a_resource_s_reader_stays(runner: AsyncRunner, pipe: tuple[int, int]) -> None:
    called: list[str] = []

    async def open_it() -> None:
        asyncio.get_running_loop().add_reader(pipe[0], called.append, "read")

    runner.run_apart(open_it(), soon())
    runner(turns(), soon())
    called.clear()
    runner(turns(), soon())
    assert called
    runner.loop().remove_reader(pipe[0])


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_loop_that_an_action_stops_goes_on_and_serves_the_next(
    runner: AsyncRunner, spoiled: list[str], goes_on: bool
) -> None:
    async def act() -> str:
        asyncio.get_running_loop().stop()
        if goes_on:
            await turns()
        return "acted"

    assert runner(act(), soon()) == "acted"
    assert runner(turns(), soon()) is None
    assert spoiled == []


@pytest.mark.parametrize("how", ["call_soon", "call_soon_threadsafe"])
def test_a_chain_of_calls_ends(runner: AsyncRunner, told: list[str], how: str) -> None:
    called: list[int] = []

    def again() -> None:
        called.append(1)
        getattr(asyncio.get_running_loop(), how)(again)

    async def act() -> None:
        again()
        await turns()

    runner(act(), soon())
    assert len(called) > 2
    called.clear()
    runner(turns(), soon())
    assert called == []
    assert told[0].startswith("call_soon of ")


def test_a_resource_s_chain_goes_on(runner: AsyncRunner) -> None:
    called: list[int] = []
    go_on = True

    def again() -> None:
        called.append(1)
        if go_on:
            asyncio.get_running_loop().call_soon(again)

    async def open_it() -> None:
        again()

    runner.run_apart(open_it(), soon())
    runner(turns(), soon())
    called.clear()
    runner(turns(), soon())
    assert called
    go_on = False
    runner(turns(), soon())


@pytest.mark.parametrize("given", [list.append, asyncio.Queue.put_nowait])
def test_timers_for_a_library_s_function_are_cancelled(runner: AsyncRunner, given: Callable[..., Any]) -> None:
    got: Any = [] if given is list.append else asyncio.Queue()

    async def act() -> None:
        asyncio.get_running_loop().call_later(0.005, given, got, 1)
        asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 0.005, given, got, 1)

    runner(act(), soon())
    runner(asyncio.sleep(0.02), soon())
    assert (len(got) if isinstance(got, list) else got.qsize()) == 0


def test_a_resource_s_waiter_that_an_action_wakes_runs(runner: AsyncRunner) -> None:
    event = asyncio.Event()
    woken: list[int] = []

    async def wait() -> None:
        await event.wait()
        woken.append(1)

    kept: list[Any] = []

    async def open_it() -> None:
        kept.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)

    async def act() -> None:
        event.set()

    runner.run_apart(open_it(), soon())
    runner(act(), soon())
    runner(turns(), soon())
    assert woken == [1]


@pytest.mark.parametrize("unix", [False, True])
def test_servers_are_closed_with_their_connections(runner: AsyncRunner, tmp_path: Any, unix: bool) -> None:
    kept: list[Any] = []
    got: list[bytes] = []

    class Echo(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.append(data)

    async def act() -> None:
        loop = asyncio.get_running_loop()
        if unix:
            kept.append(await loop.create_unix_server(Echo, str(tmp_path / "s")))
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        else:
            kept.append(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0))
            kept.append(await loop.create_server(Echo, "127.0.0.1", 0))
            _, writer = await asyncio.open_connection(*kept[-1].sockets[0].getsockname())
        kept.append(writer)
        writer.write(b"one")
        await asyncio.sleep(0.01)

    async def later() -> None:
        kept[-1].write(b"two")
        await asyncio.sleep(0.01)

    runner(act(), soon())
    runner(later(), soon())
    assert got == [b"one"]
    assert not any(server.is_serving() for server in kept[:-1])
    kept[-1].transport.abort()
    runner(turns(), soon())


@pytest.mark.parametrize("by_resource", [False, True])
def test_an_endpoint_with_a_protocol_of_the_author_s_is_closed(runner: AsyncRunner, by_resource: bool) -> None:
    got: list[bytes] = []
    kept: list[Any] = []

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append(data)

    async def act() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
        kept.append(transport)

    (runner.run_apart if by_resource else runner)(act(), soon())
    runner(turns(), soon())
    assert kept[0].is_closing() is not by_resource
    kept[0].abort()
    runner(turns(), soon())


def test_a_coroutine_from_an_action_s_thread_is_the_action_s(runner: AsyncRunner) -> None:
    ran: list[int] = []
    sent, go = threading.Event(), threading.Event()

    async def tick() -> None:
        while True:
            ran.append(1)
            await asyncio.sleep(0.001)

    def send(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(tick(), loop)
        sent.set()
        go.wait(5)
        late.append(asyncio.run_coroutine_threadsafe(tick(), loop))

    late: list[Any] = []
    threads_made: list[threading.Thread] = []

    async def act() -> None:
        thread = threading.Thread(target=send, args=(asyncio.get_running_loop(),), daemon=True)
        mark_thread(thread)  # as the wrapped Thread.start does
        threads_made.append(thread)
        thread.start()
        await asyncio.to_thread(sent.wait, 5)
        await asyncio.sleep(0.01)

    runner(act(), soon())
    assert ran
    ran.clear()
    go.set()
    threads_made[0].join(5)
    runner(turns(), soon())
    assert ran == []
    assert late[0].cancelled()


def test_resources_and_actions_have_executors_of_their_own(runner: AsyncRunner) -> None:
    go = threading.Event()
    ended: list[str] = []
    kept: list[Any] = []

    async def work() -> None:
        await asyncio.to_thread(go.wait, 5)
        ended.append(await asyncio.to_thread(lambda: threading.current_thread().name))

    async def open_it() -> None:
        kept.append(asyncio.create_task(work()))
        await asyncio.sleep(0)

    async def act() -> str:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    runner.run_apart(open_it(), soon())
    first = runner.loop()._executor
    assert runner(act(), soon()).startswith("asyncio_")
    assert runner.loop()._executor is first
    go.set()
    runner(asyncio.wait(kept), soon())
    assert ended[0].startswith("asyncio-resources")


def test_threads_of_a_resource_s_coroutine_are_not_the_action_s(
    runner: AsyncRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: set[threading.Thread] = set()
    monkeypatch.setattr(threads, "_started", started)
    monkeypatch.setattr(NOTICES, "_mark", [True])
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    threads.install()
    kept: list[Any] = []
    names: list[str] = []

    async def act(name: str) -> None:
        thread = threading.Thread(target=names.append, args=(name,), name=name)
        thread.start()
        thread.join()

    async def open_it() -> None:
        kept.append(asyncio.create_task(act("resource")))

    runner.run_apart(open_it(), soon())
    runner(act("action"), soon())
    runner(asyncio.wait(kept), soon())
    assert [thread.name for thread in started] == ["action"]


def test_what_a_resource_s_coroutine_logs_is_no_task_s(runner: AsyncRunner) -> None:
    seen: list[Any] = []
    go: list[asyncio.Event] = []

    async def beat() -> None:
        await go[0].wait()
        seen.append(tasks.current_task())
        seen.append(await asyncio.to_thread(tasks.current_task))

    kept: list[Any] = []

    async def open_it() -> None:
        go.append(asyncio.Event())
        kept.append(asyncio.create_task(beat()))

    async def act() -> Any:
        go[0].set()
        await asyncio.wait(kept)
        return tasks.current_task()

    runner.run_apart(open_it(), soon())
    tasks.enter_task("t1", "act")
    try:
        assert runner(act(), soon()) == ("t1", "act", "", 1)
    finally:
        tasks.leave_task()
    assert seen == [None, None]


def test_names_are_counted_told_once_and_bounded(runner: AsyncRunner, told: list[str]) -> None:
    for names in (["f"] * 37 + ["g"], ["g", "f"], ["f"] * 3 + ["g"]):
        left = Leftovers()
        left.names = names
        runner.tell(left)
    assert told == ["f x37, g"]
    for number in range(1000):
        left.names = [f"f{number}"]
        runner.tell(left)
    assert len(runner._told) == len(told) == 100
    assert shown(str(number) for number in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
