"""arbd starts on Linux on x86-64, and elsewhere says why not, all at once."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from arbd.errors import ConfigError
from arbd.host import channel, procs
from arbd.host.platform import require_supported


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_supported(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    require_supported()


def test_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ConfigError) as caught:
        require_supported()
    assert caught.value.problems == [
        "arbd's queues rely on the store order of x86-64; on aarch64 a task could be read before it is written, "
        "so arbd does not start here"
    ]


def failing(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


def problems() -> list[str]:
    with pytest.raises(ConfigError) as caught:
        require_supported()
    return caught.value.problems


def test_a_python_that_was_built_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert problems() == [
        "arbd needs pidfd_open (to watch and kill exactly the right process): Linux 5.3 or newer, and a Python that "
        "was built with it"
    ]


@pytest.mark.parametrize(
    ("module", "name", "told"),
    [
        (os, "pidfd_open", "pidfd_open "),
        (signal, "pidfd_send_signal", "pidfd_send_signal "),
        (os, "memfd_create", "memfd_create with seals "),
        (fcntl, "fcntl", "memfd_create with seals "),
        (os, "eventfd", "eventfd "),
        (channel, "pair", "sockets of sequenced packets "),
        (procs, "prctl", "prctl(PR_GET_PDEATHSIG) "),
    ],
)
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EPERM, "EPERM: something forbids the call. A container runtime with an old seccomp profile"),
        (errno.ENOSYS, "ENOSYS: the kernel is older than Linux"),
        (errno.EMFILE, "EMFILE: no descriptor is left; raise the limit"),
        (errno.EIO, "EIO: Input/output error"),
    ],
)
def test_a_call_that_fails_is_told_with_its_error_and_a_remedy(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, told: str, number: int, remedy: str
) -> None:
    """Each call is made: one that is there and forbidden would show itself much later, as something else."""
    monkeypatch.setattr(module, name, failing(number))
    [problem] = problems()
    assert problem.startswith(f"arbd needs {told}")
    assert remedy in problem


def test_all_that_fails_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "eventfd", failing(errno.EPERM))
    monkeypatch.setattr(os, "memfd_create", failing(errno.EPERM))
    assert len(problems()) == 2


def test_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    require_supported()
    assert os.listdir("/proc/self/fd") == before


def test_another_system_and_processor_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    with pytest.raises(ConfigError) as caught:
        require_supported()
    system, processor = caught.value.problems
    assert system == "arbd needs Linux (pidfd, memfd, eventfd); this is darwin"
    assert "arm64" in processor
