"""A trial of a target: its module is loaded as ``run`` would, and one worker is started from it, as far as it gets
without a task.

    load ─> configure ─> spawn, marked as a trial ─> the worker has its memory, its limits, its module; it ends with 0
                                                 └─> it ends otherwise, or does not end in time: that is the problem

No hub, no hook, no resource, no action. The worker is forked or started by exec, as the daemon would start it. What
cannot be imported a second time beside the zygote (a port, a lock on a file) is found here, and not when a daemon runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final, NamedTuple

import msgspec

from arbd.errors import EXIT_ZYGOTE
from arbd.host import doorbell, memory
from arbd.ipc import frame, layout, notice
from arbd.ipc.author_page import AuthorPageReader
from arbd.ipc.ring import RingCorruptError
from arbd.ipc.zygote_protocol import Boot, Configure, LogSettings, Spawn
from arbd.model.description import Description
from arbd.settings.table import Settings, from_environment, secrets_in
from arbd.supervisor.author_pages import AuthorPages
from arbd.supervisor.loading import configure_message
from arbd.supervisor.request import zygote_environment
from arbd.supervisor.worker import Worker
from arbd.supervisor.zygote_link import ZygoteLink

_WORKER_ID: Final = 1
_RING_BYTES: Final = 64 * 1024
_LOAD_MANY_TIMES: Final = 5  # an import beside others may take longer than alone


class Tried(NamedTuple):
    """What a target holds, and why a worker of it does not start; empty: it does."""

    description: Description
    problems: list[str]


class _Events:
    """What the zygote tells of the one worker."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pidfd = -1

    def on_spawned(self, _worker_id: int, _pid: int, pidfd: int) -> None:
        self._pidfd = pidfd

    def on_exited(self, _worker_id: int, status: int, reason: str) -> None:
        self._settle(reason or _told(status))

    def on_zygote_lost(self, _zygote: ZygoteLink) -> None:
        self._settle("the process that starts workers ended as it started one")

    def _settle(self, problem: str) -> None:
        if not self.ended.done():
            self.ended.set_result(problem)

    def close(self) -> None:
        """Close what is left of it."""
        if self._pidfd >= 0:
            os.close(self._pidfd)


def _told(status: int) -> str:
    if status == 0:
        return ""
    if status == EXIT_ZYGOTE:
        return "it cannot import the module a second time"
    return f"it was killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with exit code {status}"


def try_out(
    place: str,
    argv: list[str],
    environ: Mapping[str, str],
    settings_of: Callable[[Description], Settings],
    *,
    worker_cpus: int = 1,
) -> Tried:
    """Load TARGET and start a worker from it. Raises ``TargetError`` or ``ZygoteError`` (with the traceback of the
    author's code), and what ``settings_of``, which gives the settings in force, raises."""
    log = LogSettings(level="critical", format="auto", silent=False)  # what is wrong is told once, by the caller
    secrets = secrets_in([from_environment(environ)])
    boot = Boot(place, argv, False, log, worker_cpus=worker_cpus)
    return asyncio.run(_try_out(boot, zygote_environment(environ, secrets, worker_cpus), settings_of))


async def _try_out(boot: Boot, environ: Mapping[str, str], settings_of: Callable[[Description], Settings]) -> Tried:
    link = await ZygoteLink.load(boot, environ)
    try:
        settings = settings_of(link.description)
        configure = msgspec.structs.replace(configure_message(settings), log=boot.log)
        timeout = settings.worker_start_timeout + _LOAD_MANY_TIMES * link.description.load_s
        problem = (
            ""
            if link.description.problems
            else await _start_one(link, configure, timeout, settings.metrics_author_series)
        )
        return Tried(link.description, [problem] if problem else [])
    finally:
        link.close()
        await link.wait_gone()


async def _start_one(link: ZygoteLink, configure: Configure, timeout: float, author_series: int) -> str:
    """Why a worker does not start, or not with all that its module defines; empty: it does."""
    events = _Events()
    with ExitStack() as undo:
        undo.callback(events.close)
        link.configure(configure, events)
        worker = Worker(_WORKER_ID, 0, link, _RING_BYTES)
        undo.callback(worker.close)
        board = memory.create("arbd-board", layout.board_bytes(1))
        undo.callback(os.close, board)
        bells = [doorbell.create() for _ in range(2)]
        for bell in bells:
            undo.callback(os.close, bell)
        pages = AuthorPages(author_series)
        undo.callback(pages.close)
        link.spawn(Spawn(_WORKER_ID, 0, trial=True), worker.handles(board, bells[0], bells[1], pages.take(_WORKER_ID)))
        problem = await _problem_of(events, timeout)
        if problem:
            how = "by exec" if link.description.by_exec else "by fork"
            return f"a worker, started {how}, does not start: {_said(worker) or problem}"
        return _without_room(pages)


async def _problem_of(events: _Events, timeout: float) -> str:
    try:
        return await asyncio.wait_for(events.ended, timeout)
    except TimeoutError:
        return f"it was not ready within {timeout:.1f} s (worker.start_timeout)"


def _without_room(pages: AuthorPages) -> str:
    """What the module defines that there is no room for; empty: nothing."""
    if not any(AuthorPageReader(words).is_full for words in pages.words()):
        return ""
    return (
        f"its metrics (arbd.metrics) have more than {pages.limit} series, and what is above that is not counted; "
        "raise metrics.author_series, or define fewer"
    )


def _said(worker: Worker) -> str:
    """The reason that a worker has given itself; empty: none."""
    try:
        results = [frame.decode_result(record) for record in worker.cell.results.pop_many(1)]
        said = [notice.decode(result.body) for result in results if result.notice]
    except (RingCorruptError, msgspec.MsgspecError, struct.error, ValueError, IndexError):
        return ""  # its memory is the author's to damage
    return next((each.detail for each in said if isinstance(each, notice.Unfit)), "")
