"""A zygote, seen from the supervisor: start it, learn what it loaded, have it fork, hear who ended.

One object is one generation of the author's code. It ends when its process does; a reload is a second one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Protocol

import msgspec

from arbd import logs
from arbd.core import zygote_protocol as protocol
from arbd.description import Description
from arbd.errors import TargetError, ZygoteError
from arbd.host import channel, memory

_MAX_DESCRIPTION = 256 * 1024 * 1024
_END_TIMEOUT_S = 1.0  # between the end of the stream and the end of the process: microseconds


class ZygoteEvents(Protocol):
    """What the owner of the workers is told."""

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        """A worker process exists; ``pidfd`` now belongs to the receiver."""

    def on_exited(self, worker_id: int, status: int) -> None:
        """A worker ended: its exit code, or minus a signal number."""

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """The zygote died, and its workers with it."""


class ZygoteLink:
    """A running zygote. ``description`` is set once ``load`` has returned; ``numbers`` maps actions to theirs;
    ``lost``: its process has ended by itself."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[Description] = self._loop.create_future()
        self._events: ZygoteEvents | None = None
        self.description: Description
        self.numbers: dict[str, int] = {}
        self.lost = False
        self._loop.add_reader(control, self._on_readable)

    @classmethod
    async def load(cls, boot: protocol.Boot, environ: Mapping[str, str]) -> ZygoteLink:
        """Start a zygote and have it load its target.

        Raises ``TargetError`` if TARGET leads to no provider or to one that can never work, ``ZygoteError`` (with the
        author's traceback) if its code fails or its process dies.
        """
        link = cls(*_start_process(environ))
        try:
            channel.send(link._control, protocol.encode(boot), logs.losses_for_children())
            link.description = await link._first
        except BaseException:
            link.close()
            link.kill()  # it may hang in the author's code, and has no workers yet
            raise
        link.numbers = {action.name: number for number, action in enumerate(link.description.actions)}
        return link

    def configure(self, configure: protocol.Configure, events: ZygoteEvents) -> None:
        """Give the settings in force; from now on it can spawn."""
        self._events = events
        channel.send(self._control, protocol.encode(configure))

    def spawn(self, spawn: protocol.Spawn, fds: tuple[int, ...]) -> None:
        """Ask for a worker; ``on_spawned`` follows. A zygote that is gone answers by ``on_zygote_lost``."""
        try:
            channel.send(self._control, protocol.encode(spawn), fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the end of the stream is on its way to `_on_readable`

    def close(self) -> None:
        """End the zygote, and with it every worker it has."""
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._control.close()
        self._events = None

    async def wait_gone(self, timeout: float = 5.0) -> None:
        """After ``close``: return once the process has ended; kill it if it takes longer than ``timeout`` seconds."""
        for _ in range(round(timeout / 0.002)):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(0.002)
        self.kill()

    def kill(self) -> None:
        """End its process now. After ``close``; what its workers started is not ended by this."""
        self._process.kill()
        self._process.wait()

    def _on_readable(self) -> None:
        try:
            message, fds = channel.receive(self._control)
        except BlockingIOError:
            return
        if not message:
            self._on_end()
            return
        event = protocol.decode_from_zygote(message)
        if isinstance(event, protocol.Described):
            parcel = memory.read_parcel(fds[0], _MAX_DESCRIPTION)
            self._settle_first(msgspec.msgpack.decode(parcel, type=Description))
        elif isinstance(event, protocol.Failed):
            self._settle_first(_failure(event))
        elif isinstance(event, protocol.Spawned):
            assert self._events is not None
            self._events.on_spawned(event.worker_id, event.pid, fds[0])
        elif self._events is not None:
            self._events.on_exited(event.worker_id, event.status)

    def _on_end(self) -> None:
        self.lost = True
        events = self._events
        self.close()
        try:
            status = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # the author's code has closed the descriptor, and lives on
            self._process.kill()
            status = self._process.wait()
        self._settle_first(ZygoteError(f"the process that imports the provider ended with status {status}"))
        if events is not None:
            events.on_zygote_lost(self)

    def _settle_first(self, answer: Description | Exception) -> None:
        if self._first.done():
            return
        if isinstance(answer, Exception):
            self._first.set_exception(answer)
        else:
            self._first.set_result(answer)


def _failure(failed: protocol.Failed) -> Exception:
    if failed.target_error:
        return TargetError(failed.problems)
    return ZygoteError(f"the provider's code failed: {'; '.join(failed.problems)}\n{failed.traceback}".rstrip())


def _start_process(environ: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = channel.pair()
    ours.setblocking(False)
    try:
        process = subprocess.Popen(
            # -P: the current directory is the author's, so it must not shadow what the zygote imports for itself.
            [sys.executable, "-P", "-m", "arbd.zygote", str(theirs.fileno()), str(os.getpid())],
            env=dict(environ),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=logs.stderr_for_children(),
            process_group=0,  # a Ctrl-C in the terminal is for the supervisor, which drains
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours
