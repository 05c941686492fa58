"""The zygote: a process that imports the author's module once, describes it, and forks workers on request.

A fresh interpreter (``python -m arbd.worker.zygote``), so it never held the hub's token or a gRPC thread.
Single-threaded and without an event loop, because a fork copies only the calling thread and whatever locks the others
hold. It has two phases. While it loads, whatever goes wrong is the author's, and goes to the supervisor as a message.
Then it does nothing but wait for four things::

    control socket readable ──> a message: fork; or the end of the stream: kill every worker, leave
    a worker's pidfd readable ─> it ended: kill what it started, reap it, report its status
    what a worker prints ──────> to the log, line by line (``arbd.worker.output_reader``)
    the shared monitors' ──────> ended, or due to be started
    another child has ended ───> one that lost its parent (``arbd.worker.descendants``): reap it

There a process that cannot be had is ordinary: it is reported, and the supervisor asks again. Any other exception is
logged as ``zygote_failed`` and ends it with code 71, and its workers with it; the supervisor starts another.

It imports on as many CPUs as a worker will have, so that libraries start no more threads than a worker has use for.
What the import has left behind is looked at (``arbd.worker.fork_safety``): where a fork would share or lose it, workers
are started by exec, and import the module again.
"""

from __future__ import annotations

import gc
import math
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, NamedTuple, NoReturn, cast

import msgspec

from arbd import logs
from arbd.author.provider import Provider, describe
from arbd.errors import EXIT_OK, EXIT_UNEXPECTED, RegistrationError
from arbd.host import (
    channel,
    cpus,
    dispositions,
    memory,
    parcels,
    process_state,
    process_title,
    procs,
    secrecy,
    stack_signal,
    stdio,
    tags,
)
from arbd.ipc import zygote_protocol as protocol
from arbd.model.description import Description
from arbd.rate_limit import registry
from arbd.rate_limit.limit_monitor import LimitMonitor
from arbd.worker import child_starts, children, inherited, target
from arbd.worker import main as worker
from arbd.worker.descendants import Descendants
from arbd.worker.failures import failed, of_examination
from arbd.worker.fork_safety import files
from arbd.worker.fork_safety.judge import affinity_changed
from arbd.worker.fork_safety.look import Before, look_after
from arbd.worker.fork_safety.threads import ImportWatch
from arbd.worker.guard import guard
from arbd.worker.limits.monitor_process import MonitorProcess
from arbd.worker.numbers import Numbers
from arbd.worker.output import OutputFds
from arbd.worker.output_reader import OutputReader
from arbd.worker.reseed import Seeds

_NAME: Final = "arbd:zygote"
_SEND_PAUSE_S: Final = 0.005
_SEND_ATTEMPTS: Final = 200  # a second
_TRACKER_TIMEOUT_S: Final = 1.0


class SupervisorGone(Exception):
    """The other end of the control channel is closed."""


class _Child(NamedTuple):
    worker_id: int
    pid: int


class Zygote:
    """The zygote of one generation of the author's code."""

    def __init__(
        self, control: socket.socket, boot: protocol.Boot, descendants: Descendants, stacks_fd: int = -1
    ) -> None:
        self._control = control
        self._stacks_fd = stacks_fd
        self._boot = boot
        self._descendants = descendants
        self._configure: protocol.Configure | None = None
        self._children: dict[int, _Child] = {}  # by pidfd
        self._poll = select.poll()
        self._import = ExitStack()  # what holds only while the target is imported
        self._output = OutputReader(self._poll)
        self._provider: Provider
        self._numbers: Numbers
        self._monitor_process: MonitorProcess

    # -- the first phase: the author's code --------------------------------------------------------------------

    def run(self) -> None:
        """Load the target, describe it, and serve until the supervisor is gone. What goes wrong before it serves is
        told to the supervisor.

        Where the author's code calls ``provider.start()``, the rest happens inside that call, and the process ends
        there.
        """
        if not self._boot.core_files:
            secrecy.leave_no_core_files()  # a worker's memory holds payloads and accounts
        self._origin = worker.Origin.here()
        self._before = Before.look()
        self._narrowed = self._import.enter_context(cpus.Narrowed(self._boot.worker_cpus))
        self._watch = self._import.enter_context(ImportWatch(self._boot.target))
        here = children.watch()
        try:
            provider = target.load(
                self._boot.target, self._boot.argv, script=self._boot.script, go_on=self._go_on_inside
            )
        except BaseException as exc:  # SystemExit of a script, and whatever an import can raise
            children.end_if_child(here, exc)
            self._end_import()
            self.fail(exc)
            return
        self._go_on(provider)

    def _go_on_inside(self, provider: Provider) -> NoReturn:
        end_with(lambda: self._go_on(provider))

    def _end_import(self) -> None:
        # At once: a timer that the author's code has left running would end this process. Its handlers are for workers:
        # here an exception of one would end them all.
        dispositions.stop_timers()
        self._handlers = dispositions.set_aside(for_good=children.TERMINATION)
        self._import.close()
        children.pause()

    def _go_on(self, provider: Provider) -> None:
        children.end_if_child(children.here)  # the module has forked, and this is not the zygote
        self._end_import()
        try:
            self._describe_and_serve(provider)
        finally:
            self._descendants.end()

    def _describe_and_serve(self, provider: Provider) -> None:
        try:
            parcel = self._examine(provider)
        except BaseException as exc:  # a signature or a limit of the author's that breaks whoever looks at it
            self._send(of_examination(exc))
            return
        self.describe(parcel)
        self.serve()

    def _examine(self, provider: Provider) -> int:
        """Note what was loaded, and what its import has left behind; a parcel with its description."""
        self._provider = provider
        self._after = after = look_after(self._before, self._watch.started_by, process=_NAME)
        self._seeds = Seeds(after.generators.unseeded)
        # Kept, so that none of them is gone in the workers.
        self._monitors = cast(list[LimitMonitor], registry.collect(self._provider))
        limits = [monitor.spec for monitor in self._monitors]
        leftovers = [*after.leftovers, *affinity_changed(self._narrowed.chosen)]
        description = describe(self._provider, after.threads, target.author_files(), limits, leftovers)
        description = msgspec.structs.replace(description, load_s=after.load_s, load_bytes=after.load_bytes)
        self._numbers = Numbers.of(description)
        self._monitor_process = MonitorProcess(self._provider, threads=after.threads)
        return memory.create_parcel((_encoded(description),))

    def describe(self, parcel: int) -> None:
        """Send the description of what was loaded to the supervisor."""
        self._send(protocol.Described(), (parcel,))
        os.close(parcel)

    def fail(self, exc: BaseException) -> None:
        """Send the reason why nothing was loaded to the supervisor."""
        self._send(failed(exc))

    # -- the second phase: workers -----------------------------------------------------------------------------

    def serve(self) -> None:
        """Fork and reap workers until the supervisor is gone."""
        self._settle()
        try:
            while self._serve_once():
                pass
        finally:
            self._monitor_process.close()
            for pidfd in self._children:
                procs.kill(pidfd)

    def _settle(self) -> None:
        """Restore the zygote's process state, which the author's code may have changed while it was imported."""
        worker.flush_standard()
        process_state.establish()
        stack_signal.renew()
        worker.ignore_termination()
        self._provider.redact()
        for monitor in self._monitors:
            monitor.redact()
        self._descendants.settle()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._descendants.fd, select.POLLIN)
        # From here on the end of the stream tells that the supervisor is gone, and unlike a kernel signal it leaves
        # the time to kill what the workers started themselves.
        procs.outlive_parent()

    def _serve_once(self) -> bool:
        self._output.flush()
        due_in_s = min((due for due in self._due_in_s() if due is not None), default=None)
        for fd, _ in self._poll.poll(None if due_in_s is None else math.ceil(due_in_s * 1000)):
            if fd == self._control.fileno():
                message, fds = channel.receive(self._control)
                if not message:
                    return False
                self._handle(protocol.decode_to_zygote(message), fds)
            elif fd in self._children:
                self._reap(fd)
            elif fd == self._monitor_process.pidfd:
                self._poll.unregister(fd)
                self._monitor_process.reap(self._descendants.reap)
            elif fd == self._descendants.fd:
                self._descendants.heard()
            else:
                self._output.handle(fd)
        if self._descendants.due_in_s() == 0:
            self._descendants.look()
        if self._monitor_process.due_in_s() == 0 and self._monitor_process.start(before=self._release_for_limits):
            self._descendants.started(self._monitor_process.pid, tags.LIMITS)
            self._poll.register(self._monitor_process.pidfd, select.POLLIN)
        return True

    def _due_in_s(self) -> tuple[float | None, ...]:
        return self._monitor_process.due_in_s(), self._descendants.due_in_s(), self._output.due_in_s()

    def _release_for_limits(self) -> None:
        self._release(tags.LIMITS)

    def _release(self, number: int) -> None:
        """Release what is the zygote's alone; called in a forked child. ``number``: what its own children are known
        by."""
        self._descendants.release(number)
        self._control.close()
        if self._stacks_fd >= 0:
            os.close(self._stacks_fd)
        self._output.release()
        for pidfd in self._children:
            os.close(pidfd)
        process_state.limit_open_files(self._boot.open_files)
        dispositions.put_back(self._handlers)
        files.reopen(self._after.reopened)

    def _handle(self, message: protocol.ToZygote, fds: list[int]) -> None:
        if isinstance(message, protocol.Configure):
            self._configure = message
            worker.apply(message, self._provider)
            logs.change_level(message.log.level)  # the author's code may have set another one than there was before
            if message.tracing:
                _preload_tracing()
            gc.collect()
            inherited.remember()
            gc.freeze()  # a collection in a worker would otherwise write to, and so copy, every page shared with it
            self._monitor_process.want()
        elif isinstance(message, protocol.Spawn):
            self._spawn(message, fds)
        elif isinstance(message, protocol.ChangeLogLevel) and self._configure is not None:
            logs.change_level(message.level)
            log = msgspec.structs.replace(self._configure.log, level=message.level)
            self._configure = msgspec.structs.replace(self._configure, log=log)
        else:
            raise RuntimeError(f"a message that has no place here: {type(message).__name__}")

    def _spawn(self, spawn: protocol.Spawn, fds: list[int]) -> None:
        """Start a worker and report it, or report why not. The other workers go on in either case."""
        try:
            if len(fds) < len(worker.Handles._fields):
                raise OSError("the zygote has no free descriptors: the provider's module holds them")
            pid, pidfd = self._start(spawn, worker.Handles(*fds))
        except OSError as exc:
            reason = exc.strerror or str(exc)
            logs.get_logger("arbd.zygote").error("worker_not_started", worker=spawn.slot, reason=reason)
            self._send(protocol.Exited(spawn.worker_id, 1, reason))
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._children[pidfd] = _Child(spawn.worker_id, pid)
        self._descendants.started(pid, self._descendants.number_of(spawn.worker_id))
        self._poll.register(pidfd, select.POLLIN)

    def _start(self, spawn: protocol.Spawn, handles: worker.Handles) -> tuple[int, int]:
        """Start a worker and report it; its process id and pidfd. Raises ``OSError`` if no process can be had, or its
        pidfd cannot be sent; then there is no process."""
        if self._configure is None:
            raise RuntimeError("a worker was asked for before its settings came")
        prepared = self._output.prepare(handles.cell) if logs.is_captured() else None
        try:
            pid, pidfd = self._start_process(spawn, handles, None if prepared is None else prepared.worker)
        except OSError:
            if prepared is not None:
                self._output.cancel(prepared)
            raise
        if prepared is not None:
            self._output.add(prepared, spawn.slot, pid)
        try:
            self._send(protocol.Spawned(spawn.worker_id, pid), (pidfd,))
        except OSError:
            os.close(pidfd)
            procs.kill_and_reap(pid)
            self._output.end(pid)
            raise
        return pid, pidfd

    def _start_process(
        self, spawn: protocol.Spawn, handles: worker.Handles, output: OutputFds | None
    ) -> tuple[int, int]:
        assert self._configure is not None
        if self._after.by_exec:
            boot, configure, numbers = self._boot, self._configure, self._numbers
            pid = worker.start_by_exec(boot, configure, spawn, handles, numbers, self._origin, output)
            return pid, procs.open_child(pid)
        zygote = os.getpid()
        return procs.fork(lambda: self._become_worker(spawn, handles, output, zygote))

    def _become_worker(
        self, spawn: protocol.Spawn, handles: worker.Handles, output: OutputFds | None, zygote: int
    ) -> NoReturn:
        """Run a worker in the forked child: release what is the zygote's, and never return into its loop."""
        stack_signal.answer_into(handles.stacks)  # first: what this process has of the zygote's is closed next
        logs.set_role("worker", spawn.slot)
        try:
            self._release(self._descendants.number_of(spawn.worker_id))
            self._monitor_process.redirect_monitors()
            assert self._configure is not None
            self._seeds.enter_fork(reseed=self._configure.reseed)
            worker.run(self._provider, self._configure, spawn, handles, self._numbers, parent=zygote, output_fds=output)
        except BaseException:
            worker.fail()
        worker.leave(EXIT_OK)

    def _reap(self, pidfd: int) -> None:
        """Kill what a dead worker started, while its process id is still taken; only then reap it."""
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        status = self._descendants.reap(child.pid)
        self._output.end(child.pid)
        os.close(pidfd)
        self._send(protocol.Exited(child.worker_id, status))

    def _send(self, message: protocol.FromZygote, fds: tuple[int, ...] = ()) -> None:
        """Send a message. Raises ``OSError`` if there is no room for it, even after a second of trying."""
        for attempt in range(_SEND_ATTEMPTS):
            try:
                channel.send(self._control, protocol.encode(message), fds)
                return
            except (BrokenPipeError, ConnectionResetError) as exc:
                raise SupervisorGone from exc
            except OSError as exc:
                if exc.errno not in parcels.NOT_NOW or attempt == _SEND_ATTEMPTS - 1:
                    raise
            time.sleep(_SEND_PAUSE_S)


def _encoded(description: Description) -> bytes:
    """The description as bytes. Raises ``RegistrationError`` for text that no file and no message can hold."""
    try:
        return protocol.encode(description)
    except UnicodeEncodeError as error:
        raise RegistrationError(
            f"{error.object!a} has half of a character in it (a surrogate): names, descriptions and schemas have to "
            "be text that UTF-8 can hold"
        ) from error


def _preload_tracing() -> None:
    """Import what spans need once, for all workers; where that fails, each worker says so."""
    try:
        from arbd.worker import tracing

        tracing.preload()
    except Exception as exc:
        logs.get_logger("arbd.zygote").warning("tracing_not_imported", exc_info=exc)


def main(control_fd: int, parent: int) -> NoReturn:
    """Serve one supervisor, and end this process: with 0, or 71 after what nobody expected."""
    end_with(lambda: _main(control_fd, parent))


def end_with(last: Callable[[], None]) -> NoReturn:
    """Do this, and end the process: without the interpreter's shutdown, because ``atexit`` functions of the author's
    are the workers' to run, and without a way back into the author's code around ``provider.start()``."""
    status = EXIT_OK
    try:
        last()
    except SupervisorGone:
        pass
    except BaseException:
        status = EXIT_UNEXPECTED
        try:
            logs.get_logger("arbd.zygote").critical("zygote_failed", exc_info=True)
        except BaseException:  # the process ends all the same
            pass
    finally:
        _leave(status)


def _leave(status: int) -> NoReturn:
    try:
        inherited.tidy_up(time.monotonic() + _TRACKER_TIMEOUT_S)
    finally:
        worker.leave(status)


def _main(control_fd: int, parent: int) -> None:
    process_state.establish()
    procs.die_with_parent(parent)
    process_title.set_title(_NAME)
    worker.ignore_termination()
    child_starts.install()
    guard.install()  # before the author's module takes functions out of theirs
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    _run(control, parent)


def _run(control: socket.socket, parent: int) -> None:
    message, fds = channel.receive(control)
    if not message:
        raise SupervisorGone
    boot = protocol.decode_to_zygote(message)
    if not isinstance(boot, protocol.Boot):
        raise RuntimeError("the first message must say what to load")
    stacks_fd = fds.pop(0) if boot.stacks and fds else -1
    stack_signal.answer_into(stacks_fd)
    log = boot.log
    stdio.buffer_lines()
    logs.capture_streams()
    logs.configure(level=log.level, format=log.format, silent=log.silent, role="zygote", losses=fds[0] if fds else None)
    descendants = Descendants(boot.generation)
    descendants.begin(parent, boot.watched)
    try:
        Zygote(control, boot, descendants, stacks_fd).run()
    finally:
        descendants.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
