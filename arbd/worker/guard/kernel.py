"""What the kernel and the processor keep for a process, and Python has no function for: only code in C changes it, so a
full look is all that finds it.

    the signal at the parent's death, who adopts grandchildren, dumps, the
    persona, the priority of input and output, the arithmetic of floating point    put back
    no new privileges, system calls that are forbidden, capabilities that are gone the worker is replaced

The parent's death: without it a worker would outlive its zygote. The arithmetic: another rounding falsifies results,
and a trap ends whoever divides by zero next. What a library in C sets there when it is loaded is its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.modules import is_any_new

_libc: Final = ctypes.PyDLL(None)  # the GIL is kept, and no types are given: a third of the time
_prctl, _syscall, _personality, _capget = _libc.prctl, _libc.syscall, _libc.personality, _libc.capget
_IOPRIO_SET: Final = 251  # on x86-64
_IOPRIO_GET: Final = 252
_THIS_PROCESS: Final = 1
_ASK: Final = ctypes.c_ulong(0xFFFFFFFF)  # not -1: a filter of system calls compares all 64 bits
_number: Final = ctypes.c_int()
_to_number: Final = ctypes.byref(_number)
_capabilities_asked: Final = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
_capabilities: Final = (ctypes.c_uint32 * 6)()


class KernelAttribute(NamedTuple):
    """One of them: what it is for people, how it is read, and set; ``None``: the kernel does not allow that."""

    name: str
    read: Callable[[], Any]
    set: Callable[[Any], object] | None


def _by_value(name: str, get: int, put: int | None) -> KernelAttribute:
    return KernelAttribute(
        name, lambda: _prctl(get, 0, 0, 0, 0), None if put is None else lambda value: _prctl(put, value, 0, 0, 0)
    )


def _by_pointer(name: str, get: int, put: int) -> KernelAttribute:
    def read() -> int:
        _prctl(get, _to_number)
        return _number.value

    return KernelAttribute(name, read, lambda value: _prctl(put, value, 0, 0, 0))


def _read_capabilities() -> bytes:
    _capget(_capabilities_asked, _capabilities)
    return bytes(_capabilities)


_ATTRIBUTES: Final = (
    _by_pointer("the signal at the parent's death", 2, 1),
    _by_pointer("who adopts grandchildren", 37, 36),
    _by_value("whether it may be dumped", 3, 4),
    KernelAttribute("the persona", lambda: _personality(_ASK), _personality),
    KernelAttribute(
        "the priority of input and output",
        lambda: _syscall(_IOPRIO_GET, _THIS_PROCESS, 0),
        lambda value: _syscall(_IOPRIO_SET, _THIS_PROCESS, 0, value),
    ),
    _by_value("no new privileges", 39, None),
    _by_value("which system calls are forbidden", 21, None),
    KernelAttribute("the capabilities", _read_capabilities, None),
)


def kinds() -> list[StateKind]:
    """Both of them, in the order in which they are put back."""
    return [KernelAttributes(), FloatingPoint()]


class KernelAttributes(StateKind):
    """What the kernel keeps. A few tenths of a microsecond for each."""

    name = "what the kernel keeps for the process"

    def __init__(self, attributes: tuple[KernelAttribute, ...] = _ATTRIBUTES) -> None:
        super().__init__(self.name, lambda: [each.read() for each in attributes], lambda _: None, look="full")
        self._attributes = attributes

    def put_back(self) -> str | None:
        now = self._read()
        if now == self._baseline:
            return None
        changed = [
            (each, was) for each, was, is_ in zip(self._attributes, self._baseline, now, strict=True) if was != is_
        ]
        for each, was in changed:
            if each.set is not None:
                each.set(was)
            if each.read() != was:
                raise Spoiled(f"{each.name} cannot be put back")
        return ", ".join(each.name for each, _ in changed)


# -- floating point ----------------------------------------------------------------------------------------------------

_libm: Final = ctypes.CDLL("libm.so.6")
_fegetenv, _fesetenv = _libm.fegetenv, _libm.fesetenv
_fegetenv.argtypes = _fesetenv.argtypes = [ctypes.c_void_p]
_ENVIRONMENT_BYTES: Final = 32  # on x86-64: the control word of the x87 first, that of SSE last
_RAISED_SO_FAR: Final = 0x3F  # flags that calculations raise
_environment: Final = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
_at_environment: Final = ctypes.addressof(_environment)


def _arithmetic() -> tuple[bytes, int]:
    """How it rounds, what it traps, whether it knows numbers close to zero."""
    _fegetenv(_at_environment)
    found = _environment.raw
    return found[:2], int.from_bytes(found[28:], "little") & ~_RAISED_SO_FAR


class FloatingPoint(StateKind):
    """The arithmetic of the main thread, which runs the actions."""

    name = "the arithmetic of floating point"

    def __init__(self) -> None:
        super().__init__(self.name, _arithmetic, lambda _: None, look="full")
        self._whole = b""

    def remember(self) -> None:
        super().remember()
        self._whole = _environment.raw

    def put_back(self) -> str | None:
        if self._read() == self._baseline:
            return None
        if is_any_new():
            self.remember()
            return None
        saved = ctypes.create_string_buffer(self._whole, _ENVIRONMENT_BYTES)
        _fesetenv(ctypes.addressof(saved))
        return "" if self._read() == self._baseline else _cannot()


def _cannot() -> str:
    raise Spoiled(f"{FloatingPoint.name} cannot be put back")
