"""A provider whose actions hang, each in its way; and some that take away what arbd needs to see where they are."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import itertools
import os
import signal
import threading
import time
from typing import Any

from arbd import Provider

SIGNAL = signal.SIGRTMIN + 3  # arbd's
nowhere = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
provider = Provider(name="stuck")
register = provider.actions.register


def hang(started: str) -> None:
    """Say that it has begun, and hang."""
    with open(started, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)


def say(started: str) -> None:
    with open(started, "w") as file:
        file.write(str(os.getpid()))


@register(name="sleep")
def sleep(payload: Any) -> Any:
    hang(payload["started"])


@register(name="loop")
def loop(payload: Any) -> Any:
    say(payload["started"])
    while True:
        pass


@register(name="holds_gil")
def holds_gil(payload: Any) -> Any:
    say(payload["started"])
    sum(itertools.repeat(1, 10**15))  # nothing in there looks for signals


@register(name="coroutine")
async def coroutine(payload: Any) -> None:
    say(payload["started"])
    await waits_for_ever()


async def waits_for_ever() -> None:
    await asyncio.sleep(60)


@register(name="in_a_thread")
def in_a_thread(payload: Any) -> Any:
    thread = threading.Thread(target=hang, args=(payload["started"],), daemon=True)
    thread.start()
    thread.join()


@register(name="own_faulthandler")
def own_faulthandler(payload: Any) -> Any:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=nowhere)
    faulthandler.dump_traceback_later(60, file=nowhere)
    hang(payload["started"])


@register(name="default_handler")
def default_handler(payload: Any) -> Any:
    signal.signal(SIGNAL, signal.SIG_DFL)
    hang(payload["started"])


@register(name="unregistered")
def unregistered(payload: Any) -> Any:
    faulthandler.unregister(SIGNAL)
    hang(payload["started"])


@register(name="own_handler")
def own_handler(payload: Any) -> Any:
    signal.signal(SIGNAL, lambda *_: None)
    hang(payload["started"])


@register(name="masked")
def masked(payload: Any) -> Any:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    hang(payload["started"])


@register(name="other_file")
def other_file(payload: Any) -> Any:
    faulthandler.register(SIGNAL, file=nowhere)
    hang(payload["started"])


@register(name="closed")
def closed(payload: Any) -> Any:
    libc = ctypes.CDLL(None)
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if "arbd-stacks" in os.readlink(f"/proc/self/fd/{fd}"):
                libc.close(fd)
        except OSError:
            pass
    hang(payload["started"])


@register(name="takes_away")
def takes_away(payload: Any) -> Any:
    if payload["how"] == "handler":
        signal.signal(SIGNAL, signal.SIG_DFL)
    elif payload["how"] == "unregister":
        faulthandler.unregister(SIGNAL)
    else:
        faulthandler.register(SIGNAL, file=nowhere)
    return os.getpid()


@register(name="swallows", timeout=0.2)
def swallows(payload: Any) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            inner_of_swallows()
        except BaseException:
            pass


def inner_of_swallows() -> None:
    time.sleep(30)


@register(name="late", timeout=0.1, after_timeout="keep")
def late(payload: Any) -> Any:
    time.sleep(30)


@register(name="late_coroutine", timeout=0.1)
async def late_coroutine(payload: Any) -> None:
    await waits_for_ever()


@register(name="forks")
def forks() -> int:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), SIGNAL)  # the default of that ends it
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@register(name="pid")
def pid() -> int:
    return os.getpid()
