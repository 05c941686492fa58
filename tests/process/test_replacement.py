"""A worker that leaves is succeeded at once: by fork within milliseconds, whatever happens to either of them meanwhile;
what lay behind in its ring runs once, elsewhere; and all of it is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from daemon_support import Gate, daemon_of, eventually, flow, is_alive, learn, on_loop, responses, serving

from arbd.core.history import Replaced
from arbd.core.lifecycle import State
from arbd.supervisor.reporter import Reporter
from arbd.testing import RunningProvider


def replaced(daemon: RunningProvider) -> list[Replaced]:
    return on_loop(daemon, lambda: list(daemon.daemon.pool.history))


def states(daemon: RunningProvider) -> list[State]:
    return on_loop(daemon, lambda: [each.state for each in daemon.daemon.pool.workers.values()])


def status(daemon: RunningProvider) -> Any:
    return on_loop(daemon, lambda: Reporter(daemon.daemon.settings, flow(daemon), lambda: None).status())


def test_one_that_was_interrupted_is_replaced_and_what_lay_behind_runs_once(tmp_path: Path) -> None:
    with daemon_of() as daemon:
        learn(daemon, tmp_path)
        before = serving(daemon).pid
        late = daemon.submit("sleep", {"seconds": 30.0})
        behind = [daemon.submit("echo", {"n": number}) for number in range(20)]
        assert daemon.response(late, timeout=20.0).error_code == "TIMEOUT"
        found = responses(daemon, behind)
        assert {each.data["pid"] for each in found}.isdisjoint({before})
        eventually(lambda: not is_alive(before))
        [first] = replaced(daemon)
        assert (first.why.reason, first.why.action) == ("interrupted", "sleep")


def test_a_successor_that_is_killed_while_it_starts_is_succeeded_itself() -> None:
    with daemon_of(worker_max_tasks=1) as daemon:
        killed = 0
        for _ in range(15):
            handle = daemon.submit("echo", {})
            assert daemon.response(handle).status == "success"
            starting = [
                worker.pid
                for worker in list(daemon.daemon.pool.workers.values())
                if worker.state is State.STARTING and worker.pid
            ]
            for pid in starting:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
        assert daemon.run("echo", {}).status == "success"
        eventually(lambda: states(daemon) == [State.SERVING])


def test_status_says_what_workers_hold_and_why_they_were_replaced() -> None:
    with daemon_of(worker_max_tasks=1) as daemon:
        assert daemon.run("echo", {}).status == "success"
        eventually(lambda: replaced(daemon))  # the answer comes before the notice that the worker leaves
        eventually(lambda: states(daemon) == [State.SERVING])
        report = status(daemon)
        [worker] = report.workers
        assert worker.rss > 1 << 20
        assert worker.descriptors > 3
        assert (worker.generation, worker.tasks_done) == (1, 0)
        [one] = report.replacements
        assert (one.slot, one.reason, one.action) == (0, "tasks", "")
        assert 0 <= one.ago_s < 30
        assert report.out_of_service == []


def test_a_reload_is_a_generation_of_its_own_and_no_replacement() -> None:
    with daemon_of() as daemon:
        before = serving(daemon).pid
        daemon.reload()
        eventually(lambda: not is_alive(before), timeout_s=30.0)
        eventually(lambda: states(daemon) == [State.SERVING])
        report = status(daemon)
        assert [worker.generation for worker in report.workers] == [2]
        assert report.replacements == []


def test_one_that_is_told_to_leave_with_a_task_finishes_that_first(tmp_path: Path) -> None:
    with daemon_of(execution_timeout=30) as daemon:
        gate = Gate(tmp_path)
        handle = daemon.submit("hold", gate.payload)
        pid = gate.pid
        daemon.reload()
        eventually(lambda: State.RETIRING in states(daemon), timeout_s=30.0)
        assert is_alive(pid)
        gate.open()
        assert daemon.response(handle).data == {"pid": pid}
        eventually(lambda: not is_alive(pid))


UNFIT = """
from pathlib import Path
from arbd import Provider

provider = Provider(name="unfit")

@provider.resource
def database():
    if not Path({path!r}).exists():
        raise ConnectionError("no database\\x1b[31m")
    yield "open"

@provider.actions.register("use")
def use(database):
    return database
"""


def test_a_slot_whose_resource_cannot_be_opened_heals_and_nobody_else_pays(tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.touch()
    target = tmp_path / "unfit.py"
    target.write_text(UNFIT.format(path=str(database)))
    with daemon_of(target, workers=2) as daemon:
        assert daemon.run("use").data == "open"
        database.unlink()
        pids = [worker.pid for worker in daemon.daemon.pool.workers.values()]
        os.kill(pids[0], signal.SIGKILL)
        [out] = eventually(lambda: status(daemon).out_of_service, timeout_s=20.0)
        assert (out.kind, out.reason) == ("unfit", "resource database: ConnectionError: no database\\x1b[31m")
        assert {each.data for each in responses(daemon, [daemon.submit("use") for _ in range(20)])} == {"open"}
        eventually(lambda: status(daemon).out_of_service[0].times >= 2, timeout_s=20.0)
        database.touch()
        eventually(lambda: on_loop(daemon, daemon.daemon.pool.is_complete), timeout_s=60.0)
        assert status(daemon).out_of_service == []


STOPPING = """
import time
from pathlib import Path
from arbd import Provider

provider = Provider(name="stopping")

@provider.on_worker_stop
def stop():
    time.sleep({seconds})
    with open({path!r}, "a") as marks:
        marks.write("x")

@provider.actions.register("act")
def act():
    return 1
"""


def test_workers_end_in_order_at_the_end_of_the_daemon(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    target = tmp_path / "stopping.py"
    target.write_text(STOPPING.format(path=str(marks), seconds=0.5))
    with daemon_of(target, workers=3) as daemon:
        assert daemon.run("act").data == 1
    assert marks.read_text() == "xxx"


def test_one_that_takes_too_long_for_that_is_killed_and_the_daemon_ends(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    target = tmp_path / "stopping.py"
    target.write_text(STOPPING.format(path=str(marks), seconds=60))
    with daemon_of(target, workers=2, worker_stop_timeout=0.5) as daemon:
        assert daemon.run("act").data == 1
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 10.0
    assert not marks.exists()


def test_a_second_request_to_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    target = tmp_path / "stopping.py"
    target.write_text(STOPPING.format(path=str(marks), seconds=60))
    with daemon_of(target, worker_stop_timeout=50.0) as daemon:
        assert daemon.run("act").data == 1
        daemon.stop()
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 10.0
