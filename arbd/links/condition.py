"""The state of the connection to a hub: in what a link reports, and one line in the log each time it changes."""

from __future__ import annotations

from typing import Any, Final, Literal

import structlog

from arbd.links.options import LinkOptions
from arbd.logs.notable import note
from arbd.model.link_stats import LinkStats
from arbd.printable import printable
from arbd.wire.grpc_channel import parse_url

_TOKENS_MAX: Final = 16
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
        self._tokens: tuple[str, ...] = (options.token,)
        self._refused_interval_s = options.refused_interval_s

    def renew(self, options: LinkOptions) -> None:
        """Go by these options. The token of before is kept out of the log as well: calls with it may be under way."""
        self.target = parse_url(options.url, options.tls)
        self._tokens = (options.token, *(each for each in self._tokens if each != options.token))[:_TOKENS_MAX]

    def up(self, **words: str) -> None:
        """The hub answers, and accepts the token."""
        if self.stats.changed_to("up"):
            note(self.log, "info", "hub_connected", hub=self.target.address, **words)

    def renewal_is_late(self) -> None:
        """The hub cannot be reached with new credentials, and can with the old."""
        hint = "the connection of before goes on; look at the TLS files, they are tried further"
        note(self.log, "warning", "hub_not_reached_with_new_credentials", hub=self.target.address, hint=hint)

    def renewed(self) -> None:
        """A connection with new credentials is in use."""
        self.log.info("hub_connection_renewed", hub=self.target.address)

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
        for token in filter(None, self._tokens):
            details = details.replace(token, "***")
        return printable(details[:_DETAILS_MAX])
