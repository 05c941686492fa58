"""A limit over Redis holds for several daemons together, whatever becomes of Redis, and heals by itself."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, frozen, kinds, responses
from redis_support import PASSWORD, RedisServer

from arbd.rate_limit import RedisRateLimitMonitor
from arbd.testing import Response, RunningProvider

TARGET = PROVIDERS / "redis_limited.py"
HELD = PROVIDERS / "redis_held.py"
SECOND = 1_000_000_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        monkeypatch.setenv("TEST_REDIS_URL", server.url)
        yield server


@pytest.fixture
def daemon(server: RedisServer) -> Iterator[RunningProvider]:
    with daemon_of(TARGET, workers=2) as daemon:
        yield daemon


def flood(daemon: RunningProvider, action: str, seconds: float) -> list[Response]:
    """Submit the action as fast as it is answered, for this long."""
    found: list[Response] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found += responses(daemon, [daemon.submit(action, {}) for _ in range(30)])
    return found


def flood_until(daemons: list[RunningProvider], action: str, count: int) -> list[Response]:
    """Submit the action to all of them, until so many have started. How soon that is, is for the benchmarks to say."""
    found: list[Response] = []
    end = time.monotonic() + 30

    def submit(daemon: RunningProvider) -> None:
        while len(starts(found)) < count:
            assert time.monotonic() < end, f"{len(starts(found))} of {count} have started"
            found.extend(flood(daemon, action, 0.05))

    with ThreadPoolExecutor(len(daemons)) as threads:
        list(threads.map(submit, daemons))
    return found


def starts(found: list[Response]) -> list[int]:
    return sorted(response.data["at_ns"] for response in found if response.status == "success")


def over(times: list[int], most: int, window_ns: int) -> list[int]:
    """How much too early a start was, for every start that had ``most`` others less than a window before it."""
    return [
        window_ns - (last - first) for first, last in zip(times, times[most:], strict=False) if last - first < window_ns
    ]


def statuses(daemon: RunningProvider, action: str, count: int) -> list[str]:
    return [daemon.run(action).status for _ in range(count)]


def test_two_daemons_share_a_limit_and_use_all_of_it(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=2) as one, daemon_of(TARGET, workers=1) as other:
        found = flood_until([one, other], "exact", 5 * 40)  # with "local", a machine that stalls may let more through
    assert over(starts(found), 40, SECOND // 2) == []
    assert len({response.data["pid"] for response in found if response.status == "success"}) > 1


def test_the_refusal_is_the_ninth_shape_and_counts_for_all(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=1) as one, daemon_of(TARGET, workers=1) as other:
        assert statuses(one, "few", 3) == ["success"] * 3
        assert statuses(other, "few", 1) == ["success"]
        refused = [one.run("few"), other.run("few")]
    for response in refused:
        assert response.status == "limit"
        assert 50 < response.data.pop("wait_time") <= 60
        assert response.data == {
            "current_count": 4,
            "limit": 4,
            "window_size": 60,
            "window_key": "tests:few:60000",
        }
    with server.client() as client:
        assert client.exists("tests:few:60000")


def test_tasks_wait_for_their_turn(daemon: RunningProvider) -> None:
    found = responses(daemon, [daemon.submit("waiting", {}) for _ in range(35)])
    assert [response.status for response in found] == ["success"] * 35
    times = starts(found)
    assert over(times, 10, SECOND // 5) == []
    assert times[-1] - times[0] < 3 * SECOND  # three windows of 0.2 s, and patience with a machine that stalls


def test_what_could_not_start_stays_with_the_hub(server: RedisServer) -> None:
    with daemon_of(HELD, workers=2) as daemon:
        handles = [daemon.submit("quick") for _ in range(15)]
        eventually(lambda: sum("result" in kinds(daemon, handle) for handle in handles) >= 5)
        assert sum("handed_out" in kinds(daemon, handle) for handle in handles) <= 7
        found = responses(daemon, handles)
    assert [response.status for response in found] == ["success"] * 15
    times = sorted(response.data["at"] for response in found)
    assert 1.0 <= times[-1] - times[0] < 3


def test_a_worker_that_imports_the_module_itself_lets_go_of_the_url_too(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_THREAD", "1")
    with daemon_of(HELD, workers=1) as daemon:
        assert daemon.run("quick").data["url"] == ""


def test_a_daemon_that_stops_gives_back_what_it_did_not_use(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=1) as daemon:
        assert daemon.run("few").status == "success"
    with daemon_of(TARGET, workers=1) as daemon:
        assert statuses(daemon, "few", 4) == ["success"] * 3 + ["limit"]


def test_a_reload_goes_on_with_the_lease(daemon: RunningProvider) -> None:
    assert statuses(daemon, "few", 3) == ["success"] * 3
    pids = set(daemon.worker_pids)
    daemon.reload()
    eventually(lambda: not pids & set(daemon.worker_pids))
    assert statuses(daemon, "few", 2) == ["success", "limit"]


def test_a_supervisor_that_stalls_longer_than_its_lease_lets_nobody_through_twice(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=2) as one, daemon_of(TARGET, workers=1) as other:
        found = flood(one, "exact", 0.1)
        late = [one.submit("exact", {}) for _ in range(60)]  # some of them after the stall
        with frozen(one):
            found += flood(other, "exact", 3.0)
        found += responses(one, late)
        found += flood(one, "exact", 0.6)
    assert over(starts(found), 40, SECOND // 2) == []


def test_workers_never_see_the_url_and_do_not_import_the_client(daemon: RunningProvider) -> None:
    seen = daemon.run("look").data
    assert (seen["url"], seen["imported"]) == ("", False)
    assert PASSWORD not in seen["seen"]


def test_trouble_is_logged_once_without_the_password_and_heals(
    server: RedisServer, capfd: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []

    def said(event: str = "redis_") -> list[str]:
        written.append(capfd.readouterr().err)
        events = [json.loads(line) for line in "".join(written).splitlines() if line.startswith("{")]
        return [line["event"] for line in events if line["event"].startswith(event) and line.get("limit") == "window"]

    with daemon_of(TARGET, workers=1, log_level="info") as daemon:
        assert daemon.run("window").status == "success"
        server.kill()
        flood(daemon, "window", 0.8)
        assert said() == ["redis_away"]
        server.start()
        eventually(lambda: said("redis_back"))
        assert eventually(lambda: daemon.run("window").status == "success")
    events = said()  # whether it is known to have lost something depends on how long it was away
    assert [event for event in events if event != "redis_lost_its_memory"] == ["redis_away", "redis_back"]
    assert events.count("redis_lost_its_memory") <= 1
    assert PASSWORD not in "".join(written)


def test_without_redis_a_daemon_takes_its_fair_share(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=1) as one, daemon_of(TARGET, workers=1) as other:
        assert (one.run("window").status, other.run("window").status) == ("success", "success")
        assert one.run("window").status == "success"  # now it knows of the other
        server.kill()
        found = flood_until([one], "window", 3 * 20)
    assert over(starts(found), 40 // 2, SECOND // 2) == []


def test_without_redis_closed_lets_nothing_through_and_open_everything(
    server: RedisServer, daemon: RunningProvider
) -> None:
    assert (daemon.run("closed").status, daemon.run("open").status) == ("success", "success")
    server.kill()
    eventually(lambda: daemon.run("closed").status == "limit")
    refused = daemon.run("closed").data
    assert 0 < refused["wait_time"] <= 2.5
    eventually(lambda: statuses(daemon, "open", 5) == ["success"] * 5)
    server.start()
    eventually(lambda: daemon.run("closed").status == "success")
    eventually(lambda: "limit" in statuses(daemon, "open", 3))


def test_a_redis_that_hangs_is_as_good_as_away(server: RedisServer, daemon: RunningProvider) -> None:
    assert daemon.run("closed").status == "success"
    server.signal(signal.SIGSTOP)
    try:
        eventually(lambda: daemon.run("closed").status == "limit")
        eventually(lambda: statuses(daemon, "open", 5) == ["success"] * 5)
    finally:
        server.signal(signal.SIGCONT)
    eventually(lambda: daemon.run("closed").status == "success")


def test_a_redis_that_lost_its_memory_grants_nothing_for_one_window(server: RedisServer) -> None:
    with daemon_of(TARGET, workers=1) as one, daemon_of(TARGET, workers=1) as other:
        found = flood(one, "closed", 0.2)
        with server.client() as client:
            client.flushall()
        threads = [threading.Thread(target=lambda d=d: found.extend(flood(d, "closed", 1.5))) for d in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert over(starts(found), 1000, SECOND // 2) == []


def test_a_monitor_outside_a_daemon_uses_the_same_limit(server: RedisServer, daemon: RunningProvider) -> None:
    mine = RedisRateLimitMonitor(server.url, "tests:few", max_requests=4, window_size=60)
    assert mine.check_rate_limits() is None
    assert [mine.make_safe_request(lambda: "made") for _ in range(2)] == ["made"] * 2
    assert statuses(daemon, "few", 3) == ["success"] * 2 + ["limit"]
    refused: Any = mine.make_safe_request(lambda: "made")
    assert (refused["error"], refused["current_count"]) == ("Rate limit exceeded", 4)
    assert mine.check_rate_limits() is not None


def test_threads_may_share_a_monitor_outside_a_daemon(server: RedisServer) -> None:
    monitor = RedisRateLimitMonitor(server.url, "tests:threads", max_requests=50, window_size=60)
    answers: list[Any] = []

    def call() -> None:
        answers.extend(monitor.make_safe_request(lambda: "made") for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("made") == 50


def test_an_authors_own_monitor_runs_as_written(server: RedisServer) -> None:
    with daemon_of(PROVIDERS / "redis_as_written.py", workers=2) as daemon:
        found = [daemon.run("echo", {"x": i}) for i in range(5)]
    assert [response.status for response in found] == ["success"] * 3 + ["limit"] * 2
    assert found[-1].data["current_count"] == 3
    assert found[-1].data["limit"] == 3
