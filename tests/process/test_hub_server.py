"""The embedded hub over real sockets: long polls, leases, tokens, the client service, and how it starts and stops."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from failing_port import unexpected
from hub_support import Supervisor, eventually, running_link
from rotation_support import Authority

from arbd.errors import EXIT_OK, EXIT_UNEXPECTED, HubError
from arbd.hub.board import NewTask, TaskBoard
from arbd.hub.client import HubClient
from arbd.hub.process import HubProcess
from arbd.hub.server import EmbeddedHub, HubOptions, serve
from arbd.links.options import LinkOptions
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.unary.link import GrpcUnaryLink
from arbd.wire.grpc_channel import Tls
from arbd.wire.pb import hub_pb2 as pb


class BareProvider:
    """The Hub protocol with nothing around it."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "", name: str = "prov") -> None:
        self._get = channel.unary_unary("/Hub/GetTask", None, pb.Task.FromString)
        self._submit = channel.unary_unary("/Hub/SubmitTaskResult", None, pb.Task.FromString)
        self._token = token
        self._name = name

    async def get(self, hold_ms: int | None = None) -> pb.Task:
        request = pb.ProviderRequest(provider=self._name, auth_token=self._token).SerializeToString()
        metadata = () if hold_ms is None else (("arbd-long-poll-ms", str(hold_ms)),)
        task: pb.Task = await self._get(request, timeout=10, metadata=metadata)
        return task

    async def submit(self, task_id: str, status: str = "success") -> pb.Task:
        result = pb.TaskResult(
            id=task_id, provider=self._name, auth_token=self._token, status=status, action="a", result="{}"
        )
        answer: pb.Task = await self._submit(result.SerializeToString(), timeout=10)
        return answer


@asynccontextmanager
async def bare_provider(address: str, token: str = "", name: str = "prov") -> AsyncIterator[BareProvider]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield BareProvider(channel, token, name)


def test_a_held_poll_gets_the_task_as_soon_as_it_is_submitted() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, bare_provider(hub.address) as provider, HubClient(hub.address) as client:
            poll = asyncio.create_task(provider.get())
            await eventually(lambda: hub.calls["GetTask"] == 1)
            begin = time.monotonic()
            batch = await client.submit([NewTask("a", b"{}")])
            assert (await poll).id == batch.ids[0]
            assert time.monotonic() - begin < 1.0

    asyncio.run(scenario())


def test_the_oldest_held_poll_is_served_first() -> None:
    async def scenario() -> None:
        async with (
            EmbeddedHub() as hub,
            HubClient(hub.address) as client,
            bare_provider(hub.address, name="p1") as one,
            bare_provider(hub.address, name="p2") as two,
        ):
            first = asyncio.create_task(one.get())
            await eventually(lambda: hub.calls["GetTask"] == 1)
            second = asyncio.create_task(two.get())
            await eventually(lambda: hub.calls["GetTask"] == 2)
            batch = await client.submit([NewTask("a"), NewTask("a")])
            assert [(await first).id, (await second).id] == batch.ids

    asyncio.run(scenario())


@pytest.mark.parametrize(("hold_s", "hold_ms"), [(0.0, None), (0.1, None), (20.0, 100), (0.1, 20_000)])
def test_a_poll_is_held_no_longer_than_either_side_wants(hold_s: float, hold_ms: int | None) -> None:
    async def scenario() -> None:
        async with EmbeddedHub(HubOptions(hold_s=hold_s)) as hub, bare_provider(hub.address) as provider:
            begin = time.monotonic()
            assert (await provider.get(hold_ms)).id == ""
            shortest = 0.0 if hold_s == 0.0 else 0.09
            assert shortest <= time.monotonic() - begin < 2.0

    asyncio.run(scenario())


def test_nothing_can_be_said_with_not_found() -> None:
    async def scenario() -> None:
        options = HubOptions(hold_s=0, no_task="not_found")
        async with EmbeddedHub(options) as hub, bare_provider(hub.address) as provider:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await provider.get()
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(scenario())


def test_a_task_goes_to_somebody_else_when_its_lease_is_over() -> None:
    async def scenario() -> None:
        async with EmbeddedHub(HubOptions(lease_s=0.2)) as hub, HubClient(hub.address) as client:
            batch = await client.submit([NewTask("a")])
            async with bare_provider(hub.address, name="p1") as one, bare_provider(hub.address, name="p2") as two:
                await one.get()
                assert (await two.get()).id == batch.ids[0]  # held until the lease of p1 was over
                await two.submit(batch.ids[0])
                await one.submit(batch.ids[0], "error")  # late: recorded, not counted
            [result] = [result async for result in client.results(batch.name)]
            assert (result.provider, result.status, result.attempts) == ("p2", "success", 2)
            history = [(event.kind, event.provider) for event in await client.history(batch.ids[0])]
            assert history == [
                ("submitted", ""),
                ("handed_out", "p1"),
                ("expired", "p1"),
                ("handed_out", "p2"),
                ("result", "p2"),
                ("result_duplicate", "p1"),
            ]

    asyncio.run(scenario())


def test_the_hub_gives_up_after_the_last_attempt() -> None:
    async def scenario() -> None:
        options = HubOptions(lease_s=0.1, max_attempts={"a": 2}, hold_s=1.0)
        async with EmbeddedHub(options) as hub, HubClient(hub.address) as client:
            batch = await client.submit([NewTask("a")])
            async with bare_provider(hub.address) as provider:
                await provider.get()
                await provider.get()
                [result] = [result async for result in client.results(batch.name)]
            assert result.response["data"]["error_code"] == "LEASE_EXPIRED"

    asyncio.run(scenario())


def test_a_task_for_a_provider_that_left_while_waiting_goes_to_the_next_one() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, HubClient(hub.address) as client:
            async with bare_provider(hub.address, name="gone") as gone:
                poll = asyncio.create_task(gone.get())
                await eventually(lambda: hub.calls["GetTask"] == 1)
                poll.cancel()
                await asyncio.gather(poll, return_exceptions=True)
            batch = await client.submit([NewTask("a")])
            async with bare_provider(hub.address, name="here") as here:
                assert (await here.get()).id == batch.ids[0]

    asyncio.run(scenario())


def test_a_task_given_to_a_poll_that_ends_at_that_moment_is_taken_back() -> None:
    """White box: between the wake-up of a held poll and its answer there is one turn of the loop."""

    async def scenario() -> None:
        hub = EmbeddedHub()
        poll = asyncio.create_task(hub.unary._hold("gone", 20.0))
        await asyncio.sleep(0)
        _, [task_id] = hub.board.submit([NewTask("a")], time.monotonic())
        hub.submitted()
        assert (hub.board.queued, hub.board.leased) == (0, 1)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert (hub.board.queued, hub.board.leased) == (1, 0)
        assert [event.kind for event in hub.board.history(task_id)] == ["submitted", "handed_out", "given_back"]

    asyncio.run(scenario())


def test_only_known_tokens_get_in() -> None:
    async def scenario() -> None:
        async with EmbeddedHub(HubOptions(tokens=["one", "two"], hold_s=0)) as hub:
            async with bare_provider(hub.address, token="two") as known:
                assert (await known.get()).id == ""
            async with bare_provider(hub.address, token="three") as unknown:
                for call in (unknown.get(), unknown.submit("x")):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await call
                    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            async with HubClient(hub.address, token="one") as client:
                assert (await client.submit([NewTask("a")])).ids != []
            async with HubClient(hub.address) as client:
                with pytest.raises(HubError) as refused:
                    await client.submit([NewTask("a")])
                assert refused.value.code == "UNAUTHENTICATED"
                with pytest.raises(HubError, match="UNAUTHENTICATED"):
                    [result async for result in client.results("any")]

    asyncio.run(scenario())


def test_a_result_for_no_task_is_refused() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, bare_provider(hub.address) as provider:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await provider.submit("no-such-task")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(scenario())


def test_results_are_streamed_while_others_are_still_waiting() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, HubClient(hub.address) as client, bare_provider(hub.address) as provider:
            batch = await client.submit([NewTask("a"), NewTask("a")])
            results = client.results(batch.name)
            for task_id in batch.ids:
                await provider.submit((await provider.get()).id)
                assert (await anext(results)).id == task_id
            with pytest.raises(StopAsyncIteration):
                await anext(results)
            again = [result.id async for result in client.results(batch.name, skip=1)]
            assert again == batch.ids[1:]

    asyncio.run(scenario())


def test_thousands_of_tasks_in_one_batch() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, HubClient(hub.address) as client:
            batch = await client.submit(NewTask("a", b"x" * 1000) for _ in range(2500))
            assert len(set(batch.ids)) == 2500
            assert (await client.stats())["queued"] == 2500
            async with running_link(hub.address, Supervisor(slots=32)):
                assert len([result async for result in client.results(batch.name)]) == 2500
            stats = await client.stats()
            assert (stats["queued"], stats["leased"], stats["SubmitTaskResult"]) == (0, 0, 2500)

    asyncio.run(scenario())


def test_what_the_hub_does_not_know_is_said_so() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub, HubClient(hub.address) as client:
            with pytest.raises(HubError, match="NOT_FOUND: task 'x' is unknown"):
                await client.history("x")
            with pytest.raises(HubError, match="NOT_FOUND: batch 'x' is unknown"):
                [result async for result in client.results("x")]
            await client.submit([NewTask("a", id="x")])
            with pytest.raises(HubError, match="ALREADY_EXISTS: task id 'x' is taken"):
                await client.submit([NewTask("a", id="x")])

    asyncio.run(scenario())


def test_an_address_in_use_is_an_error() -> None:
    async def scenario() -> None:
        async with EmbeddedHub() as hub:
            with pytest.raises(HubError, match="cannot listen"):
                await EmbeddedHub(HubOptions(address=hub.address)).start()

    asyncio.run(scenario())


def test_unix_sockets(tmp_path: Path) -> None:
    async def scenario() -> None:
        address = f"unix:{tmp_path}/hub.sock"
        async with EmbeddedHub(HubOptions(address=address)) as hub, HubClient(address) as client:
            assert hub.address == address
            async with running_link(address, Supervisor()):
                batch = await client.submit([NewTask("a")])
                assert [result.status async for result in client.results(batch.name)] == ["success"]

    asyncio.run(scenario())


def test_serve_answers_held_polls_when_it_ends() -> None:
    async def scenario() -> None:
        should_exit, addresses = asyncio.Event(), asyncio.Queue[str]()
        serving = asyncio.create_task(serve(HubOptions(), should_exit=should_exit, on_ready=addresses.put_nowait))
        address = await addresses.get()
        async with bare_provider(address) as provider, HubClient(address) as client:
            poll = asyncio.create_task(provider.get())
            async with asyncio.timeout(10):
                while not (await client.stats())["polls held"]:  # noqa: ASYNC110 - the hub tells whoever asks
                    await asyncio.sleep(0.01)
            should_exit.set()
            assert (await poll).id == ""
        await serving

    asyncio.run(scenario())


def test_the_process_ends_with_its_parent() -> None:
    hub = HubProcess(hold_s=0.5)
    hub.stop()
    assert hub.process.returncode == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A self-signed certificate for ``localhost``, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    )
    subprocess.run(shlex.split(command), cwd=directory, check=True, capture_output=True)
    return (directory / "cert.pem").read_bytes(), (directory / "key.pem").read_bytes()


def test_tls(certificate: tuple[bytes, bytes]) -> None:
    """Regression: the predecessor had plaintext channels only."""
    cert, key = certificate

    async def scenario() -> None:
        options = HubOptions(address="localhost:0", tls_cert=cert, tls_key=key)
        trust = Tls(ca=cert)
        async with EmbeddedHub(options) as hub:
            url = f"grpcs://{hub.address}"
            async with HubClient(url, tls_options=trust) as client, running_link(url, Supervisor(), tls_options=trust):
                batch = await client.submit([NewTask("a")])
                assert [result.status async for result in client.results(batch.name)] == ["success"]
            by_number = f"grpcs://127.0.0.1:{hub.address.rpartition(':')[2]}"
            named = Tls(ca=cert, server_name="localhost")
            async with HubClient(by_number, tls_options=named) as client:
                assert (await client.stats())["queued"] == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("case", ["no trust", "wrong name", "plaintext"])
def test_a_connection_that_cannot_be_trusted_carries_nothing(certificate: tuple[bytes, bytes], case: str) -> None:
    cert, key = certificate

    async def scenario() -> None:
        options = HubOptions(address="localhost:0", tls_cert=cert, tls_key=key)
        async with EmbeddedHub(options) as hub:
            port = hub.address.rpartition(":")[2]
            urls = {"no trust": f"grpcs://localhost:{port}", "wrong name": f"grpcs://127.0.0.1:{port}"}
            trust = Tls(ca=cert) if case == "wrong name" else Tls()
            url = urls.get(case, f"grpc://localhost:{port}")
            async with running_link(url, Supervisor(), tls_options=trust) as link:
                await eventually(lambda: link.stats.failures["GetTask UNAVAILABLE"] >= 2)
                assert hub.calls["GetTask"] == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("part", [{"tls_cert": b"c"}, {"tls_key": b"k"}, {"client_ca": b"ca"}, {"tls_cert": b""}])
def test_a_part_of_tls_is_no_plaintext(part: dict[str, Any]) -> None:
    async def scenario() -> None:
        with pytest.raises(HubError, match="belong together"):
            await EmbeddedHub(HubOptions(**part)).start()

    asyncio.run(scenario())


def test_who_has_no_certificate_of_the_authority_reaches_nothing(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    cert, key = ours.issue("hub")
    ways = {"none": None, "of another authority": other.issue("us"), "ours": ours.issue("us")}

    async def scenario() -> None:
        options = HubOptions(address="localhost:0", tls_cert=cert, tls_key=key, client_ca=ours.pem, tokens=["t"])
        async with EmbeddedHub(options) as hub:
            for name, way in ways.items():
                shown = Tls(ca=ours.pem) if way is None else Tls(ca=ours.pem, cert=way[0], key=way[1])
                url = f"grpcs://{hub.address}"
                async with HubClient(url, token="t", tls_options=shown, waits_for_hub=False) as client:
                    if name == "ours":
                        assert (await client.stats())["queued"] == 0
                        continue
                    with pytest.raises(HubError) as caught:
                        await client.stats()
                    assert caught.value.code == "UNAVAILABLE"
                    assert hub.calls.total() == 0

    asyncio.run(scenario())


# -- bugs, and callers who send what is no request -------------------------------------------------------------------


def test_a_bug_in_a_handler_is_seen_and_ends_the_hub() -> None:
    """gRPC answers UNKNOWN for it, and would go on for ever."""

    async def scenario() -> None:
        should_exit, addresses = asyncio.Event(), asyncio.Queue[str]()
        serving = asyncio.create_task(
            serve(HubOptions(hold_s=0.1), should_exit=should_exit, on_ready=addresses.put_nowait)
        )
        async with grpc.aio.insecure_channel(await addresses.get()) as channel:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(TaskBoard, "hand_out", bug)
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary("/Hub/GetTask", None, None)(b"", timeout=5)
            assert await asyncio.wait_for(serving, 5) == EXIT_UNEXPECTED

    asyncio.run(scenario())


def test_a_hub_that_is_told_to_end_ends_well() -> None:
    async def scenario() -> None:
        should_exit = asyncio.Event()
        should_exit.set()
        assert await serve(HubOptions(), should_exit=should_exit) == EXIT_OK

    asyncio.run(scenario())


@pytest.mark.parametrize("protocol", ["unary", "stream"])
def test_a_bug_behind_a_call_reaches_the_exception_handler(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        seen, port = unexpected(), Supervisor()
        async with EmbeddedHub(HubOptions(hold_s=0.1)) as hub:
            options = LinkOptions(url=hub.address, provider="prov")
            link = port.link = GrpcStreamLink(options) if protocol == "stream" else GrpcUnaryLink(options)
            await link.start(port)
            await eventually(lambda: link.stats.state == "up")
            monkeypatch.setattr(TaskBoard, "record_result", bug)
            hub.board.submit([NewTask("a")], time.monotonic())
            hub.submitted()
            await eventually(lambda: seen)
            assert {type(error) for error in seen} == {Bug}
            monkeypatch.undo()
            await eventually(lambda: len(port.outbox) == 0)
            await link.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "method",
    [
        "/Hub/GetTask",
        "/Hub/SubmitTaskResult",
        *(f"/arbd.client.v1.Client/{method}" for method in ("Submit", "Cancel", "History")),
    ],
)
def test_a_request_that_is_no_message_is_its_senders_fault(method: str) -> None:
    async def scenario() -> None:
        seen = unexpected()
        async with EmbeddedHub() as hub, grpc.aio.insecure_channel(hub.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(method, None, None)(b"\xff\xff\xff", timeout=5)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert seen == []

    asyncio.run(scenario())


def test_a_hub_without_descriptors_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario() -> None:
        monkeypatch.setattr(os, "eventfd", none_left)
        with pytest.raises(HubError, match="Too many open files"):
            await EmbeddedHub().start()
        with pytest.raises(HubError, match="Too many open files"):
            HubClient("127.0.0.1:1")

    asyncio.run(scenario())


class Bug(Exception):
    """Something that nobody expected."""


def bug(*_: object) -> None:
    raise Bug
