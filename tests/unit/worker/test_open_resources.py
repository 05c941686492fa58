"""Resources open in order of what they take and close in reverse; one that fails leaves nothing half open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from arbd import interrupts
from arbd.author.provider import Provider
from arbd.errors import ResourceError, TaskTimeout
from arbd.worker import resources
from arbd.worker.resources import HeldGenerator, OpenResources, common_values

LATER = 1e9


class Bench:
    """A provider, its open resources on an event loop of the test's, and what they did."""

    def __init__(self) -> None:
        self.provider = Provider("fx", logger="logger")
        self.said: list[str] = []
        self.opened = 0
        self.runner = asyncio.Runner()
        self.resources = OpenResources(
            self.provider.actions.lifespan, common_values(self.provider), lambda each, _: self.run(each)
        )
        self.resources.opening = self._note_opened

    @contextmanager
    def _note_opened(self) -> Iterator[None]:
        yield
        self.opened += 1

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    def close(self) -> None:
        for name in self.resources.closing_order():
            self.resources.close(name, LATER)

    def hook(self, function: Callable[..., Any]) -> None:
        """Run a function as a hook."""
        self.provider.on_worker_start(function)
        self.resources.run(self.provider.actions.lifespan.hooks["start"][-1], LATER)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.close()


def test_each_kind_and_the_order(bench: Bench) -> None:
    said, provider = bench.said, bench.provider

    @provider.resource
    def base(logger: Any, provider: Any, timezone: Any) -> Iterator[Any]:
        said.append("open base")
        yield logger, provider, timezone
        said.append("close base")

    @provider.resource
    async def pool(base: Any) -> AsyncIterator[Any]:
        said.append("open pool")
        async with asyncio.TaskGroup() as group:
            background = group.create_task(asyncio.Event().wait())
            yield base, background
            background.cancel()
        said.append("close pool")

    provider.resource(name="plain")(lambda pool: ("plain", pool[0][0]))
    provider.resource(name="none")(lambda: None)

    @provider.resource
    async def awaited() -> str:
        return "awaited"

    assert bench.resources.open("plain", LATER) == ("plain", "logger")
    assert bench.resources.open("awaited", LATER) == "awaited"
    assert bench.resources.open("none", LATER) is None
    assert bench.resources["base"] == ("logger", {"name": "fx"}, "UTC")
    assert not bench.resources["pool"][1].done()
    assert bench.resources.closing_order() == ["pool", "base"]
    assert bench.opened == 5
    bench.close()
    assert said == ["open base", "open pool", "close pool", "close base"]
    assert bench.resources.closing_order() == []


def test_one_that_fails_leaves_nothing_and_is_opened_anew(bench: Bench) -> None:
    attempts: list[int] = []
    bench.provider.resource(name="base")(lambda: "base")

    @bench.provider.resource
    def db(base: Any) -> Iterator[str]:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionRefusedError
        yield "db"

    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            bench.resources.open("db", LATER)
    assert "db" not in bench.resources
    assert bench.resources["base"] == "base"
    assert bench.resources.open("db", LATER) == "db"


@pytest.mark.parametrize("is_async", [False, True])
def test_no_yield_and_two(bench: Bench, is_async: bool) -> None:
    word = "async " if is_async else ""
    scope: dict[str, Any] = {"said": bench.said}
    exec(f"{word}def none():\n    return\n    yield", scope)
    exec(f"{word}def two():\n    try:\n        yield 1\n        yield 2\n    finally: said.append('end')", scope)
    bench.provider.resource(scope["none"])
    bench.provider.resource(scope["two"])
    with pytest.raises(ResourceError, match="'none' ended without a yield"):
        bench.resources.open("none", LATER)
    assert bench.resources.open("two", LATER) == 1
    with pytest.raises(ResourceError, match="'two' yields twice"):
        bench.resources.close("two", LATER)
    assert bench.said == ["end"]
    assert bench.resources.closing_order() == []


def test_a_function_that_gives_a_generator_is_one(bench: Bench) -> None:
    def generator() -> Iterator[int]:
        yield 1
        bench.said.append("closed")

    bench.provider.resource(name="db")(lambda: generator())
    assert bench.resources.open("db", LATER) == 1
    bench.close()
    assert bench.said == ["closed"]


def test_what_fails_to_close_is_not_open_any_more(bench: Bench) -> None:
    @bench.provider.resource
    def db() -> Iterator[int]:
        yield 1
        raise OSError("lost")

    bench.resources.open("db", LATER)
    with pytest.raises(OSError, match="lost"):
        bench.resources.close("db", LATER)
    assert bench.resources == {}
    assert bench.resources.closing_order() == []


def test_a_sync_one_that_is_interrupted_behind_its_yield_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline may strike when the value is there and nobody has it yet."""

    @bench.provider.resource
    def db() -> Iterator[int]:
        yield 1
        bench.said.append("closed")

    real = interrupts.call
    calls: list[Any] = []

    def interrupted(function: Callable[..., Any], args: tuple[Any, ...] = ()) -> Any:
        found = real(function, args)
        calls.append(function)
        if calls.count(next) == 1:
            raise TaskTimeout
        return found

    monkeypatch.setattr(resources, "call", interrupted)
    with pytest.raises(TaskTimeout):
        bench.resources.open("db", LATER)
    assert bench.said == ["closed"]
    assert bench.resources.closing_order() == []


@pytest.mark.parametrize("when", ["before", "behind"])
def test_an_async_one_that_is_cancelled_is_closed(bench: Bench, when: str) -> None:
    async def db() -> AsyncIterator[int]:
        try:
            if when == "before":
                await asyncio.Event().wait()
            yield 1
        finally:
            bench.said.append("closed")

    async def cancelled() -> None:
        task = asyncio.ensure_future(HeldGenerator("db", db()).open())  # type: ignore[arg-type] # declared an iterator
        for _ in range(1 if when == "before" else 2):  # then its task has begun; or it has just yielded
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    bench.run(cancelled())
    assert bench.said == ["closed"]


def test_nobody_who_cancels_all_tasks_closes_one(bench: Bench) -> None:
    @bench.provider.resource
    async def db() -> AsyncIterator[int]:
        yield 1
        async with asyncio.timeout(60):  # would be cancelled at once by a request that was left
            await asyncio.sleep(0)
        bench.said.append("closed")

    async def cancel_all() -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    bench.resources.open("db", LATER)
    bench.run(cancel_all())
    assert bench.said == []
    bench.close()
    assert bench.said == ["closed"]


def test_a_close_that_is_cancelled_cancels_it(bench: Bench) -> None:
    async def db() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            bench.said.append("cancelled")

    async def run() -> None:
        held = HeldGenerator("db", db())  # type: ignore[arg-type] # declared an iterator
        assert await held.open() == 1
        closing = asyncio.ensure_future(held.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    bench.run(run())
    assert bench.said == ["cancelled"]


# --- hooks -------------------------------------------------------------------------------------------------------


def test_a_hook_has_its_resources_opened(bench: Bench) -> None:
    bench.provider.resource(name="db", lazy=True)(lambda: "db")

    async def warm(db: Any, provider: Any) -> None:
        provider["name"] = "changed"
        bench.said.append(db)

    bench.hook(warm)
    bench.hook(lambda provider, db: bench.said.append(provider["name"]))
    assert bench.said == ["db", "fx"]
    assert bench.opened == 1


def test_a_hook_that_gives_a_generator_is_told_of(bench: Bench) -> None:
    def generator() -> Iterator[None]:
        yield

    with pytest.raises(ResourceError, match="gives a generator, which nobody runs"):
        bench.hook(lambda: generator())
