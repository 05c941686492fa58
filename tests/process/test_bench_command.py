"""``arbd bench`` measures a real daemon, says what fails, and leaves no process behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import ZOO, eventually

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_", "HUB_"))}
ONE_POINT = ("--workers", "1", "--protocol", "stream", "--pin", "off", "--prefetch", "256")
# Works by itself; under the daemon of a benchmark, which is told its settings by variables, only for the first tasks.
FAILING = """
import os
from arbd import Provider

provider = Provider(name="failing")

@provider.actions.register(name="twice")
def twice():
    global done
    done = globals().get("done", 0) + 1
    if done > 2 and "ARBD_PREFETCH" in os.environ:
        raise ValueError("worn out")
"""

LIMITED = """
from arbd import Provider
from arbd.rate_limit import TimeBasedRateLimitMonitor

provider = Provider(name="limited", rate_limit_monitor=TimeBasedRateLimitMonitor(min_delay=0.1, on_limit="wait"))

@provider.actions.register(name="seldom")
def seldom():
    pass
"""


def arbd_bench(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "arbd", "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**ENVIRONMENT, **env},
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A quick benchmark of a small action, with everything it can write."""
    place = tmp_path_factory.mktemp("bench")
    (place / "sum.json").write_text('{"a": 1, "b": 2}')
    arguments = [str(ZOO), "add", "--payload", "@sum.json", "--quick", "--out", "out.json", "--plot", "plot"]
    # A token, to see that it is neither needed nor kept.
    done = arbd_bench(*arguments, cwd=place, PROVIDER_AUTH_TOKEN="s3cret-token")
    assert done.returncode == 0, done.stderr
    return place, done


def test_a_quick_benchmark_measures_both_protocols(
    measured: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    document: dict[str, Any] = json.loads((measured[0] / "out.json").read_text())
    points = {found["point"]["protocol"]: found["samples"] for found in document["measurements"]}
    assert points.keys() == {"stream", "unary"}
    for (sample,) in points.values():
        assert sample["failed"] == 0
        assert 0 < sample["idle_p50_s"] <= sample["idle_p99_s"] < 1
        assert 0 < sample["loaded_p50_s"] <= sample["loaded_p99_s"] < 10
        assert 0 < sample["supervisor_cpu_s"] < 0.01
        assert 50 < sample["tasks"] / sample["window_s"] < 1e6
        assert 0 <= sample["busy"] <= 1
    assert any(sample["busy"] > 0 for (sample,) in points.values())
    assert document["own"]["calls"] > 3
    assert 0 < document["own"]["median_s"] < 0.01


def test_it_prints_a_table_and_keeps_stderr_for_what_it_does(
    measured: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = measured[1]
    assert [line.split()[0] for line in done.stdout.splitlines() if " 256 " in line][:2] != []
    assert "nothing is recommended; use --repeat 5 or more" in done.stdout
    assert done.stderr.count("\n") == 1  # no bar where there is no terminal


def test_it_draws_a_png_and_an_svg(measured: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert (measured[0] / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (measured[0] / "plot.svg").read_text()


def test_what_it_writes_names_neither_host_nor_secret_nor_payload(
    measured: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    written = (measured[0] / "out.json").read_text()
    assert "s3cret" not in written + measured[1].stdout + measured[1].stderr
    assert '"a": 1' not in written
    assert os.uname().nodename not in written.replace(str(ZOO), "")


def test_compared_with_itself_nothing_is_said_of_one_sample_each(
    measured: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    arguments = [str(ZOO), "add", "--payload", "@sum.json", "--quick", "--compare", "out.json", "--fail-on-regression"]
    done = arbd_bench(*arguments, "--protocol", "stream", cwd=measured[0])
    assert done.returncode == 1  # one sample each tells nothing, and that is no good news
    assert "SLOWER" not in done.stdout
    assert "too few samples" in done.stderr or "not comparable: another load" in done.stderr
    assert "only in the older one: unary" in done.stdout


def test_two_builds_are_measured_by_turns(tmp_path: Path) -> None:
    here = str(Path(__file__).parents[2])
    arguments = [str(ZOO), "add", "--payload", '{"a": 1, "b": 2}', "--quick", "--protocol", "stream", "--workers", "1"]
    done = arbd_bench(*arguments, "--against", here, "--out", "both.json", "--fail-on-regression", cwd=tmp_path)
    assert (done.returncode, "Too few blocks" in done.stderr) == (1, True)
    document: dict[str, Any] = json.loads((tmp_path / "both.json").read_text())
    (block,) = document["blocks"]
    assert sorted(block["order"]) == ["here", "here", "there", "there"]
    assert all(sample["failed"] == 0 < sample["tasks"] for sample in block["samples"])
    assert [row["verdict"] for row in document["rows"]] == ["too few samples"] * 2
    assert here not in json.dumps(document["builds"])


def test_what_waits_for_a_rate_limit_takes_as_long_as_was_said(tmp_path: Path) -> None:
    (tmp_path / "limited.py").write_text(LIMITED)
    done = arbd_bench(
        "limited.py", "seldom", "--duration", "1", "--repeat", "1", *ONE_POINT, "--out", "limited.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "a rate limit allows 10 tasks/s" in done.stderr
    assert "a rate limit is what was measured: 0.1 s between starts" in done.stdout
    document: dict[str, Any] = json.loads((tmp_path / "limited.json").read_text())
    (sample,) = document["measurements"][0]["samples"]
    assert sample["tasks"] < 50


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["add"], 1, "action 'add' fails with this payload: error: Invalid payload: Missing required parameters: a, b"),
        (["add", "--payload", '{"a": "x", "b": 1}'], 1, "Wrong type at a: expected int, got str"),
        (["quick_sleep", "--payload", '{"seconds": 0.3}'], 1, "longer than its timeout of 0.15 s"),
        (["die", "--payload", '{"how": "exit 3"}'], 1, "action 'die' ended its process (exit code 3)"),
        (["nothing_like_it"], 2, "no action 'nothing_like_it'; there are:"),
    ],
)
def test_an_action_that_cannot_be_measured_is_said_with_its_message(
    tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = arbd_bench(str(ZOO), *arguments, "--quick", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr


def test_an_action_that_fails_under_the_daemon_only_is_said_with_its_message(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    done = arbd_bench("failing.py", "twice", "--quick", *ONE_POINT, cwd=tmp_path)
    assert done.returncode == 1
    assert "the first one was answered error: worn out" in done.stderr
    assert "failed" in done.stdout


def test_a_target_that_breaks_is_no_benchmark(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    done = arbd_bench("broken.py", "any", cwd=tmp_path)
    assert done.returncode == 70
    assert "nothing_of_that_name" in done.stderr


def names_of(processes: list[psutil.Process]) -> list[str]:
    """The names of those that have not ended meanwhile."""
    names = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return names


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_an_interrupt_stops_every_process(tmp_path: Path, signum: signal.Signals, code: int) -> None:
    arguments = [str(ZOO), "add", "--payload", '{"a": 1, "b": 2}', "--duration", "5", "--repeat", "20"]
    # What is killed removes no files; and the path of a socket must be short.
    with tempfile.TemporaryDirectory() as temporary, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "arbd", "bench", *arguments, "--out", "cut.json", *ONE_POINT],
            cwd=tmp_path,
            env={**ENVIRONMENT, "TMPDIR": temporary},
            stdout=log,
            stderr=log,
        )
        below = psutil.Process(process.pid)
        eventually(lambda: "arbd:worker-0" in names_of(below.children(recursive=True)), 30)
        family = below.children(recursive=True)
        process.send_signal(signum)
        assert process.wait(20) == code
        _, left = psutil.wait_procs(family, timeout=10)
        assert left == []
    if code == 130:
        assert json.loads((tmp_path / "cut.json").read_text())["complete"] is False
        assert "interrupted" in (tmp_path / "log").read_text()
