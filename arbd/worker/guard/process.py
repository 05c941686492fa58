"""The kinds of state that the kernel keeps for the process: directory, umask, limits, CPUs; and the environment."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.modules import is_any_new
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace

_chdir, _umask, _setrlimit, _tzset = os.chdir, os.umask, resource.setrlimit, time.tzset
_LIMITS: Final = {
    name: getattr(resource, name)
    for name in (
        *("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK"),
        *("RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_CORE", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
        *("RLIMIT_NICE", "RLIMIT_RTPRIO"),
    )
}

#: Functions after which the process is another one, in the eyes of the kernel.
_CREDENTIALS: Final = (
    *("setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid"),
    *("setgroups", "initgroups", "chroot", "setpgid", "setpgrp", "setsid", "unshare", "setns"),
)


#: Those in which others would miss the network, or files.
_NAMESPACES: Final = ("/proc/self/ns/net", "/proc/self/ns/mnt")


def kinds() -> list[StateKind]:
    """All of them, in the order in which they are put back."""
    return [
        StateKind(
            "the working directory",
            _cwd,
            _chdir,
            look="quick",
            changed_by=((os, "chdir"), (os, "fchdir")),
            describe=lambda _, after: f"it was {os.fsdecode(after)}" if after else "it was removed",
        ),
        _Umask(),
        Environment(),
        StateKind(
            "the time zone",
            lambda: (time.timezone, time.altzone, time.daylight, time.tzname, _timezone_in_c.value),
            lambda _: _tzset(),  # by the environment, which is put back before
            look="full",
            changed_by=((time, "tzset"),),
        ),
        StateKind(
            "the resource limits",
            _limits,
            _restore_limits,
            look="full",
            changed_by=((resource, "setrlimit"), (resource, "prlimit")),
            describe=_changed_limits,
        ),
        StateKind(
            "the CPUs it may use",
            lambda: os.sched_getaffinity(0),
            lambda before: _sched_setaffinity(0, before),
            look="full",
            changed_by=((os, "sched_setaffinity"),),
            describe=lambda _, after: f"they were {sorted(after)}",
        ),
        StateKind(
            "the scheduling policy",
            lambda: (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority),
            lambda before: _sched_setscheduler(0, before[0], os.sched_param(before[1])),
            look="full",
            changed_by=((os, "sched_setscheduler"), (os, "sched_setparam")),
        ),
        StateKind(
            "the niceness",
            lambda: os.getpriority(os.PRIO_PROCESS, 0),
            lambda before: _setpriority(os.PRIO_PROCESS, 0, before),
            look="full",
            changed_by=((os, "nice"), (os, "setpriority")),
            describe=lambda _, after: f"it was {after}",
        ),
        StateKind(
            "the process's owner, groups, root or namespaces",
            _credentials,
            _cannot,
            look="full",
            changed_by=tuple((os, name) for name in _CREDENTIALS),
        ),
    ]


_sched_setaffinity, _sched_setscheduler, _setpriority = os.sched_setaffinity, os.sched_setscheduler, os.setpriority


class _Umask(StateKind):
    """The umask can only be read by setting it: so it is set to what it should be, in one call. Not to something else
    in between, with which another thread could make a file for everybody."""

    def __init__(self) -> None:
        super().__init__("the umask", lambda: 0, _umask, look="quick", changed_by=((os, "umask"),))

    def remember(self) -> None:
        self._baseline = _umask(0o077)
        _umask(self._baseline)

    def put_back(self) -> str | None:
        now = _umask(self._baseline)
        return None if now == self._baseline else f"it was {now:03o}"


class Environment(StateKind):
    """The environment: ``os.environ``, and what ``os.putenv``, ``os.unsetenv`` and code in C change beside it, which
    only child processes and code in C see. What code in C sets stays where a module was loaded meanwhile: its own."""

    name = "the environment"

    def __init__(self) -> None:
        super().__init__(
            self.name, lambda: dict(os.environ), _restore_environment, look="full", adopts=True, describe=_changed_names
        )
        self._in_c: dict[bytes, bytes] = {}
        self._pointers: tuple[int | None, bytes] = (None, b"")

    def remember(self) -> None:
        _touched.clear()
        super().remember()
        self._in_c = _all_in_c()
        self._pointers = _pointers((len(self._in_c) + 1) * _POINTER_BYTES)

    def put_back(self) -> str | None:
        is_same = os.environ is _environ and os.environb is _environb
        if is_same and not _touched and _pointers(len(self._pointers[1])) == self._pointers:
            return None
        os.environ, os.environb = _environ, _environb
        told = super().put_back()
        hidden = self._put_back_in_c()
        if not is_same and told is None:
            told = "os.environ was another object"
        return ", ".join(os.fsdecode(name) for name in sorted(hidden)[:20]) if told is None and hidden else told

    def _put_back_in_c(self) -> list[bytes]:
        """Have C see what it saw; the names of which it saw another thing."""
        now = _all_in_c()
        if is_any_new():
            names = {name for name in _touched if now.get(name) != os.environb.get(name)}
            wanted = {name: os.environb[name] for name in names if name in os.environb}
        else:
            names = {name for name in now.keys() | self._in_c.keys() if now.get(name) != self._in_c.get(name)}
            wanted = self._in_c
        for name in names:
            if name in wanted:
                _putenv(name, wanted[name])
            else:
                _unsetenv(name)
        baseline = self._baseline
        self.remember()
        self._baseline = baseline
        return list(names)


def install() -> None:
    """Put wrappers in the place of the functions that change the environment; ``os.environ`` calls them, too."""
    putenv: Any = None
    unsetenv: Any = None

    def put(name: Any, value: Any, /) -> None:
        putenv(name, value)
        _touches(name)

    def unset(name: Any, /) -> None:
        unsetenv(name)
        _touches(name)

    putenv, unsetenv = replace(os, "putenv", put), replace(os, "unsetenv", unset)


def _touches(name: Any) -> None:
    if NOTICES.is_armed:
        _touched.add(os.fsencode(name))
        NOTICES.changes(Environment.name)


def _pointers(size: int) -> tuple[int | None, bytes]:
    """Where the array of C's environment is, and what is in it: C sets a variable by another pointer."""
    at = _array.value
    return at, b"" if at is None else ctypes.string_at(at, size)


def _all_in_c() -> dict[bytes, bytes]:
    """The environment as C has it."""
    found: dict[bytes, bytes] = {}
    if _array.value is not None:
        texts = ctypes.cast(_array.value, ctypes.POINTER(ctypes.c_char_p))
        place = 0
        while (text := texts[place]) is not None:
            name, sign, value = text.partition(b"=")
            if sign:
                found.setdefault(name, value)  # the first counts
            place += 1
    return found


_POINTER_BYTES: Final = ctypes.sizeof(ctypes.c_void_p)
_array: Final = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
_timezone_in_c: Final = ctypes.c_long.in_dll(ctypes.CDLL(None), "timezone")
_touched: set[bytes] = set()
_putenv, _unsetenv = os.putenv, os.unsetenv
_environ, _environb = os.environ, os.environb


def _cwd() -> bytes | None:
    try:
        return os.getcwdb()
    except OSError:  # it was removed
        return None


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _changed_names(before: dict[str, str], after: dict[str, str]) -> str:
    """Names only: values may be secrets."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:20])


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _LIMITS.values()))


def _restore_limits(before: list[tuple[int, int]]) -> None:
    for number, limit in zip(_LIMITS.values(), before, strict=True):
        if resource.getrlimit(number) != limit:
            _setrlimit(number, limit)


def _changed_limits(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> str:
    changes = zip(_LIMITS, before, after, strict=True)
    return ", ".join(f"{name} was {now}" for name, then, now in changes if then != now)


def _credentials() -> tuple[Any, ...]:
    root = os.stat("/")
    owner = (os.getresuid(), os.getresgid(), os.getgroups(), os.getpgid(0), os.getsid(0))
    return (*owner, root.st_dev, root.st_ino, *map(_namespace, _NAMESPACES))


def _namespace(name: str) -> str:
    try:
        return os.readlink(name)
    except OSError:  # /proc is not there, or not this process's to read
        return ""


def _cannot(_: Any) -> None:
    raise OSError("the kernel does not allow the way back")
