"""Link processes and the supervisor's side of them, when something fails: what one had goes to others, each is reaped
and replaced, nothing is left open, and a moment without descriptors costs a moment."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from failing_port import Boom, Faults, FaultyPort, no_descriptor, unexpected
from hub_support import OK, Context, Log, ScriptedHub, Supervisor, eventually, tasks_once
from links_support import make_group, running, settings_for

from arbd.hub.board import NewTask
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.ipc import link_frame
from arbd.ipc.link_cell import LinkEnd
from arbd.links.processes import roster
from arbd.links.processes.group import LinkGroup
from arbd.links.processes.handle import LinkHandle
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb

SOON_S = 6.0

errors = pytest.mark.parametrize("make_error", [Boom, no_descriptor], ids=["unexpected", "OSError"])


def submit(hub: EmbeddedHub, count: int) -> str:
    batch, _ = hub.board.submit([NewTask("act", b"{}") for _ in range(count)], asyncio.get_running_loop().time())
    hub.submitted()
    return batch


async def answered(hub: EmbeddedHub, batch: str) -> None:
    await eventually(lambda: hub.board.is_finished(batch), 20)


async def up(group: LinkGroup, count: int) -> None:
    await eventually(lambda: [link.state for link in group.links] == ["up"] * count, 20)


def publish(link: LinkHandle, *records: bytes) -> None:
    """Stop a link, and write these up in its place; nobody is rung."""
    os.kill(link.pid, signal.SIGSTOP)
    end = LinkEnd(link._mapping, link._words)
    assert all(end.up.push(record) for record in records)


def task_record(task_id: str) -> bytes:
    return link_frame.encode_task(Task(task_id, "act"), 1000).record


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- the end of a link -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_a_task_left_by_a_dead_link_that_is_answered_at_once(count: int) -> None:
    """E2: its answer was to go to the link that had just died: its results stayed away, it was not reaped and not
    replaced."""

    async def scenario() -> None:
        seen, supervisor, log, silent = unexpected(), Supervisor(), Log(), asyncio.Event()

        async def held(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await silent.wait()
            return b""

        async with ScriptedHub(tasks_once(*map(str, range(10))), held) as hub:
            group = make_group(settings_for(hub.address), count, log)
            async with running(group, supervisor):
                await up(group, count)
                await eventually(lambda: sum(len(link.unacked) for link in group.links) == 10)
                victim = max(group.links, key=lambda link: len(link.unacked))
                publish(victim, task_record("left"))
                os.kill(victim.pid, signal.SIGKILL)
                await eventually(lambda: "link_lost" in log.events())
                silent.set()
                await eventually(lambda: len(supervisor.outbox) == 0)
                assert {result.id for result in hub.results} == {*map(str, range(10)), "left"}
                await up(group, count)
                assert seen == []
                assert not is_alive(victim.pid)

    uvloop.run(scenario())


@pytest.mark.parametrize(
    ("name", "make_error"),
    [
        ("take_tasks", Boom),
        ("take_tasks", no_descriptor),
        ("ack", Boom),
        ("put_back", no_descriptor),
        ("take", Boom),
        ("free_slots", no_descriptor),
    ],
)
def test_whatever_the_daemon_raises_when_a_link_ends_it_is_replaced_and_nothing_is_lost(
    name: str, make_error: Callable[[], Exception]
) -> None:
    async def scenario() -> None:
        faults, raised, log = Faults(), make_error(), Log()
        seen, supervisor = unexpected(), FaultyPort(faults)
        silent = asyncio.Event()

        async def held(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await silent.wait()
            return b""

        async with ScriptedHub(tasks_once(*map(str, range(10))), held) as hub:
            group = make_group(settings_for(hub.address), 2, log)
            async with running(group, supervisor):
                await up(group, 2)
                await eventually(lambda: len(supervisor.tasks) == 10)
                await eventually(lambda: sum(len(link.unacked) for link in group.links) == 10)
                victim = max(group.links, key=lambda link: len(link.unacked))
                acked = next(iter(victim.unacked))
                publish(victim, task_record("left"), link_frame.encode_acks([acked]))
                faults.fail(name, raised)
                silent.set()
                os.kill(victim.pid, signal.SIGKILL)
                await eventually(lambda: "link_lost" in log.events())
                await eventually(lambda: len(supervisor.outbox) == 0)
                await up(group, 2)
                assert {task.id for task in supervisor.tasks} == {*map(str, range(10)), "left"}
                assert seen == [raised]
                assert not is_alive(victim.pid)
                async with asyncio.timeout(SOON_S):
                    await group.stop_taking()
                assert await group.flush(1.0)

    uvloop.run(scenario())


@pytest.mark.parametrize("name", ["take_tasks", "free_slots", "take", "ack"])
def test_what_the_daemon_raises_is_seen_and_work_goes_on(name: str) -> None:
    async def scenario() -> None:
        faults, raised = Faults(), [Boom(), no_descriptor()]
        seen, supervisor = unexpected(), FaultyPort(faults, slots=12)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub:
            group = make_group(settings_for(hub.address), 2)
            async with running(group, supervisor):
                await up(group, 2)
                await answered(hub, submit(hub, 50))
                faults.fail(name, *raised)
                while faults.raised[name] < len(raised):
                    await answered(hub, submit(hub, 50))
                await answered(hub, submit(hub, 50))
                assert seen == raised
                async with asyncio.timeout(SOON_S):
                    await group.stop_taking()
                assert await group.flush(1.0)
                assert len(supervisor.outbox) == 0

    uvloop.run(scenario())


def test_acknowledgements_beside_one_that_is_forged_lose_no_result() -> None:
    async def scenario() -> None:
        supervisor, log, silent = Supervisor(), Log(), asyncio.Event()

        async def held(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await silent.wait()
            return b""

        async with ScriptedHub(tasks_once(*map(str, range(6))), held) as hub:
            group = make_group(settings_for(hub.address), 1, log)
            async with running(group, supervisor):
                await eventually(lambda: group.links and len(group.links[0].unacked) == 6)
                numbers = list(group.links[0].unacked)
                publish(group.links[0], link_frame.encode_acks([numbers[0], 12345, numbers[1]]))
                silent.set()
                group.look()
                await eventually(lambda: "link_ring_unreadable" in log.events())
                await eventually(lambda: len(supervisor.outbox) == 0)

    uvloop.run(scenario())


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice in a row"])
def test_a_link_that_brought_more_than_it_was_last_allowed_upsets_no_count(
    twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is allowed may fall below what was asked for before; the once-a-second look must not count below none."""
    monkeypatch.setattr(roster, "_TICK_S", 0.05)

    async def scenario() -> None:
        seen, supervisor = unexpected(), Supervisor(slots=8, answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub:
            group = make_group(settings_for(hub.address), 2)
            async with running(group, supervisor):
                await up(group, 2)
                one, other = group.links
                one.popped += 40  # as if they had come in one batch, after the slots had gone
                if not twice:
                    other.allow(4)
                await asyncio.sleep(0.3)  # some looks
                assert seen == []

    uvloop.run(scenario())


def test_a_link_that_cannot_be_ended_keeps_nobody_waiting_and_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may keep a process that was killed, for as long as it likes."""
    monkeypatch.setattr(roster, "_END_TIMEOUT_S", 0.1)
    monkeypatch.setattr(LinkHandle, "kill", lambda _: None)

    async def scenario() -> None:
        seen, supervisor, log = unexpected(), Supervisor(), Log()

        async def held(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await asyncio.sleep(600)
            return b""

        async with ScriptedHub(tasks_once(*map(str, range(6))), held) as hub:
            group = make_group(settings_for(hub.address), 1, log)
            supervisor.link = group
            await group.start(supervisor)
            await eventually(lambda: group.links and len(group.links[0].unacked) == 6)
            [link] = group.links
            os.kill(link.pid, signal.SIGSTOP)
            async with asyncio.timeout(SOON_S):
                await group.close()
                await group.stop_taking()
            assert "link_cannot_be_ended" in log.events()
            os.kill(link.pid, signal.SIGKILL)
            link.reap()
            group.results_ready()
            group.slots_changed()
            await asyncio.sleep(0.05)  # for something that must not happen
            assert seen == []
        left = [outcome.task.id for _ in range(7) if (outcome := supervisor.outbox.take()) is not None]
        assert sorted(left) == [*map(str, range(6))]

    uvloop.run(scenario())


# -- the start of a link ---------------------------------------------------------------------------------------------


class FailsFor:
    """Stands for a function that raises for the next ``count`` calls."""

    def __init__(self, really: Callable[..., Any], count: int, make_error: Callable[[], Exception]) -> None:
        self._really = really
        self._make_error = make_error
        self.left = count

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self._make_error()
        return self._really(*arguments, **options)


def broken_child() -> Exception:
    return subprocess.SubprocessError("Bad exception data from child")


@pytest.mark.parametrize(
    ("owner", "name", "make_error"),
    [
        ("os", "memfd_create", no_descriptor),
        ("os", "eventfd", no_descriptor),
        ("os", "pidfd_open", no_descriptor),
        ("os", "pidfd_open", lambda: PermissionError(errno.EPERM, "Operation not permitted")),
        ("mmap", "mmap", lambda: OSError(errno.ENOMEM, "Cannot allocate memory")),
        ("socket", "socketpair", no_descriptor),
        ("socket", "send_fds", lambda: OSError(errno.ETOOMANYREFS, "Too many references")),
        ("subprocess", "Popen", lambda: OSError(errno.EAGAIN, "Resource temporarily unavailable")),
        ("subprocess", "Popen", broken_child),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_start_that_fails_halfway_leaves_nothing_and_is_tried_again(
    owner: str, name: str, make_error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__(owner)

    async def scenario() -> None:
        seen, supervisor, log = unexpected(), Supervisor(), Log()
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub:
            group = make_group(settings_for(hub.address), 0, log)
            async with running(group, supervisor):
                before = set(os.listdir("/proc/self/fd"))
                fails = FailsFor(getattr(module, name), 3, make_error)
                monkeypatch.setattr(module, name, fails)
                group._roster.start(supervisor.bell, 1)
                assert set(os.listdir("/proc/self/fd")) == before
                await eventually(lambda: not fails.left)
                monkeypatch.undo()
                await up(group, 1)
                assert log.events().count("link_not_started") == 3
                await answered(hub, submit(hub, 20))
                assert seen == []

    uvloop.run(scenario())


def test_a_process_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []
    popen = subprocess.Popen

    class Noted(popen):  # type: ignore[valid-type,misc] # a class that is only known now
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            pids.append(self.pid)

    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub() as hub:
            group = make_group(settings_for(hub.address), 0)
            async with running(group, supervisor):
                monkeypatch.setattr(subprocess, "Popen", Noted)
                monkeypatch.setattr(os, "pidfd_open", FailsFor(os.pidfd_open, 1, no_descriptor))
                group._roster.start(supervisor.bell, 1)
                [pid] = pids
                assert not is_alive(pid)
                monkeypatch.undo()
                await up(group, 1)

    uvloop.run(scenario())


# -- large results and tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [("os", "memfd_create", errno.EMFILE), ("os", "write", errno.ENOSPC), ("socket", "send_fds", errno.ETOOMANYREFS)],
)
def test_a_large_result_waits_for_a_descriptor_and_costs_no_link(
    owner: str, name: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else happens that would have anybody look again."""
    monkeypatch.setattr(roster, "_TICK_S", 600.0)
    module = __import__(owner)

    async def scenario() -> None:
        seen, supervisor, log = unexpected(), Supervisor(answer=lambda task: None), Log()
        async with EmbeddedHub(HubOptions(hold_s=600)) as hub:
            group = make_group(settings_for(hub.address), 2, log)
            async with running(group, supervisor):
                await up(group, 2)
                pids = {link.pid for link in group.links}
                batch = submit(hub, 3)
                await eventually(lambda: len(supervisor.tasks) == 3)
                really = getattr(module, name)

                def none_left(*arguments: Any) -> Any:
                    if name == "write" and len(arguments[1]) < 1000:
                        return really(*arguments)
                    raise OSError(code, os.strerror(code))

                monkeypatch.setattr(module, name, none_left)
                supervisor.finish(Outcome(supervisor.tasks[0], "success", b"x" * 500_000))
                for task in supervisor.tasks[1:]:
                    supervisor.finish(Outcome(task, "success", OK))
                await eventually(lambda: len(supervisor.outbox) == 1)  # the others are not held up
                await asyncio.sleep(0.3)  # the length of that moment
                assert len(supervisor.outbox) == 1
                monkeypatch.setattr(module, name, really)
                await answered(hub, batch)
                assert {link.pid for link in group.links} == pids
                assert not {"link_ring_unreadable", "link_lost"} & set(log.events())
                assert seen == []

    uvloop.run(scenario())


def test_a_large_result_that_waits_for_a_descriptor_is_in_the_outbox_after_a_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: None)
        async with EmbeddedHub(HubOptions(hold_s=0.2)) as hub:
            group = make_group(settings_for(hub.address), 1)
            async with running(group, supervisor):
                await up(group, 1)
                submit(hub, 20)
                await eventually(lambda: len(supervisor.tasks) == 20)
                monkeypatch.setattr(os, "memfd_create", FailsFor(os.memfd_create, 1_000_000, no_descriptor))
                for task in supervisor.tasks:
                    supervisor.finish(Outcome(task, "success", b"x" * 500_000))
                await asyncio.sleep(0.2)  # some looks
                assert await group.flush(0.1) is False
        left = [outcome.task.id for _ in range(21) if (outcome := supervisor.outbox.take()) is not None]
        assert left == [task.id for task in supervisor.tasks]

    uvloop.run(scenario())


# -- inside a link process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status", "line"),
    [
        ("timer", 71, "unexpected_failure"),
        ("take", 71, "unexpected_failure"),
        ("start_os", 71, "unexpected_failure"),
        ("start_config", 78, "link_cannot_start"),
    ],
)
def test_a_link_process_that_fails_says_why_and_another_takes_its_place(
    how: str,
    status: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fails_by(how, tmp_path, monkeypatch)

    async def scenario() -> None:
        seen, supervisor, log = unexpected(), Supervisor(), Log()
        async with EmbeddedHub(HubOptions(hold_s=0.2, lease_s=60)) as hub:
            settings = settings_for(hub.address, log__silent=False)
            group = make_group(settings, 1, log, program="failing_link")
            async with running(group, supervisor):
                while "link_lost" not in log.events():
                    await answered(hub, submit(hub, 20))
                    await asyncio.sleep(0.01)
                await answered(hub, submit(hub, 50))
                assert [words["status"] for _, event, words in log.lines if event == "link_lost"] == [status]
                assert len(supervisor.tasks) == len({task.id for task in supervisor.tasks})
                assert seen == []

    uvloop.run(scenario())
    said = capfd.readouterr().err
    assert line in said
    assert ("Traceback" in said) == (status == 71)


def fails_by(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the program ``failing_link`` fail so; the file that it makes at that moment."""
    failed = tmp_path / "failed"
    monkeypatch.setenv("FAILS_BY", how)
    monkeypatch.setenv("FAILED_FILE", str(failed))
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    return failed


def test_a_link_process_that_fails_sends_the_results_it_has_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fails_by("timer", tmp_path, monkeypatch)

    async def scenario() -> None:
        supervisor, log, release = Supervisor(), Log(), asyncio.Event()

        async def held(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await release.wait()
            return b""

        async with ScriptedHub(tasks_once(*map(str, range(10))), held) as hub:
            group = make_group(settings_for(hub.address), 1, log, program="failing_link")
            async with running(group, supervisor):
                await eventually(lambda: failed.exists() and len(hub.results) == 10, 20)
                release.set()
                await eventually(lambda: "link_lost" in log.events())
                await eventually(lambda: len(supervisor.outbox) == 0)
                assert sorted(result.id for result in hub.results) == sorted(map(str, range(10)))  # none of them twice

    uvloop.run(scenario())
