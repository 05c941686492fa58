"""Claim: whatever happens to frames and streams, every task gets exactly one accepted verdict, none is lost, and no
provider ever has more tasks than it has slots.

Both sides run back to back, without sockets. Hypothesis drops, repeats, reorders and cuts frames, ends streams, lets
leases run out and cancels tasks; after that the line is repaired and everything must come to its end.
"""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st
from thoroughness import examples

from arbd.core.outbox import MemoryOutbox
from arbd.core.under_way import UnderWay
from arbd.hub.board import NewTask, TaskBoard
from arbd.hub.desk import Desk, StreamPeer
from arbd.links.options import plain_too_large
from arbd.links.stream.session import Identity, ProviderPhase, ProviderSession
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task
from arbd.wire.stream_frames import StreamError

LEASE_S = 3.0
STEP_S = 0.4
SLOTS = 3
MAX_FRAME = 1024 * 1024
ACTIONS = [ActionInfo("act", "", 1.0, {}, None, "", False)]


class Provider:
    """A supervisor of a few lines around a session."""

    def __init__(self, name: str) -> None:
        self.under_way = UnderWay()
        self.outbox = MemoryOutbox(self.under_way)
        self.session = ProviderSession(
            Identity(name, "token", f"session-{name}", MAX_FRAME), self.outbox, too_large=plain_too_large
        )
        self.running: dict[str, Task] = {}
        self.refused: list[tuple[str, str]] = []
        self.peer: StreamPeer | None = None
        self.to_hub: deque[bytes] = deque()
        self.to_provider: deque[bytes] = deque()

    @property
    def free_slots(self) -> int:
        return SLOTS - len(self.running)

    def take(self, data: bytes, now: float) -> None:
        received = self.session.receive(data, now)
        for task in received.tasks:
            if task.id in self.under_way:
                continue
            self.under_way[task.id] = (task, 0, False)
            assert task.id not in self.running, "a task that is held came up a second time"
            self.running[task.id] = task
        assert len(self.running) <= SLOTS, "more tasks than the credit allowed"
        self.refused += received.refused
        for task_id in received.cancel:
            if task_id in self.running:
                self.finish(task_id)

    def finish(self, task_id: str) -> None:
        self.outbox.append(Outcome(self.running.pop(task_id), "success", b"{}"))

    def flush(self, now: float) -> None:
        data = self.session.data_to_send(now, self.free_slots, ACTIONS)
        if data is not None:
            self.to_hub.append(data)


class World:
    """A hub, its providers, and the line between them."""

    def __init__(self, providers: int = 2, max_attempts: dict[str, int] | None = None) -> None:
        self.now = 0.0
        self.board = TaskBoard(lease_s=LEASE_S, max_attempts=max_attempts)
        self.desk = Desk(self.board, max_frame=MAX_FRAME)
        self.providers = [Provider(f"p{number}") for number in range(providers)]
        self.ids: list[str] = []

    def submit(self, count: int) -> None:
        _, ids = self.board.submit([NewTask("act") for _ in range(count)], self.now, "all")
        self.ids += ids

    def connect(self, provider: Provider) -> None:
        self.end_stream(provider)
        provider.session.open()
        provider.peer = self.desk.open()

    def end_stream(self, provider: Provider) -> None:
        provider.session.close()
        provider.to_hub.clear()
        provider.to_provider.clear()
        if provider.peer is not None:
            self.desk.close(provider.peer)
            provider.peer = None

    def hub_takes(self, provider: Provider, data: bytes) -> None:
        assert provider.peer is not None
        try:
            frame = provider.peer.session.receive(data)
            if frame is not None:
                self.desk.settle(provider.peer, frame, self.now)
        except StreamError:
            self.end_stream(provider)

    def provider_takes(self, provider: Provider, data: bytes) -> None:
        try:
            provider.take(data, self.now)
        except StreamError:
            self.end_stream(provider)

    def flush(self) -> None:
        for provider in self.providers:
            if provider.peer is not None:
                provider.flush(self.now)
                data = self.desk.next_frame(provider.peer, self.now)
                if data is not None:
                    provider.to_provider.append(data)

    def deliver(self, provider: Provider) -> None:
        while provider.to_hub:
            self.hub_takes(provider, provider.to_hub.popleft())
        while provider.to_provider:
            self.provider_takes(provider, provider.to_provider.popleft())

    def pass_time(self, seconds: float) -> None:
        """In steps: who looks at the clock long after it was to takes it that it was not running."""
        until = self.now + seconds
        while self.now < until:
            self._step(min(STEP_S, until - self.now))

    def _step(self, seconds: float) -> None:
        self.now += seconds
        for task_id in self.board.expire(self.now):
            self.desk.cancel(task_id)
        self.desk.drop_gone()
        for provider in self.providers:
            try:
                provider.session.on_time(self.now)
            except StreamError:
                self.end_stream(provider)

    def settle(self) -> None:
        """Repair the line and let everything come to its end."""
        for _ in range(8):
            for provider in self.providers:
                if provider.session.phase is ProviderPhase.CLOSED or provider.peer is None:
                    self.connect(provider)
            for _ in range(4 * (len(self.ids) + 2)):
                self.flush()
                for provider in self.providers:
                    self.deliver(provider)
                    for task_id in list(provider.running):
                        provider.finish(task_id)
            self.pass_time(LEASE_S + 0.1)


def exchange(world: World, provider: Provider, fault: str, at: int, cut: float) -> None:
    """What one side has to say reaches the other, but for one fault in one direction."""
    world.flush()
    to_hub = at % 2 == 0
    line = provider.to_hub if to_hub else provider.to_provider
    at = min(at // 2, len(line) - 1)
    if at >= 0:
        data = line[at]
        if fault == "drop":
            del line[at]
        elif fault == "repeat":
            line.insert(at, data)
        elif fault == "replay":  # much later
            line.append(data)
        elif fault == "cut":
            line[at] = data[: int(len(data) * cut)]
        elif fault == "swap" and at + 1 < len(line):
            line[at], line[at + 1] = line[at + 1], data
    if provider.peer is not None:
        world.deliver(provider)


def half_close(world: World, provider: Provider) -> None:
    """The provider notices that its stream has ended, the hub does not: the next hello finds the old one there."""
    provider.session.close()
    provider.to_hub.clear()
    provider.to_provider.clear()
    provider.session.open()
    provider.peer = world.desk.open()


def apply(world: World, step: tuple[str, int, int, str, float]) -> None:
    kind, who, number, fault, share = step
    provider = world.providers[who]
    if kind == "exchange":
        exchange(world, provider, fault, number, share)
    elif kind == "flush":
        world.flush()  # more than one frame on its way
    elif kind == "finish":
        for task_id in list(provider.running)[: number + 1]:
            provider.finish(task_id)
    elif kind == "submit":
        world.submit(number + 1)
    elif kind == "connect":
        world.connect(provider)
    elif kind == "half":
        half_close(world, provider)
    elif kind == "time":
        world.pass_time(share * 2 * LEASE_S)
    elif kind == "cancel" and number < len(world.ids):
        task_id = world.ids[-number - 1]
        if world.board.cancel(task_id, world.now):
            world.desk.cancel(task_id)


OFTEN = {"exchange": 8, "finish": 5, "flush": 3, "submit": 2, "time": 2, "cancel": 1, "half": 1, "connect": 1}
KINDS = [kind for kind, weight in OFTEN.items() for _ in range(weight)]
FAULTS = [""] * 8 + ["drop", "repeat", "replay", "cut", "swap"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 5), st.sampled_from(FAULTS), st.floats(0.0, 0.99)
    ),
    min_size=20,
    max_size=80,
)


@settings(max_examples=examples(300))
@given(steps=STEPS)
def test_every_task_gets_exactly_one_verdict(steps: list[tuple[str, int, int, str, float]]) -> None:
    world = World()
    for provider in world.providers:
        world.connect(provider)
    world.submit(6)
    for step in steps:
        apply(world, step)
    world.settle()
    results = Counter(result.id for result in world.board.results("all"))
    assert results == Counter(world.ids)
    for provider in world.providers:
        assert (len(provider.outbox), provider.session.holding, provider.running) == (0, 0, {})
        assert provider.refused == []
    assert [peer.given for peer in world.desk.peers] == [set()] * len(world.desk.peers)
