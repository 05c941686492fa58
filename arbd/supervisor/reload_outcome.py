"""What became of a reload, for those who asked for it: each hears of the first load that began after it asked.

asked ─> begins ─┬─> failed: those who had asked hear why
                 ├─> failed, and is tried again: they wait on
                 └─> loaded ─┬─> serves: in every slot a worker of it, or of one that came later
                             └─> given up: its workers cannot boot; the code of before goes on
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple


class ReloadOutcome(NamedTuple):
    """How a reload ended: ``reason`` says why it failed, and is empty where the new code serves in every slot."""

    reason: str = ""


Asked = asyncio.Future[ReloadOutcome]


class ReloadOutcomes:
    """Those who wait for the outcome of a reload."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []  # for a load that has not begun
        self._loading: list[Asked] = []
        self._loaded: list[Asked] = []  # its workers are being started

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits until loaded code serves."""
        return bool(self._loaded)

    def ask(self) -> Asked:
        """Ask for a load; its outcome."""
        asked: Asked = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        return asked

    def begins(self) -> None:
        """A load begins: it is the one for all that have asked by now, and those of before that it takes the place
        of."""
        self._loading += self._asked
        self._asked = []

    def loaded(self) -> None:
        """The load has worked: workers are being started. Who waits for those of an earlier load gets these."""
        self._loaded += self._loading
        self._loading = []

    def failed(self, reason: str) -> None:
        """The load has failed, for good."""
        self._loading = _settle(self._loading, reason)

    def given_up(self, reason: str) -> None:
        """What was loaded does not serve, and will not."""
        self._loaded = _settle(self._loaded, reason)

    def serves(self) -> None:
        """What was loaded last serves in every slot."""
        self._loaded = _settle(self._loaded, "")

    def close(self) -> None:
        """The daemon ends."""
        for waiting in (self._asked, self._loading, self._loaded):
            _settle(waiting, "the daemon is about to end")
            waiting.clear()


def _settle(waiting: list[Asked], reason: str) -> list[Asked]:
    for asked in waiting:
        if not asked.done():
            asked.set_result(ReloadOutcome(reason))
    return []
