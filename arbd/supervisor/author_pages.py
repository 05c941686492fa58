"""The pages of the author's metrics, as the supervisor has them: who has which, and which are free.

    a worker is started ─> it gets a free page, or a new one, and counts on from where that stands
    a worker has ended ──> its page is free; what it counted stays in it

There are as many as there were ever workers at the same time, and none is closed before the daemon ends. So a counter
never falls, and nothing has to be added up when a worker dies. The supervisor reads nothing in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from arbd.host import memory
from arbd.ipc import author_page


class AuthorPages:
    """All pages. ``limit``: how many series they may have (``metrics.author_series``)."""

    def __init__(self, limit: int = author_page.DEFAULT_LIMIT) -> None:
        self.limit = limit
        self.descriptors: list[int] = []  # of every page, oldest first; whoever reads them maps these
        self._words: list[memoryview] = []
        self._free: list[int] = []
        self._of_worker: dict[int, int] = {}
        self.on_new: Callable[[], None] = lambda: None  # there is one more

    def take(self, worker_id: int) -> int:
        """A page for this worker; its descriptor, which stays the supervisor's. Raises ``OSError`` if there is no
        memory or descriptor for one."""
        if not self._free:
            self._add()
        number = self._free.pop()
        self._of_worker[worker_id] = number
        author_page.take(self._words[number], worker_id)
        return self.descriptors[number]

    def give_back(self, worker_id: int) -> None:
        """This worker has ended."""
        number = self._of_worker.pop(worker_id, None)
        if number is not None:
            author_page.give_back(self._words[number])
            self._free.append(number)

    def words(self) -> list[memoryview]:
        """The pages, for a reader in this process."""
        return list(self._words)

    def close(self) -> None:
        """Give every page back; the workers are gone."""
        for fd in self.descriptors:
            os.close(fd)
        self.descriptors.clear()
        self._words.clear()
        self._free.clear()
        self._of_worker.clear()

    def _add(self) -> None:
        fd = memory.create("arbd-metrics", author_page.page_bytes(self.limit))
        try:
            words = memory.words_of(memory.attach(fd))
        except OSError:
            os.close(fd)
            raise
        author_page.begin(words, self.limit)
        self.descriptors.append(fd)
        self._words.append(words)
        self._free.append(len(self._words) - 1)
        self.on_new()
