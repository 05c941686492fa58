"""Nobody waits behind a task that takes longer than expected, and each task is begun once, whatever the moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Gate, daemon_of, eventually, flow, learn, on_loop, responses, serving

from arbd.core.lifecycle import State
from arbd.ipc import layout
from arbd.supervisor import halt
from arbd.testing import RunningProvider

COUNTED = Path(__file__).parent / "providers" / "counted.py"


def run_of(name: str, directory: Path, ms: float = 0, filler: str = "") -> dict[str, Any]:
    return {"name": name, "path": str(directory), "ms": ms, "filler": filler}


def begun(directory: Path) -> list[str]:
    """What was begun, once for each time."""
    return sorted(name for file in directory.glob("begun-*") for name in file.read_text().split())


def test_what_waits_behind_a_slow_task_goes_to_others(tmp_path: Path) -> None:
    with daemon_of(workers=2) as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        slow = daemon.submit("hold", gate.payload)
        others = [daemon.submit("mirror", {"text": str(n)}) for n in range(300)]
        assert [response.data["text"] for response in responses(daemon, others)] == [str(n) for n in range(300)]
        assert gate.pid
        gate.open()
        assert daemon.response(slow).status == "success"


def test_with_nobody_else_to_take_them_they_wait_in_the_supervisor(tmp_path: Path) -> None:
    names = [f"task-{n}" for n in range(60)]
    with daemon_of(COUNTED, workers=1) as daemon:
        responses(daemon, [daemon.submit("run", run_of(name, tmp_path)) for name in names[:40]])
        (tmp_path / "go").touch()
        daemon.run("wait", {"path": str(tmp_path / "go")})  # and so it is thought to be short
        slow = daemon.submit("wait", {"path": str(tmp_path / "later")})
        others = [daemon.submit("run", run_of(name, tmp_path)) for name in names[40:]]
        worker = serving(daemon)
        eventually(lambda: worker.cell._words[layout.TAKEN_BACK] == worker.cell.tasks.place)
        (tmp_path / "later").touch()
        responses(daemon, [slow, *others])
    assert begun(tmp_path) == sorted(names)


@contextmanager
def taken_back_all_the_time(daemon: RunningProvider) -> Iterator[None]:
    """The rings of all workers are taken back each millisecond, whatever they run."""
    tasks = flow(daemon)

    async def take_back() -> None:
        while True:
            for worker in list(tasks.pool.workers.values()):
                if worker.state is State.SERVING and len(tasks.dispatcher.outstanding(worker.id)) > 1:
                    halt.take_back(tasks, worker)
            tasks.pump()
            await asyncio.sleep(0.001)

    taking_back = on_loop(daemon, lambda: asyncio.get_running_loop().create_task(take_back()))
    yield
    assert not taking_back.done()
    on_loop(daemon, taking_back.cancel)


@pytest.mark.parametrize(("count", "filler"), [(3_000, ""), (600, "x" * 6_000)], ids=["small", "by reference"])
def test_each_task_is_begun_once_however_often_rings_are_taken_back(tmp_path: Path, count: int, filler: str) -> None:
    chance = random.Random(11)
    tasks = [run_of(str(n), tmp_path, chance.choice([0, 0, 0, 0.2, 2]), filler) for n in range(count)]
    with daemon_of(COUNTED, workers=3, ring_size=16 * 1024) as daemon, taken_back_all_the_time(daemon):
        found = responses(daemon, [daemon.submit("run", task) for task in tasks], timeout_s=60)
    assert [response.data for response in found] == [{"name": task["name"]} for task in tasks]
    assert begun(tmp_path) == sorted(task["name"] for task in tasks)


def test_a_skipped_task_that_was_left_with_its_worker_comes_again(tmp_path: Path) -> None:
    """The moment that cannot be met by chance: the worker has announced a task, and sees that its ring was taken back
    before it begins. So the mark is set here, and nothing else."""
    with daemon_of(COUNTED, workers=1) as daemon:
        responses(daemon, [daemon.submit("run", run_of(f"learn-{n}", tmp_path)) for n in range(40)])
        (tmp_path / "go").touch()
        daemon.run("wait", {"path": str(tmp_path / "go")})
        slow = daemon.submit("wait", {"path": str(tmp_path / "later")})
        other = daemon.submit("run", run_of("other", tmp_path))
        worker = serving(daemon)

        def mark() -> bool:
            if len(flow(daemon).dispatcher.outstanding(worker.id)) == 2:
                worker.cell.take_back()
                return True
            return False

        eventually(lambda: on_loop(daemon, mark) or worker.cell._words[layout.TAKEN_BACK])
        (tmp_path / "later").touch()
        responses(daemon, [slow, other])
    assert begun(tmp_path).count("other") == 1


def test_a_task_that_is_cancelled_behind_a_slow_one_is_told_so_at_once(tmp_path: Path) -> None:
    with daemon_of(COUNTED, workers=1) as daemon:
        responses(daemon, [daemon.submit("run", run_of(f"learn-{n}", tmp_path)) for n in range(40)])
        (tmp_path / "go").touch()
        daemon.run("wait", {"path": str(tmp_path / "go")})
        slow = daemon.submit("wait", {"path": str(tmp_path / "later")})
        other = daemon.submit("run", run_of("other", tmp_path))
        eventually(lambda: on_loop(daemon, lambda: flow(daemon).dispatcher.in_flight() == 2))
        on_loop(daemon, lambda: flow(daemon).cancel([other.id]))
        assert daemon.response(other).error_code == "CANCELLED"
        (tmp_path / "later").touch()
        assert daemon.response(slow).status == "success"
    assert "other" not in begun(tmp_path)
