"""The watcher: ``arbd:watch``, one small process beside each zygote, for the case that the zygote is killed.

    zygote has ended ───────────────────────────────────> kill whatever has a tag of its generation, and leave
    supervisor has ended, and the zygote does not end ──> kill the zygote, then the same

What a zygote's workers started ends with the zygote where that ends in order, and is the supervisor's to end where only
the zygote was killed. If both are killed at one moment, or the zygote is stopped while the supervisor is killed, nobody
else is left who would know: descendants of theirs have become children of some process outside.

It is forked before the author's code is imported, and twice, so that it is no child of the zygote. It holds no
descriptor but two handles and the standard ones, and sleeps until one of the two ends.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Final, NoReturn

from arbd import logs
from arbd.host import children, procs, tags
from arbd.host.orphans import TRACKER_S
from arbd.host.tags import Tag

ZYGOTE_END_S: Final = 4.0  # longer than a zygote takes to end what its workers have started
_SWEEP_S: Final = 5.0
_TURN_S: Final = 0.005
_CLEAN_TURNS: Final = 2  # a process that forks while it is looked for is found by the second look


def start(generation: int, supervisor: int) -> None:
    """Start the watcher of this process, a zygote. Where there is none to be had, that is logged."""
    zygote = os.getpid()
    try:
        helper, pidfd = procs.fork(lambda: _fork_again(zygote, supervisor, generation))
    except OSError as error:
        logs.get_logger("arbd.zygote").warning("no_watcher", reason=error.strerror or str(error))
        return
    os.close(pidfd)
    procs.wait(helper)


def _fork_again(zygote: int, supervisor: int, generation: int) -> NoReturn:
    zygote_handle = os.pidfd_open(zygote)
    try:
        supervisor_handle = os.pidfd_open(supervisor)
    except ProcessLookupError:  # it has ended, and the kernel is about to kill the zygote for it
        supervisor_handle = zygote_handle
    if os.fork() == 0:
        _watch(zygote_handle, supervisor_handle, generation)
    os._exit(0)


def _watch(zygote: int, supervisor: int, generation: int) -> NoReturn:
    procs.set_name("arbd:watch")
    try:
        tags.put_on(Tag(generation, tags.WATCH))
    except OSError:  # then nothing else has one either, and this process only sees to the zygote's end
        pass
    _close_all_but({0, 1, 2, zygote, supervisor})
    wait(zygote, supervisor)
    sweep(generation)
    os._exit(0)


def _close_all_but(kept: set[int]) -> None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:  # the descriptor of the listing
                pass


def wait(zygote: int, supervisor: int, zygote_end_s: float = ZYGOTE_END_S) -> None:
    """Return when the zygote has ended; it is killed if it does not end in time after the supervisor."""
    poll = select.poll()
    poll.register(zygote, select.POLLIN)
    poll.register(supervisor, select.POLLIN)
    poll.poll()
    procs.wait_gone(zygote, zygote_end_s)
    procs.kill(zygote)
    procs.wait_gone(zygote, zygote_end_s)


def sweep(
    generation: int,
    *,
    everybody: Callable[[], list[int]] = children.everybody,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Kill every process that has a tag of this generation, until there is none."""
    begun_at = clock()
    clean = 0
    while clean < _CLEAN_TURNS and clock() - begun_at < _SWEEP_S:
        spare_trackers = clock() - begun_at < TRACKER_S
        alive = [_end(pid, generation, spare_trackers) for pid in everybody() if _is_of(pid, generation)]
        clean = 0 if any(alive) else clean + 1
        sleep(_TURN_S)


def _is_of(pid: int, generation: int) -> bool:
    tag = tags.of(pid)
    return tag is not None and tag.generation == generation and tag.worker != tags.WATCH


def _end(pid: int, generation: int, spare_trackers: bool) -> bool:
    """Kill one of them; whether it had not ended before."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not _is_of(pid, generation) or _has_ended(pidfd):  # now it is the one that the handle is of
            return False
        if not (spare_trackers and children.is_resource_tracker(pid)):
            procs.kill(pidfd)
        return True
    except PermissionError:  # it runs as another user now
        return False
    finally:
        os.close(pidfd)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
