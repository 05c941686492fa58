"""A process's children, all of them, however the kernel can be asked; and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from arbd.host import children


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def test_a_child_is_listed_until_it_is_reaped(child: subprocess.Popen[bytes]) -> None:
    assert child.pid in children.of_this_process()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid in children.of_this_process()
    child.wait()
    assert child.pid not in children.of_this_process()


def test_those_of_other_threads_are_listed_too() -> None:
    started: list[subprocess.Popen[bytes]] = []
    looked = threading.Event()

    def start() -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        looked.wait(30)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not started:
            pass
        assert started[0].pid in children.of_this_process()
    finally:
        looked.set()
        thread.join()
        started[0].kill()
        started[0].wait()


def test_a_kernel_without_lists_is_asked_for_parents(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open

    def without_lists(path: str, *arguments: str, **named: str) -> object:
        if str(path).endswith("/children"):
            raise FileNotFoundError
        return real(path, *arguments, **named)  # type: ignore[call-overload] # whatever the caller opens it with

    monkeypatch.setattr("builtins.open", without_lists)
    monkeypatch.setattr(os.path, "exists", lambda path: not path.endswith("/children"))
    assert child.pid in children.of_this_process()
    assert children.of(child.pid) == []


def test_a_proc_of_another_namespace_lists_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda _: "1")
    assert not children.can_be_listed()
    assert children.of_this_process() == []


def test_no_proc_at_all_lists_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "readlink", missing)
    monkeypatch.setattr(os, "listdir", missing)
    assert not children.can_be_listed()
    assert (children.of(1), children.everybody()) == ([], [])


@pytest.mark.parametrize(
    ("stat", "found"),
    [
        (b"5 (sh) S 4 5 5 0", ("S", 4)),
        (b"5 (a) b (c) S 77 (d)) R 4 5 5 0", ("R", 4)),
        (b"5 (\n) Z 1", ("Z", 1)),
        (b"", ("", 0)),
    ],
)
def test_state_and_parent_in_the_kernel_s_text(stat: bytes, found: tuple[str, int]) -> None:
    assert children.parse_stat(stat) == found


def test_a_zombie_is_told_from_one_that_lives(child: subprocess.Popen[bytes]) -> None:
    assert children.is_zombie(child.pid) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert children.is_zombie(child.pid) is True


def test_a_stopped_one_is_told_from_one_that_sleeps(child: subprocess.Popen[bytes]) -> None:
    assert children.is_stopped(child.pid) is False
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert children.is_stopped(child.pid) is True
    os.kill(child.pid, signal.SIGCONT)
    assert children.is_stopped(2**22 + 1) is False


def test_what_is_gone_has_no_parent_and_no_name() -> None:
    gone = 2**22 + 1
    assert (children.parent_of(gone), children.name_of(gone), children.is_resource_tracker(gone)) == (0, "", False)


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        ("from multiprocessing.resource_tracker import main;main(5)", True),
        ("from joblib.externals.loky.backend.resource_tracker import main; main(5, False)", True),
        ("from multiprocessing.spawn import spawn_main; spawn_main()", False),
        ("from multiprocessing.forkserver import main", False),
    ],
)
def test_a_resource_tracker_is_known_by_its_command(code: str, is_one: bool) -> None:
    command = [sys.executable, "-c", f"import sys\nprint(flush=True)\nsys.stdin.read()\n# {code}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # until a program has begun it has no command
        assert children.is_resource_tracker(process.pid) is is_one
        process.kill()
