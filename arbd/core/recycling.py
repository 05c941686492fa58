"""When a worker that works is replaced: it has done, lived, or holds as much as it may. Pure.

    usage of a worker ─> judge ─┬─ over a soft bound ─> ReplacementQueue: one at a time ─> a successor, then it leaves
                                └─ over the hard one ─> its task is ended, and it is replaced at once

Each worker has bounds of its own, off the settings by up to ``JITTER``, so that workers that were started together
do not leave together. ``max_tasks`` is kept by the worker itself, exactly; its bound is never above the setting.

Memory and descriptors that a worker has before its first task cannot be had back by replacing it: such a bound is
*unreachable*, and is not applied to that worker; somebody should be told. Memory is RSS: it counts pages that are
shared with the zygote.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable
from typing import Final, Literal, NamedTuple

JITTER: Final = 0.1
LOOK_S: Final = 1.0
HARD_LOOK_S: Final = 0.05  # while tasks run and there is a hard limit: a task can fill some 100 MB meanwhile
HOLD_S: Final = 1.0  # one that runs a long task before it leaves holds the next one up for so long at most

Excess = Literal["age", "memory", "descriptors"]


class RecycleLimits(NamedTuple):
    """The settings ``worker.max_*`` and ``worker.memory_limit``; 0: there is no such limit. Memory in bytes."""

    max_tasks: int = 0
    max_age_s: float = 0.0
    max_memory: int = 0
    max_fds: int = 0
    memory_limit: int = 0

    @property
    def needs_looks(self) -> bool:
        """Whether anybody but the workers has to look."""
        return bool(self.max_age_s or self.max_memory or self.max_fds or self.memory_limit)


class Bounds(NamedTuple):
    """What one worker may reach, of all that; 0: anything."""

    max_tasks: int
    max_age_ns: int
    max_memory: int
    max_fds: int


class Usage(NamedTuple):
    """What one worker has reached: nanoseconds since it was started, bytes of RSS, descriptors (0: not looked at)."""

    age_ns: int
    memory: int
    fds: int


def bounds_of(limits: RecycleLimits, worker_id: int) -> Bounds:
    """The bounds of this worker: the same each time it is asked."""
    rng = random.Random(worker_id)
    down, around = 1 - JITTER * rng.random(), [1 + JITTER * rng.uniform(-1, 1) for _ in range(3)]
    return Bounds(
        _scaled(limits.max_tasks, down),
        _scaled(round(limits.max_age_s * 1e9), around[0]),
        _scaled(limits.max_memory, around[1]),
        _scaled(limits.max_fds, around[2]),
    )


def _scaled(limit: int, factor: float) -> int:
    return max(1, round(limit * factor)) if limit else 0


def without_unreachable(bounds: Bounds, fresh: Usage) -> Bounds:
    """The bounds of a worker that was like this before its first task: those that it was over then are gone."""
    return bounds._replace(
        max_memory=0 if 0 < bounds.max_memory < fresh.memory else bounds.max_memory,
        max_fds=0 if 0 < bounds.max_fds < fresh.fds else bounds.max_fds,
    )


def judge(bounds: Bounds, usage: Usage) -> Excess | None:
    """The bound that a worker is over, if any; memory first, because it is what others lack."""
    if 0 < bounds.max_memory < usage.memory:
        return "memory"
    if 0 < bounds.max_fds < usage.fds:
        return "descriptors"
    if 0 < bounds.max_age_ns < usage.age_ns:
        return "age"
    return None


def next_look_s(limits: RecycleLimits, is_busy: bool) -> float | None:
    """Seconds until the next look; ``None``: none is needed. ``is_busy``: any worker has a task."""
    if not limits.needs_looks:
        return None
    return HARD_LOOK_S if limits.memory_limit and is_busy else LOOK_S


class ReplacementRequest(NamedTuple):
    """A worker that should be replaced: why, in a word and in a sentence."""

    worker_id: int
    reason: str
    detail: str


class ReplacementQueue:
    """The workers that are to be replaced, one at a time over the whole daemon. A replacement ends when the worker is
    gone, when its successor has served for ``HOLD_S``, or when there is no successor to be had; times are of one
    monotonic clock."""

    def __init__(self) -> None:
        self._waiting: dict[int, ReplacementRequest] = {}
        self._current: ReplacementRequest | None = None
        self._until_ns = 0

    @property
    def current(self) -> int | None:
        """The worker that is being replaced."""
        return None if self._current is None else self._current.worker_id

    def add(self, request: ReplacementRequest) -> None:
        """Note that a worker should be replaced; said again, it changes nothing."""
        if request.worker_id != self.current:
            self._waiting.setdefault(request.worker_id, request)

    def has(self, worker_id: int) -> bool:
        """Whether this worker is being replaced, or is to be."""
        return worker_id == self.current or worker_id in self._waiting

    def begin(self, now_ns: int, present: Iterable[int], held: Container[int] = ()) -> ReplacementRequest | None:
        """The worker whose replacement begins now, if any. ``present``: those that still serve; others are forgotten.
        ``held``: those of them that must wait; others go first."""
        there = set(present)
        self._waiting = {worker_id: request for worker_id, request in self._waiting.items() if worker_id in there}
        if self._current is not None and self._until_ns and now_ns >= self._until_ns:
            self._current = None
        if self._current is not None:
            return None
        first = next((worker_id for worker_id in self._waiting if worker_id not in held), None)
        if first is None:
            return None
        self._current, self._until_ns = self._waiting.pop(first), 0
        return self._current

    def succeeded(self, worker_id: int, now_ns: int) -> None:
        """Note that the successor of this worker serves: from here on it holds nobody up for long."""
        if worker_id == self.current:
            self._until_ns = now_ns + round(HOLD_S * 1e9)

    def ended(self, worker_id: int) -> None:
        """End a worker's replacement, or the request for it: it is gone, or cannot be replaced now."""
        self._waiting.pop(worker_id, None)
        if worker_id == self.current:
            self._current = None
