"""A zygote, seen from the supervisor: start it, learn what it loaded, have it fork, hear who ended.

One object is one generation of the author's code. It ends when its process does; a reload is a second one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from arbd.errors import ConfigError, TargetError, ZygoteError
from arbd.host import channel, child, children, memory
from arbd.ipc import zygote_protocol as protocol
from arbd.logs import get_logger
from arbd.model.description import Description

_PROGRAM = "arbd.worker.zygote"
_MAX_DESCRIPTION = 256 * 1024 * 1024
_END_TIMEOUT_S = 0.1  # between the end of the stream and the end of the process: microseconds
_KILLED_TIMEOUT_S = 1.0  # SIGKILL takes well under a millisecond, unless the kernel is stuck in a driver


class ZygoteEvents(Protocol):
    """What the owner of the workers is told."""

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        """A worker process exists; ``pidfd`` now belongs to the receiver."""

    def on_exited(self, worker_id: int, status: int, reason: str) -> None:
        """A worker ended: its exit code, or minus a signal number; or it could not be started, for this ``reason``."""

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        """The zygote died, and its workers with it."""


class ZygoteLink:
    """A running zygote. ``description`` is empty until ``load`` has returned; ``numbers`` maps actions to theirs;
    ``lost``: its process has ended by itself; ``silent``: it is stopped, or hangs."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[Description] = self._loop.create_future()
        self._events: ZygoteEvents | None = None
        self.description = Description({}, [])
        self.numbers: dict[str, int] = {}
        self.lost = False
        self.silent = False
        self.has_answered = False  # since it was configured
        self.heard_at_ns = 0
        self.generation = 0  # its number among those that were adopted, from 1
        self._log = get_logger("arbd.zygote_link")
        self._loop.add_reader(control, self._on_readable)

    @classmethod
    async def load(cls, boot: protocol.Boot, environ: Mapping[str, str]) -> ZygoteLink:
        """Start a zygote and have it load its target.

        Raises ``TargetError`` if TARGET leads to no provider or to one that can never work, ``ZygoteError`` (with the
        author's traceback) if its code fails or its process dies, ``OSError`` if there is none to be had.
        """
        message = protocol.encode(boot)
        if len(message) > channel.MAX_MESSAGE:
            raise ConfigError(
                [f"target and arguments have {len(message)} bytes; {channel.MAX_MESSAGE} can be passed on"]
            )
        process, control = child.start(_PROGRAM, environ, message)
        try:
            link = cls(process, control)
        except BaseException:  # the kernel watches no more descriptors for us
            control.close()
            process.kill()
            process.wait()
            raise
        try:
            link.description = await link._first
        except BaseException:
            link.close()
            link.kill()  # it may hang in the author's code, and has no workers yet
            raise
        link.numbers = {action.name: number for number, action in enumerate(link.description.actions)}
        return link

    @property
    def answers(self) -> bool:
        """Whether it can be asked for a worker."""
        return not (self.lost or self.silent)

    @property
    def is_stopped(self) -> bool:
        """Whether its process is stopped at this moment, by a signal or by a debugger."""
        return children.is_stopped(self._process.pid)

    def configure(self, configure: protocol.Configure, events: ZygoteEvents) -> None:
        """Give the settings in force; from now on it can spawn. Raises ``OSError``; one that is gone answers by
        ``on_zygote_lost``."""
        self._events = events
        self.heard_at_ns = time.monotonic_ns()
        self._send(protocol.encode(configure), ())

    def spawn(self, spawn: protocol.Spawn, fds: tuple[int, ...]) -> None:
        """Ask for a worker; ``on_spawned`` follows. Raises ``OSError``; a zygote that is gone answers by
        ``on_zygote_lost``."""
        self._send(protocol.encode(spawn), fds)

    def _send(self, message: bytes, fds: tuple[int, ...]) -> None:
        try:
            channel.send(self._control, message, fds)
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
        self._wait(_KILLED_TIMEOUT_S)

    def _wait(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _on_readable(self) -> None:
        try:
            message, fds = channel.receive(self._control)
        except BlockingIOError:
            return
        if not message:
            self._on_end()
            return
        self.heard_at_ns = time.monotonic_ns()
        self.has_answered = self._events is not None
        try:
            event = protocol.decode_from_zygote(message)
            description = _description(fds) if isinstance(event, protocol.Described) else None
            pidfd = fds[0] if isinstance(event, protocol.Spawned) else -1
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError, ValueError, IndexError) as error:
            # Its memory is the author's to damage; or no descriptor was left for what came with the message.
            self._log.error("zygote_unreadable", reason=f"{type(error).__name__}: {error}")
            self._process.kill()
            return  # the end of the stream follows
        if description is not None:
            self._settle_first(description)
        elif isinstance(event, protocol.Failed):
            self._settle_first(_failure(event))
        elif isinstance(event, protocol.Spawned):
            if self._events is None:
                os.close(pidfd)
            else:
                self._events.on_spawned(event.worker_id, event.pid, pidfd)
        elif isinstance(event, protocol.Exited) and self._events is not None:
            self._events.on_exited(event.worker_id, event.status, event.reason)

    def _on_end(self) -> None:
        self.lost = True
        events = self._events
        self.close()
        status = self._wait(_END_TIMEOUT_S)
        if status is None:  # the author's code has closed the descriptor, and lives on
            self._process.kill()
            status = self._wait(_KILLED_TIMEOUT_S)
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


def _description(fds: list[int]) -> Description:
    return msgspec.msgpack.decode(memory.read_parcel(fds[0], _MAX_DESCRIPTION), type=Description)


def _failure(failed: protocol.Failed) -> Exception:
    if failed.target_error:
        return TargetError(failed.problems)
    return ZygoteError(f"the provider's code failed: {'; '.join(failed.problems)}\n{failed.traceback}".rstrip())
