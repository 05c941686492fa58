"""The signal at which this process writes the Python stacks of all its threads into a file, whatever it is doing.

The handler is ``faulthandler``'s, in C: it needs no GIL and no Python code that goes on, so it also answers from code
in C that never returns, from a sleep and from an endless loop. It writes file names, lines and names of functions: no
values. Who asks, and reads the file, is ``arbd.host.stack_dump``.

Not SIGUSR1 or 2: those are the author's. Under it lies a Python handler that does nothing, never the default, which
would end the process: so there is no moment at which asking does harm.
"""

from __future__ import annotations

import ctypes
import faulthandler
import signal
from typing import Final

from arbd.host import dispositions

STACKS_SIGNAL: Final = signal.SIGRTMIN + 3
"""The signal; those before it are ``procs.CANCEL_SIGNAL`` and ``posix_timer.TIMER_SIGNAL``."""

COROUTINES_SIGNAL: Final = signal.SIGRTMIN + 4
"""The signal at which a worker adds where the coroutines of its event loop wait; it has a handler in Python, which the
stacks of threads need not wait for."""

# As they are before the worker's guard wraps them: what is done here is no change of an author's.
_register, _unregister, _set_handler = faulthandler.register, faulthandler.unregister, signal.signal
_RT_SIGACTION: Final = 13  # on x86-64, as in the worker's guard
_ACTION_WORDS: Final = 4  # handler, flags, restorer, mask
_syscall: Final = ctypes.CDLL(None, use_errno=True).syscall
_syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]

_fd = -1
_handler = 0


def answer_into(fd: int) -> None:
    """Answer the signal into this file from now on; -1: there is none. From the main thread."""
    global _fd
    _fd = fd
    if fd < 0:
        return
    if signal.getsignal(STACKS_SIGNAL) is not dispositions.ignored:
        _set_handler(STACKS_SIGNAL, dispositions.ignored)
    renew()


def renew() -> None:
    """Answer it again, if this process ever did: whatever foreign code has made of the handler, or of its file."""
    global _handler
    if _fd < 0:
        return
    # Both: while it believes itself registered, `faulthandler` sets nothing in the kernel.
    _unregister(STACKS_SIGNAL)
    _register(STACKS_SIGNAL, _fd, all_threads=True)
    _handler = _in_force()


def answers(signum: int) -> bool:
    """Whether this is the signal, and this process answers it."""
    return signum == STACKS_SIGNAL and _fd >= 0


def is_lost() -> bool:
    """Whether somebody else handles the signal now."""
    return _fd >= 0 and _in_force() != _handler


def forget() -> None:
    """Give the signal its default back: in a forked child, where it is the author's."""
    global _fd
    if _fd >= 0:
        _fd = -1
        _unregister(STACKS_SIGNAL)
        _set_handler(STACKS_SIGNAL, signal.SIG_DFL)


def _in_force() -> int:
    """The address of the handler that the kernel has. Its flags are left out: they depend on whether an author's code
    has ever enabled ``faulthandler``."""
    action = (ctypes.c_uint64 * _ACTION_WORDS)()
    _syscall(_RT_SIGACTION, STACKS_SIGNAL, None, ctypes.addressof(action), 8)
    return int(action[0])
