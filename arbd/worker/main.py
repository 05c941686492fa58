"""The start of a worker process: tie it to its parent, name it, pin it, build what its loop needs.

It is entered in one of two ways, by fork from the zygote (``run``) or, where the author's module starts threads, by
exec (``start_by_exec`` in the zygote, ``arbd.worker.__main__`` in the new process).

Whatever goes wrong in an action is the answer to its task. What leaves ``run`` is a bug or a state that should not be:
it is logged as ``worker_failed``, and the process ends with code 71.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_UNEXPECTED
from arbd.host import cpus, memory, process_state, procs
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.cell import WorkerCell
from arbd.logs.tasks import keep_streams
from arbd.worker.aio import AsyncRunner
from arbd.worker.execute import Context
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.loop import Loop
from arbd.worker.numbers import Numbers
from arbd.worker.output import OutputFds, WorkerOutput
from arbd.worker.soft_timer import SoftTimer


class Handles(NamedTuple):
    """The descriptors of a worker, in the order of ``Spawn``."""

    cell: int
    bell: int
    board: int
    results_bell: int
    side: int
    limits_bell: int
    answers_bell: int


class ExecSpec(msgspec.Struct, frozen=True):
    """The parameters of a worker that is started by exec."""

    boot: protocol.Boot
    configure: protocol.Configure
    spawn: protocol.Spawn
    numbers: Numbers
    parent: int
    losses: int | None
    output: OutputFds | None
    log_fd: int | None


def apply(configure: protocol.Configure, provider: Provider) -> None:
    """Set the provider's attributes to the settings in force, so that the author's code sees them."""
    provider.name = configure.name
    provider.hub_url = configure.hub_url
    provider.timezone = configure.timezone
    provider.execution_timeout = configure.execution_timeout


def run(
    provider: Provider,
    configure: protocol.Configure,
    spawn: protocol.Spawn,
    handles: Handles,
    numbers: Numbers,
    *,
    parent: int,
    output_fds: OutputFds | None,
) -> None:
    """Run worker ``spawn.slot`` until it is told to leave. ``parent``: the zygote's process id."""
    procs.die_with_parent(parent)
    process_state.establish(keep_handler=True)  # the author's code has been imported, here or in the zygote
    os.setpgid(0, 0)  # a group of its own: what an action starts is killed with its worker
    procs.set_name(f"arbd:worker-{spawn.slot}")
    ignore_termination()
    pin(spawn)  # in a worker started by exec once more: the module may have moved the process while it was imported
    log = configure.log
    logs.configure(level=log.level, format=log.format, silent=log.silent, role="worker", worker=spawn.slot)
    mapping = memory.attach(handles.cell)
    words = memory.words_of(mapping)
    output = None if output_fds is None else WorkerOutput(words, output_fds)
    cell = WorkerCell(mapping, words)
    bells = Bells(ask=handles.limits_bell, answer=handles.answers_bell)
    if output is not None:
        output.watch_children()
    keep_streams()
    limits = WorkerLimits(words, provider, numbers, bells)
    timer = SoftTimer(cell.is_cancelled)
    context = Context(
        provider,
        utc_now=lambda: datetime.now(UTC),
        run_async=AsyncRunner(timer),
        envelope=configure.envelope,
        max_result=configure.max_result,
        nan=configure.nan,
    )
    Loop(
        cell,
        memory.attach(handles.board),
        worker_id=spawn.worker_id,
        slot=spawn.slot,
        bell=handles.bell,
        results_bell=handles.results_bell,
        side=socket.socket(fileno=handles.side),
        actions=numbers.actions,
        limits=limits,
        context=context,
        timer=timer,
        **({} if output is None else {"look": output.look}),
    ).run()


def pin(spawn: protocol.Spawn) -> None:
    """Bind this process to the CPUs of its slot, if it has any. Where that is forbidden, or the CPU is not there any
    more, that is logged and the worker runs unpinned."""
    if not spawn.cpus:
        return
    try:
        cpus.pin(frozenset(spawn.cpus))
    except OSError as exc:
        logs.get_logger("arbd.worker").warning("not_pinned", worker=spawn.slot, cpus=spawn.cpus, reason=exc.strerror)


def ignore_termination() -> None:
    """Ignore signals that ask to end: the supervisor ends its workers after draining.

    Handlers that do nothing, rather than SIG_IGN, because a process that an action starts would inherit SIG_IGN and
    could not be stopped by its own signals.
    """
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)


def start_by_exec(
    boot: protocol.Boot,
    configure: protocol.Configure,
    spawn: protocol.Spawn,
    handles: Handles,
    numbers: Numbers,
    output: OutputFds | None,
) -> int:
    """Start a worker as a fresh interpreter; its process id. Raises ``OSError`` if no process can be had."""
    losses, log_fd = logs.losses_for_children(), logs.log_descriptor()
    spec = ExecSpec(boot, configure, spawn, numbers, os.getpid(), losses[0] if losses else None, output, log_fd)
    parcel = memory.create_parcel((protocol.encode(spec),))
    fds = (parcel, *handles)
    passed = (*fds, *losses, *(output or ()), *(() if log_fd is None else (log_fd,)))
    standard = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((output or ())[:2], start=1)]
    # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
    arguments = [sys.executable, "-P", "-m", "arbd.worker", *map(str, fds)]
    try:
        for fd in passed:
            os.set_inheritable(fd, True)
        return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=standard)
    finally:
        for fd in passed:
            os.set_inheritable(fd, False)
        os.close(parcel)


def leave(status: int) -> NoReturn:
    """End this process now, without the interpreter's shutdown. That would wait for threads of the author's, and a
    forked worker would run what the zygote has planned for its own end."""
    try:
        logs.finish()
    finally:  # an exception there must not return into the caller
        os._exit(status)


def fail() -> NoReturn:
    """Log the unexpected exception that is being handled, and end this process with code 71."""
    try:
        logs.get_logger("arbd.worker").critical("worker_failed", exc_info=True)
    finally:
        leave(EXIT_UNEXPECTED)
