"""The records between the supervisor and a link process, with the bodies that are too large for a ring.

    push ──body──> side socket ─┐
         ──record────> ring ────┴─> Incoming.take ──> each record, its body taken for it

Both ends use this. Not what is in a record: that is ``arbd.ipc.link_frame``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from arbd.host import parcels
from arbd.ipc.link_frame import Encoded
from arbd.ipc.ring import Consumer, Producer, Pushed

_BATCH: Final = 64


def push(ring: Producer, side: socket.socket, encoded: Encoded) -> Pushed:
    """Put a record into the ring. ``LATER`` also for a body that no waiting mends: it is tried again all the same."""
    if encoded.parcel is None:
        return Pushed.DONE if ring.push(encoded.record) else Pushed.FULL
    try:
        return ring.push_after(encoded.record, partial(parcels.send, side, encoded.parcel))
    except OSError:
        return Pushed.LATER


class Incoming:
    """Records in their order. ``largest``: bytes that a body may have."""

    def __init__(self, ring: Consumer, side: socket.socket, largest: int) -> None:
        self._ring = ring
        self._bodies = parcels.Receiver(side)
        self._largest = largest
        self._unread: list[bytes] = []  # taken from the ring, and not yet looked at

    def allow(self, largest: int) -> None:
        """Bodies may have so many bytes, if that is more than before."""
        self._largest = max(self._largest, largest)

    def take(self, each: Callable[[bytes], None]) -> int:
        """Call ``each`` for a batch of records; how many. Raises what that and the ring raise.

        After ``parcels.NotNow`` the record comes once more; after anything else the next one does, if no body is needed
        for it where it is not known any more which one is the next.
        """
        records = self._unread or self._ring.pop_many(_BATCH)
        left = iter(records)
        try:
            for record in left:
                each(record)
        except parcels.NotNow:
            left = iter([record, *left])
            raise
        finally:
            self._unread = list(left)
        return len(records)

    def take_parcel(self) -> bytes:
        """The body of the record that is looked at. Raises as ``parcels.take`` does."""
        return self._bodies.take(self._largest)
