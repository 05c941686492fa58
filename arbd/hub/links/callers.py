"""Who may call the hub, and how much each link may ask for. Pure; times are seconds of a monotonic clock.

Any number of links must not ask a hub that refuses the token more often than one would. So while it is not known that
the hub accepts the token, one link calls, the *leader*, and carefully; the others are held::

    nobody has been answered yet ─┐                      ┌── the leader was answered ──> trusted: all call
                                  ├─> the leader calls ──┤
    somebody was refused ─────────┘                      └── it ends ──> another leads; if the token was refused, after
                                                                         the pause between two refused calls

Calls that were under way when the first refusal came are not counted, as within one link: they were made in good faith.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

TRIAL: Final = 1
"""Tasks that a leader may ask for, and results that it may be given, before the hub has accepted its token."""


class Callers:
    """Links are known by their numbers. ``refused_interval_s``: between two calls with a token the hub refuses."""

    def __init__(self, refused_interval_s: float) -> None:
        self._interval_s = refused_interval_s
        self._links: list[int] = []
        self._leader: int | None = None
        self._not_before = -math.inf
        self.are_trusted = False
        self.was_refused = False  # the token, and has not been accepted since

    def came(self, link: int) -> None:
        """A link can be used from now on."""
        self._links.append(link)
        if self._leader is None:
            self._leader = link

    def gone(self, link: int, now: float) -> None:
        """A link has ended."""
        self._links.remove(link)
        if link == self._leader:
            self._leader = self._links[0] if self._links else None
            if self.was_refused:
                self._not_before = now + self._interval_s  # it may have called the moment before

    def accepted(self, link: int) -> None:
        """The hub has accepted the token of this link, in a call that began after any refusal this link knows of."""
        if not self.was_refused or link == self._leader:
            self.are_trusted = True
            self.was_refused = False

    def refused(self, link: int) -> None:
        """The hub has refused the token of this link."""
        if self.are_trusted or not self.was_refused:
            self._leader = link
        self.are_trusted = False
        self.was_refused = True

    @property
    def are_serving(self) -> bool:
        """Whether they do all that can be done with this token."""
        return self.was_refused or (self.are_trusted and bool(self._links))

    def callers(self, now: float) -> Sequence[int]:
        """The links that may call."""
        if self.are_trusted:
            return self._links
        return () if self._leader is None or now < self._not_before else (self._leader,)

    def next_at(self, now: float) -> float:
        """When to ask again, should nothing happen before; infinity: no time alone changes the answer."""
        return self._not_before if not self.are_trusted and now < self._not_before else math.inf


def split(slots: int, links: Mapping[int, int], first: int) -> dict[int, int]:
    """Each link with its share of ``slots``; ``links``: what each may ask for at this moment.

    What is left over goes to those that may ask for most: their polls may be under way, and a share that moves to
    another link would be polled for twice. Among equals, to those from place ``first`` on, in a circle.
    """
    if not links:
        return {}
    share, rest = divmod(slots, len(links))
    shares = dict.fromkeys(links, share)
    if rest:
        places = list(links)
        turn = first % len(places)
        for link in sorted(places[turn:] + places[:turn], key=links.__getitem__, reverse=True)[:rest]:
            shares[link] += 1
    return shares
