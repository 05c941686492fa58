"""A limit that the daemons of one host share: its state is a file in the runtime directory.

    NAME.limit         the state (``arbd.rate_limit.lease.SharedWindow``); replaced whole, so a daemon that dies while
                       it writes leaves the state of before
    NAME.lock          held (flock) during an exchange
    NAME.KEY.alive     one per daemon, held as long as it lives: the kernel lets go of it, whatever the daemon died of

Exchanges take a fraction of a millisecond and wait for each other, but not for long: then they are put off. All times
are of the monotonic clock, which is one for the host; the state of an earlier boot is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from arbd.errors import ConfigError
from arbd.host import runtime_dir
from arbd.logs import get_logger
from arbd.rate_limit.lease import Lease, Member, SharedWindow
from arbd.rate_limit.spec import LimitSpec

_DYING_NS: Final = 1_000_000_000  # workers outlive their supervisor by some milliseconds, and may start what they hold
_LOCK_TIMEOUT_S: Final = 0.005
_LOCK_PAUSE_S: Final = 0.0001
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class FileSource:
    """This daemon's way to a shared limit. Raises ``ConfigError`` if the directory cannot be used."""

    def __init__(self, directory: Path, spec: LimitSpec, provider: str) -> None:
        self._log = get_logger("arbd.limits")
        self._calls = spec.rates.max_requests or 1
        self._member = Member(provider, round((spec.rates.window_size or 1.0) * 1e9))
        self._boot = _BOOT_ID.read_text().strip()
        self._key = secrets.token_hex(8)
        self._stem = directory / f"limit-{_file_name(spec.shared or spec.name)}"
        try:
            runtime_dir.prepare(directory, os.geteuid())
            self._lock = _open(self._path("lock"))
            self._alive = _open(self._path(f"{self._key}.alive"))
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
            raise ConfigError([f"rate limit {spec.name!r} is shared with other daemons, but {reason}"]) from error
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease | None:
        """See ``arbd.rate_limit.lease.Source``."""
        with self._locked() as locked:
            if not locked:
                return None
            state = self._read()
            self._drop_dead(state, now_ns)
            lease = state.exchange(self._key, self._calls, now_ns, spent, returned, want)
            self._write(state)
        self._member = state.members[self._key]
        return lease

    def close(self) -> None:
        """Leave. What is still leased counts as started, as after a crash."""
        self._path(f"{self._key}.alive").unlink(missing_ok=True)
        os.close(self._alive)
        os.close(self._lock)

    def _path(self, suffix: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{suffix}")

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the lock could be had within a moment. A daemon that is stopped may hold it for long, and must not
        stop this one as well: nothing but exchanges depends on it."""
        give_up_at = time.monotonic() + _LOCK_TIMEOUT_S
        while not (locked := _try_lock(self._lock)) and time.monotonic() < give_up_at:
            time.sleep(_LOCK_PAUSE_S)
        try:
            yield locked
        finally:
            if locked:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _read(self) -> SharedWindow:
        state = None
        try:
            state = msgspec.msgpack.decode(self._path("limit").read_bytes(), type=SharedWindow)
        except FileNotFoundError:
            pass
        except msgspec.MsgspecError as error:
            self._log.error("shared_limit_unreadable", file=str(self._path("limit")), reason=str(error))
        if state is None or state.boot != self._boot:
            state = SharedWindow(self._boot)
        state.members.setdefault(self._key, self._member)  # with what it has leased, should the file have been lost
        return state

    def _write(self, state: SharedWindow) -> None:
        new = self._path("new")
        new.write_bytes(msgspec.msgpack.encode(state))
        new.replace(self._path("limit"))

    def _drop_dead(self, state: SharedWindow, now_ns: int) -> None:
        for key in [key for key in state.members if key != self._key]:
            path = self._path(f"{key}.alive")
            if not _is_held(path):
                state.drop(key, now_ns + _DYING_NS)
                path.unlink(missing_ok=True)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_held(path: Path) -> bool:
    """Whether a daemon that lives holds this file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    """Take the lock of this file, if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_name(name: str) -> str:
    """A name for a file; two limits get the same one only if they are called the same."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
