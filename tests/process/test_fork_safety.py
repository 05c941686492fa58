"""What a module leaves open at import reaches no second worker: each has its own, by opening it again or by exec; what
forbids a fork is told, with its place."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_support import Arbd, Hub, daemon_of, eventually, responses
from import_support import PID, THREAD, described, echo_server, leftovers, written

LINES = [f"line {n}" for n in range(300)]


# What is found --------------------------------------------------------------------------------------------------

CONNECTED = """
import socket
server = socket.create_server(("127.0.0.1", 0))
class Client:
    def __init__(self): self.sock = socket.create_connection(server.getsockname())
client = Client()
accepted, _ = server.accept()
"""


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        (CONNECTED, "sockets", ["tcp connection to 127.0.0.1:", "(left.client.sock)"]),
        ("import socket\nfresh = socket.socket()\n", "sockets", ["tcp socket", "not connected", "(left.fresh)"]),
        ("import socket\nends = socket.socketpair()\n", "pipes", ["a pair of unix sockets", "(left.ends)"]),
        ("ends = os.pipe()\n", "pipes", ["a pipe"]),
        ("import multiprocessing\nqueue = multiprocessing.Queue()\n", "pipes", ["a pipe", "(left.queue"]),
        ("import select\nseen = {'poll': select.epoll()}\n", "kernel_objects", ["eventpoll", "(left.seen)"]),
        ("number = os.eventfd(0)\n", "kernel_objects", ["eventfd"]),
        ("import asyncio\nloop = asyncio.new_event_loop()\n", "event_loop", ["(left.loop)"]),
        (
            "import asyncio\nasyncio.set_event_loop(asyncio.new_event_loop())\n",
            "event_loop",
            ["asyncio.get_event_loop()"],
        ),
        ("import uvloop\nclass Held: loop = uvloop.new_event_loop()\n", "event_loop", ["(left.Held.loop)"]),
        ("import sqlite3\nstore = sqlite3.connect(__file__ + '.db')\n", "databases", ["sqlite", ".db", "(left.store)"]),
        ("import tempfile\nscratch = tempfile.TemporaryFile()\n", "scratch_files", ["(left.scratch)"]),
        ("terminal = os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)\n", "devices", ["/dev/ptmx"]),
        (THREAD, "threads", ["thread left", "Event.wait", "left.py"]),
        (
            "import sys, types\nsys.modules['numba.np.ufunc.omppool'] = types.ModuleType('omppool')\n",
            "libraries",
            ["numba"],
        ),
    ],
)
def test_what_forbids_a_fork_is_told_with_its_place(tmp_path: Path, text: str, kind: str, told: list[str]) -> None:
    found = leftovers(tmp_path, text)
    assert [name for name, leftover in found.items() if leftover.by_exec] == [kind]
    assert [words for words in told if words not in " ".join(found[kind].found)] == []
    assert "exec" in found[kind].hint
    assert "NUM_THREADS" not in found[kind].hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n",
        "handle, listing = open(__file__), os.scandir('/')\nnext(listing)\n",
        "nothing, chance = open('/dev/null', 'w'), os.open('/dev/urandom', os.O_RDONLY)\n",
        "import sqlite3\nstore = sqlite3.connect(':memory:')\n",
        "import asyncio\nasyncio.run(asyncio.sleep(0))\n",
        "import subprocess\nsubprocess.run(['true'], check=True)\n",
        "import threading\nthread = threading.Thread(target=int)\nthread.start()\nthread.join()\n",
        "import multiprocessing\nlock = multiprocessing.Lock()\n",
        "import ctypes\nctypes.CDLL(None)\nitself = os.pidfd_open(os.getpid())\n",
        "import mmap\nshared = mmap.mmap(-1, 4096)\n",
        "log = open(__file__ + '.log', 'w')\nlog.write('begun')\n",
        "import numpy as np\nnp.linalg.solve(np.eye(200), np.ones(200))\n",
    ],
)
def test_what_can_be_forked_is_not_told(tmp_path: Path, text: str) -> None:
    found = described(tmp_path, text)
    assert (found.leftovers, found.threads, found.by_exec) == ([], [], False)


def test_a_lock_is_told_and_stays_held(tmp_path: Path) -> None:
    """Whoever opens a file once more and closes it loses the locks of its process on it: not by looking at it."""
    text = "import fcntl\nguard = open(__file__ + '.lock', 'w+')\nfcntl.lockf(guard, fcntl.LOCK_EX)\n" + PID
    target = written(tmp_path, text)
    with daemon_of(target, workers=2) as daemon:
        responses(daemon, [daemon.submit("pid") for _ in range(20)])
        with open(f"{target}.lock", "r+") as other, pytest.raises(BlockingIOError):
            fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found = leftovers(tmp_path, text)
    assert (list(found), found["locks"].by_exec) == (["locks"], False)
    assert "(left.guard)" in found["locks"].found[0]


def test_a_module_that_leaves_no_descriptor_can_be_described(tmp_path: Path) -> None:
    """Nothing is left to look with, so nothing is told; and nothing fails."""
    text = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True: held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    held.pop(); os.close(held[-1]); held.pop()
"""
    assert described(tmp_path, text).given == {"name": "p", "execution_timeout": 20}


def test_the_cost_of_exec_is_measured(tmp_path: Path) -> None:
    found = described(tmp_path, "import time\nballast = b'x' * 50_000_000\ntime.sleep(0.3)\n" + THREAD)
    assert found.by_exec
    assert found.load_s >= 0.3
    assert found.load_bytes >= 50_000_000
    assert "MB of its own" in found.exec_cost


# What follows ---------------------------------------------------------------------------------------------------


def test_each_worker_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """59 of 60 tasks used to succeed with another task's answer (gunicorn#1953)."""
    text = """
import socket, time
stream = socket.create_connection(("127.0.0.1", int(os.environ["ECHO_PORT"]))).makefile("rwb", 0)
@provider.actions.register(name="ask")
def ask(n):
    stream.write(f"{n}\\n".encode())
    time.sleep(0.001)
    return {"answer": stream.readline().decode().strip(), "pid": os.getpid()}
"""
    target = written(tmp_path, text)
    with echo_server() as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHO_PORT", port)
        with daemon_of(target, workers=2) as daemon:
            found = responses(daemon, [daemon.submit("ask", {"n": n}) for n in range(60)])
    assert [each.data["answer"] for each in found] == [str(n) for n in range(60)]
    assert len({each.data["pid"] for each in found}) == 2


def test_it_is_one_line_of_the_log_for_each_kind(tmp_path: Path) -> None:
    target = written(tmp_path, CONNECTED + "import select\npolls = [select.epoll() for _ in range(3)]\n" + PID)
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target) as arbd:
        arbd.wait_serving()
        warned = [line for line in arbd.events() if "found" in line]
        assert [line["event"] for line in warned] == [
            "module_leaves_sockets",
            "module_leaves_kernel_objects",
            "module_leaves_ports",
        ]
        assert "imports the module again" in warned[0]["cost"]
        assert "arbd:zygote" not in str(warned)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def _text_file(path: Path) -> None:
    path.write_text("".join(f"{line}\n" for line in LINES))


def _zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for line in LINES:
            archive.writestr(line, line * 20)


def _tar_file(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for line in LINES:
            member = tarfile.TarInfo(line)
            data = (line * 20).encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _npz_file(path: Path) -> None:
    with path.open("wb") as out:
        arrays: dict[str, Any] = {line: np.full(50, number) for number, line in enumerate(LINES)}
        np.savez(out, **arrays)


OPENED = {
    "text": (_text_file, "f = open(path)\nhead = f.readline()", "f.seek(0); return f.read().split('\\n')[n]"),
    "unbuffered": (_text_file, "f = open(path, 'rb', 0)", "f.seek(0); return f.read(99999).decode().split('\\n')[n]"),
    "update": (_text_file, "f = open(path, 'r+')", "f.seek(0); return f.read().split('\\n')[n]"),
    "deleted": (
        _text_file,
        "f = open(path); os.unlink(path)",
        "f.seek(0); return f.read().split('\\n')[n]",
    ),
    "renamed": (
        _text_file,
        "f = open(path); os.rename(path, path + '.old'); open(path, 'w').write('another')",
        "f.seek(0); return f.read().split('\\n')[n]",
    ),
    "zip": (
        _zip_file,
        "import zipfile\nf = zipfile.ZipFile(path)",
        "return f.read(f'line {n}').decode()[-len(f'line {n}'):]",
    ),
    "tar": (
        _tar_file,
        "import tarfile\nf = tarfile.open(path)\nf.getmembers()",
        "return f.extractfile(f'line {n}').read().decode()[-len(f'line {n}'):]",
    ),
    "npz": (_npz_file, "import numpy\nf = numpy.load(path)", "return f'line {f[f\"line {n}\"][7]}'"),
}


@pytest.mark.parametrize("kind", OPENED)
def test_each_worker_reads_its_own_file(tmp_path: Path, kind: str) -> None:
    """A shared offset: 10 to 227 of 300 used to fail."""
    write, opened, read = OPENED[kind]
    data = tmp_path / "data"
    write(data)
    text = f"path = {str(data)!r}\n{opened}\n@provider.actions.register(name='read')\ndef read(n):\n    {read}\n"
    with daemon_of(written(tmp_path, text), workers=2) as daemon:
        found = responses(daemon, [daemon.submit("read", {"n": n}) for n in range(300)])
        os.kill(daemon.worker_pids[0], signal.SIGKILL)
        eventually(lambda: len(daemon.worker_pids) == 2)
        found += responses(daemon, [daemon.submit("read", {"n": n}) for n in range(300)])
    assert [each.data for each in found] == LINES * 2


def test_a_worker_goes_on_where_the_import_has_stopped(tmp_path: Path) -> None:
    _text_file(tmp_path / "data")
    text = f"""
f = open({str(tmp_path / "data")!r})
for _ in range(5): f.readline()
@provider.actions.register(name="next")
def next_line(): return [os.getpid(), f.readline().strip(), os.get_inheritable(f.fileno())]
"""
    with daemon_of(written(tmp_path, text), workers=2) as daemon:
        found = [response.data for response in responses(daemon, [daemon.submit("next") for _ in range(40)])]
    for pid in {pid for pid, *_ in found}:
        lines = [line for one, line, _ in found if one == pid]
        assert lines == LINES[5 : 5 + len(lines)]
    assert {inheritable for *_, inheritable in found} == {False}


@pytest.mark.parametrize("mode", ["a", "w"])
def test_lines_of_all_workers_are_in_a_file_that_is_written(tmp_path: Path, mode: str) -> None:
    """What the import has written is there once, though each worker had it in its buffer."""
    log = tmp_path / "log"
    text = f"""
log = open({str(log)!r}, {mode!r})
log.write("head\\n")
@provider.actions.register(name="write")
def write(n):
    log.write(f"{{n}}\\n")
    log.flush()
"""
    with daemon_of(written(tmp_path, text), workers=3) as daemon:
        responses(daemon, [daemon.submit("write", {"n": n}) for n in range(100)])
    assert log.read_text().startswith("head\n")
    assert sorted(log.read_text().split()) == sorted(["head", *map(str, range(100))])


def test_what_the_import_prints_is_there_once(tmp_path: Path) -> None:
    target = written(tmp_path, "print('printed at import')\n" + PID)
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, env={"PYTHONUNBUFFERED": ""}) as arbd:
        arbd.wait_serving()
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        told = arbd.out.read_text() + arbd.log.read_text()
    assert told.count("printed at import") == 1


def test_a_scratch_file_is_each_worker_s_own(tmp_path: Path) -> None:
    text = """
import tempfile, time
scratch = tempfile.TemporaryFile("w+")
@provider.actions.register(name="through")
def through(n):
    scratch.seek(0); scratch.truncate(); scratch.write(f"number {n}"); scratch.flush()
    time.sleep(0.002)
    scratch.seek(0)
    return scratch.read()
"""
    with daemon_of(written(tmp_path, text), workers=2) as daemon:
        found = responses(daemon, [daemon.submit("through", {"n": n}) for n in range(60)])
    assert [each.data for each in found] == [f"number {n}" for n in range(60)]


def test_a_listener_is_shared(tmp_path: Path) -> None:
    """As the workers of a web server share theirs."""
    text = """
import socket
server = socket.create_server(("127.0.0.1", 0))
@provider.actions.register(name="port")
def port(): return server.getsockname()[1]
"""
    with daemon_of(written(tmp_path, text), workers=2) as daemon:
        ports = {each.data for each in responses(daemon, [daemon.submit("port") for _ in range(40)])}
    assert len(ports) == 1


# A trial of a worker ----------------------------------------------------------------------------------------------


def check(directory: Path, text: str, **env: str) -> tuple[int, str]:
    """``arbd check`` of such a provider: exit code and output."""
    target = written(directory, text)
    with Arbd(["-m", "arbd", "check", str(target)], directory, env) as arbd:
        return arbd.exit_code(60), arbd.out.read_text() + arbd.log.read_text()


BOUND = """
import socket
taken = socket.socket()
taken.bind(("127.0.0.1", int(os.environ["PORT"])))
taken.listen()
"""


def free_port() -> str:
    """A port that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def test_check_tells_that_the_zygote_holds_what_a_worker_needs(tmp_path: Path) -> None:
    """The daemon ended with 70, while ``check`` said "No problems"."""
    port = free_port()
    code, told = check(tmp_path, BOUND + THREAD + PID, PORT=port)
    assert code == 78
    assert "problem: a worker, started by exec, does not start" in told
    assert "arbd:zygote" in told
    assert "on_worker_start" in told
    assert check(tmp_path, BOUND + PID, PORT=port)[0] == 0  # forked workers share it


def test_the_daemon_tells_it_too(tmp_path: Path) -> None:
    target = written(tmp_path, BOUND + THREAD + PID)
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=target, env={"PORT": free_port()}) as arbd:
        line = arbd.wait_event("worker_not_loaded")[0]
        assert "arbd:zygote" in line["hint"]


@pytest.mark.parametrize("left", ["", THREAD])
def test_check_starts_one_worker_and_runs_nothing(tmp_path: Path, left: str) -> None:
    said = tmp_path / "said"
    text = (
        f"""
@provider.actions.register(name="never")
def never(): open({str(said)!r}, "w").write("ran")
"""
        + left
    )
    code, told = check(tmp_path, text)
    assert (code, "No problems." in told) == (0, True)
    assert ("workers start by exec" in told) is bool(left)
    assert not said.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("os.register_at_fork(after_in_child=lambda: os._exit(9))\n", "exit code 9"),
        ("os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), 11))\n", "SIGSEGV"),
        (THREAD + "open(__file__ + '.once', 'x')\n", "FileExistsError"),
        (THREAD + "import sys\nif 'arbd.worker.zygote' not in ' '.join(sys.orig_argv): sys.exit('no')\n", "SystemExit"),
    ],
)
def test_check_tells_why_a_worker_does_not_start(tmp_path: Path, text: str, reason: str) -> None:
    code, told = check(tmp_path, text + PID)
    assert code == 78
    assert "does not start" in told
    assert reason in told


def test_check_ends_where_a_worker_does_not_get_ready(tmp_path: Path) -> None:
    text = "import time\nos.register_at_fork(after_in_child=lambda: time.sleep(60))\n"
    code, told = check(tmp_path, text + PID, ARBD_WORKER_START_TIMEOUT="0.5s")
    assert code == 78
    assert "worker.start_timeout" in told
