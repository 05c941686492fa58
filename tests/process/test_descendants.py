"""Whatever an action started is gone with its worker, in whatever session, group or environment; nothing else is."""

from __future__ import annotations

import os
import runpy
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, daemon_of, eventually, is_alive, responses, serving

from arbd.testing import RunningProvider

LEAVER = PROVIDERS / "leaver.py"
WAYS = sorted(runpy.run_path(str(LEAVER))["WAYS"])


@contextmanager
def gone_at_last() -> Iterator[list[int]]:
    """Processes that are killed at the end, whatever the test finds."""
    pids: list[int] = []
    try:
        yield pids
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def leave(daemon: RunningProvider, way: str, path: Path, pids: list[int]) -> tuple[int, int]:
    """Have a worker leave a process behind; the two of them."""
    data: Any = daemon.run("leave", {"way": way, "path": str(path)}, timeout=60).data
    pids.append(data["child"])
    return data["pid"], data["child"]


def of_both(daemon: RunningProvider, way: str, directory: Path, pids: list[int]) -> dict[int, int]:
    """One process left behind by each of two workers, by worker."""
    for attempt in range(20):
        payloads = [{"way": way, "path": str(directory / f"{attempt}-{n}")} for n in range(2)]
        handles = [daemon.submit("leave", payload) for payload in payloads]
        found: dict[int, int] = {}
        for response in responses(daemon, handles):
            pids.append(response.data["child"])
            found[response.data["pid"]] = response.data["child"]
        if len(found) == 2:
            return found
    raise AssertionError("one worker has all the tasks")


def zombies_of(pid: int) -> list[int]:
    children = [child.pid for child in psutil.Process(pid).children()]
    return [child for child in children if psutil.pid_exists(child) and not is_alive(child)]


@pytest.fixture(scope="module")
def one_worker() -> Iterator[RunningProvider]:
    with daemon_of(LEAVER) as daemon:
        yield daemon


@pytest.mark.parametrize("way", WAYS)
def test_it_lives_while_its_worker_does_and_no_longer(one_worker: RunningProvider, way: str, tmp_path: Path) -> None:
    with gone_at_last() as pids:
        worker, child = leave(one_worker, way, tmp_path / "child", pids)
        descendants: list[psutil.Process] = []
        if way != "executor":  # it leaves a thread, too, and a worker with such a thread is replaced
            descendants = psutil.Process(worker).children(recursive=True)
            assert one_worker.run("echo").data["pid"] == worker
            assert is_alive(child)
            os.kill(worker, signal.SIGKILL)
        eventually(lambda: not is_alive(child), 3 if descendants else 15)  # within worker.stop_timeout
        eventually(lambda: not [each for each in descendants if is_alive(each.pid)], 3)
        assert one_worker.run("echo").data["pid"] != worker


@pytest.mark.parametrize("way", ["popen", "new_session", "double_fork", "orphan_in_the_group", "mp_spawn", "deep"])
def test_what_another_worker_started_goes_on(way: str, tmp_path: Path) -> None:
    with daemon_of(LEAVER, workers=2) as daemon, gone_at_last() as pids:
        (one, child), (other, its_child) = of_both(daemon, way, tmp_path, pids).items()
        os.kill(one, signal.SIGKILL)
        eventually(lambda: not is_alive(child), 3)
        for _ in range(10):
            daemon.run("echo")
        assert is_alive(its_child)
        assert is_alive(other)
        os.kill(other, signal.SIGKILL)
        eventually(lambda: not is_alive(its_child), 3)


def end_by_exit(daemon: RunningProvider) -> None:
    daemon.submit("die", {"how": "exit"})


def end_by_fault(daemon: RunningProvider) -> None:
    daemon.submit("die", {"how": "SIGSEGV"})


def end_by_deadline(daemon: RunningProvider) -> None:
    daemon.submit("hang")


def end_by_reload(daemon: RunningProvider) -> None:
    daemon.reload()


def end_by_the_zygote_s(daemon: RunningProvider) -> None:
    os.kill(psutil.Process(serving(daemon).pid).ppid(), signal.SIGKILL)


@pytest.mark.parametrize("end", [end_by_exit, end_by_fault, end_by_deadline, end_by_reload, end_by_the_zygote_s])
@pytest.mark.parametrize("target", ["forked", "exec'd"])
def test_however_the_worker_ends(end: Callable[[RunningProvider], None], target: str, tmp_path: Path) -> None:
    file = LEAVER
    if target == "exec'd":  # its module has a thread
        file = tmp_path / "threaded.py"
        thread = "\nimport threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        file.write_text(LEAVER.read_text() + thread)
    with daemon_of(file) as daemon, gone_at_last() as pids:
        worker, child = leave(daemon, "double_fork", tmp_path / "child", pids)
        end(daemon)
        eventually(lambda: not is_alive(worker), 10)
        eventually(lambda: not is_alive(child), 3)


def clean_for(zygote: psutil.Process, seconds: float) -> bool:
    """Whether there is nothing but workers below it, for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if [child for child in zygote.children(recursive=True) if not child.name().startswith("arbd:")]:
            return False
    return True


def test_processes_that_are_never_the_same_for_long(tmp_path: Path) -> None:
    """Each forks the next and ends: whoever is found is gone when it is looked at."""
    with daemon_of(LEAVER) as daemon:
        worker = daemon.run("run_on", {"path": str(tmp_path / "runner")}).data["pid"]
        os.kill(worker, signal.SIGKILL)
        zygote = psutil.Process(serving(daemon).pid).parent()
        assert zygote is not None
        eventually(lambda: clean_for(zygote, 0.1), 5)


def test_orphans_that_have_ended_are_reaped_while_their_worker_lives(one_worker: RunningProvider) -> None:
    worker = one_worker.run("whole", {"count": 20}).data["pid"]
    zygote = psutil.Process(worker).ppid()
    eventually(lambda: not zombies_of(zygote), 3)
    assert zombies_of(worker) == []
    assert one_worker.run("echo").data["pid"] == worker


def test_an_action_waits_for_its_own_children_as_in_plain_python(one_worker: RunningProvider) -> None:
    assert one_worker.run("wait_for_children").data == {"statuses": [0, 3, 7], "others": False}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_shared_memory_is_removed_with_its_worker(tmp_path: Path, signum: signal.Signals) -> None:
    """By multiprocessing's resource tracker, a child of the worker's that needs a moment for it (sglang#28089)."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=LEAVER, workers=1) as arbd:
        [task] = hub.submit("share", {"size": 4096})
        memory = Path("/dev/shm", hub.results()[task].response["data"]["name"])
        assert memory.exists()
        if signum == signal.SIGTERM:
            arbd.signal(signum)
            assert arbd.exit_code() == 0
        else:
            os.kill(arbd.family()["arbd:worker-0"][0], signum)
        eventually(lambda: not memory.exists(), 3)


def test_what_the_module_started_is_left_alone_until_the_end(tmp_path: Path) -> None:
    file = tmp_path / "helped.py"
    start = f"\nwith open({str(tmp_path / 'started')!r}, 'a') as f: f.write('x')\nleave('double_fork', PATH)\n"
    file.write_text(LEAVER.read_text() + start.replace("PATH", repr(str(tmp_path / "helper"))))
    with gone_at_last() as pids:
        with daemon_of(file) as daemon:
            helper = int((tmp_path / "helper").read_text())
            pids.append(helper)
            worker, child = leave(daemon, "double_fork", tmp_path / "child", pids)
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: not is_alive(child), 3)
            assert is_alive(helper)
        eventually(lambda: not is_alive(helper), 3)


def test_tasks_go_on_beside_very_many_orphans(one_worker: RunningProvider) -> None:
    handles = [one_worker.submit("whole", {"count": 30}) for _ in range(5)]
    handles += [one_worker.submit("echo") for _ in range(20)]
    assert {response.status for response in responses(one_worker, handles)} == {"success"}


LIMITS = """
from arbd.rate_limit import RateLimitMonitor
class Asking(RateLimitMonitor):
    shared = True
    def check_rate_limits(self):
        if not Path(PATH).exists():
            twice_forked(PATH)
    def make_safe_request(self, function, *args, **kwargs): return function(*args, **kwargs)
provider.rate_limit_monitor = Asking()
"""


def test_what_the_shared_monitors_started_is_gone_with_their_process(tmp_path: Path) -> None:
    target, path = tmp_path / "asking.py", tmp_path / "child"
    target.write_text(LEAVER.read_text() + LIMITS.replace("PATH", repr(str(path))))
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target) as arbd, gone_at_last() as pids:
        hub.submit("echo")
        eventually(path.exists)
        pids.append(child := int(path.read_text()))
        assert {result.status for result in hub.results().values()} == {"success"}
        arbd.wait_serving()
        for worker in ("arbd:worker-0", "arbd:worker-1"):
            os.kill(arbd.family()[worker][0], signal.SIGKILL)
        arbd.wait_event("worker_ready", 4)
        assert is_alive(child)
        os.kill(arbd.family()["arbd:limits"][0], signal.SIGKILL)
        eventually(lambda: not is_alive(child), 3)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_shared_memory_of_the_module_is_removed_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "sharing.py"
    target.write_text(LEAVER.read_text() + f"\nopen({str(tmp_path / 'name')!r}, 'w').write(share(4096)['name'])\n")
    with daemon_of(target) as daemon:
        daemon.run("echo")
        memory = Path("/dev/shm", (tmp_path / "name").read_text())
        assert memory.exists()
    eventually(lambda: not memory.exists(), 3)


def test_one_that_has_lost_its_tag_is_left_until_the_end(tmp_path: Path) -> None:
    """A program that sets the limit that nobody uses: whose it is cannot be told, so nobody else's worker pays."""
    target = tmp_path / "untagged.py"
    target.write_text(
        LEAVER.read_text()
        + "\nimport resource\n"
        + "WAYS['untagged'] = lambda p: twice_forked(p, lambda: (os.setsid(), resource.setrlimit(10, (-1, -1))))\n"
    )
    with gone_at_last() as pids:
        with daemon_of(target) as daemon:
            worker, child = leave(daemon, "untagged", tmp_path / "child", pids)
            _, other = leave(daemon, "double_fork", tmp_path / "other", pids)
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: not is_alive(other), 3)
            assert is_alive(child)
        eventually(lambda: not is_alive(child), 3)
