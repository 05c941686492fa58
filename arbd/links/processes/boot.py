"""How a link process is started, and what it is told.

    supervisor ──exec: python -m arbd.links.processes.process FD PID──> link process
               ──Boot, as a memfd, with its descriptors─────────> reads it, and closes it
               ──end of the stream──────────────────────────────> leaves

Token and TLS key travel in the memfd alone: never in arguments, in the environment or in a file that has a name.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from arbd import logs
from arbd.host import channel, memory
from arbd.model.encoding import Encoder
from arbd.settings.secrets import scrub
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

PROGRAM: Final = "arbd.links.processes.process"
_MAX_BOOT: Final = 64 * 1024 * 1024


class Boot(msgspec.Struct, frozen=True):
    """All that a link process must know: which one it is, the settings in force, the TLS files as they were read."""

    number: int
    settings: Settings
    tls: Tls

    def __repr__(self) -> str:
        return f"Boot({self.number})"  # a key is in it


class Descriptors(NamedTuple):
    """What comes with ``Boot``, in this order, behind the memfd that holds it."""

    cell: int
    bell: int
    supervisors_bell: int
    side: int
    losses: int | None = None  # what lost log lines are counted on; ``start`` adds it


def start(
    boot: Boot, descriptors: Descriptors, program: str = PROGRAM
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a link process; it, and the socket whose end ends it. Raises ``OSError`` if there is none to be had."""
    ours, theirs = channel.pair()
    try:
        parcel = memory.create_parcel((msgspec.msgpack.encode(boot),))
        try:
            own = (descriptors.cell, descriptors.bell, descriptors.supervisors_bell, descriptors.side)
            channel.send(ours, b"boot", (parcel, *own, *logs.losses_for_children()))
        finally:
            os.close(parcel)
        process = subprocess.Popen(
            # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
            [sys.executable, "-P", "-m", program, str(theirs.fileno()), str(os.getpid())],
            env=_environment(boot.settings),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=logs.stderr_for_children(),
            process_group=0,  # a Ctrl-C in the terminal is for the supervisor, which drains
        )
    except BaseException as error:
        ours.close()
        if isinstance(error, subprocess.SubprocessError):  # the child ended before it became that program
            raise OSError(errno.EAGAIN, str(error)) from error
        raise
    finally:
        theirs.close()
    return process, ours


def receive(control: socket.socket) -> tuple[Boot, Descriptors]:
    """What this link process is told."""
    _, [parcel, *descriptors] = channel.receive(control)
    boot = msgspec.msgpack.decode(memory.read_parcel(parcel, _MAX_BOOT), type=Boot)
    return boot, Descriptors(*descriptors)


def make_encoder(settings: Settings) -> Encoder:
    """For responses that stand for results too large to be sent."""
    return Encoder(
        provider=settings.name,
        timezone=settings.timezone,
        utc_now=lambda: datetime.now(UTC),
        envelope=settings.response_envelope,
    )


def _environment(settings: Settings) -> dict[str, str]:
    environment = scrub(os.environ, [settings.hub_auth_token])
    environment.pop("NOTIFY_SOCKET", None)  # systemd is told about the daemon by the supervisor alone
    return environment
