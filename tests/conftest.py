"""What every test owes the next one: no process and no descriptor left, logging as it was; and turns at the machine.

Processes are found by a variable that every child inherits, so that one which was orphaned, and so is no child of this
process any more, is found too. Both checks are made once per module, because a daemon may serve all tests of one.

Where pytest-xdist runs tests side by side, one that is marked ``alone`` waits until no other runs, and others wait for
it: two locks on files do that, whose holder may die.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest
import structlog
from thoroughness import examples

from arbd import logs
from arbd.core import dispatch
from arbd.logs import standard, tasks

_MARK = "TEST_RUN_OF_ARBD"  # not ARBD_...: those are settings, and an unknown one is an error
_RUN = uuid.uuid4().hex
_TURNS = "TEST_TURNS_OF_ARBD"  # the directory of the two locks, from the process that all others were started by
_END_TIMEOUT_S = 5.0
# gRPC keeps its own pollers and their wake-up descriptors for the life of the process.
_KEPT_BY_GRPC = {"anon_inode:[eventpoll]", "anon_inode:[eventfd]", "socket", "pipe"}


# The same examples every time, and no time limit for one of them: a busy machine must not fail a test.
hypothesis.settings.register_profile("arbd", max_examples=examples(100), deadline=None, derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("arbd")
    _keep_bytecode(config)
    # A shell starts background jobs with SIGINT ignored, and what tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ[_MARK] = _RUN
    # Where daemons put their control sockets: not among those of the machine.
    os.environ["RUNTIME_DIRECTORY"] = tempfile.mkdtemp(prefix="arbd-test-")
    os.environ.setdefault(_TURNS, os.environ["RUNTIME_DIRECTORY"])


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["RUNTIME_DIRECTORY"], ignore_errors=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the time that a test may take
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    turns = Path(os.environ[_TURNS])
    with (turns / "door").open("wb") as door, (turns / "room").open("wb") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # held while it waits, or those who go in and out would never leave the room
        fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def nothing_survives() -> Iterator[None]:
    """Fail a module that leaves processes or descriptors behind."""
    open_before = _descriptors()
    yield
    if (support := sys.modules.get("daemon_support")) is not None:
        support.stop_idle_hubs()
    left = _wait_for_the_end()
    for process in left:
        process.kill()
    assert not left, f"processes were left running: {left}"
    leaked = _descriptors() - open_before
    if leaked:  # garbage may hold them; collecting it costs 30 ms, which most modules need not
        gc.collect()
        leaked = _descriptors() - open_before
    if "grpc" in sys.modules:
        leaked = Counter({kind: count for kind, count in leaked.items() if kind not in _KEPT_BY_GRPC})
    assert not leaked, f"descriptors were left open: {leaked}"


@pytest.fixture
def deep_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many tasks may wait in a ring as ``prefetch`` says, however long they are thought to take."""
    monkeypatch.setattr(dispatch, "COVER_NS", 1 << 60)
    monkeypatch.setattr(dispatch, "RING_NS", 1 << 59)


def _keep_bytecode(config: pytest.Config) -> None:
    """Where none is to be written beside the sources: keep it elsewhere, or each process started compiles all anew."""
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(config.rootpath / ".pytest_cache" / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def _wait_for_the_end() -> list[psutil.Process]:
    deadline = time.monotonic() + _END_TIMEOUT_S
    while (left := _started_by_this_run()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _started_by_this_run() -> list[psutil.Process]:
    mark = f"{_MARK}={_RUN}".encode()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and mark in Path(f"/proc/{process.pid}/environ").read_bytes():
                found.append(process)
        except (OSError, psutil.NoSuchProcess):
            continue  # it ended while we looked, or belongs to somebody else
    return found


def _descriptors() -> Counter[str]:
    """Open descriptors of this process by kind: what they are, without the number that makes each unique."""
    kinds: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        try:
            kinds[re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/self/fd/{fd}"))] += 1
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return kinds


@pytest.fixture(autouse=True)
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging is state of the process: put all of it back."""
    for owner, names in (
        (logs, ("_output", "_format")),
        (tasks, ("_task", "_at_begin", "_at_end")),
        (logs._losses, ("fd", "_count")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))
    constants, bases = dict(logs._constants), logs._ConfiguredLogger.__bases__
    root, level = logging.getLogger(), logging.getLogger().level
    yield
    logs.set_role("")
    logs._constants.update(constants)
    logs._ConfiguredLogger.__bases__ = bases
    standard.detach()
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
