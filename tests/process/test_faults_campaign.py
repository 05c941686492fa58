"""A short fault campaign keeps every promise; the long one is ``make faults``.

The seeds are chosen so that the two of them have every kind of fault between them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]


CAMPAIGNS: Final = [("unary", 55), ("stream", 55), ("stream", 28213)]
Done = subprocess.CompletedProcess[str]


def run(protocol: str, seed: int) -> Done:
    command = [sys.executable, "-m", "bench.faults_campaign", "--seconds", "12", "--json"]
    return subprocess.run(
        [*command, "--protocol", protocol, "--seed", str(seed)], cwd=ROOT, capture_output=True, text=True, timeout=110
    )


@pytest.fixture(scope="module")
def campaigns() -> Iterator[dict[tuple[str, int], Future[Done]]]:
    """All of them, side by side: most of their time is waits."""
    with ThreadPoolExecutor() as pool:
        yield {campaign: pool.submit(run, *campaign) for campaign in CAMPAIGNS}


@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=str)
def test_a_daemon_keeps_its_promises_whatever_happens_around_it(
    campaigns: dict[tuple[str, int], Future[Done]], campaign: tuple[str, int]
) -> None:
    done = campaigns[campaign].result()
    assert done.stdout, done.stderr
    [report] = json.loads(done.stdout)
    for words in report["left_out"]:
        print(f"left out: {words}")
    assert report["broken"] == []
    assert (report["lost"], report["falsified"], report["repeated"], done.returncode) == (0, 0, 0, 0)
    assert report["tasks"] > 300
