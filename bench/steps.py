"""Where the time of one task goes at a unary hub: ``python -m bench.steps [--tasks N]``.

Hub, daemon and a bare client (``bench.bare``) run as they are, one task at a time, in turn; but at some of their
functions the moment is noted. All read the same clock, so the notes of three processes make one line for each task::

    hub: handed out ─> supervisor: taken ─> woke the worker ─> worker: began ... ended ─> supervisor: collected
                                                                        ─> submitted ─> hub: result is there

Each process writes its notes when it ends. Taking them costs about a microsecond each.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import functools
import os
import random
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from arbd.hub.board import NewTask
from arbd.hub.client import HubClient

Notes = dict[str, dict[str, int]]  # by task, then by what was noted

_ROOT: Final = Path(__file__).resolve().parent.parent
_PAUSE_S: Final = 0.002
_WARM_UP: Final = 200
_ARBD_STEPS: Final = (
    ("hub to supervisor", "handed out", "taken"),
    ("intake, dispatch, into the ring", "taken", "waking"),
    ("wake the worker", "waking", "woken"),
    ("the worker wakes up", "woken", "began"),
    ("the worker runs it", "began", "ended"),
    ("the supervisor wakes up, out of the ring", "ended", "collected"),
    ("outbox, encode", "collected", "submitted"),
    ("supervisor to hub", "submitted", "there"),
    ("all", "handed out", "there"),
)
_BARE_STEPS: Final = (
    ("hub to client", "handed out", "taken"),
    ("encode", "taken", "submitted"),
    ("client to hub", "submitted", "there"),
    ("all", "handed out", "there"),
)


# -- in the processes that are watched ------------------------------------------------------------------------------


class _Notebook:
    def __init__(self, file: str) -> None:
        self.notes: Notes = {}
        self.task_id = ""  # of the task that is under way
        atexit.register(lambda: Path(file).write_bytes(msgspec.json.encode(self.notes)))

    def note(self, what: str, task_id: str | None = None, at_ns: int = 0) -> None:
        self.task_id = task_id or self.task_id
        self.notes.setdefault(self.task_id, {})[what] = at_ns or time.monotonic_ns()

    def before(self, owner: Any, name: str, note: Callable[..., None]) -> None:
        """Have ``note`` called with the arguments of a function, before it."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            note(*args)
            return function(*args, **kwargs)

        setattr(owner, name, noted)


def _watch_hub(book: _Notebook) -> None:
    from arbd.hub import service_unary
    from arbd.hub.board import TaskBoard

    book.before(service_unary, "_encode_task", lambda task: book.note("handed out", task.id))
    book.before(TaskBoard, "record_result", lambda _, task_id, *rest: book.note("there", task_id))


def _watch_daemon(book: _Notebook) -> None:
    from arbd.ipc import frame
    from arbd.links.unary import submits
    from arbd.supervisor.flow import Flow
    from arbd.supervisor.watch import Watch

    def on_accept(_: Flow, worker: Any, record: bytes) -> None:
        result, began_ns = frame.decode_result(record), worker.cell.running().since_ns
        if result.seq != frame.READY_SEQ:
            book.note("began", at_ns=began_ns)
            book.note("ended", at_ns=began_ns + result.run_ns)
            book.note("collected")

    book.before(Flow, "take", lambda _, tasks: book.note("taken", tasks[0].id))
    book.before(Flow, "_wake", lambda *_: book.note("waking"))
    book.before(Watch, "on_sent", lambda *_: book.note("woken"))
    book.before(Flow, "_accept", on_accept)
    book.before(submits, "encode_result", lambda outcome, *_: book.note("submitted", outcome.task.id))


def _watch_bare(book: _Notebook) -> None:
    from arbd.links.unary import messages
    from bench import bare

    def decode(data: bytes) -> Any:
        task = messages.decode_task(data)
        if task is not None:
            book.note("taken", task.id)
        return task

    bare.__dict__["decode_task"] = decode
    book.before(bare, "answer", lambda task, _: book.note("submitted", task.id))


_WATCHES: Final = {"hub": _watch_hub, "arbd": _watch_daemon, "bare": _watch_bare}


def _run_watched(role: str, file: str, arguments: list[str]) -> None:
    """Be the hub, the daemon or the bare client, with notes."""
    _WATCHES[role](_Notebook(file))
    if role == "bare":
        uvloop.run(_bare_until_terminated(*arguments))
        return
    sys.argv = ["arbd", *arguments]
    runpy.run_module("arbd" if role == "arbd" else "arbd.hub.process", run_name="__main__")


async def _bare_until_terminated(address: str, provider: str) -> None:
    from bench import bare

    loop = asyncio.get_running_loop()
    serving = loop.create_task(bare.provide(address, provider, 1))
    loop.add_signal_handler(signal.SIGTERM, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving


# -- the other side -------------------------------------------------------------------------------------------------


def _start(stack: ExitStack, role: str, place: Path, *arguments: str, **popen: Any) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "bench.steps", "--be", role, str(place / role), *arguments]
    process = subprocess.Popen(argv, cwd=_ROOT, **popen)
    stack.callback(process.wait, 15)
    # The hub ends with its standard input.
    stack.callback(process.terminate if process.stdin is None else process.stdin.close)
    return process


async def _send(address: str, count: int) -> None:
    client = HubClient(address, timeout_s=30)
    for number in range(_WARM_UP + count):
        for provider in random.sample(["arbd", "bare"], 2):
            batch = await client.submit([NewTask("nothing", b"{}", id=f"{provider}-{number}", provider=provider)])
            async for _ in client.results(batch.name):
                pass
            await asyncio.sleep(_PAUSE_S)  # the answer to the last result is on its way still, and so is the next poll
    await client.close()


def measure(count: int) -> dict[str, list[dict[str, int]]]:
    """What was noted of each task that arbd and the bare client ran, by who ran it."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with ExitStack() as stack:
            hub = _start(stack, "hub", place, "{}", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert hub.stdout is not None
            address = hub.stdout.readline().decode().strip()
            flags = ("--hub", address, "--name", "arbd", "--log-level", "error")
            unary = {**os.environ, "ARBD_HUB_PROTOCOL": "unary"}
            _start(stack, "arbd", place, "run", str(_ROOT / "bench" / "provider.py"), *flags, env=unary)
            _start(stack, "bare", place, address, "bare")
            uvloop.run(_send(address, count))
        notes = {role: msgspec.json.decode((place / role).read_bytes(), type=Notes) for role in _WATCHES}
    numbers = range(_WARM_UP, _WARM_UP + count)
    ids = {who: [f"{who}-{number}" for number in numbers] for who in ("arbd", "bare")}
    return {who: [{**notes["hub"][each], **notes[who][each]} for each in ids[who]] for who in ids}


def table(title: str, steps: Sequence[tuple[str, str, str]], tasks: Sequence[dict[str, int]]) -> Table:
    """Median and quartiles of every step, in microseconds."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("step")
    for name in ("median, µs", "quartiles"):
        shown.add_column(name, justify="right")
    for name, begin, end in steps:
        low, middle, high = statistics.quantiles([(task[end] - task[begin]) / 1e3 for task in tasks], n=4)
        shown.add_row(name, f"{middle:.0f}", f"{low:.0f}-{high:.0f}")
    return shown


def main() -> None:
    """The command."""
    if sys.argv[1:2] == ["--be"]:
        _run_watched(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    parser = argparse.ArgumentParser(prog="python -m bench.steps", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=1000, help="tasks for each side (default: 1000)")
    tasks = measure(parser.parse_args().tasks)
    console = Console()
    console.print(table("arbd", _ARBD_STEPS, tasks["arbd"]))
    console.print(table("two bare calls", _BARE_STEPS, tasks["bare"]))


if __name__ == "__main__":
    main()
