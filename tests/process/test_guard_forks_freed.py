"""A fork in the author's code that runs in the middle of arbd's own: what is freed after a task, an exception's text, a
signal's handler. The child runs no task and answers none, and ends with that code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from daemon_support import daemon_of, eventually, is_alive, responses
from import_support import written

from arbd.testing import RunningProvider

SOURCE = """
import contextvars, ctypes, dataclasses, logging, signal, sys, weakref

VAR = contextvars.ContextVar("VAR")
LIBC = ctypes.CDLL(None)

class Forks:
    def __del__(self, fork=os.fork):
        fork()

class ForksInC:
    def __del__(self, fork=LIBC.fork):
        fork()

class Broken(Exception):
    def __str__(self):
        os.fork()
        return "broken"

@dataclasses.dataclass
class Data:
    number: int = 1
    def __del__(self):
        os.fork()

class Handler(logging.Handler):
    def emit(self, record):
        os.fork()

class Plain:
    pass

def generator():
    try:
        yield 1
    finally:
        os.fork()

signal.signal(signal.SIGUSR1, lambda signum, frame: os.fork())

@provider.actions.register()
def free(how: str):
    made = ForksInC() if how.endswith("in C") else Forks()
    how = how.removesuffix(", in C")
    if how == "context variable":
        VAR.set(made)
        made = None
    elif how == "exception":
        error = ValueError(made)
        made = None
        raise error
    elif how == "local":
        raise ValueError("x")
    elif how == "exit":
        sys.exit(3)
    made = None

@provider.actions.register()
def others(how: str):
    if how == "dataclass":
        return Data()
    if how == "generator":
        started = generator()
        next(started)
        VAR.set(started)
    elif how == "weak reference":
        plain = Plain()
        VAR.set((plain, weakref.ref(plain, lambda ref: os.fork())))
    elif how == "text":
        raise Broken
    elif how == "logger":
        logging.getLogger().addHandler(Handler())
        raise ValueError("x")

@provider.actions.register()
async def free_async(how: str):
    made = Forks()
    raise ValueError("x")

@provider.actions.register()
def run(path: str, seconds: float = 0.0):
    if seconds:
        time.sleep(seconds)
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProvider]:
    target = written(tmp_path_factory.mktemp("freed"), "import time\n" + SOURCE)
    with daemon_of(target, log_level="critical", execution_timeout=20) as daemon:
        yield daemon


def check(daemon: RunningProvider, directory: Path, action: str, how: str) -> None:
    """Innocent tasks right behind it, each of which runs once, in the worker; then no process is left below it."""
    path = directory / "runs"
    handles = []
    for _ in range(5):
        handles.append(daemon.submit(action, {"how": how}))
        handles += [daemon.submit("run", {"path": str(path)}) for _ in range(10)]
    found = responses(daemon, handles)
    assert [each.status for at, each in enumerate(found) if at % 11] == ["success"] * 50
    runs = [int(line) for line in path.read_text().splitlines()]
    assert len(runs) == 50
    eventually(lambda: not children_of(daemon))


def children_of(daemon: RunningProvider) -> list[psutil.Process]:
    found = []
    for pid in filter(None, daemon.worker_pids):
        found += [each for each in psutil.Process(pid).children(recursive=True) if is_alive(each.pid)]
    return found


@pytest.mark.parametrize("how", ["context variable", "exception", "local", "exit"])
@pytest.mark.parametrize("by", ["", ", in C"])
def test_what_is_freed_forks(daemon: RunningProvider, tmp_path: Path, how: str, by: str) -> None:
    check(daemon, tmp_path, "free", how + by)


@pytest.mark.parametrize("how", ["dataclass", "generator", "weak reference", "text", "logger"])
def test_what_arbd_calls_forks(daemon: RunningProvider, tmp_path: Path, how: str) -> None:
    check(daemon, tmp_path, "others", how)


def test_what_an_async_action_leaves_forks(daemon: RunningProvider, tmp_path: Path) -> None:
    check(daemon, tmp_path, "free_async", "local")


def test_a_handler_of_the_module_forks_at_any_moment(daemon: RunningProvider, tmp_path: Path) -> None:
    """Snapshots by a fork are made so."""
    path = tmp_path / "runs"
    handles = []
    for _ in range(25):
        handles += [daemon.submit("run", {"path": str(path), "seconds": 0.001}) for _ in range(3)]
        for pid in filter(None, daemon.worker_pids):
            os.kill(pid, signal.SIGUSR1)
        time.sleep(0.03)  # a fork in a fork would wait for a lock of concurrent.futures, as in plain Python
    assert {str(each) for each in responses(daemon, handles) if each.status != "success"} == set()
    assert len(path.read_text().splitlines()) == 75
    eventually(lambda: not children_of(daemon))
