"""The processes of a running daemon, by role, and what each has used: CPU, wake-ups, memory.

    supervisor, zygote, workers, links     found by their names; read from /proc, so that looking costs them nothing

Figures are those of the kernel: CPU by the process's own clock (nanoseconds, every thread, those that ended included;
the ticks of ``/proc/PID/stat`` are 10 ms, more than an idle daemon uses in a minute), memory by ``smaps_rollup``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

from arbd.host.cpu_clock import used_ns

_PREFIX: Final = "arbd:"


class Memory(msgspec.Struct, frozen=True):
    """Bytes. ``rss``: all it sees; ``pss``: what it shares counts as a share; ``uss``: its own alone, which would be
    free if it ended; ``anonymous``: the part of ``pss`` that is heap and stack, not files or shared memory."""

    rss: int
    pss: int
    uss: int
    anonymous: int


def wakeups(pid: int) -> int:
    """How often its threads have gone to sleep of their own accord, and so were woken."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        text = status.read_text()
        found += int(text.partition("\nvoluntary_ctxt_switches:")[2].split(maxsplit=1)[0])
    return found


def memory(pid: int) -> Memory:
    """Its memory at this moment."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name] = int(size) * 1024
    own = sizes["Private_Clean:"] + sizes["Private_Dirty:"]
    return Memory(sizes["Rss:"], sizes["Pss:"], own, sizes["Pss_Anon:"])


class Family:
    """Process ids of one daemon: the supervisor's, and its children's as they are at this moment."""

    def __init__(self, supervisor: int) -> None:
        self.supervisor = supervisor
        self.zygote = 0
        self.workers: dict[int, int] = {}  # by slot
        self.links: dict[int, int] = {}  # where the link to the hub is spread over processes
        for process in psutil.Process(supervisor).children(recursive=True):
            role = process.name().removeprefix(_PREFIX)
            if role == "zygote":
                self.zygote = process.pid
            elif role.startswith("worker-"):
                self.workers[int(role.removeprefix("worker-"))] = process.pid
            elif role.startswith("link-"):
                self.links[int(role.removeprefix("link-"))] = process.pid

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Name and process id of each, in a fixed order."""
        yield "supervisor", self.supervisor
        yield "zygote", self.zygote
        for slot, pid in sorted(self.workers.items()):
            yield f"worker {slot}", pid
        for number, pid in sorted(self.links.items()):
            yield f"link {number}", pid


class Use(msgspec.Struct, frozen=True):
    """What every process of a family had used at one moment. CPU in ns."""

    at: float
    cpu_ns: dict[str, int]
    wakeups: dict[str, int]

    @classmethod
    def of(cls, family: Family) -> Use:
        """Now."""
        return cls(
            time.monotonic(),
            {name: used_ns(pid) for name, pid in family},
            {name: wakeups(pid) for name, pid in family},
        )


class Spent(msgspec.Struct, frozen=True):
    """What a family used between two moments. ``cpu_s`` and ``wakeups`` by process."""

    seconds: float
    cpu_s: dict[str, float]
    wakeups: dict[str, int]

    @classmethod
    def between(cls, first: Use, last: Use) -> Spent:
        """From the first to the last."""
        return cls(
            last.at - first.at,
            {name: (last.cpu_ns[name] - before) / 1e9 for name, before in first.cpu_ns.items()},
            {name: last.wakeups[name] - before for name, before in first.wakeups.items()},
        )

    def cpu_of_workers_s(self) -> float:
        """CPU seconds of all workers together."""
        return sum(used for name, used in self.cpu_s.items() if name.startswith("worker"))

    def wakeups_of_workers(self) -> int:
        """Wake-ups of all workers together."""
        return sum(count for name, count in self.wakeups.items() if name.startswith("worker"))
