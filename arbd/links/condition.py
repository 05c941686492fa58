"""The state of the connection to a hub: in what a link reports, and one line in the log each time it changes."""

from __future__ import annotations

from typing import Any, Final, Literal

import structlog

from arbd.links.options import LinkOptions
from arbd.logs.notable import note
from arbd.model.link_stats import LinkStats
from arbd.wire.grpc_channel import parse_url

_DETAILS_MAX: Final = 200  # characters of a hub's own words that go to the log


class HubCondition:
    """The state of the connection of one link. ``stats`` has it, a given one or its own; ``log`` is told of it;
    ``target`` is where the hub is.

    Raises ``ConfigError`` for a URL that cannot be used.
    """

    def __init__(
        self, options: LinkOptions, protocol: Literal["unary", "stream"], logger: Any, stats: LinkStats | None = None
    ) -> None:
        self.stats = LinkStats(protocol=protocol) if stats is None else stats
        self.target = parse_url(options.url, options.tls)
        self.log = logger if logger is not None else structlog.get_logger("arbd.hub")
        self._token = options.token
        self._refused_interval_s = options.refused_interval_s

    def up(self, **words: str) -> None:
        """The hub answers, and accepts the token."""
        if self.stats.changed_to("up"):
            note(self.log, "info", "hub_connected", hub=self.target.address, **words)

    def trouble(self, state: Literal["down", "refused"], code: str, details: str) -> None:
        """The hub does not answer, or refuses the token: a call ended with this gRPC status."""
        if not self.stats.changed_to(state):
            return
        words = {"hub": self.target.address, "code": code, "details": self.clean(details)}
        if state == "refused":
            note(self.log, "error", "hub_refuses_token", retry_every_s=self._refused_interval_s, **words)
        elif code == "UNIMPLEMENTED" and self.stats.protocol == "stream":
            self.log.info("hub_without_stream", **words)
        else:
            note(self.log, "warning", "hub_unavailable", **words)

    def clean(self, details: str) -> str:
        """A hub's own words, fit for the log: some hubs quote the request, and the token is in it."""
        return (details.replace(self._token, "***") if self._token else details)[:_DETAILS_MAX]
