"""The table of the fault tests: every call that the path of a task makes to something that can fail, what fits it to
fail with, and what makes a daemon make it.

A new collaborator adds its line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from faults_support import END_S, LIMIT, Fault, Host, Tasks, wait_until

from arbd.control import client as control
from arbd.control.protocol import GetStatus, StatusReply
from arbd.errors import ControlError

LinkKind = Literal["memory", "unary", "stream"]
MEMORY: Final[tuple[LinkKind, ...]] = ("memory",)
UNARY: Final[tuple[LinkKind, ...]] = ("unary",)
STREAM: Final[tuple[LinkKind, ...]] = ("stream",)
REAL: Final[tuple[LinkKind, ...]] = ("unary", "stream")
ALL: Final[tuple[LinkKind, ...]] = ("memory", "unary", "stream")
SLOW_S: Final = 0.05  # of the action "slow"


class Running(NamedTuple):
    """A daemon with a fault in it. ``connection``: another, of its calls to the hub."""

    host: Host
    tasks: Tasks
    fault: Fault
    connection: Fault
    directory: Path


# -- what makes a daemon make the call -------------------------------------------------------------------------------


def nothing(_: Running) -> None:
    """The tasks that are sent anyway."""


def a_worker_dies(running: Running) -> None:
    running.host.kill("worker")


def the_zygote_dies(running: Running) -> None:
    running.host.kill("zygote")


def a_reload(running: Running) -> None:
    running.host.reload()


def a_task_that_must_be_killed(running: Running) -> None:
    running.tasks.submit("stubborn", verdict="TIMEOUT")


def a_limit(running: Running) -> None:
    running.tasks.allow(LIMIT, running.tasks.submit("limited", 4))


def a_broken_connection(running: Running) -> None:
    """While results are on their way."""
    running.tasks.submit("slow", 4)
    time.sleep(SLOW_S / 2)
    running.connection.arm()


def an_end(running: Running) -> None:
    """While tasks run."""
    running.tasks.submit("slow", 4)
    time.sleep(SLOW_S / 2)
    running.host.stop()


def a_question(running: Running) -> None:
    assert wait_until(lambda: _is_answered(running), END_S), "the control socket answers nobody"


def _is_answered(running: Running) -> bool:
    try:
        control.ask(running.directory / "control.sock", GetStatus(), StatusReply, timeout_s=1.0)
    except ControlError:
        return running.host.has_ended
    return True


class Call(NamedTuple):
    """A call that fails. ``point``: a function (``module:name``), a method of the daemon's link (``link.name``) or a
    call to the hub (``hub.name``); ``error``: the OSError that fits. ``trigger`` makes the daemon make it; ``where``:
    in which process. ``ordinary``: an OSError must not end the daemon; ``by_exec``: workers are started so; ``told``:
    the errors that its tasks may be told."""

    name: str
    point: str
    error: str
    trigger: Callable[[Running], None] = nothing
    links: tuple[LinkKind, ...] = MEMORY
    ordinary: bool = False
    where: Literal["supervisor", "zygote", "worker"] = "supervisor"
    by_exec: bool = False
    told: tuple[str, ...] = ()


CALLS: Final = [
    # A task on its way to a worker, and its result on the way back.
    Call("place a task", "arbd.core.dispatch:Dispatcher.place", "ENOMEM"),
    Call("choose the next", "arbd.core.dispatch:Dispatcher.next_assignment", "ENOMEM"),
    Call("send small", "arbd.ipc.ring:Producer.push", "ENOMEM", told=("NO_RESOURCES", "WORKER_LOST")),
    Call("send large: memory", "os:memfd_create", "EMFILE", ordinary=True),
    Call("send large: no memory", "os:memfd_create", "ENOMEM", ordinary=True),
    Call("send large: socket", "socket:send_fds", "ETOOMANYREFS", ordinary=True),
    Call("wake", "arbd.host.doorbell:ring", "EAGAIN"),
    Call("be woken", "arbd.host.doorbell:wait", "EAGAIN"),
    Call("collect", "arbd.ipc.ring:Consumer.pop_many", "ENOMEM"),
    Call("collect large: socket", "socket:socket.recvmsg", "ENOBUFS", ordinary=True),
    Call("collect large: read", "os:pread", "ENOMEM", ordinary=True),
    Call("finish", "arbd.core.dispatch:Dispatcher.finish", "ENOMEM"),
    Call("doze", "arbd.core.dispatch:Dispatcher.have_work_for", "ENOMEM"),
    # The outbox.
    Call("append", "arbd.core.outbox:MemoryOutbox.append", "ENOSPC", links=ALL, ordinary=True),
    Call("take", "arbd.core.outbox:MemoryOutbox.take", "EIO", links=ALL),
    Call("ack", "arbd.core.outbox:MemoryOutbox.ack", "EIO", links=ALL),
    Call("put back", "arbd.core.outbox:MemoryOutbox.put_back", "EIO", a_broken_connection, links=REAL),
    # The hub.
    Call("poll", "hub.poll", "ECONNRESET", links=UNARY, ordinary=True),
    Call("submit", "hub.submit", "ECONNRESET", links=UNARY, ordinary=True),
    Call("stream read", "hub.read", "ECONNRESET", links=STREAM, ordinary=True),
    Call("stream write", "hub.write", "ECONNRESET", links=STREAM, ordinary=True),
    Call("tell of room", "link.slots_changed", "EIO", links=ALL),
    Call("tell of results", "link.results_ready", "EIO", links=ALL),
    # Workers come and go.
    Call("spawn: memory", "os:memfd_create", "EMFILE", a_worker_dies, ordinary=True),
    Call("spawn: mapping", "mmap:mmap", "ENOMEM", a_worker_dies, ordinary=True),
    Call("spawn: doorbell", "os:eventfd", "EMFILE", a_worker_dies, ordinary=True),
    Call("spawn: sockets", "socket:socketpair", "EMFILE", a_worker_dies, ordinary=True),
    Call("spawn: message", "socket:send_fds", "ETOOMANYREFS", a_worker_dies, ordinary=True),
    Call("spawn: socket full", "socket:send_fds", "EAGAIN", a_worker_dies, ordinary=True),
    Call("hear the zygote", "socket:socket.recvmsg", "ENOBUFS", a_worker_dies),
    Call("fork", "os:fork", "EAGAIN", a_worker_dies, ordinary=True, where="zygote"),
    Call("fork: no memory", "os:fork", "ENOMEM", a_worker_dies, ordinary=True, where="zygote"),
    Call("exec", "os:posix_spawn", "EAGAIN", a_worker_dies, ordinary=True, where="zygote", by_exec=True),
    Call("exec: memory", "os:memfd_create", "EMFILE", a_worker_dies, ordinary=True, where="zygote", by_exec=True),
    Call("pidfd", "os:pidfd_open", "EMFILE", a_worker_dies, ordinary=True, where="zygote"),
    Call("pidfd forbidden", "os:pidfd_open", "EPERM", a_worker_dies, ordinary=True, where="zygote"),
    Call("report a worker", "socket:send_fds", "ETOOMANYREFS", a_worker_dies, ordinary=True, where="zygote"),
    Call("start a zygote", "subprocess:Popen", "EAGAIN", the_zygote_dies, ordinary=True),
    Call("start a zygote: sockets", "socket:socketpair", "EMFILE", the_zygote_dies, ordinary=True),
    Call("reload", "subprocess:Popen", "EMFILE", a_reload, ordinary=True),
    Call("reload: sockets", "socket:socketpair", "EMFILE", a_reload, ordinary=True),
    Call("reload: description", "os:pread", "ENOMEM", a_reload, ordinary=True),
    Call("reload: spawn", "os:memfd_create", "EMFILE", a_reload, ordinary=True),
    # Deadlines, limits, questions.
    Call("look at deadlines", "arbd.core.deadlines:Deadlines.look", "ENOMEM", a_task_that_must_be_killed),
    Call("kill", "signal:pidfd_send_signal", "EPERM", a_task_that_must_be_killed),
    Call("encode a verdict", "arbd.model.encoding:Encoder.encode_any_size", "ENOMEM", a_task_that_must_be_killed),
    Call("exchange", "arbd.supervisor.limits.host_file:FileSource.exchange", "ENOSPC", a_limit, ordinary=True),
    Call("exchange: lock", "fcntl:flock", "ENOLCK", a_limit, ordinary=True),
    Call("grant", "arbd.rate_limit.grants.account:Account.decide", "ENOMEM", a_limit),
    Call("report", "arbd.supervisor.reporter:Reporter.status", "EIO", a_question, ordinary=True),
    # Inside a worker.
    Call("worker: large result", "os:memfd_create", "EMFILE", ordinary=True, where="worker"),
    Call("worker: no memory", "os:memfd_create", "ENOMEM", ordinary=True, where="worker"),
    Call("worker: send large result", "socket:send_fds", "ETOOMANYREFS", ordinary=True, where="worker"),
    Call("worker: take large task", "socket:socket.recvmsg", "ENOBUFS", ordinary=True, where="worker"),
    Call("worker: read large task", "os:pread", "ENOMEM", ordinary=True, where="worker"),
    Call("worker: wake the supervisor", "arbd.host.doorbell:ring", "EAGAIN", where="worker"),
    # The end.
    Call("stop taking", "link.stop_taking", "EIO", an_end, links=ALL),
    Call("flush", "link.flush", "EIO", an_end, links=ALL),
    Call("close", "link.close", "EIO", an_end, links=ALL),
]
