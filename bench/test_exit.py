"""How long a daemon takes to end after SIGTERM: at a hub that is gone without a word, in both protocols and with link
processes; at a live hub that holds its poll; and with all workers stuck in C code.

At a hub that is gone: from the signal to the end of the process, at most 3 s. At one that holds its poll: what it takes
longer than the hub has held it; the task that the poll brings has its verdict. With stuck workers: from the signal to
the end, at most 1 s more than ``drain_timeout``; each task has its verdict.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.control.client import ask
from arbd.control.protocol import GetStatus, StatusReply
from arbd.control.reports import StatusReport, WorkerReport
from arbd.errors import ControlError
from arbd.wire.pb import hub_pb2 as pb
from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds

_ROUNDS = rounds(5)
_WORKERS = len(os.sched_getaffinity(0))
_READY_S = 60.0
_LONGEST_S = 120.0
_DRAIN_S: Final = 1.0
_HELD_S: Final = 0.5 if SMOKE else 4.0  # from the signal on; longer than a probe may take
_PROTOCOLS: Final = {
    "stream": ("stream", "0"),
    "unary": ("unary", "0"),
    "link processes": ("unary", "2"),
}


@contextmanager
def daemon(stage: Stage, how: str, address: str = "") -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A daemon whose workers serve, and its control socket."""
    protocol, links = _PROTOCOLS[how]
    with tempfile.TemporaryDirectory() as directory:
        process = stage.arbd(
            *("stuck", "--workers", str(_WORKERS)),
            protocol=protocol,
            provider="stuck_provider.py",
            address=address,
            runtime_dir=directory,
            hub_links=links,
            drain_timeout=f"{_DRAIN_S:g}",
        )
        path = Path(directory) / "stuck.sock"
        _wait(path, lambda worker: worker.state == "serving")
        yield process, path
        assert process.returncode is not None, "it was ended"


def _wait(path: Path, is_so: Callable[[WorkerReport], bool]) -> None:
    """Wait until it is so for all workers."""
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        workers = _workers(path)
        if len(workers) == _WORKERS and all(map(is_so, workers)):
            return
        time.sleep(0.02)
    raise AssertionError(f"the workers were not ready within {_READY_S:g} s")


def _workers(path: Path) -> list[WorkerReport]:
    try:
        report: StatusReport = ask(path, GetStatus(), StatusReply).report
    except ControlError:  # it has just begun
        return []
    return report.workers


def stop_s(process: subprocess.Popen[bytes]) -> float:
    """Seconds from SIGTERM to the end."""
    began_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(_LONGEST_S) == 0
    return time.monotonic() - began_at


@pytest.mark.parametrize("how", _PROTOCOLS)
def test_at_a_hub_that_is_gone(benchmark: BenchmarkFixture, how: str) -> None:
    def one() -> float:
        with socket.create_server(("127.0.0.1", 0)) as hole:  # the kernel takes connections; nobody answers
            host, port = hole.getsockname()
            with daemon(stage, how, f"{host}:{port}") as (process, _):
                assert select.select([hole], [], [], _READY_S)[0], "its first call is on its way"
                return stop_s(process)

    with Stage() as stage:
        [taken] = alternate(benchmark, _ROUNDS, one)
    conclude(benchmark, Figure(f"exit, idle at a hub that is gone, {how}", "s", "at most", 3.0, taken))


@pytest.mark.parametrize("how", ["unary", "link processes"])
def test_at_a_live_hub_that_holds_its_poll(benchmark: BenchmarkFixture, how: str) -> None:
    def one() -> float:
        with HoldingHub() as hub, daemon(stage, how, hub.address) as (process, _):
            assert hub.is_held.wait(_READY_S)
            threading.Timer(_HELD_S, hub.let_go.set).start()
            longer_s = stop_s(process) - _HELD_S
            assert hub.answered == hub.handed_out > 0, "each task that a poll brought has a verdict"
            return longer_s

    with Stage() as stage:
        [taken] = alternate(benchmark, _ROUNDS, one)
    conclude(
        benchmark, Figure(f"exit, a live hub that holds its poll, {how}: longer than that", "s", "at most", 1.0, taken)
    )


@pytest.mark.parametrize("how", _PROTOCOLS)
def test_with_all_workers_stuck(benchmark: BenchmarkFixture, how: str) -> None:
    def one() -> float:
        with daemon(stage, how) as (process, path):
            stage.fill("stuck", ["holding", "computing"], {}, _WORKERS)
            _wait(path, lambda worker: worker.running is not None)
            took_s = stop_s(process)
            stats = stage.stats()
            assert (stats["queued"], stats["leased"]) == (0, 0), "each task has a verdict"
            return took_s

    with Stage() as stage:
        [taken] = alternate(benchmark, _ROUNDS, one)
    figure = Figure(f"exit, all workers stuck in C, {how}", "s", "at most", _DRAIN_S + 1.0, taken)
    figure.beside = {"drain_timeout": _DRAIN_S}
    conclude(benchmark, figure)


class HoldingHub:
    """A hub of two methods that holds every poll until it lets go of them, each with a task."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self.let_go = threading.Event()
        self.handed_out = 0
        self.answered = 0

    def _get_task(self, request: bytes, context: Any) -> bytes:
        self.is_held.set()
        self.let_go.wait(_LONGEST_S)
        if not context.is_active():
            return b""
        self.handed_out += 1
        return pb.Task(id=f"late-{self.handed_out}", action="nobodys").SerializeToString()

    def _submit(self, request: bytes, context: Any) -> bytes:
        self.answered += 1
        return b""

    def __enter__(self) -> HoldingHub:
        self._server = grpc.server(ThreadPoolExecutor(64))
        methods = {
            "GetTask": grpc.unary_unary_rpc_method_handler(self._get_task),
            "SubmitTaskResult": grpc.unary_unary_rpc_method_handler(self._submit),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Hub", methods),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.stop(0).wait()
