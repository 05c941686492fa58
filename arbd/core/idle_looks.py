"""Which workers have become idle after work: each is rung once, to look in full at what the work may have left.

A worker that works looks by itself (``arbd.worker.looks``), and one that sleeps has no clock: a sleep with a time limit
costs each short task half a microsecond, and a timer's signal would interrupt the system calls of the next one.

Pure: whoever asks ``due`` sets the pace, ``APART_S``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

APART_S: Final = 0.15
"""The time between two questions: more than the worker's own full looks are apart, so that one is due when it is
rung."""


class Work(NamedTuple):
    """What is known of a worker: how many tasks it has done, and whether it sleeps."""

    worker_id: int
    done: int
    is_asleep: bool


class IdleLooks:
    """The judge of who is idle. ``is_over``: twice in a row nobody was left to be rung, and nobody has answered between
    the two (a worker may count its tasks just after it has answered): the next question comes with the next answer."""

    def __init__(self) -> None:
        self.is_over = True
        self._nobody_was_left = False
        self._done: dict[int, int] = {}
        self._rung: dict[int, int] = {}  # how many each had done when it was rung

    def answered(self) -> None:
        """Note that a worker has answered."""
        self._nobody_was_left = False

    def due(self, workers: Iterable[Work]) -> list[int]:
        """Those to ring now: they sleep, and have done nothing since the question before, but something since they
        were rung."""
        before, self._done = self._done, {}
        rung, self._rung = self._rung, {}
        due = []
        for worker_id, done, is_asleep in workers:
            self._done[worker_id] = done
            self._rung[worker_id] = rung.get(worker_id, 0)
            if is_asleep and done != self._rung[worker_id] and before.get(worker_id) == done:
                due.append(worker_id)
                self._rung[worker_id] = done
        nobody_is_left = self._done == self._rung
        self.is_over = nobody_is_left and self._nobody_was_left
        self._nobody_was_left = nobody_is_left
        return due
