"""What the kernel says of a process that does not answer: its state, its signals, where in the kernel it waits.

From ``/proc``; what may not be read is left out. No arguments and no environment of it, which may hold secrets.
"""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

_MOST: Final = 8192  # bytes of a file
_START_FIELD: Final = 22 - 3  # of /proc/PID/stat, counted from the third, the first after the name
_STATES: Final = {
    "R": "running, or waiting for a CPU",
    "S": "sleeping",
    "D": "in an uninterruptible wait of the kernel",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "ended, and not yet reaped",
    "X": "ended",
    "I": "idle",
}


class ProcessFacts(NamedTuple):
    """A process at one moment: the letter of its state, and its signals as masks: ``pending`` for it or its main
    thread, ``blocked`` in its main thread, ``caught`` by a handler; and how many ``threads`` it has."""

    state: str
    pending: int
    blocked: int
    caught: int
    threads: int = 1

    def is_pending(self, signum: int) -> bool:
        """Whether this signal was sent, and has not been delivered yet."""
        return bool(self.pending >> (signum - 1) & 1)

    def is_blocked(self, signum: int) -> bool:
        """Whether the main thread blocks it: as it also does while it runs the handler."""
        return bool(self.blocked >> (signum - 1) & 1)

    def is_caught(self, signum: int) -> bool:
        """Whether there is a handler for it."""
        return bool(self.caught >> (signum - 1) & 1)

    @property
    def is_stopped(self) -> bool:
        """Whether it runs nothing until somebody lets it go on."""
        return self.state in ("T", "t")

    @property
    def has_ended(self) -> bool:
        """Whether it runs nothing any more."""
        return self.state in ("Z", "X")

    @property
    def in_words(self) -> str:
        """Its state in words."""
        return _STATES.get(self.state, self.state)


def look(pid: int) -> ProcessFacts | None:
    """The facts of a process; ``None``: it is gone, or nobody may look. About 30 µs."""
    status = _read(pid, "status")
    return parse(status) if status else None


def parse(status: str) -> ProcessFacts:
    """The same, from the text of ``/proc/PID/status``."""
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}
    masks = {name: int(fields.get(name, "0"), 16) for name in ("SigPnd", "ShdPnd", "SigBlk", "SigCgt")}
    pending = masks["SigPnd"] | masks["ShdPnd"]
    threads = int(fields.get("Threads", "1"))
    return ProcessFacts(fields.get("State", "?")[:1], pending, masks["SigBlk"], masks["SigCgt"], threads)


def started_at(pid: int) -> float | None:
    """When a process was started, in seconds since 1970, as this machine's clock counts now; ``None``: it is gone.

    Not the times of ``/proc/PID``: those are of the moment at which somebody first looked.
    """
    stat = _read(pid, "stat")
    return started_of(stat, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) if stat else None


def started_of(stat: str, booted_at: float) -> float:
    """The same, from the text of ``/proc/PID/stat`` and the time at which the machine was booted."""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything, also spaces and parentheses
    return booted_at + int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")


def where(pid: int) -> str:
    """Where in the kernel its main thread is, as lines of text; empty: that cannot be told."""
    lines = []
    waits_in = _read(pid, "wchan").strip()
    if waits_in not in ("", "0"):
        lines.append(f"  waits in {waits_in}")
    call = _read(pid, "syscall").split()
    if call and call[0].isdigit():  # the words after it are arguments, and addresses
        lines.append(f"  in system call number {call[0]}")
    # Who may read that is root.
    lines += [f"  kernel: {line.split()[-1]}" for line in _read(pid, "stack").splitlines() if line.strip()]
    return "\n".join(lines)


def _read(pid: int, name: str) -> str:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, _MOST).decode("ascii", "replace")
    except OSError:  # it has ended meanwhile, or may not be looked at
        return ""
    finally:
        os.close(fd)
