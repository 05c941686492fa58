"""The judgement of what an import has left behind: which of it forbids a fork, and what is told of it.

Pure: facts in, a ``Leftover`` for each kind out.

    forbid a fork    threads, libraries known for it, sockets that are no listeners, pipes, epoll and the like, event
                     loops, databases, devices with a state, scratch files, files that cannot be opened again
    told only        locks, of which forked workers have none; ports, where exec is needed: two cannot have one
    nothing          regular files (each worker opens them again), listeners, pidfds, /dev/null, sockets of logs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from arbd.host.descriptors import Descriptor, Ends
from arbd.model.description import Leftover
from arbd.worker.fork_safety import known

_EPHEMERAL: Final = 32768  # the first port that the kernel gives to a socket that asked for none

_OPEN_LATER: Final = "open it in an @provider.on_worker_start hook or as a @provider.resource"
_EXEC: Final = "workers are started by exec instead of fork"
_HINTS: Final = {
    "threads": f"{_EXEC}: a fork has none of these threads, and may keep their locks closed for ever; start them, or "
    "import what starts them, in an @provider.on_worker_start hook or a @provider.resource",
    "libraries": f"{_EXEC}: the library does not survive a fork once it has begun; use it for the first time in an "
    "action, or warm it up in an @provider.on_worker_start hook",
    "sockets": f"{_EXEC}: forked ones would share the connection and read each other's answers; {_OPEN_LATER}",
    "pipes": f"{_EXEC}: forked ones would share this pipe and take each other's data; {_OPEN_LATER}",
    "kernel_objects": f"{_EXEC}: forked ones would share this object of the kernel and take each other's events; "
    f"{_OPEN_LATER}",
    "event_loop": f"{_EXEC}: forked ones would share the loop's epoll; make no loop at import, an async action has one",
    "databases": f"{_EXEC}: forked ones would share the library's state of this file, and may damage it; {_OPEN_LATER}",
    "devices": f"{_EXEC}: forked ones would share this device; {_OPEN_LATER}",
    "gpu": f"{_EXEC}: what a process has begun on a card is lost by a fork; use the card for the first time in an "
    "action or in an @provider.on_worker_start hook",
    "scratch_files": f"{_EXEC}: forked ones would write into the same nameless file; make it in the action, or in an "
    "@provider.on_worker_start hook",
    "files": f"{_EXEC}: this file cannot be opened again, and forked ones would share its position; {_OPEN_LATER}",
    "affinity": "the module chose CPUs while it was imported: that holds for workers that are not pinned (pin = "
    "false); pinned ones have those of their slot",
    "locks": "the process that imports the module holds this lock as long as it lives, for all workers; to have one "
    "for each worker, take it in an @provider.on_worker_start hook",
    "ports": "workers import the module again, and an address can be bound once only: one that asks for the same does "
    "not start; bind it in an @provider.on_worker_start hook, or remove what forbids a fork",
}  # fmt: skip # one entry, one hint


class OpenItem(NamedTuple):
    """One descriptor, and what was found out about it. ``place``: the global name that holds it; ``problem``: why it
    cannot be opened again; ``is_mapped``: as shared memory that is written."""

    descriptor: Descriptor
    place: str = ""
    ends: Ends | None = None
    database: str = ""
    problem: str = ""
    is_locked: bool = False
    is_mapped: bool = False


class Facts(NamedTuple):
    """All that was found. Threads, libraries and loops as they are told."""

    threads: Sequence[str] = ()
    pools: Sequence[str] = ()  # libraries that may have started nameless threads
    libraries: Sequence[str] = ()
    loops: Sequence[str] = ()
    items: Sequence[OpenItem] = ()


def judge(facts: Facts) -> list[Leftover]:
    """What is worth telling, one ``Leftover`` for each kind."""
    found: dict[str, list[str]] = {"threads": _threads(facts), "libraries": list(facts.libraries)}
    found["event_loop"] = sorted({f"an open event loop ({place})" for place in facts.loops})
    for item in facts.items:
        if item.place not in facts.loops or not item.place:
            kind = kind_of(item)
            if kind:
                found.setdefault(kind, []).append(told(item))
    leftovers = [Leftover(kind, _unique(texts), _HINTS[kind], True) for kind, texts in found.items() if texts]
    return [*leftovers, *_without_fork(facts.items, needs_exec=bool(leftovers))]


def _threads(facts: Facts) -> list[str]:
    if facts.threads and facts.pools:
        return [*facts.threads, f"(libraries with pools that are loaded: {', '.join(facts.pools)})"]
    return list(facts.threads)


def _without_fork(items: Iterable[OpenItem], *, needs_exec: bool) -> list[Leftover]:
    """What does not forbid a fork, but is worth knowing."""
    locked = [told(item) for item in items if item.is_locked and not kind_of(item)]
    ports = [told(item) for item in items if needs_exec and is_bound(item.ends)]
    found = {"locks": locked, "ports": ports}
    return [Leftover(kind, _unique(texts), _HINTS[kind]) for kind, texts in found.items() if texts]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def kind_of(item: OpenItem) -> str:
    """The kind of leftover that a descriptor is, if it forbids a fork; empty: it does not."""
    judged: Callable[[OpenItem], str] | None = _BY_KIND.get(item.descriptor.kind)
    return judged(item) if judged is not None else _anonymous(item)


def _socket(item: OpenItem) -> str:
    ends = item.ends
    if ends is None or ends.state == "unknown":
        return "sockets"
    if is_bound(ends) or (ends.kind == "unix" and ends.peer in known.HARMLESS_PEERS):
        return ""
    return "pipes" if ends.kind == "unix" and not (ends.peer or ends.local) else "sockets"


def is_bound(ends: Ends | None) -> bool:
    """Whether a socket has an address that it asked for, and waits for others: workers may share it by fork, as those
    of a web server do, and cannot have it each."""
    if ends is None:
        return False
    return ends.state == "listening" or (ends.state == "unconnected" and 0 < ends.port < _EPHEMERAL)


def _file(item: OpenItem) -> str:
    descriptor = item.descriptor
    if item.database:
        return "databases"
    is_scratch = descriptor.links == 0 and descriptor.is_written and descriptor.is_read
    if is_scratch and not item.is_mapped:
        return "scratch_files"
    return "files" if item.problem else ""


def _char(item: OpenItem) -> str:
    target = item.descriptor.target
    if target.startswith(known.GPU_DEVICES):
        return "gpu"
    return "" if target in known.HARMLESS_DEVICES or target.startswith(known.TERMINALS) else "devices"


def _anonymous(item: OpenItem) -> str:
    return "" if item.descriptor.kind in known.HARMLESS_ANONYMOUS else "kernel_objects"


def _pipe(_item: OpenItem) -> str:
    return "pipes"


_BY_KIND: Final[dict[str, Callable[[OpenItem], str]]] = {
    "socket": _socket,
    "pipe": _pipe,
    "file": _file,
    "directory": lambda item: "files" if item.problem else "",
    "block": _file,
    "char": _char,
}


def told(item: OpenItem) -> str:
    """A descriptor for people: what it is, and the name that holds it."""
    place = (
        f" ({item.place})" if item.place else f" (descriptor {item.descriptor.number}, held by no name that was found)"
    )
    reason = f": {item.problem}" if item.problem else ""
    return f"{_what(item)}{reason}{place}"


def _what(item: OpenItem) -> str:
    ends, descriptor = item.ends, item.descriptor
    if ends is not None:
        return _what_socket(ends)
    if item.database:
        return f"{item.database} {descriptor.target}"
    if descriptor.kind == "pipe":
        return "a pipe" if descriptor.target.startswith("pipe:") else f"pipe {descriptor.target}"
    if descriptor.kind in ("file", "directory", "char", "block"):
        return descriptor.target
    return descriptor.kind


def _what_socket(ends: Ends) -> str:
    if ends.state == "listening":
        return f"{ends.kind} listening at {ends.local}"
    if ends.state == "connected":
        if not (ends.peer or ends.local):
            return f"a pair of {ends.kind} sockets"
        return f"{ends.kind} connection to {ends.peer or 'an unnamed peer'}"
    at = f" at {ends.local}" if ends.local else ""
    return f"{ends.kind} socket{at}, not connected"


def affinity_changed(chosen: frozenset[int] | None) -> list[Leftover]:
    """What is told of CPUs that the author's code has chosen at import; ``None``: it has not."""
    if chosen is None:
        return []
    return [Leftover("affinity", [f"CPUs {', '.join(map(str, sorted(chosen)))}"], _HINTS["affinity"])]
