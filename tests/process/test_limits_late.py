"""Wherever a task's deadline is raised, a limit that measures calls goes on: what began has ended, nothing is held."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, responses

LATE = PROVIDERS / "late.py"
TIMEOUTS = 5
ROUNDS = 20


@pytest.mark.parametrize("limit", ["budget", "adaptive"])
def test_after_thousands_of_late_tasks_a_limit_lets_calls_through(limit: str) -> None:
    with daemon_of(LATE, workers=2) as daemon:
        assert daemon.run(limit).status == "success"
        found: Counter[str] = Counter()
        for _ in range(ROUNDS):
            handles = [daemon.submit(f"{limit} {number % TIMEOUTS}") for number in range(TIMEOUTS * 20)]
            found.update(response.error_code or response.status for response in responses(daemon, handles))
        assert found["TIMEOUT"] > 0  # or nothing was tried
        eventually(lambda: daemon.run(limit).status == "success", timeout_s=20)
        time.sleep(0.5)  # a call that never ended would have used up the budget by now
        assert daemon.run(limit).status == "success"
