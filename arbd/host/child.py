"""A Python program of arbd as a child process: exec'd, with a socket to its parent, and what it is told waiting there.

    parent ──exec: python -P -m PROGRAM FD PID──> child
           ──first message, descriptors─────────> reads it when it is ready
           ──end of the stream──────────────────> leaves

Secrets travel in the message, or in a memfd beside it: never in arguments, and the environment is the caller's to
scrub. The last descriptor is the one on which a daemon's processes count the log lines they lose, where there is one.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from arbd import logs
from arbd.host import channel

_started: Final[list[subprocess.Popen[bytes]]] = []


def start(
    program: str, environment: Mapping[str, str], message: bytes, descriptors: tuple[int, ...] = ()
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child; it, and the socket whose end ends it, which does not block. Raises ``OSError`` if there is none to
    be had; nothing is left then."""
    ours, theirs = channel.pair()
    try:
        ours.setblocking(False)
        channel.send(ours, message, (*descriptors, *logs.losses_for_children()))
        process = subprocess.Popen(
            # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
            [sys.executable, "-P", "-m", program, str(theirs.fileno()), str(os.getpid())],
            env=dict(environment),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=logs.stderr_for_children(),
            process_group=0,  # a Ctrl-C in the terminal is for the supervisor, which drains
        )
    except BaseException as error:
        ours.close()
        if isinstance(error, subprocess.SubprocessError):  # the child ended before it became that program
            raise OSError(errno.EAGAIN, str(error)) from error
        raise
    finally:
        theirs.close()
    _started[:] = [*_running(), process]
    return process, ours


def is_waited_for(pid: int) -> bool:
    """Whether this is a process that was started here, and whose status its owner has not read."""
    return any(process.pid == pid for process in _running())


def _running() -> list[subprocess.Popen[bytes]]:
    return [process for process in _started if process.returncode is None]
