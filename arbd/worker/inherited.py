"""What a forked worker inherits from the zygote's memory and must not take for its own, and what neither may forget.

    files open for writing      the zygote writes out what the import has left in their buffers before it forks, so that
                                no worker writes it once more; a worker writes out its own at its end
    temporary files             those made at import are the zygote's: a worker's ``atexit`` leaves them alone, and they
                                are removed when the zygote ends
    children of multiprocessing the same: a worker that ends does not terminate them
    resource tracker            it removes what its process has left, once that is gone; but then it is killed with the
                                worker's group. So a worker that ends waits for it

``sys.exit`` would do most of this, and also what the zygote has planned for its own end; both end without it.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from arbd.attempts import attempt_all
from arbd.host import descriptors

_TEXT: Final = io.TextIOWrapper
_BUFFERED: Final = (io.BufferedWriter, io.BufferedRandom, io.BufferedRWPair)
#: Classes that write their last bytes when they are closed, which Python does at its end: by module, if it is loaded.
_CLOSED_AT_END: Final = {
    "shelve": "Shelf",
    "dbm.dumb": "_Database",
    "zipfile": "ZipFile",
    "gzip": "GzipFile",
    "bz2": "BZ2File",
    "lzma": "LZMAFile",
}
_TRACKER_POLL_S: Final = 0.002
_OWN_TRACKER_S: Final = 0.5

_files: list[weakref.ref[Any]] = []
_temporary: list[Callable[[], object]] = []
_is_remembered = False


def remember() -> None:
    """Note what the import has made, and write out what it has written. In the zygote, before its heap is frozen."""
    global _is_remembered
    _is_remembered = True
    _files.clear()
    _temporary[:] = _temporary_directories()
    if _has_written():
        objects = gc.get_objects()
        found = _instances(objects, (_TEXT, *_BUFFERED))
        _files.extend(map(weakref.ref, found))
        _flush(found)
        _temporary.extend(each.close for each in _instances(objects, _temporary_files()))


def disown() -> None:
    """Have this worker's end leave alone what is the zygote's. In a forked worker, before ``atexit`` functions run."""
    for each in _temporary:
        if isinstance(each, weakref.finalize):
            each.atexit = False
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        children: set[Any] = getattr(process, "_children", set())
        for child in list(children):
            if getattr(child, "_parent_pid", None) != os.getpid():
                children.discard(child)


def write_out() -> list[Exception]:
    """Write out every file that Python code in this process has open, and remove temporary ones; what went wrong."""
    old = [each for file in _files if (each := file()) is not None]
    new = gc.get_objects()  # without what was frozen in the zygote, and so without touching its pages
    written = _instances(new, (_TEXT, *_BUFFERED))
    failures = _flush([each for each in (*old, *written) if isinstance(each, _TEXT)])
    failures += attempt_all(each.close for each in _instances(new, _closed_at_end()))
    failures += attempt_all(each.close for each in _instances(new, _temporary_files()))
    return failures + _flush([each for each in (*old, *written) if not isinstance(each, _TEXT)])


def tidy_up(until: float) -> None:
    """Remove what the import has made and Python removes at its end. In the zygote, when no worker is left; ``until``:
    seconds of the monotonic clock."""
    if not _is_remembered:
        remember()
    attempt_all(_temporary)
    end_tracker(until)


def tidy_up_own() -> None:
    """Remove what the import has made in a worker that is started by exec and ends at once; what a forked one has is
    the zygote's."""
    if not _is_remembered:
        tidy_up(time.monotonic() + _OWN_TRACKER_S)


def end_tracker(until: float) -> None:
    """End the resource tracker that this process has started, if any, once it has removed what is left; ``until``:
    seconds of the monotonic clock."""
    tracker: Any = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    pid, fd = getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)
    if pid is None or fd is None:
        return
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
    except ChildProcessError:  # the zygote's, which serves all its workers
        return
    tracker._fd = None
    os.close(fd)  # its end of a pipe: nobody needs it any more
    while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < until:
        time.sleep(_TRACKER_POLL_S)


def _has_written() -> bool:
    """Whether this process has a file or pipe open for writing, besides the standard ones. Looking through all objects
    of a large heap takes a second, and most providers have none."""
    return any(fd > 2 and _is_written(fd) for fd in descriptors.numbers())


def _is_written(fd: int) -> bool:
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:  # the one that listed them
        return False
    return mode != os.O_RDONLY and name.startswith(("/", "pipe:")) and not name.startswith("/memfd:")


def _flush(files: Iterable[Any]) -> list[Exception]:
    # Text first: what is in its buffer goes into that of the file below.
    ordered = sorted(files, key=lambda file: not isinstance(file, _TEXT))
    return attempt_all(file.flush for file in ordered if _is_writable(file) and not _is_standard(file))


def _is_writable(file: Any) -> bool:
    try:
        return not file.closed and file.writable()
    except (ValueError, OSError, AttributeError):  # detached, or never finished
        return False


def _is_standard(file: Any) -> bool:
    """Whether it is a standard stream: ``arbd.logs.finish`` writes those out, without waiting for a reader."""
    try:
        return bool(file.fileno() <= 2)
    except (ValueError, OSError, AttributeError):  # it has none, as one in memory
        return False


def _closed_at_end() -> tuple[type, ...]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in _CLOSED_AT_END.items())
    return tuple(each for each in found if isinstance(each, type))


def _temporary_directories() -> list[Callable[[], object]]:
    cleanup = getattr(getattr(sys.modules.get("tempfile"), "TemporaryDirectory", None), "_cleanup", None)
    if cleanup is None:
        return []
    registry: Any = getattr(weakref.finalize, "_registry", {})
    return [each for each in list(registry) if (alive := each.peek()) is not None and alive[1] == cleanup]


def _temporary_files() -> tuple[type, ...]:
    wrapper = getattr(sys.modules.get("tempfile"), "_TemporaryFileWrapper", None)
    return () if wrapper is None else (wrapper,)


def _instances(objects: Iterable[Any], classes: tuple[type, ...]) -> list[Any]:
    """Those of these classes; not by ``isinstance``, which asks the object. A class is judged once: there are few."""
    types = {id(cls): cls for cls in map(type, objects)}
    found = {number for number, cls in types.items() if issubclass(cls, classes)}
    return [each for each in objects if id(type(each)) in found]
