"""The answering end of the control socket. What can be asked is the table of handlers that it is given.

    accept ─> may this process ask? ──no──> "denied"
           ─> line ─> decode ─> handler ─> line ─> the next, until the other side has no more to ask
               │         └── no message of ours ──> a failure that says why; after one that is too long: hang up
               └── the other side has hung up meanwhile: nothing is done

It is off the path of tasks and must never be felt there: a handler does not block (one that waits is
a coroutine), a request has a bounded length and time, a reply that nobody reads is given up, there are at most
``MAX_CLIENTS``, and between two requests of one client the event loop gets its turn.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from arbd.control import protocol
from arbd.control.names import names_for
from arbd.control.protocol import ControlProtocolError, Failure
from arbd.errors import ConfigError, os_reason
from arbd.host import control_socket, runtime_dir
from arbd.host.control_socket import ControlSocket, PeerCredentials
from arbd.logs import get_logger
from arbd.settings.table import Settings
from arbd.supervised import supervised

MAX_CLIENTS: Final = 32
REQUEST_TIMEOUT_S: Final = 10.0  # until a whole request is there, and until a reply is taken

#: From 3.13 on the server would look its name up, by which it was bound relative to a descriptor that is closed.
_NAME_IS_REMOVED_ELSEWHERE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

_asking: ContextVar[PeerCredentials | None] = ContextVar("who asks on the control socket", default=None)

Answer = protocol.ControlReply | Awaitable[protocol.ControlReply]
Handlers = Mapping[type[Any], Callable[[Any], Answer]]


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
    async with ControlServer(handlers).serving(control.listener) if control else nullcontext():
        yield


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
            raise ConfigError([f"control.socket {where}: {os_reason(error)}"]) from error
        get_logger("arbd.admin").warning(
            "no_control_socket",
            reason=os_reason(error),
            hint="arbd status and arbd limits cannot ask this daemon; set runtime_dir to a directory of its user, or "
            "control.socket to off",
        )
        return None


def asked_by() -> dict[str, int]:
    """Who asked for what is being done now, for the log: user and process; nothing where it was no client of a control
    socket."""
    peer = _asking.get()
    return {} if peer is None else {"by_uid": peer.uid, "by_pid": peer.pid}


def same_user_or_root(peer: PeerCredentials) -> bool:
    """Whether the process that asks runs as this user or as root. The mode of the socket says so, but can be
    changed."""
    return peer.uid in (os.geteuid(), 0)


class ControlServer:
    """The server of one control socket, on the running event loop."""

    def __init__(
        self,
        handlers: Handlers,
        *,
        may_ask: Callable[[PeerCredentials], bool] = same_user_or_root,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._handlers = handlers
        self._may_ask = may_ask
        self._request_timeout_s = request_timeout_s
        self._log = get_logger("arbd.admin")
        self._clients: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Answer on this socket for the length of the block; then it is closed, and so is every connection.

        Where no descriptor is left for a connection, libuv accepts it by one that it keeps for that, and closes it:
        whoever asks is told at once, and the daemon goes on.
        """
        server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=protocol.MAX_REQUEST, **_NAME_IS_REMOVED_ELSEWHERE
        )
        try:
            yield
        finally:
            server.close()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # so that ``drain`` waits until all of a reply has been taken
        client = supervised(self._serve(reader, writer), "control client")
        self._clients.add(client)
        client.add_done_callback(functools.partial(self._hang_up, writer))

    def _hang_up(self, connection: asyncio.StreamWriter, client: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step never gets to its `finally`.
        self._clients.discard(client)
        connection.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            refusal = self._refusal(writer.get_extra_info("socket"))
            if refusal is not None:
                await self._send(writer, refusal)
            else:
                await self._converse(reader, writer)
        except OSError:  # TimeoutError is one
            pass  # it went away, or it stalls: nobody is there to be told

    def _refusal(self, connection: socket.socket) -> Failure | None:
        peer = control_socket.peer_of(connection)
        _asking.set(peer)  # of this client's task, and of what a handler begins
        if not self._may_ask(peer):
            self._log.warning("control_denied", uid=peer.uid, pid=peer.pid)
            return Failure(code="denied", message=f"user {peer.uid} may not ask this daemon; its own user and root may")
        if len(self._clients) > MAX_CLIENTS:
            return Failure(code="busy", message=f"{MAX_CLIENTS} others are asking this daemon; try again")
        return None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(self._request_timeout_s):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return  # it has no more to ask
            except asyncio.LimitOverrunError:
                await self._send(writer, protocol.too_long(protocol.MAX_REQUEST).failure)
                return
            if control_socket.has_hung_up(writer.get_extra_info("socket")):
                # It was told that the daemon does not answer (which was stopped, say, and goes on): nobody expects any
                # more that this is done.
                self._log.info("control_request_dropped", reason="whoever asked has hung up", **asked_by())
                return
            await self._send(writer, await self._answer(line))
            await asyncio.sleep(0)  # reading and writing may go through without a pause: one client, one turn

    async def _send(self, writer: asyncio.StreamWriter, reply: protocol.ControlReply) -> None:
        line = protocol.encode(reply)
        if len(line) > protocol.MAX_REPLY:
            line = protocol.encode(Failure(code="failed", message=f"the answer would have {len(line)} bytes"))
        async with asyncio.timeout(self._request_timeout_s):
            writer.write(line)
            await writer.drain()

    async def _answer(self, line: bytes) -> protocol.ControlReply:
        try:
            request = protocol.decode_request(line)
            answer = self._handlers[type(request)](request)
            return await answer if isinstance(answer, Awaitable) else answer
        except ControlProtocolError as error:
            return error.failure
        except Exception as error:
            # A bug in a handler costs its answer, not the daemon: the tasks matter more than who looks at them.
            self._log.exception("control_handler_failed")
            return Failure(code="failed", message=f"the daemon could not answer ({type(error).__name__}); see its log")
