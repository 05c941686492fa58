"""A cancel finds its task wherever it is, in line, in a ring or running: soft first, then hard, and one verdict."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from daemon_support import Gate, daemon_of, eventually, kinds, serving, wait_outstanding

from arbd.core import dispatch
from arbd.testing import RunningProvider


def wait_running(daemon: RunningProvider) -> None:
    """Until the worker has begun its second task."""
    worker = serving(daemon)
    eventually(lambda: worker.cell.running().seq == 2)


@pytest.mark.parametrize(
    ("action", "stays"),
    [("sleep", False), ("async_sleep", False), ("kept_sleep", True), ("kept_async_sleep", True)],
)
def test_a_running_action_is_stopped_softly_and_its_worker_replaced_unless_kept(action: str, stays: bool) -> None:
    with daemon_of(kill_grace=5.0, execution_timeout=60) as daemon:
        pid = daemon.run("echo").data["pid"]
        handle = daemon.submit(action, {"seconds": 30.0})
        wait_running(daemon)
        time.sleep(0.05)  # let it get into its sleep
        begin = time.monotonic()
        assert daemon.hub.cancel(handle.id)
        response = daemon.response(handle)
        assert (response.status, response.error_code) == ("error", "CANCELLED")
        assert time.monotonic() - begin < 1.0
        assert (daemon.run("echo").data["pid"] == pid) is stays
        assert kinds(daemon, handle) == ["submitted", "handed_out", "cancelled", "result"]


@pytest.mark.parametrize("action", ["stuck_in_c", "stubborn"])
def test_what_does_not_stop_is_killed_after_the_grace(action: str) -> None:
    with daemon_of(kill_grace=0.2, execution_timeout=60) as daemon:
        pid = daemon.run("echo").data["pid"]
        handle = daemon.submit(action, {"seconds": 30.0})
        wait_running(daemon)
        begin = time.monotonic()
        daemon.hub.cancel(handle.id)
        assert daemon.response(handle).error_code == "CANCELLED"
        assert 0.15 < time.monotonic() - begin < 1.5
        assert daemon.run("echo").data["pid"] != pid


def test_a_task_in_line_is_taken_out_and_its_neighbours_stay(tmp_path: Path) -> None:
    with daemon_of(execution_timeout=60) as daemon:
        gate = Gate(tmp_path)
        first = daemon.submit("hold", gate.payload)
        assert gate.pid
        behind = [daemon.submit("echo") for _ in range(3)]
        daemon.hub.cancel(behind[1].id)
        assert daemon.response(behind[1]).error_code == "CANCELLED"
        gate.open()
        assert [daemon.response(handle).status for handle in (first, behind[0], behind[2])] == ["success"] * 3


def test_a_task_in_a_ring_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tasks are in the worker's ring, and the second is cancelled before the worker gets to it."""
    monkeypatch.setattr(dispatch, "COVER_NS", 1 << 60)
    monkeypatch.setattr(dispatch, "RING_NS", 1 << 59)
    with daemon_of(execution_timeout=60, kill_grace=0.05) as daemon:
        learnt = Gate(tmp_path, "learnt")
        learnt.open()
        daemon.response(daemon.submit("hold", learnt.payload))
        first, second = Gate(tmp_path, "first"), Gate(tmp_path, "second")
        running, waiting = daemon.submit("hold", first.payload), daemon.submit("hold", second.payload)
        wait_outstanding(daemon, serving(daemon), 2)
        assert first.pid
        daemon.hub.cancel(waiting.id)
        time.sleep(0.1)  # beyond the grace: the one that runs is not killed for it
        first.open()
        assert daemon.response(running).status == "success"
        assert daemon.response(waiting).error_code == "CANCELLED"
        assert not second.path.with_suffix(".started").exists()


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    with daemon_of() as daemon:
        handle = daemon.submit("add", {"a": 1, "b": 2})
        assert daemon.response(handle).data == {"sum": 3}
        assert daemon.hub.cancel(handle.id) is False
        assert kinds(daemon, handle) == ["submitted", "handed_out", "result"]
