"""Code that is loaded again, and every worker replaced, under full load: what is lost of the throughput while that goes
on, and of the tasks. N workers of 1 ms tasks: at most 1/N of the throughput, and no task.

Both are asked for on the control socket, as ``arbd reload`` and ``arbd replace`` do, amid a batch of tasks; what the
daemon has answered until it was done is compared with what it answers just before and just after. All results are
looked at: a task that failed or was lost ends the benchmark. A reload includes the import, on the same CPUs.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from arbd.control.client import ask
from arbd.control.protocol import ControlRequest, GetOperation, GetStatus, OperationReply, Reload, Replace, StatusReply
from bench.harness import SMOKE, Figure, Stage, alternate, conclude, rounds, rounds_of_burn

_WORKERS = 2
_BESIDE_S = 0.2 if SMOKE else 0.6  # before and after
_COUNT = 8_000 if SMOKE else 12_000  # 6 s of work, for a reload may take 2 s on two busy CPUs
_LOOK_S = 0.005
_CASES: dict[str, ControlRequest] = {"reload": Reload(), "replace all": Replace()}


class Mark(NamedTuple):
    """How many tasks were answered at a moment."""

    at: float
    answered: int

    def rate_since(self, before: Mark) -> float:
        """Tasks per second since then."""
        return (self.answered - before.answered) / (self.at - before.at)


class Change(threading.Thread):
    """Something that an operator asks for while tasks run. ``marks``: before, at its begin, at its end, after."""

    def __init__(self, socket: Path, request: ControlRequest) -> None:
        super().__init__()
        self._socket = socket
        self._request = request
        self.marks: list[Mark] = []
        self.failed = ""

    def run(self) -> None:
        self._idle = self._look()
        while self._look().answered == self._idle.answered:
            time.sleep(_LOOK_S)  # until they are submitted
        time.sleep(_BESIDE_S / 2)
        self._mark()
        time.sleep(_BESIDE_S)
        self._mark()
        operation = ask(self._socket, self._request, OperationReply).operation
        while operation.state == "running":
            time.sleep(_LOOK_S)
            operation = ask(self._socket, GetOperation(id=operation.id), OperationReply).operation
        self._mark()
        time.sleep(_BESIDE_S)
        self._mark()
        self.failed = operation.text if operation.state == "failed" else ""

    @property
    def has_outlasted_the_tasks(self) -> bool:
        """Whether there was nothing left to do at the last mark."""
        return self.marks[-1].answered - self._idle.answered >= _COUNT

    def _mark(self) -> None:
        self.marks.append(self._look())

    def _look(self) -> Mark:
        report = ask(self._socket, GetStatus(), StatusReply).report
        return Mark(time.monotonic(), sum(report.verdicts.values()))


@pytest.mark.parametrize("case", _CASES)
def test_reload(benchmark: BenchmarkFixture, case: str) -> None:
    payload = {"rounds": rounds_of_burn(0.001)}
    with Stage(keep_finished=2 * _COUNT) as stage, tempfile.TemporaryDirectory() as directory:
        stage.arbd("reloaded", "--workers", str(_WORKERS), protocol="stream", runtime_dir=directory)
        stage.run("reloaded", "burn", _COUNT // 8, payload)  # warm
        took_s: list[float] = []

        def kept() -> float:
            """The throughput while it goes on, of that before and after."""
            change = Change(Path(directory) / "reloaded.sock", _CASES[case])
            change.start()
            stage.run("reloaded", "burn", _COUNT, payload)
            change.join()
            assert not change.failed, change.failed
            assert not change.has_outlasted_the_tasks
            before, began, done, after = change.marks
            took_s.append(done.at - began.at)
            return 2 * done.rate_since(began) / (began.rate_since(before) + after.rate_since(done))

        [samples] = alternate(benchmark, rounds(8), kept)
    figure = Figure(f"{case} under full load: throughput kept", "", "at least", 1 - 1 / _WORKERS, samples)
    figure.beside = {"tasks lost": 0.0, "it takes, s": sorted(took_s)[len(took_s) // 2], "workers": float(_WORKERS)}
    conclude(benchmark, figure)
