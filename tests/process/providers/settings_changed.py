"""Actions that change settings of the whole process, each with a look at what it has changed."""

from __future__ import annotations

import asyncio
import builtins
import calendar
import codecs
import csv
import ctypes
import faulthandler
import fcntl
import gc
import gettext
import http.client
import io
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import thread as executor_threads
from typing import Any

import numpy

from arbd import Provider

libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
libm = ctypes.CDLL("libm.so.6")
OUT: Any = sys.stdout
ERR: Any = sys.stderr
RANDOM: Any = numpy.random
OF_WARNINGS: Any = warnings
OF_SSL: Any = ssl
OF_RANDOM: Any = random
provider = Provider(name="settings", execution_timeout=5)
register = provider.actions.register
logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
HANDLER: Any = logging.getLogger().handlers[0]
LOGGER = logging.getLogger("configured")
LOGGER.setLevel(logging.DEBUG)


def theirs(*_: Any, **__: Any) -> Any:
    """What an action puts somewhere."""


class Finder:
    """An import hook."""

    @staticmethod
    def find_spec(*_: Any) -> None:
        return None


def printed(text: str, stream: str = "stdout") -> str:
    print(text, file=getattr(sys, stream))
    return "printed"


def inherited() -> list[bool]:
    return [os.get_inheritable(fd) for fd in (0, 1, 2)]


def of_prctl(option: int) -> int:
    value = ctypes.c_int()
    libc.prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


def ignored_in_c() -> bool:
    with open("/proc/self/status") as status:
        ignored = next(line for line in status if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (signal.SIGPIPE - 1) & 1)


def level_names() -> list[str]:
    return [logging.getLevelName(level) for level in (10, 20, 25, 30)]


def of_root() -> list[Any]:
    root = logging.getLogger()
    return [root.level, len(root.handlers), len(root.filters), root.manager.disable, root.isEnabledFor(logging.INFO)]


def of_handler() -> list[Any]:
    formatter = HANDLER.formatter
    return [HANDLER.level, str(formatter and formatter._fmt), len(HANDLER.filters), type(HANDLER.stream).__name__]


def of_hooks() -> list[str]:
    hooks = (sys.displayhook, sys.breakpointhook, sys.unraisablehook, sys.excepthook, threading.excepthook)
    return [getattr(hook, "__name__", str(hook)) for hook in hooks]


def of_imports() -> list[int]:
    return [len(sys.meta_path), len(sys.path_hooks)]


def of_warnings() -> list[Any]:
    return [len(warnings.filters), warnings.showwarning.__name__, warnings.formatwarning.__name__]


def of_generator() -> str:
    return type(RANDOM.get_bit_generator()).__name__


def seen_in_c() -> list[str]:
    return [str(libc.getenv(name)) for name in (b"ARBD_SET_IN_C", b"HOME")]


def forks() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "as ever" if marks == [] else f"{len(marks)} functions ran"


marks: list[int] = []


def _delete(name: str) -> Callable[[], None]:
    return lambda: delattr(builtins, name)


def _set(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


def _sequence(*steps: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for step in steps:
            step()

    return run


def _in_another_directory() -> None:
    os.environ["TMPDIR"] = os.path.dirname(__file__)
    tempfile.tempdir = None
    tempfile.gettempdir()


#: What is done, and what is looked at before and after.
CHANGES: dict[str, tuple[Callable[[], object], Callable[[], Any]]] = {
    "stdout in ascii": (lambda: OUT.reconfigure(encoding="ascii", errors="strict"), lambda: printed("é")),
    "stderr in ascii": (
        lambda: ERR.reconfigure(encoding="ascii", errors="strict"),
        lambda: printed("é", "stderr"),
    ),
    "stdout.write": (_set(OUT, "write", lambda text: 1 / 0), lambda: printed("a")),
    "stdout.flush": (_set(OUT, "flush", theirs), lambda: OUT.flush is theirs),
    "stdout.buffer.write": (_set(OUT.buffer, "write", lambda data: 1 / 0), lambda: printed("a")),
    "stdout.close": (lambda: OUT.close(), lambda: printed("a")),
    "stdout.detach": (lambda: OUT.detach(), lambda: printed("a")),
    "stdout.buffer.close": (lambda: OUT.buffer.close(), lambda: printed("a")),
    "__stdout__": (_set(sys, "__stdout__", io.StringIO()), lambda: type(sys.__stdout__).__name__),
    "handlers.clear": (lambda: logging.getLogger().handlers.clear(), of_root),
    "handlers.append": (lambda: logging.getLogger().handlers.append(logging.NullHandler()), of_root),
    "handlers by slice": (lambda: logging.getLogger().handlers.__setitem__(slice(None), []), of_root),
    "filters.append": (lambda: logging.getLogger().filters.append(theirs), of_root),
    "manager.disable": (_set(logging.getLogger().manager, "disable", logging.CRITICAL), of_root),
    "handler's level": (lambda: HANDLER.setLevel(logging.CRITICAL), of_handler),
    "handler's format": (lambda: HANDLER.setFormatter(logging.Formatter("%(msg)s")), of_handler),
    "handler's filter": (lambda: HANDLER.addFilter(lambda record: False), of_handler),
    "handler's filters": (lambda: HANDLER.filters.append(theirs), of_handler),
    "handler's stream": (lambda: HANDLER.setStream(io.StringIO()), of_handler),
    "handler that was removed": (
        _sequence(lambda: logging.getLogger().removeHandler(HANDLER), lambda: HANDLER.setLevel(logging.CRITICAL)),
        lambda: [of_root(), of_handler()],
    ),
    "a configured logger's handlers": (
        lambda: LOGGER.handlers.append(logging.NullHandler()),
        lambda: len(LOGGER.handlers),
    ),
    "another logger's handlers": (
        lambda: logging.getLogger("new").handlers.append(logging.NullHandler()),
        lambda: len(logging.getLogger("new").handlers),
    ),
    "raiseExceptions": (_set(logging, "raiseExceptions", False), lambda: logging.raiseExceptions),
    "lastResort": (_set(logging, "lastResort", None), lambda: str(type(logging.lastResort))),
    "level names": (lambda: logging.addLevelName(20, "THEIRS"), level_names),
    "a new level name": (lambda: logging.addLevelName(25, "THEIRS"), level_names),
    "class of loggers": (
        lambda: logging.setLoggerClass(type("Theirs", (logging.Logger,), {})),
        lambda: logging.getLoggerClass().__name__,
    ),
    "manager's class of loggers": (
        lambda: logging.getLogger().manager.setLoggerClass(type("Theirs", (logging.Logger,), {})),
        lambda: str(logging.getLogger().manager.loggerClass),
    ),
    "record factory": (lambda: logging.setLogRecordFactory(theirs), lambda: logging.getLogRecordFactory().__name__),
    "argv": (lambda: sys.argv.append("theirs"), lambda: list(sys.argv)),
    "argv replaced": (_set(sys, "argv", ["theirs"]), lambda: list(sys.argv)),
    "a warning filter": (lambda: OF_WARNINGS.filters.insert(0, ("error", None, Warning, None, 0)), of_warnings),
    "showwarning": (_set(warnings, "showwarning", theirs), of_warnings),
    "formatwarning": (_set(warnings, "formatwarning", theirs), of_warnings),
    "start method": (
        lambda: multiprocessing.set_start_method("spawn", force=True),
        lambda: multiprocessing.get_start_method(allow_none=True),
    ),
    "meta_path": (lambda: sys.meta_path.insert(0, Finder()), of_imports),
    "meta_path replaced": (_set(sys, "meta_path", [Finder(), *sys.meta_path]), of_imports),
    "path_hooks": (lambda: sys.path_hooks.append(theirs), of_imports),
    "dlopen flags": (lambda: sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_NOW), sys.getdlopenflags),
    "origins of coroutines": (
        lambda: sys.set_coroutine_origin_tracking_depth(9),
        sys.get_coroutine_origin_tracking_depth,
    ),
    "async generators": (lambda: sys.set_asyncgen_hooks(theirs, theirs), lambda: str(sys.get_asyncgen_hooks())),
    "gc.callbacks": (lambda: gc.callbacks.append(theirs), lambda: len(gc.callbacks)),
    "tempdir": (_set(tempfile, "tempdir", "/nowhere"), tempfile.gettempdir),
    "tempdir by the environment": (_in_another_directory, tempfile.gettempdir),
    **{
        hook: (_set(sys, hook, theirs), of_hooks)
        for hook in ("displayhook", "breakpointhook", "unraisablehook", "excepthook")
    },
    "tracebacklimit": (_set(sys, "tracebacklimit", 0), lambda: getattr(sys, "tracebacklimit", "none")),
    "switch interval": (lambda: sys.setswitchinterval(1), sys.getswitchinterval),
    "digits": (lambda: sys.set_int_max_str_digits(0), sys.get_int_max_str_digits),
    "socket timeout": (lambda: socket.setdefaulttimeout(0.001), socket.getdefaulttimeout),
    "socket class": (_set(socket, "socket", type("Proxied", (socket.socket,), {})), lambda: socket.socket.__name__),
    "locale in C": (
        lambda: libc.setlocale(6, b"C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else b"C"),
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "setenv in C": (lambda: libc.setenv(b"ARBD_SET_IN_C", b"1", 1), seen_in_c),
    "unsetenv in C": (lambda: libc.unsetenv(b"HOME"), seen_in_c),
    "clearenv in C": (lambda: libc.clearenv(), seen_in_c),
    "os.environ replaced": (_set(os, "environ", {"A": "B"}), lambda: sorted(os.environ)),
    "TZ": (
        _sequence(lambda: os.environ.__setitem__("TZ", "Pacific/Auckland"), time.tzset),
        lambda: [time.tzname, time.localtime(0).tm_hour],
    ),
    "builtins replaced": (_set(builtins, "print", theirs), lambda: repr(builtins.print)),
    "builtins added": (_set(builtins, "theirs", 1), lambda: hasattr(builtins, "theirs")),
    "builtins deleted": (_delete("ascii"), lambda: hasattr(builtins, "ascii")),
    "siginterrupt": (lambda: signal.siginterrupt(signal.SIGCHLD, True), lambda: "nothing to see"),
    "faulthandler": (lambda: faulthandler.enable(file=ERR), faulthandler.is_enabled),
    "faulthandler.register": (
        lambda: faulthandler.register(signal.SIGUSR2, chain=True),
        lambda: faulthandler.unregister(signal.SIGUSR2),
    ),
    "certificates": (
        _set(OF_SSL, "_create_default_https_context", OF_SSL._create_unverified_context),
        lambda: OF_SSL._create_default_https_context.__name__,
    ),
    "codecs": (lambda: codecs.register(_finds_theirs), lambda: _has_codec("arbd_theirs")),
    "errors of codecs": (
        lambda: codecs.register_error("strict", lambda exc: ("?", exc.end)),  # type: ignore[attr-defined]
        lambda: _encoded("strict"),
    ),
    "new errors of codecs": (
        lambda: codecs.register_error("arbd", lambda exc: ("?", exc.end)),  # type: ignore[attr-defined]
        lambda: _encoded("arbd"),
    ),
    "csv": (lambda: __import__("csv").field_size_limit(9), lambda: __import__("csv").field_size_limit()),
    "at fork": (lambda: os.register_at_fork(before=lambda: marks.append(1), after_in_parent=lambda: 1 / 0), forks),
    "not inherited": (lambda: os.set_inheritable(1, False), inherited),
    "not inherited, by fcntl": (lambda: fcntl.fcntl(2, fcntl.F_SETFD, fcntl.FD_CLOEXEC), inherited),
    "SIGPIPE in C": (lambda: libc.signal(signal.SIGPIPE, None), ignored_in_c),
    "death signal": (lambda: libc.prctl(1, 0, 0, 0, 0), lambda: of_prctl(2)),
    "grandchildren": (lambda: libc.prctl(36, 1, 0, 0, 0), lambda: of_prctl(37)),
    "dumps": (lambda: libc.prctl(4, 0, 0, 0, 0), lambda: libc.prctl(3, 0, 0, 0, 0)),
    "persona": (lambda: libc.personality(0x40000), lambda: libc.personality(-1)),
    "priority of files": (lambda: libc.syscall(251, 1, 0, 3 << 13), lambda: libc.syscall(252, 1, 0)),
    "scheduling in C": (
        lambda: libc.sched_setscheduler(0, os.SCHED_BATCH, ctypes.byref(ctypes.c_int(0))),
        lambda: os.sched_getscheduler(0),
    ),
    "rounding": (lambda: libm.fesetround(0x800), lambda: [libm.fegetround(), 1 + 2**-53 + 2**-54]),
    "traps of floating point": (lambda: libm.feenableexcept(4), lambda: libm.fegetexcept()),
    "TZ in C": (
        lambda: [libc.setenv(b"TZ", b"Pacific/Auckland", 1), libc.tzset(), libc.unsetenv(b"TZ")],
        lambda: time.localtime(0).tm_hour,
    ),
    "running loop": (
        lambda: asyncio._set_running_loop(asyncio.new_event_loop()),
        lambda: str(asyncio._get_running_loop()),
    ),
    "first day of the week": (lambda: calendar.setfirstweekday(6), calendar.firstweekday),
    "dialect": (lambda: csv.register_dialect("excel", delimiter=";"), lambda: csv.get_dialect("excel").delimiter),
    "no dialect": (lambda: csv.unregister_dialect("unix"), lambda: sorted(csv.list_dialects())),
    "time of log lines": (_set(logging.Formatter, "converter", time.gmtime), lambda: str(logging.Formatter.converter)),
    "threads in log lines": (_set(logging, "logThreads", False), lambda: logging.logThreads),
    "debuglevel": (_set(http.client.HTTPConnection, "debuglevel", 1), lambda: http.client.HTTPConnection.debuglevel),
    "temporary names": (_set(tempfile, "template", "theirs"), lambda: tempfile.template),
    "domain": (lambda: gettext.textdomain("theirs"), lambda: gettext.textdomain()),
    "thread's name": (_set(threading.main_thread(), "name", "theirs"), lambda: threading.main_thread().name),
    "process's name": (
        _set(multiprocessing.current_process(), "name", "theirs"),
        lambda: multiprocessing.current_process().name,
    ),
    "authkey": (
        lambda: setattr(multiprocessing.current_process(), "authkey", b"theirs"),
        lambda: multiprocessing.current_process().authkey == b"theirs",
    ),
    "set_executable": (
        lambda: multiprocessing.set_executable("/bin/false"),
        lambda: str(__import__("multiprocessing.spawn").spawn.get_executable()),
    ),
    "sys.executable": (_set(sys, "executable", "/bin/false"), lambda: sys.executable),
    "warnoptions": (lambda: sys.warnoptions.append("error"), lambda: list(sys.warnoptions)),
    "resolver": (_set(socket, "gethostbyaddr", theirs), lambda: socket.gethostbyaddr.__name__),
    "bit generator": (lambda: RANDOM.set_bit_generator(RANDOM.PCG64(7)), of_generator),
}


def _finds_theirs(name: str) -> codecs.CodecInfo | None:
    return codecs.lookup("ascii") if name.startswith("arbd_theirs") else None


def _encoded(errors: str) -> str:
    try:
        return "é".encode("ascii", errors).decode()
    except (UnicodeError, LookupError) as exc:
        return f"{exc}"


_asked = 0


def _has_codec(name: str) -> bool:
    """Under another name each time, because what was found is remembered."""
    global _asked
    _asked += 1
    try:
        codecs.lookup(f"{name}{_asked}")
    except LookupError:
        return False
    return True


SEEDS: dict[str, Callable[[], object]] = {
    "random._inst": lambda: OF_RANDOM._inst.seed(7),
    "OF_RANDOM._inst.setstate": lambda: OF_RANDOM._inst.setstate(random.Random(7).getstate()),
    "numpy": lambda: RANDOM.seed(7),
    "numpy's own": lambda: RANDOM.mtrand._rand.seed(7),
    "mtrand.seed": lambda: RANDOM.mtrand.seed(7),
    "another bit generator": lambda: RANDOM.set_bit_generator(RANDOM.PCG64(7)),
    "half of two numbers": lambda: (RANDOM.seed(7), RANDOM.standard_normal()),
}


@register(name="change", payload_schema={"how": str})
def change(how: str) -> int:
    CHANGES[how][0]()
    return os.getpid()


@register(name="look", payload_schema={"how": str})
def look(how: str) -> Any:
    return [os.getpid(), CHANGES[how][1]()]


@register(name="seed", payload_schema={"how": str})
def seed(how: str) -> int:
    SEEDS[how]()
    return os.getpid()


@register(name="draw")
def draw() -> list[float]:
    return [random.random(), float(RANDOM.standard_normal()), float(RANDOM.random())]


@register(name="audit")
def audit() -> int:
    sys.addaudithook(theirs)
    return os.getpid()


@register(name="forbid")
def forbid() -> int:
    """Privileges that a program may gain: there is no way back."""
    libc.prctl(38, 1, 0, 0, 0)
    return os.getpid()


@register(name="shut_down")
def shut_down() -> int:
    """What Python calls at its end."""
    executor_threads._python_exit()
    return os.getpid()


@register(name="strikes_late", payload_schema={"after": float})
def strikes_late(after: float) -> int:
    """A decorator's thread, which raises in the main one when that does something else already."""
    ident = ctypes.c_ulong(threading.main_thread().ident or 0)

    def strike() -> None:
        time.sleep(after)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(TimeoutError))

    threading.Thread(target=strike, daemon=True).start()
    return os.getpid()


@register(name="strikes_in_time")
def strikes_in_time() -> str:
    strikes_late(0.01)
    try:
        while True:
            time.sleep(0.001)
    except TimeoutError:
        return "struck"


@register(name="works", payload_schema={"seconds": float})
def works(seconds: float) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.0005)
    return os.getpid()
