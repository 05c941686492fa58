"""A bounded HTTP server for a few read-only paths, on the running event loop.

    accept ─> head of a request, in time, of a bounded size ─> parse ─> Host? ─> route ─> answer ─> the next, or close

Bounded in all that somebody outside can make it spend: ``MAX_CONNECTIONS`` at once, ``http_request.MAX_HEAD`` bytes for
each request, ``REQUEST_TIMEOUT_S`` until its head is there, ``IDLE_TIMEOUT_S`` between two, ``SEND_TIMEOUT_S`` for an
answer that nobody reads. One connection more takes the place of the one that has waited longest for its client, to ask
or to read: whoever holds connections open keeps nobody out. Only where all are being answered it is told so and closed;
of several that come at once, the last.
A long answer is made in pieces, and between two pieces, as between two requests, others get their turn: a probe does
not wait for a scrape, nor for who sends a thousand requests at once.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

from arbd.control import http_request
from arbd.control.http_request import HttpAnswer, HttpRefusedError, Request, plain
from arbd.host import http_listener
from arbd.logs import get_logger
from arbd.supervised import supervised

MAX_CONNECTIONS: Final = 64
REQUEST_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 120.0  # Prometheus asks every 15 to 60 s, and keeps its connection
SEND_TIMEOUT_S: Final = 10.0
_TAKEN_AT_ONCE: Final = 8  # in one turn of the loop: who asks at once is answered before so many come that it gives way

Route = Callable[[], "HttpAnswer | LongAnswer"]


class LongAnswer:
    """An answer whose body is made while it is sent, piece by piece."""

    def __init__(self, pieces: Iterable[bytes], content_type: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.pieces: Iterator[bytes] = iter(pieces)
        self.head = HttpAnswer(200, b"", content_type, headers)


class HttpServer:
    """The server. ``routes``: what is served, by path; each is asked anew for each request, and does not block.
    ``listens_on``: the IP address it listens on."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        listens_on: str,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._routes = routes
        self._listens_on = listens_on
        self._request_timeout_s = request_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._send_timeout_s = send_timeout_s
        self._max_connections = max_connections
        self._log = get_logger("arbd.http")
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}  # for their clients, longest first
        self._is_closing = False

    async def start(self, listener: socket.socket) -> None:
        """Serve on this socket from now on."""
        self._server = await asyncio.start_server(
            self._connected, sock=listener, limit=http_request.MAX_HEAD, backlog=_TAKEN_AT_ONCE
        )
        listener.listen(http_listener.BACKLOG)  # asyncio has made of the other number a queue of that length, too

    async def close(self) -> None:
        """Stop, and hang up on everybody."""
        self._is_closing = True
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= self._max_connections:
            self._make_room()
        writer.transport.set_write_buffer_limits(0)  # so that ``drain`` waits until all of an answer has been taken
        client = supervised(self._serve(reader, writer), "http client")
        self._clients.add(client)
        self._waiting[client] = None
        client.add_done_callback(functools.partial(self._hang_up, writer))

    def _make_room(self) -> None:
        """Hang up on the one who has let this wait longest, if there is one."""
        longest = next(iter(self._waiting), None)
        if longest is not None:
            self._waiting.pop(longest)
            self._clients.discard(longest)
            longest.cancel()

    def _hang_up(self, writer: asyncio.StreamWriter, client: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled before its first step never gets to its `finally`.
        self._clients.discard(client)
        self._waiting.pop(client, None)
        if client.cancelled() and not self._is_closing:
            writer.transport.abort()  # what it has not read would be kept for it, perhaps for ever
        else:
            writer.close()  # what has been written still goes out

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._clients) > self._max_connections:
                await self._send(writer, plain(503, f"{self._max_connections} others are connected; try again"))
                return
            timeout_s = self._request_timeout_s
            while await self._serve_one(reader, writer, timeout_s):
                timeout_s = self._idle_timeout_s
        except OSError:  # TimeoutError is one
            writer.transport.abort()  # it went away, or it reads nothing: nobody is there to be told

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_byte_s: float) -> bool:
        """Serve one request; whether there may be another."""
        try:
            head = await self._read_head(reader, first_byte_s)
            if not head:
                return False
            request = http_request.parse(head)
            if not http_request.is_ours(request.host, self._listens_on):
                raise HttpRefusedError(421, "the Host of the request is not this server: use its IP or localhost")
        except HttpRefusedError as refused:
            await self._send(writer, refused.answer)
            return False
        await self._send(writer, self._answer(request), request)
        await asyncio.sleep(0)  # its next request may be there already: others get their turn
        return request.keep_alive

    async def _read_head(self, reader: asyncio.StreamReader, first_byte_s: float) -> bytes:
        """The head of the next request; empty if there is none. Raises ``HttpRefusedError``."""
        try:
            async with self._client_has(first_byte_s):
                begun = await reader.read(1)
            if not begun:
                return b""
        except TimeoutError:
            return b""  # it has nothing to ask
        try:
            async with self._client_has(self._request_timeout_s):
                return begun + await reader.readuntil(http_request.END_OF_HEAD)
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            raise HttpRefusedError(431, f"the request has more than {http_request.MAX_HEAD} bytes") from None
        except TimeoutError:
            raise HttpRefusedError(408, f"the request did not come within {self._request_timeout_s:g} s") from None

    def _answer(self, request: Request) -> HttpAnswer | LongAnswer:
        route = self._routes.get(request.path)
        if route is None:
            return plain(404, f"there is nothing here; there is {', '.join(sorted(self._routes))}")
        try:
            return route()
        except Exception as error:  # the others are served all the same
            self._log.error("http_answer_failed", path=request.path, exc_info=error)
            return plain(500, f"this could not be answered ({type(error).__name__}); see the log of the daemon")

    async def _send(
        self, writer: asyncio.StreamWriter, answer: HttpAnswer | LongAnswer, request: Request | None = None
    ) -> None:
        keep_alive = request is not None and request.keep_alive
        has_body = request is None or request.method != "HEAD"
        if isinstance(answer, HttpAnswer):
            writer.write(http_request.head_of(answer, len(answer.body), keep_alive=keep_alive))
            if has_body:
                writer.write(answer.body)
            await self._drain(writer)
            return
        body = await self._whole(answer)
        head = answer.head if body is not None else plain(500, "this could not be answered; see the log of the daemon")
        body = head.body if body is None else body
        writer.write(http_request.head_of(head, len(body), keep_alive=keep_alive))
        if has_body:
            writer.write(body)
        await self._drain(writer)

    async def _whole(self, answer: LongAnswer) -> bytes | None:
        """All pieces of an answer; ``None`` if that failed, before a byte of it was sent."""
        pieces = []
        try:
            for piece in answer.pieces:
                pieces.append(piece)
                await asyncio.sleep(0)  # others get their turn
        except Exception as error:
            self._log.error("http_answer_failed", exc_info=error)
            return None
        return b"".join(pieces)

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        async with self._client_has(self._send_timeout_s):
            await writer.drain()

    @asynccontextmanager
    async def _client_has(self, seconds: float) -> AsyncIterator[None]:
        """So much time for the client to do its part; meanwhile it can lose its place. Raises ``TimeoutError``."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._waiting[task] = None
        try:
            async with asyncio.timeout(seconds):
                yield
        finally:
            self._waiting.pop(task, None)
