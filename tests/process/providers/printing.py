"""Actions that print in every way there is, in workers that are forked or, if told so, started by exec."""

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from typing import Any, cast

from arbd import Provider, TaskInfo

provider = Provider(name="printing", execution_timeout=30)
register = provider.actions.register
libc = ctypes.CDLL(None)
imported_with = sys.stderr

if os.environ.get("PRINTING_THREAD"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("printed at import")


def _pass_us(us: float) -> None:
    end = time.perf_counter_ns() + us * 1000
    while time.perf_counter_ns() < end:
        pass


@register(name="python", payload_schema={"text": str})
def python(text: str) -> dict[str, Any]:
    print("print", text)
    print("stderr", text, file=sys.stderr)
    sys.stdout.write(f"one {text}\ntwo {text}\n")
    sys.stdout.buffer.write(f"bytes {text}\n".encode())
    io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8").write(f"wrapped {text}\n")
    print("kept", text, file=imported_with)
    print("original", text, file=sys.__stdout__)
    print(f"{text} 10 %\r{text} 100 %")
    print("no end", text, end="")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"warned {text}", stacklevel=1)
    return {
        "fileno": [sys.stdout.fileno(), sys.stderr.fileno()],
        "isatty": sys.stdout.isatty(),
        "encoding": sys.stdout.encoding,
        "is_one": cast(io.TextIOWrapper, sys.stdout).detach() is sys.stdout.buffer,
    }


@register(name="descriptors", payload_schema={"text": str})
def descriptors(text: str) -> None:
    os.write(1, f"write {text}\n".encode())
    os.write(2, f"error {text}\n".encode())
    libc.puts(f"puts {text}".encode())
    libc.printf(b"no end %s", text.encode())
    time.sleep(0.001)


@register(name="child", payload_schema={"text": str})
def child(text: str) -> None:
    subprocess.run(["echo", "run", text], check=True)
    subprocess.run(f"echo shell {text} >&2", shell=True, check=True)
    os.system(f"echo system {text}")
    os.waitpid(os.posix_spawn("/bin/echo", ["echo", "spawn", text], os.environ), 0)
    if (pid := os.fork()) == 0:
        os.write(1, f"forked {text}\n".encode())
        os._exit(0)
    os.waitpid(pid, 0)


@register(name="async_child", payload_schema={"text": str})
async def async_child(text: str) -> None:
    process = await asyncio.create_subprocess_exec("echo", "exec", text)
    await process.wait()
    process = await asyncio.create_subprocess_shell(f"echo shell {text}")
    await process.wait()


@register(name="leave_child", payload_schema={"text": str, "seconds": float})
def leave_child(text: str, seconds: float) -> None:
    subprocess.run(f"(sleep {seconds}; echo late {text}) &", shell=True, check=True)


@register(name="garbage", payload_schema={"text": str})
def garbage(text: str) -> None:
    sys.stdout.buffer.write(b"garbage \xff\x00\xfe " + text.encode() + b"\n")
    subprocess.run(["printf", f"\\377\\000 {text} child"], check=True)
    print("long", text + "x" * 100_000)
    print("escape \x1b[31m", text)


@register(name="flood", payload_schema={"size": int, "text": str})
def flood(size: int, text: str) -> None:
    subprocess.run(f"yes {text} | head -c {size}", shell=True, check=True)
    for _ in range(5_000):
        print("python", text)


@register(name="close", payload_schema={"how": str})
def close(how: str) -> None:
    if how == "close":
        sys.stdout.close()
        sys.stderr.close()
    elif how == "descriptors":
        os.close(1)
        os.close(2)
    elif how == "none":
        sys.stdout = sys.stderr = None
    elif how == "replaced":
        sys.stdout = sys.stderr = io.StringIO()
        sys.stdout.close()
        return
    print("closed", how)
    print("closed", how, file=sys.stderr)


@register(name="crash")
def crash() -> None:
    os.write(2, b"the last words")
    os.kill(os.getpid(), 9)


@register(name="short")
def short(task: TaskInfo) -> None:
    os.write(1, f"mine {task.id}\n".encode())
    _pass_us(20)


@register(name="mixed")
def mixed(task: TaskInfo) -> None:
    how = random.random()
    text = f"mine {task.id}"
    if how < 0.3:
        os.write(1, f"{text}\n".encode())
    elif how < 0.5:
        libc.puts(text.encode())
    elif how < 0.6:
        subprocess.run(f"(sleep 0.00{random.randrange(10)}; echo {text}) &", shell=True, check=True)
    elif how < 0.62:
        libc.system(f"(sleep 0.01; echo {text}) &".encode())
    elif how < 0.7:
        threading.Thread(target=_print_late, args=(text, random.random() * 0.01)).start()
    else:
        print(text, end="\n" if how < 0.9 else "")
    _pass_us(random.choice([0, 20, 300, 1000]))


def _print_late(text: str, seconds: float) -> None:
    time.sleep(seconds)
    os.write(1, f"{text}\n".encode())
    print(text)
