"""What the interpreter's own shutdown would do with event loop, threads and ``atexit``, in a bounded time.

A worker ends without that shutdown: it waits for threads without a bound, and it would go through the zygote's memory,
of which each touched page is copied. Moments are seconds of the monotonic clock.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
from typing import Any, Final

from arbd import logs
from arbd.interrupts import call
from arbd.worker import inherited

_PROCESS_GRACE_S: Final = 0.2


def shut_down(loop: asyncio.AbstractEventLoop | None, until: float) -> None:
    """Cancel what runs on the event loop, finish its generators as far as there is time, and close it."""
    if loop is None or loop.is_closed() or loop.is_running():
        return
    try:
        loop.run_until_complete(_shut_down(loop, until))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _shut_down(loop: asyncio.AbstractEventLoop, until: float) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    if tasks:
        ended, _ = await asyncio.wait(tasks, timeout=_left(until))
        for task in ended:
            if not task.cancelled() and (error := task.exception()) is not None:
                loop.call_exception_handler({"message": "at the end of the loop", "exception": error, "task": task})
    async with asyncio.timeout(_left(until)):
        await loop.shutdown_asyncgens()
    # Its executor's threads are waited for with the others: `shutdown_default_executor` joins them without a bound,
    # also when it is cancelled.


def join_threads(until: float) -> None:
    """Wait for the threads that the interpreter waits for at its end, but no longer than that."""
    if not _threads():
        return
    # Those of executors wait for work until they are told to end; who tells them waits without a bound.
    telling = threading.Thread(target=_tell_executors, name="arbd-telling", daemon=True)
    telling.start()
    telling.join(_left(until))
    for thread in _threads():
        thread.join(_left(until))
    if names := [thread.name for thread in _threads()]:
        logs.get_logger("arbd.worker").warning("threads_left", threads=names, hint="see worker.stop_timeout")


def run_exit_functions(until: float) -> None:
    """Run what was registered with ``atexit``, at import and since; what fails there is printed."""
    inherited.disown()
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None:
        call(atexit._run_exitfuncs)
        return
    atexit.unregister(util._exit_function)  # it waits for processes; others may tell these to end
    call(atexit._run_exitfuncs)
    end_processes(until)
    call(util._exit_function)


def end_processes(until: float) -> None:
    """End the processes of ``multiprocessing`` that would be waited for without a bound: the tasks that have started
    them have ended. They have a moment to end by themselves, then one after SIGTERM."""
    module: Any = sys.modules.get("multiprocessing.process")
    if module is None:
        return
    for end in ("", "terminate", "kill"):
        left = [each for each in module.active_children() if not each.daemon]
        if not left:
            return
        if end == "terminate":
            names = [each.name for each in left]
            logs.get_logger("arbd.worker").warning("processes_left", processes=names, hint="join what an action starts")
        for each in left if end else ():
            getattr(each, end)()
        moment = time.monotonic() + min(_PROCESS_GRACE_S, _left(until) / 4)
        for each in left:
            each.join(_left(moment))


def _threads() -> list[threading.Thread]:
    others = {threading.main_thread(), threading.current_thread()}
    return [thread for thread in threading.enumerate() if not thread.daemon and thread not in others]


def _tell_executors() -> None:
    for tell in reversed(getattr(threading, "_threading_atexits", ())):
        tell()


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
