"""What only code in C changes: put back attribute by attribute, or said to be lost."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from arbd.worker.guard import kernel
from arbd.worker.guard.kernel import FloatingPoint, KernelAttribute, KernelAttributes
from arbd.worker.guard.kinds import Spoiled


class Kernel:
    """Keeps two numbers, one of which it never changes back."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {"a slack": 1, "a right": True}

    def attributes(self) -> tuple[KernelAttribute, ...]:
        return (
            KernelAttribute(
                "a slack", lambda: self.kept["a slack"], lambda value: self.kept.update({"a slack": value})
            ),
            KernelAttribute("a right", lambda: self.kept["a right"], None),
        )


@pytest.fixture
def keeps() -> Kernel:
    return Kernel()


@pytest.fixture
def kind(keeps: Kernel) -> KernelAttributes:
    kind = KernelAttributes(keeps.attributes())
    kind.remember()
    return kind


def test_nothing_changed(kind: KernelAttributes) -> None:
    assert kind.put_back() is None


def test_what_can_be_put_back_is(kind: KernelAttributes, keeps: Kernel) -> None:
    keeps.kept["a slack"] = 7
    assert kind.put_back() == "a slack"
    assert keeps.kept["a slack"] == 1
    assert kind.put_back() is None


def test_what_is_lost_is_named(kind: KernelAttributes, keeps: Kernel) -> None:
    keeps.kept |= {"a slack": 7, "a right": False}
    with pytest.raises(Spoiled, match="a right cannot be put back"):
        kind.put_back()
    assert keeps.kept["a slack"] == 1


def test_the_attributes_of_this_process_can_be_read() -> None:
    kind = kernel.kinds()[0]
    kind.remember()
    assert kind.put_back() is None


@pytest.mark.parametrize(("is_loaded", "told", "rounds"), [(False, "", 0), (True, None, 0x800)])
def test_how_it_calculates_is_put_back_but_where_a_library_was_loaded(
    monkeypatch: pytest.MonkeyPatch, is_loaded: bool, told: str | None, rounds: int
) -> None:
    monkeypatch.setattr(kernel, "is_any_new", lambda: is_loaded)
    libm, kind = ctypes.CDLL("libm.so.6"), FloatingPoint()
    kind.remember()
    libm.fesetround(0x800)
    try:
        assert kind.put_back() == told
        assert libm.fegetround() == rounds
        assert kind.put_back() is None
    finally:
        libm.fesetround(0)


def test_what_calculations_raise_is_no_change() -> None:
    kind = FloatingPoint()
    kind.remember()
    ctypes.CDLL("libm.so.6").feraiseexcept(4)
    assert kind.put_back() is None
