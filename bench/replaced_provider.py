"""The provider of ``bench/test_replacement.py``: libraries at module top, and an action that says when it ran."""

from __future__ import annotations

import importlib
import mmap
import os
import time
from contextlib import suppress

import numpy  # noqa: F401 # it is to be there when workers are forked

from arbd import Provider

with suppress(ImportError):  # the same, where it is installed
    importlib.import_module("sklearn.linear_model")

provider = Provider(name="replaced", execution_timeout=30)


@provider.actions.register(name="stamp")
def stamp() -> list[int]:
    """The process, and when the run began and ended."""
    begin_ns = time.monotonic_ns()
    return [os.getpid(), begin_ns, time.monotonic_ns()]


@provider.actions.register(name="fork")
def fork() -> float:
    """Seconds from a fork of this process to the moment when the child has touched 1,000 of its pages, fewer than a new
    worker does: what no replacement can be faster than."""
    readable, writable = os.pipe()
    pages = bytearray(1000 * mmap.PAGESIZE)  # its own before the fork, and copied by the child's first touch
    pages[:: mmap.PAGESIZE] = bytes(1000)
    begin_ns = time.monotonic_ns()
    child = os.fork()
    if child == 0:
        pages[:: mmap.PAGESIZE] = bytes(1000)
        os.write(writable, time.monotonic_ns().to_bytes(8, "little"))
        os._exit(0)
    os.waitpid(child, 0)
    end_ns = int.from_bytes(os.read(readable, 8), "little")
    os.close(readable)
    os.close(writable)
    return (end_ns - begin_ns) / 1e9
