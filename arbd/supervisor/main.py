"""The daemon's table of contents: start -> serve -> drain -> stop.

    run ─> load the provider (zygote) ─> settings ─> workers ─> hub link ─> serve until a signal
        ─> drain: take no more, let running tasks finish, kill the rest ─> send every result ─> stop, right to left

Signals only set what to do next; the same methods serve whoever else asks.

Something that nobody expected ends the daemon, by the same way but sooner: it takes no more, running tasks have
``HURRIED_DRAIN_S``, results are sent, and the exit code is 71, so that whoever started it starts one that is whole. A
thread sees to it that this has an end.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import msgspec
import uvloop

from arbd import logs, supervised
from arbd.control import server
from arbd.core.history import first_names
from arbd.core.placement import in_words
from arbd.errors import EXIT_FAILURE, EXIT_OK, EXIT_UNEXPECTED, ConfigError, ZygoteError
from arbd.host import open_files, runtime_dir, secrecy, strays
from arbd.host.cpu_claim import CpuClaims
from arbd.host.notify import Notifier
from arbd.host.platform import require_supported
from arbd.ipc.zygote_protocol import Watched
from arbd.links.base import HubLink
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.model.encoding import Encoder
from arbd.settings.secrets import hub_tokens
from arbd.settings.table import CONFIG_FILE, Settings, from_environment, secrets_in
from arbd.supervisor import listening, loading, metrics, needs
from arbd.supervisor.adopted import Adopted
from arbd.supervisor.commands import Commands
from arbd.supervisor.drain import Drain
from arbd.supervisor.flow import Flow
from arbd.supervisor.generations import Generations
from arbd.supervisor.idle_look_timer import IdleLookTimer
from arbd.supervisor.in_force import InForce
from arbd.supervisor.limits.limits import DaemonLimits
from arbd.supervisor.loading import Loaded
from arbd.supervisor.log_level import LogLevelChange
from arbd.supervisor.operations import Operations
from arbd.supervisor.pinning import Pinning
from arbd.supervisor.pool import Pool
from arbd.supervisor.recycling import Recycling
from arbd.supervisor.reload_outcome import ReloadOutcome
from arbd.supervisor.reporter import Reporter
from arbd.supervisor.request import RunRequest
from arbd.supervisor.rotation import Rotation
from arbd.supervisor.scaling import Scaling
from arbd.supervisor.self_report import SelfReport
from arbd.supervisor.service import Service
from arbd.supervisor.stacks import Stacks
from arbd.supervisor.steering import Steering
from arbd.supervisor.wakeup import Wakeup
from arbd.supervisor.watch import Watch

LinkMaker = Callable[[Settings, Encoder], HubLink]

RESTART: Final = -1
"""What ``run`` returns under ``arbd dev`` where settings have changed that need a restart of the daemon."""

HURRIED_DRAIN_S: Final = 5.0  # for tasks that run when something unexpected has happened
_HURRIED_END_S: Final = 9.5  # from there to the end of the process, whatever stands in the way
_CLOSE_TIMEOUT_S: Final = 15.0  # to give everything back after a drain; a zygote has 5 s
_MOST_TOKENS: Final = 15  # and the newest


def run(request: RunRequest) -> int:
    """Run a provider until it is told to stop; the exit code, or ``RESTART``.

    Raises ``ConfigError`` if it cannot start as configured, ``ZygoteError`` if the author's code fails to load.
    """
    from arbd.links.connect import make_link

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        daemon = Daemon(request, make_link, owns_process=True)
        code = runner.run(daemon.run())
        return RESTART if daemon.is_to_be_restarted and code == EXIT_OK else code


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
        self.on_serving = on_serving
        self._log = get_logger("arbd.supervisor")
        self._stop_requested = asyncio.Event()
        self._was_asked_to_stop = False  # by somebody outside
        self._stop_at_once = asyncio.Event()
        self._exit_code = EXIT_OK
        self.is_to_be_restarted = False
        self._metrics: metrics.Metrics | None = None
        self._reload_is_due = False
        self._source_watch: asyncio.Task[None] | None = None
        self._generations: Generations | None = None
        self._drain: Drain | None = None
        # Taken here: whatever is started later must not have it.
        self._service = Service(Notifier.taken_from(os.environ) if owns_process else Notifier(""))
        self._scaling: Scaling | None = None
        self._tokens: list[str] = []  # those of before as well: a line may still hold one
        self._in_force: InForce
        self._self_report: SelfReport | None = None
        self.pool: Pool

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._in_force.settings

    @property
    def metrics_address(self) -> str:
        """Where metrics are served, as it stands in a URL; empty: nowhere."""
        return "" if self._metrics is None else self._metrics.address

    # -- what a signal, or anybody else, may ask --------------------------------------------------------

    def request_stop(self) -> None:
        """Drain, then stop. Asked a second time: stop at once."""
        if self._was_asked_to_stop:
            self._stop_at_once.set()
        self._was_asked_to_stop = True
        self.is_to_be_restarted = False
        self._stop_requested.set()

    def request_reload(self) -> None:
        """Load the author's code again, beside the old; move over if that works."""
        if self._stop_requested.is_set():
            return
        if self._generations is not None:
            self._generations.reload()
        else:
            self._reload_is_due = True  # once it serves: what is being loaded may be the code of before

    def on_reloading(self) -> None:
        """A reload was asked for, by a signal or whoever else."""
        self._service.reloading()

    def request_scale(self, step: int, name: str) -> None:
        """Have so many more workers, or fewer; at least one. ``name``: of the signal that asks for it."""
        if self._scaling is not None and not self._stop_requested.is_set():
            self._scaling.by(step, name)

    def request_self_report(self) -> None:
        """Write status and stacks to the log."""
        if self._self_report is None:  # it is still loading: there are no workers
            self._self_report = SelfReport(Stacks())
        self._self_report.begin()

    # -- the course of events ----------------------------------------------------------------------------

    async def run(self) -> int:
        """Start, serve, drain, stop; the exit code. Raises ``ConfigError`` or ``ZygoteError`` if it cannot start."""
        require_supported()
        self._handle_signals()
        supervised.install(asyncio.get_running_loop(), self._on_unexpected)
        if self._owns_process:
            secrecy.seclude()  # here too, for whoever does not come from the command line
            secrecy.overwrite_environment([*secrets_in([from_environment(os.environ)]), *hub_tokens(os.environ)])
            # Where this is PID 1, the kernel kills everything with it.
            watched: Watched = "" if os.getpid() == 1 else "daemon"
            limit = open_files.raise_limit()
            self._request = msgspec.structs.replace(self._request, open_files=limit, watched=watched)
        self._service.start()
        try:
            await self._run()
        except (ConfigError, ZygoteError):
            raise
        except OSError as error:
            # Before it serves the reason says enough; afterwards each such call has its outcome, and this is a new one.
            trace = error if self._drain is not None else None
            hint = "see the limits of this process"
            self._end(EXIT_UNEXPECTED, "machine_failed", reason=str(error), hint=hint, exc_info=trace)
        except Exception as error:
            self._end(EXIT_UNEXPECTED, "unexpected_failure", exc_info=error)
        finally:
            self._service.close()
        return self._exit_code

    async def _run(self) -> None:
        async with AsyncExitStack() as started:
            loaded = await self._unless_stopped(loading.load(self._request))
            if loaded is None:
                self._service.stopping()
                return
            if self._owns_process:
                self._request = msgspec.structs.replace(self._request, watched="")  # the first one's stays
                started.push_async_callback(Adopted().close)  # last: when all zygotes are gone
            started.push_async_callback(loaded.zygote.wait_gone)
            started.callback(loaded.zygote.close)
            drain = await self._start(loaded, started)
            await self._stop_requested.wait()
            self._service.stopping()
            if self._metrics is not None:
                self._metrics.write_soon()  # who asks /readyz gives it no more
            if self._exit_code != EXIT_OK:  # since before there was a drain that could be told
                drain.hurry(HURRIED_DRAIN_S)
            sent_all = await drain.run(self.settings.drain_timeout)
            if not sent_all and self._exit_code == EXIT_OK:
                self._exit_code = EXIT_FAILURE
            self._end_at_last(_CLOSE_TIMEOUT_S)

    # -- what ends it, other than a signal -----------------------------------------------------------------

    def _on_unexpected(self, error: BaseException) -> None:
        """End the daemon because of something unexpected, which has been logged."""
        if self._exit_code != EXIT_UNEXPECTED:
            self._end(EXIT_UNEXPECTED, "ending", reason="something unexpected happened", error=type(error).__name__)

    def give_up(self, exit_code: int, event: str, hint: str) -> None:
        """Stop with this exit code, because nothing can be run any more."""
        self._end(exit_code, event, hint=hint)

    def _end(self, exit_code: int, event: str, **words: Any) -> None:
        """Stop soon: running tasks have a few seconds, results are sent. The first reason is the one that counts."""
        if self._exit_code != EXIT_OK:
            note(self._log, "error", event, **words)
            return
        self._log.critical(event, exit_code=exit_code, **words)
        self._exit_code = exit_code
        self._stop_requested.set()
        if self._drain is not None:
            self._drain.hurry(HURRIED_DRAIN_S)
        self._end_at_last(_HURRIED_END_S)

    def _end_at_last(self, timeout_s: float) -> None:
        """End this process after that time, whatever waits for ever: a thread needs no event loop."""
        if self._owns_process:
            threading.Thread(target=_end_process, args=(timeout_s, self._exit_code), daemon=True).start()

    def _handle_signals(self) -> None:
        if not self._owns_process:
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.request_stop)
        loop.add_signal_handler(signal.SIGINT, self.request_stop)
        loop.add_signal_handler(signal.SIGHUP, self.request_reload)
        loop.add_signal_handler(signal.SIGTTIN, self.request_scale, 1, "SIGTTIN")
        loop.add_signal_handler(signal.SIGTTOU, self.request_scale, -1, "SIGTTOU")
        loop.add_signal_handler(signal.SIGUSR1, self.request_self_report)
        strays.ignore(self._log)

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
        """Start everything, left to right; ``started`` undoes it right to left, also when the start itself fails."""
        settings = loaded.resolved.settings
        self._in_force = InForce(settings)
        description = loaded.zygote.description
        if self._owns_process:
            self._configure_logs(settings)
            self._in_force.add(self._configure_logs)  # first: a new token is in no line of the others
            for warn in (loading.warn_of_way, loading.warn_of_files):
                warn(settings)
                self._in_force.add(warn)
        loading.warn(description, loaded.resolved)
        control, listener = started.enter_context(listening.opened(settings))
        encoder = Encoder.of(settings)
        link = self._make_link(settings, encoder)
        claims = CpuClaims()
        started.callback(claims.close)
        pinning = Pinning(settings, claims, owns_process=self._owns_process)
        pinned = pinning.slots
        if self._owns_process:
            needs.require_files(len(pinned), settings.hub_links, len({cpu for cpus in pinned for cpu in cpus}))
        page = None if listener is None else started.enter_context(metrics.opened())
        flow = self._assemble(loaded, pinned, link, encoder, started)
        flow.metrics = None if page is None else page.tasks
        self._generations = Generations(self._request, self._in_force, flow, self)
        self._drain = drain = Drain(flow, self._stop_at_once, settings.worker_stop_timeout, settings.hub_long_poll)
        self._in_force.add(lambda settings: setattr(drain, "stop_timeout", settings.worker_stop_timeout))
        self._in_force.add(lambda settings: setattr(drain, "long_poll", settings.hub_long_poll))
        started.push_async_callback(self._generations.close)
        self._generations.adopt(loaded)
        steering, reporter, commands = self._control(flow, self._generations, pinning, started)
        if page is not None and listener is not None:
            self._metrics = metrics.serve(page, listener, flow, reporter, self._in_force, started)
        await started.enter_async_context(server.serving(control, commands.handlers()))
        started.callback(self._cancel_source_watch)
        if self._request.dev:
            self._generations.on_reloaded.append(self._restart_for)
            self._source_watch = supervised.supervised(self._watch_sources(), "source watch")
        await link.start(flow)  # last: once there may be tasks, it is the drain that ends all this
        started.push_async_callback(link.close)
        self._service.serve(settings, flow, self._generations)
        rotation = Rotation(self._in_force, link)
        self._generations.adjusts.append(rotation.adjust)
        started.callback(rotation.close)
        steering.link_started()
        if self._owns_process:
            gc.collect()
            gc.freeze()  # what is there now stays: a full collection would walk it for 17 ms, and hold every task up
        note(
            self._log,
            "info",
            "started",
            provider=settings.name,
            hub=settings.hub_url,
            workers=len(pinned),
            cpus=[in_words(each) for each in pinned],
            actions=len(description.actions),
            names=first_names([action.name for action in description.actions]),
            control=str(control.path) if control else None,
            **({"metrics": self.metrics_address} if self.metrics_address else {}),
        )
        if self._reload_is_due:
            self.request_reload()
        return self._drain

    def _control(
        self, flow: Flow, generations: Generations, pinning: Pinning, started: AsyncExitStack
    ) -> tuple[Steering, Reporter, Commands]:
        """What an operator may ask of the daemon, and what it tells of itself."""
        in_force, settings = self._in_force, self._in_force.settings
        steering = Steering(flow, self._stop_requested.is_set, settings.kill_grace)
        started.callback(steering.close)
        in_force.add(lambda settings: setattr(steering, "kill_grace_s", settings.kill_grace))
        reporter = Reporter(settings, flow, lambda: steering.state, lambda: pinning.workers_of(in_force.next_start))
        in_force.add(lambda settings: setattr(reporter, "settings", settings))
        operations = Operations()
        started.push_async_callback(operations.close)
        scaling = self._scaling = Scaling(in_force, flow.pool, pinning, operations)
        started.callback(scaling.close)
        log_level = LogLevelChange(in_force, flow, generations)
        stacks = Stacks(flow.pool.workers.values, reporter.running)
        self._self_report = SelfReport(stacks, reporter.status)
        commands = Commands(flow, generations, reporter, operations, steering, scaling, log_level, stacks)
        return steering, reporter, commands

    def _assemble(
        self, loaded: Loaded, pinned: list[tuple[int, ...]], link: HubLink, encoder: Encoder, started: AsyncExitStack
    ) -> Flow:
        """Make the parts of the straight path."""
        settings = loaded.resolved.settings
        limits = DaemonLimits(settings.name, runtime_dir.for_daemon(settings.runtime_dir, os.environ, os.geteuid()))
        started.push_async_callback(limits.wait_closed)
        started.callback(limits.close)
        times, recycle = loading.worker_limits(settings)
        pool = self.pool = Pool(
            pinned, settings.ring_size, limits, loaded.zygote, times, recycle, settings.metrics_author_series
        )
        started.callback(pool.close)
        flow = Flow(settings, encoder, pool, link)
        started.callback(lambda: self._log.info("stopped", **flow.verdicts.counts))
        started.callback(flow.close)
        watch, recycling = Watch(flow, settings.kill_grace), Recycling(flow)
        started.callback(watch.close)
        started.callback(IdleLookTimer(flow).close)
        started.callback(recycling.close)
        self._in_force.add(lambda settings: flow.configure(settings, Encoder.of(settings)))
        self._in_force.add(lambda settings: watch.set_grace(settings.kill_grace))
        self._in_force.add(lambda _: recycling.limits_changed())
        started.callback(Wakeup(flow).close)
        return flow

    def _configure_logs(self, settings: Settings) -> None:
        if settings.hub_auth_token not in self._tokens:
            secrecy.overwrite_environment([settings.hub_auth_token])  # of a file: a variable may hold a copy
            self._tokens = [*self._tokens[-_MOST_TOKENS:], settings.hub_auth_token]
        logs.configure(
            level=settings.log_level,
            format=settings.log_format,
            silent=settings.log_silent,
            role="supervisor",
            secrets=self._tokens,
        )

    async def _watch_sources(self) -> None:
        from arbd.supervisor.sources import changes

        try:
            async for changed in changes(lambda: self.pool.zygote.description.sources, self._files_of_settings):
                note(self._log, "info", "source_changed", files=changed)
                self.request_reload()
        except (OSError, RuntimeError) as error:  # what watchfiles raises when the kernel watches no more files
            self._log.warning("sources_not_watched", reason=str(error), hint="reload with SIGHUP")

    def _files_of_settings(self) -> list[str]:
        return [file for file in (self._request.config_file or CONFIG_FILE, self.settings.env_file) if file]

    def _restart_for(self, outcome: ReloadOutcome) -> None:
        """Under ``arbd dev``: stop, to be started again, if a setting has changed that needs that."""
        if outcome.needs_restart and not self._stop_requested.is_set():
            self._log.info("restarting", settings=list(outcome.needs_restart))
            self.is_to_be_restarted = True
            self._stop_requested.set()

    def _cancel_source_watch(self) -> None:
        if self._source_watch is not None:
            self._source_watch.cancel()


def _end_process(timeout_s: float, exit_code: int) -> None:
    time.sleep(timeout_s)
    get_logger("arbd.supervisor").critical("ended_at_last", exit_code=exit_code or EXIT_UNEXPECTED, seconds=timeout_s)
    os._exit(exit_code or EXIT_UNEXPECTED)
