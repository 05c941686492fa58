"""What is ordinary trouble for the supervisor has an outcome; what is unexpected ends the daemon, in order, with 71."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import (
    ONCE,
    ZOO,
    Arbd,
    Gate,
    Hub,
    daemon_of,
    eventually,
    frozen,
    is_alive,
    kinds,
    learn,
    on_loop,
    responses,
    serving,
    tasks_done,
    wait_outstanding,
)

from arbd.errors import EXIT_CONFIG, EXIT_UNEXPECTED, EXIT_ZYGOTE, ZygoteError
from arbd.host import memory
from arbd.supervisor import generations as generations_module
from arbd.supervisor import lives as lives_module
from arbd.testing import RunningProvider

NO_DESCRIPTOR = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
HEAD = "import os, sys, time\nfrom pathlib import Path\nfrom arbd import Provider\nprovider = Provider(name='p')\n"
HURRIED = "import arbd.core.restarts as module; module.FIRST_PAUSE_S = 0.01"  # what fails to start is tried soon
ECHO = "\n@provider.actions.register(name='echo')\ndef echo(payload): return {'pid': os.getpid(), 'payload': payload}\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(hold_s=0.5) as hub:
        yield hub


class Failing:
    """In place of a function: raises while it is told to, then is that function again."""

    def __init__(self, function: Callable[..., Any], error: BaseException) -> None:
        self._function = function
        self._error = error
        self.is_failing = True
        self.failed = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_failing:
            self.failed += 1
            raise type(self._error)(*self._error.args)  # a new one: its traceback keeps what it went through alive
        return self._function(*args, **kwargs)


def zygote_of(daemon: RunningProvider) -> psutil.Process:
    process = psutil.Process(serving(daemon).pid).parent()
    assert process is not None
    return process


def zygotes() -> int:
    """How many there are below this process."""
    found = 0
    for child in psutil.Process().children():
        try:
            found += child.name() == "arbd:zygote"
        except psutil.NoSuchProcess:
            pass  # it has just ended
    return found


def pids_of(daemon: RunningProvider, workers: int) -> list[int]:
    """Of so many workers, all of which serve."""

    def look() -> list[int]:
        pool = daemon.daemon.pool
        found = [w.pid for w in pool.workers.values() if w.state.value == "serving" and w.pid]
        return found if len(found) == workers else []

    return eventually(lambda: on_loop(daemon, look))


def in_loop(daemon: RunningProvider, callback: Callable[[], None]) -> None:
    """As a callback of the daemon's event loop, which is not waited for."""
    daemon._loop.call_soon_threadsafe(callback)


@contextmanager
def ending_with_71(**settings: Any) -> Iterator[RunningProvider]:
    """A daemon that has ended by itself when this block is left, with that exit code."""
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ZygoteError, match=f"exit code {EXIT_UNEXPECTED}"))
        yield stack.enter_context(daemon_of(**settings))


# Unexpected ------------------------------------------------------------------------------------------------------


def injected() -> None:
    raise RuntimeError("injected")


async def injected_later() -> None:
    await asyncio.sleep(0)
    injected()


def test_an_unexpected_exception_in_a_callback_ends_the_daemon_after_what_runs(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with ending_with_71(workers=2) as daemon:
        running = daemon.submit("hold", gate.payload)
        assert gate.pid
        in_loop(daemon, injected)
        eventually(daemon.daemon._stop_requested.is_set)
        time.sleep(0.05)
        gate.open()
        assert daemon.response(running).status == "success"
        assert kinds(daemon, running) == ONCE


def test_a_task_that_runs_on_has_five_seconds_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.supervisor.main.HURRIED_DRAIN_S", 0.2)
    with ending_with_71() as daemon:
        running = daemon.submit("sleep", {"seconds": 4.5})
        eventually(lambda: tasks_done(serving(daemon)) == 0 and serving(daemon).cell.running().seq)
        in_loop(daemon, injected)
        assert daemon.response(running, timeout=4).error_code == "ABORTED"


def test_it_also_cuts_a_drain_short_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.supervisor.main.HURRIED_DRAIN_S", 0.2)
    with ending_with_71() as daemon:
        running = daemon.submit("sleep", {"seconds": 4.5})
        eventually(lambda: serving(daemon).cell.running().seq)
        daemon.stop()
        eventually(lambda: on_loop(daemon, lambda: daemon.daemon._drain is not None))
        in_loop(daemon, injected)
        assert daemon.response(running, timeout=4).error_code == "ABORTED"


def test_a_real_daemon_says_what_it_was_and_ends_with_71(hub: Hub, tmp_path: Path) -> None:
    """The traceback in the log, every result with the hub, nothing left behind."""
    code = "\n".join(
        [
            "import arbd.supervisor.flow as module",
            "collect = module.Flow.collect",
            "def broken(self):",
            "    if self.verdicts.counts['success'] >= 20: raise RuntimeError('injected')",
            "    return collect(self)",
            "module.Flow.collect = broken",
            "from arbd.cli import main",
            "main()",
        ]
    )
    flags = ["--hub", hub.address, "--name", "prov", "--workers", "2", "--no-pin", "--log-format", "json"]
    with Arbd(["-c", code, "run", str(ZOO), *flags], tmp_path) as arbd:
        arbd.wait_event("started")
        ids = hub.submit("echo", {"n": 1}, count=60)
        family = arbd.family()
        assert arbd.exit_code(20) == EXIT_UNEXPECTED
        [line, *_] = arbd.events("unexpected_failure")
        assert "RuntimeError: injected" in line["error"]
        assert "in broken" in line["exception"]
        assert not [pid for pids in family.values() for pid in pids if is_alive(pid)]
    answered = [task_id for task_id in ids if hub.kinds(task_id)[-1:] == ["result"]]
    assert len(answered) >= 20
    assert all(hub.kinds(task_id).count("result") == 1 for task_id in answered)


def test_a_daemon_that_cannot_end_is_ended(hub: Hub, tmp_path: Path) -> None:
    """Whatever waits for ever in the way: here the connection, which does not close."""
    code = "\n".join(
        [
            "import asyncio",
            "import arbd.supervisor.main as module",
            "import arbd.links.stream.link as link",
            "module._CLOSE_TIMEOUT_S = 0.5",
            "link.GrpcStreamLink.close = lambda self: asyncio.sleep(1000)",
            "from arbd.cli import main",
            "main()",
        ]
    )
    flags = ["--hub", hub.address, "--name", "prov", "--workers", "1", "--no-pin", "--log-format", "json"]
    with Arbd(["-c", code, "run", str(ZOO), *flags], tmp_path, {"ARBD_HUB_PROTOCOL": "stream"}) as arbd:
        arbd.wait_event("started")
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code(20) == EXIT_UNEXPECTED
        assert arbd.events("ended_at_last")


# Tasks that cannot be handed over --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100_000, 300_000])
def test_a_task_for_which_there_is_no_descriptor_is_handed_over_later(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with daemon_of(workers=2) as daemon:
        failing = Failing(memory.create_parcel, NO_DESCRIPTOR)
        monkeypatch.setattr(memory, "create_parcel", failing)
        large = [daemon.submit("echo", {"text": "x" * size, "n": n}) for n in range(6)]
        eventually(lambda: failing.failed > 3)
        failing.is_failing = False
        small = [daemon.submit("add", {"a": n, "b": 1}) for n in range(6)]
        assert [r.data["payload"]["n"] for r in responses(daemon, large)] == list(range(6))
        assert [r.data["sum"] for r in responses(daemon, small)] == list(range(1, 7))


def test_one_for_which_there_never_is_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbd.core.stuck.GIVE_UP_S", 0.3)
    with daemon_of() as daemon:
        monkeypatch.setattr(memory, "create_parcel", Failing(memory.create_parcel, NO_DESCRIPTOR))
        large = daemon.submit("echo", {"text": "x" * 100_000})
        small = daemon.submit("add", {"a": 1, "b": 1})
        assert daemon.response(large).error_code == "NO_RESOURCES"
        assert daemon.response(small).data == {"sum": 2}


# Workers that cannot be started ----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["memory.create", "doorbell.create", "channel.pair", "channel.send"])
def test_a_worker_that_cannot_be_started_now_is_started_later(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    with daemon_of(workers=2) as daemon:
        pids = pids_of(daemon, 2)
        module, _, name = what.partition(".")
        original = getattr(import_module(f"arbd.host.{module}"), name)
        failing = Failing(original, NO_DESCRIPTOR)
        monkeypatch.setattr(f"arbd.host.{module}.{name}", failing)
        os.kill(pids[0], signal.SIGKILL)
        eventually(lambda: failing.failed >= 2)
        assert daemon.run("add", {"a": 1, "b": 1}).data == {"sum": 2}
        failing.is_failing = False
        assert len(set(pids_of(daemon, 2)) - set(pids)) == 1


def test_a_machine_without_processes_costs_nothing_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker serves all the time; the other comes back when there is a process for it."""
    monkeypatch.setattr("arbd.core.restarts.FIRST_PAUSE_S", 0.01)
    target = tmp_path / "tight.py"
    full = tmp_path / "full"
    target.write_text(
        f"{HEAD}{ECHO}"
        f"fork = os.fork\n"
        f"def tight():\n    if Path({str(full)!r}).exists(): raise BlockingIOError(11, 'no process')\n"
        f"    return fork()\n"
        f"os.fork = tight\n"
        "@provider.actions.register(name='hold', timeout=20)\n"
        f"def hold():\n    while Path({str(full)!r}).exists(): time.sleep(0.01)\n    return 'finished'\n"
    )
    with daemon_of(target, workers=2) as daemon:
        pids = pids_of(daemon, 2)
        full.touch()
        running = daemon.submit("hold")
        eventually(lambda: any(w.cell.running().since_ns for w in daemon.daemon.pool.workers.values()))
        [idle] = [w.pid for w in daemon.daemon.pool.workers.values() if not w.cell.running().since_ns]
        os.kill(idle, signal.SIGKILL)
        time.sleep(1.0)  # with so many failures in a row a daemon that has nobody left would have given up
        full.unlink()
        assert daemon.response(running).data == "finished"
        assert len(set(pids_of(daemon, 2)) - set(pids)) == 1


def test_a_machine_that_has_nothing_for_anybody_ends_the_daemon_with_71(monkeypatch: pytest.MonkeyPatch) -> None:
    with ending_with_71() as daemon:
        monkeypatch.setattr("arbd.core.restarts.MAX_MACHINE_FAILURES", 3)
        monkeypatch.setattr(memory, "create", Failing(memory.create, NO_DESCRIPTOR))
        os.kill(serving(daemon).pid, signal.SIGKILL)
        eventually(daemon.daemon._stop_requested.is_set)


def test_a_reload_whose_limits_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    target, place = tmp_path / "limited.py", tmp_path / "run"
    target.write_text(HEAD + ECHO)
    with daemon_of(target, workers=2, runtime_dir=str(place)) as daemon:
        pids = pids_of(daemon, 2)
        target.write_text(
            HEAD.replace("Provider(name='p')", "Provider(name='p', rate_limit_monitor=monitor)").replace(
                "provider =",
                "from arbd.rate_limit import SharedRateLimitMonitor\n"
                "monitor = SharedRateLimitMonitor(max_requests=5, window_size=60, name='new')\nprovider =",
            )
            + ECHO
        )
        place.write_text("no directory")
        daemon.reload()
        generations = daemon.daemon._generations
        assert generations is not None
        eventually(lambda: on_loop(daemon, lambda: generations.is_loading))
        eventually(lambda: not on_loop(daemon, lambda: generations.is_loading))
        assert pids_of(daemon, 2) == pids
        assert len(daemon.daemon.pool.workers) == 2
        os.kill(pids[0], signal.SIGKILL)  # and the old code goes on in earnest: it is what workers are made of
        eventually(lambda: pids[0] not in (now := pids_of(daemon, 2)) and pids[1] in now)
        assert responses(daemon, [daemon.submit("echo", {"n": 1})])[0].data["payload"] == {"n": 1}


# Zygotes ---------------------------------------------------------------------------------------------------------


def test_a_zygote_for_whose_successor_there_is_no_process_is_replaced_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_of(workers=2) as daemon:
        before = zygote_of(daemon)
        failing = Failing(subprocess.Popen, NO_DESCRIPTOR)
        monkeypatch.setattr(subprocess, "Popen", failing)
        before.kill()
        eventually(lambda: failing.failed >= 2)
        failing.is_failing = False
        assert daemon.run("add", {"a": 1, "b": 1}).data == {"sum": 2}
        assert zygote_of(daemon).pid != before.pid


def test_code_that_is_broken_for_a_moment_when_the_zygote_dies_is_loaded_again(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "flaky.py"
    target.write_text(HEAD + ECHO)
    with Arbd.run(hub.address, tmp_path, target=target) as arbd:
        arbd.wait_serving()
        target.write_text("raise RuntimeError('half of a deployment')\n")
        [zygote] = arbd.family()["arbd:zygote"]
        os.kill(zygote, signal.SIGKILL)
        arbd.wait_event("reload_failed", 2)
        target.write_text(HEAD + ECHO)
        arbd.wait_event("reloaded")
        [task_id] = hub.submit("echo", {"n": 2})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_code_that_stays_broken_after_it_has_served_ends_the_daemon_with_71(hub: Hub, tmp_path: Path) -> None:
    """Which is to be started again: a deployment may take longer than the daemon tries."""
    target = tmp_path / "broken.py"
    target.write_text(HEAD + ECHO)
    with Arbd.run(hub.address, tmp_path, target=target, before=HURRIED) as arbd:
        arbd.wait_serving()
        target.write_text("raise RuntimeError('broken for good')\n")
        [zygote] = arbd.family()["arbd:zygote"]
        os.kill(zygote, signal.SIGKILL)
        assert arbd.exit_code() == EXIT_UNEXPECTED
        assert "broken for good" in arbd.events("reload_failed")[-1]["reason"]
        assert len(arbd.events("no_zygote")) == 1


def test_zygotes_that_die_when_they_fork_are_not_loaded_for_ever(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "deadly.py"
    target.write_text(HEAD + ECHO + "os.register_at_fork(before=lambda: os._exit(3))\n")
    with Arbd.run(hub.address, tmp_path, target=target, before=HURRIED) as arbd:
        assert arbd.exit_code() == EXIT_ZYGOTE
        assert 3 <= len(arbd.events("zygote_lost")) <= 10


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives_module, "SILENCE_S", 0.3)


def test_a_stopped_zygote_is_noticed_when_a_worker_dies(impatient: None, tmp_path: Path) -> None:
    """What it ran is told at once, its place is filled, and who serves goes on serving."""
    with daemon_of(workers=2) as daemon:
        pids = pids_of(daemon, 2)
        zygote = zygote_of(daemon)
        gates = [Gate(tmp_path, "one"), Gate(tmp_path, "two")]
        lost, kept = [daemon.submit("hold", gate.payload) for gate in gates]
        assert {gate.pid for gate in gates} == set(pids)
        zygote.suspend()
        os.kill(gates[0].pid, signal.SIGKILL)
        assert daemon.response(lost, timeout=3).error_code == "WORKER_LOST"
        gates[1].open()
        assert daemon.response(kept).status == "success"
        eventually(lambda: set(pids_of(daemon, 2)).isdisjoint(pids))
        eventually(lambda: not is_alive(zygote.pid) and not is_alive(pids[0]) and not is_alive(pids[1]))
        assert len(responses(daemon, [daemon.submit("echo", {}) for _ in range(20)])) == 20


def test_a_stopped_zygote_is_noticed_when_a_worker_is_asked_of_it(impatient: None) -> None:
    with daemon_of() as daemon:
        zygote = zygote_of(daemon)
        zygote.suspend()
        on_loop(daemon, lambda: daemon.daemon.pool.kill(serving(daemon)))
        assert daemon.run("add", {"a": 1, "b": 1}).data == {"sum": 2}
        eventually(lambda: not is_alive(zygote.pid))


def test_a_zygote_that_was_only_slow_does_no_harm(impatient: None) -> None:
    """It wakes up when its successor is there already, and does what it was asked for long ago."""
    with daemon_of(workers=2) as daemon:
        pids = pids_of(daemon, 2)
        zygote = zygote_of(daemon)
        zygote.suspend()
        os.kill(pids[0], signal.SIGKILL)
        eventually(lambda: set(pids_of(daemon, 2)).isdisjoint(pids))
        try:
            zygote.resume()
        except psutil.NoSuchProcess:
            pass  # it was ended before that
        assert len(responses(daemon, [daemon.submit("echo", {}) for _ in range(50)])) == 50
        eventually(lambda: not is_alive(zygote.pid))
        assert len(daemon.daemon.pool.workers) == 2


# Reloads ---------------------------------------------------------------------------------------------------------


def test_many_reloads_at_once_are_few(hub: Hub, tmp_path: Path) -> None:
    with Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        for _ in range(200):
            arbd.signal(signal.SIGHUP)
        arbd.wait_event("reloaded")
        arbd.wait_event("worker_ready", 4)
        [task_id] = hub.submit("echo", {"n": 3})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert len(arbd.events("reloaded")) <= 5


def test_an_import_that_hangs_gives_way_to_the_next_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations_module, "_ABANDON_S", 0.1)
    monkeypatch.setattr(generations_module, "_LOAD_MANY_TIMES", 0)
    target = tmp_path / "hanging.py"
    target.write_text(HEAD + ECHO)
    with daemon_of(target) as daemon:
        before = serving(daemon).pid
        target.write_text(HEAD + ECHO + "time.sleep(600)\n")
        daemon.reload()
        eventually(lambda: zygotes() == 2)
        time.sleep(0.2)
        target.write_text(HEAD + ECHO)
        daemon.reload()
        eventually(lambda: [w.pid for w in daemon.daemon.pool.workers.values()] not in ([before], []))
        assert daemon.run("echo", {"n": 1}).status == "success"
        eventually(lambda: zygotes() == 1)


def test_an_import_that_hangs_is_given_up_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations_module, "_LOAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(generations_module, "_LOAD_MANY_TIMES", 0)
    target = tmp_path / "hanging.py"
    target.write_text(HEAD + ECHO)
    with daemon_of(target) as daemon:
        target.write_text(HEAD + ECHO + "time.sleep(600)\n")
        generations = daemon.daemon._generations
        assert generations is not None
        daemon.reload()
        eventually(lambda: on_loop(daemon, lambda: generations.is_loading))
        eventually(lambda: not on_loop(daemon, lambda: generations.is_loading))
        assert daemon.run("echo", {"n": 1}).status == "success"


# A page that cannot be believed ----------------------------------------------------------------------------------

STRAY = """
import ctypes, hashlib, re
from arbd.ipc import layout

@provider.actions.register(name="stray", timeout=0.2)
def stray(since: int):
    "What a stray store of C code would do to the page, and then C code that does not come back."
    maps = Path("/proc/self/maps").read_text()
    at = int(re.search(r"([0-9a-f]+)-.*arbd-cell", maps).group(1), 16)
    ctypes.c_uint64.from_address(at + 8 * layout.RUNNING_SINCE_NS).value = since
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
"""


@pytest.mark.parametrize("since", [0, 1 << 62])
def test_a_worker_that_overwrites_its_own_page_is_killed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: int
) -> None:
    monkeypatch.setattr("arbd.core.deadlines.SLACK_NS", 300_000_000)
    target = tmp_path / "stray.py"
    target.write_text(HEAD + ECHO + STRAY)
    with daemon_of(target) as daemon:
        pid = serving(daemon).pid
        late = daemon.submit("stray", {"since": since})
        after = [daemon.submit("echo", {"n": n}) for n in range(5)]
        assert daemon.response(late).error_code == "TIMEOUT"
        assert [r.data["payload"]["n"] for r in responses(daemon, after)] == list(range(5))
        assert not is_alive(pid)


# The drain -------------------------------------------------------------------------------------------------------


def test_a_result_that_is_published_while_the_drain_kills_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(tmp_path)
    with daemon_of(drain_timeout=0.2) as daemon:
        running = daemon.submit("hold", gate.payload)
        assert gate.pid
        worker = serving(daemon)
        kill = daemon.daemon.pool.kill

        def finish_first(condemned: Any) -> None:
            gate.open()
            eventually(lambda: tasks_done(worker) == 1)
            kill(condemned)

        monkeypatch.setattr(daemon.daemon.pool, "kill", finish_first)
        daemon.stop()
        assert daemon.response(running).status == "success"
        assert kinds(daemon, running) == ONCE


# Descriptors -----------------------------------------------------------------------------------------------------


def limited(soft: int, hard: int, *command: str) -> list[str]:
    """A command line that runs ``arbd`` under a limit of descriptors."""
    code = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        f"os.execv(sys.executable, [sys.executable, '-m', 'arbd', *sys.argv[1:]])"
    )
    return ["-c", code, *command]


def run_flags(hub: Hub, workers: int) -> list[str]:
    flags = ["--hub", hub.address, "--name", "prov", "--workers", str(workers), "--no-pin"]
    return ["run", str(ZOO), *flags, "--log-format", "json", "--log-level", "debug"]


def test_a_low_soft_limit_is_raised(hub: Hub, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Arbd(limited(90, hard, *run_flags(hub, 24)), tmp_path) as arbd:
        arbd.wait_serving(24)
        [task_id] = hub.submit("echo", {"n": 1})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_a_hard_limit_that_is_too_low_is_told_with_its_numbers(hub: Hub, tmp_path: Path) -> None:
    with Arbd(limited(90, 90, *run_flags(hub, 24)), tmp_path) as arbd:
        assert arbd.exit_code() == EXIT_CONFIG
        assert "24 workers need 432 open files, and the limit is 90" in arbd.log.read_text()


def test_very_many_workers_start(hub: Hub, tmp_path: Path) -> None:
    """More messages than the socket to the zygote holds, and more descriptors than may be on their way."""
    with Arbd([*("-m", "arbd"), *run_flags(hub, 300)], tmp_path) as arbd:
        arbd.wait_event("worker_ready", 300, timeout_s=60)
        assert not arbd.events("worker_not_started")
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


# The beginning ---------------------------------------------------------------------------------------------------


def test_a_hang_up_while_it_starts_is_a_reload_for_later(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "slow.py"
    target.write_text(HEAD + ECHO + f"Path({str(tmp_path / 'loading')!r}).touch()\ntime.sleep(0.3)\n")
    with Arbd.run(hub.address, tmp_path, target=target) as arbd:
        eventually((tmp_path / "loading").exists)
        arbd.signal(signal.SIGHUP)
        arbd.wait_event("reloaded")
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_a_sandbox_that_forbids_pinning_is_no_reason_not_to_serve(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import os\n"
        "def forbidden(*_): raise PermissionError(1, 'Operation not permitted')\n"
        "os.sched_setaffinity = forbidden\n"
        "from arbd.cli import main\n"
        "main()\n"
    )
    flags = ["--hub", hub.address, "--name", "prov", "--workers", "2", "--log-format", "json"]
    with Arbd(["-c", code, "run", str(ZOO), *flags], tmp_path) as arbd:
        [line] = arbd.wait_event("not_pinned")
        assert "sched_setaffinity" in line["hint"]
        [task_id] = hub.submit("echo", {"n": 5})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_a_worker_whose_cpu_is_gone_works_all_the_same(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "unplugged.py"
    target.write_text(
        f"{HEAD}{ECHO}\ndef unplugged(*_): raise OSError(22, 'Invalid argument')\nos.sched_setaffinity = unplugged\n"
    )
    flags = ["--hub", hub.address, "--name", "prov", "--workers", "2", "--log-format", "json"]
    with Arbd([*("-m", "arbd", "run"), str(target), *flags], tmp_path) as arbd:
        lines = arbd.wait_event("not_pinned", 2)
        assert {line["role"] for line in lines} == {"worker"}
        [task_id] = hub.submit("echo", {"n": 6})
        assert hub.results()[task_id].status == "success"
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


# What a second reading has found ---------------------------------------------------------------------------------


def test_a_zygote_that_forks_slowly_is_not_taken_for_one_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives_module, "SILENCE_S", 0.6)
    target = tmp_path / "large.py"
    target.write_text(HEAD + ECHO + "os.register_at_fork(before=lambda: time.sleep(0.25))\n")
    with daemon_of(target, workers=6) as daemon:
        pids_of(daemon, 6)
        generations = daemon.daemon._generations
        assert generations is not None
        assert (zygotes(), on_loop(daemon, lambda: generations.is_loading)) == (1, False)


def test_who_boots_slowly_does_not_bring_code_that_was_given_up(tmp_path: Path) -> None:
    target = tmp_path / "versions.py"
    target.write_text(HEAD + ECHO)
    with daemon_of(target, workers=2) as daemon:
        pids = pids_of(daemon, 2)
        first = tmp_path / "first"
        target.write_text(
            f"{HEAD}\n@provider.actions.register(name='other')\ndef other(): return 'new'\n"
            f"def boot():\n"
            f"    try: os.open({str(first)!r}, os.O_CREAT | os.O_EXCL)\n"
            f"    except FileExistsError: os._exit(9)\n"
            f"    time.sleep(3)\n"
            f"os.register_at_fork(after_in_child=boot)\n"
        )
        daemon.reload()
        eventually(first.exists)
        eventually(lambda: on_loop(daemon, lambda: len(daemon.daemon.pool.workers) == 2))  # gone back
        assert pids_of(daemon, 2) == pids
        time.sleep(1.5)  # the slow one would be ready by now
        assert {r.data["pid"] for r in responses(daemon, [daemon.submit("echo") for _ in range(20)])} <= set(pids)
        assert daemon.run("other").message == "Action 'other' not found"


def test_the_first_request_to_stop_is_no_second_one(tmp_path: Path) -> None:
    """Something unexpected has made the daemon stop; then somebody asks it to."""
    gate = Gate(tmp_path)
    with ending_with_71() as daemon:
        running = daemon.submit("hold", gate.payload)
        assert gate.pid
        in_loop(daemon, injected)
        eventually(daemon.daemon._stop_requested.is_set)
        daemon.stop()
        time.sleep(0.1)
        gate.open()
        assert daemon.response(running).status == "success"


def test_results_of_a_worker_that_died_are_taken_although_one_of_them_cannot_be_kept(
    deep_rings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ending_with_71() as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path, "one")
        held = daemon.submit("hold", gate.payload)
        worker = serving(daemon)
        assert gate.pid == worker.pid
        handles = [daemon.submit("echo", {"n": n}) for n in range(5)]
        wait_outstanding(daemon, worker, 6)
        outbox = daemon.daemon._drain._flow.outbox  # type: ignore[union-attr] # there is a drain
        append, failures = outbox.append, iter([RuntimeError("injected")])

        def flaky(outcome: Any) -> None:
            for error in failures:
                raise error
            append(outcome)

        done = tasks_done(worker)
        with frozen(daemon):
            gate.open()
            eventually(lambda: tasks_done(worker) == done + 6)
            os.kill(worker.pid, signal.SIGKILL)
            monkeypatch.setattr(outbox, "append", flaky)
        assert [daemon.response(handle).status for handle in (held, *handles)] == ["success"] * 6
