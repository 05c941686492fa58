"""What a fork would share or lose forbids it; what each worker can have for itself does not."""

from __future__ import annotations

import os

import pytest

from arbd.host.descriptors import Descriptor, Ends
from arbd.worker.fork_safety.judge import _HINTS, Facts, OpenItem, affinity_changed, is_bound, judge, kind_of, told


def item(kind: str, target: str = "", *, flags: int = os.O_RDONLY, links: int = 1, **known: object) -> OpenItem:
    return OpenItem(Descriptor(7, kind, target, (1, 2), links, flags), **known)  # type: ignore[arg-type] # by name


def sock(kind: str, state: str, local: str = "", peer: str = "", port: int = 0) -> OpenItem:
    return item("socket", "socket:[1]", flags=os.O_RDWR, ends=Ends(kind, state, local, peer, port))  # type: ignore[arg-type] # a literal


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (sock("tcp", "connected", "a:40000", "b:1", 40000), "sockets"),
        (sock("tcp", "unconnected"), "sockets"),
        (sock("tcp", "listening", "a:80", port=80), ""),
        (sock("tcp", "listening", "a:50000", port=50000), ""),
        (sock("udp", "unconnected", "a:53", port=53), ""),
        (sock("udp", "unconnected", "a:50000", port=50000), "sockets"),
        (sock("udp", "connected", "a:50000", "b:8125", 50000), "sockets"),
        (sock("unix", "connected"), "pipes"),
        (sock("unix", "connected", "", "/run/x.sock"), "sockets"),
        (sock("unix", "connected", "", "/dev/log"), ""),
        (sock("netlink", "unconnected"), "sockets"),
        (sock("socket", "unknown"), "sockets"),
        (item("pipe", "pipe:[9]"), "pipes"),
        (item("eventpoll"), "kernel_objects"),
        (item("timerfd"), "kernel_objects"),
        (item("inotify"), "kernel_objects"),
        (item("io_uring"), "kernel_objects"),
        (item("userfaultfd"), "kernel_objects"),
        (item("bpf-map"), "kernel_objects"),
        (item("pidfd"), ""),
        (item("file", "/x"), ""),
        (item("file", "/x", flags=os.O_RDWR), ""),
        (item("file", "/x", problem="no"), "files"),
        (item("file", "/x", database="sqlite"), "databases"),
        (item("file", "/x (deleted)", links=0), ""),
        (item("file", "/x (deleted)", links=0, flags=os.O_WRONLY), ""),
        (item("file", "/x (deleted)", links=0, flags=os.O_RDWR), "scratch_files"),
        (item("file", "/x (deleted)", links=0, flags=os.O_RDWR, is_mapped=True), ""),
        (item("directory", "/"), ""),
        (item("directory", "/", problem="no"), "files"),
        (item("block", "/dev/sda"), ""),
        (item("char", "/dev/null"), ""),
        (item("char", "/dev/pts/3"), ""),
        (item("char", "/dev/nvidia0"), "gpu"),
        (item("char", "/dev/nvidiactl"), "gpu"),
        (item("char", "/dev/dri/renderD128"), "gpu"),
        (item("char", "/dev/ttyS0"), "devices"),
        (item("char", "/dev/ptmx"), "devices"),
    ],
)
def test_the_kind_of_a_descriptor(found: OpenItem, kind: str) -> None:
    assert kind_of(found) == kind


def test_nothing_left_is_nothing_told() -> None:
    assert judge(Facts()) == []
    assert judge(Facts(items=[item("file", "/x"), sock("tcp", "listening", "a:80", port=80)], pools=["OpenBLAS"])) == []


def test_one_leftover_for_each_kind() -> None:
    items = [sock("tcp", "connected", "a:1", f"b:{port}") for port in (1, 2, 2)]
    found = judge(Facts(threads=["one", "two"], libraries=["numba"], items=[*items, item("pipe", "pipe:[9]")]))
    assert [(leftover.kind, len(leftover.found), leftover.by_exec) for leftover in found] == [
        ("threads", 2, True),
        ("libraries", 1, True),
        ("sockets", 2, True),
        ("pipes", 1, True),
    ]


def test_libraries_with_pools_are_told_where_threads_have_no_owner() -> None:
    [found] = judge(Facts(threads=["one"], pools=["OpenBLAS", "TBB"]))
    assert found.found[-1] == "(libraries with pools that are loaded: OpenBLAS, TBB)"


def test_what_an_event_loop_has_is_told_with_the_loop() -> None:
    of_loop = [item("eventpoll", place="app.loop"), sock("unix", "connected")._replace(place="app.loop")]
    [found] = judge(Facts(loops=["app.loop"], items=of_loop))
    assert (found.kind, found.found) == ("event_loop", ["an open event loop (app.loop)"])


def test_locks_and_ports_forbid_nothing() -> None:
    locked, bound = item("file", "/x.lock", is_locked=True), sock("tcp", "listening", "a:80", port=80)
    [locks] = judge(Facts(items=[locked, bound]))
    assert (locks.kind, locks.by_exec) == ("locks", False)
    kinds = {leftover.kind: leftover.by_exec for leftover in judge(Facts(threads=["one"], items=[locked, bound]))}
    assert kinds == {"threads": True, "locks": False, "ports": False}


def test_only_who_waits_for_others_has_a_port() -> None:
    assert not is_bound(None)
    assert not is_bound(Ends("tcp", "connected", "a:80", "b:1", 80))
    assert is_bound(Ends("unix", "listening", "/x"))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (sock("tcp", "connected", "a:1", "b:6379")._replace(place="shop.db"), "tcp connection to b:6379 (shop.db)"),
        (sock("unix", "connected"), "a pair of unix sockets (descriptor 7, held by no name that was found)"),
        (sock("unix", "connected", "/mine"), "unix connection to an unnamed peer (descriptor 7"),
        (sock("tcp", "unconnected"), "tcp socket, not connected (descriptor 7"),
        (sock("udp", "unconnected", "a:53", port=53), "udp socket at a:53, not connected"),
        (sock("tcp", "listening", "a:80"), "tcp listening at a:80"),
        (item("pipe", "pipe:[9]"), "a pipe ("),
        (item("pipe", "/run/fifo"), "pipe /run/fifo ("),
        (item("file", "/x", problem="it may not be opened again"), "/x: it may not be opened again ("),
        (item("file", "/x", database="LMDB"), "LMDB /x ("),
        (item("eventpoll"), "eventpoll ("),
    ],
)
def test_how_it_is_told(found: OpenItem, text: str) -> None:
    assert told(found).startswith(text)


def test_no_hint_leads_to_forked_workers_with_the_same_random_numbers() -> None:
    """Fewer threads, and so a fork, were the advice; and then the numbers were the same."""
    assert [kind for kind, hint in _HINTS.items() if "NUM_THREADS" in hint] == []


def test_cpus_that_were_chosen() -> None:
    assert affinity_changed(None) == []
    [found] = affinity_changed(frozenset({3, 1}))
    assert (found.kind, found.found, found.by_exec) == ("affinity", ["CPUs 1, 3"], False)
