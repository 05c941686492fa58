"""A limit that the daemons of one host share by files in the runtime directory.

    NAME.limit         the state (``host_lease.SharedWindow``), replaced in place (``arbd.host.record``)
    NAME.lock          held (flock) during an exchange
    NAME.KEY.alive     one per daemon, held as long as it lives: the kernel releases it, however the daemon ends

Exchanges take a fraction of a millisecond and wait for each other, but not for long: then they are put off. All times
are of the monotonic clock, which is one for the host; the state of an earlier boot is dropped.

Files may be removed while daemons have them open: by a cleaner of temporary files, with the whole directory, some of
them only. So an exchange that has the lock looks whether the names still lead to the files it holds. If not, it moves:

    holds the lost lock ─> makes the directory, opens and locks what the names lead to now
                        ─> the new state takes over what the lost one knew, which is marked as moved ─> goes on there

The lost files are still there for daemons that have them open. All of these pass through the lost lock, one by one, so
what they leased and started is taken over once, whoever comes first, and they meet at the new files. One that comes so
late that the new ones were lost as well waits for a daemon that knows them, or until what they knew counts no more
(``SharedWindow.awaited``). A daemon whose ``alive`` file is not there counts as living for a while (``MOVING_NS``): it
makes it again when it comes. One that leaves takes itself out of the state; one that was killed leaves a file that
nobody holds.

What cannot be guaranteed: a daemon that *starts* between the loss and the next exchange of one that knew (at most
``PRESENCE_NS`` while any of its starts count) begins with an empty state, and may grant the limit once more. A daemon
that is stopped (SIGSTOP) for longer than ``MOVING_NS`` while its files are lost counts as dead, although its workers
may start what they hold. A state that was overwritten with something else is gone: the first daemon that finds it goes
on with what it saw of it last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from arbd.errors import ConfigError, os_reason
from arbd.host import runtime_dir
from arbd.host.record import RecordFile
from arbd.logs import get_logger
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit.storage.host_lease import Lease, Member, SharedWindow

_DYING_NS: Final = 1_000_000_000  # workers outlive their supervisor by some ms, and may start what they hold
_LOCK_TIMEOUT_S: Final = 0.005
_LOCK_PAUSE_S: Final = 0.0001
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SharedWindow).decode


class FileSource:
    """The source of a limit that is kept in files. Raises ``ConfigError`` if the directory cannot be used."""

    def __init__(self, directory: Path, spec: LimitSpec, provider: str) -> None:
        self._log = get_logger("arbd.limits")
        self._calls = spec.rates.max_requests or 1
        self._member = Member(provider, spec.rates.window_ns)
        self._key = secrets.token_hex(8)
        self._known: bytes | None = None  # the state as this daemon saw it last
        self._says_unreadable = False
        self._stem = directory / f"limit-{_file_name(spec.shared or spec.name)}"
        try:
            with ExitStack() as opened:
                self._boot = _BOOT_ID.read_text().strip()
                self._files = _Files(directory, self._stem)
                opened.callback(self._files.close)
                self._alive = _open(self._alive_path(self._key))
                opened.callback(os.close, self._alive)
                fcntl.flock(self._alive, fcntl.LOCK_EX)
                opened.pop_all()
        except OSError as error:
            raise ConfigError(
                [f"rate limit {spec.name!r} is shared with other daemons, but {os_reason(error)}"]
            ) from error

    def exchange(self, now_ns: int, spent: list[tuple[int, int]], returned: int, want: int) -> Lease | None:
        """Exchange starts under the lock; ``None`` if the lock cannot be had within a moment. Raises ``OSError``."""
        with self._files.locked() as locked:
            if not locked:
                return None
            self._stay_alive()
            state = self._present(now_ns)
            self._drop_dead(state, now_ns)
            lease = state.exchange(self._key, self._calls, now_ns, spent, returned, want)
            self._write(state)
        return lease

    def close(self) -> None:
        """Leave the limit. What is still leased counts as started, as it does after a crash or if this fails."""
        with ExitStack() as closing:
            closing.callback(self._files.close)
            closing.callback(os.close, self._alive)
            with suppress(OSError):
                self._leave()

    def _leave(self) -> None:
        with self._files.locked() as locked:
            if not locked:
                return
            now_ns = time.monotonic_ns()
            state = self._present(now_ns)
            state.drop(self._key, now_ns + _DYING_NS)
            self._write(state)
            self._alive_path(self._key).unlink(missing_ok=True)

    def _alive_path(self, key: str) -> Path:
        return _named(self._stem, f"{key}.alive")

    def _stay_alive(self) -> None:
        """Hold the file that shows other daemons that this one lives, under the name it has now."""
        path = self._alive_path(self._key)
        if _leads_to(path, self._alive):
            return
        alive = _open(path)
        with ExitStack() as failed:
            failed.callback(os.close, alive)
            if not _try_lock(alive):
                raise BlockingIOError(f"{path} is held by somebody else")
            failed.pop_all()
        self._alive, lost = alive, self._alive
        os.close(lost)

    def _present(self, now_ns: int) -> SharedWindow:
        """The state that the name leads to, with the content of lost ones; this daemon is a member."""
        state = self._read(self._files.state)
        if state.moved_to:  # moved away and back; daemons that moved on without it come back, too
            state = self._new()
        # With what it has leased, should the state have been lost. A copy: if the state cannot be written, nothing has
        # changed.
        state.members.setdefault(self._key, replace(self._member))
        for lost in self._files.lost:
            state.take_over(self._read(lost), now_ns)
        return state

    def _read(self, file: RecordFile) -> SharedWindow:
        record = file.read()
        if record is None and file.is_empty():
            return self._new()
        try:
            state = _decode(record or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if not self._says_unreadable:
                self._log.error("shared_limit_unreadable", file=str(self._stem), reason=str(error))
            self._says_unreadable = True
            state = self._new() if self._known is None else _decode(self._known)
        return state if state.boot == self._boot else self._new()

    def _new(self) -> SharedWindow:
        return SharedWindow(self._boot, id=secrets.token_hex(8))

    def _write(self, state: SharedWindow) -> None:
        record = _encode(state)
        self._files.state.write(record)
        # What was granted is granted: nothing fails from here on.
        self._known = record
        self._member = state.members.get(self._key, self._member)
        self._says_unreadable = False
        if self._files.lost:
            self._files.leave_lost(_encode(SharedWindow(self._boot, moved_to=state.id)))
            self._log.warning("shared_limit_moved", limit=str(self._stem), reason="its files were removed or replaced")

    def _drop_dead(self, state: SharedWindow, now_ns: int) -> None:
        for key in [key for key in state.members if key != self._key]:
            path = self._alive_path(key)
            is_held = _is_held(path)
            if is_held is None:
                is_held = state.awaits(key, now_ns)
            if not is_held:
                state.drop(key, now_ns + _DYING_NS)
                with suppress(OSError):  # a file that nobody holds does no harm
                    path.unlink()


class _Files:
    """The lock and the state of one limit, as this daemon has them open. ``lost``: states whose names lead elsewhere by
    now, and whose content the present one may lack."""

    def __init__(self, directory: Path, stem: Path) -> None:
        self._directory = directory
        self._lock_path = _named(stem, "lock")
        self._state_path = _named(stem, "limit")
        self.lost: list[RecordFile] = []
        self._lock = self._open_lock()
        try:
            # Now, not on first use: only a daemon that has it open can read it when it is lost.
            self.state = RecordFile(_open(self._state_path))
        except OSError:
            os.close(self._lock)
            raise

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Take the lock for the block; yields whether it could be had within ``_LOCK_TIMEOUT_S``. Raises ``OSError``. A
        daemon that is stopped may hold it for long, and must not stop this one as well: only exchanges depend on it."""
        locked = self._enter(time.monotonic() + _LOCK_TIMEOUT_S)
        try:
            yield locked
        finally:
            if locked:
                self._leave()

    def leave_lost(self, mark: bytes) -> None:
        """Mark the lost states as taken over, and close them. The next daemon merges one that cannot be marked."""
        while self.lost:
            lost = self.lost.pop()
            with suppress(OSError):
                lost.write(mark)
            with suppress(OSError):
                lost.close()

    def close(self) -> None:
        """Close all files."""
        with ExitStack() as closing:
            for file in (*self.lost, self.state):
                closing.callback(file.close)
            if self._lock >= 0:
                closing.callback(os.close, self._lock)

    def _enter(self, give_up_at: float) -> bool:
        if self._lock < 0:
            self._lock = self._open_lock()
        if not _lock_until(self._lock, give_up_at):
            return False
        with ExitStack() as failed:
            failed.callback(self._leave)
            if not _leads_to(self._lock_path, self._lock) and not self._move(give_up_at):
                return False
            if not _leads_to(self._state_path, self.state.fd):
                state = RecordFile(_open(self._state_path))
                self.lost.append(self.state)
                self.state = state
            failed.pop_all()
        return True

    def _leave(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        except OSError:  # closing lets go of it as well; what was done is done
            lock, self._lock = self._lock, -1
            with suppress(OSError):
                os.close(lock)

    def _move(self, give_up_at: float) -> bool:
        """Lock the file that the name leads to now, and only then close the lost one."""
        lock = self._open_lock()
        with ExitStack() as failed:
            failed.callback(os.close, lock)
            # The second look: it may have been removed once more. Then nothing is done this time.
            if not _lock_until(lock, give_up_at) or not _leads_to(self._lock_path, lock):
                return False
            failed.pop_all()
        self._lock, lost = lock, self._lock
        with suppress(OSError):
            os.close(lost)
        return True

    def _open_lock(self) -> int:
        runtime_dir.prepare(self._directory, os.geteuid())
        return _open(self._lock_path)


def _named(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _leads_to(path: Path, fd: int) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_held(path: Path) -> bool | None:
    """Whether a living daemon holds this file; ``None`` if there is no file."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _lock_until(fd: int, give_up_at: float) -> bool:
    while not (locked := _try_lock(fd)) and time.monotonic() < give_up_at:
        time.sleep(_LOCK_PAUSE_S)
    return locked


def _try_lock(fd: int) -> bool:
    """Lock a file unless another process has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_name(name: str) -> str:
    """A file name for a limit; different names give different files."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
