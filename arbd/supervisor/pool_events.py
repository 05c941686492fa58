"""What the pool tells its owner of its workers and zygotes."""

from __future__ import annotations

from typing import Protocol

from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink


class PoolEvents(Protocol):
    """What the pool tells its owner."""

    def on_worker_ready(self, worker: Worker) -> None:
        """A worker takes tasks now."""

    def on_worker_retiring(self, worker: Worker) -> None:
        """A worker gets no more tasks: it leaves, or is dying."""

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        """A worker ended: exit code, or minus a signal number; ``None``: nobody can tell. Its memory can still be
        read."""

    def has_tasks(self, worker: Worker) -> bool:
        """Whether a worker has any that it has not answered."""

    def on_cannot_boot(self, by_machine: bool) -> None:
        """Workers end before they are ready, every time, and none serves: the daemon must stop. ``by_machine``: there
        was no process, descriptor or memory to be had."""

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        """A zygote is stopped, or hangs: it neither starts workers nor says who ended."""


class Nobody:
    """The owner of a pool that has none yet, and no workers: hears nothing."""

    def on_worker_ready(self, worker: Worker) -> None:
        pass

    def on_worker_retiring(self, worker: Worker) -> None:
        pass

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        pass

    def has_tasks(self, worker: Worker) -> bool:
        return True

    def on_cannot_boot(self, by_machine: bool) -> None:
        pass

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        pass
