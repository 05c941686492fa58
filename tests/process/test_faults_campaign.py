"""A short fault campaign keeps every promise; the long one is ``make faults``.

The seeds are chosen so that the two of them have every kind of fault between them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("protocol", "seed"), [("unary", 55), ("stream", 55), ("stream", 28213)])
def test_a_daemon_keeps_its_promises_whatever_happens_around_it(protocol: str, seed: int) -> None:
    command = [sys.executable, "-m", "bench.faults_campaign", "--seconds", "12", "--json"]
    done = subprocess.run(
        [*command, "--protocol", protocol, "--seed", str(seed)], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.stdout, done.stderr
    [report] = json.loads(done.stdout)
    for words in report["left_out"]:
        print(f"left out: {words}")
    assert report["broken"] == []
    assert (report["lost"], report["falsified"], report["repeated"], done.returncode) == (0, 0, 0, 0)
    assert report["tasks"] > 300
