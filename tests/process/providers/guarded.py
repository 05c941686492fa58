"""Actions that change the process they run in, in every way there is; and innocent ones that would notice."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import decimal
import faulthandler
import gc
import importlib
import io
import locale
import logging
import multiprocessing
import os
import pickle
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import seed as seed_taken_at_import
from signal import alarm as plain_alarm
from typing import Any

from arbd import Provider, RateLimitMonitor

libc = ctypes.CDLL(None, use_errno=True)
provider = Provider(name="guarded", execution_timeout=5)
register = provider.actions.register
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("of_the_author", default="unset")
module_file = open(os.devnull, "rb")  # noqa: SIM115 # it stays open, that is its point
pool = ThreadPoolExecutor(2)
A_FULL_LOOK = 0.012  # what no wrapper notices is found after a task of that length, and after others a little later


class Late(Exception):
    """What a time-out decorator of an author's raises."""


def raise_late(*_: object) -> None:
    raise Late


# -- the innocent -----------------------------------------------------------------------------------------------------


@register(name="run", payload_schema={"path": str})
def run(path: str) -> dict[str, int]:
    """Leave one line for each run."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return {"pid": os.getpid()}


@register(name="nap", payload_schema={"seconds": float})
def nap(seconds: float) -> dict[str, int]:
    time.sleep(seconds)
    return {"pid": os.getpid()}


@register(name="async_nap", payload_schema={"seconds": float})
async def async_nap(seconds: float) -> dict[str, int]:
    await asyncio.sleep(seconds)
    return {"pid": os.getpid()}


@register(name="in_thread")
async def in_thread() -> str:
    return await asyncio.to_thread(lambda: "done")


@register(name="own_loop")
def own_loop() -> str:
    async def inner() -> str:
        return "done"

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(inner())
    finally:
        loop.close()


@register(name="state")
def state() -> dict[str, Any]:
    """What one task may find of the process, and another may have changed."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    umask = os.umask(0o22)
    os.umask(umask)
    root, logger = logging.getLogger(), logging.getLogger("theirs")
    return {
        "cwd": os.getcwd(),
        "umask": umask,
        "environment": sorted(os.environ),
        "HOME": os.environ.get("HOME"),
        "TZ": time.tzname,
        "limits": [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "blocked": sorted(blocked),
        "timers": [signal.getitimer(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL)],
        "handlers": [str(signal.getsignal(signum)) for signum in range(1, 32)],
        "woken": signal.set_wakeup_fd(-1),
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "digits": sys.get_int_max_str_digits(),
        "socket": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_ALL),
        "precision": decimal.getcontext().prec,
        "variable": VARIABLE.get(),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "trace": (str(sys.gettrace()), str(sys.getprofile())),
        "tracemalloc": tracemalloc.is_tracing(),
        "warnings": [str(each) for each in warnings.filters],
        "root": (root.level, len(root.handlers), root.manager.disable),
        "logger": (logger.level, len(logger.handlers), logger.disabled, logger.propagate),
        "record_factory": logging.getLogRecordFactory().__qualname__,
        "seen_by_c": ctypes.CDLL(None).getenv(b"ARBD_TEST_OF_C"),
        "stack_size": threading.stack_size(),
        "decimals": repr(decimal.DefaultContext),
        "blocking": [os.get_blocking(fd) for fd in (0, 1, 2)],
        "path": list(sys.path),
        "streams": [type(stream).__name__ for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "printed": print("innocent", flush=True),
        "standard": [os.fstat(fd).st_ino for fd in (0, 1, 2)],
        "hook": sys.excepthook is sys.__excepthook__,
        "policy": type(asyncio.get_event_loop_policy()).__name__,
        "affinity": sorted(os.sched_getaffinity(0)),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "owner": (os.getresuid(), os.getgid(), os.getpgid(0) == os.getpid()),
        "threads": [thread.name for thread in threading.enumerate()],
        "file": module_file.closed or os.fstat(module_file.fileno()).st_rdev,
    }


# -- the hostile: each returns; what it leaves behind is the point ----------------------------------------------------

Change = Callable[[], object]
CHANGES: dict[str, Change] = {}


def change(function: Change) -> Change:
    CHANGES[function.__name__] = function
    return function


@register(name="change", payload_schema={"how": str})
def change_it(how: str) -> dict[str, int]:
    CHANGES[how]()
    return {"pid": os.getpid()}


@change
def chdir() -> None:
    os.chdir("/")


@change
def fchdir() -> None:
    fd = os.open("/", os.O_RDONLY)
    os.fchdir(fd)
    os.close(fd)


@change
def umask() -> None:
    os.umask(0o777)


@change
def environment() -> None:
    os.environ["GUARD_NEW"] = "1"
    os.environ["HOME"] = "/nowhere"
    os.environ.pop("PATH", None)


@change
def time_zone() -> None:
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()


@change
def soft_limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@change
def hard_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@change
def mask() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD})


@change
def mask_with_one_held_up() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)


@change
def alarm() -> None:
    signal.signal(signal.SIGALRM, raise_late)
    signal.alarm(1)


@change
def alarm_called_off() -> None:
    """A handler stays."""
    signal.signal(signal.SIGALRM, raise_late)
    signal.alarm(2)
    signal.alarm(0)


@change
def alarm_taken_at_import() -> None:
    signal.signal(signal.SIGALRM, raise_late)
    plain_alarm(1)


@change
def interval() -> None:
    signal.signal(signal.SIGALRM, raise_late)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.01)


@change
def virtual_interval() -> None:
    """By default its signal ends the process."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)


@change
def pending_alarm() -> None:
    """The signal has come, and its handler not yet been called."""
    signal.signal(signal.SIGALRM, raise_late)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    os.kill(os.getpid(), signal.SIGALRM)


@change
def default_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.02)


@change
def alarm_in_c() -> None:
    """Unseen by Python."""
    libc.alarm(1)
    time.sleep(A_FULL_LOOK)


@change
def handler_in_c() -> None:
    """As a library in C does, for the worker's own signals."""
    libc.signal(signal.SIGTERM, 0)
    libc.signal(signal.SIGRTMIN + 2, 1)
    time.sleep(A_FULL_LOOK)


@change
def ignored_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@change
def termination() -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


@change
def own_signals() -> None:
    """Those that arbd interrupts with."""
    for signum in (signal.SIGRTMIN + 1, signal.SIGRTMIN + 2):
        signal.signal(signum, signal.SIG_IGN)


@change
def without_interrupts() -> None:
    signal.siginterrupt(signal.SIGRTMIN + 2, False)


@change
def woken_descriptor() -> None:
    """Its number is free for the next file, which would be written to at each signal."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    os.close(writes)
    os.close(reads)


@change
def woken_descriptor_unseen() -> None:
    """Unseen by wrappers."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    importlib.import_module("_signal").set_wakeup_fd(writes)
    os.close(writes)
    os.close(reads)
    time.sleep(A_FULL_LOOK)


@change
def recursion() -> None:
    sys.setrecursionlimit(90)


@change
def switch_interval() -> None:
    sys.setswitchinterval(5)


@change
def int_digits() -> None:
    sys.set_int_max_str_digits(700)


@change
def socket_timeout() -> None:
    socket.setdefaulttimeout(0.001)


@change
def other_locale() -> None:
    locale.setlocale(locale.LC_ALL, "C" if locale.setlocale(locale.LC_ALL) != "C" else "C.UTF-8")


@change
def precision() -> None:
    decimal.getcontext().prec = 3


@change
def variable() -> None:
    VARIABLE.set("somebody else's")


@change
def no_collection() -> None:
    gc.disable()
    gc.set_threshold(1)


@change
def tracing() -> None:
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)


@change
def memory_tracing() -> None:
    tracemalloc.start(20)


@change
def warning_filters() -> None:
    warnings.simplefilter("error")


@change
def root_logger() -> None:
    logging.basicConfig(force=True, level=logging.CRITICAL, handlers=[logging.NullHandler()])
    logging.disable(logging.CRITICAL)


@change
def named_logger() -> None:
    logger = logging.getLogger("theirs")
    logger.setLevel(logging.CRITICAL)
    logger.addHandler(logging.NullHandler())
    logger.disabled = True
    logger.propagate = False


@change
def record_factory() -> None:
    logging.setLogRecordFactory(lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))


@change
def seen_by_c() -> None:
    os.putenv("ARBD_TEST_OF_C", "1")


@change
def stack_size() -> None:
    threading.stack_size(16 << 20)


@change
def decimals_of_new_threads() -> None:
    decimal.DefaultContext.prec = 3


@change
def not_blocking() -> None:
    os.set_blocking(1, False)


@change
def path() -> None:
    sys.path.insert(0, "/nowhere")
    time.sleep(0.0001)


@change
def stdout_replaced() -> None:
    sys.stdout = io.StringIO()
    time.sleep(0.0001)


@change
def stdout_closed() -> None:
    sys.stdout.close()
    time.sleep(0.0001)


@change
def descriptor_one_closed() -> None:
    os.close(1)


@change
def descriptor_one_led_elsewhere() -> None:
    fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


@change
def everything_closed() -> None:
    os.closerange(0, 4096)


@change
def everything_closed_one_by_one() -> None:
    for fd in range(3, 256):
        try:
            os.close(fd)
        except OSError:
            pass


@change
def everything_closed_in_c() -> None:
    """But for what it needs to answer."""
    for fd in range(3, 256):
        if "eventfd" not in _name_of(fd) and "socket" not in _name_of(fd):
            libc.close(fd)
    time.sleep(A_FULL_LOOK)


@change
def module_file_closed_in_c() -> None:
    libc.close(module_file.fileno())
    time.sleep(A_FULL_LOOK)


@change
def module_file_led_elsewhere_in_c() -> None:
    fd = os.open(__file__, os.O_RDONLY)
    libc.dup2(fd, module_file.fileno())
    os.close(fd)
    time.sleep(A_FULL_LOOK)


def _name_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


@change
def hooks() -> None:
    sys.excepthook = lambda *_: None
    time.sleep(0.004)


@change
def policy() -> None:
    class Policy(asyncio.DefaultEventLoopPolicy):
        """Another one."""

    asyncio.set_event_loop_policy(Policy())


@change
def asyncio_run() -> None:
    async def nothing() -> None: ...

    asyncio.run(nothing())


@change
def affinity() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@change
def niceness() -> None:
    os.nice(5)


@change
def process_group() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))


@change
def traceback_dump() -> None:
    faulthandler.dump_traceback_later(0.05, exit=True)


@change
def seeds() -> None:
    seed_taken_at_import(1)


@change
def thread_that_runs_on() -> None:
    threading.Thread(target=time.sleep, args=(30,)).start()


@change
def thread_that_ends() -> None:
    threading.Thread(target=time.sleep, args=(0.0001,)).start()


@change
def daemon_thread() -> None:
    threading.Thread(target=time.sleep, args=(0.05,), daemon=True, name="daemon").start()


@change
def idle_pool() -> None:
    pool.submit(time.sleep, 0).result()


@change
def busy_pool() -> None:
    pool.submit(time.sleep, 30)


@register(name="draw")
def draw() -> float:
    return random.random()


# -- forks ------------------------------------------------------------------------------------------------------------


def _child_returns() -> str:
    return "child" if os.fork() == 0 else "parent"


def _child_raises() -> str:
    if os.fork() == 0:
        raise ValueError("in the child")
    return "parent"


def _child_exits() -> str:
    if os.fork() == 0:
        sys.exit(7)
    return "parent"


def _forkpty() -> str:
    pid, master = os.forkpty()
    if pid == 0:
        return "child"
    os.close(master)
    return "parent"


def _fork_in_c() -> str:
    return "child" if libc.fork() == 0 else "parent"


def _fork_in_thread() -> str:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(os.fork()))
    thread.start()
    thread.join()
    return "parent" if found[0] else "child"


def _fork_in_pool() -> str:
    with ThreadPoolExecutor(1) as executor:
        return "parent" if executor.submit(os.fork).result() else "child"


def _deep_fork() -> str:
    for _ in range(3):
        os.fork()
    return "any of eight"


FORKS = {
    "returns": _child_returns,
    "raises": _child_raises,
    "exits": _child_exits,
    "pty": _forkpty,
    "c": _fork_in_c,
    "thread": _fork_in_thread,
    "pool": _fork_in_pool,
    "deep": _deep_fork,
}


@register(name="fork", payload_schema={"how": str})
def fork(how: str) -> str:
    return FORKS[how]()


class Forking(RateLimitMonitor):
    """A monitor of the author's that forks."""

    def check_rate_limits(self) -> None:
        os.fork()


class ForkingCall(RateLimitMonitor):
    """One through which calls go, and that counts them afterwards."""

    def check_rate_limits(self) -> None:
        return None

    def make_safe_request(self, request_func: Any, *args: Any, **kwargs: Any) -> Any:
        result = request_func(*args, **kwargs)
        with open(args[0]["path"], "a") as file:
            file.write("counted\n")
        return result


@register(name="fork_in_monitor", rate_limit_monitor=Forking())
def fork_in_monitor() -> str:
    return "done"


@register(name="fork_in_request", payload_schema={"path": str}, rate_limit_monitor=ForkingCall())
def fork_in_request(payload: dict[str, str]) -> str:
    os.fork()
    return "done"


@register(name="async_fork", payload_schema={"how": str})
async def async_fork(how: str) -> str:
    if how == "and waits":
        pid = os.fork()
        await asyncio.sleep(0.01)
        return "parent" if pid else "child"
    if how == "in a thread":
        return "parent" if await asyncio.to_thread(os.fork) else "child"
    return _child_returns()


@register(name="exit_code", payload_schema={"how": str})
def exit_code(how: str) -> int:
    """How a child ends that comes back."""
    pid = os.fork()
    if pid == 0:
        if how == "raises":
            raise ValueError
        if how == "exits":
            sys.exit(7)
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@register(name="terminate", payload_schema={"how": str}, timeout=20)
def terminate(how: str) -> Any:
    """Processes of an action end by what ends any."""
    context = multiprocessing.get_context("fork")
    if how == "Process":
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(10)
        return process.exitcode
    if how == "in a thread":
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(terminate("Process")))
        thread.start()
        thread.join()
        return found[0]
    if how == "C":
        pid = libc.fork()
        if pid == 0:
            while True:
                time.sleep(0.01)
        os.kill(pid, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "subprocess":
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        return child.wait(10)
    if how == "handlers":
        reader, writer = os.pipe()
        if os.fork() == 0:
            told = [str(signal.getsignal(signum)) for signum in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)]
            os.write(writer, "\n".join(told).encode())
            os._exit(0)
        os.close(writer)
        os.wait()
        return os.read(reader, 1000).decode().split("\n")
    with context.Pool(2) as workers:
        if how == "imap left early":
            return next(iter(workers.imap_unordered(abs, range(100))))
        return workers.map(abs, range(4))


# -- interruptions ----------------------------------------------------------------------------------------------------


class Line:
    """A connection on which answers come in order, however late."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()

    def _serve(self, theirs: socket.socket) -> None:
        while asked := theirs.recv(100):
            if asked.startswith(b"slow"):
                time.sleep(0.4)
            theirs.sendall(b"answer to " + asked)

    def ask(self, what: str) -> str:
        self.ours.sendall(what.encode())
        return self.ours.recv(100).decode()


_line: Line | None = None


@register(name="ask", payload_schema={"what": str}, timeout=0.2)
def ask(what: str) -> str:
    """Over a connection that is kept for each worker."""
    global _line
    if _line is None:
        _line = Line()
    return _line.ask(what)


@register(name="import_slowly", payload_schema={"path": str}, timeout=0.1)
def import_slowly(path: str) -> str:
    if path not in sys.path:
        sys.path.append(path)
    import guarded_slow_module  # type: ignore[import-not-found] # the test writes it

    return str(guarded_slow_module.WHOLE)


@register(name="with_deadline_of_its_own", timeout=0.3)
def with_deadline_of_its_own() -> str:
    """As decorators do that limit the time of a function."""
    before = signal.signal(signal.SIGALRM, raise_late)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        time.sleep(10)
    except Late:
        return "late, as it should"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return "not late"


@register(name="without_the_alarm", timeout=0.1)
def without_the_alarm() -> None:
    """Would take the soft deadline away, were it SIGALRM's."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(60)


@register(name="swallow", timeout=0.1)
def swallow() -> str:
    try:
        time.sleep(60)
    except BaseException:
        pass
    return "swallowed"


# -- what is left on the event loop ----------------------------------------------------------------------------------

_kept: list[Any] = []


@register(name="leave", payload_schema={"how": str}, timeout=0.5)
async def leave(how: str) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    if how == "task":
        _kept.append(asyncio.create_task(_left_behind()))
    elif how == "tasks of tasks":
        _kept.append(asyncio.ensure_future(_starts_another()))
    elif how == "stubborn task":
        _kept.append(asyncio.create_task(_does_not_end()))
        await asyncio.sleep(0.01)
    elif how == "timer":
        loop.call_later(0.1, _left_mark)
    elif how == "generator":
        await anext(_generator())
    elif how == "closed":
        loop.call_soon(loop.stop)
        await asyncio.sleep(10)
    elif how == "stopped at its end":
        loop.stop()
    elif how == "really closed":
        loop.stop()
        threading.Timer(0.05, loop.close).start()
        await asyncio.sleep(10)
    elif how == "policy":
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    elif how == "other loop":
        asyncio.set_event_loop(asyncio.new_event_loop())
    elif how == "handlers":
        loop.set_exception_handler(lambda *_: None)
        loop.set_task_factory(None)
        loop.add_signal_handler(signal.SIGUSR1, print)
    elif how == "executor":
        for _ in range(40):
            loop.run_in_executor(None, time.sleep, 0.6)
    elif how == "own executor":
        loop.set_default_executor(ThreadPoolExecutor(1))
    elif how == "alarm":
        signal.signal(signal.SIGALRM, raise_late)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    return {"pid": os.getpid()}


@register(name="sleepers", timeout=0.2, after_timeout="keep")
async def sleepers() -> None:
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 3) for _ in range(40)))


@register(name="async_late", payload_schema={"where": str}, timeout=2)
async def async_late(where: str) -> str:
    """An alarm of its own, in an asynchronous action."""
    signal.signal(signal.SIGALRM, raise_late)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        if where == "in its code":
            end = time.monotonic() + 1
            while time.monotonic() < end:
                pass
        await asyncio.sleep(1)
    except Late:
        return "late, as it should"
    return "not late"


async def _left_behind() -> None:
    await asyncio.sleep(0.05)
    _left_mark()


async def _starts_another() -> None:
    try:
        await asyncio.sleep(10)
    finally:
        _kept.append(asyncio.create_task(_left_behind()))


async def _does_not_end() -> None:
    while True:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            pass


async def _generator() -> Any:
    try:
        yield 1
        await asyncio.sleep(10)
        yield 2
    finally:
        _kept.append("closed")


_marks: list[int] = []


def _left_mark() -> None:
    _marks.append(1)


@register(name="look_at_loop")
async def look_at_loop() -> dict[str, Any]:
    """What is on the loop, and what of others has run there."""
    await asyncio.sleep(0.15)
    loop = asyncio.get_running_loop()
    return {
        "pid": os.getpid(),
        "tasks": len(asyncio.all_tasks()),
        "marks": len(_marks),
        "handler": repr(loop.get_exception_handler()).partition(" at ")[0],
    }


@register(name="wrappers")
def wrappers() -> dict[str, Any]:
    """The functions that are wrapped look as they did."""
    import inspect

    return {
        "pickled": b"chdir" in pickle.dumps(os.chdir) and b"alarm" in pickle.dumps(plain_alarm),
        "signature": str(inspect.signature(os.chdir)),
        "name": (os.umask.__name__, os.umask.__module__, signal.signal.__name__),
        "doc": bool(os.chdir.__doc__),
        "poll": bool(select.poll()),
        "path": str(Path.cwd()),
    }
