"""A worker process from its first moment to its loop: tie it to its parent, name it, pin it, make everything ready.

It is entered in one of two ways, by fork from the zygote (``run``) or, where the author's module starts threads, by
exec (``start_by_exec`` in the zygote, ``arbd.worker.__main__`` in the new process).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from arbd import logs
from arbd.core import zygote_protocol as protocol
from arbd.core.cell import WorkerCell
from arbd.host import cpus, memory, procs
from arbd.provider import Provider
from arbd.worker.aio import AsyncRunner
from arbd.worker.execute import Context
from arbd.worker.limits import Bells, Limits
from arbd.worker.loop import Loop
from arbd.worker.numbers import Numbers
from arbd.worker.soft_timer import SoftTimer


class Handles(NamedTuple):
    """The descriptors a worker is given, in the order of ``Spawn``."""

    cell: int
    bell: int
    board: int
    results_bell: int
    side: int
    limits_bell: int
    answers_bell: int


class ExecSpec(msgspec.Struct, frozen=True):
    """All that a worker started by exec must be told."""

    boot: protocol.Boot
    configure: protocol.Configure
    spawn: protocol.Spawn
    numbers: Numbers
    parent: int
    losses: int | None


def apply(configure: protocol.Configure, provider: Provider) -> None:
    """Put the settings in force onto the provider, so that the author's code sees them."""
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
) -> None:
    """Be worker ``spawn.slot`` until told to leave. ``parent``: the zygote's process id."""
    procs.die_with_parent(parent)
    os.setpgid(0, 0)  # a group of its own: what an action starts is killed with its worker
    procs.set_name(f"arbd:worker-{spawn.slot}")
    ignore_termination()
    if spawn.cpu is not None:
        cpus.pin(frozenset((spawn.cpu,)))
    log = configure.log
    logs.configure(level=log.level, format=log.format, silent=log.silent, role="worker", worker=spawn.slot)
    mapping = memory.attach(handles.cell)
    words = memory.words_of(mapping)
    cell = WorkerCell(mapping, words)
    bells = Bells(ask=handles.limits_bell, answer=handles.answers_bell)
    limits = Limits(words, provider, numbers, bells)
    timer = SoftTimer(cell.is_cancelled)
    context = Context(
        provider,
        utc_now=lambda: datetime.now(UTC),
        run_async=AsyncRunner(timer),
        envelope=configure.envelope,
        max_result=configure.max_result,
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
    ).run()


def ignore_termination() -> None:
    """Leave ending to the supervisor: it drains first. Handlers that do nothing, rather than SIG_IGN, because a
    process that an action starts would inherit SIG_IGN and could not be stopped by its own signals."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)


def start_by_exec(
    boot: protocol.Boot, configure: protocol.Configure, spawn: protocol.Spawn, handles: Handles, numbers: Numbers
) -> int:
    """Start a worker as a fresh interpreter; its process id."""
    losses = logs.losses_for_children()
    spec = ExecSpec(boot, configure, spawn, numbers, os.getpid(), losses[0] if losses else None)
    parcel = memory.create_parcel((protocol.encode(spec),))
    fds = (parcel, *handles)
    for fd in (*fds, *losses):
        os.set_inheritable(fd, True)
    # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
    arguments = [sys.executable, "-P", "-m", "arbd.worker", *map(str, fds)]
    pid = os.posix_spawn(sys.executable, arguments, os.environ)
    for fd in (*fds, *losses):
        os.set_inheritable(fd, False)
    os.close(parcel)
    return pid
