"""The watcher: ``arbd:watch``, a small process beside the first zygote, for the case that others are killed.

    the zygote has ended ─────> kill what has a tag of its generation
    the supervisor has ended ─> kill what has a tag of its daemon, zygotes included; but one that lives and is not stuck
                                ends that itself, and has ``ZYGOTE_END_S`` for it

What a zygote's workers started ends with the zygote where that ends in order, and is the supervisor's to end where only
the zygote was killed. If both are killed at one moment, or the zygote is stopped while the supervisor is killed, nobody
else is left who would know: descendants of theirs have become children of some process outside.

It is forked before the author's code is imported, and twice, while neither zygote nor supervisor is a subreaper: so it
is no descendant of the daemon's, and survives if all of those are killed. Zygotes that come later need none. It holds
no descriptor but two handles and the standard ones, and sleeps until one of the two ends.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Final, NoReturn

from arbd import logs
from arbd.host import children, process_title, procs, tags
from arbd.host.orphans import TRACKER_S
from arbd.host.tags import Tag
from arbd.ipc.zygote_protocol import Watched

ZYGOTE_END_S: Final = 4.0  # longer than a zygote takes to end what its workers have started
_SWEEP_S: Final = 5.0
_TURN_S: Final = 0.005
_CLEAN_TURNS: Final = 2  # a process that forks while it is looked for is found by the second look


def start(generation: int, supervisor: int, watched: Watched) -> None:
    """Start the watcher of this process, a zygote, or of the whole daemon. Where there is none to be had, that is
    logged."""
    zygote = os.getpid()
    try:
        helper, pidfd = procs.fork(lambda: _fork_again(zygote, supervisor, generation, watched))
    except OSError as error:
        logs.get_logger("arbd.zygote").warning("no_watcher", reason=error.strerror or str(error))
        return
    os.close(pidfd)
    procs.wait(helper)


def _fork_again(zygote: int, supervisor: int, generation: int, watched: Watched) -> NoReturn:
    zygote_handle = os.pidfd_open(zygote)
    try:
        supervisor_handle = os.pidfd_open(supervisor)
    except ProcessLookupError:  # it has ended, and the kernel is about to kill the zygote for it
        supervisor_handle = zygote_handle
    if os.fork() == 0:
        _run(zygote_handle, supervisor_handle, generation, watched)
    os._exit(0)


def _run(zygote: int, supervisor: int, generation: int, watched: Watched) -> NoReturn:
    process_title.set_title("arbd:watch")
    try:
        tags.put_on(Tag(generation, tags.WATCH))
    except OSError:  # then nothing else has one either, and this process finds nobody
        pass
    _close_all_but({0, 1, 2, zygote, supervisor})
    watch(zygote, supervisor, generation, watched)
    os._exit(0)


def _close_all_but(kept: set[int]) -> None:
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:  # the descriptor of the listing
                pass


def watch(zygote: int, supervisor: int, generation: int, watched: Watched) -> None:
    """Return when everything has ended that is to be watched, and nothing of it is left."""
    poll = select.poll()
    poll.register(zygote, select.POLLIN)
    poll.register(supervisor, select.POLLIN)
    if supervisor not in [fd for fd, _ in poll.poll()]:
        sweep(lambda tag: tag.generation == generation)
        if watched == "zygote":
            return
        procs.wait_gone(supervisor)
    sweep(
        lambda tag: tags.are_of_one_daemon(tag.generation, generation),
        zygotes_have_s=ZYGOTE_END_S,
        has_zygote=lambda other: other != generation or not _has_ended(zygote),
    )


def sweep(
    is_due: Callable[[Tag], bool],
    *,
    zygotes_have_s: float = 0.0,
    has_zygote: Callable[[int], bool] = lambda _: True,
    everybody: Callable[[], list[int]] = children.everybody,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Kill every process whose tag is due, until there is none. A generation whose zygote lives has so much time before
    that to end by itself. ``has_zygote``: whether it may have one; what the module forked is named as its zygote is."""
    begun_at = clock()
    clean = 0
    while clean < _CLEAN_TURNS and clock() - begun_at < zygotes_have_s + _SWEEP_S:
        passed_s = clock() - begun_at
        found = {pid: tag for pid in everybody() if (tag := tags.of(pid)) and tag.worker != tags.WATCH and is_due(tag)}
        ending = {each for each in _with_zygote(found) if has_zygote(each)} if passed_s < zygotes_have_s else set()
        alive = [
            tag.generation in ending or _end(pid, tag, spare_trackers=passed_s < TRACKER_S)
            for pid, tag in found.items()
        ]
        clean = 0 if any(alive) else clean + 1
        sleep(_TURN_S)


def _with_zygote(found: dict[int, Tag]) -> set[int]:
    """The generations whose zygote lives."""
    return {
        tag.generation
        for pid, tag in found.items()
        if tag.worker == tags.MODULE and children.name_of(pid) == "arbd:zygote" and not children.is_zombie(pid)
    }


def _end(pid: int, tag: Tag, *, spare_trackers: bool) -> bool:
    """Kill a process that had this tag; whether it had not ended before."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if tags.of(pid) != tag or _has_ended(pidfd):  # now it is the one that the handle is of
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
