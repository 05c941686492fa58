"""One generation of the author's code after the other: adopt it, reload, replace a zygote that died.

    adopt ─> workers of the new zygote start in every slot, beside the old ones
          ─> the first of them is ready: its actions are in force, the old workers leave when they have finished
          ─> none of them can boot: back to the old zygote; if there is none, the daemon gives up

It hears what zygotes and pool report, and passes on what concerns tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from arbd.config import Settings
from arbd.core.dispatch import Dispatcher
from arbd.errors import ConfigError, ZygoteError
from arbd.hub.base import HubLink
from arbd.launch import RunRequest
from arbd.logs import get_logger
from arbd.supervisor import loading
from arbd.supervisor.intake import Intake
from arbd.supervisor.loading import Loaded
from arbd.supervisor.losses import Losses
from arbd.supervisor.pool import Pool, Worker
from arbd.supervisor.zygote_link import ZygoteLink


class Generations:
    """Zygotes and their workers. ``give_up`` stops the daemon: ``event`` and ``hint`` for the log.

    ``on_serving`` is called whenever every slot has a worker that serves, ``on_settled`` when tasks may have ended.
    """

    def __init__(
        self,
        request: RunRequest,
        settings: Settings,
        *,
        pool: Pool,
        dispatcher: Dispatcher,
        intake: Intake,
        losses: Losses,
        link: HubLink,
        on_serving: Callable[[], None],
        on_settled: Callable[[], None],
        give_up: Callable[[str, str], None],
    ) -> None:
        self._request = request
        self._settings = settings
        self._pool = pool
        self._dispatcher = dispatcher
        self._intake = intake
        self._losses = losses
        self._link = link
        self._on_serving = on_serving
        self._on_settled = on_settled
        self._give_up = give_up
        self._log = get_logger("arbd.generations")
        self._zygotes: list[ZygoteLink] = []
        self._leaving: list[ZygoteLink] = []  # told to end, and not yet gone
        self._in_force: ZygoteLink | None = None  # the zygote whose actions can be run
        self._reloading = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()
        self._closing = False
        pool.start(self)

    def adopt(self, loaded: Loaded) -> None:
        """From now on workers come from this generation."""
        self._zygotes.append(loaded.zygote)
        loaded.zygote.configure(loading.configure_message(self._settings), self)
        self._pool.move_to(loaded.zygote)

    def reload(self) -> None:
        """Load the author's code again. If it fails to load, what was running goes on."""
        if not self._closing:
            self._run_job(self._reload())

    async def _reload(self) -> None:
        async with self._reloading:
            try:
                loaded = await loading.load(self._request)
            except (ConfigError, ZygoteError) as exc:
                self._log.error("reload_failed", reason=str(exc), hint="the code that was running goes on")
                if self._pool.zygote not in self._zygotes:
                    self._give_up("no_zygote", "the process with the author's code died, and does not load again")
                return
            self.adopt(loaded)
            self._log.info("reloaded", actions=len(loaded.zygote.description.actions))

    async def close(self) -> None:
        """End every zygote, and with them every worker."""
        self._closing = True
        self._pool.stop_replacing()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        for zygote in self._zygotes:
            zygote.close()
        for zygote in (*self._leaving, *self._zygotes):
            await zygote.wait_gone()

    def _run_job(self, coroutine: Coroutine[Any, Any, None]) -> None:
        job = asyncio.ensure_future(coroutine)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    # -- what zygotes report -----------------------------------------------------------------------------

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        self._pool.on_spawned(worker_id, pid, pidfd)
        self._note_serving()

    def on_exited(self, worker_id: int, status: int) -> None:
        self._pool.on_exited(worker_id, status)
        self._close_left_zygotes()

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """It died, and its workers with it; another one takes its place."""
        self._log.error("zygote_lost")
        self._zygotes.remove(zygote)
        self._pool.on_zygote_lost(zygote)
        if zygote is self._pool.zygote:
            self.reload()

    def _close_left_zygotes(self) -> None:
        """A generation that has no worker any more, and will have none, can go."""
        in_use = {worker.zygote for worker in self._pool.workers.values()}
        for zygote in [z for z in self._zygotes if z not in in_use and z is not self._pool.zygote]:
            self._zygotes.remove(zygote)
            zygote.close()
            self._leaving.append(zygote)
            self._run_job(self._see_off(zygote))

    async def _see_off(self, zygote: ZygoteLink) -> None:
        await zygote.wait_gone()
        self._leaving.remove(zygote)

    # -- what the pool reports ---------------------------------------------------------------------------

    def on_worker_ready(self, worker: Worker) -> None:
        if worker.zygote is not self._in_force and worker.zygote is self._pool.zygote:
            self._in_force = worker.zygote
            self._intake.set_actions(worker.zygote.description)
        self._dispatcher.add_worker(worker.id)
        self._intake.pump()
        self._link.slots_changed()
        self._note_serving()

    def _note_serving(self) -> None:
        if self._pool.is_complete():
            self._on_serving()

    def on_worker_retiring(self, worker: Worker) -> None:
        self._dispatcher.close_worker(worker.id)

    def on_worker_gone(self, worker: Worker, status: int) -> None:
        self._losses.on_gone(worker, status)
        self._intake.pump()
        self._on_settled()

    def on_cannot_boot(self) -> None:
        before = self._in_force
        if before is None or before is self._pool.zygote or before not in self._zygotes:
            self._give_up("workers_cannot_boot", "see the errors above; trying again cannot help")
            return
        self._log.error("reload_failed", reason="its workers cannot boot", hint="the code that was running goes on")
        self._pool.move_back(before)
        self._close_left_zygotes()
