"""One generation of the author's code after the other: adopt it, reload, replace a zygote that died or hangs.

    adopt ─> workers of the new zygote start in every slot, beside the old ones
          ─> the first of them is ready: its actions are in force, the old workers leave when they have finished
          ─> none of them can boot: back to the old zygote; if there is none, the daemon gives up

    reload asked for, once or often ─┐
    the zygote died, or is silent ───┴─> load ─> adopt
                                           ├─ asked for meanwhile: once more
                                           └─ failed: what was running goes on. Nothing runs any more: again after a
                                              pause, a few times; then the daemon gives up

It hears what zygotes and pool report, and passes on what concerns tasks.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Protocol

from arbd.core.progress import Unmoved
from arbd.core.restarts import Restarts
from arbd.errors import EXIT_UNEXPECTED, EXIT_ZYGOTE, ConfigError, ZygoteError
from arbd.logs import get_logger
from arbd.settings.table import Settings
from arbd.supervised import supervised
from arbd.supervisor import loading
from arbd.supervisor.flow import Flow
from arbd.supervisor.lives import SILENCE_S
from arbd.supervisor.loading import Loaded
from arbd.supervisor.request import RunRequest
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

_MAX_FAILED_LOADS: Final = 7  # in a row, of code that ran before: 6 s, in which a deployment may be half done
_LOAD_TIMEOUT_S: Final = 60.0  # or several times what the first load took, if that is longer
_LOAD_MANY_TIMES: Final = 5
_ABANDON_S: Final = 5.0  # a load that takes longer (or several times the first) gives way to one asked for later


class GenerationEvents(Protocol):
    """What the generations tell the daemon."""

    def on_serving(self) -> None:
        """Every slot has a worker that serves; told each time that this is so again."""

    def on_reloading(self) -> None:
        """A reload was asked for."""

    def give_up(self, exit_code: int, event: str, hint: str) -> None:
        """Nothing can be run any more: stop. ``event`` and ``hint`` are for the log."""


class Generations:
    """Zygotes and their workers."""

    def __init__(self, request: RunRequest, settings: Settings, flow: Flow, owner: GenerationEvents) -> None:
        self._request = request
        self._settings = settings
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

    def adopt(self, loaded: Loaded) -> None:
        """Start workers of this generation, in place of the ones before. Raises ``ConfigError`` or ``OSError``; then
        nothing has changed, and it is the caller's."""
        self._first_load_s = self._first_load_s or loaded.took_s
        loaded.zygote.configure(loading.configure_message(self._settings), self)
        self._pool.move_to(loaded.zygote)
        self._zygotes.append(loaded.zygote)

    def reload(self) -> None:
        """Load the author's code again. If it fails to load, what was running goes on.

        While a load is under way others wait for it, as one; but one that takes far too long gives way.
        """
        if self._closing:
            return
        self._owner.on_reloading()
        if self._loader is None:
            self._loader = supervised(self._load(), "reload")
            return
        loading_s = time.monotonic() - self._load_started_at
        if self._is_pausing or loading_s > max(_ABANDON_S, _LOAD_MANY_TIMES * self._first_load_s):
            self._log.warning("load_abandoned", seconds=round(loading_s, 1), hint="another one was asked for")
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
        try:
            async with asyncio.timeout(self.load_timeout_s):
                loaded = await loading.load(self._request)
            self.adopt(loaded)
        except BaseException as error:
            if loaded is not None:
                self._let_go(loaded.zygote)
            if not isinstance(error, (ConfigError, ZygoteError, OSError)):  # TimeoutError is one of them
                raise
            reason = "the import takes too long" if isinstance(error, TimeoutError) else str(error)
            goes_on = self._pool.zygote.answers
            hint = "the code that was running goes on" if goes_on else "it is tried again"
            self._log.error("reload_failed", reason=reason, hint=hint)
            self.reload_failed = True
            return error
        self.reload_failed = False
        self._log.info("reloaded", actions=len(loaded.zygote.description.actions))
        return None

    async def _pause_after(self, failure: Exception | None) -> bool:
        """There is no zygote to start workers from: wait before the next try; ``False``: it was the last."""
        by_machine = isinstance(failure, OSError) and not isinstance(failure, TimeoutError)
        pause = self._loads.failed(by_machine=by_machine, others_serve=self._pool.serves())
        if pause is None:
            hint = "the process with the author's code ended, and no other one can be had"
            self._owner.give_up(EXIT_UNEXPECTED if by_machine else EXIT_ZYGOTE, "no_zygote", hint)
            return False
        self._is_pausing = True
        try:
            await asyncio.sleep(pause)
        finally:
            self._is_pausing = False
        return True

    async def close(self) -> None:
        """End every zygote, and with them every worker."""
        self._closing = True
        self._pool.stop_replacing()
        if self._loader is not None:
            self._loader.cancel()
            await asyncio.gather(self._loader, return_exceptions=True)
        for zygote in self._zygotes:
            self._let_go(zygote)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _let_go(self, zygote: ZygoteLink) -> None:
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
        self._log.error("zygote_lost")
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
        self._log.error("zygote_silent", hint="the process that starts workers is stopped, or hangs; it is replaced")
        if zygote is self._pool.zygote:
            self._replace(zygote)

    def look_at_zygote(self, now: float) -> None:
        """Find out whether the zygote that workers come from has been stopped for a while, though nothing is asked of
        it: the next worker to be replaced would wait for that. Each second or so; ``now`` in seconds."""
        zygote = self._pool.zygote
        if self._stopped.look(now, zygote.answers and zygote.is_stopped, id(zygote)) >= SILENCE_S:
            self.on_zygote_silent(zygote)

    def _replace(self, zygote: ZygoteLink) -> None:
        if self._closing:
            return
        before = self._in_force
        if before is not None and before is not zygote and before in self._zygotes and before.answers:
            self._go_back(before, "its process died, or hangs")
        elif zygote is before or self._loader is not None:
            self.reload()
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
            self._flow.set_actions(worker.zygote.description)
            self._loop.call_soon(self._close_left_zygotes)
        self._flow.add(worker)
        self._note_serving()

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
                hint = "see the errors above; trying again cannot help"
                self._owner.give_up(EXIT_ZYGOTE, "workers_cannot_boot", hint)
            return
        self._go_back(before, "its workers cannot boot")
        if not before.answers and self._loader is None:  # it serves with the workers it has, and can start no other
            self._loader = supervised(self._load_after_pause(), "reload")

    def _go_back(self, before: ZygoteLink, reason: str) -> None:
        self._log.error("reload_failed", reason=reason, hint="the code that was running goes on")
        self.reload_failed = True
        self._pool.move_back(before)
        self._close_left_zygotes()
