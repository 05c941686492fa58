"""The embedded hub: the Hub protocol, the stream protocol and our client service on one port, in memory, for
development, tests and load.

Not the decisions (``arbd.hub.board``, ``arbd.hub.desk``): this is the server that the services stand in.

    service_unary   service_stream   service_client        each over the same HubState: one board, one clock
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from arbd.errors import EXIT_OK, EXIT_UNEXPECTED, HubError
from arbd.hub.listen import require_listen
from arbd.hub.presence import ProviderPresence, providers
from arbd.hub.service_client import ClientService
from arbd.hub.service_stream import StreamService
from arbd.hub.service_unary import UnaryService
from arbd.hub.state import HubOptions, HubState
from arbd.links.ending import wait_ended
from arbd.supervised import install, supervised
from arbd.wire.grpc_channel import MAX_MESSAGE, require_room

__all__ = ["EmbeddedHub", "HubOptions", "serve"]

_SHUTDOWN_GRACE_S: Final = 0.5


class EmbeddedHub:
    """A hub on one event loop: ``await start()``, then ``address``; ``await stop()``; or ``async with``.

    ``board`` and ``calls`` are for tests and for whoever runs a hub in his own process; ``submitted`` has to be called
    after tasks were put on the board directly.
    """

    def __init__(self, options: HubOptions | None = None) -> None:
        self.options = options or HubOptions()
        self.address = ""
        self._state = HubState(self.options)
        self.board = self._state.board
        self.calls = self._state.calls
        self.submitted = self._state.tasks_waiting
        self.unary = UnaryService(self._state)
        self.streams = StreamService(self._state)
        self._clients = ClientService(self._state, self._counters, self._present)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Begin to listen. Raises ``HubError`` if the address cannot be used."""
        options = self.options
        _require_whole(options)
        require_listen(options.address)
        try:
            require_room()
        except OSError as error:
            raise HubError("UNAVAILABLE", f"the hub cannot be started: {error}") from error
        self._server = server = grpc.aio.server(options=_server_options(options.max_message))
        services = [self.unary.handler(), self._clients.handler()]
        if options.stream:
            services.append(self.streams.handler())
        server.add_generic_rpc_handlers(tuple(services))
        try:
            if options.tls_cert and options.tls_key:
                credentials = _credentials(options.tls_key, options.tls_cert, options.client_ca)
                port = server.add_secure_port(options.address, credentials)
            else:
                port = server.add_insecure_port(options.address)
        except RuntimeError as error:
            raise HubError("UNAVAILABLE", f"the hub cannot listen on {options.address!r}: {error}") from error
        await server.start()
        unix = options.address.startswith("unix:")
        self.address = options.address if unix else f"{options.address.rpartition(':')[0]}:{port}"

    async def stop(self) -> None:
        """Answer held polls with "nothing", have streams leave, then close. Returns in bounded time."""
        self._state.stop()
        self.unary.stop()
        await self.streams.stop()
        if self._server is not None:
            await wait_ended([supervised(_stop(self._server), "the end of a hub")])

    async def verdicts(self, batch: str) -> None:
        """Hand out what was put on the board directly, and return when every task of the batch has its verdict."""
        news = self._state.watch(batch)
        try:
            self._state.tasks_waiting()
            while not self.board.is_finished(batch):
                await news.wait()
                news.clear()
        finally:
            self._state.unwatch(batch, news)

    async def __aenter__(self) -> EmbeddedHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _present(self) -> list[ProviderPresence]:
        unary, leased_by = self.unary, self.board.leased_by()
        return providers(self.streams.open_streams(), unary.polls_of(), leased_by, unary.recent_callers())

    def _counters(self) -> dict[str, int]:
        return {
            "queued": self.board.queued,
            "leased": self.board.leased,
            "polls held": self.unary.held,
            "streams": self.streams.streams,
        }


def _require_whole(options: HubOptions) -> None:
    """Raise ``HubError`` for a part of TLS: a hub that is to ask for certificates never listens in plaintext."""
    parts = (options.tls_cert, options.tls_key, options.client_ca)
    if any(part is not None for part in parts) and not (options.tls_cert and options.tls_key):
        raise HubError("INVALID_ARGUMENT", "tls_cert and tls_key belong together, and client_ca needs both")


def _credentials(key: bytes, cert: bytes, client_ca: bytes | None) -> grpc.ServerCredentials:
    """Those of a server. With ``client_ca`` a caller without a certificate of that authority gets no connection."""
    return grpc.ssl_server_credentials([(key, cert)], client_ca, client_ca is not None)


async def _stop(server: grpc.aio.Server) -> None:
    await server.stop(_SHUTDOWN_GRACE_S)


async def serve(
    options: HubOptions,
    *,
    should_exit: asyncio.Event,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Run a hub until ``should_exit``, or until something unexpected happens; the exit code for its process.

    ``on_ready`` is told the address as soon as it listens.
    """
    code = EXIT_OK

    def on_failure(_: BaseException) -> None:
        nonlocal code
        code = EXIT_UNEXPECTED
        should_exit.set()

    install(asyncio.get_running_loop(), on_failure)
    async with EmbeddedHub(options) as hub:
        if on_ready is not None:
            on_ready(hub.address)
        await should_exit.wait()
    return code


def _server_options(max_message: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", min(max_message, MAX_MESSAGE)),
        ("grpc.max_send_message_length", -1),
        # A port in use is an error, not something to share with a hub somebody forgot.
        ("grpc.so_reuseport", 0),
        # Clients may ping a silent connection; gRPC's default drops those that do so within 5 minutes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
