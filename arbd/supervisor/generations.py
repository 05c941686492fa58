"""One generation of the author's code after the other: adopt it, reload, replace a zygote that died or hangs.

    adopt ─> workers of the new zygote start in every slot, beside the old ones
          ─> the first of them is ready: its actions and its settings are in force, the old workers leave when they
             have finished
          ─> none of them can boot: back to the old zygote; if there is none, the daemon gives up

    reload asked for, once or often ─> settings are read anew ─┐
    the zygote died, or is silent ─────────────────────────────┴─> load ─> adopt
                                           ├─ asked for meanwhile: once more
                                           └─ failed: what was running goes on. Nothing runs any more: again after a
                                              pause, a few times; then the daemon gives up

Code and settings are one transaction: what fails to load, or to boot, changes neither. It hears what zygotes and pool
report, and passes on what concerns tasks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from arbd.core.progress import Unmoved
from arbd.core.restarts import Restarts
from arbd.errors import EXIT_UNEXPECTED, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.logs import get_logger
from arbd.logs.notable import note
from arbd.settings.files import Sources
from arbd.settings.table import Settings
from arbd.supervised import supervised
from arbd.supervisor import loading
from arbd.supervisor.flow import Flow
from arbd.supervisor.in_force import InForce
from arbd.supervisor.lives import SILENCE_S
from arbd.supervisor.loading import Earlier, Loaded
from arbd.supervisor.reload_outcome import ReloadOutcome, Requests, changes
from arbd.supervisor.request import RunRequest
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

_MAX_FAILED_LOADS: Final = 7  # in a row, of code that ran before: 6 s, in which a deployment may be half done
_LOAD_TIMEOUT_S: Final = 60.0  # or several times what the first load took, if that is longer
_LOAD_MANY_TIMES: Final = 5
_GOES_ON: Final = "the code and the settings of before go on"
_CLOSING: Final = "the daemon ends"
_RESTART: Final = "it stays as it was until the daemon is started anew"
LOOK_S: Final = 5.0  # between two looks whether the zygote is stopped: a wake-up of the supervisor, none of the zygote
_LOOK_AGAIN_S: Final = 1.0  # while it is
_ABANDON_S: Final = 5.0  # a load that takes longer (or several times the first) gives way to one asked for later


class GenerationEvents(Protocol):
    """What the generations tell the daemon."""

    def on_serving(self) -> None:
        """Every slot has a worker that serves; told each time that this is so again."""

    def on_reloading(self) -> None:
        """A reload was asked for."""

    def give_up(self, exit_code: int, event: str, hint: str) -> None:
        """Nothing can be run any more: stop. ``event`` and ``hint`` are for the log."""


class _Coming(NamedTuple):
    """What comes into force with the first worker of a zygote; ``number``: the last request for a reload that it
    answers. ``settings``: as they were found."""

    number: int
    settings: Settings
    sources: Sources | None


class Generations:
    """Zygotes and their workers. ``settings``: those in force, which this changes."""

    def __init__(self, request: RunRequest, settings: InForce, flow: Flow, owner: GenerationEvents) -> None:
        self._request = request
        self._settings = settings
        self._sources: Sources | None = None  # of the settings in force
        self._requests = Requests()
        self._answered = 0  # the last request that was
        self._coming: dict[ZygoteLink, _Coming] = {}
        self._flow = flow
        self._pool = flow.pool
        self._owner = owner
        self._log = get_logger("arbd.generations")
        self._loop = asyncio.get_running_loop()
        self._zygotes: list[ZygoteLink] = []
        self._in_force: ZygoteLink | None = None  # the zygote whose actions can be run
        self._loads = Restarts(_MAX_FAILED_LOADS)
        self._first_load_s = 0.0
        self._loader: asyncio.Task[None] | None = None
        self._load_started_at = 0.0  # seconds of the monotonic clock
        self._is_asked = False  # for another load than the one under way
        self._is_pausing = False
        self.reload_failed = False  # the last one
        self._leaving: set[asyncio.Task[None]] = set()  # zygotes that were told to end, and are not yet gone
        self._closing = False
        self._stopped = Unmoved()
        self._stopped_timer: asyncio.TimerHandle | None = None
        self.adjusts: list[Callable[[Settings], Settings]] = []  # of what a reload has found, each time it is used
        self._pool.start(self)

    @property
    def is_loading(self) -> bool:
        """Whether the code is being loaded again, or is about to be."""
        return self._loader is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being loaded, and the newest code, or the one before if that failed, is in force."""
        return self._loader is None and self._in_force is self._pool.zygote

    @property
    def load_timeout_s(self) -> float:
        """How long a reload may take to import the code, in seconds."""
        return max(_LOAD_TIMEOUT_S, _LOAD_MANY_TIMES * self._first_load_s)

    def set_log_level(self, level: str) -> None:
        """Have zygotes, and the workers that they start from now on, write lines of this level and above."""
        for zygote in self._zygotes:
            if not zygote.answers:
                continue  # its workers are about to go, or it is
            try:
                zygote.set_log_level(level)
            except OSError as error:
                self._log.warning("log_level_not_set", process="zygote", reason=str(error))

    def adopt(self, loaded: Loaded, number: int = 0) -> None:
        """Start workers of this generation, in place of the ones before. Raises ``ConfigError`` or ``OSError``; then
        nothing has changed, and it is the caller's."""
        self._first_load_s = self._first_load_s or loaded.took_s
        found = loaded.resolved.settings
        settings = changes(self._settings.settings, self._adjusted(found)).settings
        loaded.zygote.configure(loading.configure_message(settings), self)
        self._pool.configure(*loading.worker_limits(settings))
        try:
            self._pool.move_to(loaded.zygote)
        except BaseException:
            self._pool.configure(*loading.worker_limits(self._settings.settings))
            raise
        self._zygotes.append(loaded.zygote)
        if self._stopped_timer is None:
            self._look_again(LOOK_S)
        self._coming[loaded.zygote] = _Coming(number, found, loaded.sources)

    def _adjusted(self, settings: Settings) -> Settings:
        """The settings that a reload has found, with what was asked for, or came, beside them: looked at anew when they
        come into force, for that may have been meanwhile."""
        for adjust in self.adjusts:
            settings = adjust(settings)
        return settings

    @property
    def on_reloaded(self) -> list[Callable[[ReloadOutcome], None]]:
        """Who is told how each reload ended."""
        return self._requests.on_reloaded

    async def reloaded(self) -> ReloadOutcome:
        """Reload, and wait for how that ends."""
        if self._closing:
            return ReloadOutcome(number=0, failed=_CLOSING)
        waiting = self._requests.wait(self._requests.last + 1)
        self.reload()
        return await waiting

    def reload(self) -> None:
        """Load the author's code again, and read the settings again. If that fails, what was running goes on.

        While a load is under way others wait for it, as one; but one that takes far too long gives way.
        """
        if self._closing:
            return
        self._owner.on_reloading()
        self._requests.add()
        self._load_soon()

    def _load_soon(self) -> None:
        if self._loader is None:
            self._loader = supervised(self._load(), "reload")
            return
        loading_s = time.monotonic() - self._load_started_at
        if self._is_pausing or loading_s > max(_ABANDON_S, _LOAD_MANY_TIMES * self._first_load_s):
            note(self._log, "warning", "load_abandoned", seconds=round(loading_s, 1), hint="another one was asked for")
            self._loader.cancel()
            self._loader = supervised(self._load(), "reload")
        elif not self._is_asked:
            self._log.info("reload_waits", reason="the code is being loaded; it is loaded once more after that")
            self._is_asked = True

    async def _load(self) -> None:
        while True:
            self._is_asked = False
            self._load_started_at = time.monotonic()
            failure = await self._load_once()
            if failure is not None and not self._is_asked:
                if self._pool.zygote.answers:
                    break
                if not await self._pause_after(failure):
                    return
            elif not self._is_asked:
                break
        self._loader = None

    async def _load_once(self) -> Exception | None:
        """Load and adopt; what went wrong, if anything."""
        loaded: Loaded | None = None
        number = self._requests.last
        sources = None if number > self._answered else self._sources
        try:
            async with asyncio.timeout(self.load_timeout_s):
                loaded = await loading.load(self._request, Earlier(self._settings.settings, sources))
            self.adopt(loaded, number)
        except BaseException as error:
            if loaded is not None:
                self._let_go(loaded.zygote)
            if not isinstance(error, (ConfigError, ZygoteError, OSError)):  # TimeoutError is one of them
                raise
            reason = "the import takes too long" if isinstance(error, TimeoutError) else str(error)
            self._failed(number, reason, _GOES_ON if self._pool.zygote.answers else "it is tried again")
            return error
        self.reload_failed = False
        return None

    def _failed(self, number: int, reason: str, hint: str) -> None:
        note(self._log, "error", "reload_failed", reason=reason, hint=hint)
        self.reload_failed = True
        self._answer(ReloadOutcome(number=number, failed=reason))

    def _answer(self, outcome: ReloadOutcome) -> None:
        """Tell whoever asked for it; a load that nobody asked for is nobody's outcome."""
        if outcome.number > self._answered:
            self._answered = outcome.number
            self._requests.tell(outcome)

    async def _pause_after(self, failure: Exception | None) -> bool:
        """There is no zygote to start workers from: wait before the next try; ``False``: it was the last."""
        by_machine = isinstance(failure, OSError) and not isinstance(failure, TimeoutError)
        pause = self._loads.failed(by_machine=by_machine, others_serve=self._pool.serves())
        if pause is None:
            hint = "the process with the author's code ended, and no other one can be had"
            self._owner.give_up(self._exit_code(by_machine), "no_zygote", hint)
            return False
        self._is_pausing = True
        try:
            await asyncio.sleep(pause)
        finally:
            self._is_pausing = False
        return True

    def _exit_code(self, by_machine: bool) -> int:
        """With what code the daemon gives up. One that has served is to be started again, whatever became of its code:
        that may be mended by then."""
        return EXIT_UNEXPECTED if by_machine or self._in_force is not None else EXIT_ZYGOTE

    async def close(self) -> None:
        """End every zygote, and with them every worker."""
        self._closing = True
        if self._stopped_timer is not None:
            self._stopped_timer.cancel()
        self._pool.stop_replacing()
        if self._loader is not None:
            self._loader.cancel()
            await asyncio.gather(self._loader, return_exceptions=True)
        for zygote in self._zygotes:
            self._let_go(zygote)
        self._answer(ReloadOutcome(number=self._requests.last, failed=_CLOSING))
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _let_go(self, zygote: ZygoteLink) -> None:
        self._coming.pop(zygote, None)
        zygote.close()
        if zygote.silent:
            zygote.kill()  # it would not hear of it
        leaving = supervised(zygote.wait_gone(), "zygote's end")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    # -- what zygotes report -----------------------------------------------------------------------------

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        self._pool.on_spawned(worker_id, pid, pidfd)

    def on_exited(self, worker_id: int, status: int, reason: str) -> None:
        self._pool.on_exited(worker_id, status, reason)

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """A zygote died, and its workers with it: another one takes its place."""
        note(self._log, "error", "zygote_lost", hint="the process with the author's code has ended; it is replaced")
        if zygote in self._zygotes:
            self._zygotes.remove(zygote)
        try:
            self._pool.on_zygote_lost(zygote)
        finally:
            if zygote is self._pool.zygote:
                self._replace(zygote)

    def on_zygote_silent(self, zygote: ZygoteLink) -> None:
        """A zygote is stopped, or hangs: its workers serve on, and those of another one take their places."""
        if zygote.silent:
            return
        zygote.silent = True
        note(
            self._log,
            "error",
            "zygote_silent",
            hint="the process that starts workers is stopped, or hangs; it is replaced",
        )
        if zygote is self._pool.zygote:
            self._replace(zygote)

    def _look_again(self, delay_s: float) -> None:
        self._stopped_timer = self._loop.call_later(delay_s, self._look_at_zygote)

    def _look_at_zygote(self) -> None:
        """Find out whether the zygote that workers come from has been stopped for a while, though nothing is asked of
        it: the next worker to be replaced would wait for that. The kernel is asked, not the zygote."""
        if self._pool.is_closed:
            return  # the daemon ends
        zygote = self._pool.zygote
        is_stopped = zygote.answers and zygote.is_stopped
        self._look_again(_LOOK_AGAIN_S if is_stopped else LOOK_S)  # whatever is raised below
        if self._stopped.look(time.monotonic(), is_stopped, id(zygote)) >= SILENCE_S:
            self.on_zygote_silent(zygote)

    def _replace(self, zygote: ZygoteLink) -> None:
        if self._closing:
            return
        before = self._in_force
        if before is not None and before is not zygote and before in self._zygotes and before.answers:
            self._go_back(before, "its process died, or hangs")
        elif zygote is before or self._loader is not None:
            self._load_soon()
        else:  # none of its workers was ever ready: by loading it again at once this would go on for ever
            self._loader = supervised(self._load_after_pause(), "reload")

    async def _load_after_pause(self) -> None:
        self._load_started_at = time.monotonic()
        if await self._pause_after(None):
            await self._load()

    def _close_left_zygotes(self) -> None:
        """A generation that has no worker any more, and will have none, can go."""
        in_use = {worker.zygote for worker in self._pool.workers.values()} | {self._pool.zygote, self._in_force}
        for zygote in [z for z in self._zygotes if z not in in_use]:
            self._zygotes.remove(zygote)
            self._let_go(zygote)

    # -- what the pool reports ---------------------------------------------------------------------------

    def on_worker_ready(self, worker: Worker) -> None:
        if worker.zygote not in (self._in_force, self._pool.zygote):
            self._pool.kill(worker)  # another reload came before the first of its generation: these actions never hold
            return
        if worker.zygote is not self._in_force:
            self._in_force = worker.zygote
            self._loads.succeeded()
            self._put_in_force(worker.zygote)
            self._flow.set_actions(worker.zygote.description)
            self._loop.call_soon(self._close_left_zygotes)
        self._flow.add(worker)
        self._note_serving()

    def _put_in_force(self, zygote: ZygoteLink) -> None:
        """The settings that came with this zygote are in force from now on, everywhere."""
        coming = self._coming.pop(zygote, None)
        if coming is None:
            return
        before = self._settings.settings
        wanted = changes(before, self._adjusted(coming.settings))
        self._sources = coming.sources
        if zygote.generation == 1:
            return
        self._settings.reload(wanted.settings, coming.settings)
        actions = len(zygote.description.actions)
        changed = {name: list(change) for name, change in wanted.applied.items()}
        note(self._log, "info", "reloaded", actions=actions, **({"settings": changed} if changed else {}))
        for name, (old, new) in wanted.needs_restart.items():
            note(self._log, "warning", "setting_needs_restart", setting=name, old=old, new=new, hint=_RESTART)
        self._answer(
            ReloadOutcome(
                number=coming.number, actions=actions, applied=wanted.applied, needs_restart=wanted.needs_restart
            )
        )

    def _note_serving(self) -> None:
        if self._pool.is_complete():
            self._owner.on_serving()

    def on_worker_retiring(self, worker: Worker) -> None:
        self._flow.dispatcher.close_worker(worker.id)

    def has_tasks(self, worker: Worker) -> bool:
        dispatcher = self._flow.dispatcher
        return dispatcher.has_worker(worker.id) and bool(dispatcher.outstanding(worker.id))

    def on_worker_gone(self, worker: Worker, status: int | None) -> None:
        self._loop.call_soon(self._close_left_zygotes)  # when the pool has it no more
        self._flow.settle(worker, status)

    def on_cannot_boot(self, by_machine: bool) -> None:
        before = self._in_force
        if before is None or before is self._pool.zygote or before not in self._zygotes:
            if by_machine:
                hint = "the machine has no process, descriptor or memory for a worker; see the errors above"
                self._owner.give_up(EXIT_UNEXPECTED, "workers_cannot_start", hint)
            else:
                hint = "see the errors above"
                hint += "; trying again cannot help" if before is None else "; it has served, so start it again"
                self._owner.give_up(self._exit_code(by_machine), "workers_cannot_boot", hint)
            return
        self._go_back(before, "its workers cannot boot")
        if not before.answers and self._loader is None:  # it serves with the workers it has, and can start no other
            self._loader = supervised(self._load_after_pause(), "reload")

    def _go_back(self, before: ZygoteLink, reason: str) -> None:
        coming = self._coming.pop(self._pool.zygote, None)
        self._pool.configure(*loading.worker_limits(self._settings.settings))
        self._failed(0 if coming is None else coming.number, reason, _GOES_ON)
        self._pool.move_back(before)
        self._close_left_zygotes()
