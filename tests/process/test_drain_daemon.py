"""SIGTERM and SIGINT let what runs finish, send every result, and exit with 0; a second signal is immediate."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import (
    ONCE,
    Arbd,
    Gate,
    Hub,
    daemon_of,
    eventually,
    flow,
    is_alive,
    kinds,
    learn,
    on_loop,
    responses,
    serving,
    wait_outstanding,
)

from arbd.errors import EXIT_CONFIG, EXIT_FAILURE


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(hold_s=0.5) as hub:
        yield hub


@pytest.fixture
def fresh_hub() -> Iterator[Hub]:
    """For tests that leave tasks unanswered."""
    with Hub(hold_s=0.5) as hub:
        yield hub


def in_family(arbd: Arbd) -> list[int]:
    return [pid for pids in arbd.family().values() for pid in pids]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_under_load_loses_nothing(fresh_hub: Hub, tmp_path: Path, signum: signal.Signals) -> None:
    """Whatever the daemon has taken it answers, once; whatever it has not taken stays with the hub."""
    with Arbd.run(fresh_hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        ids = fresh_hub.submit("echo", {"n": 1}, count=4000)
        eventually(lambda: fresh_hub.done() > 500)
        arbd.signal(signum)
        assert arbd.exit_code() == 0
        histories = [fresh_hub.kinds(task_id) for task_id in ids]
        left = (["submitted"], ["submitted", "handed_out", "given_back"])
        assert [history for history in histories if history != ONCE and history not in left] == []
        assert histories.count(ONCE) == fresh_hub.done() >= 500


def test_running_tasks_finish_and_the_family_is_gone(hub: Hub, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
    with Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        ids = [hub.submit("hold", gate.payload)[0] for gate in gates]
        pids = [gate.pid for gate in gates]
        family = in_family(arbd)
        arbd.signal(signal.SIGTERM)
        arbd.wait_event("draining")
        assert all(is_alive(pid) for pid in pids)
        for gate in gates:
            gate.open()
        assert arbd.exit_code() == 0
        results = hub.results()
        assert [results[task_id].status for task_id in ids] == ["success", "success"]
        assert not [pid for pid in family if is_alive(pid)]


def test_after_drain_timeout_the_rest_is_killed_and_told(hub: Hub, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Arbd.run(hub.address, tmp_path, workers=1, env={"ARBD_DRAIN_TIMEOUT": "0.3"}) as arbd:
        arbd.wait_serving(1)
        [task_id] = hub.submit("hold", gate.payload)
        pid = gate.pid
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert hub.results()[task_id].response["data"] == {"error_code": "ABORTED"}
        assert hub.kinds(task_id) == ONCE
        assert not is_alive(pid)


def test_a_second_signal_is_immediate(fresh_hub: Hub, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Arbd.run(fresh_hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        fresh_hub.submit("hold", gate.payload)
        assert gate.pid in in_family(arbd)
        family = in_family(arbd)
        arbd.signal(signal.SIGTERM)
        arbd.wait_event("draining")
        begin = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() in (0, EXIT_FAILURE)  # whether the last result was sent in that moment is luck
        assert time.monotonic() - begin < 2
        eventually(lambda: not [pid for pid in family if is_alive(pid)], 1)


def test_ctrl_c_goes_to_the_whole_terminal_and_still_drains(hub: Hub, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Arbd.run(hub.address, tmp_path, workers=1) as arbd:
        arbd.wait_serving(1)
        [task_id] = hub.submit("hold", gate.payload)
        pid = gate.pid
        os.killpg(arbd.process.pid, signal.SIGINT)
        arbd.wait_event("draining")
        os.kill(pid, signal.SIGINT)  # and somebody sends it to the worker itself
        os.kill(pid, signal.SIGTERM)
        gate.open()
        assert arbd.exit_code() == 0
        assert hub.results()[task_id].status == "success"


def test_a_signal_while_the_module_is_imported(tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(f"import time\nopen({str(tmp_path / 'importing')!r}, 'w').close()\ntime.sleep(600)\n")
    with Arbd.run("127.0.0.1:1", tmp_path, target=target) as arbd:
        eventually((tmp_path / "importing").exists)
        family = in_family(arbd)
        begin = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert time.monotonic() - begin < 2
        eventually(lambda: not [pid for pid in family if is_alive(pid)], 1)


def test_a_hub_that_is_down_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Arbd.run("127.0.0.1:1", tmp_path) as arbd:
        arbd.wait_serving()
        begin = time.monotonic()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert time.monotonic() - begin < 3


def test_a_worker_that_dies_during_a_drain_is_replaced(deep_rings: None, tmp_path: Path) -> None:
    """What waited in its ring had been taken from the hub: it is still run."""
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        pid = gate.pid
        waiting = [daemon.submit("echo", {}) for _ in range(10)]
        wait_outstanding(daemon, serving(daemon), 11)
        daemon.stop()
        os.kill(pid, signal.SIGKILL)
        assert daemon.response(held).error_code == "WORKER_LOST"
        assert {response.status for response in responses(daemon, waiting)} == {"success"}


def test_a_zygote_that_dies_during_a_drain_is_replaced(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        pid = gate.pid
        waiting = [daemon.submit("echo", {}) for _ in range(10)]
        worker = serving(daemon)
        wait_outstanding(daemon, worker, 11)
        daemon.stop()
        on_loop(daemon, worker.zygote._process.kill)
        assert daemon.response(held).error_code == "WORKER_LOST"
        assert {response.status for response in responses(daemon, waiting)} == {"success"}
        assert not is_alive(pid)


def test_what_waited_behind_a_worker_that_dies_as_the_drain_ends_is_told(deep_rings: None, tmp_path: Path) -> None:
    """Nobody waits for its end any more, which would have given those tasks back."""
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        assert gate.pid == serving(daemon).pid
        handles += [daemon.submit("echo", {}) for _ in range(10)]
        worker = serving(daemon)
        wait_outstanding(daemon, worker, 11)

        def kill_and_stop() -> None:
            daemon.daemon.pool.kill(worker)
            daemon.daemon.request_stop()
            daemon.daemon.request_stop()

        on_loop(daemon, kill_and_stop)
    assert [daemon.response(handle, timeout=0).error_code for handle in handles] == ["ABORTED"] * 11
    assert [kinds(daemon, handle) for handle in handles] == [ONCE] * 11


def test_what_no_worker_has_room_for_when_the_drain_ends_is_told(deep_rings: None, tmp_path: Path) -> None:
    """The ring is full, so some of what was taken from the hub waits in the supervisor itself."""
    with daemon_of(ring_size=16 * 1024, drain_timeout=0) as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        assert gate.pid == serving(daemon).pid
        handles += [daemon.submit("mirror", {"text": "x" * 3000}) for _ in range(30)]
        eventually(lambda: on_loop(daemon, lambda: flow(daemon).dispatcher.backlog > 10))
    assert {daemon.response(handle, timeout=0).error_code for handle in handles} == {"ABORTED"}
    assert [kinds(daemon, handle) for handle in handles] == [ONCE] * 31


def test_tasks_that_arrive_during_a_drain_are_answered_too() -> None:
    """A poll was under way: what it brings has been handed out, so it gets a verdict."""
    with daemon_of(workers=2) as daemon:
        handles = [daemon.submit("echo", {}) for _ in range(10)]
        submitting = threading.Thread(target=lambda: handles.extend(daemon.submit("echo", {}) for _ in range(500)))
        submitting.start()
        daemon.stop()
        submitting.join()
    handed_out = [handle for handle in handles if len(kinds(daemon, handle)) > 1]
    assert [kinds(daemon, handle) for handle in handed_out] == [ONCE] * len(handed_out)


def test_a_start_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """The provider is loaded, its process runs, and only then a file turns out to be missing."""
    env = {"ARBD_HUB_TLS_CA": str(tmp_path / "missing.pem")}
    with Arbd.run("127.0.0.1:1", tmp_path, env=env) as arbd:
        assert arbd.exit_code() == EXIT_CONFIG
        told = arbd.log.read_text()
        assert "hub.tls_ca" in told
        assert "Traceback" not in told


@pytest.mark.parametrize("protocol", ["unary", "stream"])
def test_an_outbox_that_was_full_does_not_stop_the_daemon_for_ever(hub: Hub, tmp_path: Path, protocol: str) -> None:
    """With room for one result no task is taken while one waits to be sent; the next follows once it has been.

    The tasks are long, so no poll is under way when a result comes: nothing else would start the next one.
    """
    env = {"ARBD_OUTBOX_LIMIT": "1", "ARBD_HUB_PROTOCOL": protocol}
    with Arbd.run(hub.address, tmp_path, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        ids = hub.submit("sleep", {"seconds": 0.15}, count=4)
        eventually(lambda: [hub.kinds(task_id) for task_id in ids] == [ONCE] * 4)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
