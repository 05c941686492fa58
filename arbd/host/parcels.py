"""Bodies too large for a ring: a memfd each, sent over a side socket before the record that announces it.

Not the records: those are ``arbd.core.frame`` and ``arbd.core.link_frame``. Parcels come in the order of their records.
"""

from __future__ import annotations

import os
import socket

from arbd.host import memory


def send(side: socket.socket, parts: tuple[bytes, ...]) -> bool:
    """Send ``parts``, one after the other; ``False`` if the socket takes no more now.

    ``True`` also if the other side is gone: what was meant for it is settled when its end is noticed.
    """
    parcel = memory.create_parcel(parts)
    try:
        socket.send_fds(side, [b"p"], [parcel])
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        os.close(parcel)
    return True


def take(side: socket.socket, limit: int) -> bytes:
    """The next parcel. Raises ``OSError`` or ``ValueError`` if none came, or one of more than ``limit`` bytes."""
    _, fds, _, _ = socket.recv_fds(side, 1, 1)
    if not fds:
        raise ValueError("a record by reference came without its parcel")
    return memory.read_parcel(fds[0], limit)
