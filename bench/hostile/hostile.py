"""Actions that do to their worker what actions have done elsewhere: each is one case of a kind.

Some answer, some raise, some are killed; whatever they do, the tasks after them are not to notice. A process that one
of them leaves behind carries ``HOSTILE`` in its arguments or its environment, so that it can be found.
"""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import gc
import importlib
import locale
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from bench.hostile.innocent import client, database, marks, register, word

SHORT_S: Final = 0.05
"""The timeout of those that are to be interrupted."""
_FOREVER_S: Final = 60.0
_libc: Final = ctypes.CDLL(None)
_kept: list[Any] = []
HOSTILE: Final[dict[str, Callable[..., Any]]] = {}
"""All of them, by name."""


def hostile(timeout: float | None = None) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register an action that is called without arguments, and notes that it began and, if it comes to that, ended."""

    def decorate(function: Callable[[], Any]) -> Callable[[], Any]:
        if asyncio.iscoroutinefunction(function):

            async def action(number: int) -> Any:
                marks.mark("began", number)
                said = await function()
                marks.mark("ended", number)
                return said
        else:

            def action(number: int) -> Any:  # type: ignore[misc] # the one or the other
                marks.mark("began", number)
                said = function()
                marks.mark("ended", number)
                return said

        HOSTILE[function.__name__] = register(name=function.__name__, timeout=timeout)(action)
        return function

    return decorate


def _leave_child() -> list[str]:
    return [sys.executable, "-c", f"import time; time.sleep({_FOREVER_S})", "HOSTILE"]


# -- forks -----------------------------------------------------------------------------------------------------------


@hostile()
def fork_returns() -> dict[str, bool]:
    return {"is_child": os.fork() == 0}


@hostile()
def fork_raises() -> None:
    if os.fork() == 0:
        raise ValueError("of the child")


@hostile()
def fork_exits() -> None:
    if os.fork() == 0:
        sys.exit(3)


@hostile()
def fork_is_waited_for() -> int:
    child = os.fork()
    return child if child == 0 else os.waitpid(child, 0)[1]


@hostile()
def fork_with_terminal() -> int:
    child, terminal = os.forkpty()
    if child:
        os.close(terminal)
    return child


@hostile()
def fork_of_thread() -> None:
    thread = threading.Thread(target=os.fork)
    thread.start()
    thread.join()


@hostile()
def fork_of_c() -> int:
    return int(_libc.fork())


@hostile()
async def fork_on_loop() -> bool:
    await asyncio.sleep(0)
    return os.fork() == 0


@hostile()
def fork_often() -> list[bool]:
    return [os.fork() == 0 for _ in range(3)]


@hostile()
def daemonise() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, _leave_child())
        os._exit(0)
    os.wait()


@hostile()
def leave_child() -> None:
    subprocess.Popen(_leave_child(), start_new_session=True)


@hostile(timeout=5)
def terminate_process() -> int | None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(_FOREVER_S,))
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


@hostile(timeout=10)
def leave_pool() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        next(pool.imap_unordered(abs, range(100)))


# -- signals and timers ----------------------------------------------------------------------------------------------


class Late(Exception):
    """What a handler raises."""


def _raise_late(*_: object) -> None:
    raise Late


@hostile()
def alarm_left() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.02)


@hostile()
def alarm_raises_later() -> None:
    signal.signal(signal.SIGALRM, _raise_late)
    signal.setitimer(signal.ITIMER_REAL, 0.003)


@hostile()
def alarm_again_and_again() -> None:
    signal.signal(signal.SIGALRM, _raise_late)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        time.sleep(0.01)
    except Late:
        pass


@hostile(timeout=SHORT_S)
def alarm_ignored() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(_FOREVER_S)


@hostile(timeout=1)
def alarm_of_c() -> None:
    _libc.ualarm(20_000, 0)


@hostile(timeout=SHORT_S)
def alarm_switched_off() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.alarm(0)
    time.sleep(_FOREVER_S)


@hostile(timeout=SHORT_S)
def signals_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(0.2)


@hostile()
def signals_blocked_by_c() -> None:
    everything = (ctypes.c_uint64 * 16)(*[2**64 - 1] * 16)
    _libc.sigprocmask(0, everything, None)


@hostile()
def handlers_left() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, _raise_late)


# -- interrupted -----------------------------------------------------------------------------------------------------


@hostile(timeout=SHORT_S)
def half_a_reply() -> str:
    return client().ask("somebody-elses", 10_000)


@hostile(timeout=SHORT_S)
def half_a_transaction() -> None:
    database().execute("INSERT INTO rows VALUES ('stray', 'nobody')")
    time.sleep(_FOREVER_S)


@hostile(timeout=SHORT_S)
def half_an_import() -> None:
    importlib.import_module("bench.hostile.slow")


@hostile(timeout=SHORT_S)
async def half_a_wait() -> None:
    await asyncio.to_thread(time.sleep, 0.3)


@hostile(timeout=SHORT_S)
def stubborn() -> None:
    while True:
        try:
            time.sleep(_FOREVER_S)
        except BaseException:  # the point of this action: nothing that is raised stops it
            continue


@hostile(timeout=SHORT_S)
def lost_in_c() -> None:
    while True:
        ctypes.PyDLL(None).sleep(60)  # holding the lock of the interpreter


# -- leaks -----------------------------------------------------------------------------------------------------------


@hostile()
def leak_descriptors() -> None:
    _kept.append([open(os.devnull, "rb") for _ in range(60)])  # noqa: SIM115 # that they stay open is the point


@hostile()
def leak_memory() -> None:
    _kept.append(bytearray(os.urandom(1 << 20) * 24))


@hostile()
async def leak_on_loop() -> None:
    async def go_on() -> None:
        while True:  # noqa: ASYNC110 # it waits for nothing, it only goes on
            await asyncio.sleep(0)

    _kept.append(asyncio.create_task(go_on(), name="go-on"))
    await asyncio.sleep(0)


@hostile()
async def close_loop() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    threading.Thread(target=lambda: (time.sleep(0.02), loop.close()), daemon=True).start()  # type: ignore[func-returns-value] # one after the other


@hostile()
def leak_threads() -> None:
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(0.5,)).start()


# -- settings of the process -----------------------------------------------------------------------------------------


@hostile()
def elsewhere() -> None:
    os.chdir("/")
    os.umask(0o777)
    os.environ["HOSTILE_SERVICE"] = "nowhere"
    os.environ.pop("PATH", None)


@hostile()
def settings_of_python() -> None:
    sys.setrecursionlimit(60 + len(__import__("inspect").stack()))
    decimal.getcontext().prec = 2
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    word.set("hostile")
    socket.setdefaulttimeout(0.000001)
    warnings.simplefilter("error")
    sys.path.insert(0, "/nowhere")
    gc.disable()
    random.seed(1)
    np.random.seed(1)


@hostile()
def settings_of_the_kernel() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(5)


@hostile()
def close_streams() -> None:
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)


@hostile()
def close_everything() -> None:
    os.closerange(3, 1024)


@hostile()
def other_policy() -> None:
    class Other(asyncio.DefaultEventLoopPolicy):
        pass

    asyncio.set_event_loop_policy(Other())


# -- the end ---------------------------------------------------------------------------------------------------------


@hostile()
def exit_at_once() -> None:
    os._exit(0)


@hostile()
def exit_in_order() -> None:
    sys.exit("done")


@hostile()
def segfault() -> None:
    ctypes.string_at(1)


@hostile(timeout=SHORT_S)
def stop_oneself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@hostile()
def interrupt_oneself() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    raise KeyboardInterrupt


@hostile()
def refuse_to_be_shown() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise Late

    raise Broken
