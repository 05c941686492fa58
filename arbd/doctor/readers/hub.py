"""The way to the hub, step by step: its name, a connection, TLS, the first words of HTTP/2, a call that no hub has, and
the token on a stream that takes no task. Each step has its time; the first that fails is the last.

    name ──> connect ──> TLS ──> first words ──> /Hub/Probe ──> hello with credit 0

gRPC says "unavailable" to all that goes wrong before a call; so these steps are gone by hand first, and by gRPC at the
end, as the daemon will.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from arbd.doctor.case import Case
from arbd.doctor.certificates import Validity, date, of_der
from arbd.doctor.checks.hub import HubFacts, Step
from arbd.doctor.readers import dial, roots
from arbd.doctor.readers.dial import Dialled, Place
from arbd.errors import ArbdError, ConfigError
from arbd.host import memory
from arbd.links.tls_files import read_tls
from arbd.settings import hub_address
from arbd.settings.table import Settings
from arbd.wire.grpc_channel import Target, Tls, parse_url

TIMEOUT_S: Final = 3.0  # of each step
_PROXIES: Final = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # and empty SETTINGS
_SETTINGS_FRAME: Final = 4
_TLS_ALERT: Final = 0x15
#: Words of OpenSSL's reasons, and what they mean here.
_REASONS: Final = (
    ("WRONG_VERSION_NUMBER", "no tls"),
    ("RECORD_LAYER_FAILURE", "no tls"),
    ("HTTP_REQUEST", "no tls"),
    ("NO_APPLICATION_PROTOCOL", "no http2"),
    ("CERTIFICATE_REQUIRED", "client certificate"),
    ("BAD_CERTIFICATE", "client certificate"),
    ("ALERT_UNKNOWN_CA", "client certificate"),
    ("CERTIFICATE_EXPIRED", "client certificate"),
    ("HANDSHAKE_FAILURE", "client certificate"),
)
_BLOCKS: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_EXPIRED: Final = 10  # of OpenSSL's verification
_NOT_YET_VALID: Final = 9
_WRONG_NAMES: Final = (62, 64)


def target_of(settings: Settings) -> Target | None:
    """Where the hub is; ``None``: hub.url cannot be used."""
    try:
        return parse_url(settings.hub_url, settings.hub_uses_tls)
    except ConfigError:
        return None


def is_local(target: Target | None) -> bool:
    """Whether what goes to the hub stays on this machine."""
    return target is None or hub_address.is_local(target.address)


def why_not(target: Target, tls: Tls, timeout_s: float) -> dial.StepError | None:
    """What stands in the way to a hub before gRPC; ``None``: nothing. ``timeout_s``: of each step."""
    place = dial.place_of(target.address)
    if not place.is_known:
        return None
    try:
        _by_hand(HubFacts(url=target.address, uses_tls=target.tls), place, tls, timeout_s)
    except dial.StepError as error:
        return error
    return None


def hub_facts(case: Case, *, is_running: bool, timeout_s: float = TIMEOUT_S) -> HubFacts:
    """How far one comes. ``is_running``: a daemon of this provider has the hub, so the token is not tried."""
    settings = case.settings
    facts = HubFacts(
        url=settings.hub_url,
        uses_tls=False,
        wanted_protocol=settings.hub_protocol,
        has_proxy=_has_proxy(case.environ),
        has_token=bool(settings.hub_auth_token),
        timeout_s=timeout_s,
        now=time.time(),
    )
    try:
        target = parse_url(settings.hub_url, settings.hub_uses_tls)
    except ConfigError as error:
        return msgspec.structs.replace(facts, failed="address", error="; ".join(error.problems))
    try:
        tls = read_tls(settings)
    except ConfigError:
        tls = Tls()  # what is wrong with it is told elsewhere
    facts = msgspec.structs.replace(facts, uses_tls=target.tls)
    place = dial.place_of(target.address)
    if place.is_known:
        try:
            facts = _by_hand(facts, place, tls, timeout_s)
        except dial.StepError as error:
            return msgspec.structs.replace(
                facts, failed=error.step, kind=error.kind, error=str(error), addresses=error.addresses
            )
    return _by_grpc(facts, case, target, tls, is_running, timeout_s)


def _by_hand(facts: HubFacts, place: Place, tls: Tls, timeout_s: float) -> HubFacts:
    """The steps before gRPC. Raises ``dial.StepError``."""
    dialled = dial.dial(place, timeout_s)
    connection = dialled.connection
    connection.settimeout(timeout_s)
    addresses = (dialled.address,) if dialled.address else ()
    peer = None
    try:
        if facts.uses_tls:
            connection = _encrypted(connection, place, tls, dialled, timeout_s)
            peer = of_der(connection.getpeercert(binary_form=True) or b"")
        _first_words(connection, place, dialled, facts.uses_tls, timeout_s)
    finally:
        connection.close()
    return msgspec.structs.replace(facts, peer=peer, addresses=addresses, unreached=dialled.unreached)


def _context(tls: Tls) -> ssl.SSLContext:
    """What verifies the hub, and is shown to it. The bytes are those that were read: a pipe can be read once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST  # as gRPC has it
    ca = tls.ca if tls.ca is not None else roots.trusted()
    with contextlib.suppress(ssl.SSLError, ValueError):  # none can be read: then none is trusted
        context.load_verify_locations(cadata="\n".join(_BLOCKS.findall(ca.decode("ascii", "replace"))))
    context.set_alpn_protocols(["h2"])
    if tls.cert is not None and tls.key is not None:
        parcel = memory.create_parcel((tls.cert, b"\n", tls.key))
        try:
            context.load_cert_chain(f"/proc/self/fd/{parcel}", password="")
        finally:
            os.close(parcel)
    return context


def _encrypted(connection: socket.socket, place: Place, tls: Tls, dialled: Dialled, timeout_s: float) -> ssl.SSLSocket:
    try:
        encrypted = _context(tls).wrap_socket(connection, server_hostname=place.host or "localhost")
    except TimeoutError as error:
        raise dial.StepError("tls", f"nothing came back within {timeout_s:g} s", "silent", dialled) from error
    except ssl.SSLCertVerificationError as error:
        raise _untrusted(error, place, dialled, timeout_s) from error
    except ssl.SSLError as error:
        raise dial.StepError("tls", _words(error), _kind_of(error), dialled) from error
    except OSError as error:
        closed = isinstance(error, ConnectionError)
        words = "the connection was closed during the handshake" if closed else error.strerror or str(error)
        raise dial.StepError("tls", words, "no tls" if closed else "", dialled) from error
    if encrypted.selected_alpn_protocol() != "h2":
        encrypted.close()
        raise dial.StepError("tls", "HTTP/2 is not offered", "no http2", dialled)
    return encrypted


def _untrusted(error: ssl.SSLCertVerificationError, place: Place, dialled: Dialled, timeout_s: float) -> dial.StepError:
    code = error.verify_code
    kind = "expired" if code == _EXPIRED else "not yet valid" if code == _NOT_YET_VALID else "not trusted"
    kind = "wrong name" if code in _WRONG_NAMES else kind
    words = f"its certificate is not accepted: {error.verify_message}"
    shown = _shown_certificate(place, timeout_s)
    if shown is not None and kind in ("expired", "not yet valid"):
        words += f" ({shown.subject or 'no name'}, good from {date(shown.not_before)} until {date(shown.not_after)})"
    elif shown is not None and shown.subject:
        words += f" ({shown.subject})"
    return dial.StepError("tls", words, kind, dialled)


def _shown_certificate(place: Place, timeout_s: float) -> Validity | None:
    """The certificate that the hub shows, whatever it is worth."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with dial.dial(place, timeout_s).connection as raw:
            raw.settimeout(timeout_s)
            with context.wrap_socket(raw, server_hostname=place.host) as encrypted:
                return of_der(encrypted.getpeercert(binary_form=True) or b"")
    except (OSError, ArbdError):
        return None


def _first_words(connection: socket.socket, place: Place, dialled: Dialled, uses_tls: bool, timeout_s: float) -> None:
    """Begin HTTP/2, and see whether that is what comes back. With TLS 1.3 it is here that a certificate is refused."""
    step: Step = "tls" if uses_tls else "answer"
    try:
        connection.sendall(_PREFACE)
        answer = connection.recv(64)
    except TimeoutError as error:
        words = f"it accepts the connection, and nothing comes within {timeout_s:g} s"
        raise dial.StepError(step, words, "silent", dialled) from error
    except ssl.SSLError as error:
        raise dial.StepError("tls", _words(error), _kind_of(error), dialled) from error
    except OSError:  # it was closed: what that means is judged below
        answer = b""
    if len(answer) > 3 and answer[3] == _SETTINGS_FRAME and answer[:1] == b"\0":
        return
    if uses_tls and not answer:  # after HTTP/2 was agreed upon: it is this side that is not wanted
        words = "it ends the connection right after the handshake"
        raise dial.StepError("tls", words, "client certificate", dialled)
    if uses_tls:
        raise dial.StepError("tls", "it does not speak HTTP/2", "no http2", dialled)
    if answer[:1] == bytes((_TLS_ALERT,)) or (not answer and _shown_certificate(place, timeout_s) is not None):
        raise dial.StepError("answer", "it wants TLS", "wants tls", dialled)
    words = "it closes the connection" if not answer else "it answers, and not in HTTP/2"
    raise dial.StepError("answer", words, "no grpc", dialled)


def _by_grpc(facts: HubFacts, case: Case, target: Target, tls: Tls, is_running: bool, timeout_s: float) -> HubFacts:
    from arbd.doctor.readers import calls

    return calls.ask(facts, case.settings, target, tls, is_running=is_running, timeout_s=timeout_s)


def _kind_of(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    return next((kind for word, kind in _REASONS if word in reason), "")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def _has_proxy(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in _PROXIES)
