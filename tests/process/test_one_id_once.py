"""One id runs once in a daemon, however often and over which link the hub hands it out, and is answered once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from daemon_support import PROVIDERS, Arbd, Hub, eventually
from hub_support import Context, ScriptedHub
from hub_support import eventually as eventually_there

from arbd.model.task import Task
from arbd.wire import stream_frames as frames
from arbd.wire.pb import hub_pb2 as pb
from arbd.wire.stream_frames import ProviderFrame, Welcome

ONCE = PROVIDERS / "once.py"


def payload(directory: Path, name: str = "a") -> dict[str, str]:
    return {"path": str(directory), "name": name}


def begun(directory: Path, name: str = "a") -> int:
    """How often it was begun."""
    file = directory / f"begun-{name}"
    return len(file.read_text()) if file.exists() else 0


def let_go(directory: Path) -> None:
    (directory / "go").touch()


def start(address: str, directory: Path, **settings: str) -> Arbd:
    variables = {"ARBD_CONTROL_SOCKET": str(directory / "socket"), **settings}
    return Arbd.run(address, directory, target=ONCE, env=variables)


def status(directory: Path) -> tuple[dict[str, Any], str]:
    """The status of the daemon, as JSON and as text."""
    socket, out = str(directory / "socket"), directory / "asked"
    out.mkdir(exist_ok=True)
    texts = []
    for flags in (["--json"], []):
        with Arbd(["-m", "arbd", "status", socket, *flags], out) as asked:
            assert asked.exit_code() == 0
        texts.append(asked.out.read_text())
    return json.loads(texts[0]), texts[1]


# -- the unary protocol: leases are not renewed ------------------------------------------------------------------------


@pytest.mark.parametrize("links", ["0", "2"])
def test_a_task_longer_than_its_lease_runs_once_and_is_answered_once(tmp_path: Path, links: str) -> None:
    settings = {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_LINKS": links}
    with Hub(lease_s=0.5) as hub, start(hub.address, tmp_path, **settings) as daemon:
        daemon.wait_serving()
        [task_id] = hub.submit("run", payload(tmp_path))
        eventually(lambda: hub.kinds(task_id).count("handed_out") >= 4)
        let_go(tmp_path)
        assert hub.results()[task_id].status == "success"
        report, text = status(tmp_path)
        assert begun(tmp_path) == 1
        assert report["verdicts"]["success"] == report["link"]["accepted"] == 1
        assert report["joined"] >= 3
        assert "handed out again by the hub while under way" in text
        kinds = hub.kinds(task_id)
        assert kinds.count("result") + kinds.count("result_late") == 1
        assert "result_duplicate" not in kinds
        assert len(daemon.events("task_joined")) == 1
        [warning] = daemon.events("timeout_longer_than_lease")
        assert (warning["action"], warning["timeout"], warning["lease_s"]) == ("run", 60.0, 0.5)  # the hub tells it


def test_a_lease_that_a_hub_does_not_tell_shows_when_it_ends(tmp_path: Path) -> None:
    body = json.dumps(payload(tmp_path)).encode()
    handed_out: list[float] = []

    async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        if len(handed_out) > 1 or (handed_out and time.monotonic() < handed_out[0] + 0.5):
            await asyncio.sleep(0.02)
            return b""
        handed_out.append(time.monotonic())
        return pb.Task(id="t-1", action="run", payload=body).SerializeToString()

    async def scenario(hub: ScriptedHub, daemon: Arbd) -> None:
        [warning] = await asyncio.to_thread(daemon.wait_event, "timeout_longer_than_lease")
        assert (warning["action"], warning["timeout"]) == ("run", 60.0)
        assert 0.4 < warning["lease_s"] < 20.0
        assert "about" in warning["hint"]

    scripted(tmp_path, scenario, get_task)


def test_other_tasks_run_meanwhile(tmp_path: Path) -> None:
    with Hub(lease_s=0.3) as hub, start(hub.address, tmp_path, ARBD_HUB_PROTOCOL="unary") as daemon:
        daemon.wait_serving()
        [long] = hub.submit("run", payload(tmp_path))
        eventually(lambda: hub.kinds(long).count("handed_out") >= 3)
        bad = hub.submit("run", {}, count=200)  # answered without running
        eventually(lambda: hub.done() == 200)
        let_go(tmp_path)
        assert {hub.results()[each].status for each in bad} == {"error"}
        assert begun(tmp_path) == 1


def scripted(tmp_path: Path, scenario: Callable[[ScriptedHub, Arbd], Any], get_task: Any, submit: Any = None) -> None:
    """A daemon at a hub that follows a script."""

    async def run() -> None:
        async with ScriptedHub(get_task, submit) as hub:
            with start(hub.address, tmp_path, ARBD_HUB_PROTOCOL="unary") as daemon:
                await scenario(hub, daemon)

    asyncio.run(run())


def test_a_hub_that_gives_the_same_task_until_it_is_answered_is_not_asked_without_end(tmp_path: Path) -> None:
    """Its polls are answered at once, and nothing that joins takes a slot for long."""
    body = json.dumps(payload(tmp_path)).encode()

    async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        if hub.results:
            await asyncio.sleep(0.05)
            return b""
        return pb.Task(id="t-1", action="run", payload=body).SerializeToString()

    async def scenario(hub: ScriptedHub, daemon: Arbd) -> None:
        await eventually_there(lambda: begun(tmp_path) == 1, 30.0)
        await asyncio.sleep(0.5)  # to its steady pace
        before = hub.polls
        await asyncio.sleep(1.0)
        assert hub.polls - before < 100  # 2,000 and more without a brake
        let_go(tmp_path)
        await eventually_there(lambda: bool(hub.results))
        await asyncio.sleep(0.3)  # for something that must not happen: another result
        assert [result.id for result in hub.results] == ["t-1"]
        assert begun(tmp_path) == 1

    scripted(tmp_path, scenario, get_task)


def test_a_task_whose_result_waits_for_the_hub_joins_that(tmp_path: Path) -> None:
    body = json.dumps(payload(tmp_path)).encode()
    let_go(tmp_path)
    handed_out = 0
    accepted: list[str] = []

    async def get_task(hub: ScriptedHub, request: pb.ProviderRequest, context: Context) -> bytes:
        nonlocal handed_out
        if accepted or len(hub.results) < handed_out:
            await asyncio.sleep(0.02)
            return b""
        handed_out += 1
        return pb.Task(id="t-1", action="run", payload=body).SerializeToString()

    async def submit(hub: ScriptedHub, result: pb.TaskResult, context: Context) -> bytes:
        if handed_out < 4:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        accepted.append(result.status)
        return b""

    async def scenario(hub: ScriptedHub, daemon: Arbd) -> None:
        await eventually_there(lambda: bool(accepted), 30.0)
        await asyncio.sleep(0.2)  # for something that must not happen
        assert accepted == ["success"]
        assert begun(tmp_path) == 1
        report = await asyncio.to_thread(status, tmp_path)
        assert report[0]["joined"] == handed_out - 1
        assert report[0]["verdicts"]["success"] == 1

    scripted(tmp_path, scenario, get_task, submit)


# -- the stream --------------------------------------------------------------------------------------------------------


class StreamScript:
    """A hub that speaks the stream, and says what a test has it say. ``heard``: all frames, over all streams."""

    def __init__(self) -> None:
        self.heard: list[ProviderFrame] = []
        self.streams = 0
        self._writing = asyncio.Lock()
        self._context: Context | None = None
        self._seq = self._last = self._sent = self._credit = 0

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(result.id, result.status) for frame in self.heard for result in frame.results]

    async def say(self, **what: Any) -> None:
        """One frame, once there is a stream and credit for the tasks in it."""
        count = len(what.get("tasks", ()))
        await eventually_there(lambda: self._context is not None and self._sent + count <= self._credit, 30.0)
        self._sent += count
        await self._write(**what)

    async def _write(self, **what: Any) -> None:
        async with self._writing:  # gRPC takes one at a time
            assert self._context is not None
            self._seq += 1
            await self._context.write(frames.encode_hub_frame(self._seq, self._last, time.monotonic(), **what))

    async def end_stream(self) -> None:
        """Have the stream end, once all was heard that was said; the provider opens another one."""
        said = self._seq
        await eventually_there(lambda: self.heard[-1].acked >= said)
        self._ending.set()
        streams = self.streams
        await eventually_there(lambda: self.streams > streams and self._context is not None, 30.0)

    async def _connect(self, _requests: Any, context: Context) -> None:
        self._ending = asyncio.Event()
        self._seq = self._last = self._sent = self._credit = 0
        self.streams += 1
        reader = asyncio.create_task(self._read(context))
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait([reader, ending], return_when=asyncio.FIRST_COMPLETED)
        self._context = None
        for task in (reader, ending):
            task.cancel()

    async def _read(self, context: Context) -> None:
        while isinstance(data := await context.read(), bytes):
            frame = frames.decode_provider_frame(data)
            self.heard.append(frame)
            self._last, self._credit = frame.seq, frame.credit
            if frame.hello is not None:
                self._context = context
                await self._write(welcome=Welcome(1, 30.0, 4 << 20))
            else:
                await self._write()  # which acknowledges it

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The address of this hub."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service, method = frames.METHOD.strip("/").split("/")
        handlers = {method: grpc.stream_stream_rpc_method_handler(self._connect)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


def streaming(tmp_path: Path, scenario: Callable[[StreamScript, Arbd], Any]) -> None:
    async def run() -> None:
        hub = StreamScript()
        async with hub.serving() as address:
            with start(address, tmp_path, ARBD_HUB_PROTOCOL="stream") as daemon:
                await asyncio.to_thread(daemon.wait_serving)
                await scenario(hub, daemon)

    asyncio.run(run())


def task(tmp_path: Path, name: str, attempt: int = 1) -> Task:
    return Task(name, "run", json.dumps(payload(tmp_path, name)).encode(), attempt=attempt)


def test_an_id_twice_in_one_batch_and_again_on_another_stream_runs_once(tmp_path: Path) -> None:
    async def scenario(hub: StreamScript, daemon: Arbd) -> None:
        await hub.say(tasks=[task(tmp_path, "a"), task(tmp_path, "a")])
        await eventually_there(lambda: begun(tmp_path, "a") == 1, 30.0)
        await hub.say(tasks=[task(tmp_path, "a", 2)])
        await hub.end_stream()
        await hub.say(tasks=[task(tmp_path, "a", 3)])
        await hub.say(tasks=[task(tmp_path, "b")])
        await eventually_there(lambda: begun(tmp_path, "b") == 1)
        report, _ = await asyncio.to_thread(status, tmp_path)
        assert report["joined"] == 3
        assert report["in_flight"] == 2
        let_go(tmp_path)
        await eventually_there(lambda: len(hub.results) == 2)
        assert sorted(hub.results) == [("a", "success"), ("b", "success")]
        [answer] = [result for frame in hub.heard for result in frame.results if result.id == "a"]
        assert answer.attempt == 3
        assert (begun(tmp_path, "a"), begun(tmp_path, "b")) == (1, 1)
        assert not daemon.events("timeout_longer_than_lease")  # a stream renews leases
        await hub.say(tasks=[task(tmp_path, "a", 4)])  # accepted before: this is another task
        await eventually_there(lambda: begun(tmp_path, "a") == 2)

    streaming(tmp_path, scenario)


def test_a_cancel_is_for_every_hand_out_of_the_id(tmp_path: Path) -> None:
    async def scenario(hub: StreamScript, daemon: Arbd) -> None:
        await hub.say(tasks=[task(tmp_path, "a")])
        await eventually_there(lambda: begun(tmp_path, "a") == 1, 30.0)
        await hub.say(tasks=[task(tmp_path, "a", 2)], cancel=["a"])
        await eventually_there(lambda: bool(hub.results))
        [answer] = [result for frame in hub.heard for result in frame.results]
        assert json.loads(answer.result)["data"]["error_code"] == "CANCELLED"
        await hub.say(tasks=[task(tmp_path, "b")])
        await eventually_there(lambda: begun(tmp_path, "b") == 1)
        let_go(tmp_path)
        await eventually_there(lambda: len(hub.results) == 2)
        assert begun(tmp_path, "a") == 1

    streaming(tmp_path, scenario)
