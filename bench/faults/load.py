"""The load of a campaign: tasks go to the hub at a steady pace, and every result is judged when it comes.

Not more than ``MOST_WAITING`` tasks wait at any time, so a daemon that does nothing for a while is not buried.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from arbd.errors import HubError
from arbd.hub.board import NewTask, TaskEvent
from arbd.hub.client import HubClient
from bench.faults.tasks import ACTIONS, BATCH, Tasks, verdict_of

MOST_WAITING: Final = 60
_PER_S: Final = 120
_TICK_S: Final = 0.05
_LOOK_S: Final = 0.005
_AT_ONCE: Final = 50  # questions to the hub


class Load:
    """See the module. ``verdicts``: of each task by its number, all there were; ``silence_s``: the longest time without
    any while some were waited for, and ``silent_from`` its beginning (seconds of the monotonic clock)."""

    def __init__(self, client: HubClient, seed: int) -> None:
        self._client = client
        self._tasks = Tasks(seed)
        self._actions: list[str] = []
        self._heard_at = time.monotonic()
        self._results = 0
        self.verdicts: list[list[str]] = []
        self.silence_s = 0.0
        self.silent_from = 0.0

    @property
    def waiting(self) -> int:
        """Tasks without a verdict."""
        return self._tasks.made - self._results

    @property
    def actions(self) -> Sequence[str]:
        """The action of each task; the first has number 1."""
        return self._actions

    async def submit(self, *actions: str) -> list[int]:
        """Submit tasks of these actions; their numbers. An empty name stands for any."""
        return await self._send([self._tasks.make(action) for action in actions])

    async def _send(self, tasks: list[NewTask]) -> list[int]:
        self._note_silence()
        self._actions += [task.action for task in tasks]
        self.verdicts += [[] for _ in tasks]
        await self._client.submit(tasks, BATCH)
        return [int(task.id) for task in tasks]

    async def go_on(self) -> None:
        """Submit until cancelled."""
        while True:
            room = MOST_WAITING - self.waiting
            await self.submit(*[""] * min(room, round(_PER_S * _TICK_S)))
            await asyncio.sleep(_TICK_S)

    async def collect(self) -> None:
        """Take results until cancelled."""
        while True:
            try:
                async for result in self._client.results(BATCH, self._results):
                    self._note_silence()
                    self._heard_at = time.monotonic()
                    self._results += 1
                    self.verdicts[int(result.id) - 1].append(verdict_of(self._tasks.seed, result))
            except HubError as error:
                if error.code != "NOT_FOUND":  # nothing was submitted yet
                    raise
            await asyncio.sleep(_LOOK_S)

    def _note_silence(self) -> None:
        """Before anything changes: silence counts while somebody waits."""
        now = time.monotonic()
        if not self.waiting:
            self._heard_at = now
        elif now - self._heard_at > self.silence_s:
            self.silence_s, self.silent_from = now - self._heard_at, self._heard_at

    async def wait_for(self, numbers: Sequence[int], timeout_s: float) -> bool:
        """Wait until all these tasks have their verdicts; whether they have, within this time."""
        give_up_at = time.monotonic() + timeout_s
        while not all(self.verdicts[number - 1] for number in numbers):
            self._note_silence()
            if time.monotonic() > give_up_at:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def wait_for_all(self, timeout_s: float) -> bool:
        """The same for all there are."""
        return await self.wait_for(range(1, self._tasks.made + 1), timeout_s)

    async def histories(self) -> list[list[TaskEvent]]:
        """What happened to each task, as the hub tells it."""
        found: list[list[TaskEvent]] = []
        for first in range(1, self._tasks.made + 1, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, self._tasks.made + 1))
            found += await asyncio.gather(*[self._client.history(str(number)) for number in numbers])
        return found


def each_action() -> list[str]:
    """One of each."""
    return list(ACTIONS)
