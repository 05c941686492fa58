"""ProtectedDescriptors: arbd's own cannot be closed by Python code, and 0 to 2 are put back.

    os.close, os.closerange, os.dup2 on one of arbd's own     refused, as if it were not open (EBADF)
    one of arbd's own is gone or another file, all the same   code in C did it: the worker is replaced
    0, 1, 2 lead elsewhere at the end of a task               put back from copies
    0, 1, 2 do not block, or append, or are not inherited     put back
    what was open before the first task is closed             an action has closed what others share: replaced;
                                                              not if a thread did that was there before as well
    it is closed, or another file, by code in C               the same, at the next full look; sockets are left out,
                                                              whose libraries connect anew, and where threads were
                                                              there before, whose own it may have been
    the reserve (arbd.host.reserve) is closed                 arbd does that itself, and can do without it

In a forked child nothing is refused: it may close what it likes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
import weakref
from itertools import islice
from typing import Any, Final

from arbd.host import descriptors, reserve
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace

_STANDARD: Final = (0, 1, 2)
_MOST_LASTING: Final = 64  # looked at: half a microsecond each
_close, _dup2, _closerange = os.close, os.dup2, os.closerange
_set_blocking, _set_inheritable = os.set_blocking, os.set_inheritable

_own: set[int] = set()
_files: dict[int, tuple[int, int]] = {}
"""What was open before the first task, and is not arbd's own. Without the reserve."""
_lasting: list[int] = []
"""Those of them that nothing but an action's code closes: files, devices, pipes."""
_gone: set[int] = set()
"""Those of them that an action has closed."""
_others: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""The threads that were there before the first task, without the main one, which runs the actions."""


def kinds() -> list[StateKind]:
    """Both of them."""
    return [ProtectedDescriptors(), Inherited()]


def install() -> None:
    """Put wrappers in the place of the functions that close descriptors."""
    replace(os, "close", _guarded_close)
    replace(os, "closerange", _guarded_closerange)
    replace(os, "dup2", _guarded_dup2)
    replace(socket, "close", _guarded_close)
    replace(os, "set_blocking", _noticed_set_blocking)
    replace(os, "set_inheritable", _noticed_set_inheritable)


def protect(*fds: int) -> None:
    """Refuse to have these closed."""
    _own.update(fds)


def _guarded_close(fd: int) -> None:
    if fd in _own or fd in _files:
        _closes(fd)
    _close(fd)


def _guarded_dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    if fd2 in _own or fd2 in _files:
        _closes(fd2)
    return _dup2(fd, fd2, inheritable)


def _noticed_set_blocking(fd: int, blocking: bool, /) -> None:
    _set_blocking(fd, blocking)
    if fd in _STANDARD:
        NOTICES.changes(ProtectedDescriptors.name)


def _noticed_set_inheritable(fd: int, inheritable: bool, /) -> None:
    _set_inheritable(fd, inheritable)
    if fd in _STANDARD:
        NOTICES.changes(ProtectedDescriptors.name)


def _guarded_closerange(fd_low: int, fd_high: int, /) -> None:
    if not NOTICES.is_armed:
        _closerange(fd_low, fd_high)
        return
    for fd in [fd for fd in _files if fd_low <= fd < fd_high]:
        _closes(fd)
    begin = fd_low
    for own in sorted(fd for fd in _own if fd_low <= fd < fd_high):
        _closerange(begin, own)
        begin = own + 1
    _closerange(begin, fd_high)


def _closes(fd: int) -> None:
    """Refuse one of arbd's own; notice one that others share, if it is still the same file."""
    if not NOTICES.is_armed:
        return
    if fd in _own:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if fd in _STANDARD:
        NOTICES.changes(ProtectedDescriptors.name)
    elif _file(fd) == _files[fd]:
        if threading.current_thread() in _others:  # a resource's own, which closes what is its own
            del _files[fd]
            return
        _gone.add(fd)
        NOTICES.changes(Inherited.name)


class ProtectedDescriptors(StateKind):
    """Which file stands behind the standard descriptors, and behind those that are arbd's own."""

    name = "the standard descriptors"

    def __init__(self) -> None:
        super().__init__(self.name, _nothing, _nothing, look="full")
        self._looked_at: dict[int, tuple[int, int] | None] = {}
        self._copies: dict[int, int] = {}
        self._flags: dict[int, tuple[int, int] | None] = {}

    def remember(self) -> None:
        for copy in self._copies.values():
            _own.discard(copy)
            _close(copy)
        copies = {fd: _copy(fd) for fd in _STANDARD}
        self._copies = {fd: copy for fd, copy in copies.items() if copy is not None}
        self._looked_at = {fd: _file(fd) for fd in (*_STANDARD, *_own)}
        self._flags = {fd: _flags(fd) for fd in _STANDARD}
        _own.update(self._copies.values())

    def put_back(self) -> str | None:
        wrong = [fd for fd, file in self._looked_at.items() if _file(fd) != file]
        for fd in wrong:
            copy = self._copies.get(fd, -1)
            if _file(copy) != self._looked_at[fd]:
                raise Spoiled(f"descriptor {fd}, which the worker needs, was closed or is another file now")
            _dup2(copy, fd)
        told = [f"{', '.join(map(str, wrong))} led elsewhere"] if wrong else []
        other = {fd: flags for fd, flags in self._flags.items() if flags is not None and _flags(fd) != flags}
        for fd, (of_file, of_descriptor) in other.items():
            fcntl.fcntl(fd, fcntl.F_SETFL, of_file)
            fcntl.fcntl(fd, fcntl.F_SETFD, of_descriptor)
        if other:
            told.append(f"{', '.join(map(str, other))} had other flags, such as not blocking")
        return "; ".join(told) or None


class Inherited(StateKind):
    """What else was open before the first task: the module's files, the connections of resources."""

    name = "what the module had open"

    def __init__(self) -> None:
        super().__init__(self.name, _nothing, _nothing, look="full")

    def remember(self) -> None:
        _gone.clear()
        _files.clear()
        _lasting.clear()
        _others.clear()
        _others.update(thread for thread in threading.enumerate() if thread is not threading.main_thread())
        for fd in descriptors.numbers():
            file = _file(fd)
            if file is not None and fd not in _own and fd != reserve.number():
                _files[fd] = file
        if not _others:
            _lasting.extend(fd for fd in islice(_files, _MOST_LASTING) if fd not in _STANDARD and _lasts(fd))

    def put_back(self) -> str | None:
        gone = sorted(fd for fd in {*_gone, *_lasting} if _file(fd) != _files.get(fd))
        _gone.clear()
        if gone:
            raise Spoiled(f"descriptors that were open before the first task are closed: {', '.join(map(str, gone))}")
        return None


def _lasts(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_IFMT(mode) not in (stat.S_IFSOCK, 0)  # 0: what an event loop waits with


def _copy(fd: int) -> int | None:
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:  # it is closed, or there is no free number: it cannot be put back then
        return None


def _flags(fd: int) -> tuple[int, int] | None:
    """Those of the file, and those of the descriptor, which say whether child processes have it."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL), fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return None


def _file(fd: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _nothing(_: Any = None) -> None:
    """These kinds read and write by their own methods."""
