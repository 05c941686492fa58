"""Every call that the path of a task makes to something that can fail, failing: once, for a while, and in a way that
nobody expects.

What must come out is the same for all of them. Either the daemon goes on: every task has exactly one verdict, the right
one, and fresh tasks are answered. Or it ends within ten seconds with exit code 71, the traceback is in its log, and
every finished result has reached the hub. Never is it alive and does not serve. Where ``ordinary`` is said, an OSError
must not end it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pytest
from daemon_support import Hub
from faults_support import (
    END_S,
    LARGE,
    LIMIT,
    WHILE_S,
    Fault,
    Host,
    InMemory,
    InProcess,
    Lines,
    RemoteFault,
    TaskHub,
    Tasks,
    logged,
    patch,
    patch_channel,
    patch_link,
    wait_until,
)

from arbd import control
from arbd.core.control_protocol import GetStatus, Status
from arbd.errors import EXIT_OK, EXIT_UNEXPECTED, ControlError
from arbd.supervisor import main

LinkKind = Literal["memory", "unary", "stream"]
How = Literal["once", "for a while", "unexpected"]
MEMORY: Final[tuple[LinkKind, ...]] = ("memory",)
UNARY: Final[tuple[LinkKind, ...]] = ("unary",)
STREAM: Final[tuple[LinkKind, ...]] = ("stream",)
REAL: Final[tuple[LinkKind, ...]] = ("unary", "stream")
ALL: Final[tuple[LinkKind, ...]] = ("memory", "unary", "stream")
LOST: Final = "WORKER_LOST"
HURRIED_S: Final = 1.0  # instead of 5 s for tasks that run when something unexpected has happened: they are short
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
        control.ask(running.directory / "control.sock", GetStatus(), Status, timeout_s=1.0)
    except ControlError:
        return running.host.has_ended
    return True


class Call(NamedTuple):
    """A call that fails. ``point``: a function (``module:name``), a method of the daemon's link (``link.name``) or a
    call to the hub (``hub.name``); ``error``: the OSError that fits. ``trigger`` makes the daemon make it; ``where``:
    in which process. ``ordinary``: an OSError must not end the daemon; ``by_exec``: workers are started so."""

    name: str
    point: str
    error: str
    trigger: Callable[[Running], None] = nothing
    links: tuple[LinkKind, ...] = MEMORY
    ordinary: bool = False
    where: Literal["supervisor", "zygote", "worker"] = "supervisor"
    by_exec: bool = False


CALLS: Final = [
    # A task on its way to a worker, and its result on the way back.
    Call("place a task", "arbd.core.dispatch:Dispatcher.place", "ENOMEM"),
    Call("choose the next", "arbd.core.dispatch:Dispatcher.next_assignment", "ENOMEM"),
    Call("send small", "arbd.core.ring:Producer.push", "ENOMEM"),
    Call("send large: memory", "os:memfd_create", "EMFILE", ordinary=True),
    Call("send large: no memory", "os:memfd_create", "ENOMEM", ordinary=True),
    Call("send large: socket", "socket:send_fds", "ETOOMANYREFS", ordinary=True),
    Call("wake", "arbd.host.doorbell:ring", "EAGAIN"),
    Call("be woken", "arbd.host.doorbell:wait", "EAGAIN"),
    Call("collect", "arbd.core.ring:Consumer.pop_many", "ENOMEM"),
    Call("collect large: socket", "socket:recv_fds", "EMFILE", ordinary=True),
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
    Call("hear the zygote", "socket:recv_fds", "EMFILE", a_worker_dies, ordinary=True),
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
    Call("encode a verdict", "arbd.encoding:Encoder.encode_any_size", "ENOMEM", a_task_that_must_be_killed),
    Call("exchange", "arbd.supervisor.shared:FileSource.exchange", "ENOSPC", a_limit, ordinary=True),
    Call("exchange: lock", "fcntl:flock", "ENOLCK", a_limit, ordinary=True),
    Call("grant", "arbd.core.account:Account.decide", "ENOMEM", a_limit),
    Call("accept", "socket:socket.accept", "EMFILE", a_question, ordinary=True),
    # Inside a worker.
    Call("worker: large result", "os:memfd_create", "EMFILE", ordinary=True, where="worker"),
    Call("worker: no memory", "os:memfd_create", "ENOMEM", ordinary=True, where="worker"),
    Call("worker: send large result", "socket:send_fds", "ETOOMANYREFS", ordinary=True, where="worker"),
    Call("worker: take large task", "socket:recv_fds", "EMFILE", ordinary=True, where="worker"),
    Call("worker: read large task", "os:pread", "ENOMEM", ordinary=True, where="worker"),
    Call("worker: wake the supervisor", "arbd.host.doorbell:ring", "EAGAIN", where="worker"),
    # The end.
    Call("stop taking", "link.stop_taking", "EIO", an_end, links=ALL),
    Call("flush", "link.flush", "EIO", an_end, links=ALL),
    Call("close", "link.close", "EIO", an_end, links=ALL),
]
HOWS: Final[tuple[How, ...]] = ("once", "for a while", "unexpected")
#: What an unexpected end of these processes costs: the task that ran there.
_MAY_LOSE: Final = {"zygote", "worker"}
CASES: Final = [
    pytest.param(call, link, how, id=f"{call.name}-{link}-{how}")
    for call in CALLS
    for link in call.links
    for how in HOWS
]


# -- the daemon, and the fault in it ---------------------------------------------------------------------------------

_numbers = itertools.count(1)
_counted: dict[str, int] = {"cases": 0, "faults": 0, "went on": 0, "ended with 71": 0}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(lease_s=600) as hub:
        yield hub


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say at the end how many faults there were."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nfaults injected: {_counted}")


def _fault(call: Call, how: How, directory: Path) -> Fault:
    error = "" if how == "unexpected" else call.error
    lasts_s = WHILE_S if how == "for a while" else 0.0
    return Fault(error, lasts_s) if call.where == "supervisor" else RemoteFault(error, lasts_s, directory)


def _prepare(
    call: Call, link: LinkKind, fault: Fault, connection: Fault, host: Host, patched: pytest.MonkeyPatch
) -> None:
    """Have the call fail once the fault is armed."""
    kind, _, name = call.point.partition(".")
    if call.where != "supervisor":
        patched.setenv("FAULTS_POINT", call.point)
        patched.setenv("FAULTS_ROLE", call.where)
        patched.setenv("FAULTS_ERROR", fault.error)
        if call.by_exec:
            patched.setenv("FAULTS_BY_EXEC", "1")
    elif kind == "hub":
        patch_channel(patched, name, fault, host)
    elif kind == "link":
        host.on_link = lambda made: patch_link(made, name, fault)
    else:
        patch(patched, call.point, fault)
    patch_channel(patched, {"unary": "submit", "stream": "write"}.get(link, ""), connection, host)


@pytest.mark.parametrize(("call", "link", "how"), CASES)
def test_a_call_that_fails(
    call: Call, link: LinkKind, how: How, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"faulty-{next(_numbers)}"
    monkeypatch.setenv("FAULTS_DIR", str(tmp_path))
    settings: dict[str, Any] = {"name": name, "runtime_dir": str(tmp_path / "run"), "kill_grace": 0.1}
    settings["control.socket"] = str(tmp_path / "control.sock") if call.trigger is a_question else "off"
    if link != "memory":
        settings |= {"hub.protocol": link, "hub.links": 0}
    place: TaskHub = InMemory() if link == "memory" else InProcess(hub, name)
    with ExitStack() as undo:
        undo.callback(place.close)
        lines = undo.enter_context(logged())
        undo.callback(lambda: print(lines.text))
        host = Host(place, **settings)
        fault = _fault(call, how, tmp_path)
        connection = Fault("ECONNRESET", SLOW_S)
        for each in (fault, connection):
            each.belongs_to(host.thread)
        _prepare(call, link, fault, connection, host, undo.enter_context(pytest.MonkeyPatch.context()))
        undo.callback(host.end)
        monkeypatch.setattr(main, "HURRIED_DRAIN_S", HURRIED_S, raising=False)  # else it only takes longer
        host.start()
        running = Running(host, Tasks(place, tmp_path), fault, connection, tmp_path)
        _judge(running, call, how, lines)


def _judge(running: Running, call: Call, how: How, lines: Lines) -> None:
    host, tasks, fault, *_ = running
    tasks.submit("work", 2)
    tasks.submit("limited")
    assert wait_until(tasks.have_verdicts, END_S), "it did not serve before anything failed"
    fault.arm()
    if call.trigger is not an_end:
        call.trigger(running)
    tasks.submit("work", 8)
    if call.trigger is not a_reload:  # what large tasks need is what a reload needs, too
        tasks.submit("work", 2, size=LARGE)
    if call.trigger is an_end:
        call.trigger(running)
    if how == "unexpected" and call.where in _MAY_LOSE:
        tasks.allow(LOST, tasks.expected)
    outcome = _outcome(running, is_stopping=call.trigger is an_end)
    _counted["cases"] += 1
    _counted["faults"] += fault.hits
    _counted[outcome] += 1
    if outcome != "went on":
        assert (host.failure, host.code) == (None, EXIT_UNEXPECTED)
        assert "Traceback" in lines.text
        assert "injected" in lines.text
        tasks.allow("ABORTED", tasks.expected)
        assert how == "unexpected" or not call.ordinary, "an ordinary failure has ended it"
    assert tasks.wrong() == {}
    assert tasks.sent_twice() == {}
    assert tasks.run_twice() == []
    assert tasks.not_delivered() == []
    if not call.point.startswith("hub."):  # what fails there may never have reached it
        assert tasks.taken_for_nothing() == []
    if how == "unexpected" and call.trigger is an_end:
        assert outcome != "went on", "something unexpected was passed over in silence"


def _outcome(running: Running, *, is_stopping: bool) -> str:
    """What the daemon made of it."""
    host, tasks, fault, *_ = running
    give_up_at = time.monotonic() + END_S

    def is_settled() -> bool:
        return host.has_ended or (tasks.have_verdicts() and not is_stopping and fault.is_over)

    wait_until(is_settled, END_S)
    assert fault.hits, "the fault was never reached"
    while not host.has_ended and not tasks.missing() and not is_stopping:
        fresh = [*tasks.submit("work", 3), *tasks.submit("work", 1, size=LARGE), *tasks.submit("limited")]
        tasks.allow(LIMIT, fresh[-1:])
        wait_until(lambda: host.has_ended or tasks.have_verdicts(), give_up_at - time.monotonic())
        if tasks.have_verdicts() and tasks.words(fresh[-1]) != [LIMIT]:
            host.stop()
            is_stopping = True
            give_up_at = time.monotonic() + END_S
    wait_until(lambda: host.has_ended, give_up_at - time.monotonic() if is_stopping else 0)
    assert host.has_ended, f"it is alive, and does not serve or does not stop; without a verdict: {tasks.missing()}"
    return "went on" if host.code == EXIT_OK else "ended with 71"
