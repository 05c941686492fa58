"""Processes: killing by handle, dying with the parent, names."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

from arbd.errors import EXIT_UNEXPECTED

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int | bytes) -> None:
    """One setting of this process or thread. Raises ``OSError`` where the kernel refuses it."""
    if _libc.prctl(option, argument if isinstance(argument, bytes) else ctypes.c_ulong(argument), 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    ``parent`` is the process that should be the parent: if it is gone already, the signal never comes, so leave now.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def require_parent_death_signal() -> None:
    """Raise ``OSError`` where a process cannot be made to die with its parent; changes nothing."""
    current = ctypes.c_int()
    prctl(_PR_GET_PDEATHSIG, ctypes.addressof(current))


def outlive_parent() -> None:
    """Undo ``die_with_parent``."""
    prctl(_PR_SET_PDEATHSIG, 0)


def become_subreaper() -> None:
    """Have the kernel make children of this process what descends from it and loses its parent, whatever session or
    group that is in. Raises ``OSError`` where that is forbidden."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set the name that ``ps`` and ``top`` show: at most 15 bytes."""
    prctl(_PR_SET_NAME, name.encode()[:15])


CANCEL_SIGNAL: Final = signal.SIGRTMIN + 1
"""What tells a worker to look whether its task was cancelled. Not SIGUSR1 or 2: those are the author's."""


def signal_cancel(pidfd: int) -> None:
    """Send a worker the signal at which it looks at its cancelled tasks."""
    try:
        signal.pidfd_send_signal(pidfd, CANCEL_SIGNAL)
    except ProcessLookupError:
        pass  # it has ended already


def kill(pidfd: int) -> bool:
    """SIGKILL by process handle: it can never hit another process. ``False`` if it has ended already."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_gone(pidfd: int, timeout: float | None = None) -> None:
    """Wait until a process has ended, at most ``timeout`` seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(None if timeout is None else timeout * 1000)


def kill_group(leader: int) -> None:
    """SIGKILL to every process of a group. Safe while its leader is not reaped, or was just now: until then the number
    is taken, and the kernel gives numbers out in turn."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody is left, or only what runs as somebody else now
        pass


UNKNOWN_STATUS: Final = 255
"""The exit code of a process whose end somebody else has been told of."""


def reap(leader: int) -> int:
    """Wait for a child's end; kill what its group still has, while its number is taken; its exit code, or minus the
    signal that killed it.

    The author's code can take that away, by a signal handler that waits for any child: then ``UNKNOWN_STATUS``.
    """
    wait_ended(leader)
    kill_group(leader)
    return wait(leader)


def wait_ended(child: int) -> None:
    """Wait for a child's end, and leave its status where it is: until that is read the number is taken."""
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # somebody else has been told of it
        pass


def wait(child: int) -> int:
    """Wait for a child's end; its exit code, or minus the signal that killed it, or ``UNKNOWN_STATUS``."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        return UNKNOWN_STATUS


def fork(run: Callable[[], NoReturn]) -> tuple[int, int]:
    """Fork a child that does nothing but ``run``, in a group of its own, and dies with this process; its number and its
    pidfd. Raises ``OSError`` if either cannot be had; then there is no child."""
    parent = os.getpid()  # not the child's getppid(): this process may have ended by then
    child = os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            os.setpgid(0, 0)
            run()
        except BaseException:
            traceback.print_exc()
        finally:  # never back into what the parent was doing
            os._exit(EXIT_UNEXPECTED)
    return child, open_child(child)


def open_child(child: int) -> int:
    """The pidfd of a child that was just started. If none can be had it is ended, and ``OSError`` raised."""
    try:
        return os.pidfd_open(child)
    except OSError:
        kill_and_reap(child)
        raise


def kill_and_reap(child: int) -> None:
    """End a child of which there is no handle: its number is taken until it is reaped here."""
    try:
        os.kill(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    reap(child)


def threads_of_this_process() -> list[str]:
    """Names of all threads of this process, native ones included; the first is the main one."""
    names = []
    for tid in sorted(os.listdir("/proc/self/task"), key=int):
        with open(f"/proc/self/task/{tid}/comm", encoding="utf-8", errors="replace") as comm:
            names.append(comm.read().strip())
    return names
