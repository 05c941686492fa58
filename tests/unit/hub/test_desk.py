"""Claim: the hub's side sends within the credit, settles each frame on the board, and puts right at a hello what the
last stream left undone."""

from __future__ import annotations

import pytest

from arbd.hub.board import NewTask, TaskBoard
from arbd.hub.desk import Desk, Effects, StreamPeer
from arbd.hub.stream_session import HubSession
from arbd.model.description import ActionInfo
from arbd.model.task import Status
from arbd.wire import stream_frames as frames
from arbd.wire.stream_frames import GoAway, Hello, HubFrame, StreamError

ACTION = ActionInfo("act", "", 1.0, {}, None, "", False)


class Rig:
    """A desk, and providers that say what a test tells them to."""

    def __init__(self, lease_s: float = 10.0) -> None:
        self.board = TaskBoard(lease_s=lease_s)
        self.desk = Desk(self.board, max_frame=1 << 20)
        self.now = 0.0
        self.seqs: dict[int, int] = {}

    def submit(self, *ids: str, **options: object) -> None:
        self.board.submit([NewTask("act", id=task_id, **options) for task_id in ids], self.now, "all")  # type: ignore[arg-type] # passed on

    def connect(
        self, session: str = "s", credit: int = 4, holding: list[str] | None = None
    ) -> tuple[StreamPeer, Effects]:
        peer = self.desk.open()
        hello = Hello("prov", "", session, 1 << 20, holding or [])
        return peer, self.say(peer, credit=credit, hello=hello, actions=[ACTION])

    def say(
        self,
        peer: StreamPeer,
        *,
        acked: int = 0,
        credit: int = 4,
        results: list[tuple[str, int, Status, bytes]] | None = None,
        **parts: object,
    ) -> Effects:
        seq = self.seqs[id(peer)] = self.seqs.get(id(peer), 0) + 1
        data = frames.encode_provider_frame(seq, acked, credit, results=results or (), **parts)  # type: ignore[arg-type] # passed on
        frame = peer.session.receive(data)
        assert frame is not None
        return self.desk.settle(peer, frame, self.now)

    def answer(self, peer: StreamPeer) -> HubFrame:
        data = self.desk.next_frame(peer, self.now)
        assert data is not None
        return frames.decode_hub_frame(data, self.now)

    def kinds(self, task_id: str) -> list[str]:
        return [event.kind for event in self.board.history(task_id)]


def verdict(task_id: str, status: Status = "success") -> tuple[str, int, Status, bytes]:
    return task_id, 1, status, b"{}"


def test_the_first_answer_is_welcome_and_tasks_up_to_the_credit() -> None:
    rig = Rig(lease_s=7.0)
    rig.submit("a", "b", "c")
    peer, _ = rig.connect(credit=2)
    frame = rig.answer(peer)
    assert frame.welcome is not None
    assert (frame.welcome.lease_s, frame.acked, [task.id for task in frame.tasks]) == (7.0, 1, ["a", "b"])
    assert (peer.session.room, rig.board.queued) == (0, 1)
    assert rig.desk.next_frame(peer, rig.now) is None
    assert (list(peer.actions), peer.name) == ([ACTION], "prov")


def test_credit_is_a_total_and_may_fall_below_what_was_sent() -> None:
    rig = Rig()
    rig.submit(*"abcdef")
    peer, _ = rig.connect(credit=3)
    assert len(rig.answer(peer).tasks) == 3
    rig.say(peer, credit=1)
    assert (peer.session.room, rig.answer(peer).tasks) == (0, [])
    rig.say(peer, credit=5)
    assert len(rig.answer(peer).tasks) == 2


def test_results_are_recorded_before_they_are_acknowledged() -> None:
    rig = Rig()
    rig.submit("a", "b")
    peer, _ = rig.connect()
    rig.answer(peer)
    assert rig.say(peer, results=[verdict("a"), verdict("b", "error")]).finished == ["a", "b"]
    assert [result.status for result in rig.board.results("all")] == ["success", "error"]
    assert rig.answer(peer).acked == 2
    assert peer.given == set()


def test_a_second_copy_is_acknowledged_and_not_counted() -> None:
    rig = Rig()
    rig.submit("a")
    peer, _ = rig.connect()
    rig.answer(peer)
    rig.say(peer, results=[verdict("a")])
    assert rig.say(peer, results=[verdict("a", "error")]).finished == []
    assert rig.answer(peer).refused == []
    assert [result.status for result in rig.board.results("all")] == ["success"]


def test_results_that_can_never_count_are_refused() -> None:
    rig = Rig()
    rig.submit("a")
    peer, _ = rig.connect(credit=0)
    rig.say(peer, results=[verdict("a"), verdict("nobody knows")])
    assert [task_id for task_id, _ in rig.answer(peer).refused] == ["a", "nobody knows"]


def test_what_did_not_arrive_on_the_last_stream_goes_out_again_at_once() -> None:
    rig = Rig()
    rig.submit("a", "b")
    old, _ = rig.connect()
    rig.answer(old)
    rig.desk.close(old)
    new, effects = rig.connect(holding=["a"])
    assert (effects.requeued, effects.replaced) == (True, old)
    frame = rig.answer(new)
    assert [(task.id, task.attempt) for task in frame.tasks] == [("b", 2)]
    assert rig.kinds("a") == ["submitted", "handed_out", "renewed"]
    assert new.given == {"a", "b"}


def test_a_stream_that_was_replaced_gets_nothing_more() -> None:
    rig = Rig()
    old, _ = rig.connect()
    rig.answer(old)
    _, effects = rig.connect()
    rig.submit("a")
    assert effects.replaced is old
    assert rig.desk.next_frame(old, rig.now) is None


def test_another_session_of_the_same_name_is_another_provider() -> None:
    rig = Rig()
    rig.submit("a")
    first, _ = rig.connect("one")
    rig.answer(first)
    _, effects = rig.connect("two")
    assert (effects.requeued, effects.replaced, first.given) == (False, None, {"a"})


def test_what_is_held_and_not_wanted_any_more_is_cancelled() -> None:
    rig = Rig()
    rig.submit("a")
    peer, _ = rig.connect(holding=["a", "of another hub"])
    assert list(rig.answer(peer).cancel) == ["of another hub"]


def test_renewals_hold_a_lease_and_nothing_else_does() -> None:
    rig = Rig(lease_s=10.0)
    rig.submit("a", "b")
    peer, _ = rig.connect()
    rig.answer(peer)
    rig.now = 6.0
    rig.say(peer, renew=["a"])
    rig.now = 11.0
    rig.board.expire(rig.now)
    assert (rig.kinds("a")[-1], rig.kinds("b")[-1]) == ("renewed", "expired")


def test_a_cancel_goes_to_whoever_has_the_task() -> None:
    rig = Rig()
    rig.submit("a", "b")
    peer, _ = rig.connect(credit=1)
    rig.answer(peer)
    assert rig.board.cancel("a", rig.now)
    assert rig.desk.cancel("a") is peer
    assert list(rig.answer(peer).cancel) == ["a"]
    assert rig.board.cancel("b", rig.now)
    assert rig.desk.cancel("b") is None, "it was in line, and has its verdict"


def test_providers_that_are_gone_are_forgotten_when_their_leases_end() -> None:
    rig = Rig(lease_s=10.0)
    rig.submit("a")
    busy, _ = rig.connect("busy")
    idle, _ = rig.connect("idle")
    rig.answer(busy)
    rig.desk.close(idle)
    rig.desk.close(busy)
    rig.desk.drop_gone()
    assert rig.desk.peers == [busy]
    rig.board.expire(11.0)
    rig.desk.drop_gone()
    assert rig.desk.peers == []


def test_who_is_told_to_leave_gets_no_more_tasks() -> None:
    rig = Rig()
    peer, _ = rig.connect()
    rig.answer(peer)
    assert rig.desk.go_away(GoAway("stop", 1.0)) == [peer]
    rig.submit("a")
    frame = rig.answer(peer)
    assert (frame.go_away, frame.tasks) == (GoAway("stop", 1.0), [])


def test_no_task_goes_out_before_the_hello_was_settled() -> None:
    """Between hello and settling the caller checks the token."""
    rig = Rig()
    rig.submit("a")
    peer = rig.desk.open()
    peer.session.receive(frames.encode_provider_frame(1, 0, 9, hello=Hello("p", "wrong", "s", 9)))
    assert (peer.session.room, rig.answer(peer).tasks) == (9, [])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (frames.encode_provider_frame(1, 0, 1), "begins with a hello"),
        (frames.encode_provider_frame(2, 0, 1, hello=Hello("p", "", "s", 9)), "came after"),
        (frames.encode_provider_frame(1, 7, 1, hello=Hello("p", "", "s", 9)), "acknowledged"),
        (b"no frame", "no frame"),
    ],
)
def test_a_broken_rule_ends_the_stream(data: bytes, why: str) -> None:
    with pytest.raises(StreamError, match=why):
        HubSession(lease_s=1.0, max_frame=9).receive(data)


def test_a_second_hello_ends_the_stream_and_a_repetition_does_not() -> None:
    session = HubSession(lease_s=1.0, max_frame=9)
    hello = frames.encode_provider_frame(1, 0, 1, hello=Hello("p", "", "s", 9))
    assert session.receive(hello) is not None
    assert session.receive(hello) is None
    with pytest.raises(StreamError, match="has no other"):
        session.receive(frames.encode_provider_frame(2, 0, 1, hello=Hello("p", "", "s", 9)))
