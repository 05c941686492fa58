"""Every command that the control socket knows, while all workers hang in C code on every CPU there is and the hub is
gone: answered within 100 ms on the socket, and within 250 ms by the ``arbd`` command with Python's own start.

One sample is the slowest of all requests, or commands, in one round, so nothing slow hides behind what is fast; beside
it stand the medians of the slowest kinds. What takes longer than a moment is answered by an operation that has begun;
its end is not waited for. There is a worker for each CPU, as by default; every other one holds the interpreter while
it hangs, and each of them burns its CPU, so a command has half of one. Commands are measured beside workers that hang
asleep, too: that is what they take themselves.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, get_args

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.cli import COMMANDS
from arbd.control import protocol
from arbd.control.client import ask
from arbd.control.protocol import ControlReply, ControlRequest, OperationReply, StatusReply
from arbd.control.reports import StatusReport
from arbd.errors import ControlError
from arbd.host import control_socket
from bench.harness import ROOT, SMOKE, Figure, Stage, alternate, conclude, rounds

_WORKERS = len(os.sched_getaffinity(0))
_ROUNDS = rounds(20)
_READY_S = 60.0
_TIMEOUT_S = 10.0  # of one request: longer than any goal, so that what is slow is seen
_SETTLE_S = 3.0  # a reload imports, and forks, on the same CPUs: at most so long until the next round
_PYTHON: Final = "python -c pass"
_BURNING: Final = ("holding", "computing")
_WAITING: Final = ("waiting", "waiting")
_LONG: Final = frozenset({"top", "profile"})  # commands that end when somebody says so, or after their seconds


@contextmanager
def stuck_daemon(actions: Sequence[str] = _BURNING) -> Iterator[tuple[Path, list[str]]]:
    """A daemon with all workers stuck in these actions and no hub: its control socket, and the ids of the tasks."""
    with Stage() as stage, tempfile.TemporaryDirectory() as directory:
        flags = ("--workers", str(_WORKERS))
        stage.arbd(
            *("stuck", *flags),
            protocol="stream",
            provider="stuck_provider.py",
            runtime_dir=directory,
            drain_timeout="0",
        )
        path = Path(directory) / "stuck.sock"
        stage.fill("stuck", list(actions), {}, _WORKERS)
        ids = _until_stuck(path)
        stage.hub.process.kill()
        while _status(path).link.state == "up":
            time.sleep(0.05)
        yield path, ids


def _status(path: Path) -> StatusReport:
    return ask(path, protocol.GetStatus(), StatusReply, _TIMEOUT_S).report


def _until_stuck(path: Path) -> list[str]:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        try:
            running = [each.running for each in _status(path).workers]
        except ControlError:
            running = []
        if len(running) == _WORKERS and all(running):
            return [task.id for task in running if task is not None]
        time.sleep(0.05)
    raise AssertionError(f"not all workers run a task after {_READY_S:g} s")


def requests(round_: int, ids: Sequence[str]) -> dict[str, ControlRequest]:
    """One of each kind, in an order that leaves the daemon as it was."""
    return {
        "GetStatus": protocol.GetStatus(),
        "GetLimits": protocol.GetLimits(),
        "GetEvents": protocol.GetEvents(),
        "GetStacks": protocol.GetStacks(),
        "GetStacks, one": protocol.GetStacks(worker=0),
        "GetStacks, native": protocol.GetStacks(native=True),
        "GetTrace": protocol.GetTrace(),
        "GetProfile": protocol.GetProfile(action="nobody's", seconds=1),  # begun, it would burn CPU in what follows
        "GetOperation": protocol.GetOperation(id=1),
        "SetLogLevel": protocol.SetLogLevel(level="error"),
        "PauseAction": protocol.PauseAction(action="computing"),
        "Resume, one": protocol.Resume(action="computing"),
        "DrainDaemon": protocol.DrainDaemon(),
        "Resume": protocol.Resume(),
        "Scale": protocol.Scale(workers=_WORKERS + round_ % 2),
        "Replace": protocol.Replace(worker=round_ % _WORKERS),
        # Of a task that is here in the first rounds: each costs a worker that hangs.
        "Kill": protocol.Kill(task_id=ids[round_] if round_ < len(ids) // 2 else "nobody's"),
        "Reload": protocol.Reload(),
    }


def commands(round_: int, path: Path, ids: Sequence[str]) -> dict[str, list[str]]:
    """The same by ``arbd``."""
    of, at = str(path), ["--daemon", str(path)]
    return {
        "status": [of],
        "limits": [of],
        "events": [of],
        "stacks": [of],
        "trace": [of, "--last", "--out", str(path.with_suffix(".json"))],
        "log-level": ["error", of],
        "pause": ["computing", *at],
        "drain": [of, "--no-wait"],
        "resume": at,
        "scale": [str(_WORKERS + round_ % 2), of, "--no-wait"],
        "replace": [str(round_ % _WORKERS), of, "--no-wait"],
        "kill": [ids[round_] if round_ < len(ids) // 2 else "nobodys", *at],
        "reload": [of, "--no-wait"],
    }


def exchange(path: Path, request: ControlRequest) -> tuple[float, ControlReply]:
    """Seconds until the answer is there, with the connection; and the answer, a failure included."""
    began_at = time.perf_counter()
    with control_socket.connect(path, _TIMEOUT_S) as connection:
        connection.sendall(protocol.encode(request))
        received = bytearray()
        while not received.endswith(b"\n"):
            received += connection.recv(1 << 20)
        took_s = time.perf_counter() - began_at
    return took_s, protocol.decode_reply(bytes(received).rstrip(b"\n"))


def settle(path: Path, reply: ControlReply | None = None) -> None:
    """Wait until what a reload starts has started."""
    until = time.monotonic() + (0.2 if SMOKE else _SETTLE_S)
    while isinstance(reply, OperationReply) and reply.operation.state == "running" and time.monotonic() < until:
        time.sleep(0.1)
        _, reply = exchange(path, protocol.GetOperation(id=reply.operation.id))


def worst(benchmark: BenchmarkFixture, what: str, goal_ms: float, rounds_: list[dict[str, float]]) -> None:
    """Conclude with the slowest of each round; beside it the slowest ever, and the median of each kind."""
    alone = [each.pop(_PYTHON) for each in rounds_ if _PYTHON in each]
    figure = Figure(what, "ms", "at most", goal_ms, [max(each.values()) for each in rounds_])
    of_each = {name: statistics.median(each[name] for each in rounds_) for name in rounds_[0]}
    slowest = sorted(of_each, key=lambda name: -of_each[name])[:3]
    figure.beside = {"slowest ever": max(figure.samples), **{name: of_each[name] for name in slowest}}
    if alone:
        figure.beside[_PYTHON] = statistics.median(alone)
    for name in of_each:
        benchmark.extra_info[f"{what}: {name}"] = of_each[name]
    conclude(benchmark, figure)


def test_every_request_on_the_socket(benchmark: BenchmarkFixture) -> None:
    kinds = {type(request) for request in requests(0, ["x"]).values()}
    assert kinds == set(get_args(ControlRequest)), "each request of the protocol is measured"
    with stuck_daemon() as (path, ids):
        numbers = iter(range(10_000))

        def one() -> dict[str, float]:
            took_ms: dict[str, float] = {}
            reply = None
            for name, request in requests(next(numbers), ids).items():
                took_s, reply = exchange(path, request)
                took_ms[name] = took_s * 1e3
            settle(path, reply)
            return took_ms

        [taken] = alternate(benchmark, _ROUNDS, one)
    worst(benchmark, "control socket, all workers stuck, hub gone: the slowest request", 100.0, taken)


@pytest.mark.parametrize(("actions", "how"), [(_WAITING, "asleep"), (_BURNING, "and burn each CPU")])
def test_every_command(benchmark: BenchmarkFixture, actions: Sequence[str], how: str) -> None:
    found = {name: import_module(f"arbd.cli.{name.replace('-', '_')}").command for name in COMMANDS}
    asking = {name for name, each in found.items() if any(param.name == "daemon" for param in each.params)}
    assert asking - _LONG == set(commands(0, Path("x"), ["x"])), "each command that asks a daemon is measured"
    with stuck_daemon(actions) as (path, ids):
        numbers = iter(range(10_000))

        def one() -> dict[str, float]:
            took_ms: dict[str, float] = {}
            for name, arguments in commands(next(numbers), path, ids).items():
                took_ms[name] = run_ms(["-m", "arbd", name, *arguments], path.parent)
            took_ms[_PYTHON] = run_ms(["-c", "pass"], path.parent)
            time.sleep(0.2 if SMOKE else _SETTLE_S / 2)
            return took_ms

        [taken] = alternate(benchmark, _ROUNDS, one)
    worst(benchmark, f"`arbd` commands, all workers stuck {how}, hub gone: the slowest", 250.0, taken)


def run_ms(arguments: Sequence[str], directory: Path) -> float:
    """Milliseconds that Python takes with these arguments, from its start to its end. A refusal is an answer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began_at = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=directory, env=environment, capture_output=True)
    took_ms = (time.perf_counter() - began_at) * 1e3
    assert done.returncode in (0, 1), done.stderr
    return took_ms
