"""The kinds of value a setting can have: how a raw value is read, and what is allowed, in one sentence.

Not the settings themselves: those are the table in ``arbd.settings.table``. A kind takes what any layer can bring,
text from the environment as well as typed values from TOML, a constructor or a flag, and gives back the typed
value.

Invariants: a kind raises ``ValueError`` and nothing else, whatever it is given; ``expects`` alone tells an
operator what to write.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from arbd.zones import zone

N = TypeVar("N", int, float)


class Kind(msgspec.Struct, frozen=True):
    """One kind of value: ``parse`` gives it or raises ``ValueError``; ``expects`` says in words what it takes.
    ``words``: those that it takes as they are, such as ``auto``; ``is_path``: whether it is the path of a file."""

    expects: str
    parse: Callable[[object], Any]
    unit: str = ""
    words: tuple[str, ...] = ()
    is_path: bool = False


SIZE_UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6}
TIME_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_QUANTITY: Final = re.compile(r"\s*([0-9.eE+-]+|nan|[+-]?inf)\s*([A-Za-z]*)\s*", re.ASCII)
_HOST_PORT: Final = re.compile(r"(?:(?:grpc|http)s?://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})/?", re.ASCII)
_GRPC_NAME: Final = re.compile(r"(?:dns|unix|unix-abstract|ipv4|ipv6):\S+")


def text() -> Kind:
    """One line of text."""
    return Kind("text on one line", _text)


def path() -> Kind:
    """The path of a file, relative to the working directory; ``None`` while it is not set."""
    return Kind("the path of a file", _text, is_path=True)


def socket_place() -> Kind:
    """The path of a Unix socket, or ``auto``, or ``off``."""
    return Kind("auto, off, or the path of a socket", _text, words=("auto", "off"), is_path=True)


def choice(*names: str) -> Kind:
    """One of a few words, in whatever case."""

    def parse(raw: object) -> str | None:
        word = raw.strip().lower() if isinstance(raw, str) else None
        if word not in names:
            raise ValueError
        return word

    return Kind("one of " + ", ".join(names), parse, words=names)


def switch() -> Kind:
    """A boolean; in text also 1/0, yes/no and on/off."""
    return Kind("true or false", _switch, words=("true", "false"))


def whole(low: int, high: int, unit: str = "") -> Kind:
    """A whole number from ``low`` to ``high``."""
    return Kind(f"a whole number from {low} to {high}", lambda raw: _within(_whole(raw), low, high), unit)


def seconds(low: float, high: float) -> Kind:
    """A length of time in seconds; text may carry a unit, as in ``250ms`` or ``2m``."""
    expects = f'seconds from {low:g} to {high:g}, such as 1.5 or "250ms"'
    return Kind(expects, lambda raw: _within(_quantity(raw, TIME_UNITS), low, high), "s")


def size(low: int, high: int) -> Kind:
    """A number of bytes; text may carry a unit, as in ``16MiB``."""
    expects = f'a size from {show_size(low)} to {show_size(high)}, such as 65536 or "16MiB"'
    return Kind(expects, lambda raw: _within(_bytes(raw), low, high), "bytes")


def power_of_two(low: int, high: int) -> Kind:
    """A size that is a power of two: the rings find a position with one mask."""

    def parse(raw: object) -> int:
        value = _within(_bytes(raw), low, high)
        if value & (value - 1):
            raise ValueError
        return value

    expects = f'a power of two from {show_size(low)} to {show_size(high)}, such as "256KiB"'
    return Kind(expects, parse, "bytes")


def auto_or(kind: Kind) -> Kind:
    """``auto``, or what another kind takes."""
    words = ("auto", *kind.words)
    return Kind(f"auto, or {kind.expects}", lambda raw: "auto" if raw == "auto" else kind.parse(raw), words=words)


def time_zone() -> Kind:
    """A name in the time zone database. ``UTC`` needs no database."""
    return Kind("the name of a time zone, such as UTC or Europe/Moscow", _time_zone)


def hub_address() -> Kind:
    """Where a gRPC server listens, in the forms ``arbd.wire.grpc_channel`` knows."""
    return Kind("host:port, grpcs://host:port, dns:///host:port or unix:/path", _hub_address)


def listen_address() -> Kind:
    """Where to listen for HTTP: an IP address and a port, as they stand in a URL. A port alone is one on loopback."""
    return Kind("a port, such as 9464, for this machine alone, or IP:port, such as 0.0.0.0:9464", _listen_address)


def split_address(address: str) -> tuple[str, int]:
    """The IP address and the port of a ``listen_address``."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def show_size(count: int) -> str:
    """A number of bytes in its largest whole binary unit."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % SIZE_UNITS[unit] == 0:
            return f"{count // SIZE_UNITS[unit]} {unit}"
    return f"{count} B"


def _within(value: N, low: float, high: float) -> N:
    if not low <= value <= high:  # NaN fails this too
        raise ValueError
    return value


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise ValueError
    return raw.strip()


def _switch(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else None
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _whole(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError
    return int(raw)


def _quantity(raw: object, units: dict[str, float]) -> float:
    if isinstance(raw, bool):
        raise ValueError
    if isinstance(raw, int | float):
        return _finite(raw)
    match = _QUANTITY.fullmatch(raw) if isinstance(raw, str) else None
    if match is None or match[2] not in units:
        raise ValueError
    return _finite(float(match[1]) * units[match[2]])


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        raise ValueError from None
    if not math.isfinite(number):
        raise ValueError
    return number


def _bytes(raw: object) -> int:
    value = _quantity(raw, {unit: float(factor) for unit, factor in SIZE_UNITS.items()})
    if value != int(value):
        raise ValueError
    return int(value)


def _time_zone(raw: object) -> str:
    name = _text(raw)
    zone(name)
    return name


def _hub_address(raw: object) -> str:
    address = _text(raw)
    if _GRPC_NAME.fullmatch(address):
        return address
    match = _HOST_PORT.fullmatch(address)
    if match is None or not 0 < int(match[1]) < 65536:
        raise ValueError
    return address


def _listen_address(raw: object) -> str:
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else _text(raw)
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError
    if host in ("", "localhost"):
        return f"127.0.0.1:{int(port)}"
    # No name of a host: whether that is this machine alone depends on who is asked, and when.
    if host.startswith("[") and host.endswith("]"):
        return f"[{ipaddress.IPv6Address(host[1:-1])}]:{int(port)}"
    return f"{ipaddress.IPv4Address(host)}:{int(port)}"
