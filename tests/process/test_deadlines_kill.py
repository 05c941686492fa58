"""Every task is answered by its hard deadline, whatever it does; and no other task pays for that.

Soft at the deadline: an exception inside the action, and the worker lives. Hard after `kill_grace`: SIGKILL, and a new
worker. The verdict is TIMEOUT either way, once, also where the action comes back with a success too late.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import (
    Gate,
    at_best,
    daemon_of,
    eventually,
    flow,
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
from arbd.supervisor import halt
from arbd.supervisor.worker import Worker
from arbd.testing import Response, RunningProvider

SLACK_S = 0.3  # for a machine that has other things to do


@pytest.fixture(scope="module")
def quick() -> Iterator[RunningProvider]:
    """A daemon whose deadlines are soft at 0.2 s and hard at 0.3 s."""
    with daemon_of(execution_timeout=0.2, kill_grace=0.1) as daemon:
        yield daemon


def timed(daemon: RunningProvider, action: str, payload: object = None) -> tuple[Response, float]:
    """A response, and the seconds it took."""
    begin = time.monotonic()
    [response] = responses(daemon, [daemon.submit(action, payload)])
    return response, time.monotonic() - begin


TIMED_OUT = {"error_code": "TIMEOUT", "timeout": 0.2}


@pytest.mark.parametrize(
    ("action", "payload"),
    [("sleep", {"seconds": 60}), ("spin", {}), ("cautious", {}), ("async_sleep", {"seconds": 60}), ("async_group", {})],
)
def test_at_the_soft_deadline_the_action_ends_and_the_worker_is_replaced(
    quick: RunningProvider, action: str, payload: object
) -> None:
    """It may hold half a reply or half a transaction."""

    def attempt() -> None:
        pid = responses(quick, [quick.submit("echo", {})])[0].data["pid"]
        response, took = timed(quick, action, payload)
        assert (response.status, response.data) == ("error", TIMED_OUT)
        assert response.message is not None
        assert response.message.startswith(f"Action '{action}' timed out after 0.2 seconds, the setting execution_t")
        assert 0.2 <= took < 0.2 + SLACK_S
        assert responses(quick, [quick.submit("echo", {})])[0].data["pid"] != pid

    at_best(attempt)


@pytest.mark.parametrize("action", ["kept_sleep", "kept_async_sleep"])
def test_an_action_that_leaves_nothing_half_done_keeps_its_worker(quick: RunningProvider, action: str) -> None:
    pid = responses(quick, [quick.submit("echo", {})])[0].data["pid"]
    assert timed(quick, action, {"seconds": 60})[0].data == TIMED_OUT
    assert responses(quick, [quick.submit("echo", {})])[0].data["pid"] == pid


@pytest.mark.parametrize(
    ("action", "payload"),
    [("stuck_in_c", {}), ("stubborn", {"seconds": 60}), ("async_spin", {}), ("async_stubborn", {"seconds": 60})],
)
def test_at_the_hard_deadline_the_worker_is_killed(quick: RunningProvider, action: str, payload: object) -> None:
    def attempt() -> None:
        pid = responses(quick, [quick.submit("echo", {})])[0].data["pid"]
        response, took = timed(quick, action, payload)
        assert (response.status, response.data) == ("error", TIMED_OUT)
        assert 0.3 <= took < 0.3 + SLACK_S
        eventually(lambda: not is_alive(pid))
        assert responses(quick, [quick.submit("echo", {})])[0].data["pid"] != pid

    at_best(attempt)


@pytest.mark.parametrize("action", ["stubborn", "async_stubborn"])
def test_a_late_success_is_a_timeout(quick: RunningProvider, action: str) -> None:
    """It swallows the exception and comes back between the two deadlines: its success is dropped, and its worker is
    replaced as any that was interrupted."""

    def attempt() -> None:
        pid = responses(quick, [quick.submit("echo", {})])[0].data["pid"]
        response, took = timed(quick, action, {"seconds": 0.23})
        assert (response.status, response.data) == ("error", TIMED_OUT)
        assert took < 0.3 + SLACK_S
        assert responses(quick, [quick.submit("echo", {})])[0].data["pid"] != pid

    at_best(attempt)


def test_an_action_may_have_a_timeout_of_its_own(quick: RunningProvider) -> None:
    def attempt() -> None:
        response, took = timed(quick, "quick_sleep", {"seconds": 60})
        assert response.data == {"error_code": "TIMEOUT", "timeout": 0.15}
        assert 0.15 <= took < 0.15 + SLACK_S
        assert timed(quick, "quick_sleep", {"seconds": 0.01})[0].status == "success"

    at_best(attempt)


def test_the_clock_starts_when_the_task_starts(quick: RunningProvider) -> None:
    """Together they take far longer than one timeout; each by itself does not."""
    found = responses(quick, [quick.submit("sleep", {"seconds": 0.08}) for _ in range(10)])
    assert [response.status for response in found] == ["success"] * 10


@pytest.mark.parametrize("then", ["stuck", "die"])
def test_what_a_worker_started_is_killed_with_it(tmp_path: Path, then: str) -> None:
    with daemon_of(execution_timeout=0.2, kill_grace=0) as daemon:
        daemon.run("parent", {"path": str(tmp_path / "child"), "then": then})
        child = int((tmp_path / "child").read_text())
        eventually(lambda: not is_alive(child))


def test_tasks_that_wait_behind_a_stuck_one_go_to_its_successor(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of(execution_timeout=0.3, kill_grace=0.05) as daemon:
        learn(daemon, tmp_path)
        stuck = daemon.submit("stubborn", {"seconds": 60})
        waiting = [daemon.submit("echo", {"n": n}) for n in range(20)]
        worker = serving(daemon)
        wait_outstanding(daemon, worker, 21)
        assert responses(daemon, [stuck])[0].error_code == "TIMEOUT"
        echoed = responses(daemon, waiting)
        assert [response.data["payload"] for response in echoed] == [{"n": n} for n in range(20)]
        assert worker.pid not in {response.data["pid"] for response in echoed}


def test_a_task_that_ends_at_the_moment_of_the_kill_never_hurts_the_next(deep_rings: None) -> None:
    """Run times all around the hard deadline, innocent tasks between them: each of those succeeds, and once."""
    with daemon_of(workers=2, execution_timeout=0.02, kill_grace=0.01) as daemon:
        responses(daemon, [daemon.submit("stubborn", {"seconds": 0}), daemon.submit("innocent")])
        guilty, innocent = [], []
        for n in range(150):
            guilty.append(daemon.submit("stubborn", {"seconds": 0.028 + 0.00004 * (n % 100)}))
            innocent += [daemon.submit("innocent"), daemon.submit("innocent")]
        assert {response.error_code for response in responses(daemon, guilty)} == {"TIMEOUT"}
        late = [response for response in responses(daemon, innocent) if response.status != "success"]
        assert late == []


def test_nothing_begins_between_the_judgement_and_the_kill(
    deep_rings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late task ends in exactly that moment: the next one in the ring must not be begun and then killed."""
    with daemon_of(execution_timeout=0.2, kill_grace=0.05) as daemon:
        learn(daemon, tmp_path)
        late, innocent = Gate(tmp_path, "late"), Gate(tmp_path, "innocent")
        handles = [daemon.submit("stubborn_hold", late.payload), daemon.submit("hold", innocent.payload)]
        worker = serving(daemon)
        wait_outstanding(daemon, worker, 2)
        kill = daemon.daemon.pool.kill

        def kill_too_late(condemned: Worker) -> None:
            _, next_seq = flow(daemon).dispatcher.outstanding(worker.id)
            late.open()
            eventually(lambda: worker.cell.running().seq == next_seq)
            with pytest.raises(AssertionError):
                eventually(innocent.path.with_suffix(".started").exists, 0.2)
            innocent.open()
            kill(condemned)

        monkeypatch.setattr(daemon.daemon.pool, "kill", kill_too_late)
        timed_out, succeeded = responses(daemon, handles)
        assert (timed_out.error_code, succeeded.status) == ("TIMEOUT", "success")
        assert succeeded.data["pid"] != worker.pid


def test_a_supervisor_that_was_away_takes_no_finished_task_for_a_late_one(deep_rings: None, tmp_path: Path) -> None:
    """All its tasks ended in time while it was away far beyond their hard deadlines, more than it takes in one go."""
    with daemon_of(execution_timeout=1, kill_grace=0.05, prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        worker = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("echo", {}) for _ in range(200)]
        assert gate.pid == worker.pid
        with frozen(daemon):
            gate.open()
            begin = time.monotonic()
            eventually(lambda: time.monotonic() > begin + 1.2)
        found = responses(daemon, handles)
        assert [response.status for response in found] == ["success"] * 201
        assert serving(daemon).pid == worker.pid


def test_results_found_by_the_judge_are_sent_at_once(deep_rings: None, tmp_path: Path) -> None:
    """The task ends while it is judged: the judge collects its result, and the doorbell finds nothing more to do.

    The result used to wait until another task ended, and the free slot with it: with one worker, for ever.
    """
    with daemon_of(execution_timeout=30, prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        worker = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("echo", {}) for _ in range(200)]
        assert gate.pid == worker.pid
        wait_outstanding(daemon, worker, 201)

        def judge() -> None:
            done_before = tasks_done(worker)
            *_, last = flow(daemon).dispatcher.outstanding(worker.id).values()
            gate.open()
            eventually(lambda: tasks_done(worker) == done_before + 201 and worker.cell.worker_sleeps())
            halt.kill(flow(daemon), worker, last)

        on_loop(daemon, judge)
        assert {response.status for response in responses(daemon, handles, timeout_s=5)} == {"success"}
        assert responses(daemon, [daemon.submit("echo", {})], timeout_s=5)[0].status == "success"
        assert serving(daemon).pid == worker.pid


STUCK = """
import hashlib
from arbd import Provider

provider = Provider(name="stuck")


@provider.actions.register(name="stuck", timeout={timeout})
def stuck():
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
"""


def test_a_reload_with_longer_timeouts_does_not_put_off_a_deadline(tmp_path: Path) -> None:
    """The next look used to be put off to the first moment at which a task with the new timeouts could be late."""
    target = tmp_path / "provider.py"
    target.write_text(STUCK.format(timeout=1.0))
    with daemon_of(target, kill_grace=0.1) as daemon:
        begin = time.monotonic()
        handle = daemon.submit("stuck")
        worker = serving(daemon)
        eventually(lambda: worker.cell.running().seq != 0)
        target.write_text(STUCK.format(timeout=60))
        daemon.reload()
        eventually(lambda: worker.state is not State.SERVING)
        assert responses(daemon, [handle])[0].data == {"error_code": "TIMEOUT", "timeout": 1.0}
        assert time.monotonic() - begin < 1.1 + SLACK_S
