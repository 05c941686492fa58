"""A mark is true in the process that made it; where the kernel has no such page, the process id tells."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from arbd.host import fork_mark


def test_it_is_true_here() -> None:
    assert fork_mark.make()[0]


def test_nobody_and_everybody() -> None:
    assert (fork_mark.NOBODY[0], fork_mark.EVERYBODY[0]) == (0, 1)


class NotWiped:
    """A mapping of a kernel that cannot wipe it in a child."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.is_closed = False

    def madvise(self, advice: int) -> None:
        raise OSError("no such advice")

    def close(self) -> None:
        self.is_closed = True


def test_without_such_pages_the_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "mmap", NotWiped)
    mark = fork_mark.make()
    assert mark[0]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not mark[0]
