"""The start of a worker process: tie it to its parent, name it, pin it, build what its loop needs.

It is entered in one of two ways, by fork from the zygote (``run``) or, where the author's module starts threads, by
exec (``start_by_exec`` in the zygote, ``arbd.worker.__main__`` in the new process).

Whatever goes wrong in an action is the answer to its task. What leaves ``run`` is a bug or a state that should not be:
it is logged as ``worker_failed``, and the process ends with code 71.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, NoReturn

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_UNEXPECTED, EXIT_UNFIT, os_reason
from arbd.host import cpus, dispositions, doorbell, memory, oom, process_state, process_title, procs
from arbd.host.fork_mark import ForkMark
from arbd.host.procs import CANCEL_SIGNAL
from arbd.host.stack_signal import COROUTINES_SIGNAL, STACKS_SIGNAL
from arbd.ipc import frame, layout, notice
from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.cell import WorkerCell
from arbd.ipc.notice import Unfit
from arbd.logs.tasks import keep_streams
from arbd.metrics import registry as author_metrics
from arbd.worker import child_starts, children, coroutine_stacks, inherited
from arbd.worker.action_cpu import ActionCpu
from arbd.worker.aio import AsyncRunner
from arbd.worker.execute import Context
from arbd.worker.guard import descriptors, guard
from arbd.worker.leaving import LeaveReasons
from arbd.worker.life import NotFit, WorkerLife
from arbd.worker.limits.seats import Bells, WorkerLimits
from arbd.worker.loop import Loop
from arbd.worker.numbers import Numbers
from arbd.worker.output import OutputFds, WorkerOutput
from arbd.worker.quota import Quota
from arbd.worker.resources import OpenResources, common_values
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
    stacks: int
    metrics: int


class Origin(msgspec.Struct, frozen=True):
    """What the zygote began with: where it was, its environment and file mode mask. A worker that is started by exec
    begins with the same, whatever the author's import has made of them: it makes that once more."""

    directory: bytes
    environment: dict[str, str]
    umask: int

    @classmethod
    def here(cls) -> Origin:
        """That of this process, now."""
        umask = os.umask(0o077)
        os.umask(umask)
        return cls(_directory(), dict(os.environ), umask)


def _directory() -> bytes:
    try:
        return os.getcwdb()
    except OSError:  # it has been removed
        return b""


class ExecSpec(msgspec.Struct, frozen=True):
    """The parameters of a worker that is started by exec."""

    boot: protocol.Boot
    configure: protocol.Configure
    spawn: protocol.Spawn
    numbers: Numbers
    parent: int
    losses: int | None
    directory: bytes
    umask: int
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
    """Run worker ``spawn.slot`` until it is told to leave, and its stop. ``parent``: the zygote's process id."""
    here = _settle(configure, spawn, parent)
    mapping = memory.attach(handles.cell)
    words = memory.words_of(mapping)
    output = None if output_fds is None else WorkerOutput(words, output_fds)
    cell = WorkerCell(mapping, words)
    if output is not None:
        child_starts.tell(output.before_child)
    keep_streams()
    author_metrics.REGISTRY.move(memory.words_of(memory.attach(handles.metrics)), spawn.worker_id, here)
    limits = WorkerLimits(words, provider, numbers, Bells(ask=handles.limits_bell, answer=handles.answers_bell))
    if spawn.trial:
        inherited.tidy_up_own()
        leave(0)
    process = guard.make(reseed=configure.reseed)
    reasons = LeaveReasons(process, lambda action: provider.actions[action].after_timeout == "keep")
    timer = SoftTimer(cell.is_cancelled, on_strike=reasons.strike)
    runner = AsyncRunner(timer, here=here, spoil=reasons.spoil)
    _own_signals(handles, timer, runner)
    resources = OpenResources(provider.actions.lifespan, common_values(provider), runner.run_apart)
    resources.end_if_child = lambda: children.end_if_child(here)
    context = _context(provider, configure, runner, resources, reasons.spoil)
    side = socket.socket(fileno=handles.side)
    quota = Quota(spawn.max_tasks, spawn.memory_limit)
    _protect(handles, output_fds, quota)
    loop = _loop_kind(configure)(
        cell,
        memory.attach(handles.board),
        worker_id=spawn.worker_id,
        slot=spawn.slot,
        bell=handles.bell,
        results_bell=handles.results_bell,
        side=side,
        actions=numbers.actions,
        limits=limits,
        context=context,
        timer=timer,
        quota=quota,
        leave_reasons=reasons,
        action_cpu=_action_cpu(words, numbers),
        set_level=partial(_set_level, process),
        **({} if output is None else {"look": output.look}),
    )
    life = _life(provider, configure, resources, runner, timer, loop)
    _start(life, loop)
    children.end_if_child(here)  # a hook has forked, and this is not the worker
    keep_streams()
    loop.trace(configure.name, spawn.slot)
    resources.opening = process.adopting
    process.arm(here)
    loop.run()
    life.stop()


def _life(
    provider: Provider,
    configure: protocol.Configure,
    resources: OpenResources,
    runner: AsyncRunner,
    timer: SoftTimer,
    loop: Loop,
) -> WorkerLife:
    """The worker's start and stop, with the author's hooks."""
    return WorkerLife(
        provider.actions.lifespan,
        resources,
        runner,
        timer,
        lambda detail: loop.say(Unfit(detail)),
        start_timeout=configure.start_timeout,
        stop_timeout=configure.stop_timeout,
        end_if_child=resources.end_if_child,
        flush=loop.flush,
    )


def _own_signals(handles: Handles, timer: SoftTimer, runner: AsyncRunner) -> None:
    """Answer the supervisor's signals; what an action forks does not."""
    children.loop_is(lambda: runner.running_loop)
    coroutine_stacks.answer_into(handles.stacks, lambda: runner.running_loop)
    for signum in (CANCEL_SIGNAL, timer.signum, STACKS_SIGNAL, COROUTINES_SIGNAL):
        children.own_handler(signum)


def _context(
    provider: Provider,
    configure: protocol.Configure,
    runner: AsyncRunner,
    resources: OpenResources,
    spoil: Callable[[str], None],
) -> Context:
    """What a task runs in."""
    return Context(
        provider,
        utc_now=lambda: datetime.now(UTC),
        run_async=runner,
        resources=resources,
        envelope=configure.envelope,
        max_result=configure.max_result,
        here=runner.here,
        nan=configure.nan,
        spoil=spoil,
    )


def _protect(handles: Handles, output_fds: OutputFds | None, quota: Quota) -> None:
    """Refuse to have arbd's own descriptors closed by an action."""
    log_fd = logs.log_descriptor()
    of_logs = (*(() if log_fd is None else (log_fd,)), *logs.journal_descriptors())
    descriptors.protect(*handles, *(output_fds or ()), *of_logs, *quota.descriptors)


def _action_cpu(words: memoryview, numbers: Numbers) -> ActionCpu:
    """The counters of CPU time by action, in this worker's cell."""
    at = layout.action_cpu_at(int(words[layout.RING_SIZE]), len(numbers.limits), len(numbers.actions))
    return ActionCpu(words[at : at + len(numbers.actions)], numbers.actions)


def _loop_kind(configure: protocol.Configure) -> type[Loop]:
    """The loop with spans, or the plain one, which knows nothing of them."""
    if not configure.tracing:
        return Loop
    from arbd.worker.tracing import TracedLoop

    return TracedLoop


def _settle(configure: protocol.Configure, spawn: protocol.Spawn, parent: int) -> ForkMark:
    """Make this process a worker's: its parent, state, group, name, signals, CPUs and log; its mark."""
    procs.die_with_parent(parent)
    dispositions.stop_timers()
    process_state.establish(keep_handler=True)  # the author's code has been imported, here or in the zygote
    os.setpgid(0, 0)  # a group of its own: what an action starts is killed with its worker
    process_title.set_title(f"arbd:worker-{spawn.slot}", configure.name)
    ignore_termination()
    here = children.watch()
    pin(spawn)  # in a worker started by exec once more: the module may have moved the process while it was imported
    log = configure.log
    logs.configure(level=log.level, format=log.format, silent=log.silent, role="worker", worker=spawn.slot)
    _offer_to_oom_killer()
    return here


def _offer_to_oom_killer() -> None:
    """Be killed before the rest of the daemon when memory runs out; so are processes that actions start."""
    try:
        oom.raise_score(oom.WORKER_STEP)
    except OSError as exc:  # no /proc, or one that cannot be written: the kernel chooses by size alone
        logs.get_logger("arbd.worker").debug("oom_score_not_raised", reason=os_reason(exc))


def _set_level(process: guard.Guard, level: int) -> None:
    """Set the log level that an operator has asked for: no action has changed that, and it is not put back."""
    with process.adopting():
        logs.change_level(level)


def _start(life: WorkerLife, loop: Loop) -> None:
    """Run start hooks and open resources; where that fails, say so and end this process."""
    try:
        life.start()
    except NotFit as reason:
        loop.say(Unfit(str(reason)))
        life.stop()
        leave(EXIT_UNFIT)


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
    for signum in children.TERMINATION:
        signal.signal(signum, children.ignore)


def start_by_exec(
    boot: protocol.Boot,
    configure: protocol.Configure,
    spawn: protocol.Spawn,
    handles: Handles,
    numbers: Numbers,
    origin: Origin,
    output: OutputFds | None,
) -> int:
    """Start a worker as a fresh interpreter; its process id. Raises ``OSError`` if no process can be had."""
    losses, log_fd = logs.losses_for_children(), logs.log_descriptor()
    lost = losses[0] if losses else None
    spec = ExecSpec(boot, configure, spawn, numbers, os.getpid(), lost, origin.directory, origin.umask, output, log_fd)
    parcel = memory.create_parcel((protocol.encode(spec),))
    fds = (parcel, *handles)
    passed = (*fds, *losses, *(output or ()), *(() if log_fd is None else (log_fd,)))
    standard = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((output or ())[:2], start=1)]
    # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
    arguments = [sys.executable, "-P", "-m", "arbd.worker", *map(str, fds)]
    try:
        for fd in passed:
            os.set_inheritable(fd, True)
        return os.posix_spawn(sys.executable, arguments, origin.environment, file_actions=standard)
    finally:
        for fd in passed:
            os.set_inheritable(fd, False)
        os.close(parcel)


def report(handles: Handles, detail: str) -> None:
    """Say in its result ring that this worker cannot serve, where it has no loop yet that could."""
    mapping = memory.attach(handles.cell)
    cell = WorkerCell(mapping, memory.words_of(mapping))
    cell.results.push(frame.encode_notice(notice.encode(notice.Unfit(detail))))
    doorbell.ring(handles.results_bell)


def flush_standard() -> None:
    """Flush what the author's import has printed: else every forked worker has it in its buffer, and prints it, too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if select.select([], [stream], [], 0)[1]:  # else nobody reads it, and it would wait for ever
                stream.flush()
        except (OSError, ValueError, AttributeError, TypeError):  # it is closed, or an object of the author's
            pass


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
