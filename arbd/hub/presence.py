"""Who is connected to an embedded hub, and what each one has: for whoever asks why a task is not answered.

Pure. Over a stream a provider is connected while the stream is open. By calls it is while one of its polls waits, while
it has a task (a provider that is busy asks for no other), or for a moment after its last call: between two of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

MOST_SHOWN: Final = 1000  # of providers, and of the actions of one
BETWEEN_CALLS_S: Final = 2.5  # two polls of one provider are less far apart, unless it is busy or gone
_MOST_CALLERS: Final = 1000


class ProviderPresence(msgspec.Struct, frozen=True, kw_only=True):
    """One provider by its name: open ``streams``, ``polls`` that wait, and tasks that it has (``leased``).
    ``actions``: those it has told of, over a stream; none for one that calls."""

    name: str
    is_connected: bool
    streams: int = 0
    polls: int = 0
    leased: int = 0
    actions: Sequence[str] = ()


class Callers:
    """When each provider called last, for those that have no stream. A busy hub with names without end forgets the
    oldest."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}  # by name, the oldest first; seconds of a monotonic clock

    def note(self, name: str, now: float) -> None:
        """A provider has asked for a task."""
        self._last.pop(name, None)
        self._last[name] = now
        if len(self._last) > _MOST_CALLERS:
            del self._last[next(iter(self._last))]

    def recent(self, now: float) -> set[str]:
        """The names of those that called a moment ago."""
        return {name for name, at in self._last.items() if now - at <= BETWEEN_CALLS_S}


class StreamOf(msgspec.Struct, frozen=True):
    """An open stream: whose it is, and the actions that it told of."""

    name: str
    actions: Sequence[str] = ()


def providers(
    streams: Iterable[StreamOf],
    polls: Mapping[str, int],
    leased_by: Mapping[tuple[str, bool], int],
    recent: Iterable[str],
) -> list[ProviderPresence]:
    """Those that are connected or have tasks, by name. ``leased_by``: the tasks of each, by its name and whether they
    went over a stream; ``recent``: who called a moment ago."""
    open_streams: Counter[str] = Counter()
    actions: dict[str, list[str]] = {}
    for stream in streams:
        open_streams[stream.name] += 1
        actions.setdefault(stream.name, []).extend(stream.actions)
    calling = {*recent, *(name for name, count in polls.items() if count)}
    calling.update(name for (name, by_stream), count in leased_by.items() if count and not by_stream)
    names = sorted({*open_streams, *calling, *(name for (name, _), count in leased_by.items() if count)})
    return [
        ProviderPresence(
            name=name,
            is_connected=bool(open_streams[name]) or name in calling,
            streams=open_streams[name],
            polls=polls.get(name, 0),
            leased=leased_by.get((name, True), 0) + leased_by.get((name, False), 0),
            actions=list(dict.fromkeys(actions.get(name, ())))[:MOST_SHOWN],
        )
        for name in names[:MOST_SHOWN]
    ]
