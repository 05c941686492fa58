"""The TLS files of a link: read, and looked at before they are used.

    hub.tls_ca, hub.tls_cert, hub.tls_key ─> bytes ─> are they PEM, does the key fit? ─> Tls

gRPC does not say what is wrong with them: a connection with a broken certificate just never comes to be. A problem
names the setting and the file, never what is in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from arbd.errors import ConfigError
from arbd.host import memory
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Tls

_read_once: Final[dict[Path, bytes]] = {}


def read_tls(settings: Settings) -> Tls:
    """The TLS files. Raises ``ConfigError`` for those that cannot be read or used."""
    problems: list[str] = []
    tls = Tls(
        ca=_read(settings.hub_tls_ca, "hub.tls_ca", problems),
        cert=_read(settings.hub_tls_cert, "hub.tls_cert", problems),
        key=_read(settings.hub_tls_key, "hub.tls_key", problems),
    )
    if not problems:
        problems += _problems(tls, settings)
    if problems:
        raise ConfigError(problems)
    return tls


def _read(path: str | None, name: str, problems: list[str]) -> bytes | None:
    if path is None:
        return None
    try:
        return _content(Path(path))
    except OSError as exc:
        problems.append(f"{name}: {path} cannot be read: {exc.strerror}")
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


def _problems(tls: Tls, settings: Settings) -> list[str]:
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
            problems.append(f"hub.tls_ca: {settings.hub_tls_ca} holds no certificate in PEM form")
    if tls.cert is not None and tls.key is not None and (why := _misfit(tls.cert, tls.key)):
        problems.append(f"hub.tls_cert, hub.tls_key: {settings.hub_tls_cert} and {settings.hub_tls_key} {why}")
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
