"""Names of sockets: private from the first moment, taken over from the dead, never from the living."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arbd.host import control_socket
from arbd.host.control_socket import ControlSocket, connect, is_listening, listen, peer_of

NAMES = ["p.sock", "p@2.sock", "p@3.sock"]


@contextmanager
def listening(directory: Path, names: list[str] = NAMES) -> Iterator[ControlSocket]:
    found = listen(directory, names)
    try:
        yield found
    finally:
        found.close()


def leave_behind(path: Path) -> None:
    """A socket whose process has died."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_a_connection_gets_through_and_tells_who_is_at_the_other_end(tmp_path: Path) -> None:
    with listening(tmp_path) as found:
        assert found.path == tmp_path / "p.sock"
        with connect(found.path, 1) as ours:
            theirs, _ = found.listener.accept()
            with theirs:
                ours.sendall(b"hello")
                theirs.setblocking(True)
                assert theirs.recv(10) == b"hello"
                assert peer_of(theirs) == (os.getpid(), os.geteuid(), os.getegid())
                assert peer_of(ours) == peer_of(theirs)


def test_who_has_hung_up_is_told_from_who_has_no_more_to_say() -> None:
    here, there = socket.socketpair()
    with here:
        with there:
            assert not control_socket.has_hung_up(here)
            there.sendall(b"x")
            there.shutdown(socket.SHUT_WR)
            assert not control_socket.has_hung_up(here)
        assert control_socket.has_hung_up(here), "also with something to read"
    assert control_socket.has_hung_up(here), "closed on this side"


def test_only_its_owner_may_open_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with listening(tmp_path) as found:
            assert found.path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_it_is_not_inherited_by_other_programs(tmp_path: Path) -> None:
    with listening(tmp_path) as found:
        assert not os.get_inheritable(found.listener.fileno())


def test_each_of_several_gets_a_name_of_its_own(tmp_path: Path) -> None:
    with listening(tmp_path) as one, listening(tmp_path) as two, listening(tmp_path) as three:
        assert [each.path.name for each in (one, two, three)] == NAMES
        with pytest.raises(OSError, match="another process listens there"):
            listen(tmp_path, NAMES)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_became_free_is_used_again(tmp_path: Path) -> None:
    with listening(tmp_path) as one, listening(tmp_path) as two:
        one.close()
        with listening(tmp_path) as again:
            assert [two.path.name, again.path.name] == ["p@2.sock", "p.sock"]


def test_the_name_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    leave_behind(tmp_path / "p.sock")
    assert not is_listening(tmp_path / "p.sock")
    with listening(tmp_path) as found:
        assert found.path.name == "p.sock"
        assert is_listening(found.path)


def test_one_whose_queue_is_full_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_BACKLOG", 0)
    with listening(tmp_path) as found, connect(found.path, 1):
        assert is_listening(found.path)
        with listening(tmp_path) as other:
            assert other.path.name == "p@2.sock"


def test_what_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "p.sock").write_text("precious")
    (tmp_path / "p@2.sock").symlink_to(tmp_path / "elsewhere")
    with listening(tmp_path) as found:
        assert found.path.name == "p@3.sock"
    assert (tmp_path / "p.sock").read_text() == "precious"
    assert (tmp_path / "p@2.sock").is_symlink()


def test_at_the_end_only_the_own_name_is_removed(tmp_path: Path) -> None:
    with listening(tmp_path) as found:
        found.path.unlink()
        with listening(tmp_path) as successor:
            assert successor.path == found.path
            found.close()
            assert is_listening(successor.path)


def test_a_path_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    with listening(deep) as found, connect(found.path, 1):
        assert is_listening(found.path)


def test_many_that_start_at_once_all_get_different_names(tmp_path: Path) -> None:
    leave_behind(tmp_path / "n1.sock")
    code = (
        "import sys; from pathlib import Path; from arbd.host.control_socket import listen\n"
        "kept = listen(Path(sys.argv[1]), [f'n{i}.sock' for i in range(1, 20)])\n"
        "print(kept.path.name, flush=True)\n"
        "sys.stdin.read()\n"
    )
    many = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    try:
        names = [process.stdout.readline().strip() for process in many if process.stdout]
    finally:
        for process in many:
            process.communicate()
    assert sorted(names) == [f"n{i}.sock" for i in range(1, 9)]


def test_a_lock_that_is_never_given_back_is_an_error_and_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "_LOCK_TIMEOUT_S", 0.02)
    holder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="stays locked by another process"):
            listen(tmp_path, NAMES)
    finally:
        os.close(holder)


def test_to_connect_where_nobody_is(tmp_path: Path) -> None:
    leave_behind(tmp_path / "dead.sock")
    with pytest.raises(ConnectionRefusedError):
        connect(tmp_path / "dead.sock", 1)
    with pytest.raises(FileNotFoundError):
        connect(tmp_path / "none.sock", 1)
    with pytest.raises(FileNotFoundError):
        connect(tmp_path / "no" / "none.sock", 1)


def test_to_connect_waits_for_a_place_in_a_full_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_BACKLOG", 0)
    with listening(tmp_path) as found, connect(found.path, 1):
        with pytest.raises(BlockingIOError):
            connect(found.path, 0.05)
        found.listener.setblocking(True)
        accepted: list[socket.socket] = []
        thread = threading.Timer(0.05, lambda: accepted.append(found.listener.accept()[0]))
        thread.start()
        with connect(found.path, 10):
            thread.join()
        accepted[0].close()
