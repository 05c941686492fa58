"""The name of this process, where people look for it: ``top`` shows the short one, ``ps -ef`` the command line.

A forked worker has the command line of the zygote. The kernel keeps it in the process's own memory and tells where:
what is written there is what everybody sees. It is written through ``/proc/self/mem``, which says so where that is no
memory, and costs a name but no process. Python has copies of its arguments, so nothing of it changes.
"""

from __future__ import annotations

import os
from typing import Final

from arbd.host import procs

_ARGUMENTS_START: Final = 48  # the fields of /proc/PID/stat, as proc(5) numbers them
_ARGUMENTS_END: Final = 49
_AFTER_NAME: Final = 3  # the first field behind the name, which may hold spaces and parentheses
_MOST: Final = 1 << 16


def set_title(title: str, of: str = "") -> None:
    """Set both names, as far as they have room: 15 bytes, and the length of the first command line, which also says
    whose it is: ``of``. A process that may not write there (one that must not be dumped) keeps its command line."""
    procs.set_name(title)
    if of and of.isprintable():
        title = f"{title} {of}"
    try:
        with open("/proc/self/stat", "rb") as stat:
            start, end = arguments_in(stat.read())
        if 0 < start < end <= start + _MOST:
            _write(start, title.encode()[: end - start - 1].ljust(end - start, b"\0"))
    except (OSError, ValueError, IndexError):
        return  # the name alone has to do


def arguments_in(stat: bytes) -> tuple[int, int]:
    """Where the command line begins and ends, of the text of that file. Raises ``ValueError`` or ``IndexError`` where
    that does not say."""
    fields = stat[stat.rindex(b")") + 1 :].split()
    return int(fields[_ARGUMENTS_START - _AFTER_NAME]), int(fields[_ARGUMENTS_END - _AFTER_NAME])


def _write(address: int, data: bytes) -> None:
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, data, address)
    finally:
        os.close(memory)
