"""Where the coroutines of an action wait: added to a worker's stacks, when the supervisor asks for it.

The stack of a thread ends in the event loop, which waits; what its coroutines wait for, only Python code can tell. So
this is a handler in Python: it comes when the interpreter runs handlers, which a loop that waits does at once, and code
in C that holds the GIL does not. Nobody counts on it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from arbd.host import own_stacks
from arbd.host.stack_signal import COROUTINES_SIGNAL
from arbd.interrupts import uninterruptible

_MOST: Final = 64 * 1024  # bytes


def answer_into(fd: int, running_loop: Callable[[], asyncio.AbstractEventLoop | None]) -> None:
    """Answer the signal into this file. ``running_loop``: the loop that runs an action, if one does."""

    @uninterruptible
    def handle(_signum: int, _frame: FrameType | None) -> None:
        try:
            loop = running_loop()
            text = own_stacks.coroutines(asyncio.all_tasks(loop)) if loop is not None else ""
            os.write(fd, f"\n{text}\n".encode()[:_MOST])
        except Exception:  # in the middle of an action, whose fault it is not: what is not written is not shown
            pass

    signal.signal(COROUTINES_SIGNAL, handle)
