"""SIGHUP loads the author's code again beside the old: it takes over if it works, and nothing is lost either way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from daemon_support import Arbd, Gate, Hub, daemon_of, eventually, is_alive, on_loop, responses, serving

from arbd.core.lifecycle import State
from arbd.hub.memory import Handle
from arbd.testing import RunningProvider

CODE = """
import os, sys, time
from pathlib import Path
from arbd import Provider

provider = Provider(name="versions", execution_timeout=10)


@provider.actions.register(name="version")
def version():
    return {{"version": {version}, "pid": os.getpid()}}


@provider.actions.register(name="hold")
def hold(path):
    gate = Path(path)
    gate.with_suffix(".partial").write_text(str(os.getpid()))
    gate.with_suffix(".partial").rename(gate.with_suffix(".started"))
    while not gate.with_suffix(".go").exists():
        time.sleep(0.002)
    return {{"version": {version}}}


@provider.actions.register(name="only_{version}")
def only():
    return "here"
"""


class Source:
    """The author's file, and what he does to it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "versions.py"
        self._written_at = time.time()
        self.write(1)

    def write(self, version: int, more: str = "") -> None:
        self.path.write_text(CODE.format(version=version) + more)
        # Python takes bytecode for that of a source of the same size and second.
        self._written_at += 1
        os.utime(self.path, (self._written_at, self._written_at))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def version(daemon: RunningProvider) -> int:
    [response] = responses(daemon, [daemon.submit("version")])
    found: int = response.data["version"]
    return found


def reload_and_wait(daemon: RunningProvider) -> None:
    """Reload, until only workers of the new generation are left."""
    old = set(daemon.worker_pids)
    daemon.reload()
    eventually(lambda: old.isdisjoint(now := daemon.worker_pids) and all(now))
    eventually(lambda: not [pid for pid in old if is_alive(pid)])


@contextmanager
def load(daemon: RunningProvider) -> Iterator[list[Handle]]:
    """Tasks without a pause inside this block; at its end ``handles`` has all of them."""
    handles: list[Handle] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            batch = [daemon.submit("version") for _ in range(20)]
            handles.extend(batch)
            batch[-1].result(30)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield handles
    finally:
        stop.set()
        thread.join()


def test_new_code_takes_over_under_load_and_no_task_is_lost(source: Source) -> None:
    with daemon_of(source.path, workers=2) as daemon:
        with load(daemon) as handles:
            eventually(lambda: len(handles) > 100)
            source.write(2)
            reload_and_wait(daemon)
            seen = len(handles)
            eventually(lambda: len(handles) > seen + 100)
        versions = [response.data["version"] for response in responses(daemon, handles)]
        assert set(versions) == {1, 2}
        assert versions[-1] == 2
        assert len(daemon.worker_pids) == 2


def test_what_runs_at_the_reload_ends_in_the_old_code(source: Source, tmp_path: Path) -> None:
    with daemon_of(source.path) as daemon:
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        old = gate.pid
        zygote = psutil.Process(old).parent()
        assert zygote is not None
        source.write(2)
        daemon.reload()
        eventually(lambda: version(daemon) == 2)
        gate.open()
        assert responses(daemon, [held])[0].data == {"version": 1}
        eventually(lambda: not is_alive(old) and not is_alive(zygote.pid))


@pytest.mark.parametrize(
    "broken",
    [
        "syntax error(\n",
        "raise RuntimeError('broken')\n",
        "sys.exit(1)\n",
        "os._exit(1)\n",
        "provider.actions.register(name='version')(lambda: None)\n",
        "provider.actions.register(name='bad')(lambda *, nothing_fills_this, nor_this: None)\nprovider = None\n",
        "os.register_at_fork(after_in_child=lambda: os._exit(9))\n",
    ],
)
def test_broken_code_never_takes_over(source: Source, broken: str) -> None:
    with daemon_of(source.path) as daemon:
        old = serving(daemon).pid
        source.write(2, broken)
        generations = daemon.daemon._generations
        assert generations is not None
        daemon.reload()
        eventually(lambda: on_loop(daemon, lambda: generations.is_loading))
        eventually(lambda: not on_loop(daemon, lambda: generations.is_loading))
        # Workers that cannot boot are tried several times before the old code is settled on.
        eventually(lambda: on_loop(daemon, lambda: [w.pid for w in daemon.daemon.pool.workers.values()]) == [old])
        assert version(daemon) == 1
        source.write(3)
        reload_and_wait(daemon)
        assert version(daemon) == 3


def test_actions_come_and_go_with_the_code(source: Source, tmp_path: Path) -> None:
    """A task for an action that only the new code has is never given to a worker with the old one, nor the reverse."""
    with daemon_of(source.path, workers=2) as daemon:
        assert responses(daemon, [daemon.submit("only_2")])[0].message == "Action 'only_2' not found"
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        assert gate.pid in daemon.worker_pids
        source.write(2)
        daemon.reload()
        handles: list[Handle] = []
        while not handles or daemon.response(handles[-1]).status != "success":
            handles.append(daemon.submit("only_2"))
        assert responses(daemon, [daemon.submit("only_1")])[0].message == "Action 'only_1' not found"
        assert responses(daemon, [daemon.submit("only_2") for _ in range(50)])[-1].data == "here"
        gate.open()
        assert responses(daemon, [held])[0].data == {"version": 1}


def test_a_task_that_comes_back_after_its_action_is_gone_is_told_so(
    deep_rings: None, source: Source, tmp_path: Path
) -> None:
    """It waited in the ring of a worker that died after the reload."""
    with daemon_of(source.path) as daemon:
        gate = Gate(tmp_path, "learn")
        gate.open()
        responses(daemon, [daemon.submit("hold", gate.payload), daemon.submit("only_1")])
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        worker = serving(daemon)
        assert gate.pid == worker.pid
        waiting = daemon.submit("only_1")
        eventually(lambda: daemon.hub.history(waiting.id)[-1].kind == "handed_out")
        source.write(2)
        daemon.reload()
        eventually(lambda: worker.state is State.RETIRING)
        on_loop(daemon, worker.kill)
        assert responses(daemon, [held])[0].error_code == "WORKER_LOST"
        assert responses(daemon, [waiting])[0].message == "Action 'only_1' not found"
        assert version(daemon) == 2


def test_of_several_reloads_the_last_one_counts(source: Source, tmp_path: Path) -> None:
    """The first of them takes longer to load than the second."""
    with daemon_of(source.path) as daemon:
        source.write(2, f"if not Path({str(tmp_path / 'slow')!r}).exists():\n    time.sleep(0.5)\n")
        daemon.reload()
        (tmp_path / "slow").touch()
        source.write(3)
        daemon.reload()
        eventually(lambda: version(daemon) == 3)
        generations = daemon.daemon._generations
        assert generations is not None
        eventually(lambda: not on_loop(daemon, lambda: generations.is_loading))
        assert version(daemon) == 3


def test_a_stop_during_a_reload_leaves_nothing_behind(source: Source) -> None:
    with daemon_of(source.path) as daemon:
        source.write(2, "time.sleep(60)\n")
        daemon.reload()
        process = psutil.Process()
        eventually(lambda: sum(child.name() == "arbd:zygote" for child in process.children()) == 2)
    assert [child for child in process.children() if child.name() == "arbd:zygote"] == []


def test_sighup_of_a_real_daemon(source: Source, tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=source.path) as arbd:
        arbd.wait_serving()
        source.write(2, "raise RuntimeError('not yet finished')\n")
        arbd.signal(signal.SIGHUP)
        [line] = arbd.wait_event("reload_failed")
        assert "not yet finished" in line["reason"]
        [first] = hub.submit("version")
        assert hub.results()[first].response["data"]["version"] == 1
        source.write(2)
        arbd.signal(signal.SIGHUP)
        arbd.wait_event("reloaded")
        arbd.wait_event("worker_ready", 4)
        [second] = hub.submit("version")
        assert hub.results()[second].response["data"]["version"] == 2
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
