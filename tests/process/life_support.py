"""Providers of the tests of a worker's start and stop: what happens in them is written into a book, line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from daemon_support import Arbd, Hub, eventually

Start = Literal["fork", "exec"]

_HEAD = """
import asyncio, atexit, os, signal, sys, threading, time
import arbd
from arbd import Provider
{threads}
provider = Provider(name="p")

def note(*words):
    line = " ".join(map(str, (os.getpid(), *words)))
    with open({book!r}, "a") as book:
        book.write(line + "\\n")

@provider.actions.register()
def pid(): return os.getpid()
"""
_THREADS = "threading.Thread(target=threading.Event().wait, daemon=True, name='at-import').start()"


class Book:
    """A provider's file in a directory, and what its processes have noted."""

    def __init__(self, directory: Path, text: str, start: Start = "fork") -> None:
        self.directory = directory
        self.path = directory / "book"
        self.target = directory / "noted.py"
        self.head = _HEAD.format(book=str(self.path), threads=_THREADS if start == "exec" else "")
        self.target.write_text(self.head + text)

    def lines(self) -> list[tuple[int, str]]:
        """What was noted: by which process, and the words."""
        text = self.path.read_text() if self.path.exists() else ""
        found = (line.partition(" ") for line in text.splitlines())
        return [(int(pid), words) for pid, _, words in found]

    def words(self, pid: int = 0) -> list[str]:
        """The words of one process, or of all."""
        return [words for noted_by, words in self.lines() if pid in (0, noted_by)]

    def wait(self, words: str, count: int = 1) -> None:
        """Wait until it was noted so often."""
        eventually(lambda: self.words().count(words) >= count, 20.0)

    @contextmanager
    def daemon(self, hub: Hub, **settings: Any) -> Iterator[Arbd]:
        """A daemon of it, with one worker, as an operator runs it."""
        env = {f"ARBD_{name.upper()}": str(value) for name, value in settings.items()}
        with Arbd.run(hub.address, self.directory, target=self.target, workers=1, env=env) as arbd:
            yield arbd


def data_of(hub: Hub, action: str, payload: Any = None) -> dict[str, Any]:
    """The response to one task."""
    [task_id] = hub.submit(action, payload)
    found: dict[str, Any] = json.loads(hub.results()[task_id].result)
    return found


def segments(pattern: str = "psm_") -> set[str]:
    """The names of shared memory segments of Python."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(pattern)}
