"""A short hostile campaign hurts nobody innocent; the long one is ``make hostile``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_one_action_does_never_reaches_another() -> None:
    arguments = ["--tasks", "2000", "--workers", "2", "--seed", "7", "--json"]
    command = [sys.executable, "-m", "bench.hostile_campaign", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["broken"] == []
    assert (report["wrong"], report["lost"], report["twice"], done.returncode) == (0, 0, 0, 0)
    assert report["hostile"] == 100
    assert all(sum(verdicts.values()) >= 2 for verdicts in report["verdicts"].values())
