"""What the module had open is watched; the reserve, which arbd itself closes, is not."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from descriptor_support import no_free_descriptor, with_reserve

from arbd.host import fork_mark, reserve
from arbd.worker.guard import descriptors
from arbd.worker.guard.descriptors import Inherited, ProtectedDescriptors
from arbd.worker.guard.kinds import Spoiled
from arbd.worker.guard.notices import NOTICES


@pytest.fixture(autouse=True)
def armed() -> Iterator[None]:
    """Wrappers notice in this process, for the length of a test."""
    NOTICES.arm(fork_mark.make())
    yield
    NOTICES.disarm()
    NOTICES.changed.clear()
    for noted in (descriptors._files, descriptors._gone, descriptors._own, descriptors._lasting):
        noted.clear()


@with_reserve()
def test_the_reserve_may_be_given_up_closed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "close", descriptors._guarded_close)
    inherited = Inherited()
    inherited.remember()
    assert reserve.give_up()
    reserve.restore()
    os.close(reserve.number())  # by an action that closes what it does not know
    assert NOTICES.changed == set()
    assert inherited.put_back() is None


@with_reserve()
def test_a_file_of_the_module_s_that_is_closed_spoils_the_worker() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    inherited = Inherited()
    with no_free_descriptor():
        inherited.remember()
    descriptors._guarded_close(fd)
    assert NOTICES.changed == {"what the module had open"}
    with pytest.raises(Spoiled, match=rf"closed: {fd}\b"):
        inherited.put_back()


def test_without_a_free_descriptor_there_are_no_copies_and_nothing_fails() -> None:
    kind = ProtectedDescriptors()
    with no_free_descriptor():
        kind.remember()
        assert kind.put_back() is None


def closed_by_a_thread_that_was_there(fd: int, closes: Callable[[int], None]) -> Inherited:
    may_go = threading.Event()

    def goes() -> None:
        may_go.wait()
        closes(fd)

    thread = threading.Thread(target=goes)
    thread.start()
    inherited = Inherited()
    inherited.remember()
    may_go.set()
    thread.join()
    return inherited


def test_what_a_resource_s_own_thread_closes_was_its_own() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    inherited = closed_by_a_thread_that_was_there(fd, descriptors._guarded_close)
    assert NOTICES.changed == set()
    assert inherited.put_back() is None
    assert fd not in descriptors._files, "whoever gets that number next may close it"


def test_what_an_action_s_thread_closes_is_everybody_s() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    inherited = Inherited()
    inherited.remember()
    thread = threading.Thread(target=descriptors._guarded_close, args=(fd,))
    thread.start()
    thread.join()
    with pytest.raises(Spoiled, match=f"closed: {fd}$"):
        inherited.put_back()


@pytest.mark.parametrize("noticed", [False, True])
def test_a_standard_descriptor_blocks_again(monkeypatch: pytest.MonkeyPatch, noticed: bool) -> None:
    ends = os.pipe()
    kept = os.dup(1)
    try:
        os.dup2(ends[1], 1)
        kind = ProtectedDescriptors()
        kind.remember()
        (descriptors._noticed_set_blocking if noticed else os.set_blocking)(1, False)
        assert NOTICES.changed == ({kind.name} if noticed else set())
        assert "1 had other flags" in str(kind.put_back())
        assert os.get_blocking(1)
        assert kind.put_back() is None
        descriptors._noticed_set_blocking(ends[0], False)
        assert NOTICES.changed == ({kind.name} if noticed else set()), "nobody else's"
    finally:
        os.dup2(kept, 1)
        for fd in (kept, *ends, *kind._copies.values()):
            os.close(fd)


def closed_unseen(fd: int) -> Inherited:
    inherited = Inherited()
    inherited.remember()
    descriptors._close(fd)
    return inherited


@with_reserve()
def test_a_file_that_is_closed_behind_python_s_back_spoils_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread()])  # as in a worker without threads
    fd = os.open(os.devnull, os.O_RDONLY)
    inherited = closed_unseen(fd)
    assert NOTICES.changed == set()
    with pytest.raises(Spoiled, match=f"closed: {fd}$"):
        inherited.put_back()


@with_reserve()
def test_a_socket_may_be_closed_by_the_library_that_has_it() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        inherited = closed_unseen(ours.detach())
    assert inherited.put_back() is None
