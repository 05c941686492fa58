"""The program of a link process: ``python -m arbd.links.processes.process CONTROL_FD PARENT_PID``.

    start ─> tied to its supervisor ─> LinkBoot ─> GrpcUnaryLink over a RingPort ─> until the end of the stream
                                                     └─ something unexpected ─> take no more, send what there is, leave

Signals that end a daemon are for the supervisor, which drains; this process ends with it, or when it says so, or when
something happened that nobody expected: then another one takes its place, and what could not be sent goes through that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

import uvloop

from arbd import logs
from arbd.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNEXPECTED, ConfigError
from arbd.host import channel, memory, process_state, process_title, procs, secrecy, strays
from arbd.ipc.link_cell import LinkEnd
from arbd.links.base import HubLink
from arbd.links.options import LinkOptions, link_options
from arbd.links.processes import boot
from arbd.links.processes.listener import Listener
from arbd.links.processes.port import RingPort
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings
from arbd.supervised import install, supervised

# After something unexpected: for polls that are under way, for what they brought to go up, and for results.
_STOP_S: Final = 3.0
_DRAIN_S: Final = 1.0
_FLUSH_S: Final = 5.0
_MOST_TOKENS: Final = 15  # of before, beside the newest: a line may still hold one

LinkMaker = Callable[[LinkOptions, RingPort, logs.Logger], HubLink]


def unary_link(options: LinkOptions, port: RingPort, log: logs.Logger) -> HubLink:
    """The link of a link process."""
    return GrpcUnaryLink(options, logger=log, gate=port.gate, stats=port.stats)


def main(control_fd: int, parent: int, make_link: LinkMaker = unary_link) -> int:
    """Serve one supervisor until it wants no more; the exit code."""
    process_state.establish()
    secrecy.seclude()
    procs.die_with_parent(parent)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    logs.own_stderr()
    strays.ignore(logs.get_logger("arbd.hub"))
    try:
        return _run(control_fd, make_link)
    except ConfigError as error:
        logs.get_logger("arbd.hub").error("link_cannot_start", problems=error.problems)
        return EXIT_CONFIG
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        logs.get_logger("arbd.hub").critical("unexpected_failure", where="a link process", error=what, exc_info=error)
        return EXIT_UNEXPECTED


def _run(control_fd: int, make_link: LinkMaker) -> int:
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    told, descriptors = boot.receive(control)
    settings = told.settings
    process_title.set_title(f"arbd:link-{told.number}")
    _configure_logs(settings, [settings.hub_auth_token], descriptors.losses)
    control.setblocking(False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(told, descriptors, control, make_link))


def _configure_logs(settings: Settings, tokens: list[str], losses: int | None = None) -> None:
    level, format, silent = settings.log_level, settings.log_format, settings.log_silent
    logs.configure(level, format, silent, role="link", secrets=tokens, losses=losses)


async def _serve(
    told: boot.LinkBoot, descriptors: boot.Descriptors, control: socket.socket, make_link: LinkMaker
) -> int:
    has_failed = asyncio.Event()
    install(asyncio.get_running_loop(), lambda _: has_failed.set())
    mapping = memory.attach(descriptors.cell)
    os.close(descriptors.cell)
    side = socket.socket(fileno=descriptors.side)
    side.setblocking(False)
    settings = told.settings
    options = link_options(settings, Encoder.of(settings), told.tls)
    cell = LinkEnd(mapping, memory.words_of(mapping))
    port = RingPort(cell, descriptors.supervisors_bell, side, options)
    link = make_link(options, port, logs.get_logger("arbd.hub").bind(link=told.number))
    await link.start(port)
    listener = Listener(cell, descriptors.bell, side, port, link)
    tokens = [settings.hub_auth_token]

    def renew(told: boot.LinkBoot) -> None:
        settings = told.settings
        tokens[:] = [*tokens[-_MOST_TOKENS:], settings.hub_auth_token]
        _configure_logs(settings, tokens)
        link.renew(settings, link_options(settings, Encoder.of(settings), told.tls))

    waits: list[asyncio.Task[Any]] = [
        supervised(_end_of(control, renew), "the end of the supervisor"),
        supervised(has_failed.wait(), "something unexpected"),
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if has_failed.is_set():
        await _wind_up(link, port)
    listener.close()
    await link.close()
    return EXIT_UNEXPECTED if has_failed.is_set() else EXIT_OK


async def _wind_up(link: HubLink, port: RingPort) -> None:
    """Take no more, and let go what is there: tasks and acknowledgements up, results to the hub. What does not get
    there in time the supervisor has still, and gives to another link."""
    await asyncio.wait([supervised(link.stop_taking(), "the end of polls")], timeout=_STOP_S)
    await asyncio.wait([supervised(link.flush(_FLUSH_S), "the last results")], timeout=_FLUSH_S)
    await port.drain(_DRAIN_S)


async def _end_of(control: socket.socket, renew: Callable[[boot.LinkBoot], None]) -> None:
    """Return when the supervisor has closed its end. ``renew`` is called with what it says until then."""
    ended = asyncio.Event()

    def on_readable() -> None:
        try:
            message, descriptors = channel.receive(control)
            if message:
                renew(boot.read(*descriptors))  # without its descriptor: another process takes this one's place
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # no end that could say anything any more
        ended.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(control, on_readable)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(control)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
