"""The daemon's table of contents: start -> serve -> drain -> stop.

    run ─> load the provider (zygote) ─> settings ─> workers ─> hub link ─> serve until a signal
        ─> drain: take no more, let running tasks finish, kill the rest ─> send every result ─> stop, right to left

Signals only set what to do next; the same methods serve whoever else asks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import uvloop

from arbd import logs
from arbd.config import Settings
from arbd.core import layout
from arbd.core.dispatch import Dispatcher
from arbd.core.lifecycle import State
from arbd.core.outbox import MemoryOutbox
from arbd.core.placement import place, usable_cpus
from arbd.encoding import Encoder
from arbd.errors import EXIT_FAILURE, EXIT_OK, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.host import cpus, doorbell
from arbd.host.platform import require_supported
from arbd.hub.base import HubLink
from arbd.launch import RunRequest
from arbd.logs import get_logger
from arbd.response import aborted
from arbd.supervisor import generation
from arbd.supervisor.generation import Generation
from arbd.supervisor.intake import Intake
from arbd.supervisor.losses import Losses
from arbd.supervisor.pool import Pool, Worker
from arbd.supervisor.results import Results
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.watch import Watch
from arbd.supervisor.zygote_link import ZygoteLink

FLUSH_MIN_S: Final = 5.0  # results get at least this long to reach the hub, even after a drain that took all its time

LinkMaker = Callable[[Settings, Encoder], HubLink]


def run(request: RunRequest) -> int:
    """Run a provider until it is told to stop; the exit code.

    Raises ``ConfigError`` if it cannot start as configured, ``ZygoteError`` if the author's code fails to load.
    """
    from arbd.hub.connect import make_link

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Daemon(request, make_link, owns_process=True).run())


class Daemon:
    """One provider daemon. ``owns_process``: it may set signal handlers, logging and CPU affinity of this process.

    ``on_serving`` is called whenever every slot has a worker that serves.
    """

    def __init__(
        self,
        request: RunRequest,
        make_link: LinkMaker,
        *,
        owns_process: bool,
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        self._request = request
        self._make_link = make_link
        self._owns_process = owns_process
        self._log = get_logger("arbd.supervisor")
        self._stop_requested = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._all_settled = asyncio.Event()
        self._draining = False
        self._exit_code = EXIT_OK
        self._zygotes: list[ZygoteLink] = []
        self._jobs: set[asyncio.Task[None]] = set()
        self._on_serving = on_serving
        self.settings: Settings

    # -- what a signal, or anybody else, may ask --------------------------------------------------------

    def request_stop(self) -> None:
        """Drain, then stop. Asked a second time: stop at once."""
        if self._stop_requested.is_set():
            self._stop_at_once.set()
        self._stop_requested.set()

    def request_reload(self) -> None:
        """Load the author's code again, beside the old; move over if that works."""
        if not self._draining:
            self._run_job(self._reload())

    # -- the course of events ----------------------------------------------------------------------------

    async def run(self) -> int:
        """Start, serve, drain, stop."""
        require_supported()
        self._handle_signals()
        loaded = await self._unless_stopped(generation.load(self._request))
        if loaded is None:
            return EXIT_OK
        try:
            await self._start(loaded)
            await self._stop_requested.wait()
            await self._drain()
        finally:
            await self._stop()
        return self._exit_code

    def _handle_signals(self) -> None:
        if not self._owns_process:
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.request_stop)
        loop.add_signal_handler(signal.SIGINT, self.request_stop)
        loop.add_signal_handler(signal.SIGHUP, self.request_reload)

    async def _unless_stopped(self, loading: Coroutine[Any, Any, Generation]) -> Generation | None:
        """The loaded generation, or ``None`` if a signal came first: an import may take its time."""
        load = asyncio.ensure_future(loading)
        stop = asyncio.ensure_future(self._stop_requested.wait())
        await asyncio.wait({load, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not load.done():
            load.cancel()
            with suppress(asyncio.CancelledError):
                await load
            return None
        return await load

    async def _start(self, loaded: Generation) -> None:
        settings = self.settings = loaded.resolved.settings
        if self._owns_process:
            logs.configure(
                level=settings.log_level,
                format=settings.log_format,
                silent=settings.log_silent,
                role="supervisor",
                secrets=[settings.hub_auth_token],
            )
        generation.warn(loaded.zygote.description, loaded.resolved)
        pinned = self._place(settings)
        self._bell = doorbell.create()
        self._outbox = MemoryOutbox()
        encoder = self._encoder(settings)
        self._link = self._make_link(settings, encoder)
        self._dispatcher = Dispatcher(settings.prefetch)
        self._verdicts = Verdicts(self._outbox, encoder, self._link)
        self.pool = Pool(pinned, settings.ring_size, self._bell, self)
        self._watch = Watch(settings.kill_grace, self._dispatcher, self.pool)
        self._intake = Intake(settings, self._dispatcher, self.pool, self._watch, self._verdicts, self._outbox)
        self._results = Results(
            self.pool,
            self._dispatcher,
            self._verdicts,
            self._link,
            bell=self._bell,
            pump=self._intake.pump,
            max_result=settings.max_result,
        )
        self._losses = Losses(self._dispatcher, self._verdicts, self._results.collect)
        self._watch.start(self._results.collect, self._losses.on_timeout)
        self._results.start(self._note_settled)
        self._adopt(loaded)
        await self._link.start(self._intake)
        if self._request.dev:
            self._run_job(self._watch_sources())
        self._log.info(
            "started",
            provider=settings.name,
            hub=settings.hub_url,
            workers=len(pinned),
            cpus=pinned,
            actions=len(loaded.zygote.description.actions),
        )

    def _place(self, settings: Settings) -> list[int | None]:
        """The CPU of each worker; puts the supervisor beside them."""
        allowed = cpus.allowed()
        workers = usable_cpus(allowed, cpus.quota()) if settings.workers == "auto" else settings.workers
        if not settings.pin:
            return [None] * workers
        placement = place(workers, allowed, cpus.cores(allowed))
        if self._owns_process:
            cpus.pin(placement.supervisor)
        return list(placement.workers)

    def _encoder(self, settings: Settings) -> Encoder:
        return Encoder(
            provider=settings.name,
            timezone=settings.timezone,
            utc_now=lambda: datetime.now(UTC),
            envelope=settings.response_envelope,
        )

    async def _drain(self) -> None:
        """Take no more tasks; let those that run finish; kill what is left; send every result."""
        self._draining = True
        deadline = time.monotonic() + self.settings.drain_timeout
        self._log.info("draining", tasks=self._dispatcher.in_flight(), results=len(self._outbox))
        taking = asyncio.ensure_future(self._link.stop_taking())
        await self._first_of(self._settled(taking), self._stop_at_once.wait(), until=deadline)
        taking.cancel()
        await self._kill_the_rest()
        if not self._stop_at_once.is_set():
            left = max(FLUSH_MIN_S, deadline - time.monotonic())
            await self._first_of(self._link.flush(left), self._stop_at_once.wait(), until=time.monotonic() + left)
        if len(self._outbox):
            self._log.error("results_not_sent", results=len(self._outbox))
            self._exit_code = EXIT_FAILURE

    async def _settled(self, taking: asyncio.Future[None]) -> None:
        await taking
        self._note_settled()
        await self._all_settled.wait()

    def _note_settled(self) -> None:
        """While draining: is the last task done?"""
        if self._draining and self._dispatcher.in_flight() == 0:
            self._all_settled.set()
        else:
            self._all_settled.clear()

    async def _first_of(self, *waits: Coroutine[Any, Any, Any], until: float) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(tasks, timeout=max(0, until - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _kill_the_rest(self) -> None:
        self.pool.stop_replacing()
        self._intake.abort_backlog()
        for worker in list(self.pool.workers.values()):
            if worker.state in (State.CONDEMNED, State.STARTING) or not self._dispatcher.outstanding(worker.id):
                continue
            worker.cell.condemn(layout.STOP)
            self._results.collect(worker)
            left = list(self._dispatcher.outstanding(worker.id).values())
            if not left or worker.damaged:
                continue  # nothing is left; or its end, which settles for all it had, is on its way
            self._dispatcher.close_worker(worker.id)
            self.pool.kill(worker)
            for assignment in left:
                self._dispatcher.finish(worker.id, assignment.seq, 0)
                self._log.warning("task_aborted", task_id=assignment.task.id, action=assignment.task.action)
                self._verdicts.give(assignment.task, aborted(assignment.task.action))

    async def _stop(self) -> None:
        """Right to left. Nothing here waits for the author's code."""
        for job in self._jobs:
            job.cancel()
        await self._link.close()
        self._watch.stop()
        self._results.stop()
        self.pool.stop_replacing()
        for zygote in self._zygotes:
            zygote.close()
        for zygote in self._zygotes:
            await zygote.wait_gone()
        self.pool.close()
        os.close(self._bell)
        self._log.info("stopped", **self._verdicts.counts)

    # -- what the pool and the zygotes say ---------------------------------------------------------------

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        self.pool.on_spawned(worker_id, pid, pidfd)

    def on_exited(self, worker_id: int, status: int) -> None:
        self.pool.on_exited(worker_id, status)
        self._close_left_zygotes()

    def on_worker_ready(self, worker: Worker) -> None:
        self._dispatcher.add_worker(worker.id)
        self._intake.pump()
        self._link.slots_changed()
        if all(other.state is State.SERVING for other in self.pool.workers.values()):
            self._on_serving()

    def on_worker_retiring(self, worker: Worker) -> None:
        self._dispatcher.close_worker(worker.id)

    def on_worker_gone(self, worker: Worker, status: int) -> None:
        self._losses.on_gone(worker, status)
        self._intake.pump()
        self._note_settled()

    def on_cannot_boot(self) -> None:
        self._give_up("workers_cannot_boot", "see the errors above; trying again cannot help")

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        self._log.error("zygote_lost")
        self._zygotes.remove(zygote)
        self.pool.on_zygote_lost(zygote)
        if zygote is self.pool.zygote and not self._draining:
            self.request_reload()

    # -- another generation ------------------------------------------------------------------------------

    async def _reload(self) -> None:
        try:
            loaded = await generation.load(self._request)
        except (ConfigError, ZygoteError) as exc:
            self._log.error("reload_failed", reason=str(exc), hint="the code that was running goes on")
            if self.pool.zygote not in self._zygotes:
                self._give_up("no_zygote", "the author's code ran in a process that died, and does not load again")
            return
        self._adopt(loaded)
        self._log.info("reloaded", actions=len(loaded.zygote.description.actions))

    def _adopt(self, loaded: Generation) -> None:
        """From now on workers come from this generation."""
        self._zygotes.append(loaded.zygote)
        loaded.zygote.configure(generation.configure_message(self.settings), self)
        self._intake.set_actions(loaded.zygote.description)
        self.pool.move_to(loaded.zygote)

    def _close_left_zygotes(self) -> None:
        """A generation that has no worker any more, and will have none, can go."""
        in_use = {worker.zygote for worker in self.pool.workers.values()}
        for zygote in [z for z in self._zygotes if z not in in_use and z is not self.pool.zygote]:
            self._zygotes.remove(zygote)
            zygote.close()
            self._run_job(zygote.wait_gone())

    def _give_up(self, event: str, hint: str) -> None:
        self._log.error(event, hint=hint)
        self._exit_code = EXIT_ZYGOTE
        self._stop_requested.set()
        self._stop_at_once.set()

    async def _watch_sources(self) -> None:
        from arbd.supervisor.sources import changes

        async for changed in changes(lambda: self.pool.zygote.description.sources):
            self._log.info("source_changed", files=changed)
            self.request_reload()

    def _run_job(self, coroutine: Coroutine[Any, Any, None]) -> None:
        job = asyncio.ensure_future(coroutine)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
