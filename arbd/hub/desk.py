"""The tasks of an embedded hub's streams: hellos, results, renewals and cancels, settled on the board.

    frame ──HubSession──> Desk.settle ──> TaskBoard: record_result, renew, give_back
    frame <──HubSession── Desk.next_frame <── TaskBoard: hand_out, up to the credit

Pure: no sockets and no clock. A *peer* is one provider process with what it was given; it outlives its streams, so that
a hello on a new stream can be compared with it:

    given, and named in the hello            it is there: its lease begins anew
    given, and not named                     it never arrived: handed out again at once
    named, and its verdict is not wanted     cancelled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from arbd.hub.board import Receipt, TaskBoard
from arbd.hub.stream_session import HubSession
from arbd.model.description import ActionInfo
from arbd.model.task import Task
from arbd.wire import stream_frames as frames
from arbd.wire.stream_frames import GoAway, Hello, ProviderFrame

_REASONS: Final = {
    Receipt.UNKNOWN: "this task was never handed out here",
    Receipt.INVALID: "the status is none of success, error and limit",
}


class StreamPeer(msgspec.Struct, eq=False):
    """One stream and, after its hello, the provider process behind it. ``given``: ids of tasks it was sent and has not
    answered. ``is_connected`` is false once its stream has ended or was replaced by another."""

    session: HubSession
    name: str = ""
    key: str = ""
    given: set[str] = msgspec.field(default_factory=set)
    actions: Sequence[ActionInfo] = ()
    is_connected: bool = True


class Effects(NamedTuple):
    """What a frame changed. ``finished``: ids of tasks with a new verdict; ``requeued``: tasks wait for others;
    ``replaced``: the stream this one takes the place of."""

    finished: list[str]
    requeued: bool = False
    replaced: StreamPeer | None = None


class Desk:
    """All streams of one hub. ``max_frame``: the largest frame it takes, in bytes."""

    def __init__(self, board: TaskBoard, *, max_frame: int) -> None:
        self._board = board
        self._max_frame = max_frame
        self._peers: dict[str, StreamPeer] = {}  # by session

    @property
    def peers(self) -> list[StreamPeer]:
        """Provider processes with a stream, and those without one that still have tasks."""
        return list(self._peers.values())

    def open(self) -> StreamPeer:
        """The peer of a new stream."""
        return StreamPeer(HubSession(lease_s=self._board.lease_s, max_frame=self._max_frame))

    def close(self, peer: StreamPeer) -> None:
        """Note that a stream has ended. What was given stays leased: the provider may come back."""
        peer.is_connected = False
        if not peer.given and self._peers.get(peer.key) is peer:
            del self._peers[peer.key]

    # -- frames in -----------------------------------------------------------------------------------------

    def settle(self, peer: StreamPeer, frame: ProviderFrame, now: float) -> Effects:
        """Settle a frame of ``peer.session.receive`` on the board. The caller has checked the token in its hello."""
        effects = Effects([])
        if frame.hello is not None:
            effects = self._greet(peer, frame.hello, now)
        if frame.actions is not None:
            peer.actions = frame.actions
        effects.finished.extend(self._record(peer, frame, now))
        for task_id in frame.renew:
            self._board.renew(task_id, peer.key, now)
        return effects

    def _greet(self, peer: StreamPeer, hello: Hello, now: float) -> Effects:
        peer.name, peer.key = hello.provider, hello.session
        before = self._peers.get(hello.session)
        self._peers[hello.session] = peer
        board, holding = self._board, set(hello.holding)
        requeued = False
        if before is not None:
            before.is_connected = False
            peer.given, before.given = before.given, set()
            for task_id in peer.given - holding:
                requeued |= board.give_back(task_id, peer.name, now, peer.key)
        peer.given = holding
        for task_id in hello.holding:
            if not board.renew(task_id, peer.key, now) and not board.wants(task_id):
                peer.session.cancel(task_id)
        return Effects([], requeued, before)

    def _record(self, peer: StreamPeer, frame: ProviderFrame, now: float) -> list[str]:
        finished = []
        record, given = self._board.record_result, peer.given
        for result in frame.results:
            task_id = result.id
            receipt = record(task_id, peer.name, result.status, result.result, now)
            given.discard(task_id)
            if receipt is Receipt.ACCEPTED:
                finished.append(task_id)
            elif receipt is not Receipt.DUPLICATE:
                peer.session.refuse(task_id, _REASONS[receipt])
        return finished

    # -- frames out ----------------------------------------------------------------------------------------

    def next_frame(self, peer: StreamPeer, now: float) -> bytes | None:
        """What is to be sent to this provider now, with as many tasks as it may have; ``None``: nothing."""
        return peer.session.data_to_send(now, self._tasks_for(peer, now))

    def _tasks_for(self, peer: StreamPeer, now: float) -> list[Task]:
        room = peer.session.room
        if room <= 0 or not peer.key or not peer.is_connected or not self._board.queued:
            return []
        hand_out, name, key = self._board.hand_out, peer.name, peer.key
        size = 0
        tasks: list[Task] = []
        while room > len(tasks) and size < frames.SOFT_LIMIT and (task := hand_out(name, now, key)) is not None:
            size += len(task.payload) + len(task.account) + frames.ENTRY_ROOM
            tasks.append(task)
        peer.given.update([task.id for task in tasks])
        return tasks

    # -- what else happens ---------------------------------------------------------------------------------

    def cancel(self, task_id: str) -> StreamPeer | None:
        """Cancel a task at the peer that has it now: that peer, which must be sent a frame; ``None`` if none has it."""
        peer = self._peers.get(self._board.session_of(task_id))
        if peer is None or not peer.is_connected or task_id not in peer.given:
            return None
        peer.session.cancel(task_id)
        return peer

    def drop_gone(self) -> None:
        """Forget providers without a stream whose last lease has ended; for the moments when leases end."""
        for key, peer in list(self._peers.items()):
            if not peer.is_connected:
                peer.given = {task_id for task_id in peer.given if self._board.is_leased_to(task_id, key)}
                if not peer.given:
                    del self._peers[key]

    def go_away(self, go_away: GoAway) -> list[StreamPeer]:
        """Have every provider leave: the peers that must be sent a frame for it."""
        connected = [peer for peer in self._peers.values() if peer.is_connected]
        for peer in connected:
            peer.session.go_away(go_away)
        return connected
