"""Stacks with the native frames in them, by py-spy, a program of its own that may be there or not.

It stops the process that it looks at for some milliseconds. So one after the other, as an operation; and not the
supervisor, which could not end a py-spy that hangs while it is stopped by it. It is given no secret: of the environment
only where programs are.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from arbd.control.reports import ProcessStacks
from arbd.supervisor.operations import Progress
from arbd.supervisor.stacks import Subject

MISSING: Final = (
    "native stacks need py-spy, which is neither beside the daemon's Python nor on its PATH; "
    "`pip install 'arbd[stacks]'` brings it, and without --native the Python stacks are shown"
)
_TIMEOUT_S: Final = 20.0  # it reads the symbols of all libraries; on a busy machine that took seconds
_MOST_TEXT: Final = 128 * 1024  # of one process
_MOST_IN_ALL: Final = 4 * 1024 * 1024
_NOT_SHOWN: Final = re.compile(r"[^\n\x20-\x7e]")


def find() -> str | None:
    """Where py-spy is: beside this Python, or on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


async def take(program: str, subjects: Sequence[Subject], progress: Progress) -> None:
    """Look at these processes; what was found is the operation's ``data``."""
    found: list[ProcessStacks] = []
    limit = min(_MOST_TEXT, _MOST_IN_ALL // max(1, len(subjects)))
    for number, subject in enumerate(subjects):
        of = subject.role if subject.worker is None else f"worker {subject.worker}"
        progress.say(f"looking at {of} ({number + 1} of {len(subjects)})", number, len(subjects))
        text, trouble = await _dump(program, subject.pid)
        found.append(ProcessStacks(subject.role, subject.pid, subject.worker, text[:limit], subject.task, trouble))
    seen = sum(each.trouble is None for each in found)
    progress.data = found
    progress.say(f"native stacks of {seen} of {len(subjects)} processes", len(subjects), len(subjects))


async def _dump(program: str, pid: int) -> tuple[str, str | None]:
    """The stacks of a process, and what stood in the way."""
    try:
        process = _start(program, pid)
    except OSError as error:
        return "", f"{program}: {error.strerror or error}"
    try:
        out, err = await asyncio.to_thread(process.communicate, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "", f"py-spy has said nothing within {_TIMEOUT_S:g} s"
    finally:  # also where the daemon ends meanwhile: then the thread goes on at once
        if process.returncode is None:
            process.kill()
    if process.returncode == 0:
        return clean(out), None
    said = " ".join(clean(err).split())[:300] or f"it ended with {process.returncode}"
    return "", f"py-spy: {said}; it needs the right to trace (root, or CAP_SYS_PTRACE)"


def _start(program: str, pid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [program, "dump", "--native", "--pid", str(pid)],
        env={"PATH": os.environ.get("PATH", os.defpath)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def clean(output: bytes) -> str:
    """What a program has written, as text that may be shown anywhere."""
    return _NOT_SHOWN.sub("?", output.decode("utf-8", "replace")).strip("\n")
