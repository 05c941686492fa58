"""Every call that the path of a task makes to something that can fail, failing: once, for a while, and in a way that
nobody expects.

What must come out is the same for all of them. Either the daemon goes on: every task has exactly one verdict, the right
one, and fresh tasks are answered. Or it ends within ten seconds with exit code 71, the traceback is in its log, and
every finished result has reached the hub. Never is it alive and does not serve. Where ``ordinary`` is said, an OSError
must not end it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from daemon_support import Hub
from faults_calls import CALLS, REAL, SLOW_S, Call, LinkKind, Running, a_question, a_reload, an_end
from faults_support import (
    END_S,
    LARGE,
    LIMIT,
    WHILE_S,
    Deadline,
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

from arbd.errors import EXIT_OK, EXIT_UNEXPECTED
from arbd.supervisor import main

How = Literal["once", "for a while", "unexpected"]
LOST: Final = "WORKER_LOST"
WENT_ON: Final = "went on"
ENDED: Final = "ended with 71"
HURRIED_S: Final = 1.0  # instead of 5 s for tasks that run when something unexpected has happened: ours are short
HOWS: Final[tuple[How, ...]] = ("once", "for a while", "unexpected")
#: What an unexpected end of these processes costs: the task that ran there.
_MAY_LOSE: Final = {"zygote", "worker"}
CASES: Final = [
    pytest.param(call, link, how, id=f"{call.name}-{link}-{how}")
    for call in CALLS
    for link in call.links
    for how in HOWS
    if how != "for a while" or link == call.links[0] or call.links is REAL  # else it says nothing new
]


# -- the daemon, and the fault in it ---------------------------------------------------------------------------------

_numbers = itertools.count(1)
_outcomes: Counter[tuple[str, bool, str]] = Counter()  # by call, whether it was unexpected, and outcome
_hits: list[int] = []


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(lease_s=600) as hub:
        yield hub


@pytest.fixture(scope="module", autouse=True)
def told(request: pytest.FixtureRequest) -> Iterator[None]:
    """Say at the end how many faults there were, and with ``-v`` what came of them, call by call."""
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{len(_hits)} faults injected ({sum(_hits):,} calls failed): {_count(CALLS)}")
        for call in CALLS if request.config.option.verbose > 0 else ():
            print(f"  {call.name:<28} {_count([call])}")


def _count(calls: list[Call]) -> str:
    names = {call.name for call in calls}
    found: list[str] = []
    for kind, is_unexpected in (("OSError", False), ("unexpected", True)):
        counts = {
            outcome: sum(_outcomes[name, is_unexpected, outcome] for name in names) for outcome in (WENT_ON, ENDED)
        }
        found.append(f"{kind}: {', '.join(f'{count} {outcome}' for outcome, count in counts.items() if count)}")
    return "; ".join(found)


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
    _trouble(running, call)
    if how == "unexpected" and call.where in _MAY_LOSE:
        tasks.allow(LOST, tasks.expected)
    for verdict in call.told:
        tasks.allow(verdict, tasks.expected)
    _wait(running, is_stopping=call.trigger is an_end)
    outcome = WENT_ON if host.code == EXIT_OK else ENDED
    _hits.append(fault.hits)
    _outcomes[call.name, how == "unexpected", outcome] += 1
    if outcome == ENDED:
        assert (host.failure, host.code) == (None, EXIT_UNEXPECTED)
        assert how == "unexpected" or not call.ordinary, "an ordinary failure has ended it"
        tasks.allow("ABORTED", tasks.expected)
    if outcome == ENDED or (how == "unexpected" and call.where == "supervisor"):
        assert "Traceback" in lines.text
        assert "injected" in lines.text
    assert tasks.wrong() == {}
    assert tasks.sent_twice() == {}
    assert tasks.run_twice() == []
    assert tasks.not_delivered() == []
    # What fails at the hub may never have reached it; and when a stream breaks, a task may be on its way, which the hub
    # hands out again.
    if not call.point.startswith("hub.") and not (outcome == ENDED and call.name == "take"):
        assert tasks.taken_for_nothing() == []


def _trouble(running: Running, call: Call) -> None:
    """Have the call made, while there is work to do."""
    if call.trigger is not an_end:
        call.trigger(running)
    running.tasks.submit("work", 8)
    if call.trigger is not a_reload:  # what large tasks need is what a reload needs, too
        running.tasks.submit("work", 2, size=LARGE)
    if call.trigger is an_end:
        call.trigger(running)


def _wait(running: Running, *, is_stopping: bool) -> None:
    """Wait for its end. One that goes on is stopped, but only after it has answered what came later."""
    host, tasks, fault, *_ = running
    deadline = Deadline(END_S)
    wait_until(lambda: host.has_ended or (not is_stopping and tasks.have_verdicts() and fault.is_over), deadline.left_s)
    assert fault.hits, "the fault was never reached"
    while not (host.has_ended or is_stopping or tasks.missing()):
        [*_, limited] = [*tasks.submit("work", 3), *tasks.submit("work", size=LARGE), *tasks.submit("limited")]
        tasks.allow(LIMIT, [limited])
        wait_until(lambda: host.has_ended or tasks.have_verdicts(), deadline.left_s)
        if tasks.have_verdicts() and tasks.words(limited) != [LIMIT]:
            host.stop()
            is_stopping, deadline = True, Deadline(END_S)
    wait_until(lambda: host.has_ended, deadline.left_s if is_stopping else 0)
    assert host.has_ended, f"it is alive, and does not serve or does not stop; without a verdict: {tasks.missing()}"
