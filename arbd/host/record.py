"""One record in a file that is replaced in place: whoever dies or finds the disk full while it writes leaves the record
of before.

    0      header      version, offset, length and checksum of a record; checksum of the header itself
    64     header      the same of the one before it, or after it: the higher version counts
    128    records     each in a place where the current one is not

Not replaced by renaming another file over it, which is simpler: who has this file open has the newest record, also when
its name is gone. Not locked: only one may read or write at a time, and must see to that.
"""

from __future__ import annotations

import errno
import os
import zlib
from struct import Struct
from typing import Final, NamedTuple

_HEADER: Final = Struct("<QQQII")  # version, offset, length, checksum of the record, checksum of what stands before
_HEADER_BYTES: Final = 64
_FIRST_AT: Final = 2 * _HEADER_BYTES
_LONGEST: Final = 64 * 1024 * 1024  # what says that it is longer is no record


class _Place(NamedTuple):
    version: int
    offset: int
    length: int
    checksum: int


class RecordFile:
    """A file that holds a record, by its descriptor, which becomes its own."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return os.fstat(self.fd).st_size == 0

    def read(self) -> bytes | None:
        """The record; ``None`` if there is none, or none that is whole."""
        found = self._newest()
        return None if found is None else found[1]

    def write(self, record: bytes) -> None:
        """Replace the record. Raises ``OSError``, and then the one of before is still there."""
        newest = self._newest()
        before = _Place(0, _FIRST_AT, 0, 0) if newest is None else newest[0]
        fits_in_front = _FIRST_AT + len(record) <= before.offset
        offset = _FIRST_AT if fits_in_front else before.offset + before.length
        version = before.version + 1
        self._write_at(offset, record)
        head = _HEADER.pack(version, offset, len(record), zlib.crc32(record), 0)[:-4]
        head += zlib.crc32(head).to_bytes(4, "little")
        # Its last byte makes it count, and nothing is written after that: what raises has not been done.
        self._write_at(version % 2 * _HEADER_BYTES, head)

    def _newest(self) -> tuple[_Place, bytes] | None:
        heads = os.pread(self.fd, _FIRST_AT, 0)
        places = [place for at in (0, _HEADER_BYTES) if (place := _place_in(heads[at : at + _HEADER_BYTES]))]
        for place in sorted(places, reverse=True):
            record = os.pread(self.fd, place.length, place.offset)
            if len(record) == place.length and zlib.crc32(record) == place.checksum:
                return place, record
        return None

    def _write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view, offset = view[written:], offset + written


def _place_in(head: bytes) -> _Place | None:
    """Where a record is, if this is a header."""
    if len(head) < _HEADER.size:
        return None
    *fields, checksum = _HEADER.unpack_from(head)
    place = _Place(*fields)
    is_one = zlib.crc32(head[: _HEADER.size - 4]) == checksum and place.version > 0 and place.length <= _LONGEST
    return place if is_one else None
