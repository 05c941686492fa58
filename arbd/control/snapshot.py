"""The snapshot: what the supervisor tells of itself once a second in the metrics page, as one JSON document. Pure.

Only with ``metrics.listen``. It is the status of ``arbd status`` without what ``arbd:http`` sees for itself (memory and
descriptors of workers), and counters that are no task's. Those only grow while the daemon lives, whatever is replaced
under them: ``arbd.core.growing``.
"""

from __future__ import annotations

import msgspec

from arbd.control.reports import NotableEvent, StatusReport


class LimitTotals(msgspec.Struct, frozen=True):
    """One rate limit: how much of it is used now (0 to 1), calls it has let through and turned away since the start,
    whether something stands in its way, and its rule in words."""

    name: str
    usage: float
    allowed: int = 0
    refused: int = 0
    troubled: bool = False
    rule: str = ""


class Snapshot(msgspec.Struct, frozen=True):
    """The state of one daemon at one moment. ``at``: seconds since 1970. ``replaced``: workers by the reason for which
    they were replaced; ``link``: the counters of ``LinkStats``, and ``link_failures`` of failed calls, of all links
    that there were. ``events``: the last notable ones, oldest first. ``is_shortened``: actions, limits and events are
    left out (``shortened``)."""

    at: float
    status: StatusReport
    limits: list[LimitTotals] = []
    replaced: dict[str, int] = {}
    link: dict[str, int] = {}
    link_failures: dict[str, int] = {}
    events: list[NotableEvent] = []
    is_shortened: bool = False


_decoder = msgspec.json.Decoder(Snapshot)
_encoder = msgspec.json.Encoder()


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as it stands in the page."""
    return _encoder.encode(snapshot)


def shortened(snapshot: Snapshot) -> Snapshot:
    """A snapshot without the lists that grow with what an author registers: what does not fit the page must not make
    the daemon look dead."""
    status = msgspec.structs.replace(snapshot.status, actions=[], ending_actions={}, paused=[])
    return msgspec.structs.replace(snapshot, status=status, limits=[], events=[], is_shortened=True)


def decode(document: bytes) -> Snapshot:
    """The snapshot in a page. Raises ``msgspec.MsgspecError``."""
    return _decoder.decode(document)
