"""A child finds what it is told in its socket, and ends with it; where none can be started, nothing is left."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbd import logs
from arbd.host import channel, child

PROGRAM = """
import os, socket, sys
from arbd.host import channel
control = socket.socket(fileno=int(sys.argv[1]))
message, descriptors = channel.receive(control)
os.write(descriptors[0], repr((message, len(descriptors), int(sys.argv[2]), os.environ.get("WORD"))).encode())
sys.exit(3 if channel.receive(control)[0] == b"" else 4)
"""


def descriptors_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_is_told_everything_and_ends_with_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text(PROGRAM)
    losses = os.eventfd(0)
    monkeypatch.setattr(logs, "losses_for_children", lambda: (losses,))
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "WORD": "given"}
    answer, theirs = os.pipe()
    process, control = child.start("told", environment, b"message", (theirs,))
    os.close(theirs)
    os.close(losses)
    with control:
        assert os.read(answer, 1000) == repr((b"message", 2, os.getpid(), "given")).encode()
        assert os.getpgid(process.pid) == process.pid
        with pytest.raises(BlockingIOError):
            channel.receive(control)
    assert process.wait(10) == 3
    os.close(answer)


@pytest.mark.parametrize(
    ("error", "number"),
    [(OSError(errno.ENOMEM, "injected"), errno.ENOMEM), (subprocess.SubprocessError("injected"), errno.EAGAIN)],
)
def test_one_that_cannot_be_started_is_an_oserror(
    error: Exception, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "Popen", fail)
    before = descriptors_open()
    with pytest.raises(OSError, match="injected") as caught:
        child.start("told", {}, b"message")
    assert (caught.value.errno, descriptors_open()) == (number, before)


def test_one_that_cannot_be_told_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ETOOMANYREFS, "injected")

    monkeypatch.setattr(channel, "send", fail)
    before = descriptors_open()
    with pytest.raises(OSError, match="injected"):
        child.start("told", {}, b"message")
    assert descriptors_open() == before
