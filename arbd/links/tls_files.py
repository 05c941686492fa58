"""The TLS files of a link: read, and looked at before they are used.

    hub.tls_ca, hub.tls_cert, hub.tls_key ─> bytes ─> are they PEM, does the key fit? ─> Tls

gRPC does not say what is wrong with them: a connection with a broken certificate just never comes to be. A problem
names the setting and the file, never what is in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from arbd.errors import ConfigError
from arbd.host import memory
from arbd.settings import credentials
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

_read_once: Final[dict[Path, bytes]] = {}


class TlsFile(NamedTuple):
    """A file, and the setting or the option that names it; a path of ``None``: it is not set."""

    name: str
    path: str | None


def read_tls(settings: Settings) -> Tls:
    """The TLS files of a link. Raises ``ConfigError`` for those that cannot be read or used."""
    return read_files(
        TlsFile("hub.tls_ca", settings.hub_tls_ca),
        TlsFile("hub.tls_cert", settings.hub_tls_cert),
        TlsFile("hub.tls_key", settings.hub_tls_key),
    )


def read_files(ca: TlsFile, cert: TlsFile, key: TlsFile) -> Tls:
    """TLS files, whoever names them. Raises ``ConfigError`` for those that cannot be read or used."""
    problems: list[str] = []
    contents = [_read(file, problems) for file in (ca, cert, key)]
    tls = Tls(ca=contents[0], cert=contents[1], key=contents[2])
    if not problems:
        problems += _problems(tls, ca, cert, key)
    if problems:
        raise ConfigError(problems)
    return tls


def _read(file: TlsFile, problems: list[str]) -> bytes | None:
    name, path = file
    if path is None:
        return None
    try:
        return _content(Path(path))
    except OSError as exc:
        problems.append(f"{name}: {path} cannot be read: {exc.strerror}{credentials.hint(path, exc)}")
        return None


def _content(path: Path) -> bytes:
    """What is in a file. That of a pipe (``<(command)`` of a shell) is kept: it can be read once."""
    known = _read_once.get(path)
    if known is None:
        is_for_good = path.is_file()
        known = path.read_bytes()
        if not is_for_good:
            _read_once[path] = known
    return known


def _problems(tls: Tls, ca: TlsFile, cert: TlsFile, key: TlsFile) -> list[str]:
    """What keeps these from being used."""
    if tls.ca is None and tls.cert is None:
        return []
    import ssl  # 10 ms, for those alone who have such files

    problems = []
    if tls.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with suppress(OSError, ValueError):  # ssl.SSLError is the one or the other
            context.load_verify_locations(cadata=tls.ca.decode("ascii", "replace"))
        if not context.cert_store_stats()["x509"]:
            problems.append(f"{ca.name}: {ca.path} holds no certificate in PEM form")
    if tls.cert is not None and tls.key is not None and (why := _misfit(tls.cert, tls.key)):
        problems.append(f"{cert.name}, {key.name}: {cert.path} and {key.path} {why}")
    return problems


def _misfit(cert: bytes, key: bytes) -> str:
    """What is wrong with a certificate and its key; empty: nothing."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    parcel = memory.create_parcel((cert, b"\n", key))  # these very bytes; the files may be others by now
    try:
        context.load_cert_chain(f"/proc/self/fd/{parcel}", password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "do not belong together: the key is that of another certificate"
        return "are not a certificate and its private key in PEM form, without a password"
    except (OSError, ValueError):
        return "are not a certificate and its private key in PEM form, without a password"
    finally:
        os.close(parcel)
    return ""


def _no_password() -> str:
    """None is asked for: a daemon has nobody to type it."""
    return ""
