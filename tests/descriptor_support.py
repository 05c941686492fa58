"""A process without a free descriptor, and one with a reserve, for the length of a block."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from arbd.host import reserve


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Every number up to the limit is taken, but for those that are given up inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


@contextmanager
def with_reserve() -> Iterator[None]:
    """This process has a reserve, as every process of arbd's own."""
    with mock.patch.multiple(reserve, _is_wanted=False, _held=None):
        reserve.hold()
        yield
        reserve.give_up()
