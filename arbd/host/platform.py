"""What arbd needs of the machine, tried once at start.

The calls are made, not looked for by name: a container's seccomp profile answers with an error to a call that kernel
and Python have, and each later failure would look like something else.
"""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from arbd.errors import ConfigError
from arbd.host import channel, doorbell, memory, procs


class _Need(NamedTuple):
    """A call of the kernel: what for, and since when there is such a thing."""

    name: str
    purpose: str
    linux: str
    attempt: Callable[[], None]


def require_supported() -> None:
    """Raise ``ConfigError`` on a machine whose memory order or kernel arbd was not built for."""
    problems: list[str] = []
    if not sys.platform.startswith("linux"):
        problems.append(f"arbd needs Linux (pidfd, memfd, eventfd); this is {sys.platform}")
    else:
        problems += filter(None, map(_problem, _NEEDS))
    if platform.machine() not in ("x86_64", "AMD64"):
        problems.append(
            f"arbd's queues rely on the store order of x86-64; on {platform.machine()} a task could be read "
            "before it is written, so arbd does not start here"
        )
    if problems:
        raise ConfigError(problems)


def _problem(need: _Need) -> str | None:
    try:
        need.attempt()
    except AttributeError:
        return (
            f"arbd needs {need.name} ({need.purpose}): Linux {need.linux} or newer, and a Python that was built with it"
        )
    except OSError as exc:
        name = errno.errorcode.get(exc.errno or 0, str(exc.errno))
        return f"arbd needs {need.name} ({need.purpose}), and here it fails with {name}: {_remedy(need, exc.errno)}"
    return None


def _remedy(need: _Need, number: int | None) -> str:
    if number == errno.ENOSYS:
        return f"the kernel is older than Linux {need.linux}, or something hides the call"
    if number in (errno.EPERM, errno.EACCES):
        return (
            "something forbids the call. A container runtime with an old seccomp profile answers so to every call it "
            "does not know: update the runtime and its libseccomp, or run with a profile that allows "
            f"{need.name}; under systemd look at SystemCallFilter="
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return "no descriptor is left; raise the limit (ulimit -n, LimitNOFILE=)"
    return os.strerror(number or 0)


def _pidfd_open() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _pidfd_send_signal() -> None:
    """Signal 0: nothing is sent."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError):
        return  # told already
    try:
        signal.pidfd_send_signal(pidfd, 0)
    finally:
        os.close(pidfd)


def _memfd() -> None:
    os.close(memory.create("arbd-check", 4096))


def _eventfd() -> None:
    bell = doorbell.create(blocking=False)
    try:
        doorbell.ring(bell)
        doorbell.clear(bell)
    finally:
        os.close(bell)


def _descriptors_by_socket() -> None:
    one, other = channel.pair()
    with one, other:
        channel.send(one, b"x", (one.fileno(),))
        for fd in channel.receive(other)[1]:
            os.close(fd)


_NEEDS: Final = (
    _Need("pidfd_open", "to watch and kill exactly the right process", "5.3", _pidfd_open),
    _Need("pidfd_send_signal", "to kill exactly the right process", "5.1", _pidfd_send_signal),
    _Need("memfd_create with seals", "for the memory between supervisor and workers", "3.17", _memfd),
    _Need("eventfd", "to wake who sleeps", "2.6.27", _eventfd),
    _Need("sockets of sequenced packets", "to hand descriptors to workers", "2.6.4", _descriptors_by_socket),
    _Need("prctl(PR_GET_PDEATHSIG)", "so that no worker outlives its daemon", "2.6", procs.require_parent_death_signal),
)
