"""Test helpers for authors: an action run in this process, and a provider run in real workers.

In this process, without a daemon: validation, the handler, and the response as the hub would get it::

    from arbd.testing import run_action

    def test_refuses_a_negative_price():
        assert run_action(provider, "order", {"price": -1}).status == "error"

Its resources are opened and closed around it. ``worker(provider)`` runs many actions with the same resources, and
start and stop hooks around them.

In real workers, against a hub in memory: timeouts, dying processes, everything a daemon does::

    from arbd.testing import running

    def test_times_out():
        with running("my_package.provider", execution_timeout=0.1) as daemon:
            assert daemon.run("slow").error_code == "TIMEOUT"

For pytest there is the fixture ``arbd_running``, the same as ``running`` but left until the end of the test; name
this module in a ``conftest.py``: ``pytest_plugins = ["arbd.testing"]``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from arbd import logs
from arbd.attempts import attempt_all
from arbd.errors import EXIT_OK, ArbdError, ConfigError, ZygoteError
from arbd.hub.memory import Handle, MemoryHub
from arbd.model.task import Status, Task
from arbd.settings.table import BY_NAME, TABLE
from arbd.supervisor.request import RunRequest

if TYPE_CHECKING:
    from arbd.author.provider import Provider
    from arbd.supervisor.main import Daemon

try:
    import pytest
except ImportError:  # the fixture is for pytest; the rest is not
    pytest = None  # type: ignore[assignment] # see above

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 60.0
_BY_ATTRIBUTE: Final = {setting.attribute: setting.name for setting in TABLE}


class Response(msgspec.Struct, frozen=True):
    """A decoded response, as the hub would get it."""

    status: Status
    message: str | None = None
    data: Any = None

    @property
    def error_code(self) -> str | None:
        """``data["error_code"]``, such as ``TIMEOUT``; ``None`` without one."""
        return self.data.get("error_code") if isinstance(self.data, dict) else None


def run_action(provider: Provider, action: str, payload: Any = None, account: Any = None) -> Response:
    """Run one action in this process, from JSON to JSON, as a worker would; without its timeout. ``payload`` and
    ``account`` are values for JSON, or ``bytes`` that are sent as they are.

    Resources that it needs are opened for it and closed again; what closing one raises is raised here. Hooks do not
    run: ``worker`` runs them.
    """
    here = WorkerHere(provider)
    try:
        return here.run(action, payload, account)
    finally:
        here.close()


@contextmanager
def worker(provider: Provider) -> Iterator[WorkerHere]:
    """A worker in this process, for many actions: its start hooks run and its resources are open in this block, and
    are closed after it, when stop hooks have run. All of that is done whatever fails; raises what it raises."""
    here = WorkerHere(provider)
    try:
        here.start()
        try:
            yield here
        finally:
            here.stop()
    finally:
        here.close()


class WorkerHere:
    """A worker in the test's own process; ``worker`` makes one."""

    def __init__(self, provider: Provider) -> None:
        from arbd.worker.execute import Context
        from arbd.worker.resources import OpenResources, common_values

        self._provider = provider
        self._lifespan = provider.actions.lifespan
        self._loop: asyncio.Runner | None = None
        self._resources = OpenResources(self._lifespan, common_values(provider), self._run_async)
        self._context = Context(
            provider, utc_now=lambda: datetime.now(UTC), run_async=self._run_async, resources=self._resources
        )

    def run(self, action: str, payload: Any = None, account: Any = None) -> Response:
        """Run one action, as ``run_action`` does."""
        from arbd.worker.execute import execute

        task = Task("test", action, _json(payload), _json(account))
        _, answer = execute(self._context, task, time.monotonic() + self._provider.execution_timeout)
        return msgspec.json.decode(answer, type=Response)

    def start(self) -> None:
        """Run start hooks, and open what is opened at the start."""
        for hook in self._lifespan.hooks["start"]:
            self._resources.run(hook, inf)
        for resource in self._lifespan.resources.values():
            if not resource.lazy and resource.name not in self._resources:
                self._resources.open(resource.name, inf)

    def stop(self) -> None:
        """Run stop hooks. Raises what those raise, when all have run."""
        hooks = reversed(self._lifespan.hooks["stop"])
        _raise(attempt_all(partial(self._resources.run, hook, inf) for hook in hooks), "stop hooks failed")

    def close(self) -> None:
        """Close every resource. Raises what that raises, when all are closed."""
        names = self._resources.closing_order()
        failures = attempt_all(partial(self._resources.close, name, inf) for name in names)
        if self._loop is not None:
            self._loop.close()
        _raise(failures, "resources were not closed")

    def _run_async(self, awaitable: Awaitable[Any], _deadline: float) -> Any:
        async def wait() -> Any:
            return await awaitable

        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(wait())


def _raise(failures: list[Exception], what: str) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup(what, failures)


def _json(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else msgspec.json.encode(value)


class RunningProvider:
    """A running daemon in a thread of this process, with its workers, and the hub they take tasks from."""

    def __init__(self, hub: MemoryHub, daemon: Daemon, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = hub
        self.daemon = daemon
        self._loop = loop

    def submit(self, action: str, payload: Any = None, account: Any = None) -> Handle:
        """Send a task; the ``Handle`` gets its result."""
        return self.hub.submit(action, _json(payload), _json(account))

    def run(self, action: str, payload: Any = None, account: Any = None, *, timeout: float = 10.0) -> Response:
        """Send a task and wait for its response. Raises ``TimeoutError`` after ``timeout`` seconds."""
        return self.response(self.submit(action, payload, account), timeout=timeout)

    def response(self, handle: Handle, *, timeout: float = 10.0) -> Response:
        """Wait for the response to a submitted task. Raises ``TimeoutError`` after ``timeout`` seconds."""
        return msgspec.json.decode(handle.result(timeout).result, type=Response)

    def stop(self) -> None:
        """Ask the daemon to drain and stop, as SIGTERM would; the second time it stops at once."""
        self._loop.call_soon_threadsafe(self.daemon.request_stop)

    def reload(self) -> None:
        """Ask the daemon to load the provider's code again, as SIGHUP would."""
        self._loop.call_soon_threadsafe(self.daemon.request_reload)

    def metric(self, name: str, **labels: object) -> float | None:
        """What a line of the provider's own metrics (``arbd.metrics``) says now, summed over all workers:
        ``metric("orders_total", currency="EUR")``; ``None``: there is no such line."""
        return _line_of(self.daemon.pool.author_pages.words(), name, labels)

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers, by slot."""
        workers = sorted(self.daemon.pool.workers.values(), key=lambda worker: worker.slot)
        return [worker.pid for worker in workers]


def metric(name: str, **labels: object) -> float | None:
    """What a line of the metrics of this process (``arbd.metrics``) says now, as where an action was run with
    ``run_action``: ``metric("orders_total", currency="EUR")``; ``None``: there is no such line. They are never reset:
    compare with what it was before."""
    from arbd.metrics.registry import REGISTRY

    return _line_of([REGISTRY.words], name, labels)


def _line_of(pages: list[memoryview], name: str, labels: dict[str, object]) -> float | None:
    from arbd.control.author_metrics import AuthorMetrics
    from arbd.ipc.author_page import AuthorPageReader

    readers = [AuthorPageReader(words) for words in pages]
    wanted = {label: str(value) for label, value in labels.items()}
    for family in AuthorMetrics(max((reader.limit for reader in readers), default=0)).families(readers):
        for sample in family.samples:
            if sample.name == name and dict(sample.labels) == wanted:
                return sample.value
    return None


@contextmanager
def running(
    target: str | Path | Provider | type[Provider], *, argv: list[str] | None = None, **settings: Any
) -> Iterator[RunningProvider]:
    """Run a provider in real workers against a hub in memory, until the block ends.

    ``target`` is what ``arbd run`` takes, or a provider or class that some module has under a global name. ``settings``
    are those of ``arbd config``, with ``_`` for the dot (``hub_max_polls=4``); one unpinned worker is the default.
    Raises what the daemon raises when it cannot start; where a worker is not ready in time, the error says why.
    """
    flags: dict[str, Any] = {"workers": 1, "pin": False, "log.level": "error", "control.socket": "off"}
    flags |= {_setting_name(attribute): value for attribute, value in settings.items()}
    request = RunRequest(target=_place(target), argv=argv or [], flags=flags)
    host = _Host(request)
    thread = threading.Thread(target=host.run, name="arbd-test-daemon", daemon=True)
    logs.set_level(flags["log.level"])  # the daemon's own lines; logging as a whole belongs to the test
    thread.start()
    try:
        yield host.wait_serving()
    finally:
        host.stop()
        thread.join(STOP_TIMEOUT_S)
        if thread.is_alive():
            raise ArbdError(f"the daemon did not stop within {STOP_TIMEOUT_S:g} s")
        logs.set_level("info")
    host.raise_failure()


def _setting_name(attribute: str) -> str:
    name = _BY_ATTRIBUTE.get(attribute)
    if name is None:
        raise ConfigError([f"there is no setting {attribute}; settings are {', '.join(_BY_ATTRIBUTE)}"])
    return BY_NAME[name].name


def _place(target: str | Path | Provider | type[Provider]) -> str:
    if isinstance(target, (str, Path)):
        return str(target)
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is target:
                return f"{_place_of_module(module)}:{name}"
    raise ConfigError([f"{target!r} is no global name of any module; workers import it by name, so give it one"])


def _place_of_module(module: ModuleType) -> str:
    """The module's file where that is enough, because workers do not share this process's search path."""
    file = getattr(module, "__file__", None)
    return file if file and not module.__package__ else module.__name__


class _Host:
    """The thread that a test daemon runs in."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._hub = MemoryHub()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._running: RunningProvider | None = None

    def run(self) -> None:
        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from arbd.supervisor.main import Daemon

        daemon = Daemon(
            self._request,
            lambda settings, _: self._hub.link(settings.name),
            owns_process=False,
            on_serving=self._ready.set,
        )
        self._running = RunningProvider(self._hub, daemon, asyncio.get_running_loop())
        code = await daemon.run()
        if code != EXIT_OK:
            raise ZygoteError(f"the daemon ended by itself with exit code {code}; its log says why")

    def wait_serving(self) -> RunningProvider:
        if not self._ready.wait(START_TIMEOUT_S):
            raise ArbdError(f"the provider was not ready after {START_TIMEOUT_S:g} s{self._why_not()}")
        self.raise_failure()
        assert self._running is not None
        return self._running

    def _why_not(self) -> str:
        """The reasons of the slots that are out of service, as ``arbd status`` shows them."""
        running = self._running
        pool = None if running is None else getattr(running.daemon, "pool", None)  # it has none before the zygote is up
        found = {} if pool is None else pool.out_of_service()
        return "".join(f"; worker {slot} is out of service: {trouble.reason}" for slot, trouble in found.items())

    def stop(self) -> None:
        if self._running is not None:
            try:
                self._running.stop()
            except RuntimeError:
                pass  # its loop has ended already

    def raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


if pytest is not None:

    @pytest.fixture
    def arbd_running() -> Iterator[Callable[..., RunningProvider]]:
        """``arbd_running(target, **settings)``: like ``running``, stopped at the end of the test."""
        with ExitStack() as stack:
            yield lambda target, **settings: stack.enter_context(running(target, **settings))
