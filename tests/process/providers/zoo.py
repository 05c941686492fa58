"""Actions of every kind: good ones, slow ones, stubborn ones, and those that take their process with them."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arbd import Provider

provider = Provider(name="zoo", execution_timeout=5)
register = provider.actions.register


@register(name="echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid(), "payload": payload}


@register(name="innocent", timeout=30)
def innocent() -> None:
    """Too short to be late, however busy the machine is."""


@register(name="add", payload_schema={"a": int, "b": int})
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@register(name="hold", payload_schema={"path": str})
def hold(path: str) -> dict[str, int]:
    """Say that it has begun, wait to be let through."""
    gate = Path(path)
    partial = gate.with_suffix(".partial")
    partial.write_text(str(os.getpid()))
    partial.rename(gate.with_suffix(".started"))
    while not gate.with_suffix(".go").exists():
        time.sleep(0.002)
    return {"pid": os.getpid()}


@register(name="stubborn_hold", payload_schema={"path": str})
def stubborn_hold(path: str) -> str:
    """The same, and no deadline gets it away from there."""
    while True:
        try:
            hold(path)
            return "a late success"
        except:  # noqa: E722 # what a careless author writes is the subject here
            pass


@register(name="sleep", payload_schema={"seconds": float})
def sleep(seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return {"pid": os.getpid()}


@register(name="kept_sleep", payload_schema={"seconds": float}, after_timeout="keep")
def kept_sleep(seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return {"pid": os.getpid()}


@register(name="quick_sleep", payload_schema={"seconds": float}, timeout=0.15)
def quick_sleep(seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return {"pid": os.getpid()}


@register(name="spin")
def spin() -> None:
    while True:
        pass


@register(name="cautious")
def cautious() -> str:
    """Catches what it should, and no more."""
    try:
        time.sleep(60)
    except Exception:
        return "swallowed"
    return "slept"


@register(name="stubborn", payload_schema={"seconds": float})
def stubborn(seconds: float) -> str:
    """Swallows everything, and comes back after so many seconds with a success."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except:  # noqa: E722 # what a careless author writes is the subject here
            pass
    return "a late success"


@register(name="quick_stubborn", payload_schema={"seconds": float}, timeout=0.15)
def quick_stubborn(seconds: float) -> str:
    return stubborn(seconds)


@register(name="stuck_in_c")
def stuck_in_c() -> None:
    """One call that takes many minutes, and looks at no signal meanwhile."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)


@register(name="die", payload_schema={"how": str})
def die(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    elif how.startswith("exit "):
        os._exit(int(how.removeprefix("exit ")))
    else:
        os.kill(os.getpid(), signal.Signals[how])
        time.sleep(60)


@register(name="fail", payload_schema={"how": str})
def fail(how: str) -> Any:
    if how == "sys.exit":
        sys.exit(3)
    if how == "RecursionError":
        return fail("RecursionError")
    if how == "MemoryError":
        return bytearray(1 << 60)
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "GeneratorExit":
        raise GeneratorExit
    raise ValueError(how)


@register(name="blob", payload_schema={"size": int})
def blob(size: int) -> dict[str, str]:
    return {"blob": "x" * size}


@register(name="mirror", payload_schema={"text": str})
def mirror(text: str) -> dict[str, str]:
    return {"text": text}


@register(name="parent", payload_schema={"path": str, "then": str})
def parent(path: str, then: str) -> None:
    """Starts a process that would live for ten minutes, writes down its number, and then ends in some way."""
    child = subprocess.Popen(["sleep", "600"])
    partial = Path(path).with_suffix(".partial")
    partial.write_text(str(child.pid))
    partial.rename(path)
    if then == "stuck":
        stuck_in_c()
    if then == "die":
        die("SIGKILL")
    time.sleep(60)


@register(name="print", payload_schema={"text": str})
def print_(text: str) -> None:
    print(text)


@register(name="log", payload_schema={"text": str})
def log(text: str, logger: Any) -> None:
    logger.info(text)


@register(name="with_account", payload_schema={"x": int}, account_schema={"key": str})
def with_account(x: int, account: dict[str, str]) -> dict[str, Any]:
    return {"x": x, "key": account["key"]}


@register(name="order", payload_schema={"order": {"items": [{"name": str, "price": float}], "note": str}})
def order(order: dict[str, Any]) -> dict[str, Any]:
    return {"total": sum(item["price"] for item in order["items"])}


@register(name="inside")
def inside() -> dict[str, Any]:
    """What a worker is, seen from inside."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "comm": Path("/proc/self/comm").read_text().strip(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "frozen": gc.get_freeze_count(),
        "modules": sorted(sys.modules),
        "token": provider.auth_token,
        "threads": len(os.listdir("/proc/self/task")),
        "leader": os.getpgid(0) == os.getpid(),
    }


# -- async ------------------------------------------------------------------------------------------------------------


@register(name="async_sleep", payload_schema={"seconds": float})
async def async_sleep(seconds: float) -> dict[str, int]:
    await asyncio.sleep(seconds)
    return {"pid": os.getpid(), "loop": id(asyncio.get_running_loop())}


@register(name="kept_async_sleep", payload_schema={"seconds": float}, after_timeout="keep")
async def kept_async_sleep(seconds: float) -> dict[str, int]:
    return await async_sleep(seconds)


@register(name="async_many", payload_schema={"count": int, "seconds": float})
async def async_many(count: int, seconds: float) -> dict[str, Any]:
    begin = time.monotonic()
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(count)))
    return {"took": time.monotonic() - begin}


@register(name="kept_async_group", after_timeout="keep")
async def kept_async_group() -> None:
    await async_group()


@register(name="async_group")
async def async_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        group.create_task(asyncio.sleep(60))


@register(name="async_cleanup", payload_schema={"path": str})
async def async_cleanup(path: str) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        open(path, "w").close()  # noqa: ASYNC230 # the last thing it does


@register(name="async_stubborn", payload_schema={"seconds": float})
async def async_stubborn(seconds: float) -> str:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            pass
    return "a late success"


@register(name="async_spin")
async def async_spin() -> None:
    spin()


@register(name="async_fail", payload_schema={"how": str})
async def async_fail(how: str) -> None:
    await asyncio.sleep(0)
    if how == "TimeoutError":
        raise TimeoutError("its own")
    fail(how)
