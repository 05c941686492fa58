"""The start of a link process, both ends: exec, and the first message.

    supervisor ──exec: python -m arbd.links.processes.process FD PID──> link process
               ──LinkBoot, as a memfd, with its descriptors─────> reads it, and closes it
               ──LinkBoot again, whenever there are new credentials──> goes by that
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
from arbd.settings.secrets import without_secrets
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

PROGRAM: Final = "arbd.links.processes.process"
RENEWED: Final = b"renewed"
_MAX_BOOT: Final = 64 * 1024 * 1024


class LinkBoot(msgspec.Struct, frozen=True):
    """What a link process is told, at first and whenever it changes: which one it is, the settings in force, the TLS
    files as they were read."""

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


def tell(control: socket.socket, boot: LinkBoot) -> None:
    """Tell a link process that runs to go by these from now on. Raises ``OSError`` if that cannot be done now."""
    parcel = memory.create_parcel((msgspec.msgpack.encode(boot),))
    try:
        channel.send(control, RENEWED, (parcel,))
    finally:
        os.close(parcel)


def read(parcel: int) -> LinkBoot:
    """What a parcel says, which is closed by this. Raises ``OSError`` or ``ValueError``."""
    return msgspec.msgpack.decode(memory.read_parcel(parcel, _MAX_BOOT), type=LinkBoot)


def receive(control: socket.socket) -> tuple[LinkBoot, Descriptors]:
    """What this link process is told."""
    _, [parcel, *descriptors] = channel.receive(control)
    return read(parcel), Descriptors(*descriptors)


def _environment(settings: Settings) -> dict[str, str]:
    environment = without_secrets(os.environ, settings)
    Notifier.remove_from(environment)  # systemd is told about the daemon by the supervisor alone
    return environment
