"""How commands reach a hub: address, token and TLS, from options, else from the environment.

--hub, --tls-ca, --tls-cert, --tls-key, --token-file        options, which win
HUB_GRPC_URL, PROVIDER_AUTH_TOKEN, ARBD_HUB_...             the variables of a daemon's settings, judged as there
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from arbd.cli import _completers
from arbd.cli._options import LOCAL_HUB
from arbd.settings.files import read_token
from arbd.settings.table import BY_NAME, Settings, from_constructor, from_environment, from_flags, resolve

if TYPE_CHECKING:
    from arbd.hub.client import HubClient
    from arbd.wire.grpc_channel import Target, Tls

_PEM: Final = _completers.files()
_VARIABLES: Final = frozenset(row.variable for row in BY_NAME.values() if row.name.startswith("hub."))
_OPTIONS: Final = {
    "hub_url": "hub.url",
    "tls_ca": "hub.tls_ca",
    "tls_cert": "hub.tls_cert",
    "tls_key": "hub.tls_key",
    "token_file": "hub.auth_token_file",
}


class HubConnection(msgspec.Struct, frozen=True):
    """A hub as the command line and the environment name it. As text: its address."""

    settings: Settings

    def __str__(self) -> str:
        return self.settings.hub_url

    @property
    def has_token(self) -> bool:
        """Whether calls carry a token."""
        return bool(self.settings.hub_auth_token)

    @property
    def tls(self) -> Tls:
        """The files of TLS. Raises ``ConfigError`` for those that cannot be used."""
        from arbd.links.tls_files import read_tls

        return read_tls(self.settings)

    @property
    def target(self) -> Target:
        """What it is for gRPC. Raises ``ConfigError`` for what is no address."""
        from arbd.wire.grpc_channel import parse_url

        return parse_url(self.settings.hub_url, self.settings.hub_uses_tls)

    def client(self, timeout_s: float) -> HubClient:
        """A client of it that does not wait for a hub that is not there; ``timeout_s`` for each call. Nothing is
        connected yet. Raises ``ConfigError``."""
        from arbd.hub.client import HubClient

        return HubClient(
            self.settings.hub_url,
            token=self.settings.hub_auth_token,
            tls=self.settings.hub_uses_tls,
            tls_options=self.tls,
            timeout_s=timeout_s,
            waits_for_hub=False,
        )


def hub_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where the hub is and how it is reached; it receives them as ``hub``, a
    ``HubConnection``."""

    @functools.wraps(function)
    def command(**params: Any) -> None:
        given = {name: params.pop(option) for option, name in _OPTIONS.items()}
        function(hub=_connection(given), **params)

    decorated = command
    for flag, metavar, text in reversed(
        (
            ("--hub", "HOST:PORT", f"The hub; grpcs://HOST:PORT with TLS.  [default: HUB_GRPC_URL, or {LOCAL_HUB}]"),
            ("--token-file", "FILE", "A file that holds the hub's token.  [default: the token in PROVIDER_AUTH_TOKEN]"),
            ("--tls-ca", "FILE", "PEM of the authorities to trust, and TLS.  [default: the system's]"),
            ("--tls-cert", "FILE", "PEM of this client's certificate chain, for a hub that asks for one."),
            ("--tls-key", "FILE", "PEM of the private key of --tls-cert."),
        )
    ):
        name = "hub_url" if flag == "--hub" else flag[2:].replace("-", "_")
        complete = None if flag == "--hub" else _PEM if "tls" in flag else _completers.files()
        decorated = click.option(flag, name, metavar=metavar, help=text, shell_complete=complete)(decorated)
    return decorated


def _connection(given: dict[str, Any]) -> HubConnection:
    told = from_environment({name: raw for name, raw in os.environ.items() if name in _VARIABLES})
    layers = [from_constructor({"hub.url": LOCAL_HUB}), told, from_flags(given)]
    settings = read_token(resolve(layers)).settings
    if settings.hub_in_clear:
        from arbd.cli import _show

        what = "token, tasks and results" if settings.hub_auth_token else "tasks and results"
        told_how = "write --hub grpcs://HOST:PORT, or --tls-ca FILE"
        _show.say(f"arbd: warning: {what} go to {settings.hub_url} without TLS; {told_how}", err=True)
    return HubConnection(settings)
