"""Actions that leave processes behind, in every way there is. Each writes down its number and lives for ten minutes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.shared_memory
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from arbd import Provider

provider = Provider(name="leaver", execution_timeout=60)
register = provider.actions.register

_LIVE = """
import os, sys, time
with open(sys.argv[1] + ".partial", "w") as note: note.write(str(os.getpid()))
os.rename(sys.argv[1] + ".partial", sys.argv[1])
time.sleep(600)
"""
_kept: list[Any] = []  # a Popen or Process of which nothing is left would complain


def live(path: str) -> None:
    """Write down this process's number, and stay."""
    note(path)
    time.sleep(600)


def note(path: str) -> None:
    Path(path + ".partial").write_text(str(os.getpid()))
    os.rename(path + ".partial", path)


def command(path: str) -> list[str]:
    return [sys.executable, "-S", "-c", _LIVE, path]


def popen(path: str, **options: Any) -> None:
    _kept.append(subprocess.Popen(command(path), **options))


def shell(path: str, template: str) -> None:
    quoted = f"'{sys.executable}' -S -c '{_LIVE.replace(chr(39), chr(34))}' {path}"
    subprocess.run(["bash", "-c", template.replace("CMD", quoted)], check=True)


def forked(path: str, before: Callable[[], object] = lambda: None) -> None:
    if os.fork() == 0:
        try:
            before()
            live(path)
        finally:
            os._exit(0)


def twice_forked(path: str, before: Callable[[], object] = os.setsid) -> None:
    """As a daemon makes itself."""
    child = os.fork()
    if child == 0:
        try:
            before()
            if os.fork() == 0:
                live(path)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def deaf(path: str) -> None:
    """A daemon that no signal ends but SIGKILL, with an empty environment and no descriptor of ours."""

    def become_deaf() -> None:
        os.setsid()
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(signum, signal.SIG_IGN)
            except OSError:  # those of the C library
                pass

    twice_forked(path, become_deaf)


def emptied(path: str) -> None:
    """One that has let go of everything it was given."""

    def empty() -> None:
        os.setsid()
        os.closerange(0, 256)
        os.chdir("/")
        os.environ.clear()

    twice_forked(path, empty)


def stopped(path: str) -> None:
    """One that stands still."""
    popen(path, start_new_session=True)
    while not Path(path).exists():
        time.sleep(0.002)
    os.kill(int(Path(path).read_text()), signal.SIGSTOP)


def grandchild(path: str) -> None:
    """A child that stays, with one of its own in another session."""
    code = "import subprocess, sys, time\nsubprocess.Popen(sys.argv[1:], start_new_session=True)\ntime.sleep(600)"
    _kept.append(subprocess.Popen([sys.executable, "-S", "-c", code, *command(path)], start_new_session=True))


def deep(path: str) -> None:
    """Ten levels, each in a session of its own."""

    def descend(level: int) -> None:
        os.setsid()
        if level == 0:
            live(path)
        if os.fork() == 0:
            descend(level - 1)
        time.sleep(600)

    if os.fork() == 0:
        try:
            descend(10)
        finally:
            os._exit(0)


def runner(path: str) -> None:
    """A chain of processes that fork and end, one after the other: there is never one for long."""

    def run() -> None:
        os.setsid()
        note(path)
        while os.fork() == 0:
            time.sleep(0.001)
        os._exit(0)

    twice_forked(path, run)


def spawned(path: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=live, args=(path,), daemon=False)
    process.start()
    _kept.append(process)


def pooled(path: str) -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    pool.submit(live, path)
    _kept.append(pool)


def subreaping(path: str) -> None:
    """A process that collects its own orphans, as a supervisor of services does."""
    code = (
        "import ctypes, subprocess, sys, time\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "subprocess.run(['sh', '-c', 'setsid \"$@\" &', 'sh', *sys.argv[1:]])\ntime.sleep(600)"
    )
    _kept.append(subprocess.Popen([sys.executable, "-S", "-c", code, *command(path)], start_new_session=True))


WAYS: dict[str, Callable[[str], object]] = {
    "popen": popen,
    "new_session": lambda path: popen(path, start_new_session=True),
    "new_group": lambda path: popen(path, process_group=0),
    "fork": forked,
    "fork_setsid": lambda path: forked(path, os.setsid),
    "fork_setpgid": lambda path: forked(path, lambda: os.setpgid(0, 0)),
    "double_fork": twice_forked,
    "double_fork_group": lambda path: twice_forked(path, os.setpgrp),
    "orphan_in_the_group": lambda path: twice_forked(path, lambda: None),
    "deaf": deaf,
    "emptied": emptied,
    "stopped": stopped,
    "grandchild": grandchild,
    "deep": deep,
    "background": lambda path: shell(path, "CMD &"),
    "nohup": lambda path: shell(path, "nohup CMD >/dev/null 2>&1 &"),
    "setsid": lambda path: shell(path, "setsid CMD &"),
    "env_i": lambda path: shell(path, "env -i setsid CMD &"),
    "pipeline": lambda path: shell(path, "set -m; (CMD | cat | cat) >/dev/null &"),
    "subshell": lambda path: shell(path, "( ( setsid CMD & ) & )"),
    "mp_fork": lambda path: spawned(path, "fork"),
    "mp_spawn": lambda path: spawned(path, "spawn"),
    "mp_forkserver": lambda path: spawned(path, "forkserver"),
    "executor": pooled,
    "subreaper": subreaping,
}


@register(name="leave", payload_schema={"way": str, "path": str})
def leave(way: str, path: str) -> dict[str, int]:
    """Leave a process behind, and say that it is there."""
    WAYS[way](path)
    while not Path(path).exists():
        time.sleep(0.002)
    return {"pid": os.getpid(), "child": int(Path(path).read_text())}


@register(name="run_on", payload_schema={"path": str})
def run_on(path: str) -> dict[str, int]:
    """Leave processes behind that are never the same for long."""
    runner(path)
    while not Path(path).exists():
        time.sleep(0.002)
    return {"pid": os.getpid()}


@register(name="whole", payload_schema={"count": int})
def whole(count: int) -> dict[str, int]:
    """Start orphans that end at once: nobody here will ever wait for them."""
    for _ in range(count):
        subprocess.run(["sh", "-c", "sleep 0 & sleep 0 &"], check=True)
    return {"pid": os.getpid()}


@register(name="share", payload_schema={"size": int})
def share(size: int) -> dict[str, Any]:
    """Make shared memory, and forget it."""
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=size)
    _kept.append(memory)
    return {"pid": os.getpid(), "name": memory.name}


@register(name="echo")
def echo() -> dict[str, int]:
    return {"pid": os.getpid()}


@register(name="die", payload_schema={"how": str})
def die(how: str) -> None:
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.Signals[how])


@register(name="hang", timeout=0.1)
def hang() -> None:
    while True:
        try:
            time.sleep(60)
        except:  # noqa: E722 # what a careless author writes is the subject here
            pass


@register(name="wait_for_children")
def wait_for_children() -> dict[str, Any]:
    """Plain Python: a status that is a child's own, and no child that is not."""
    statuses = [subprocess.run(["sh", "-c", f"sleep 0 & exit {code}"], check=False).returncode for code in (0, 3, 7)]
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return {"statuses": statuses, "others": False}
    return {"statuses": statuses, "others": True}
