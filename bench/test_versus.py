"""``python -m bench.versus`` runs to its end: here it compares this state of the code with itself."""

from __future__ import annotations

import subprocess
import sys

from bench.harness import ROOT


def test_a_state_can_be_compared_with_itself() -> None:
    command = [sys.executable, "-m", "bench.versus", str(ROOT), "--rounds", "2", "--only", "latency"]
    command += ["--setting", "metrics_listen=0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "here / there" in done.stdout
    assert "one task at a time" in done.stdout


def test_a_directory_without_arbd_is_refused() -> None:
    command = [sys.executable, "-m", "bench.versus", str(ROOT / "bench")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "is no checkout of arbd" in done.stderr
