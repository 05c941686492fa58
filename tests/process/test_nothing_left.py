"""Nothing is left of a daemon, what its actions started included, whichever of its processes ends in whatever way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, eventually, is_alive

from arbd.host import children, tags

LEAVER = PROVIDERS / "leaver.py"
WAYS = ("popen", "new_session", "double_fork", "deaf", "emptied", "stopped", "mp_spawn", "mp_forkserver", "subreaper")


class Left:
    """A daemon whose actions have left processes behind; all are killed at the end of the test."""

    def __init__(self, hub: Hub, arbd: Arbd, children: list[int]) -> None:
        self.hub = hub
        self.arbd = arbd
        self.children = children
        self.pids = [child.pid for child in psutil.Process(arbd.process.pid).children(recursive=True)]

    @property
    def zygote(self) -> int:
        return self.arbd.family()["arbd:zygote"][0]

    def alive(self) -> list[int]:
        return [pid for pid in {*self.pids, *self.children} if is_alive(pid)]

    def kill(self) -> None:
        for pid in {*self.pids, *self.children}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@contextmanager
def left_behind(
    directory: Path, target: Path = LEAVER, ways: tuple[str, ...] = WAYS, **settings: str
) -> Iterator[Left]:
    with Hub() as hub, Arbd.run(hub.address, directory, target=target, env=settings) as arbd:
        arbd.wait_serving()
        tasks = [hub.submit("leave", {"way": way, "path": str(directory / way)})[0] for way in ways]
        results = hub.results()
        left = Left(hub, arbd, [results[task].response["data"]["child"] for task in tasks])
        try:
            assert not [child for child in left.children if not is_alive(child)]
            yield left
        finally:
            left.kill()


def stop(left: Left) -> None:
    left.arbd.signal(signal.SIGTERM)


def stop_at_once(left: Left) -> None:
    left.arbd.signal(signal.SIGTERM)
    left.arbd.signal(signal.SIGTERM)


def quit_it(left: Left) -> None:
    left.arbd.signal(signal.SIGQUIT)


def kill(left: Left) -> None:
    left.arbd.signal(signal.SIGKILL)


def kill_both(left: Left) -> None:
    """No process of the daemon's own that has a say is left, but its watcher."""
    zygote = left.zygote
    left.arbd.signal(signal.SIGKILL)
    os.kill(zygote, signal.SIGKILL)


def kill_zygote_first(left: Left) -> None:
    os.kill(left.zygote, signal.SIGKILL)
    left.arbd.signal(signal.SIGKILL)


@pytest.mark.parametrize("end", [stop, stop_at_once, quit_it, kill, kill_both, kill_zygote_first])
def test_nothing_is_left_however_the_daemon_ends(end: Callable[[Left], None], tmp_path: Path) -> None:
    with left_behind(tmp_path) as left:
        end(left)
        left.arbd.exit_code()
        eventually(lambda: not left.alive(), 2)


def test_nothing_is_left_of_it_when_it_has_ended_in_order(tmp_path: Path) -> None:
    """Not a moment later."""
    with left_behind(tmp_path) as left:
        left.arbd.signal(signal.SIGTERM)
        assert left.arbd.exit_code() == 0
        assert left.alive() == []


def test_a_supervisor_that_is_killed_beside_a_stopped_zygote(tmp_path: Path) -> None:
    with left_behind(tmp_path) as left:
        os.kill(left.zygote, signal.SIGSTOP)
        left.arbd.signal(signal.SIGKILL)
        left.arbd.exit_code()
        eventually(lambda: not left.alive(), 8)


def test_a_zygote_that_is_killed_leaves_nothing_and_the_daemon_goes_on(tmp_path: Path) -> None:
    with left_behind(tmp_path) as left:
        supervisor = psutil.Process(left.arbd.process.pid)
        os.kill(left.zygote, signal.SIGKILL)
        eventually(lambda: not left.alive(), 2)
        eventually(lambda: all(is_alive(c.pid) or not psutil.pid_exists(c.pid) for c in supervisor.children()), 3)
        left.arbd.wait_event("worker_ready", 4)
        left.arbd.signal(signal.SIGTERM)
        assert left.arbd.exit_code() == 0


def watchers_of(zygote: int) -> list[int]:
    """They are no descendants of the daemon's, so that they survive all those."""
    own = tags.of(zygote)
    assert own is not None
    found = [(pid, tag) for pid in children.everybody() if (tag := tags.of(pid)) and tag.worker == tags.WATCH]
    return [pid for pid, tag in found if tags.are_of_one_daemon(tag.generation, own.generation) and is_alive(pid)]


def test_everything_that_descends_from_the_daemon_is_killed_at_once(tmp_path: Path) -> None:
    with left_behind(tmp_path) as left:
        [watcher] = watchers_of(left.zygote)
        assert watcher not in left.pids
        for pid in {left.arbd.process.pid, *left.pids} - set(left.children):
            with suppress(ProcessLookupError):  # the one before took it along
                os.kill(pid, signal.SIGKILL)
        left.arbd.exit_code()
        eventually(lambda: not left.alive() and not is_alive(watcher), 2)


def test_after_a_reload_it_is_the_same(tmp_path: Path) -> None:
    """One watcher for all generations."""
    with left_behind(tmp_path, ways=("double_fork",)) as left:
        [watcher] = watchers_of(left.zygote)
        left.arbd.signal(signal.SIGHUP)
        left.arbd.wait_event("worker_ready", 4)
        eventually(lambda: not is_alive(left.children[0]) and len(left.arbd.family()["arbd:zygote"]) == 1)
        assert watchers_of(left.zygote) == [watcher]
        left.hub.submit("leave", {"way": "double_fork", "path": str(tmp_path / "child")})
        left.hub.results()
        left.children.append(child := int((tmp_path / "child").read_text()))
        assert is_alive(child)
        kill_both(left)
        left.arbd.exit_code()
        eventually(lambda: not left.alive() and not is_alive(watcher), 2)


def test_a_watcher_that_is_killed_is_not_missed_in_an_orderly_end(tmp_path: Path) -> None:
    with left_behind(tmp_path) as left:
        os.kill(watchers_of(left.zygote)[0], signal.SIGKILL)
        left.arbd.signal(signal.SIGTERM)
        assert left.arbd.exit_code() == 0
        assert left.alive() == []


def test_two_generations_leave_nothing(tmp_path: Path) -> None:
    with left_behind(tmp_path, ways=("double_fork",)) as left:
        left.arbd.signal(signal.SIGHUP)
        left.arbd.wait_event("reloaded")
        eventually(lambda: not [pid for pid in left.children if is_alive(pid)], 3)
        left.arbd.signal(signal.SIGTERM)
        assert left.arbd.exit_code() == 0
        assert left.alive() == []


@pytest.mark.parametrize("at_once", [False, True])
def test_a_module_that_has_started_something_before_it_was_loaded(tmp_path: Path, at_once: bool) -> None:
    """The import hangs, and the supervisor is killed, alone or with its zygote."""
    target, child = tmp_path / "slow.py", tmp_path / "child"
    target.write_text(LEAVER.read_text() + f"\nleave('double_fork', {str(child)!r})\ntime.sleep(600)\n")
    with Arbd.run("127.0.0.1:1", tmp_path, target=target) as arbd:
        eventually(child.exists)
        pid = int(child.read_text())
        [zygote] = [c.pid for c in psutil.Process(arbd.process.pid).children() if c.name() == "arbd:zygote"]
        try:
            arbd.signal(signal.SIGKILL)
            if at_once:
                os.kill(zygote, signal.SIGKILL)
            eventually(lambda: not is_alive(pid), 2)
            eventually(lambda: not is_alive(zygote), 2)
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_a_module_that_fails_takes_along_what_it_has_started(tmp_path: Path) -> None:
    target, child = tmp_path / "broken.py", tmp_path / "child"
    target.write_text(LEAVER.read_text() + f"\nleave('double_fork', {str(child)!r})\nraise RuntimeError\n")
    with Arbd.run("127.0.0.1:1", tmp_path, target=target) as arbd:
        assert arbd.exit_code() == 70
        pid = int(child.read_text())
        try:
            eventually(lambda: not is_alive(pid), 2)
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


# Signals ---------------------------------------------------------------------------------------------------------

LINKS = {"ARBD_HUB_LINKS": "1", "ARBD_HUB_PROTOCOL": "unary"}
SHARED_MONITOR = """
from arbd.rate_limit import RateLimitMonitor
class Shared(RateLimitMonitor):
    shared = True
    def check_rate_limits(self): return None
    def make_safe_request(self, function, *args, **kwargs): return function(*args, **kwargs)
provider.rate_limit_monitor = Shared()
"""


def signals() -> list[int]:
    some = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO)
    return [*some, signal.SIGPWR, signal.SIGPIPE, signal.SIGRTMIN, signal.SIGRTMIN + 7, signal.SIGRTMAX]


def test_signals_that_nobody_has_a_use_for(tmp_path: Path) -> None:
    """Each of them, to each of the daemon's own processes: nobody ends, and the log says what came (W15)."""
    target = tmp_path / "monitored.py"
    target.write_text(LEAVER.read_text() + SHARED_MONITOR)
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, env=LINKS) as arbd:
        arbd.wait_serving()
        roles = {"supervisor": arbd.process.pid}
        eventually(lambda: {"arbd:zygote", "arbd:link-1", "arbd:limits"} <= arbd.family().keys())
        arbd.wait_event("hub_connected")
        family = arbd.family()
        roles |= {name: family[f"arbd:{process}"][0] for name, process in ROLES.items()}
        for pid in roles.values():
            for signum in signals():
                os.kill(pid, signum)
                time.sleep(0.005)  # so that it is told of each
        told = len(signals()) - 1  # of SIGPIPE nobody is told
        eventually(lambda: len(arbd.events("signal_ignored")) >= told * len(roles))
        lines = arbd.events("signal_ignored")
        assert {line["role"] for line in lines} == set(roles)
        assert {"SIGUSR1", "SIGUSR2", "SIGALRM", "SIGRTMIN", "SIGRTMIN+7", "SIGRTMAX"} <= {x["signal"] for x in lines}
        hub.submit("echo")
        assert {result.status for result in hub.results().values()} == {"success"}
        assert arbd.family() == family
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


ROLES = {"zygote": "zygote", "link": "link-1", "limits": "limits"}


def test_a_worker_has_the_author_s_signals(tmp_path: Path) -> None:
    """The zygote ignores some; in a worker they do what the module has set, and nothing where it has set nothing."""
    target = tmp_path / "signals.py"
    target.write_text(
        "import os, signal\nfrom arbd import Provider\nprovider = Provider(name='p')\n"
        "signal.signal(signal.SIGUSR2, lambda *_: None)\n"
        "@provider.actions.register(name='look')\n"
        "def look():\n"
        "    found = {s.name: signal.getsignal(s) for s in (signal.SIGUSR1, signal.SIGPWR, signal.SIGCHLD)}\n"
        "    own = callable(signal.getsignal(signal.SIGUSR2))\n"
        "    return {'default': [name for name, each in found.items() if each == signal.SIG_DFL], 'own': own,\n"
        "            'wakeup': signal.set_wakeup_fd(-1)}\n"
    )
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target) as arbd:
        [task] = hub.submit("look")
        data = hub.results()[task].response["data"]
        assert data == {"default": ["SIGCHLD"], "own": True, "wakeup": -1}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
