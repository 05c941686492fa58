"""An action that looks into other processes of its user, and one that crashes."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

from arbd import Provider

provider = Provider(name="spy", execution_timeout=20)
register = provider.actions.register
_ATTACH, _DETACH = 16, 17


@register(name="look", payload_schema={"pid": int})
def look(pid: int) -> dict[str, Any]:
    """What of a process can be read: the number of bytes, or the error."""
    found: dict[str, Any] = {name: _read(f"/proc/{pid}/{name}") for name in ("environ", "auxv", "maps", "cmdline")}
    found["fd"] = _open(f"/proc/{pid}/fd/0")  # the list of them is closed by its owner alone, and root is that
    found["mem"] = _open(f"/proc/{pid}/mem")
    libc = ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(_ATTACH, pid, 0, 0)
    found["ptrace"] = "attached" if attached == 0 else "error"
    if attached == 0:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(_DETACH, pid, 0, 0)
    return found


@register(name="crash")
def crash(account: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@register(name="fine", account_schema={"key": str})
def fine(account: dict[str, str]) -> int:
    return len(account["key"])


@register(name="typed", payload_schema={"a": int})
def typed(a: int) -> int:
    return a


@register(name="broken", account_schema={"key": str})
def broken(account: dict[str, str]) -> None:
    raise ValueError("it is broken")


def _read(path: str) -> int | str:
    try:
        with open(path, "rb") as file:
            return len(file.read())
    except OSError:
        return "error"


def _open(path: str) -> int | str:
    try:
        with open(path, "rb"):
            return "open"
    except OSError:
        return "error"
