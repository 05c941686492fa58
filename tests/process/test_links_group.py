"""A group of link processes at a real hub, in a test's own process: results change hands, mad and stuck links are
replaced, and slots are kept to."""

from __future__ import annotations

import asyncio
import os
import signal
import struct

import pytest
import uvloop
from hub_support import OK, Context, GetTask, Log, ScriptedHub, Supervisor, eventually, tasks_once
from links_support import make_group, running, settings_for

from arbd.host import doorbell
from arbd.hub.board import NewTask
from arbd.hub.server import EmbeddedHub, HubOptions
from arbd.ipc import layout, link_frame
from arbd.ipc.link_cell import LinkEnd
from arbd.links.processes import roster
from arbd.links.processes.group import LinkGroup
from arbd.links.processes.handle import LinkHandle
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb


def submit(hub: EmbeddedHub, count: int) -> list[str]:
    """So many tasks at once."""
    _, ids = hub.board.submit([NewTask("act", b"{}") for _ in range(count)], asyncio.get_running_loop().time())
    hub.submitted()
    return ids


def tasks_from(moment: asyncio.Event, count: int) -> GetTask:
    """Hand out so many tasks, once each, as soon as the event is set."""
    tasks = tasks_once(*map(str, range(count)))

    async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        return await (tasks if moment.is_set() else tasks_once())(hub, request, context)

    return get_task


async def up(group: LinkGroup, count: int) -> None:
    """Wait until so many links are connected."""
    await eventually(lambda: [link.state for link in group.links] == ["up"] * count)


def test_all_links_take_part_and_each_task_gets_its_own_result() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(answer=lambda task: Outcome(task, "success", f'{{"of":"{task.id}"}}'.encode()))
        async with EmbeddedHub() as hub:
            group = make_group(settings_for(hub.address), 3)
            async with running(group, supervisor):
                await up(group, 3)
                ids = submit(hub, 600)
                await eventually(lambda: group.stats.accepted == 600)
                assert sorted(task.id for task in supervisor.tasks) == sorted(ids)
                assert all(link.popped > 50 for link in group.links)
                await group.stop_taking()
                assert await group.flush(1.0)

    uvloop.run(scenario())


def test_more_is_not_asked_for_than_there_are_slots() -> None:
    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            await asyncio.sleep(0.01)
            return pb.Task(id=f"t{hub.polls}", action="a").SerializeToString()

        supervisor = Supervisor(slots=5, answer=lambda task: None)
        async with ScriptedHub(get_task) as hub:
            group = make_group(settings_for(hub.address), 2)
            async with running(group, supervisor):
                await eventually(lambda: len(supervisor.tasks) == 5)
                await asyncio.sleep(0.1)  # for something that must not happen: a poll without a slot
                assert (hub.polls, len(supervisor.tasks)) == (5, 5)
                for task in supervisor.tasks[:2]:
                    supervisor.finish(Outcome(task, "success", OK))
                await eventually(lambda: len(supervisor.tasks) == 7)

    uvloop.run(scenario())


def test_results_of_a_link_that_is_killed_go_out_through_others() -> None:
    async def scenario() -> None:
        stuck = asyncio.Event()

        async def never(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            if not stuck.is_set():
                await stuck.wait()
            return b""

        supervisor, are_up = Supervisor(), asyncio.Event()
        async with ScriptedHub(tasks_from(are_up, 40), never) as hub:
            log = Log()
            group = make_group(settings_for(hub.address), 2, log)
            async with running(group, supervisor):
                await up(group, 2)
                are_up.set()
                await eventually(lambda: len(hub.results) == 40)
                held = [len(link.unacked) for link in group.links]
                assert sum(held) == len(supervisor.outbox) == 40
                assert min(held) > 0  # spread over both
                stuck.set()
                victim = group.links[0]
                os.kill(victim.pid, signal.SIGKILL)
                await eventually(lambda: len(supervisor.outbox) == 0)
                await up(group, 2)
                assert {result.id for result in hub.results} == set(map(str, range(40)))
                assert log.events().count("link_lost") == 1

    uvloop.run(scenario())


def test_a_link_killed_with_results_it_has_not_sent_gives_all_of_them_back() -> None:
    async def scenario() -> None:
        async def stuck(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await asyncio.sleep(600)
            return b""

        supervisor = Supervisor()
        async with ScriptedHub(tasks_once(*map(str, range(40))), stuck) as hub:
            group = make_group(settings_for(hub.address), 1)
            async with running(group, supervisor):
                await eventually(lambda: len(supervisor.outbox) == 40)
                await group.stop_taking()
                assert await group.flush(0.1) is False
        left = [supervisor.outbox.take() for _ in range(41)]
        assert [outcome.task.id if outcome else None for outcome in left] == [*map(str, range(40)), None]

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "record",
    [
        b"\x63\0\0\0\0\0\0\0",
        struct.pack("<IIIIII", link_frame.TASK, 0, 9, 9, 9, 0),
        struct.pack("<IIIIII", link_frame.TASK, 1, 1, 1, 1, 0),  # by reference, and nothing came
        link_frame.encode_acks([12345]),
        link_frame.encode_task(Task("forged", "act"), 1000).record,  # nobody had asked for it
        link_frame.encode_failures({str(number): 1 for number in range(500)}),
        link_frame.encode_acks([]),
        link_frame.encode_lease(1.0)[:-1],
        link_frame.encode_stopped(1),  # nobody had asked for it
    ],
    ids=[
        "unknown kind",
        "lengths",
        "no parcel",
        "no such result",
        "too many tasks",
        "failures",
        "no results",
        "lease",
        "no stop",
    ],
)
def test_a_mad_link_is_killed_and_replaced(record: bytes) -> None:
    async def scenario() -> None:
        supervisor = Supervisor(slots=0)
        async with EmbeddedHub() as hub:
            log = Log()
            group = make_group(settings_for(hub.address), 1, log)
            async with running(group, supervisor):
                await eventually(lambda: group.links and group.links[0].has_booted)
                mad = group.links[0]
                forge(group, mad, record)
                await eventually(lambda: "link_ring_unreadable" in log.events())
                await eventually(lambda: group.links and group.links[0] is not mad)
                assert supervisor.tasks == []
                supervisor.slots = 64
                group.slots_changed()
                ids = submit(hub, 10)
                await eventually(lambda: group.stats.accepted == 10)
                assert sorted(task.id for task in supervisor.tasks) == sorted(ids)

    uvloop.run(scenario())


def test_a_link_that_writes_into_every_word_harms_itself_alone() -> None:
    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub(HubOptions(lease_s=1.0)) as hub:  # one task may be given to the link that is stopped
            log = Log()
            group = make_group(settings_for(hub.address), 2, log)
            async with running(group, supervisor):
                await up(group, 2)
                mad, good = group.links
                os.kill(mad.pid, signal.SIGSTOP)
                for word in range(layout.PAGE_WORDS):
                    mad._words[word] = (1 << 64) - 1
                doorbell.ring(supervisor.bell)
                ids = submit(hub, 100)
                await eventually(lambda: mad not in group.links)
                await eventually(lambda: set(ids) <= {task.id for task in supervisor.tasks})
                await eventually(lambda: len(supervisor.outbox) == 0)
                assert group.stats.accepted <= 200  # what it claimed to have done is forgotten
                assert good in group.links
                await up(group, 2)
                assert log.events().count("link_ring_unreadable") == 1

    uvloop.run(scenario())


def test_a_result_for_a_link_whose_ring_is_damaged_goes_to_another() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(slots=0)
        async with EmbeddedHub() as hub:
            log = Log()
            group = make_group(settings_for(hub.address), 1, log)
            async with running(group, supervisor):
                supervisor.slots = 1
                group.slots_changed()
                await up(group, 1)
                mad = group.links[0]
                os.kill(mad.pid, signal.SIGSTOP)
                mad._words[layout.DOWN_HEAD] = 1 << 40
                for number in range(3000):  # more than the ring has room for
                    supervisor.outbox.append(Outcome(Task(str(number), "act", b"x" * 500), "success", OK))
                group._most_unacked = 3000
                group.results_ready()
                await eventually(lambda: "link_ring_unreadable" in log.events())
                await eventually(lambda: len(supervisor.outbox) == 0)

    uvloop.run(scenario())


def forge(group: LinkGroup, link: LinkHandle, record: bytes) -> None:
    """Write a record up in place of the link, and have it looked at."""
    os.kill(link.pid, signal.SIGSTOP)
    assert LinkEnd(link._mapping, link._words).up.push(record)
    group.look()


def test_a_link_that_is_stuck_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "_TICK_S", 0.05)

    async def scenario() -> None:
        supervisor = Supervisor()
        async with EmbeddedHub() as hub:
            log = Log()
            group = make_group(settings_for(hub.address), 1, log)
            async with running(group, supervisor):
                await up(group, 1)
                os.kill(group.links[0].pid, signal.SIGSTOP)
                supervisor.outbox.append(Outcome(Task("1", "act"), "success", OK))
                group.results_ready()
                await eventually(lambda: "link_lost" in log.events())
                assert [event for event in log.events() if event in ("link_hangs", "link_lost")] == [
                    "link_hangs",
                    "link_lost",
                ]
                await up(group, 1)
                await eventually(lambda: len(supervisor.outbox) == 0)

    uvloop.run(scenario())


def test_links_that_are_busy_all_the_time_are_not_taken_for_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """They doze for most of the time, and are seen asleep for moments only."""
    monkeypatch.setattr(roster, "_TICK_S", 0.3)
    monkeypatch.setattr(roster, "_DEAF_TICKS", 5)

    async def scenario() -> None:
        async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
            await asyncio.sleep(0.1)
            return pb.Task(id=f"t{hub.polls}", action="a").SerializeToString()

        async def slow(hub: ScriptedHub, message: pb.TaskResult, context: Context) -> bytes:
            await asyncio.sleep(0.2)
            return b""

        supervisor = Supervisor()
        async with ScriptedHub(get_task, slow) as hub:
            log = Log()
            group = make_group(settings_for(hub.address), 2, log)
            async with running(group, supervisor):
                await up(group, 2)
                pids = [link.pid for link in group.links]
                log.lines.clear()  # one that takes long to boot, on a busy machine, is taken for stuck
                await asyncio.sleep(3.0)  # twice as long as a stuck one would live
                assert min(len(link.unacked) for link in group.links) >= 8  # what makes them doze
                assert [link.pid for link in group.links] == pids
                assert not {"link_hangs", "link_lost"} & set(log.events())
                await group.stop_taking()

    uvloop.run(scenario())


def test_a_program_that_does_not_start_is_tried_again_with_pauses() -> None:
    async def scenario() -> None:
        log = Log()
        group = make_group(settings_for("127.0.0.1:1"), 1, log, program="arbd.no_such_module")
        async with running(group, Supervisor()):
            await eventually(lambda: log.events().count("link_lost") >= 3)

    uvloop.run(scenario())
