"""Actions whose threads and coroutines log, fail, and outlive them, in every way there is to log."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from arbd import Provider

provider = Provider(name="threaded", execution_timeout=30)
register = provider.actions.register
pool = ThreadPoolExecutor(1)
_go = threading.Event()


def _say(text: str, logger: Any) -> None:
    logger.info(f"arbd {text}")
    structlog.get_logger().info(f"structlog {text}")
    logging.getLogger("lib").warning(f"logging {text}")
    print(f"print {text}")
    try:
        raise ValueError(text)
    except ValueError:
        traceback.print_exc()


@register(name="inside", payload_schema={"text": str})
def inside(text: str, logger: Any) -> None:
    threads = [threading.Thread(target=_say, args=(f"{text}{number}", logger)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@register(name="leave", payload_schema={"text": str})
def leave(text: str, logger: Any) -> None:
    """Leave a thread and a thread of a thread, which wait for ``release``."""
    _go.clear()

    def say_later(who: str) -> None:
        _go.wait(20)
        _say(f"{text} {who}", logger)

    def wait_and_say() -> None:
        threading.Thread(target=say_later, args=("inner",), daemon=True).start()
        say_later("outer")

    threading.Thread(target=wait_and_say, daemon=True).start()


@register(name="release", payload_schema={"text": str})
def release(text: str, logger: Any) -> None:
    _go.set()
    time.sleep(0.3)
    _say(f"{text} main", logger)


@register(name="on_pool", payload_schema={"text": str})
def on_pool(text: str, logger: Any) -> None:
    pool.submit(_say, f"{text} pool", logger).result()


@register(name="to_thread", payload_schema={"text": str})
async def to_thread(text: str, logger: Any) -> None:
    await asyncio.to_thread(_say, f"{text} to_thread", logger)
    _say(f"{text} coroutine", logger)


@register(name="leave_to_thread", payload_schema={"text": str})
async def leave_to_thread(text: str, logger: Any) -> None:
    def wait_and_say() -> None:
        time.sleep(0.2)
        _say(f"{text} late", logger)

    task = asyncio.ensure_future(asyncio.to_thread(wait_and_say))
    await asyncio.sleep(0.02)
    assert not task.done()


@register(name="nap")
def nap() -> None:
    time.sleep(0.5)


@register(name="thread_fails", payload_schema={"text": str})
def thread_fails(text: str) -> None:
    def fail() -> None:
        raise ValueError(f"in a thread {text}")

    thread = threading.Thread(target=fail, name="failing")
    thread.start()
    thread.join()


@register(name="finalizer_fails", payload_schema={"text": str})
def finalizer_fails(text: str) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError(f"in a finalizer {text}")

    Broken()


@register(name="callback_fails", payload_schema={"text": str})
async def callback_fails(text: str) -> None:
    async def fail() -> None:
        raise ValueError(f"never awaited {text}")

    task = asyncio.ensure_future(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()


if os.environ.get("THREADED_HOOKS"):
    threading.excepthook = lambda args: print(f"my hook {args.exc_value}")
    sys.unraisablehook = lambda args: print(f"my other hook {args.exc_value}")
