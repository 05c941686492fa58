"""The validity of X.509 certificates: the two dates and the subject, read out of PEM or DER. Pure.

Python's own ``ssl`` tells them of certificates that it has verified, and of no others; the ones that matter here are
those that are not good. Of a certificate only the outline is read (RFC 5280, 4.1):

    SEQUENCE { SEQUENCE { [0] version?, serial, algorithm, issuer, SEQUENCE { not before, not after }, subject, ...
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

_PEM: Final = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_COMMON_NAME: Final = bytes((0x06, 0x03, 0x55, 0x04, 0x03))
_DAY_S: Final = 86_400


class Validity(NamedTuple):
    """When a certificate is good, in seconds since 1970, and whose it is: its common name, if it has one."""

    not_before: float
    not_after: float
    subject: str

    def days_left(self, now: float) -> int:
        """Whole days until it ends; negative: since."""
        return int((self.not_after - now) // _DAY_S)


def in_pem(data: bytes) -> list[Validity]:
    """The certificates of a PEM file, in order; those that cannot be read are left out."""
    return [found for block in _PEM.findall(data) if (found := _of_base64(block)) is not None]


def of_der(data: bytes) -> Validity | None:
    """One certificate; ``None`` if this is none."""
    try:
        return _read(data)
    except (IndexError, ValueError, OverflowError, StopIteration):
        return None


def date(moment: float) -> str:
    """A moment as a date."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _of_base64(block: bytes) -> Validity | None:
    try:
        return of_der(base64.b64decode(block))
    except binascii.Error:
        return None


def _read(data: bytes) -> Validity | None:
    certificate = next(_parts(data))
    fields = [part for part in _parts(next(_parts(certificate[1]))[1]) if part[0] != _VERSION]
    if certificate[0] != _SEQUENCE or len(fields) < 5:
        return None
    before, after = (_time(tag, value) for tag, value in _parts(fields[3][1]))
    return Validity(before, after, _common_name(fields[4][1]))


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a DER sequence: tag and content. Raises ``ValueError`` where one is cut short."""
    place = 0
    while place < len(data):
        tag, size, start = data[place], data[place + 1], place + 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(data[start : start + count], "big"), start + count
        if start + size > len(data):
            raise ValueError
        yield tag, data[start : start + size]
        place = start + size


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: up to 2049
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _common_name(name: bytes) -> str:
    _, found, rest = name.partition(_COMMON_NAME)
    return rest[2 : 2 + rest[1]].decode("utf-8", "replace") if found and len(rest) > 2 else ""
