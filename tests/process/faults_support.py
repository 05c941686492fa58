"""What the fault tests share: a daemon in a thread of this process, calls of it that fail, and what comes out.

    Fault     a call that raises for a while: of the supervisor's thread, or of its zygote's or workers' processes
    Tasks     tasks at a hub, in memory or in a process of its own, and their verdicts in words
    Host      the daemon

Nothing here knows which object of the daemon holds what: only its functions of the kernel, its pure parts, and what its
link is called for.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import importlib
import inspect
import io
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import grpc.aio
import psutil
import pytest
import uvloop
from daemon_support import PROVIDERS, Hub

from arbd import logs
from arbd.hub.board import NewTask, Result, TaskEvent
from arbd.hub.memory import Handle, MemoryHub
from arbd.links.base import HubLink
from arbd.links.connect import make_link
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings
from arbd.supervisor.main import Daemon
from arbd.supervisor.request import RunRequest

FAULTY: Final = PROVIDERS / "faulty.py"
END_S: Final = 10.0
"""Within this time the daemon serves again, or has ended."""
WHILE_S: Final = 0.3
LARGE: Final = 100_000
_START_S: Final = 20.0
_LOOK_S: Final = 0.005

RIGHT: Final = "right"
LIMIT: Final = "limit"


# -- a call that fails ------------------------------------------------------------------------------------------------


class Fault:
    """A call that raises when it is armed: once, or for a while from then on. ``error``: the name of an errno, or
    nothing: then it is something unexpected. ``hits``: how often it has raised."""

    def __init__(self, error: str, lasts_s: float) -> None:
        self.error = error
        self.lasts_s = lasts_s
        self._hits = 0
        self._is_armed = False
        self._until = 0.0
        self._thread: threading.Thread | None = None

    @property
    def hits(self) -> int:
        return self._hits

    def belongs_to(self, thread: threading.Thread) -> None:
        """The thread that is concerned; others call what they like."""
        self._thread = thread

    def arm(self) -> None:
        """From the next call on."""
        self._is_armed = True

    @property
    def is_over(self) -> bool:
        """Whether it will not raise any more."""
        return not self._is_armed and time.monotonic() >= self._until

    def strike(self) -> None:
        """Raise, if it is time."""
        if threading.current_thread() is not self._thread:
            return
        if self._is_armed:
            self._is_armed = False
            self._until = time.monotonic() + self.lasts_s
        elif time.monotonic() >= self._until:
            return
        self._hits += 1
        if self.error:
            raise OSError(getattr(errno, self.error), "injected")
        raise RuntimeError("injected")

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which raises before it does anything."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self.strike()
            return function(*arguments, **named)

        return call

    def before_async(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same for a coroutine function."""

        @functools.wraps(function)
        async def call(*arguments: Any, **named: Any) -> Any:
            self.strike()
            return await function(*arguments, **named)

        return call


class RemoteFault(Fault):
    """The same in the processes that ``providers/faulty.py`` runs in."""

    def __init__(self, error: str, lasts_s: float, directory: Path) -> None:
        super().__init__(error, lasts_s)
        self._directory = directory

    @property
    def hits(self) -> int:
        hits = self._directory / "hits"
        return len(hits.read_text().splitlines()) if hits.exists() else 0

    @property
    def is_over(self) -> bool:
        until = self._directory / "until"
        return until.exists() and time.monotonic_ns() >= int(until.read_text())

    def arm(self) -> None:
        partial = self._directory / "partial"
        partial.write_text(str(round(self.lasts_s * 1e9)))
        partial.rename(self._directory / "armed")


def patch(monkeypatch: pytest.MonkeyPatch, point: str, fault: Fault) -> None:
    """Have the function at this place (``module:name`` or ``module:Class.name``) fail."""
    module, _, path = point.partition(":")
    *owners, name = path.split(".")
    place = functools.reduce(getattr, owners, importlib.import_module(module))
    monkeypatch.setattr(place, name, fault.before(getattr(place, name)))


def patch_link(link: HubLink, name: str, fault: Fault) -> None:
    """The same for a method of the daemon's link."""
    method = getattr(link, name)
    fails = fault.before_async if inspect.iscoroutinefunction(method) else fault.before
    setattr(link, name, fails(method))


class FaultyChannel:
    """A gRPC channel whose calls fail: ``poll``, ``submit``, or ``read`` and ``write`` of a stream."""

    def __init__(self, channel: grpc.aio.Channel, what: str, fault: Fault) -> None:
        self._channel = channel
        self._what = what
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(self, method: str, *others: Any) -> Any:
        what = "poll" if method.endswith("/GetTask") else "submit"
        call: Any = self._channel.unary_unary(method, *others)
        return self._fault.before(call.__call__) if what == self._what else call

    def stream_stream(self, *arguments: Any) -> Any:
        open_: Any = self._channel.stream_stream(*arguments)
        return lambda *given: FaultyStream(open_(*given), self._what, self._fault)


class FaultyStream:
    """A stream whose ``read`` or ``write`` fails. What was read is lost then, as on a connection that breaks."""

    def __init__(self, call: Any, what: str, fault: Fault) -> None:
        self._call = call
        self._what = what
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def read(self) -> Any:
        data = await self._call.read()
        if self._what == "read":
            self._fault.strike()
        return data

    async def write(self, data: bytes) -> None:
        if self._what == "write":
            self._fault.strike()
        await self._call.write(data)


def patch_channel(monkeypatch: pytest.MonkeyPatch, what: str, fault: Fault, host: Host) -> None:
    """The same for calls to the hub, on channels that the daemon opens."""
    original = grpc.aio.insecure_channel

    def insecure_channel(*arguments: Any, **named: Any) -> Any:
        channel = original(*arguments, **named)
        return FaultyChannel(channel, what, fault) if threading.current_thread() is host.thread else channel

    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)


# -- tasks and their verdicts -----------------------------------------------------------------------------------------


class TaskHub(Protocol):
    """A hub, as far as a test needs it."""

    url: str

    def submit(self, number: int, action: str, payload: bytes) -> None: ...

    def results(self, number: int) -> list[Result]: ...

    def events(self, number: int) -> list[TaskEvent]: ...

    def close(self) -> None: ...


class InMemory:
    """A hub in this process."""

    url = "127.0.0.1:1"

    def __init__(self) -> None:
        self.hub = MemoryHub(lease_s=600)
        self._handles: dict[int, Handle] = {}

    def submit(self, number: int, action: str, payload: bytes) -> None:
        self._handles[number] = self.hub.submit(action, payload, task_id=str(number))

    def results(self, number: int) -> list[Result]:
        handle = self._handles[number]
        return [handle.result()] if handle.done() else []

    def events(self, number: int) -> list[TaskEvent]:
        return self.hub.history(str(number))

    def close(self) -> None:
        pass


class InProcess:
    """A hub in a process of its own; tasks go to one provider, in one batch."""

    def __init__(self, hub: Hub, provider: str) -> None:
        self.url = hub.address
        self._hub = hub
        self._provider = provider
        self._results: dict[str, list[Result]] = {}
        self._following: Future[None] | None = None

    def submit(self, number: int, action: str, payload: bytes) -> None:
        new = NewTask(action, payload, id=self._id(number), provider=self._provider)
        self._hub.submit_new([new], self._provider)
        if self._following is None:
            self._following = self._hub.follow(self._provider, self._note)

    def _note(self, result: Result) -> None:
        self._results.setdefault(result.id, []).append(result)

    def results(self, number: int) -> list[Result]:
        return self._results.get(self._id(number), [])

    def events(self, number: int) -> list[TaskEvent]:
        return self._hub.history(self._id(number))

    def close(self) -> None:
        if self._following is not None:
            self._following.cancel()

    def _id(self, number: int) -> str:
        return f"{self._provider}-{number}"


class Tasks:
    """Numbered tasks; ``expected``: what the verdict of each may be, in words."""

    def __init__(self, hub: TaskHub, directory: Path) -> None:
        self._hub = hub
        self._directory = directory
        self._texts: dict[int, str] = {}
        self.expected: dict[int, set[str]] = {}

    def submit(self, action: str = "work", count: int = 1, *, size: int = 10, verdict: str = RIGHT) -> list[int]:
        """Submit so many; their numbers."""
        numbers = range(len(self._texts) + 1, len(self._texts) + count + 1)
        for number in numbers:
            self._texts[number] = f"{number:010}" * (size // 10)
            self.expected[number] = {verdict}
            payload = json.dumps({"number": number, "text": self._texts[number]}).encode()
            self._hub.submit(number, action, payload)
        return list(numbers)

    def allow(self, verdict: str, numbers: Iterable[int]) -> None:
        """This verdict, too, is right for these tasks."""
        for number in numbers:
            self.expected[number].add(verdict)

    def missing(self) -> list[int]:
        """Those without a verdict."""
        return [number for number in self.expected if not self._hub.results(number)]

    def have_verdicts(self) -> bool:
        """Whether all of them have one."""
        return not self.missing()

    def wrong(self) -> dict[int, list[str]]:
        """Those that have a verdict that cannot be right."""
        words = {number: self.words(number) for number in self.expected}
        return {number: found for number, found in words.items() if found and not set(found) <= self.expected[number]}

    def words(self, number: int) -> list[str]:
        """Each verdict of a task in a word."""
        return [self._word(number, result) for result in self._hub.results(number)]

    def _word(self, number: int, result: Result) -> str:
        response = result.response
        data = response.get("data") or {}
        if result.status == "limit":
            return LIMIT
        if result.status != "success":
            return str(data.get("error_code") or data.get("error_type") or response.get("message"))
        text = self._texts[number]
        right = {"number": number, "text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}
        return RIGHT if data == right else "a wrong answer"

    def sent_twice(self) -> dict[int, list[str]]:
        """Those for which the hub was sent two results that differ."""
        sent = {number: [e.status for e in self._hub.events(number) if e.status] for number in self.expected}
        return {number: statuses for number, statuses in sent.items() if len(set(statuses)) > 1}

    def not_delivered(self) -> list[int]:
        """Those whose action has run to its end, and whose result the hub does not have."""
        ended = self._directory / "ended"
        return [number for number in map(int, ended.read_text().split()) if not self._hub.results(number)]

    def taken_for_nothing(self) -> list[int]:
        """Those that the hub has handed out, and not got back, and that have no verdict."""
        return [number for number in self.missing() if self._hub.events(number)[-1].kind in ("handed_out", "renewed")]

    def run_twice(self) -> list[int]:
        """Those whose action has run to its end more than once."""
        ended = (self._directory / "ended").read_text().split()
        return [int(number) for number in {*ended} if ended.count(number) > 1]


# -- the daemon -------------------------------------------------------------------------------------------------------


class Lines(io.StringIO):
    """What the supervisor has logged."""

    @property
    def text(self) -> str:
        return self.getvalue()


@contextmanager
def logged() -> Iterator[Lines]:
    """Have this process log to memory, and put everything back."""
    with pytest.MonkeyPatch.context() as patched:
        lines = Lines()
        patched.setattr(logs, "_output", logs._output)
        bases = logs._ConfiguredLogger.__bases__
        logs.configure(level="info", format="json", stream=lines)
        try:
            yield lines
        finally:
            logs._ConfiguredLogger.__bases__ = bases


class Host:
    """A daemon in a thread of its own. ``code``: its exit code; ``failure``: what left it instead."""

    def __init__(self, hub: TaskHub, **settings: Any) -> None:
        flags: dict[str, Any] = {"workers": 2, "pin": False, "name": "faulty", "hub.url": hub.url, **settings}
        self.code: int | None = None
        self.failure: BaseException | None = None
        self.link: HubLink
        self.on_link: Callable[[HubLink], None] = lambda _: None
        self.thread = threading.Thread(target=self._run, name="faulty-daemon", daemon=True)
        self._hub = hub
        self._request = RunRequest(target=str(FAULTY), flags=flags)
        self._serving = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._daemon: Daemon

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self.code = runner.run(self._serve())
        except BaseException as error:
            self.failure = error
        finally:
            self._serving.set()

    async def _serve(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._daemon = Daemon(self._request, self._make_link, owns_process=False, on_serving=self._serving.set)
        try:
            return await self._daemon.run()
        finally:
            self._loop.set_exception_handler(None)  # gRPC keeps every loop, which would keep the daemon's memory mapped

    def _make_link(self, settings: Settings, encoder: Encoder) -> HubLink:
        hub = self._hub
        self.link = hub.hub.link(settings.name) if isinstance(hub, InMemory) else make_link(settings, encoder)
        self.on_link(self.link)
        return self.link

    @property
    def has_ended(self) -> bool:
        return not self.thread.is_alive()

    def start(self) -> None:
        """Return when it serves."""
        self.thread.start()
        assert self._serving.wait(_START_S), "the daemon does not serve"
        assert not self.has_ended, f"the daemon ended at its start: {self.code} {self.failure}"

    def _ask(self, request: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(request)
        except RuntimeError:
            pass  # its loop is closed: it has ended

    def stop(self) -> None:
        """As SIGTERM would."""
        self._ask(self._daemon.request_stop)

    def reload(self) -> None:
        """As SIGHUP would."""
        self._ask(self._daemon.request_reload)

    def kill(self, role: str) -> None:
        """Kill the oldest of its processes whose name begins so, and return when all that die with it are gone."""
        [victim, *_] = self.processes(role)
        doomed = [victim, *victim.children(recursive=True)]
        victim.kill()
        assert wait_until(lambda: not any(map(_lives, doomed)), END_S)

    @staticmethod
    def processes(role: str) -> list[psutil.Process]:
        """Its processes of this role."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name().startswith(f"arbd:{role}"):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def end(self) -> None:
        """Have it end, by force if it does not."""
        for _ in range(2):
            self.stop()
            self.thread.join(END_S)
        if not self.has_ended:
            for role in ("zygote", "worker"):
                for process in self.processes(role):
                    process.kill()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Deadline:
    """A moment so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until then; none if it is over."""
        return max(0.0, self._at - time.monotonic())


def wait_until(condition: Callable[[], object], timeout_s: float) -> bool:
    """Whether it came true in time."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(_LOOK_S)
    return True
