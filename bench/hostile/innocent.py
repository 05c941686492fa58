"""Actions that anybody can hurt, and that tell whether somebody did.

Each looks at the state of its process, does 5 ms of work, and answers what can be checked: its nonce, and what it found
changed since its worker was made ready. Nothing here is hostile, but all of it relies on what authors rely on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread as executors
import contextvars
import decimal
import gc
import hashlib
import locale
import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

from numpy import random as numpy_random  # imported here: else each worker would, in 11 ms

from arbd import Provider
from bench.hostile.marks import Writer
from bench.hostile.service import Client

WORK_S: Final = 0.005
DIRECTORY: Final = Path(os.environ.get("HOSTILE_DIRECTORY", "."))
SERVICE: Final = os.environ.get("HOSTILE_SERVICE", "")

provider = Provider(name="hostile", execution_timeout=20)
register = provider.actions.register
marks = Writer(DIRECTORY / "marks")
word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="")
_before: dict[str, Any] = {}


def state() -> dict[str, Any]:
    """What the actions of a process share, as far as one can hurt another by it."""
    status = Path("/proc/self/status").read_text()
    return {
        "directory": os.getcwd(),
        "umask": next((line for line in status.splitlines() if line.startswith("Umask")), ""),
        "environment": hash(tuple(sorted(os.environ.items()))),
        "handlers": [_whose(number) for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "recursion": sys.getrecursionlimit(),
        "locale": locale.setlocale(locale.LC_ALL),
        "precision": decimal.getcontext().prec,
        "word": word.get(),
        "timeout": socket.getdefaulttimeout(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "collects": gc.isenabled(),
        "warnings": len(warnings.filters),
        "path": len(sys.path),
        "policy": type(asyncio.get_event_loop_policy()).__name__,
        "threads": sorted(
            thread.name
            for thread in threading.enumerate()
            if not thread.daemon and thread not in executors._threads_queues
        ),
        "streams": [sys.stdout is not None and not sys.stdout.closed, sys.stderr is not None and not sys.stderr.closed],
    }


def _whose(signum: int) -> str:
    """Whose a signal's handler is: one of the daemon's does what the default does, but end the worker."""
    handler = signal.getsignal(signum)
    ours = handler is signal.SIG_DFL or getattr(handler, "__module__", "").startswith("arbd.")
    return "default" if ours else str(handler)


@provider.on_worker_start
def ready() -> None:
    """Notes that a worker is about to serve, and how it is."""
    _before.update(state())
    marks.mark("ready")


def _changed() -> list[str]:
    now = state()
    return [f"{key}: {_before[key]} -> {now[key]}" for key in now if now[key] != _before[key]]


def _work() -> None:
    until = time.thread_time() + WORK_S
    while time.thread_time() < until:
        pass


def _answer(number: int, nonce: str, changed: list[str], **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(nonce.encode()).hexdigest()
    marks.mark("ended", number)
    return {"digest": digest, "changed": changed, **more}


@register(name="compute")
def compute(number: int, nonce: str) -> dict[str, Any]:
    """Looks, works, prints, opens a file."""
    marks.mark("began", number)
    changed = _changed()
    _work()
    print("computed")
    with tempfile.TemporaryFile() as file:
        file.write(nonce.encode())
        file.seek(0)
        if file.read() != nonce.encode():
            changed.append("a file has lost what was written")
    return _answer(number, nonce, changed)


@cache
def client() -> Client:
    """The connection of this worker."""
    return Client(SERVICE)


@register(name="query")
def query(number: int, nonce: str) -> dict[str, Any]:
    """Asks over a connection that is kept."""
    marks.mark("began", number)
    _work()
    reply = client().ask(nonce)
    return _answer(number, nonce, [] if reply == nonce else [f"the reply was {reply!r}"])


@cache
def database() -> sqlite3.Connection:
    """The database of this worker, which all its tasks share."""
    connection = sqlite3.connect(DIRECTORY / "databases" / str(os.getpid()))
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (nonce TEXT, committed_by TEXT)")
    return connection


@register(name="transact")
def transact(number: int, nonce: str) -> dict[str, Any]:
    """Commits a row; what others have left uncommitted must not go with it."""
    marks.mark("began", number)
    _work()
    connection = database()
    left = connection.in_transaction
    connection.execute("INSERT INTO rows VALUES (?, ?)", (nonce, nonce))
    connection.commit()
    return _answer(number, nonce, ["a transaction was open"] if left else [])


@register(name="wait")
async def wait(number: int, nonce: str) -> dict[str, Any]:
    """Works and waits on the event loop, alone on it."""
    marks.mark("began", number)
    others = [str(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    _work()
    await asyncio.sleep(0.0001)
    await asyncio.to_thread(time.sleep, 0.0001)
    others += [str(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    return _answer(number, nonce, _changed() + [f"on the loop: {other}" for other in others])


@register(name="draw")
def draw(number: int, nonce: str) -> dict[str, Any]:
    """Draws random numbers, which must be nobody else's."""
    marks.mark("began", number)
    _work()
    return _answer(number, nonce, [], drawn=f"{random.getrandbits(60)} {numpy_random.randint(1 << 60)}")


@register(name="child")
def child(number: int, nonce: str) -> dict[str, Any]:
    """Has a child process say something."""
    marks.mark("began", number)
    _work()
    said = subprocess.run(["echo", nonce], capture_output=True, text=True, check=True).stdout.strip()
    return _answer(number, nonce, [] if said == nonce else [f"the child said {said!r}"])


INNOCENT: Final = {"compute": 40, "query": 20, "transact": 15, "wait": 10, "draw": 10, "child": 5}
"""The innocent actions, and how often of a hundred."""
