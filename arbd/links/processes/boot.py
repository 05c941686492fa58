"""The start of a link process, both ends: exec, and the first message.

    supervisor ──exec: python -m arbd.links.processes.process FD PID──> link process
               ──LinkBoot, as a memfd, with its descriptors─────> reads it, and closes it
               ──end of the stream──────────────────────────────> leaves

Token and TLS key travel in the memfd alone: never in arguments, in the environment or in a file that has a name.
"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Final, NamedTuple

import msgspec

from arbd.host import channel, child, memory
from arbd.host.notify import Notifier
from arbd.settings.secrets import scrub
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

PROGRAM: Final = "arbd.links.processes.process"
_MAX_BOOT: Final = 64 * 1024 * 1024


class LinkBoot(msgspec.Struct, frozen=True):
    """The first message to a link process: which one it is, the settings in force, the TLS files as they were read."""

    number: int
    settings: Settings
    tls: Tls

    def __repr__(self) -> str:
        return f"LinkBoot({self.number})"  # a key is in it


class Descriptors(NamedTuple):
    """The descriptors that come with ``LinkBoot``, in this order, behind the memfd that holds it."""

    cell: int
    bell: int
    supervisors_bell: int
    side: int
    losses: int | None = None  # what lost log lines are counted on; ``child.start`` adds it


def start(
    boot: LinkBoot, descriptors: Descriptors, program: str = PROGRAM
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a link process; it, and the socket whose end ends it. Raises ``OSError`` if there is none to be had."""
    parcel = memory.create_parcel((msgspec.msgpack.encode(boot),))
    try:
        own = (descriptors.cell, descriptors.bell, descriptors.supervisors_bell, descriptors.side)
        return child.start(program, _environment(boot.settings), b"boot", (parcel, *own))
    finally:
        os.close(parcel)


def receive(control: socket.socket) -> tuple[LinkBoot, Descriptors]:
    """What this link process is told."""
    _, [parcel, *descriptors] = channel.receive(control)
    boot = msgspec.msgpack.decode(memory.read_parcel(parcel, _MAX_BOOT), type=LinkBoot)
    return boot, Descriptors(*descriptors)


def _environment(settings: Settings) -> dict[str, str]:
    environment = scrub(os.environ, [settings.hub_auth_token])
    Notifier.remove_from(environment)  # systemd is told about the daemon by the supervisor alone
    return environment
