"""What a zygote cannot have for a moment is told and asked for again; what nobody expected ends it with code 71, its
workers with it, after a traceback. The author always reads why the module could not be loaded."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Arbd, daemon_of, eventually, is_alive
from zygote_support import LOG, WorkerEnds, ZygoteProcess

from arbd.errors import EXIT_UNEXPECTED, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.host import channel
from arbd.ipc import frame
from arbd.ipc import zygote_protocol as protocol
from arbd.supervisor.describe import describe

HEAD = (
    "import errno, os, signal, socket, sys, threading, time\nfrom arbd import Provider\nprovider = Provider(name='p')\n"
)
ECHO = "\n@provider.actions.register(name='echo')\ndef echo(payload): return {'pid': os.getpid(), 'payload': payload}\n"
THREADS = "\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"

#: ``tight("fork", errno.EAGAIN, 2)``: the next two calls of ``os.fork`` fail, or those after so many others.
TIGHT = """
def tight(name, number, times, module=os, after=0):
    real, calls = getattr(module, name), []
    def call(*arguments, **named):
        calls.append(1)
        if after < len(calls) <= after + times:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)
    setattr(module, name, call)
"""


# What was wrong with the module ----------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "\\u0436"])
def test_an_endless_text_of_an_exception_reaches_the_author(tmp_path: Path, letter: str) -> None:
    (tmp_path / "broken.py").write_text(
        f"def connect(): raise RuntimeError('no table of that name: ' + '{letter}' * 200_000)\nconnect()\n"
    )
    with pytest.raises(ZygoteError) as caught:
        describe(str(tmp_path / "broken.py"), [], os.environ)
    text = str(caught.value)
    assert "RuntimeError: no table of that name: " in text
    assert "in connect" in text


def test_any_number_of_problems_reaches_the_operator(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from arbd.errors import ConfigError\nraise ConfigError([f'problem {n}: ' + 'ж' * 500 for n in range(500)])\n"
    )
    with pytest.raises(ConfigError) as caught:
        describe(str(tmp_path / "broken.py"), [], os.environ)
    assert caught.value.problems[0].startswith("problem 0: ж")
    assert "problems more" in caught.value.problems[-1]


def test_a_broken_pipe_of_the_module_s_own_is_told(tmp_path: Path) -> None:
    """It used to be taken for the end of the supervisor."""
    (tmp_path / "broken.py").write_text("raise BrokenPipeError(32, 'the database hung up')\n")
    with pytest.raises(ZygoteError, match="the database hung up"):
        describe(str(tmp_path / "broken.py"), [], os.environ)


def test_an_endless_text_ends_the_daemon_with_code_70(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no such table ' + 'ж' * 100_000)\n")
    with Arbd.run("127.0.0.1:1", tmp_path, target=tmp_path / "broken.py") as arbd:
        assert arbd.exit_code() == EXIT_ZYGOTE
        assert "RuntimeError: no such table ж" in arbd.log.read_text()


# Stopped ---------------------------------------------------------------------------------------------------------


def test_one_that_is_stopped_is_replaced_without_systemd_a_hub_or_a_task(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(HEAD + ECHO)
    with Arbd.run("127.0.0.1:1", tmp_path, target=tmp_path / "stopped.py") as arbd:
        arbd.wait_serving()
        [zygote] = arbd.family()["arbd:zygote"]
        os.kill(zygote, signal.SIGSTOP)
        arbd.wait_event("zygote_silent", timeout_s=20.0)
        arbd.wait_event("worker_ready", 4)
        eventually(lambda: not is_alive(zygote))
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


# No process to be had --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("tight('fork', errno.EAGAIN, 1)", os.strerror(11)),
        ("tight('fork', errno.ENOMEM, 1)", os.strerror(12)),
        ("tight('pidfd_open', errno.EMFILE, 1)", os.strerror(24)),
        ("tight('pidfd_open', errno.EPERM, 1)", os.strerror(1)),
        (THREADS + "tight('posix_spawn', errno.EAGAIN, 1)", os.strerror(11)),
        (THREADS + "tight('memfd_create', errno.EMFILE, 1, after=1)", os.strerror(24)),  # the first is the description
        (THREADS + "tight('pidfd_open', errno.EMFILE, 1)", os.strerror(24)),
    ],
)
def test_a_worker_that_cannot_be_started_is_told_with_the_reason(tmp_path: Path, fault: str, reason: str) -> None:
    with ZygoteProcess(tmp_path, HEAD + ECHO + TIGHT + fault + "\n") as zygote:
        zygote.configure()
        zygote.spawn(1)
        assert zygote.exited() == protocol.Exited(1, 1, reason)
        assert [line["reason"] for line in zygote.events("worker_not_started")] == [reason]
        assert children_of(zygote.process.pid) == [], "what was started and cannot be watched is ended"
        ends = zygote.spawn(2)
        pid = zygote.spawned(2)
        assert ends.results(1)[0].seq == frame.READY_SEQ
        ends.leave()
        assert zygote.exited() == protocol.Exited(2, 0)
        assert not is_alive(pid)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_zygote_without_free_descriptors_says_so(tmp_path: Path) -> None:
    """The kernel drops the descriptors of a message that find no number."""
    with ZygoteProcess(tmp_path, HEAD + ECHO) as zygote:
        zygote.configure()
        zygote.spawn(1, handles=(0, 0, 0))
        exited = zygote.exited()
        assert (exited.worker_id, "no free descriptors" in exited.reason) == (1, True)
        zygote.spawn(2)
        zygote.spawned(2)


@pytest.mark.parametrize("number", [errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM])
def test_a_worker_that_cannot_be_told_of_for_a_moment_is_told_of_then(tmp_path: Path, number: int) -> None:
    """So many descriptors are in flight, of all that this user runs."""
    fault = f"tight('send_fds', {number}, 4, socket, after=1)\n"
    with ZygoteProcess(tmp_path, HEAD + ECHO + TIGHT + fault) as zygote:
        zygote.configure()
        zygote.spawn(1)
        assert is_alive(zygote.spawned(1))


def test_one_that_cannot_be_told_of_at_all_is_ended(tmp_path: Path) -> None:
    fault = "tight('send_fds', errno.ETOOMANYREFS, 200, socket, after=1)\n"
    with ZygoteProcess(tmp_path, HEAD + ECHO + TIGHT + fault) as zygote:
        zygote.configure()
        zygote.spawn(1)
        assert zygote.exited() == protocol.Exited(1, 1, os.strerror(errno.ETOOMANYREFS))
        assert children_of(zygote.process.pid) == []


@pytest.mark.parametrize("has_reserve", [True, False])
def test_a_module_that_holds_all_descriptors_is_told_that(tmp_path: Path, has_reserve: bool) -> None:
    """Also where it has closed arbd's reserve, so that nothing can be looked at at all."""
    no_reserve = """
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        if "arbd-reserve" in os.readlink(f"/proc/self/fd/{fd}"):
            os.close(fd)
    except FileNotFoundError:
        pass
"""
    hog = """
import resource
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    while True: held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
"""
    (tmp_path / "hog.py").write_text(HEAD + ECHO + ("" if has_reserve else no_reserve) + hog)
    with pytest.raises(ZygoteError, match=f"the module holds all 64 descriptors .*: {os.strerror(errno.EMFILE)}"):
        describe(str(tmp_path / "hog.py"), [], os.environ)


# What the module has set -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
    ],
)
def test_the_end_of_a_worker_is_told_whatever_the_module_has_set(tmp_path: Path, fault: str) -> None:
    with ZygoteProcess(tmp_path, HEAD + ECHO + fault + "\n") as zygote:
        zygote.configure()
        zygote.spawn(1)
        zygote.spawn(2)
        one, _other = zygote.spawned(1), zygote.spawned(2)
        os.kill(one, signal.SIGKILL)
        assert zygote.exited() == protocol.Exited(1, -signal.SIGKILL)


def test_a_module_that_ends_at_sigterm_does_not_end_zygote_and_workers(tmp_path: Path) -> None:
    """The signal goes to the whole control group: they leave when the supervisor has drained."""
    with ZygoteProcess(tmp_path, HEAD + ECHO + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n") as zygote:
        zygote.configure()
        ends = zygote.spawn(1)
        pid = zygote.spawned(1)
        ends.results(1)
        for process in (pid, zygote.process.pid):
            os.kill(process, signal.SIGTERM)
        assert answer(ends)["data"]["pid"] == pid


def test_the_module_s_own_handler_for_sigchld_is_there_in_workers(tmp_path: Path) -> None:
    text = """
signal.signal(signal.SIGCHLD, lambda *_: None)
@provider.actions.register(name="handler")
def handler(): return callable(signal.getsignal(signal.SIGCHLD))
"""
    with ZygoteProcess(tmp_path, HEAD + text) as zygote:
        zygote.configure()
        ends = zygote.spawn(1)
        zygote.spawned(1)
        ends.results(1)
        assert answer(ends)["data"] is True


def answer(ends: WorkerEnds) -> dict[str, Any]:
    """What a worker that is ready says to a task for the first action of its module."""
    ends.push(frame.encode_task(1, 5.0, 0, b"id", b"{}", b""))
    [result] = ends.results(1)
    response: dict[str, Any] = json.loads(result.body)
    return response


@pytest.mark.parametrize("start", ["", THREADS])
def test_workers_have_the_descriptor_limit_of_the_operator(tmp_path: Path, start: str) -> None:
    """The supervisor raises its own; code of authors may close every number up to the limit."""
    text = """
import resource
@provider.actions.register(name="limit")
def limit(): return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""
    with ZygoteProcess(tmp_path, HEAD + text + start, open_files=123) as zygote:
        zygote.configure()
        ends = zygote.spawn(1)
        zygote.spawned(1)
        ends.results(1)
        assert answer(ends)["data"] == 123


# What nobody expected --------------------------------------------------------------------------------------------


def test_a_zygote_that_fails_ends_with_71_and_its_workers_with_it(tmp_path: Path) -> None:
    fault = "\ndef broken(*_): raise RuntimeError('a bug')\nos.waitid = broken\n"
    with ZygoteProcess(tmp_path, HEAD + ECHO + fault) as zygote:
        zygote.configure()
        for worker_id in (1, 2):
            zygote.spawn(worker_id)
        one, other = zygote.spawned(1), zygote.spawned(2)
        os.kill(one, signal.SIGKILL)
        assert zygote.process.wait(10) == EXIT_UNEXPECTED
        [line] = zygote.events("zygote_failed")
        assert line["level"] == "critical"
        assert "RuntimeError: a bug" in line["exception"]
        eventually(lambda: not is_alive(other))


def test_a_non_daemon_thread_of_the_module_s_does_not_keep_it(tmp_path: Path) -> None:
    fault = "\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    with ZygoteProcess(tmp_path, HEAD + ECHO + fault) as zygote:
        zygote.configure()
        channel.send(zygote.control, b"\xc1")
        assert zygote.process.wait(10) == EXIT_UNEXPECTED


@pytest.mark.parametrize("message", [b"\xc1", b"\x80", protocol.encode(protocol.Boot("x", [], False, LOG))])
def test_a_message_that_is_not_understood_ends_it_with_71(tmp_path: Path, message: bytes) -> None:
    with ZygoteProcess(tmp_path, HEAD + ECHO) as zygote:
        zygote.configure()
        channel.send(zygote.control, message)
        assert zygote.process.wait(10) == EXIT_UNEXPECTED
        assert len(zygote.events("zygote_failed")) == 1


def test_a_supervisor_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    with ZygoteProcess(tmp_path, HEAD + ECHO) as zygote:
        zygote.configure()
        zygote.spawn(1)
        pid = zygote.spawned(1)
        zygote.control.close()
        assert zygote.process.wait(10) == 0
        assert zygote.events("zygote_failed") == []
        eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize("start", ["", THREADS])
def test_a_worker_that_fails_ends_with_71_after_a_traceback(tmp_path: Path, start: str) -> None:
    with ZygoteProcess(tmp_path, HEAD + ECHO + start) as zygote:
        zygote.configure()
        ends = zygote.spawn(1)
        zygote.spawned(1)
        ends.results(1)
        ends.push(b"no task")
        assert zygote.exited() == protocol.Exited(1, EXIT_UNEXPECTED)
        [line] = zygote.events("worker_failed")
        assert (line["level"], line["role"], line["worker"]) == ("critical", "worker", 0)
        assert "struct.error" in line["exception"]


def test_a_module_that_loads_in_the_zygote_alone_is_told(tmp_path: Path) -> None:
    fault = "if 'arbd.worker' in sys.orig_argv: sys.exit('not here')\n"
    with ZygoteProcess(tmp_path, HEAD + ECHO + THREADS + fault) as zygote:
        zygote.configure()
        zygote.spawn(1)
        zygote.spawned(1)
        assert zygote.exited() == protocol.Exited(1, EXIT_ZYGOTE)
        [line] = zygote.events("worker_not_loaded")
        assert "SystemExit: not here" in line["exception"]


def test_a_daemon_goes_on_with_another_zygote(tmp_path: Path) -> None:
    """One that failed, in a daemon: its workers are replaced, and the next task is answered."""
    target = tmp_path / "broken.py"
    fault = """
def broken(*_):
    if not os.path.exists(MARK):
        open(MARK, "w").close()
        raise RuntimeError("a bug")
    return waitid(*_)
waitid, os.waitid = os.waitid, broken
""".replace("MARK", repr(str(tmp_path / "mark")))
    target.write_text(HEAD + ECHO + fault)
    with daemon_of(target) as daemon:
        first = daemon.run("echo", {}).data["pid"]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        assert daemon.run("echo", {}).data["pid"] != first
        assert (tmp_path / "mark").exists()
