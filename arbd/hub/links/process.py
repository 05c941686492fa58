"""The program of a link process: ``python -m arbd.hub.links.process CONTROL_FD PARENT_PID``.

    start ─> tied to its supervisor ─> Boot ─> GrpcUnaryLink over a RingPort ─> until the end of the stream

Signals that end a daemon are for the supervisor, which drains; this process ends with it, or when it says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvloop

from arbd import logs
from arbd.core.link_cell import LinkEnd
from arbd.host import channel, memory, procs
from arbd.hub.base import HubLink
from arbd.hub.grpc_unary import GrpcUnaryLink, LinkOptions
from arbd.hub.links import boot
from arbd.hub.links.port import RingPort
from arbd.hub.options import link_options

LinkMaker = Callable[[LinkOptions, RingPort, logs.Logger], HubLink]


def unary_link(options: LinkOptions, port: RingPort, log: logs.Logger) -> HubLink:
    """The link of a link process."""
    return GrpcUnaryLink(options, logger=log, gate=port.make_gate(options.refused_interval_s))


def main(control_fd: int, parent: int, make_link: LinkMaker = unary_link) -> int:
    """Serve one supervisor until it wants no more; the exit code."""
    procs.die_with_parent(parent)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    logs.own_stderr()
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    told, descriptors = boot.receive(control)
    settings = told.settings
    procs.set_name(f"arbd:link-{told.number}")
    logs.configure(
        level=settings.log_level,
        format=settings.log_format,
        silent=settings.log_silent,
        role="link",
        secrets=[settings.hub_auth_token],
        losses=descriptors.losses,
    )
    control.setblocking(False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(told, descriptors, control, make_link))
    return 0


async def _serve(told: boot.Boot, descriptors: boot.Descriptors, control: socket.socket, make_link: LinkMaker) -> None:
    mapping = memory.attach(descriptors.cell)
    os.close(descriptors.cell)
    side = socket.socket(fileno=descriptors.side)
    side.setblocking(False)
    settings = told.settings
    options = link_options(settings, boot.make_encoder(settings), told.tls)
    port = RingPort(
        LinkEnd(mapping, memory.words_of(mapping)),
        bell=descriptors.bell,
        supervisors_bell=descriptors.supervisors_bell,
        side=side,
        max_polls=options.max_polls,
    )
    link = make_link(options, port, logs.get_logger("arbd.hub").bind(link=told.number))
    await link.start(port)
    port.attach(link)
    await _end_of(control)
    port.close()
    await link.close()


async def _end_of(control: socket.socket) -> None:
    """Return when the supervisor has closed its end."""
    ended = asyncio.Event()

    def on_readable() -> None:
        with suppress(BlockingIOError):
            if not channel.receive(control)[0]:
                ended.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(control, on_readable)
    await ended.wait()
    loop.remove_reader(control)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
