"""The way to the hub, step by step: its name, the connection, TLS, an answer, the token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from arbd.doctor.certificates import Validity, date
from arbd.doctor.findings import Finding, fail, ok, warn

_SOON_DAYS: Final = 14
_SLOW_S: Final = 0.25

Step = Literal["address", "name", "connect", "tls", "answer", "token"]
TokenAnswer = Literal["taken", "refused", "unknown", "not asked", "running"]


class HubFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How far one came. ``failed``: the step that went wrong, ``None``: none; ``error``: how, in a word of ``kind``
    where that is known. ``addresses``: those of its name; ``peer``: the hub's certificate, if one was shown.
    ``answer_s``: how long an answer took. ``token``: what the hub says of it. ``protocol``: what it speaks, if known.
    ``has_proxy``: the environment names a proxy for others. ``now`` in seconds since 1970."""

    url: str
    uses_tls: bool
    failed: Step | None = None
    kind: str = ""
    error: str = ""
    addresses: Sequence[str] = ()
    unreached: Sequence[str] = ()
    peer: Validity | None = None
    answer_s: float = 0.0
    token: TokenAnswer = "not asked"
    protocol: str = ""
    wanted_protocol: str = "auto"
    has_proxy: bool = False
    has_token: bool = True
    timeout_s: float = 0.0
    now: float = 0.0


def check_hub(facts: HubFacts) -> Iterator[Finding]:
    """Whether the daemon will have a hub."""
    if facts.failed is not None:
        yield _failure(facts)
        return
    findings = [*_certificate(facts), *_addresses(facts), *_speed(facts), *_token(facts), *_protocol(facts)]
    yield from findings
    if all(finding.level == "ok" for finding in findings):
        how = "over TLS" if facts.uses_tls else "without TLS"
        speaks = f", speaks the {facts.protocol} protocol" if facts.protocol else ""
        yield ok("hub", f"{facts.url} answers in {facts.answer_s * 1000:.0f} ms {how}{speaks}")


#: For each step, and where it matters each kind of failure: what it means, and what to do.
_MEANINGS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("address", ""): ("the daemon does not start", "correct hub.url"),
    ("name", ""): (
        "the daemon goes on asking, and is without a hub meanwhile",
        "correct hub.url, or look at the name server (getent hosts NAME); in a container: is the hub in its network?",
    ),
    ("connect", "refused"): (
        "the machine is there, and nobody listens",
        "start the hub, or correct hub.url",
    ),
    ("connect", "no socket"): (
        "the hub does not run, or its socket is elsewhere",
        "start the hub, or correct the path in hub.url",
    ),
    ("connect", "closed"): (
        "whoever asks may not use the hub's socket",
        "let the daemon's user use it (its group, mode 0660), or ask as that user",
    ),
    ("connect", ""): (
        "nothing came back: the hub is down, or something drops the packets on the way",
        "look at firewalls and routes between here and there (nc -vz HOST PORT)",
    ),
    ("tls", "not trusted"): (
        "the hub's certificate comes from an authority that is not trusted here, so no connection is made",
        "name the authority's certificate in hub.tls_ca",
    ),
    ("tls", "wrong name"): (
        "the hub's certificate is for another name, so no connection is made",
        "write the name that the certificate has in hub.url, or have the hub show another one",
    ),
    ("tls", "expired"): (
        "a certificate that is over is not trusted, so no connection is made",
        "have the hub's certificate renewed; if it is not over, look at the clock of this machine",
    ),
    ("tls", "not yet valid"): (
        "a certificate that does not count yet is not trusted, so no connection is made",
        "look at the clock of this machine, and at that of whoever issued it",
    ),
    ("tls", "no tls"): (
        "what listens there does not speak TLS",
        "write grpc:// in hub.url if the hub is to be reached without, or correct the port",
    ),
    ("tls", "client certificate"): (
        "the hub wants a certificate of this client, or does not accept the one it got",
        "set hub.tls_cert and hub.tls_key; an authority that the hub trusts has to issue them",
    ),
    ("tls", "no http2"): (
        "gRPC needs HTTP/2, and what listens there does not offer it (ALPN h2)",
        "correct the port, or have the proxy before the hub speak HTTP/2",
    ),
    ("tls", "silent"): (
        "it accepts connections and never answers: a hub that hangs, or a firewall that answers for it",
        "look at the hub's own health; correct the port in hub.url",
    ),
    ("tls", ""): ("the encrypted connection does not come to be", "look at hub.tls_ca and at the hub's log"),
    ("answer", "silent"): (
        "it accepts connections and never answers: a hub that hangs, or no hub at all",
        "look at the hub's own health; correct the port in hub.url",
    ),
    ("answer", "wants tls"): (
        "what listens there speaks TLS, and hub.url does not",
        "write grpcs:// in hub.url",
    ),
    ("answer", "no grpc"): (
        "what listens there is no gRPC server",
        "correct hub.url: the port is that of something else",
    ),
    ("answer", ""): ("calls do not get through", "look at the hub's log, and at proxies between here and there"),
}


def _failure(facts: HubFacts) -> Finding:
    assert facts.failed is not None
    why, remedy = _MEANINGS.get((facts.failed, facts.kind)) or _MEANINGS[facts.failed, ""]
    if facts.has_proxy and facts.failed in ("name", "connect"):
        remedy += "; arbd uses no proxy, whatever the environment says"
    place = f" ({', '.join(facts.addresses)})" if facts.addresses else ""
    return fail(f"hub.{facts.failed}", f"{facts.url}{place}: {facts.error.removeprefix(f'{facts.url}: ')}", why, remedy)


def _certificate(facts: HubFacts) -> Iterator[Finding]:
    if facts.peer is None:
        return
    left = facts.peer.days_left(facts.now)
    if left < _SOON_DAYS:
        yield warn(
            "hub.certificate",
            f"the hub's certificate ends in {left} days, at {date(facts.peer.not_after)}",
            "from then on no provider reaches it",
            "have it renewed by whoever runs the hub",
        )
    else:
        yield ok("hub.certificate", f"the hub's certificate is good until {date(facts.peer.not_after)}")


def _addresses(facts: HubFacts) -> Iterator[Finding]:
    if facts.unreached:
        yield warn(
            "hub.addresses",
            f"of the hub's addresses {', '.join(facts.unreached)} cannot be reached",
            "each attempt there costs time before the next is tried",
            "mend the route (IPv6 without a way out is the usual case), or take them out of the name",
        )


def _speed(facts: HubFacts) -> Iterator[Finding]:
    if facts.answer_s > _SLOW_S:
        yield warn(
            "hub.slow",
            f"the hub took {facts.answer_s:.2f} s to answer",
            "with the unary protocol each poll and each result takes so long; the stream hides it",
            "look at the hub's load and at the way there",
        )


def _token(facts: HubFacts) -> Iterator[Finding]:
    if facts.token == "refused":
        yield fail(
            "hub.token",
            f"the hub refuses the token: {facts.error}" if facts.error else "the hub refuses the token",
            "the daemon gets no task, and asks again every 31 s",
            "give it the token that the hub knows this provider by" + ("" if facts.has_token else ": there is none"),
        )
    elif facts.token == "taken":
        yield ok("hub.token", "the hub takes the token" if facts.has_token else "the hub asks for no token")
    elif facts.token == "running":
        yield ok("hub.token", "the hub takes the token of the daemon that runs")
    elif facts.token == "unknown":
        yield ok(
            "hub.token",
            "whether the hub takes the token is seen at the start: a poll, which would tell, would take a task",
        )


def _protocol(facts: HubFacts) -> Iterator[Finding]:
    if facts.wanted_protocol == "stream" and facts.protocol == "unary":
        yield fail(
            "hub.protocol",
            "hub.protocol is stream, and the hub does not know the stream protocol",
            "the daemon gets no task",
            'set hub.protocol = "auto"',
        )
