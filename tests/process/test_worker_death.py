"""A worker may die at any moment, in any way: it costs the task it was running, and nothing else.

Every other task is handed out once, run once and answered once; the worker is replaced.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import (
    PROVIDERS,
    Gate,
    daemon_of,
    eventually,
    frozen,
    is_alive,
    learn,
    on_loop,
    responses,
    serving,
    tasks_done,
    wait_outstanding,
)

from arbd.core.lifecycle import State
from arbd.hub.memory import Handle
from arbd.ipc import layout
from arbd.testing import RunningProvider


@pytest.fixture(scope="module")
def two_workers() -> Iterator[RunningProvider]:
    with daemon_of(workers=2) as daemon:
        yield daemon


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "data"),
    [
        ("SIGKILL", {"error_code": "WORKER_LOST", "signal": "SIGKILL"}),
        ("SIGABRT", {"error_code": "WORKER_LOST", "signal": "SIGABRT"}),
        ("segfault", {"error_code": "WORKER_LOST", "signal": "SIGSEGV"}),
        ("exit 3", {"error_code": "WORKER_LOST", "exit_code": 3}),
        ("exit 0", {"error_code": "WORKER_LOST", "exit_code": 0}),
    ],
)
def test_a_death_costs_its_own_task_only(two_workers: RunningProvider, how: str, data: dict[str, object]) -> None:
    before = [two_workers.submit("echo", {"n": n}) for n in range(20)]
    death = two_workers.submit("die", {"how": how})
    after = [two_workers.submit("echo", {"n": n}) for n in range(20, 40)]
    [lost] = responses(two_workers, [death])
    assert (lost.status, lost.data) == ("error", data)
    echoed = responses(two_workers, [*before, *after])
    assert [response.data["payload"] for response in echoed] == [{"n": n} for n in range(40)]


@pytest.mark.parametrize(
    ("how", "error_type"),
    [
        ("sys.exit", "SystemExit"),
        ("MemoryError", "MemoryError"),
        ("RecursionError", "RecursionError"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit"),
    ],
)
def test_what_an_action_raises_is_an_answer_and_no_death(how: str, error_type: str) -> None:
    with daemon_of() as daemon:
        pid = serving(daemon).pid
        response = daemon.run("fail", {"how": how})
        assert (response.status, response.data["error_type"]) == ("error", error_type)
        assert daemon.run("echo", {}).data["pid"] == pid


def test_a_death_is_reported_within_100_ms(two_workers: RunningProvider, tmp_path: Path) -> None:
    """The median of nine; a single one may meet a busy machine."""
    took = []
    for n in range(9):
        gate = Gate(tmp_path, f"gate{n}")
        handle = two_workers.submit("hold", gate.payload)
        pid = gate.pid
        killed_at = time.monotonic()
        kill(pid)
        assert two_workers.response(handle).error_code == "WORKER_LOST"
        took.append(time.monotonic() - killed_at)
    assert statistics.median(took) < 0.1, took


def test_an_idle_worker_dies_and_is_replaced() -> None:
    with daemon_of() as daemon:
        pid = serving(daemon).pid
        responses(daemon, [daemon.submit("echo", {})])
        kill(pid)
        eventually(lambda: not is_alive(pid))
        [response] = responses(daemon, [daemon.submit("echo", {"n": 1})])
        assert response.data["payload"] == {"n": 1}
        assert response.data["pid"] != pid


def test_a_task_that_meets_a_dead_worker_goes_to_its_successor() -> None:
    """The supervisor has not heard of the death when it puts the task into the dead worker's ring."""
    with daemon_of() as daemon:
        pid = serving(daemon).pid
        with frozen(daemon):
            handle = daemon.submit("echo", {})
            kill(pid)
            eventually(lambda: not is_alive(pid))
        [response] = responses(daemon, [handle])
        assert response.status == "success"
        assert response.data["pid"] != pid


def test_tasks_that_wait_in_the_ring_of_a_dead_worker_are_run_by_another(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        running = daemon.submit("hold", gate.payload)
        pid = gate.pid
        waiting = [daemon.submit("echo", {"n": n}) for n in range(30)]
        wait_outstanding(daemon, serving(daemon), 31)
        kill(pid)
        [lost] = responses(daemon, [running])
        assert lost.data == {"error_code": "WORKER_LOST", "signal": "SIGKILL"}
        echoed = responses(daemon, waiting)
        assert [response.data["payload"] for response in echoed] == [{"n": n} for n in range(30)]
        assert pid not in {response.data["pid"] for response in echoed}


@pytest.mark.parametrize("count", [10, 300])
def test_results_that_wait_in_the_ring_of_a_dead_worker_count(deep_rings: None, tmp_path: Path, count: int) -> None:
    """The supervisor was busy elsewhere; the worker finished all it had, and was killed before anybody looked.

    300 are more than are taken in one go: those that were left used to be run again, and the last one was reported as
    lost although its answer was there.
    """
    with daemon_of(prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        pid = gate.pid
        handles += [daemon.submit("echo", {"n": n}) for n in range(count)]
        worker = serving(daemon)
        wait_outstanding(daemon, worker, count + 1)
        with frozen(daemon):
            done_before = tasks_done(worker)
            gate.open()
            eventually(lambda: tasks_done(worker) == done_before + count + 1 and worker.cell.worker_sleeps())
            kill(pid)
            eventually(lambda: not is_alive(pid))
        found = responses(daemon, handles)
        assert [response.status for response in found] == ["success"] * (count + 1)
        assert {response.data["pid"] for response in found} == {pid}


def test_results_count_also_when_the_news_of_the_death_comes_first(deep_rings: None, tmp_path: Path) -> None:
    """Before the doorbell's, that is; and there are more of them than are taken in one go."""
    with daemon_of(prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        worker = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("echo", {"n": n}) for n in range(200)]
        pid = gate.pid
        wait_outstanding(daemon, worker, 201)

        def finish_and_die() -> None:
            done_before = tasks_done(worker)
            gate.open()
            eventually(lambda: tasks_done(worker) == done_before + 201 and worker.cell.worker_sleeps())
            kill(pid)
            eventually(lambda: not is_alive(pid))
            generations = daemon.daemon._generations
            assert generations is not None
            generations.on_exited(worker.id, -signal.SIGKILL, "")

        on_loop(daemon, finish_and_die)
        assert {(r.status, r.data["pid"]) for r in responses(daemon, handles, timeout_s=5)} == {("success", pid)}


def test_a_worker_dies_while_it_starts(tmp_path: Path) -> None:
    with daemon_of(PROVIDERS / "slow_boot.py", argv=[str(tmp_path)]) as daemon:
        (tmp_path / "wait").touch()
        kill(serving(daemon).pid)
        gate = Gate(tmp_path, "boot")
        starting = gate.pid
        handle = daemon.submit("echo")
        kill(starting)
        eventually(lambda: not is_alive(starting))
        (tmp_path / "wait").unlink()
        [response] = responses(daemon, [handle])
        assert response.data["pid"] not in (starting, 0)


def test_a_worker_dies_while_it_retires(tmp_path: Path) -> None:
    """A reload has its successor ready; its last task is lost with it, and nothing else."""
    with daemon_of() as daemon:
        gate = Gate(tmp_path)
        old = serving(daemon)
        last = daemon.submit("hold", gate.payload)
        pid = gate.pid
        daemon.reload()
        eventually(lambda: old.state is State.RETIRING)
        kill(pid)
        assert responses(daemon, [last])[0].error_code == "WORKER_LOST"
        [response] = responses(daemon, [daemon.submit("echo", {})])
        assert response.data["pid"] != pid


def test_a_task_that_is_parked_in_a_condemned_worker_is_run_by_another(tmp_path: Path) -> None:
    """The kill struck just after the worker had named the next task and seen the mark: the task had not begun."""
    with daemon_of() as daemon:
        worker = serving(daemon)
        on_loop(daemon, lambda: worker.cell.condemn(layout.STOP))
        handle = daemon.submit("echo", {})
        eventually(lambda: worker.cell.running().seq != 0)
        on_loop(daemon, lambda: daemon.daemon.pool.kill(worker))
        [response] = responses(daemon, [handle])
        assert response.status == "success"
        assert response.data["pid"] != worker.pid


def test_a_damaged_result_ring_costs_the_tasks_of_that_worker_only(tmp_path: Path) -> None:
    """The worker has gone mad and scribbled over its memory: nobody can tell what it had done."""
    with daemon_of(workers=2) as daemon:
        gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
        mad, other = (daemon.submit("hold", gate.payload) for gate in gates)
        pids = [gate.pid for gate in gates]
        [worker] = [worker for worker in daemon.daemon.pool.workers.values() if worker.pid == pids[0]]

        def scribble() -> None:
            worker.cell._words[layout.RESULT_TAIL] = 1 << 60
            daemon.daemon.pool.board[layout.news_at(worker.slot)] = 1 << 60  # as it would if it published

        on_loop(daemon, scribble)
        gates[1].open()  # the supervisor looks at every ring with news when it collects this one
        assert responses(daemon, [other])[0].status == "success"
        assert responses(daemon, [mad])[0].error_code == "WORKER_LOST"
        assert not is_alive(pids[0])


def test_many_deaths_in_a_row_lose_nothing(two_workers: RunningProvider) -> None:
    handles: list[tuple[str, Handle]] = []
    for n in range(60):
        if n % 6 == 0:
            handles.append(("error", two_workers.submit("die", {"how": "SIGKILL"})))
        handles.append(("success", two_workers.submit("echo", {"n": n})))
    found = responses(two_workers, [handle for _, handle in handles])
    assert [response.status for response in found] == [status for status, _ in handles]
