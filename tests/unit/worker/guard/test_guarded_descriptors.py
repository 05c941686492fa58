"""What the module had open is watched; the reserve, which arbd itself closes, is not."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
    for noted in (descriptors._files, descriptors._gone, descriptors._own):
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
    with pytest.raises(Spoiled, match=f"closed: {fd}$"):
        inherited.put_back()


def test_without_a_free_descriptor_there_are_no_copies_and_nothing_fails() -> None:
    kind = ProtectedDescriptors()
    with no_free_descriptor():
        kind.remember()
        assert kind.put_back() is None
