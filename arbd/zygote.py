"""The zygote: imports the author's module once, describes it, and forks workers on request.

A fresh interpreter (``python -m arbd.zygote``), so it never held the hub's token or a gRPC thread. Single-threaded and
without an event loop, because a fork copies only the calling thread and whatever locks the others hold. It does
nothing but wait for two things::

    control socket readable ──> a message: fork; or the end of the stream: kill every worker, leave
    a worker's pidfd readable ─> it ended: kill what it started, reap it, report its status

A module that started threads while it was imported cannot be forked safely: its workers are started by exec, and
import the module again.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import traceback
from typing import NamedTuple, NoReturn

from arbd import logs, target
from arbd.core import zygote_protocol as protocol
from arbd.description import Description
from arbd.errors import ConfigError, RegistrationError
from arbd.host import channel, memory, procs
from arbd.provider import describe
from arbd.rate_limit import registry
from arbd.worker import main as worker
from arbd.worker.numbers import Numbers
from arbd.worker.one_place import OnePlace

_NOT_STARTED = 71  # sysexits.h EX_OSERR, in place of an exit code


class _Child(NamedTuple):
    worker_id: int
    pid: int


class Zygote:
    """One generation of the author's code."""

    def __init__(self, control: socket.socket, boot: protocol.Boot) -> None:
        self._control = control
        self._boot = boot
        self._configure: protocol.Configure | None = None
        self._children: dict[int, _Child] = {}  # by pidfd
        self._poll = select.poll()

    def run(self) -> None:
        """Load, describe, then serve until the supervisor is gone."""
        self._provider = target.load(self._boot.target, self._boot.argv, script=self._boot.script)
        self._threads = procs.threads_of_this_process()[1:]
        self._monitors = registry.collect(self._provider)  # kept, so that none of them is gone in the workers
        limits = [monitor.spec for monitor in self._monitors]
        description = describe(self._provider, self._threads, target.author_files(), limits)
        self._numbers = Numbers.of(description)
        self._one_place = OnePlace(self._provider, threads=self._threads)
        self._send_description(description)
        self._provider.redact()
        for monitor in self._monitors:
            monitor.redact()
        self._poll.register(self._control, select.POLLIN)
        # From here on the end of the stream tells that the supervisor is gone, and unlike a kernel signal it leaves
        # the time to kill what the workers started themselves.
        procs.outlive_parent()
        try:
            while self._serve_once():
                pass
        finally:
            self._one_place.close()
            for pidfd, child in self._children.items():
                procs.kill(pidfd)  # it may not have made its group yet
                procs.kill_group(child.pid)

    def _send_description(self, description: Description) -> None:
        parcel = memory.create_parcel((protocol.encode(description),))
        channel.send(self._control, protocol.encode(protocol.Described()), (parcel,))
        os.close(parcel)

    def _serve_once(self) -> bool:
        for fd, _ in self._poll.poll():
            if fd == self._control.fileno():
                message, fds = channel.receive(self._control)
                if not message:
                    return False
                self._obey(protocol.decode_to_zygote(message), fds)
            elif fd in self._children:
                self._bury(fd)
            elif fd == self._one_place.pidfd:
                self._poll.unregister(fd)
                self._one_place.bury()
                self._start_one_place()
        return True

    def _start_one_place(self) -> None:
        if self._one_place.start(before=self._let_go):
            self._poll.register(self._one_place.pidfd, select.POLLIN)

    def _let_go(self) -> None:
        """In a forked child: what is the zygote's alone."""
        self._control.close()
        for pidfd in self._children:
            os.close(pidfd)

    def _obey(self, message: protocol.ToZygote, fds: list[int]) -> None:
        if isinstance(message, protocol.Configure):
            self._configure = message
            worker.apply(message, self._provider)
            gc.collect()
            gc.freeze()  # a collection in a worker would otherwise write to, and so copy, every page shared with it
            self._start_one_place()
        elif isinstance(message, protocol.Spawn):
            self._spawn(message, worker.Handles(*fds))

    def _spawn(self, spawn: protocol.Spawn, handles: worker.Handles) -> None:
        try:
            pid = self._start(spawn, handles)
        except OSError as exc:  # no process to be had now; the workers there are go on
            logs.get_logger("arbd.zygote").error("worker_not_started", worker=spawn.slot, reason=str(exc))
            channel.send(self._control, protocol.encode(protocol.Exited(spawn.worker_id, _NOT_STARTED)))
            return
        finally:
            for fd in handles:
                os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = _Child(spawn.worker_id, pid)
        self._poll.register(pidfd, select.POLLIN)
        channel.send(self._control, protocol.encode(protocol.Spawned(spawn.worker_id, pid)), (pidfd,))

    def _start(self, spawn: protocol.Spawn, handles: worker.Handles) -> int:
        """The process id of a new worker."""
        if self._configure is None:
            raise RuntimeError("a worker was asked for before its settings came")
        if self._threads:
            pid = worker.start_by_exec(self._boot, self._configure, spawn, handles, self._numbers)
        else:
            zygote = os.getpid()  # not the child's getppid(): this process may have ended by then
            pid = os.fork()
            if pid == 0:
                self._become_worker(spawn, handles, zygote)
        return pid

    def _become_worker(self, spawn: protocol.Spawn, handles: worker.Handles, zygote: int) -> NoReturn:
        """In the forked child: let go of what is the zygote's, and never return into its loop."""
        status = 1
        try:
            self._let_go()
            self._one_place.ask_from_here()
            assert self._configure is not None
            worker.run(self._provider, self._configure, spawn, handles, self._numbers, parent=zygote)
            status = 0
        except BaseException:
            logs.get_logger("arbd.worker").exception("worker_failed", worker=spawn.slot)
        finally:
            try:
                logs.finish()
            finally:  # nothing must send this process back into the loop
                os._exit(status)

    def _bury(self, pidfd: int) -> None:
        """Kill what the dead worker started, while its number is still taken; only then reap it."""
        child = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        procs.kill_group(child.pid)
        _, status = os.waitpid(child.pid, 0)
        os.close(pidfd)
        exited = protocol.Exited(child.worker_id, os.waitstatus_to_exitcode(status))
        channel.send(self._control, protocol.encode(exited))


def main(control_fd: int, parent: int) -> int:
    """Serve one supervisor. Problems of the author's code go to it as a message; the exit code is for nobody."""
    procs.die_with_parent(parent)
    procs.set_name("arbd:zygote")
    worker.ignore_termination()
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    message, losses = channel.receive(control)
    boot = protocol.decode_to_zygote(message)
    if not isinstance(boot, protocol.Boot):
        raise RuntimeError("the first message must say what to load")
    log = boot.log
    logs.configure(
        level=log.level, format=log.format, silent=log.silent, role="zygote", losses=losses[0] if losses else None
    )
    try:
        Zygote(control, boot).run()
    except BrokenPipeError:
        pass  # the supervisor is gone: nobody is left to serve
    except ConfigError as exc:  # TARGET leads nowhere, or the arguments of Provider(...) cannot work
        _fail(control, protocol.Failed(True, exc.problems))
    except RegistrationError as exc:
        _fail(control, protocol.Failed(True, [str(exc)], _traceback()))
    except BaseException as exc:  # SystemExit of a script, and whatever an import can raise
        _fail(control, protocol.Failed(False, [f"{type(exc).__name__}: {exc}"], _traceback()))
    finally:
        logs.finish()
    return 0


def _traceback() -> str:
    """The traceback as text, without the frames of arbd, cut to what a control message can hold."""
    return traceback.format_exc()[-channel.MAX_MESSAGE // 2 :]


def _fail(control: socket.socket, failed: protocol.Failed) -> None:
    try:
        channel.send(control, protocol.encode(failed))
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
