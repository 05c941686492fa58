"""Where metrics and probes are served: whether the daemon that runs answers there, or the next one can listen."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn


class MetricsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """``address``: ``metrics.listen``, as it stands in a URL. ``is_served``: a daemon of this provider says that it
    serves there; then ``silence`` is why it does not answer there. Else ``refusal`` is why nobody can listen there.
    ``is_running``: a daemon of this provider runs. ``is_open``: others than this machine can reach it."""

    address: str
    is_served: bool = False
    silence: str = ""
    refusal: str = ""
    is_running: bool = False
    is_open: bool = False


def check_metrics(facts: MetricsFacts | None) -> Iterator[Finding]:
    """Whether metrics can be had; ``None``: they are not asked for."""
    if facts is None:
        return
    if facts.is_open:
        yield warn(
            "metrics.open",
            f"metrics.listen is {facts.address}, which is not of this machine alone",
            "whoever reaches it reads metrics and status without a password",
            "name the port alone (127.0.0.1), or see that a firewall lets in only who collects them",
        )
    if facts.is_served and facts.silence:
        yield fail(
            "metrics.silent",
            f"http://{facts.address}/livez does not answer: {facts.silence}",
            "probes take the daemon for dead, and nobody sees its metrics",
            "look in its log for http_lost, http_not_started and stalled; arbd stacks says where it stands",
        )
    elif facts.is_served:
        yield ok("metrics", f"http://{facts.address}/livez answers")
    elif facts.refusal:
        yield fail(
            "metrics.port",
            f"nobody can listen at {facts.address}: {facts.refusal}",
            "the daemon does not start",
            "see with `ss -ltnp` who has that port, or name another one, above 1023",
        )
    elif facts.is_running:
        yield warn(
            "metrics.later",
            f"the daemon that runs does not serve at {facts.address}",
            "it was started with another metrics.listen, or without",
            "restart it",
        )
    else:
        yield ok("metrics", f"{facts.address} is free")
