"""Actions that leave their worker without descriptors, or make a call of the kernel fail a few times."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from arbd import Provider

provider = Provider(name="exhausted", execution_timeout=20)
_held: list[int] = []
_MODULES: dict[str, Any] = {"os": os, "socket": socket}


@provider.on_worker_start
def limit() -> None:
    """A low limit makes it quick. Set here it stays; that of an action would be put back after it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))


def _fill() -> None:
    """Take every descriptor there is."""
    try:
        while True:
            _held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass


def _steal_reserve(path: str) -> None:
    """What makes itself a daemon closes numbers that it does not know, and gets them for its own files."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if "arbd-reserve" in os.readlink(f"/proc/self/fd/{fd}"):
                mine = os.open(path, os.O_WRONLY | os.O_CREAT)
                os.dup2(mine, fd)
                os.close(mine)
                provider.logger.info("stolen", fd=fd)
                globals()["stolen"] = fd
        except FileNotFoundError:
            continue


def _after(seconds: float, function: Callable[[], None]) -> None:
    def run() -> None:
        time.sleep(seconds)
        function()

    threading.Thread(target=run, daemon=True).start()


def _free() -> None:
    while _held:
        os.close(_held.pop())


@provider.actions.register(name="fill")
def fill(size: int) -> str:
    """Hold every descriptor for good; answer with so many letters."""
    _fill()
    return "x" * size


@provider.actions.register(name="fill_all")
def fill_all(path: str, size: int, free_after: float) -> str:
    """The same, and the reserve is gone, too. ``free_after`` seconds, if above 0, some are free again."""
    _steal_reserve(path)
    _fill()
    if free_after:
        _after(free_after, _free)
    return "x" * size


@provider.actions.register(name="free")
def free() -> str:
    """Close what was held; write to the file that has the reserve's number."""
    _free()
    os.write(globals()["stolen"], b"still mine")
    return "free"


@provider.actions.register(name="failing")
def failing(module: str, call: str, number: int, times: int, size: int) -> str:
    """The next ``times`` calls of a function fail; answer with so many letters."""
    real, left = getattr(_MODULES[module], call), [times]

    def fail(*arguments: Any, **named: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    setattr(_MODULES[module], call, fail)
    return "x" * size


@provider.actions.register(name="unreadable")
def unreadable() -> str:
    """The next read of a parcel finds no memory."""
    real = os.pread

    def fail(*_: int) -> bytes:
        os.pread = real
        raise MemoryError

    os.pread = fail
    return "done"


@provider.actions.register(name="mirror")
def mirror(text: str) -> dict[str, Any]:
    """What came, from where."""
    return {"text": text, "pid": os.getpid()}
