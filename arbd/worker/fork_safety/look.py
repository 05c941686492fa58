"""The look at this process before and after the author's import; what there is more is what the import has left.

Everything is read from the kernel and from Python's own tables; no object of the author's is changed or closed.
Without anything left it takes about a millisecond. Only what forbids a fork is looked for among the author's names.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from arbd import logs
from arbd.host import descriptors, reserve
from arbd.host.descriptors import Descriptor
from arbd.model.description import Leftover
from arbd.worker import target
from arbd.worker.fork_safety import files, generators, known, places, threads
from arbd.worker.fork_safety.generators import Generators
from arbd.worker.fork_safety.judge import Facts, OpenItem, is_bound, judge, kind_of

_STANDARD: Final = 2  # descriptors up to this one are standard
_OWN: Final = "/memfd:arbd-"
_PAGE: Final = resource.getpagesize()


class Before(NamedTuple):
    """What was there before the import."""

    descriptors: dict[int, tuple[int, int]]
    memory: int
    at: float

    @classmethod
    def look(cls) -> Before:
        """Look now."""
        return cls({each.number: each.identity for each in descriptors.open_now()}, _memory(), time.monotonic())


class After(NamedTuple):
    """What the import has left: ``leftovers`` to be told, ``threads`` as they are told, ``reopened`` the files that a
    forked worker opens again, ``generators`` those of random numbers."""

    leftovers: list[Leftover]
    threads: list[str]
    reopened: list[Descriptor]
    generators: Generators
    load_s: float
    load_bytes: int

    @property
    def by_exec(self) -> bool:
        """Whether workers must be started by exec."""
        return any(leftover.by_exec for leftover in self.leftovers)


def look_after(before: Before, started_by: dict[int, threads.Blame], process: str) -> After:
    """Look at what is there now. ``process``: the name that this process gives its nameless threads."""
    load_s, load_bytes = time.monotonic() - before.at, max(0, _memory() - before.memory)
    running = threads.left(started_by)
    told = threads.told_all(running, process)
    items, loops = _items(before)
    pools = (
        known.pools_in(_text("/proc/self/maps"))
        if any(not (facts.python or facts.library) for facts in running)
        else []
    )
    leftovers = judge(Facts(told, pools, known.unsafe_libraries(), loops, items))
    reopened = [item.descriptor for item in items if files.is_reopened(item.descriptor) and not item.problem]
    found = _generators()
    by_exec = any(leftover.by_exec for leftover in leftovers)
    return After([*leftovers, *generators.told(found, by_exec=by_exec)], told, reopened, found, load_s, load_bytes)


def _items(before: Before) -> tuple[list[OpenItem], list[str]]:
    """The descriptors that are new, each with what is to be known of it; and the places of open event loops."""
    try:
        new = [each for each in descriptors.open_now() if _is_new(each, before)]
    except OSError as exc:  # the module holds every descriptor there is
        logs.get_logger("arbd.zygote").warning("import_not_examined", reason=exc.strerror)
        return [], []
    if not new:
        return [], []
    locked, mapped = locked_files(_text("/proc/locks"), os.getpid()), mapped_files(_text("/proc/self/maps"))
    items = [_item(each, locked, mapped) for each in new]
    wanted = [item.descriptor.number for item in items if kind_of(item) or _is_worth_a_search(item)]
    held = _holders_of(wanted)
    return [_placed(item, held) for item in items], held.loops


def _holders_of(wanted: list[int]) -> places.Holders:
    """Who holds these descriptors. Objects of the author's and of libraries are looked into, and one of them may break
    whoever does: then nobody is named, and the rest is told."""
    try:
        return places.holders_of(wanted, target.author_modules(), _other_modules)
    except Exception as exc:
        logs.get_logger("arbd.zygote").warning("import_not_examined", reason=f"{type(exc).__name__}: {exc}")
        return places.Holders({}, [], {}, [])


def _generators() -> Generators:
    try:
        return generators.look()
    except Exception as exc:
        logs.get_logger("arbd.zygote").warning("import_not_examined", reason=f"{type(exc).__name__}: {exc}")
        return Generators([], [], [])


def _is_new(descriptor: Descriptor, before: Before) -> bool:
    number = descriptor.number
    if number <= _STANDARD or before.descriptors.get(number) == descriptor.identity:
        return False
    return not descriptor.target.startswith(_OWN) and number != _tracker()


def _tracker() -> int:
    """The pipe to ``multiprocessing``'s resource tracker, which all its processes share by design."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    number = getattr(getattr(module, "_resource_tracker", None), "_fd", None)
    return number if isinstance(number, int) else -1


def _item(each: Descriptor, locked: set[int], mapped: set[int]) -> OpenItem:
    if each.kind == "socket":
        return OpenItem(each, ends=descriptors.ends_of(each.number))
    if each.kind not in ("file", "directory", "block"):
        return OpenItem(each)
    return OpenItem(
        each,
        database=known.database_of(_head(each), written=each.is_written) if each.is_read else "",
        problem=files.cannot_be_reopened(each) if files.is_reopened(each) else "",
        is_locked=each.identity[1] in locked,
        is_mapped=each.identity[1] in mapped,
    )


def _is_worth_a_search(item: OpenItem) -> bool:
    """Whether a file may be one of sqlite that has nothing in it yet, or there is a lock to be told of."""
    return item.is_locked or is_bound(item.ends) or (item.descriptor.kind == "file" and "sqlite3" in sys.modules)


def _placed(item: OpenItem, held: places.Holders) -> OpenItem:
    path = item.descriptor.target
    if path in held.databases:
        return item._replace(database="sqlite", place=held.databases[path])
    place = held.descriptors.get(item.descriptor.number, "")
    if not place and held.native and _may_be_of_a_loop(item):
        place = held.native[0]
    return item._replace(place=place)


def _may_be_of_a_loop(item: OpenItem) -> bool:
    is_named = item.ends is not None and bool(item.ends.local or item.ends.peer)
    return item.descriptor.kind in known.OF_NATIVE_LOOPS and not is_named


def _other_modules() -> dict[str, ModuleType]:
    own = target.author_modules()
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name not in own and isinstance(module, ModuleType) and name.partition(".")[0] != "arbd"
    }


def _head(descriptor: Descriptor) -> bytes:
    try:
        return os.pread(descriptor.number, known.LONGEST_MAGIC, 0)
    except OSError:
        return b""


def locked_files(locks: str, process: int) -> set[int]:
    """The inodes of files that a process has locked, of what ``/proc/locks`` says."""
    found = set()
    for line in locks.splitlines():
        words = line.split()
        if len(words) >= 6 and "->" not in words[1] and words[4] in (str(process), "-1"):
            found.add(int(words[5].rpartition(":")[2]))
    return found


def mapped_files(maps: str) -> set[int]:
    """The inodes of files that are mapped as shared memory and written, of what ``/proc/self/maps`` says."""
    lines = (line.split(maxsplit=5) for line in maps.splitlines())
    return {int(words[4]) for words in lines if len(words) > 4 and words[1].startswith("rw") and words[1].endswith("s")}


def _text(path: str) -> str:
    try:
        return reserve.lend(Path(path).read_bytes).decode("utf-8", "replace")
    except OSError:  # no descriptor is left, or there is no such file here: then nothing is known
        return ""


def _memory() -> int:
    words = _text("/proc/self/statm").split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0
