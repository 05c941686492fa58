"""Answers on the control socket. What can be asked is the table of handlers it is given; see ``supervisor.main``.

    accept ─> may this process ask? ──no──> "denied"
           ─> line ─> decode ─> handler ─> line ─> the next, until the other side has no more to ask
                         └── no message of ours ──> a failure that says why; after one that is too long: hang up

It is off the path of tasks and must never be felt there: a handler does not block, a request has a bounded length and
time, a reply that nobody reads is given up, there are at most ``MAX_CLIENTS``, and between two requests of one client
the event loop gets its turn.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from arbd.control import protocol
from arbd.control.names import names_for
from arbd.control.protocol import ControlProtocolError, Failure, Lines
from arbd.errors import ConfigError
from arbd.host import control_socket, runtime_dir
from arbd.host.control_socket import ControlSocket, Peer
from arbd.logs import get_logger
from arbd.settings.table import Settings
from arbd.supervised import supervised

MAX_CLIENTS: Final = 32
REQUEST_TIMEOUT_S: Final = 10.0  # until a whole request is there, and until a reply is taken
_ACCEPT_PAUSE_S: Final = 1.0  # after a failed accept: no descriptors are left, and more of them come with time
_CHUNK: Final = 16 * 1024

Handlers = Mapping[type[Any], Callable[[Any], protocol.Reply]]


@contextmanager
def opened(settings: Settings) -> Iterator[ControlSocket | None]:
    """The socket that the settings ask for; ``None``, with a warning, if it is not to be had.

    A daemon without one works. But who has named a socket counts on it: then ``ConfigError``.
    """
    control = _listen(settings)
    try:
        yield control
    finally:
        if control is not None:
            control.close()


@asynccontextmanager
async def serving(control: ControlSocket | None, handlers: Handlers) -> AsyncIterator[None]:
    """Answer on this socket, if there is one."""
    if control is None:
        yield
        return
    admin = Admin(control, handlers)
    try:
        yield
    finally:
        await admin.close()


def _listen(settings: Settings) -> ControlSocket | None:
    where = settings.control_socket
    if where == "off":
        return None
    try:
        if where != "auto":
            path = Path(where).absolute()
            return control_socket.listen(path.parent, [path.name])
        place = runtime_dir.for_daemon(settings.runtime_dir, os.environ, os.geteuid())
        runtime_dir.prepare(place, os.geteuid())
        return control_socket.listen(place, (name.file for name in names_for(settings.name)))
    except OSError as error:
        if where != "auto":
            raise ConfigError([f"control.socket {where}: {_reason(error)}"]) from error
        get_logger("arbd.admin").warning(
            "no_control_socket",
            reason=_reason(error),
            hint="arbd status and arbd limits cannot ask this daemon; set runtime_dir to a directory of its user, or "
            "control.socket to off",
        )
        return None


def _reason(error: OSError) -> str:
    if error.strerror is None:  # raised by ourselves, in words
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def same_user_or_root(peer: Peer) -> bool:
    """Who may ask: the mode of the socket says the same, but a mode can be changed."""
    return peer.uid in (os.geteuid(), 0)


class Admin:
    """Serves one control socket on the running event loop."""

    def __init__(
        self,
        control: ControlSocket,
        handlers: Handlers,
        *,
        may_ask: Callable[[Peer], bool] = same_user_or_root,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._control = control
        self._handlers = handlers
        self._may_ask = may_ask
        self._request_timeout_s = request_timeout_s
        self._loop = asyncio.get_running_loop()
        self._log = get_logger("arbd.admin")
        self._clients: set[asyncio.Task[None]] = set()
        self._accepting = supervised(self._accept(), "control socket")

    async def close(self) -> None:
        """Hang up on everybody. The socket itself is closed by its owner."""
        ending = [self._accepting, *self._clients]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._control.listener)
            except OSError as error:
                self._log.warning("control_accept_failed", reason=_reason(error))
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            client = supervised(self._serve(connection), "control client")
            self._clients.add(client)
            client.add_done_callback(functools.partial(self._hang_up, connection))

    def _hang_up(self, connection: socket.socket, client: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step never gets to its `finally`.
        self._clients.discard(client)
        connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        try:
            refusal = self._refusal(connection)
            if refusal is not None:
                await self._send(connection, refusal)
            else:
                await self._converse(connection)
        except OSError:  # TimeoutError is one
            pass  # it went away, or it stalls: nobody is there to be told

    def _refusal(self, connection: socket.socket) -> Failure | None:
        peer = control_socket.peer_of(connection)
        if not self._may_ask(peer):
            self._log.warning("control_denied", uid=peer.uid, pid=peer.pid)
            return Failure(code="denied", message=f"user {peer.uid} may not ask this daemon; its own user and root may")
        if len(self._clients) > MAX_CLIENTS:
            return Failure(code="busy", message=f"{MAX_CLIENTS} others are asking this daemon; try again")
        return None

    async def _converse(self, connection: socket.socket) -> None:
        lines = Lines(protocol.MAX_REQUEST)
        while True:
            try:
                line = await self._next_line(connection, lines)
            except ControlProtocolError as error:
                await self._send(connection, error.failure)
                return
            if line is None:
                return
            await self._send(connection, self._answer(line))
            await asyncio.sleep(0)  # sending and receiving may go through without a pause: one client, one turn

    async def _next_line(self, connection: socket.socket, lines: Lines) -> bytes | None:
        async with asyncio.timeout(self._request_timeout_s):
            while (line := lines.next()) is None:
                data = await self._loop.sock_recv(connection, _CHUNK)
                if not data:
                    return None
                lines.feed(data)
            return line

    async def _send(self, connection: socket.socket, reply: protocol.Reply) -> None:
        line = protocol.encode(reply)
        if len(line) > protocol.MAX_REPLY:
            line = protocol.encode(Failure(code="failed", message=f"the answer would have {len(line)} bytes"))
        async with asyncio.timeout(self._request_timeout_s):
            await self._loop.sock_sendall(connection, line)

    def _answer(self, line: bytes) -> protocol.Reply:
        try:
            request = protocol.decode_request(line)
            return self._handlers[type(request)](request)
        except ControlProtocolError as error:
            return error.failure
        except Exception as error:
            # A bug in a handler costs its answer, not the daemon: the tasks matter more than who looks at them.
            self._log.exception("control_handler_failed")
            return Failure(code="failed", message=f"the daemon could not answer ({type(error).__name__}); see its log")
