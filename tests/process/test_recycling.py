"""Workers that have done or hold as much as they may are replaced, one at a time, and no task is lost, run twice or hit
that had no part in it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import (
    PROVIDERS,
    Gate,
    daemon_of,
    eventually,
    flow,
    is_alive,
    on_loop,
    responses,
    serving,
)

from arbd.core.history import Replaced
from arbd.core.lifecycle import State
from arbd.testing import Response, RunningProvider

RECYCLED = PROVIDERS / "recycled.py"
MIB = 1 << 20


def data(response: Response) -> Any:
    assert response.status == "success", response
    return response.data


def replaced(daemon: RunningProvider) -> list[Replaced]:
    """The last replacements, newest first."""
    return on_loop(daemon, lambda: list(daemon.daemon.pool.history))


def reasons(daemon: RunningProvider) -> Counter[str]:
    return Counter(each.why.reason for each in replaced(daemon))


def wait_replaced(daemon: RunningProvider, reason: str) -> None:
    eventually(lambda: reason in reasons(daemon))


# -- so many tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 7, 40])
def test_no_worker_runs_more_tasks_than_it_may_and_each_task_runs_once(most: int) -> None:
    with daemon_of(RECYCLED, workers=2, worker_max_tasks=most) as daemon:
        found = [data(each) for each in responses(daemon, [daemon.submit("who") for _ in range(200)])]
        per_worker = Counter(each["pid"] for each in found)
        assert max(per_worker.values()) <= most
        assert max(each["run"] for each in found) <= most
        for pid, count in per_worker.items():
            assert sorted(each["run"] for each in found if each["pid"] == pid) == list(range(1, count + 1))
        assert set(reasons(daemon)) == {"tasks"}
        eventually(lambda: on_loop(daemon, daemon.daemon.pool.is_complete))


def test_without_a_bound_a_worker_stays() -> None:
    with daemon_of(RECYCLED) as daemon:
        found = [data(each) for each in responses(daemon, [daemon.submit("who") for _ in range(200)])]
        assert len({each["pid"] for each in found}) == 1
        assert replaced(daemon) == []


def test_tasks_that_lie_behind_the_last_one_keep_their_order() -> None:
    with daemon_of(RECYCLED, worker_max_tasks=3) as daemon:
        handles = [daemon.submit("who") for _ in range(60)]
        found = [data(each) for each in responses(daemon, handles)]
        order = [each["pid"] for each in found]
        assert order == sorted(order, key=order.index)  # all of one worker before all of the next


# -- age, memory, descriptors ----------------------------------------------------------------------------------------


def test_a_worker_that_leaked_memory_is_replaced_when_it_is_idle() -> None:
    with daemon_of(RECYCLED, worker_max_memory=150 * MIB) as daemon:
        before = data(daemon.run("who"))["pid"]
        data(daemon.run("leak", {"mib": 200}))
        wait_replaced(daemon, "memory")
        eventually(lambda: not is_alive(before))
        assert data(daemon.run("who"))["pid"] != before


def test_one_that_leaks_during_a_task_has_its_successor_before_the_task_ends(tmp_path: Path) -> None:
    with daemon_of(RECYCLED, worker_max_memory=150 * MIB) as daemon:
        handle = daemon.submit("hog", {"mib": 200, "seconds": 3.0})
        other = eventually(lambda: (who := daemon.run("who", timeout=10.0)).status == "success" and who)
        held = daemon.response(handle)
        assert data(held)["held"] == 200  # it was not ended for it
        assert data(other)["pid"] != data(held)["pid"]
        wait_replaced(daemon, "memory")


def test_a_worker_with_too_many_descriptors_is_replaced() -> None:
    with daemon_of(RECYCLED, worker_max_fds=100) as daemon:
        before = data(daemon.run("who"))["pid"]
        data(daemon.run("hoard", {"descriptors": 200}))
        wait_replaced(daemon, "descriptors")
        eventually(lambda: not is_alive(before))


def test_old_workers_are_replaced_one_at_a_time() -> None:
    with daemon_of(RECYCLED, workers=3, worker_max_age=0.5) as daemon:
        most = 0
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            workers = on_loop(daemon, lambda: [each.state for each in daemon.daemon.pool.workers.values()])
            most = max(most, len(workers))
            assert sum(state is State.SERVING for state in workers) >= 3
            time.sleep(0.005)
        assert len(replaced(daemon)) >= 3
        assert set(reasons(daemon)) == {"age"}
        assert most <= 4


# -- the hard limit --------------------------------------------------------------------------------------------------


def test_a_task_that_takes_too_much_is_ended_with_its_code_and_its_neighbours_are_not() -> None:
    with daemon_of(RECYCLED, workers=2, worker_memory_limit=200 * MIB) as daemon:
        greedy = daemon.submit("hog", {"mib": 300, "seconds": 30.0})
        innocent = [daemon.submit("spin", {"seconds": 0.02}) for _ in range(60)]
        response = daemon.response(greedy, timeout=20.0)
        assert (response.status, response.error_code) == ("error", "MEMORY")
        assert response.data["limit"] == 200 * MIB
        assert all(each.status == "success" for each in responses(daemon, innocent))
        assert reasons(daemon) == {"memory_limit": 1}


def test_the_task_after_one_that_leaked_past_the_limit_is_never_to_blame() -> None:
    """The leak ends between two looks; what comes next in the same ring is innocent."""
    with daemon_of(RECYCLED, workers=1, worker_memory_limit=200 * MIB) as daemon:
        for _ in range(3):
            leak = daemon.submit("leak", {"mib": 220})
            behind = [daemon.submit("spin", {"seconds": 0.06}) for _ in range(5)]
            assert daemon.response(leak).error_code in (None, "MEMORY")
            assert [each.status for each in responses(daemon, behind)] == ["success"] * 5


def test_nor_is_the_task_after_many_that_each_leaked_a_little() -> None:
    """Each of them is too short to be looked at after it; the one behind them runs long enough for the supervisor."""
    with daemon_of(RECYCLED, workers=1, worker_memory_limit=80 * MIB) as daemon:
        until = time.monotonic() + 20.0
        for times in range(1, 5):
            held = psutil.Process(data(daemon.run("who"))["pid"]).memory_info().rss
            assert daemon.run("leak", {"mib": (77 * MIB - held) // MIB}).status == "success"
            while len(replaced(daemon)) < times:
                assert time.monotonic() < until
                given = [daemon.submit("drip", {"kib": 40}) for _ in range(40)] + [
                    daemon.submit("spin", {"seconds": 0.12})
                ]
                assert {each.status for each in responses(daemon, given)} == {"success"}
        assert {each.why.reason for each in replaced(daemon)} == {"memory"}
        assert "drip" in {each.why.action for each in replaced(daemon)}


def test_a_limit_below_what_a_fresh_worker_holds_ends_nobody() -> None:
    with daemon_of(RECYCLED, worker_memory_limit=2 * MIB, worker_max_memory=MIB, worker_max_fds=1) as daemon:
        found = [data(each) for each in responses(daemon, [daemon.submit("who") for _ in range(100)])]
        time.sleep(1.2)
        assert len({each["pid"] for each in found} | {data(daemon.run("who"))["pid"]}) == 1


# -- in the middle ---------------------------------------------------------------------------------------------------


def test_a_kill_at_any_moment_of_a_replacement_loses_nothing() -> None:
    with daemon_of(RECYCLED, workers=2, worker_max_tasks=5) as daemon:
        stop = threading.Event()
        kills = 0

        def kill() -> None:
            nonlocal kills
            while not stop.wait(0.02):
                for worker in list(daemon.daemon.pool.workers.values()):
                    if worker.pid and worker.state is State.LEAVING:
                        try:
                            os.kill(worker.pid, signal.SIGKILL)
                            kills += 1
                        except ProcessLookupError:
                            pass

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            handles = [daemon.submit("spin", {"seconds": 0.002}) for _ in range(400)]
            assert {each.status for each in responses(daemon, handles, timeout_s=60.0)} == {"success"}
        finally:
            stop.set()
            killer.join()
        assert on_loop(daemon, lambda: flow(daemon).dispatcher.in_flight()) == 0


def test_a_reload_in_the_middle_of_replacements_loses_nothing() -> None:
    with daemon_of(RECYCLED, workers=2, worker_max_tasks=5) as daemon:
        handles = []
        for _ in range(6):
            handles += [daemon.submit("spin", {"seconds": 0.002}) for _ in range(60)]
            daemon.reload()
            time.sleep(0.2)
        assert {each.status for each in responses(daemon, handles, timeout_s=60.0)} == {"success"}
        eventually(lambda: on_loop(daemon, daemon.daemon.pool.is_complete))


def test_a_drain_in_the_middle_of_a_replacement_answers_all_and_leaves_nobody() -> None:
    with daemon_of(RECYCLED, workers=2, worker_max_tasks=3) as daemon:
        handles = [daemon.submit("spin", {"seconds": 0.002}) for _ in range(100)]
        daemon.response(handles[10])
        processes = []
        for pid in filter(None, daemon.worker_pids):
            with suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(pid))  # by its start, too: numbers are given out again
        daemon.stop()
    answered = [handle for handle in handles if daemon.hub.history(handle.id)[-1].kind == "result"]
    assert len(answered) >= 10
    assert not [process for process in processes if process.is_running()]


def test_an_action_that_ends_its_worker_again_and_again_is_counted_and_the_slot_comes_back() -> None:
    with daemon_of(RECYCLED) as daemon:
        found = responses(daemon, [daemon.submit("die") for _ in range(6)])
        assert {each.error_code for each in found} == {"WORKER_LOST"}
        assert on_loop(daemon, lambda: flow(daemon).culprits.counts()) == {"die": 6}
        data(daemon.run("who"))
        assert on_loop(daemon, lambda: flow(daemon).culprits.counts()) == {"die": 6}
        assert {(each.why.reason, each.why.action) for each in replaced(daemon)} == {("died", "die")}


def test_a_long_task_of_a_worker_that_is_replaced_is_finished(tmp_path: Path) -> None:
    with daemon_of(worker_max_age=0.3, execution_timeout=30) as daemon:
        gate = Gate(tmp_path)
        handle = daemon.submit("hold", gate.payload)
        pid = gate.pid
        eventually(lambda: "age" in reasons(daemon))
        assert serving(daemon).pid != pid
        gate.open()
        assert data(daemon.response(handle))["pid"] == pid
        eventually(lambda: not is_alive(pid))


# -- broken ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_fails_what_others_do_well_is_replaced() -> None:
    """An action that fails fast in one worker would draw most of its tasks there."""
    with daemon_of(RECYCLED, workers=2) as daemon:
        broken = data(daemon.run("break_worker"))["pid"]
        while not replaced(daemon):
            assert responses(daemon, [daemon.submit("needs_whole") for _ in range(50)])
        assert set(reasons(daemon)) == {"failures"}
        eventually(lambda: not is_alive(broken))
        found = responses(daemon, [daemon.submit("needs_whole") for _ in range(50)])
        assert {each.status for each in found} == {"success"}


def test_an_action_that_fails_everywhere_costs_no_worker() -> None:
    with daemon_of(RECYCLED, workers=2) as daemon:
        found = responses(daemon, [daemon.submit("never_works") for _ in range(300)])
        assert {each.status for each in found} == {"error"}
        assert replaced(daemon) == []
