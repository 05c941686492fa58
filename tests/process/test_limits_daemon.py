"""A limit holds for the daemon as a whole: over all workers, through kills, reloads and a supervisor that stalls."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, frozen, on_loop, responses

from arbd.testing import Response, RunningProvider

LIMITED = PROVIDERS / "limited.py"
SECOND = 1_000_000_000


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(LIMITED, workers=3) as daemon:
        yield daemon


def flood(daemon: RunningProvider, action: str, seconds: float) -> list[Response]:
    """Submit the action as fast as it is answered, for this long."""
    found: list[Response] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += responses(daemon, [daemon.submit(action, {}) for _ in range(60)])
    return found


def starts(found: list[Response]) -> list[int]:
    return sorted(response.data["at_ns"] for response in found if response.status == "success")


def gaps_below(times: list[int], most: int, window_ns: int) -> list[int]:
    """How much too early a start was, for every start that had ``most`` others less than a window before it."""
    return [
        window_ns - (last - first) for first, last in zip(times, times[most:], strict=False) if last - first < window_ns
    ]


def test_a_window_holds_over_all_workers_and_is_used(daemon: RunningProvider) -> None:
    found = flood(daemon, "window", 1.1)
    times = starts(found)
    assert gaps_below(times, 40, SECOND // 4) == []
    assert len({response.data["pid"] for response in found if response.status == "success"}) > 1
    assert len(times) >= 3 * 40  # five windows begin in 1.1 s; a busy machine may miss some


def test_a_token_bucket_holds_over_all_workers_and_is_used(daemon: RunningProvider) -> None:
    times = starts(flood(daemon, "bucket", 1.0))
    over = [
        (first, last)
        for i, first in enumerate(times)
        for j, last in enumerate(times[i:], start=i)
        if (j - i + 1 - 20) * SECOND > 200 * (last - first)
    ]
    assert over == []
    assert len(times) >= 150


def test_spacing_and_calls_per_second_hold_together(daemon: RunningProvider) -> None:
    times = starts(flood(daemon, "spacing", 1.2))
    assert gaps_below(times, 1, SECOND // 100) == []
    assert gaps_below(times, 80, SECOND) == []
    assert len(times) > 40


def test_a_provider_limit_is_one_for_all_its_actions_and_an_action_can_be_free_of_it(daemon: RunningProvider) -> None:
    handles = [daemon.submit(action, {}) for action in ("ours", "ours_too") for _ in range(4)]
    assert sorted(response.status for response in responses(daemon, handles)) == ["limit"] * 5 + ["success"] * 3
    assert [r.status for r in responses(daemon, [daemon.submit("free", {}) for _ in range(5)])] == ["success"] * 5


def test_tasks_wait_for_their_turn_within_their_deadline(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("waiting", {}) for _ in range(30)])
    assert [response.status for response in found] == ["success"] * 30
    times = starts(found)
    assert gaps_below(times, 1, SECOND // 50) == []
    assert times[-1] - times[0] < 29 * SECOND // 50 * 3


@pytest.mark.parametrize("how", ["direct", "threads", "async"])
def test_requests_by_hand_are_counted_over_all_workers(daemon: RunningProvider, how: str) -> None:
    found = responses(daemon, [daemon.submit("hands", {"count": 3, "how": how}) for _ in range(3)])
    answers = [answer for response in found for answer in response.data]
    refused = [answer for answer in answers if answer != "made"]
    assert len(answers) - len(refused) == 4
    assert {answer["error"] for answer in refused} == {"Rate limit exceeded"}


def test_workers_that_die_cost_what_they_had_spent_and_no_more(daemon: RunningProvider) -> None:
    found: list[Response] = []
    for _ in range(6):
        found += responses(daemon, [daemon.submit("dies", {}), *(daemon.submit("window", {}) for _ in range(30))])
    assert gaps_below(starts(found), 40, SECOND // 4) == []
    time.sleep(0.3)
    after = responses(daemon, [daemon.submit("window", {}) for _ in range(40)])
    assert [response.status for response in after] == ["success"] * 40


def test_a_reload_does_not_start_a_limit_over(daemon: RunningProvider) -> None:
    # One by one: where the machine holds the supervisor up for 0.1 s, a worker says "limit" without its answer.
    statuses = [daemon.run("ours").status]
    while statuses.count("success") < 3 and len(statuses) < 30:
        statuses.append(daemon.run("ours").status)
    assert statuses.count("success") == 3
    pids = set(daemon.worker_pids)
    daemon.reload()
    deadline = time.monotonic() + 20
    while pids & set(on_loop(daemon, lambda: daemon.worker_pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert daemon.run("ours").status == "limit"


def test_a_stalled_supervisor_makes_workers_idle_and_never_fast(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("window", {}) for _ in range(20)])
    with frozen(daemon):
        time.sleep(0.6)
    found += flood(daemon, "window", 0.3)
    assert gaps_below(starts(found), 40, SECOND // 4) == []


def test_a_cpu_budget_counts_work_in_progress(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("burn", {"cpu_s": 0.3}) for _ in range(10)])
    assert [response.status for response in found].count("success") <= 2
    limited = next(response for response in found if response.status == "limit")
    assert sorted(limited.data) == sorted(
        ["wait_time", "metrics", "is_near_limit", "is_critical", "call_usage", "cpu_usage"]
    )


def test_calls_at_once_are_counted_over_all_workers_also_when_one_dies(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("pair", {"die": number == 3}) for number in range(16)])
    assert [response.status for response in found].count("success") == 15
    runs = [response.data for response in found if response.status == "success"]
    at_once = [sum(other["began"] <= run["began"] < other["ended"] for other in runs) for run in runs]
    assert max(at_once) == 2


def test_who_waits_as_long_as_told_is_admitted(daemon: RunningProvider) -> None:
    def limited() -> dict[str, Any]:
        while (response := daemon.run("window")).status != "limit":
            pass
        data: dict[str, Any] = response.data
        return data

    wait_time = limited()["wait_time"]
    assert 0 < wait_time <= 0.25
    time.sleep(wait_time)
    assert daemon.run("window").status == "success"


def test_workers_that_are_started_by_exec_share_the_limits_too(tmp_path: Path) -> None:
    starts_one = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    module = tmp_path / "threaded.py"
    module.write_text(f"{LIMITED.read_text()}\n{starts_one}")
    with daemon_of(module, workers=2) as daemon:
        handles = [daemon.submit(action, {}) for action in ("ours", "ours_too") for _ in range(4)]
        found = [response.status for response in responses(daemon, handles)]
    assert sorted(found) == ["limit"] * 5 + ["success"] * 3
