"""Which link processes may call the hub, and how many tasks each may ask for.

Pure; times are seconds of a monotonic clock.

Any number of links must not ask a hub that refuses the token more often than one would. So while it is not known that
the hub accepts the token, one link calls, the *leader*, and carefully; the others are held::

    nobody has been answered yet ─┐                      ┌── the leader was answered ──> accepted: all call
                                  ├─> the leader calls ──┤
    somebody was refused ─────────┘                      └── it ends ──> another leads; if the token was refused, after
                                                                         the pause between two refused calls

Calls that were under way when the first refusal came are not counted, as within one link: they began before it was
known.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

PROBE: Final = 1
"""Tasks that a leader may ask for, and results that it may be given, before the hub has accepted its token: one call of
each kind finds out, and a leader that takes over from one that was refused must not begin with dozens."""


class Callers:
    """The links that may call the hub, by number. ``refused_interval_s``: between two calls with a token that the hub
    refuses."""

    def __init__(self, refused_interval_s: float) -> None:
        self._interval_s = refused_interval_s
        self._links: list[int] = []
        self._leader: int | None = None
        self._not_before = -math.inf
        self.token_is_accepted = False
        self.token_is_refused = False  # both are False until the first answer

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
            if self.token_is_refused:
                self._not_before = now + self._interval_s  # it may have called the moment before

    def accepted(self, link: int) -> None:
        """The hub has accepted the token of this link, in a call that began after any refusal this link knows of."""
        if not self.token_is_refused or link == self._leader:
            self.token_is_accepted = True
            self.token_is_refused = False

    def refused(self, link: int) -> None:
        """The hub has refused the token of this link."""
        if not self.token_is_refused:
            self._leader = link
        self.token_is_accepted = False
        self.token_is_refused = True

    def renewed(self) -> None:
        """There is another token: what the hub said of the one before counts no more."""
        self.token_is_refused = False
        self._not_before = -math.inf

    def callers(self, now: float) -> Sequence[int]:
        """The links that may call."""
        if self.token_is_accepted:
            return self._links
        return () if self._leader is None or now < self._not_before else (self._leader,)


def split(slots: int, links: Mapping[int, int]) -> dict[int, int]:
    """Each link with its share of ``slots``; ``links``: what each may ask for at this moment.

    Nothing moves from one link to another: polls for it may be under way, and it would be polled for twice. What is new
    goes to those that have least, what is gone is taken from those that have most.
    """
    shares = {link: max(0, has) for link, has in links.items()}
    more = slots - sum(shares.values())
    if shares and more > 0:
        each, rest = divmod(more, len(shares))
        fewest_first = sorted(shares, key=shares.__getitem__)
        for place, link in enumerate(fewest_first):
            shares[link] += each + (place < rest)
    while more < 0:  # lower those that have most, together, to those that have next to most
        most = max(shares.values())
        highest = [link for link, has in shares.items() if has == most]
        next_to_most = max((has for has in shares.values() if has < most), default=0)
        each = min(-more // len(highest), most - next_to_most)
        for link in highest if each else highest[:-more]:
            shares[link] -= max(1, each)
            more += max(1, each)
    return shares


def split_anew(slots: int, links: Collection[int]) -> dict[int, int]:
    """The same, evenly, whatever they have: once in a while, so that none keeps what it makes no use of."""
    return split(slots, dict.fromkeys(links, 0))
