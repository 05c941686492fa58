"""Become a user that nothing else belongs to, then run a command: ``python -m bench.faults.user UID COMMAND...``.

Root is the one user for whom a limit of processes does not hold. The new user may still read what root may, because
interpreter and code may be where only root can look; it has no other power.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import struct
import subprocess
import sys
import tempfile
from typing import Final, NoReturn

import psutil

_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAP_DAC_READ_SEARCH: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_FIRST_UID: Final = 61_184  # systemd's own range for users that exist only while something runs
_UIDS: Final = 4_000


def run_as_somebody_else(command: list[str]) -> None:
    """If this is root, replace this process by that command as a user of its own; return if that cannot be done."""
    if os.geteuid() != 0:
        return
    taken = {process.uids().real for process in psutil.process_iter()} | {entry.pw_uid for entry in pwd.getpwall()}
    first = _FIRST_UID + os.getpid() % _UIDS  # so that two at a time do not take the same
    uid = next(uid for uid in range(first, first + _UIDS) if uid not in taken)
    # Whether that user can read the code, and has a place for files.
    probe = _command_as(uid, ["-c", "import tempfile, arbd.supervisor.main; tempfile.TemporaryFile().close()"])
    if subprocess.run(probe, env=_environment(), capture_output=True, check=False).returncode == 0:
        os.execve(sys.executable, _command_as(uid, command), _environment())


def _environment() -> dict[str, str]:
    return {**os.environ, "HOME": tempfile.gettempdir()}  # root's is closed to it


def _command_as(uid: int, arguments: list[str]) -> list[str]:
    """The command line that runs this interpreter with these arguments as that user."""
    return [sys.executable, "-m", "bench.faults.user", str(uid), *arguments]


def _become(uid: int) -> None:
    """Be that user from here on, and in whatever is executed. Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    may = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _check(libc.capset(header, struct.pack("6I", may, may, may, 0, 0, 0)))  # effective, permitted, inheritable
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def main(uid: int, arguments: list[str]) -> NoReturn:
    """Become that user and run this interpreter with these arguments."""
    _become(uid)
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
