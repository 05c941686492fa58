"""Whatever a zygote says, or stops saying, in whatever order: its answer comes to whoever waits for it, descriptors go
to their owner or are closed, and what cannot be understood ends it. The test is the zygote; there is no process."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
from stepped_loop import SteppedLoop

from arbd.errors import ConfigError, TargetError, ZygoteError
from arbd.host import channel, child, memory
from arbd.ipc import zygote_protocol as protocol
from arbd.model.description import ActionInfo, Description
from arbd.supervisor.zygote_link import ZygoteLink

LOG = protocol.LogSettings("info", "json", False)
BOOT = protocol.Boot("target", [], False, LOG, stacks=True)
CONFIGURE = protocol.Configure("p", "hub:1", "UTC", 5.0, "plain", 1 << 20, LOG)
DESCRIPTION = Description({"name": "p"}, [ActionInfo(name, "", None, {}, None, "", False) for name in ("one", "other")])


class FakeProcess:
    """A process that ends when it is told to, or killed."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.kills = 0
        self.is_immortal = False

    def kill(self) -> None:
        self.kills += 1
        if not self.is_immortal:
            self.status = -9

    def poll(self) -> int | None:
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        if self.status is None:
            raise subprocess.TimeoutExpired("zygote", timeout or 0)
        return self.status


class Events:
    """The owner of workers; it closes what it is given."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_spawned(self, worker_id: int, pid: int, pidfd: int) -> None:
        os.close(pidfd)
        self.told.append(("spawned", worker_id, pid))

    def on_exited(self, worker_id: int, status: int, reason: str) -> None:
        self.told.append(("exited", worker_id, status, reason))

    def on_zygote_lost(self, zygote: ZygoteLink) -> None:
        self.told.append(("lost", zygote.lost, zygote.answers))


class Rig:
    """A link, and the other end of its channel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = SteppedLoop()
        self.process = FakeProcess()
        self.events = Events()
        self.ours, self.theirs = channel.pair()
        self.ours.setblocking(False)
        monkeypatch.setattr(child, "start", self._start)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.loop.now * 1e9))
        self.environ: dict[str, str] | None = None

    def _start(
        self, program: str, environ: dict[str, str], message: bytes, descriptors: tuple[int, ...]
    ) -> tuple[FakeProcess, socket.socket]:
        assert program == "arbd.worker.zygote"
        assert len(descriptors) == 1
        self.environ = environ
        channel.send(self.ours, message)
        return self.process, self.ours

    def say(self, message: protocol.FromZygote | bytes, fds: tuple[int, ...] = ()) -> None:
        """The zygote says this; it keeps none of these descriptors."""
        channel.send(self.theirs, message if isinstance(message, bytes) else protocol.encode(message), fds)
        for fd in fds:
            os.close(fd)

    def describe(self, content: bytes | None = None) -> None:
        parcel = memory.create_parcel((msgspec.msgpack.encode(DESCRIPTION) if content is None else content,))
        self.say(protocol.Described(), (parcel,))

    def end(self, status: int | None = 0) -> None:
        """Its process ends; ``None``: only its end of the channel is closed."""
        self.process.status = status
        self.theirs.close()

    async def heard(self) -> None:
        """All that was said has arrived."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def load(self, boot: protocol.Boot = BOOT) -> ZygoteLink:
        return await ZygoteLink.load(boot, {"A": "B"})

    async def serve(self) -> ZygoteLink:
        """A link that was loaded and configured."""
        self.describe()
        link = await self.load()
        link.configure(CONFIGURE, self.events)
        return link

    def heard_there(self) -> list[protocol.ToZygote]:
        """What the zygote was told."""
        self.theirs.setblocking(False)
        found = []
        try:
            while message := channel.receive(self.theirs)[0]:
                found.append(protocol.decode_to_zygote(message))
        except BlockingIOError:
            pass
        return found

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await test()

        self.loop.run(run())

    def close(self) -> None:
        self.loop.close()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rig = Rig(monkeypatch)
    yield rig
    rig.close()


def was_ended(rig: Rig) -> bool:
    """Whether nothing is left of it."""
    return rig.process.kills > 0 and rig.ours.fileno() < 0


# -- load ------------------------------------------------------------------------------------------------------------


def test_it_is_told_its_target_and_says_what_it_has_loaded(rig: Rig) -> None:
    async def test() -> None:
        rig.describe()
        link = await rig.load()
        assert link.description == DESCRIPTION
        assert link.numbers == {"one": 0, "other": 1}
        assert rig.heard_there() == [BOOT]
        assert rig.environ == {"A": "B"}
        assert link.answers
        assert not link.has_answered
        link.close()

    rig.run(test)


@pytest.mark.parametrize(
    ("failed", "kind", "words"),
    [
        (protocol.Failed(True, ["there is no such file"]), TargetError, "there is no such file"),
        (protocol.Failed(False, ["NameError: x"], "Traceback: line 1"), ZygoteError, "NameError: x\nTraceback: line 1"),
    ],
)
def test_code_that_fails_is_told_by_whose_fault_it_is(
    rig: Rig, failed: protocol.Failed, kind: type[Exception], words: str
) -> None:
    async def test() -> None:
        rig.say(failed)
        with pytest.raises(kind) as caught:
            await rig.load()
        assert words in str(caught.value)
        assert was_ended(rig)

    rig.run(test)


@pytest.mark.parametrize("has_read", [True, False])
def test_a_process_that_ends_meanwhile_is_told_with_its_status(rig: Rig, has_read: bool) -> None:
    async def test() -> None:
        loading = asyncio.ensure_future(rig.load())
        await rig.heard()
        if has_read:
            channel.receive(rig.theirs)
        rig.end(3)
        with pytest.raises(ZygoteError, match="ended with status 3"):
            await loading

    rig.run(test)


def test_a_target_that_is_too_long_to_be_told_starts_nothing(rig: Rig) -> None:
    async def test() -> None:
        with pytest.raises(ConfigError, match="bytes"):
            await rig.load(protocol.Boot("t" * channel.MAX_MESSAGE, [], False, LOG))
        assert rig.environ is None

    rig.run(test)


def test_one_that_the_kernel_does_not_watch_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def test() -> None:
        monkeypatch.setattr(rig.loop, "add_reader", full)
        with pytest.raises(OSError, match="No space left"):
            await rig.load()
        assert was_ended(rig)

    rig.run(test)


def test_one_that_nobody_waits_for_any_more_is_ended(rig: Rig) -> None:
    async def test() -> None:
        loading = asyncio.ensure_future(rig.load())
        await rig.heard()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert was_ended(rig)

    rig.run(test)


def parcel(content: bytes) -> tuple[int, ...]:
    return (memory.create_parcel((content,)),)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (b"\xc1", None),
        (b"\x80", None),
        (b"no msgpack", None),
        (protocol.encode(protocol.Described())[:-1], None),
        (protocol.encode(protocol.Exited(1, 0))[:-1], None),
        (protocol.encode(BOOT), None),
        (protocol.encode(protocol.Described()), None),  # without what it has loaded
        (protocol.encode(protocol.Described()), b""),
        (protocol.encode(protocol.Described()), b"\x80"),
        (protocol.encode(protocol.Described()), msgspec.msgpack.encode(DESCRIPTION)[:-1]),
        (protocol.encode(protocol.Spawned(1, 2)), None),  # without its handle
    ],
)
def test_what_cannot_be_understood_ends_it(rig: Rig, message: bytes, content: bytes | None) -> None:
    """Its memory is the author's to damage."""

    async def test() -> None:
        rig.say(message, () if content is None else parcel(content))
        loading = asyncio.ensure_future(rig.load())
        await rig.heard()
        assert rig.process.kills == 1
        rig.theirs.close()
        with pytest.raises(ZygoteError, match="status -9"):
            await loading

    rig.run(test)


def test_a_second_description_changes_nothing(rig: Rig) -> None:
    async def test() -> None:
        rig.describe()
        rig.describe(msgspec.msgpack.encode(Description({}, [])))
        rig.say(protocol.Failed(True, ["too late"]))
        link = await rig.load()
        await rig.heard()
        assert link.description == DESCRIPTION
        assert rig.loop.reported == []
        link.close()

    rig.run(test)


# -- workers ---------------------------------------------------------------------------------------------------------


def test_it_is_asked_for_workers_and_tells_of_them(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        link.spawn(protocol.Spawn(1, 0), ())
        assert rig.heard_there() == [BOOT, CONFIGURE, protocol.Spawn(1, 0)]
        rig.loop.now += 5.0
        rig.say(protocol.Spawned(1, 4711), (os.eventfd(0),))
        rig.say(protocol.Exited(1, -11))
        rig.say(protocol.Exited(2, 1, "no process"))
        await rig.heard()
        assert rig.events.told == [("spawned", 1, 4711), ("exited", 1, -11, ""), ("exited", 2, 1, "no process")]
        assert link.has_answered
        assert link.heard_at_ns == round(rig.loop.now * 1e9)
        link.close()

    rig.run(test)


def test_a_worker_that_nobody_has_asked_for_costs_no_descriptor(rig: Rig) -> None:
    async def test() -> None:
        rig.describe()
        link = await rig.load()
        before = len(os.listdir("/proc/self/fd"))
        rig.say(protocol.Spawned(1, 4711), (os.eventfd(0),))
        rig.say(protocol.Exited(1, 0))
        await rig.heard()
        assert len(os.listdir("/proc/self/fd")) == before
        link.close()

    rig.run(test)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ETOOMANYREFS, errno.EAGAIN])
def test_a_request_for_which_there_is_no_room_now_is_raised(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def test() -> None:
        link = await rig.serve()

        def full(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(channel, "send", full)
            with pytest.raises(OSError, match=os.strerror(number)):
                link.spawn(protocol.Spawn(1, 0), ())
        assert link.answers
        link.spawn(protocol.Spawn(1, 0), ())
        link.close()

    rig.run(test)


def test_a_socket_that_is_full_is_such_a_case(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        asked = 0
        try:
            while asked < 100_000:
                link.spawn(protocol.Spawn(asked, 0), ())
                asked += 1
        except BlockingIOError:
            pass
        assert 0 < asked < 100_000
        assert link.answers
        link.close()

    rig.run(test)


def test_one_that_is_gone_is_not_raised_but_told(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        rig.end(1)
        link.spawn(protocol.Spawn(1, 0), ())
        assert rig.events.told == []
        await rig.heard()
        assert rig.events.told == [("lost", True, False)]
        assert rig.process.kills == 0

    rig.run(test)


def test_one_that_closes_its_end_and_lives_on_is_killed(rig: Rig) -> None:
    async def test() -> None:
        await rig.serve()
        rig.end(None)
        await rig.heard()
        assert rig.process.kills == 1
        assert rig.events.told == [("lost", True, False)]

    rig.run(test)


def test_garbage_from_one_that_serves_ends_it_and_that_is_told_once(rig: Rig) -> None:
    async def test() -> None:
        await rig.serve()
        rig.say(b"\xc1")
        await rig.heard()
        assert rig.process.kills == 1
        rig.theirs.close()
        await rig.heard()
        assert rig.events.told == [("lost", True, False)]

    rig.run(test)


def test_a_wake_up_for_nothing_is_none(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        link._on_readable()
        assert rig.events.told == []
        link.close()

    rig.run(test)


# -- the end ---------------------------------------------------------------------------------------------------------


def test_once_closed_it_tells_nothing_more(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        rig.say(protocol.Exited(1, 0))
        link.close()
        link.close()
        await rig.heard()
        assert rig.events.told == []
        with pytest.raises(ConnectionResetError):  # with a word unread; otherwise it is the end of the stream
            rig.theirs.recv(1)

    rig.run(test)


@pytest.mark.parametrize("ends_after", [0.5, None])
def test_its_end_is_waited_for_and_forced_if_need_be(rig: Rig, ends_after: float | None) -> None:
    async def test() -> None:
        link = await rig.serve()
        link.close()
        if ends_after is not None:
            rig.loop.call_later(ends_after, setattr, rig.process, "status", 0)
        began_at = rig.loop.now
        await link.wait_gone(2.0)
        assert rig.loop.now - began_at == pytest.approx(2.0 if ends_after is None else ends_after, abs=0.01)
        assert rig.process.kills == (ends_after is None)

    rig.run(test)


def test_a_process_that_cannot_be_killed_holds_nobody_up(rig: Rig) -> None:
    async def test() -> None:
        link = await rig.serve()
        link.close()
        rig.process.is_immortal = True
        link.kill()
        assert rig.process.kills == 1

    rig.run(test)
