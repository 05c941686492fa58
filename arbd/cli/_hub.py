"""What commands say of a hub that does not do what they ask: in the user's words, with what to do about it.

gRPC says "unavailable" to all that goes wrong before a call. So the way there is gone once more by hand
(``arbd.doctor.readers.hub``), and the first step that fails is what is told.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from arbd.errors import ConfigError, HubError

if TYPE_CHECKING:
    from arbd.cli._hub_client import HubConnection
    from arbd.doctor.readers.dial import StepError
    from arbd.hub.client import HubClient

CALL_TIMEOUT_S: Final = 10.0  # of one call, unless --timeout leaves less
_STEP_TIMEOUT_S: Final = 3.0  # of one step of the way there
_SHORTEST_S: Final = 0.5  # one call or step may need that, however little is left
_SIZES: Final = re.compile(r"larger than max \((\d+) vs\. (\d+)\)")
_STARTS: Final = (
    "`arbd hub` starts one, `arbd dev PROVIDER.py` one with a provider; --hub or HUB_GRPC_URL names another"
)
_OTHER: Final = "--hub or HUB_GRPC_URL names the right one"

#: For each step of the way, and where it matters each kind of failure: what it means, and what to do.
_MEANINGS: Final[dict[tuple[str, str], str]] = {
    ("name", ""): _OTHER,
    ("connect", "refused"): f"nobody listens there; {_STARTS}",
    ("connect", "no socket"): f"there is no such socket; {_STARTS}",
    ("connect", "closed"): "you may not use that socket",
    ("connect", ""): f"the hub is down, or something drops the packets on the way; {_OTHER}",
    ("answer", "wants tls"): "write grpcs:// before the address",
    ("answer", "no grpc"): f"what listens there is no hub; {_OTHER}",
    ("answer", "silent"): f"a hub that hangs, or no hub at all; {_OTHER}",
    ("tls", "no tls"): "what listens there does not speak TLS: write the address without grpcs://",
    ("tls", "client certificate"): "it wants a certificate of whoever asks",
}


class ExplainedHubError(HubError):
    """A failure whose words say it all: the code is gRPC's."""

    def __str__(self) -> str:
        return self.details


class Deadline:
    """The moment by which a command is to be over; without a time limit there is none."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float | None:
        """Seconds until then, never below zero."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """So many seconds, or as many as are left."""
        return seconds if self._until is None else min(seconds, max(_SHORTEST_S, self._until - time.monotonic()))


def client(hub: HubConnection, deadline: Deadline) -> HubClient:
    """A client that does not wait for a hub that is not there. Raises ``ConfigError`` for what is no address."""
    try:
        return hub.client(deadline.at_most(CALL_TIMEOUT_S))
    except ConfigError as error:
        raise ConfigError([each.replace("hub.url:", "--hub:", 1) for each in error.problems]) from error


def require_listen(address: str, before: str = "") -> None:
    """Raise in words if no hub can listen there now; ``before`` them: whose hub it is."""
    from arbd.hub import listen

    try:
        listen.require_listen(address)
    except HubError as error:
        raise ExplainedHubError(error.code, before + error.details) from error


def explained(error: HubError, hub: HubConnection, deadline: Deadline) -> HubError:
    """The same failure, in words that say what is wrong and what to do. Goes the way to the hub once more, where gRPC
    does not know."""
    return ExplainedHubError(error.code, f"the hub at {hub}: {_said(error, hub, deadline)}")


def _said(error: HubError, hub: HubConnection, deadline: Deadline) -> str:
    if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"):
        return _why_unreached(hub, deadline) or _unreached(error)
    if error.code == "UNAUTHENTICATED":
        if hub.has_token:
            return (
                "it does not know this token (UNAUTHENTICATED; PROVIDER_AUTH_TOKEN, --token-file); give it one that it "
                "was started with"
            )
        return "it wants a token, and there is none (UNAUTHENTICATED): set PROVIDER_AUTH_TOKEN, or give --token-file"
    if error.code == "PERMISSION_DENIED":
        return f"it does not let this token do that: {error.details}"
    if error.code == "UNIMPLEMENTED":
        return "it does not know what this asks: it is no hub of arbd's, or an older one; use what its own makers give"
    if error.code == "RESOURCE_EXHAUSTED" and (sizes := _SIZES.search(error.details)):
        size, most = sizes.groups()
        return (
            f"a task of {size} bytes is larger than the {most} it takes in one message; send less, or start it with "
            "more: arbd hub --max-message"
        )
    return f"{error.details or 'it failed'} ({error.code})"


def _why_unreached(hub: HubConnection, deadline: Deadline) -> str:
    """What stands in the way there; empty: nothing is seen."""
    from arbd.doctor.readers.hub import why_not

    found: StepError | None = why_not(hub.target, hub.tls, deadline.at_most(_STEP_TIMEOUT_S))
    if found is None:
        return ""
    words = str(found).removeprefix(f"{hub}: ")
    meaning = _MEANINGS.get((found.step, found.kind)) or _MEANINGS.get((found.step, ""), "")
    return f"{words}; {meaning}" if meaning else words


def _unreached(error: HubError) -> str:
    if error.code == "DEADLINE_EXCEEDED":
        return "it can be reached, and did not answer in time; it is busy, or stopped"
    return f"it can be reached, and the call failed: {error.details or error.code}"
