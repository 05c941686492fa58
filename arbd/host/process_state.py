"""The state every process of arbd begins with, whoever started it: a shell, a service manager, a container, cron.

    descriptors 0, 1, 2     open, on /dev/null where they were not: else the next socket or eventfd gets such a number,
                            and is taken for standard error, or closed by a library that knows what 0 to 2 are
    signals                 none blocked; SIGCHLD default, so that children can be waited for; SIGPIPE ignored, as
                            Python does itself: a write to nobody is an error of that write. What ``subprocess``
                            starts has it back
    one spare descriptor    ``arbd.host.reserve``

Not the handlers of a role, which come after it; but see ``arbd.host.hangup``.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from typing import Final

from arbd.host import reserve

_STANDARD: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def establish(*, keep_handler: bool = False) -> None:
    """Establish that state. From the main thread, at the start, and once more after foreign code was imported.

    ``keep_handler``: leave a function that the author's code has for SIGCHLD. Only where nobody waits for children.
    """
    _open_standard_descriptors()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if not (keep_handler and callable(signal.getsignal(signal.SIGCHLD))):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    reserve.hold()


def _open_standard_descriptors() -> None:
    for fd, (name, mode) in enumerate(_STANDARD):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:  # Python found the descriptor closed
            setattr(sys, name, io.TextIOWrapper(io.FileIO(fd, mode, closefd=False), "utf-8", "backslashreplace"))


def limit_open_files(soft: int) -> None:
    """Give back to the author's code the descriptor limit that the operator has set; 0: leave it.

    The supervisor raises its own, and children inherit that. But there is code that closes every number up to the
    limit, or cannot ``select`` on one above 1,023.
    """
    if not soft:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError):
        pass  # the hard limit was lowered meanwhile: what is in force is lower still
