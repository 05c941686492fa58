"""The process that boots a systemd in namespaces of its own, and sees that nothing of it is left.

It ends with its standard input: when whoever holds the other end of that pipe ends, in whatever way, the systemd and
all its processes are killed, and its cgroups removed; DIRECTORY, too, unless whoever started this still runs. Should
this process be killed itself, the kernel kills the systemd, and the next keeper removes the cgroups. First line of
standard output: the pid of that systemd.

    python rig_keeper.py DIRECTORY DENIED SOURCE_TREE PYTHON_PREFIX PYTHON_VERSION BYTECODE PACKAGES...
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_PREFIX: Final = "arbd-rig-"
_BOOT: Final = Path(__file__).with_name("rig_boot.sh")
_UNSHARE: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *(
        "unshare",
        "--mount",
        "--pid",
        "--ipc",
        "--uts",
        "--cgroup",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
    ),
)
_CLONE_NEWNS: Final = 0x20000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_MNT_DETACH: Final = 2


def main() -> int:
    base = Path(sys.argv[1])
    parent = os.getppid()
    cgroups = _mounted_cgroups(base)
    _remove_left(cgroups)
    own = cgroups / f"{_PREFIX}{os.getpid()}"
    own.mkdir()
    boot = subprocess.Popen(
        ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', own, *_UNSHARE, "sh", _BOOT, *sys.argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        _tell_child(boot)
        _wait_for_the_end(boot)
    finally:
        boot.kill()
        boot.wait()
        _remove(own)
        if os.getppid() != parent:
            _unmount_and_remove(base)
    return 0


def _mounted_cgroups(base: Path) -> Path:
    """The machine's second version of cgroups, mounted where only this process and its children see it: it may be
    mounted elsewhere, or nowhere."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mount namespace of its own")
    path = base / "cgroups"
    path.mkdir()
    if libc.mount(b"cgroup2", os.fsencode(path), b"cgroup2", 0, None):
        raise OSError(ctypes.get_errno(), "cgroups, version 2, cannot be mounted")
    return path


def _tell_child(boot: subprocess.Popen[bytes]) -> None:
    """Print the pid of the first process in the namespaces, as soon as there is one."""
    children = Path(f"/proc/{boot.pid}/task/{boot.pid}/children")
    while boot.poll() is None:
        if child := children.read_text().strip():
            print(child, flush=True)
            return
        time.sleep(0.005)


def _wait_for_the_end(boot: subprocess.Popen[bytes]) -> None:
    """Until it has ended, or standard input."""
    ended = os.pidfd_open(boot.pid)
    select.select([sys.stdin, ended], [], [])
    os.close(ended)


def _remove_left(cgroups: Path) -> None:
    """Remove what a keeper that was killed has left."""
    for left in cgroups.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX)}").exists():
            _remove(left)


def _remove(cgroup: Path, timeout_s: float = 5.0) -> None:
    """Remove a cgroup and all below it, whose processes are about to end."""
    deadline = time.monotonic() + timeout_s
    while cgroup.exists():
        try:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(directory)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _unmount_and_remove(base: Path) -> None:
    """Remove the directory that nobody else will."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.umount2(os.fsencode(base / "cgroups"), _MNT_DETACH)
    shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
