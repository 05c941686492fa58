"""The threads that the author's import leaves running: Python's by what they run, others by which import started them.

``ImportWatch`` is asked by the import system before each module is loaded, as the first of the finders, and finds none:
it only looks whether there are more threads than before. A thread that is there now and was not then was started by the
module that was being loaded, or by the one around it.

Native threads bear the name of their process where their library gives them none: that name says nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from arbd.host import reserve, thread_stacks
from arbd.host.thread_stacks import MappedFile
from arbd.worker.fork_safety import known

_TASKS: Final = "/proc/self/task"
_ENDING_S: Final = 0.1
_ENDING_PAUSE_S: Final = 0.001


class ThreadFacts(NamedTuple):
    """One thread: its name, ``python`` what it runs, if that is Python, else the file of its ``library``, where that is
    known; and ``started_by`` which import."""

    name: str
    python: str = ""
    started_by: str = ""
    library: str = ""


class Blame(NamedTuple):
    """Who has started a thread: the module ``around``, or, if it is native, perhaps ``extension``, loaded before."""

    around: str
    extension: str = ""

    def told(self, *, native: bool) -> str:
        """For people."""
        return f"{self.extension}, or of {self.around} after it" if native and self.extension else self.around


class ImportWatch:
    """A watch over the imports inside a ``with`` block: ``started_by`` tells which module started which thread.
    ``target`` is the one to name where no import is under way: that which is loaded itself."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.started_by: dict[int, Blame] = {}
        self._seen = thread_ids()
        self._loading: list[str] = []  # every module that was looked for, the last one last

    def __enter__(self) -> ImportWatch:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._look()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Note what is about to be loaded; it is for the other finders to find it."""
        if threading.get_ident() == threading.main_thread().ident:
            self._look()
            self._loading.append(fullname)
        return None

    def _look(self) -> None:
        try:
            now = thread_ids()
        except OSError:  # no descriptor is left: it is not this import's to fail for that
            return
        if now != self._seen:
            blamed = self._blamed()
            self.started_by.update(dict.fromkeys(now - self._seen, blamed))
            self._seen = now

    def _blamed(self) -> Blame:
        """The innermost module that is being loaded; and the last one before, if that is in C, whose threads start when
        it is loaded: nothing is heard between its end and the next import."""
        around = next((name for name in reversed(self._loading) if _is_being_loaded(name)), self._target)
        return Blame(around, self._loading[-1] if self._loading and _is_extension(self._loading[-1]) else "")


def _spec(name: str) -> Any:
    return getattr(sys.modules.get(name), "__spec__", None)


def _is_being_loaded(name: str) -> bool:
    return bool(getattr(_spec(name), "_initializing", False))


def _is_extension(name: str) -> bool:
    return str(getattr(_spec(name), "origin", "")).endswith(tuple(EXTENSION_SUFFIXES))


def thread_ids() -> set[int]:
    """Kernel numbers of this process's threads. Raises ``OSError`` if no descriptor is left to look with."""
    return set(map(int, reserve.lend(lambda: os.listdir(_TASKS))))


def left(started_by: dict[int, Blame]) -> list[ThreadFacts]:
    """The threads beside the main one that a fork would lose.

    ``join``, that of Python and that of POSIX, returns before the kernel's thread is gone. So those of which no more is
    known than that they are there are given a moment to end.
    """
    found = _left_now(started_by)
    unknown = {tid for tid, facts in found.items() if not (facts.python or facts.library)}
    ended = unknown - _lasting(unknown)
    return [facts for tid, facts in found.items() if tid not in ended]


def _left_now(started_by: dict[int, Blame]) -> dict[int, ThreadFacts]:
    others = sorted(thread_ids() - {os.getpid()})
    if not others:
        return {}
    python = {thread.native_id: thread for thread in threading.enumerate()}
    of_process = _mappings()
    found = {tid: _facts(tid, python.get(tid), started_by.get(tid), of_process) for tid in others}
    return {tid: facts for tid, facts in found.items() if facts is not None}


def _lasting(tids: set[int]) -> set[int]:
    """Those of these threads that are there after a moment, which is over as soon as none is."""
    give_up_at = time.monotonic() + _ENDING_S
    while tids and time.monotonic() < give_up_at:
        time.sleep(_ENDING_PAUSE_S)
        tids = tids & thread_ids()
    return tids


def _mappings() -> list[MappedFile]:
    try:
        return thread_stacks.mappings(reserve.lend(Path("/proc/self/maps").read_bytes).decode(errors="replace"))
    except OSError:  # no descriptor is left
        return []


def _facts(
    tid: int, thread: threading.Thread | None, blame: Blame | None, of_process: list[MappedFile]
) -> ThreadFacts | None:
    started_by = blame.told(native=thread is None) if blame is not None else ""
    if thread is not None:
        return ThreadFacts(thread.name, what_it_runs(thread), started_by)
    try:
        name = reserve.lend(Path(f"{_TASKS}/{tid}/comm").read_bytes).decode(errors="replace").strip()
    except OSError:  # it has ended, or no descriptor is left to look with
        name = ""
    library = thread_stacks.library_of(tid, of_process)
    if known.is_harmless(name, library) or (not name and tid not in thread_ids()):
        return None
    return ThreadFacts(name, "", started_by, library)


def what_it_runs(thread: threading.Thread) -> str:
    """Module and name of a Python thread's function, or of its class."""
    target = getattr(thread, "_target", None)
    function = getattr(target, "__func__", target)
    name = getattr(function, "__qualname__", None) if target is not None else type(thread).__qualname__
    module = getattr(function, "__module__", None) if target is not None else type(thread).__module__
    return f"{module}.{name}" if name else ""


def told(facts: ThreadFacts, process: str) -> str:
    """A thread for people. ``process``: the name that nameless threads have from their process."""
    name = f"thread {facts.name}" if facts.name and facts.name != process else "a native thread without a name"
    runs = f" ({facts.python})" if facts.python else ""
    if facts.library:
        runs = f" of {known.name_of_library(facts.library)}"
    return f"{name}{runs}" + (f", started by the import of {facts.started_by}" if facts.started_by else "")


def told_all(threads: Iterable[ThreadFacts], process: str) -> list[str]:
    """Several, those that are told alike as one."""
    counts: dict[str, int] = {}
    for facts in threads:
        text = told(facts, process)
        counts[text] = counts.get(text, 0) + 1
    return [text if count == 1 else f"{count} times {text}" for text, count in counts.items()]
