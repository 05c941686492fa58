"""What the process tests share: daemons in a thread or in a process of their own, and ways to see into them.

Nothing here sleeps for a fixed time: a condition is looked at until it holds, or the test fails.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import psutil

from arbd.core.lifecycle import State
from arbd.hub.board import NewTask, Result, TaskEvent
from arbd.hub.memory import Handle
from arbd.hub.process import HubProcess
from arbd.supervisor.flow import Flow
from arbd.supervisor.worker import Worker
from arbd.testing import Response, RunningProvider, running

PROVIDERS = Path(__file__).parent / "providers"
ZOO = PROVIDERS / "zoo.py"
ONCE = ["submitted", "handed_out", "result"]  # the history of a task that went well
_T = TypeVar("_T")


def eventually(check: Callable[[], _T | Literal[False] | None], timeout_s: float = 10.0) -> _T:
    """Look until ``check`` gives something true; that."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.002)
    return found


def at_best(attempt: Callable[[], None], attempts: int = 3) -> None:
    """Make an attempt that asserts how long something takes; again if it fails, because the machine may be busy."""
    for left in reversed(range(attempts)):
        try:
            attempt()
            return
        except AssertionError:
            if not left:
                raise


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- a daemon in a thread of this process, at a hub in memory -------------------------------------------------------


@contextmanager
def daemon_of(target: str | Path = ZOO, **settings: Any) -> Iterator[RunningProvider]:
    """A daemon whose logs stay out of the way; one worker unless told otherwise."""
    with running(target, **{"log_level": "critical", **settings}) as daemon:
        yield daemon


def kinds(daemon: RunningProvider, handle: Handle) -> list[str]:
    """What happened to a task, in words of the hub's history."""
    return [event.kind for event in daemon.hub.history(handle.id)]


def responses(daemon: RunningProvider, handles: Iterable[Handle], timeout_s: float = 30.0) -> list[Response]:
    """The responses, after a check that every task was handed out once and answered once."""
    handles = list(handles)
    found = [daemon.response(handle, timeout=timeout_s) for handle in handles]
    assert [kinds(daemon, handle) for handle in handles] == [ONCE] * len(handles)
    return found


def on_loop(daemon: RunningProvider, function: Callable[[], _T]) -> _T:
    """Run a function on the daemon's event loop, as one callback that nothing interrupts."""
    done: list[_T] = []
    failed: list[BaseException] = []
    finished = threading.Event()

    def call() -> None:
        try:
            done.append(function())
        except BaseException as exc:
            failed.append(exc)
        finished.set()

    daemon._loop.call_soon_threadsafe(call)
    assert finished.wait(30), "the daemon's event loop does not turn"
    if failed:
        raise failed[0]
    return done[0]


@contextmanager
def frozen(daemon: RunningProvider) -> Iterator[None]:
    """The supervisor does nothing at all inside this block, as if it were stopped or starved."""
    stopped, go = threading.Event(), threading.Event()

    def hold() -> None:
        stopped.set()
        go.wait(60)

    daemon._loop.call_soon_threadsafe(hold)
    assert stopped.wait(10), "the daemon's event loop does not turn"
    try:
        yield
    finally:
        go.set()


def serving(daemon: RunningProvider) -> Worker:
    """The worker that serves, of a daemon that has one."""
    return eventually(
        lambda: next((w for w in daemon.daemon.pool.workers.values() if w.state is State.SERVING and w.pid), None)
    )


def flow(daemon: RunningProvider) -> Flow:
    """The daemon's tasks under way. Look at it through ``on_loop``."""
    generations = daemon.daemon._generations
    assert generations is not None
    return generations._flow


def wait_outstanding(daemon: RunningProvider, worker: Worker, count: int) -> None:
    """Wait until a worker has so many tasks, in its ring and running."""
    eventually(lambda: on_loop(daemon, lambda: len(flow(daemon).dispatcher.outstanding(worker.id)) == count))


def tasks_done(worker: Worker) -> int:
    """How many tasks a worker has finished, as it says itself."""
    return worker.cell.totals()[0]


class Gate:
    """An action that says when it has begun and waits to be let through: ``zoo.hold``."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = directory / name
        self.payload = {"path": str(self.path)}

    @property
    def pid(self) -> int:
        """The process that waits at the gate."""
        started = self.path.with_suffix(".started")
        return int(eventually(lambda: started.exists() and started.read_text()))

    def open(self) -> None:
        """Let it through."""
        self.path.with_suffix(".go").touch()


def learn(daemon: RunningProvider, directory: Path) -> None:
    """Have a daemon see that these actions of the zoo are short, so that tasks may wait behind them."""
    gate = Gate(directory, "learn")
    gate.open()
    learnt = [("hold", gate.payload), ("stubborn_hold", gate.payload), ("stubborn", {"seconds": 0}), ("echo", {})]
    learnt += [("blob", {"size": 3_000}), ("mirror", {"text": ""})]
    responses(daemon, [daemon.submit(action, payload) for action, payload in learnt])


# -- a daemon as an operator runs it: processes, sockets, signals ---------------------------------------------------


_batches = itertools.count(1)
_idle_hubs: dict[str, HubProcess] = {}
"""By options: those of tests before, which serve the next test of the module that wants one like it."""


def stop_idle_hubs() -> None:
    """Stop those that no test has any more."""
    while _idle_hubs:
        _idle_hubs.popitem()[1].stop()


class Hub:
    """The embedded hub in a process of its own, and a client of it that can be called from a test.

    The process is one that a test before has left, if that has left no task in it.
    """

    def __init__(self, **options: Any) -> None:
        self._options = {"hold_s": 0.2, **options}
        self._like = repr(sorted(self._options.items()))
        self._token: str = next(iter(options.get("tokens", ())), "")
        self._batch = f"all-{next(_batches)}"
        self._submitted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-hub-client")

    def __enter__(self) -> Hub:
        from arbd.hub.client import HubClient

        idle = _idle_hubs.pop(self._like) if self._like in _idle_hubs else None
        self._process = idle or HubProcess(**self._options)
        self.address = self._process.address
        self._thread.start()

        async def connect() -> HubClient:
            return HubClient(self.address, token=self._token)

        self._client = self._call(connect())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        is_empty = not error and self.done() == self._submitted
        self._call(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if is_empty and "address" not in self._options and self._like not in _idle_hubs:
            _idle_hubs[self._like] = self._process
        else:
            self._process.stop()

    def _call(self, coroutine: Any, timeout_s: float = 60) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def submit(self, action: str, payload: Any = None, count: int = 1) -> list[str]:
        """Submit tasks; their ids."""
        body = b"" if payload is None else json.dumps(payload).encode()
        tasks = [NewTask(action, body) for _ in range(count)]
        ids: list[str] = self._call(self._client.submit(tasks, self._batch)).ids
        self._submitted += count
        return ids

    def submit_new(self, tasks: list[NewTask], batch: str) -> None:
        """Submit these, in a batch of their own."""
        self._call(self._client.submit(tasks, batch))

    def follow(self, batch: str, on_result: Callable[[Result], None]) -> Future[None]:
        """Have every result of a batch told, from a thread, as it comes; until the future is cancelled."""

        async def collect() -> None:
            seen = 0
            while True:
                async for result in self._client.results(batch, seen):
                    seen += 1
                    on_result(result)
                await asyncio.sleep(0.005)  # a batch ends whenever all its tasks have; more may be added

        return asyncio.run_coroutine_threadsafe(collect(), self._loop)

    def results_of(self, tasks: list[NewTask]) -> dict[str, Result]:
        """Submit these, and wait for all results there are to be."""
        self._call(self._client.submit(tasks, self._batch))
        self._submitted += len(tasks)
        return self.results()

    def results(self) -> dict[str, Result]:
        """All results, by task id; waits until every task that was ever submitted has one."""

        async def collect() -> dict[str, Result]:
            return {result.id: result async for result in self._client.results(self._batch)}

        found: dict[str, Result] = self._call(collect())
        return found

    def done(self) -> int:
        """How many tasks have a result."""
        stats: dict[str, int] = self._call(self._client.stats())
        return self._submitted - stats["queued"] - stats["leased"]

    def stats(self) -> dict[str, int]:
        """The hub's counters."""
        counters: dict[str, int] = self._call(self._client.stats())
        return counters

    def cancel(self, task_id: str) -> bool:
        """Have a task cancelled; whether it was not too late."""
        cancelled: bool = self._call(self._client.cancel(task_id))
        return cancelled

    def history(self, task_id: str) -> list[TaskEvent]:
        """What happened to a task."""
        events: list[TaskEvent] = self._call(self._client.history(task_id))
        return events

    def kinds(self, task_id: str) -> list[str]:
        """The same, in words."""
        return [event.kind for event in self.history(task_id)]


class Arbd:
    """``python -m arbd ...`` as a process, leader of a session of its own. Settings without a flag go by ``env``."""

    def __init__(
        self,
        command: list[str],
        directory: Path,
        env: dict[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.log = directory / "stderr.log"
        self.out = directory / "stdout.log"
        self._read = 0  # bytes of the log
        self._events: list[dict[str, Any]] = []
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_"))}
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                cwd=directory,
                env={**clean, **(env or {})},
                start_new_session=True,
            )

    @classmethod
    def run(
        cls,
        hub: str,
        directory: Path,
        *,
        target: Path = ZOO,
        workers: int = 2,
        env: dict[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        before: str = "",
    ) -> Arbd:
        """``arbd run`` of a target at a hub, with JSON logs of every level. ``before``: what its process does first."""
        flags = ["--hub", hub, "--name", "prov", "--workers", str(workers), "--no-pin"]
        flags += ["--log-format", "json", "--log-level", "debug"]
        arbd = ["-c", f"{before}\nfrom arbd.cli import main\nmain()"] if before else ["-m", "arbd"]
        return cls([*arbd, "run", str(target), *flags], directory, env, stdout, stderr)

    def __enter__(self) -> Arbd:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log lines, of one event or all."""
        with self.log.open("rb") as log:  # from where it was read last: tests look often, and logs grow long
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        lines = whole.decode().split("\n")
        self._events += [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in self._events if name in ("", line["event"])]

    def wait_event(self, name: str, count: int = 1, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Wait until an event was logged so often."""
        return eventually(
            lambda: self.process.poll() is None and len(found := self.events(name)) >= count and found, timeout_s
        )

    def wait_serving(self, workers: int = 2) -> None:
        """Wait until all workers are ready."""
        self.wait_event("worker_ready", workers)

    def family(self) -> dict[str, list[int]]:
        """Process ids of everything below the supervisor, by name."""
        found: dict[str, list[int]] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                found.setdefault(process.name(), []).append(process.pid)
        return found

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(signum)

    def exit_code(self, timeout_s: float = 30.0) -> int:
        """Wait for its end."""
        return self.process.wait(timeout_s)
