"""The in-process hub gives tasks to a link while it has free slots, and verdicts to whoever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from arbd.core.outbox import MemoryOutbox
from arbd.hub.board import SubmitError
from arbd.hub.memory import MemoryHub, MemoryLink
from arbd.links.base import LinkProcesses
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task


class Supervisor:
    """A port that keeps tasks until it is told to answer them."""

    def __init__(self, link: MemoryLink, slots: int) -> None:
        self.link = link
        self.slots = slots
        self.tasks: list[Task] = []
        self.outbox = MemoryOutbox()
        self.actions: Sequence[ActionInfo] = ()
        self.cancelled: list[str] = []

    def free_slots(self) -> int:
        return self.slots - len(self.tasks)

    def take(self, tasks: Sequence[Task]) -> None:
        self.tasks += tasks

    def note_lease(self, lease_s: float) -> None:
        pass

    def cancel(self, task_ids: Sequence[str]) -> None:
        self.cancelled += task_ids

    def join(self, processes: LinkProcesses) -> int:
        raise NotImplementedError("a memory link has no processes")

    def leave(self, processes: LinkProcesses) -> None:
        raise NotImplementedError("a memory link has no processes")

    def answer(self) -> None:
        self.outbox.append(Outcome(self.tasks.pop(0), "success", b'{"status":"success","data":{"n":1}}'))
        self.link.results_ready()
        self.link.slots_changed()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_task_goes_round() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        early = hub.submit("early")  # before there is any link
        link = hub.link()
        supervisor = Supervisor(link, slots=2)
        await link.start(supervisor)
        await turns()
        assert [task.id for task in supervisor.tasks] == [early.id]
        late = await asyncio.to_thread(hub.submit, "late", b'{"a":1}')
        await turns()
        assert [task.payload for task in supervisor.tasks] == [b"{}", b'{"a":1}']
        supervisor.answer()
        await turns()
        assert early.result(0).response == {"status": "success", "data": {"n": 1}}
        assert not late.done()
        assert [event.kind for event in hub.history(early.id)] == ["submitted", "handed_out", "result"]
        await link.close()

    asyncio.run(scenario())


def test_no_more_tasks_than_free_slots() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        link = hub.link()
        supervisor = Supervisor(link, slots=2)
        await link.start(supervisor)
        handles = [hub.submit("a") for _ in range(5)]
        await turns(10)
        assert len(supervisor.tasks) == 2
        while not all(handle.done() for handle in handles):
            supervisor.answer()
            await turns()
            assert len(supervisor.tasks) <= 2
        await link.close()

    asyncio.run(scenario())


def test_a_stopped_link_takes_nothing_and_still_reports() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        link = hub.link()
        supervisor = Supervisor(link, slots=5)
        await link.start(supervisor)
        running = hub.submit("a")
        await turns()
        await link.stop_taking()
        hub.submit("b")
        await turns()
        assert len(supervisor.tasks) == 1
        supervisor.answer()
        assert await link.flush(0.0)
        assert running.result(0).status == "success"
        await link.close()

    asyncio.run(scenario())


def test_a_lease_that_runs_out_reaches_the_other_provider() -> None:
    async def scenario() -> None:
        hub = MemoryHub(lease_s=0.0)
        dead, alive = hub.link("dead"), hub.link("alive")
        await dead.start(Supervisor(dead, slots=1))
        task = hub.submit("a")
        await turns()
        await dead.close()
        supervisor = Supervisor(alive, slots=1)
        await alive.start(supervisor)
        await turns()
        assert [taken.id for taken in supervisor.tasks] == [task.id]
        assert [event.kind for event in hub.history(task.id)] == ["submitted", "handed_out", "expired", "handed_out"]
        await alive.close()

    asyncio.run(scenario())


def test_waiting_ends_with_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        MemoryHub().submit("a").result(timeout=0)


def test_an_id_is_given_once() -> None:
    hub = MemoryHub()
    hub.submit("a", task_id="x")
    with pytest.raises(SubmitError, match="'x' is taken"):
        hub.submit("a", task_id="x")


def test_a_cancel_finds_its_task_in_line_or_at_the_link() -> None:
    async def scenario() -> None:
        hub = MemoryHub()
        link = hub.link()
        supervisor = Supervisor(link, slots=1)
        await link.start(supervisor)
        running, waiting = hub.submit("one"), hub.submit("two")
        await turns()
        assert (hub.cancel(running.id), hub.cancel(waiting.id), hub.cancel(waiting.id)) == (True, True, False)
        await turns()
        assert supervisor.cancelled == [running.id, waiting.id]
        assert waiting.result(0).response["data"] == {"error_code": "CANCELLED"}
        assert not running.done()
        await link.close()

    asyncio.run(scenario())


def test_a_flush_tries_again_until_the_outbox_gives_everything() -> None:
    class Failing(MemoryOutbox):
        failures = 3

        def take(self) -> Outcome | None:
            if self.failures and len(self):
                self.failures -= 1
                raise OSError("not now")
            return super().take()

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # each failure goes there
        hub = MemoryHub()
        link = hub.link()
        supervisor = Supervisor(link, slots=1)
        supervisor.outbox = Failing()
        await link.start(supervisor)
        handle = hub.submit("one")
        await turns()
        supervisor.answer()
        assert await link.flush(timeout=10)
        assert handle.result(0).status == "success"
        await link.close()

    asyncio.run(scenario())
