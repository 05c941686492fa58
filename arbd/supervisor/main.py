"""The daemon's table of contents: start -> serve -> drain -> stop.

    run ─> load the provider (zygote) ─> settings ─> workers ─> hub link ─> serve until a signal
        ─> drain: take no more, let running tasks finish, kill the rest ─> send every result ─> stop, right to left

Signals only set what to do next; the same methods serve whoever else asks.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import uvloop

from arbd import logs
from arbd.config import Settings
from arbd.core import control_protocol as protocol
from arbd.core.control_protocol import GetLimits, GetStatus
from arbd.core.dispatch import Dispatcher
from arbd.core.outbox import MemoryOutbox
from arbd.core.placement import place, usable_cpus
from arbd.encoding import Encoder
from arbd.errors import EXIT_FAILURE, EXIT_OK, EXIT_ZYGOTE
from arbd.host import cpus, doorbell, runtime_dir
from arbd.host.platform import require_supported
from arbd.hub.base import HubLink
from arbd.launch import RunRequest
from arbd.logs import get_logger
from arbd.supervisor import admin, loading
from arbd.supervisor.cancels import Cancels
from arbd.supervisor.drain import Drain
from arbd.supervisor.generations import Generations
from arbd.supervisor.hold import Hold
from arbd.supervisor.intake import Intake
from arbd.supervisor.limits import Limits
from arbd.supervisor.loading import Loaded
from arbd.supervisor.losses import Losses
from arbd.supervisor.pool import Pool
from arbd.supervisor.relief import Relief
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.results import Results
from arbd.supervisor.verdicts import Verdicts
from arbd.supervisor.watch import Watch

LinkMaker = Callable[[Settings, Encoder], HubLink]


class _Parts(NamedTuple):
    """What the daemon itself talks to, once everything is put together."""

    intake: Intake
    drain: Drain
    generations: Generations
    reporter: Reporter


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
        self._on_serving = on_serving
        self._log = get_logger("arbd.supervisor")
        self._stop_requested = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._gave_up = False
        self._source_watch: asyncio.Task[None] | None = None
        self._generations: Generations | None = None
        self._drain: Drain | None = None
        self.pool: Pool
        self.settings: Settings

    # -- what a signal, or anybody else, may ask --------------------------------------------------------

    def request_stop(self) -> None:
        """Drain, then stop. Asked a second time: stop at once."""
        if self._stop_requested.is_set():
            self._stop_at_once.set()
        self._stop_requested.set()

    def request_reload(self) -> None:
        """Load the author's code again, beside the old; move over if that works."""
        if self._generations is not None and not self._stop_requested.is_set():
            self._generations.reload()

    # -- the course of events ----------------------------------------------------------------------------

    async def run(self) -> int:
        """Start, serve, drain, stop; the exit code."""
        require_supported()
        self._handle_signals()
        async with AsyncExitStack() as started:
            loaded = await self._unless_stopped(loading.load(self._request))
            if loaded is None:
                return EXIT_OK
            started.push_async_callback(loaded.zygote.wait_gone)
            started.callback(loaded.zygote.close)
            drain = await self._start(loaded, started)
            await self._stop_requested.wait()
            sent_all = await drain.run(self.settings.drain_timeout)
        if self._gave_up:
            return EXIT_ZYGOTE
        return EXIT_OK if sent_all else EXIT_FAILURE

    def _handle_signals(self) -> None:
        if not self._owns_process:
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.request_stop)
        loop.add_signal_handler(signal.SIGINT, self.request_stop)
        loop.add_signal_handler(signal.SIGHUP, self.request_reload)

    async def _unless_stopped(self, loading: Coroutine[Any, Any, Loaded]) -> Loaded | None:
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

    async def _start(self, loaded: Loaded, started: AsyncExitStack) -> Drain:
        """Everything, left to right; ``started`` undoes it right to left, also when the start itself fails."""
        settings = self.settings = loaded.resolved.settings
        description = loaded.zygote.description
        if self._owns_process:
            self._configure_logs(settings)
        loading.warn(description, loaded.resolved)
        control = started.enter_context(admin.opened(settings))
        encoder = _encoder(settings)
        link = self._make_link(settings, encoder)
        pinned = self._place(settings)
        parts = self._assemble(settings, pinned, link, encoder, started)
        self._generations = parts.generations
        started.push_async_callback(parts.generations.close)
        parts.generations.adopt(loaded)
        await link.start(parts.intake)
        started.push_async_callback(link.close)
        await started.enter_async_context(admin.serving(control, _handlers(parts.reporter)))
        started.callback(self._cancel_source_watch)
        if self._request.dev:
            self._source_watch = asyncio.ensure_future(self._watch_sources())
        if self._owns_process:
            gc.collect()
            gc.freeze()  # what is there now stays: a full collection would walk it for 17 ms, and hold every task up
        self._log.info(
            "started",
            provider=settings.name,
            hub=settings.hub_url,
            workers=len(pinned),
            cpus=pinned,
            actions=len(description.actions),
            control=str(control.path) if control else None,
        )
        return parts.drain

    def _assemble(
        self, settings: Settings, pinned: list[int | None], link: HubLink, encoder: Encoder, started: AsyncExitStack
    ) -> _Parts:
        """Make the parts of the straight path, and tell each whom it serves."""
        bell = doorbell.create(blocking=False)
        started.callback(os.close, bell)
        outbox = MemoryOutbox()
        dispatcher = Dispatcher(settings.prefetch)
        verdicts = Verdicts(outbox, encoder, link)
        started.callback(lambda: self._log.info("stopped", **verdicts.counts))
        limits = Limits(settings.name, runtime_dir.for_daemon(settings.runtime_dir, os.environ, os.geteuid()))
        started.push_async_callback(limits.wait_closed)
        started.callback(limits.close)
        pool = self.pool = Pool(pinned, settings.ring_size, bell, limits)
        started.callback(pool.close)
        watch = Watch(settings.kill_grace, dispatcher, pool)
        hold = Hold(limits, pool, dispatcher, link)
        started.callback(hold.close)
        relief = Relief(dispatcher, pool, verdicts)
        cancels = Cancels(settings.kill_grace, dispatcher, pool, watch, verdicts)
        intake = Intake(settings, dispatcher, pool, watch, verdicts, outbox, hold, cancels, relief)
        results = Results(pool, dispatcher, verdicts, link, bell=bell, pump=intake.pump, max_result=settings.max_result)
        losses = Losses(dispatcher, verdicts, results.collect)
        drain = Drain(
            link=link,
            dispatcher=dispatcher,
            intake=intake,
            pool=pool,
            results=results,
            verdicts=verdicts,
            outbox=outbox,
            at_once=self._stop_at_once,
        )
        watch.start(results.collect, losses.on_timeout)
        started.callback(watch.stop)
        relief.start(results.collect, intake.pump)
        started.callback(relief.stop)
        results.start(drain.note_settled, relief.on_awake)
        started.callback(results.stop)
        generations = Generations(
            self._request,
            settings,
            pool=pool,
            dispatcher=dispatcher,
            intake=intake,
            losses=losses,
            link=link,
            on_serving=self._on_serving,
            on_settled=drain.note_settled,
            give_up=self._give_up,
        )
        reporter = Reporter(
            settings,
            pool=pool,
            dispatcher=dispatcher,
            verdicts=verdicts,
            outbox=outbox,
            link=link,
            limits=limits,
            is_draining=self._stop_requested.is_set,
        )
        return _Parts(intake, drain, generations, reporter)

    def _configure_logs(self, settings: Settings) -> None:
        logs.configure(
            level=settings.log_level,
            format=settings.log_format,
            silent=settings.log_silent,
            role="supervisor",
            secrets=[settings.hub_auth_token],
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

    def _give_up(self, event: str, hint: str) -> None:
        """Nothing can be run any more: stop, and say so by the exit code."""
        self._log.error(event, hint=hint)
        self._gave_up = True
        self._stop_requested.set()
        self._stop_at_once.set()

    async def _watch_sources(self) -> None:
        from arbd.supervisor.sources import changes

        async for changed in changes(lambda: self.pool.zygote.description.sources):
            self._log.info("source_changed", files=changed)
            self.request_reload()

    def _cancel_source_watch(self) -> None:
        if self._source_watch is not None:
            self._source_watch.cancel()


def _handlers(reporter: Reporter) -> admin.Handlers:
    """What can be asked on the control socket. A new command adds its line."""
    return {
        GetStatus: lambda _: protocol.Status(report=reporter.status()),
        GetLimits: lambda _: protocol.Limits(provider=reporter.provider, limits=reporter.limits()),
    }


def _encoder(settings: Settings) -> Encoder:
    return Encoder(
        provider=settings.name,
        timezone=settings.timezone,
        utc_now=lambda: datetime.now(UTC),
        envelope=settings.response_envelope,
    )
