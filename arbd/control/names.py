"""The names of control sockets: which file belongs to a daemon of which provider.

    provider "prices"     prices.sock, and for a second daemon of it on the same host prices@2.sock, prices@3.sock, ...
    provider "a/b@c"      a%2Fb%40c.sock          so "@" in a file name can only stand before the number
    a very long name      its first letters, "~" and a digest of the whole

Pure. Who listens there is ``arbd.host.control_socket``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote

import msgspec

MAX_DAEMONS: Final = 1000  # of one provider, in one directory
_SUFFIX: Final = ".sock"
_MAX_STEM: Final = 48  # leaves room in the 107 bytes of a socket address
_DIGEST: Final = 8


class SocketName(msgspec.Struct, frozen=True):
    """A socket of a provider: ``stem`` stands for the provider's name, ``number`` tells its daemons apart."""

    stem: str
    number: int

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.stem + (f"@{self.number}" if self.number > 1 else "") + _SUFFIX

    @property
    def provider(self) -> str:
        """The provider's name, as far as the file tells it."""
        return unquote(self.stem)

    @property
    def selector(self) -> str:
        """The name by which a command line means this daemon alone."""
        return f"{self.provider}@{self.number}"


def names_for(provider: str) -> Iterator[SocketName]:
    """The names that a daemon of this provider may take, in order of preference."""
    stem = _stem(provider)
    return (SocketName(stem, number) for number in range(1, MAX_DAEMONS + 1))


def parse(file: str) -> SocketName | None:
    """What the name of a file says; ``None`` if it is no control socket's."""
    stem, suffix, rest = file.rpartition(_SUFFIX)
    if not suffix or rest or not stem:
        return None
    front, at, number = stem.rpartition("@")
    if not at:
        return SocketName(stem, 1)
    if not front or not number.isdecimal() or not number.isascii() or not 1 < int(number) <= MAX_DAEMONS:
        return None
    return SocketName(front, int(number))


def matches(name: SocketName, selector: str) -> bool:
    """Whether ``selector`` is the name of this daemon's provider, such as ``prices``."""
    return name.stem == _stem(selector)


def matches_number(name: SocketName, selector: str) -> bool:
    """Whether ``selector`` means this daemon alone, such as ``prices@2``."""
    provider, at, number = selector.rpartition("@")
    return bool(at) and name.stem == _stem(provider) and str(name.number) == number


def _stem(provider: str) -> str:
    quoted = quote(provider, safe="", errors="surrogatepass")
    if len(quoted) <= _MAX_STEM:
        return quoted
    digest = hashlib.sha256(quoted.encode()).hexdigest()[:_DIGEST]
    return f"{quoted[: _MAX_STEM - _DIGEST - 1]}~{digest}"
