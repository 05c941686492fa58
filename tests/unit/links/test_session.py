"""Claim: the provider's side keeps every rule of the stream, and ends a stream on which the hub breaks one."""

from __future__ import annotations

import math

import pytest

from arbd.core.outbox import MemoryOutbox
from arbd.links.options import plain_too_large
from arbd.links.stream.session import HEARTBEAT_S, PROBE_S, Identity, ProviderPhase, ProviderSession, Received
from arbd.model.description import ActionInfo
from arbd.model.task import Outcome, Task
from arbd.wire import stream_frames as frames
from arbd.wire.stream_frames import GoAway, ProviderFrame, StreamError, Welcome

ACTIONS: list[ActionInfo] = []
WELCOME = Welcome(1, 30.0, 4 * 1024 * 1024)


class Side:
    """A session, and a hub that says what a test tells it to."""

    def __init__(self, welcome: Welcome | None = WELCOME, slots: int = 4) -> None:
        self.outbox = MemoryOutbox()
        self.session = ProviderSession(
            Identity("prov", "tok", "session", 1 << 26), self.outbox, too_large=plain_too_large, answer_timeout_s=5.0
        )
        self.now = 100.0
        self.slots = slots
        self.seq = 0
        self.session.open()
        self.hello = self.sent()
        if welcome is not None:
            self.hears(acked=1, welcome=welcome)

    def sent(self) -> ProviderFrame:
        data = self.session.data_to_send(self.now, self.slots, ACTIONS)
        assert data is not None
        return frames.decode_provider_frame(data)

    def is_silent(self) -> bool:
        return self.session.data_to_send(self.now, self.slots, ACTIONS) is None

    def hears(self, acked: int = 0, welcome: Welcome | None = None, seq: int = 0, **parts: object) -> Received:
        self.seq = seq or self.seq + 1
        data = frames.encode_hub_frame(self.seq, acked, self.now, welcome=welcome, **parts)  # type: ignore[arg-type] # passed on
        return self.session.receive(data, self.now)

    def finish(self, *tasks: Task, result: bytes = b"{}") -> None:
        for task in tasks:
            self.outbox.append(Outcome(task, "success", result))


def tasks(*ids: str) -> list[Task]:
    return [Task(task_id, "act") for task_id in ids]


def test_a_stream_begins_with_a_hello_that_has_credit_and_actions() -> None:
    side = Side(welcome=None)
    assert side.hello.hello is not None
    assert (side.hello.seq, side.hello.credit, side.hello.actions) == (1, 4, [])
    assert (side.hello.hello.provider, side.hello.hello.session, side.hello.hello.version) == ("prov", "session", 1)
    assert side.is_silent(), "nothing more before the welcome"


def test_nothing_to_say_is_nothing_sent() -> None:
    side = Side()
    assert side.session.phase is ProviderPhase.OPEN
    assert side.is_silent()


def test_credit_is_what_came_plus_what_is_free() -> None:
    side = Side(slots=4)
    side.hears(tasks=tasks("a", "b", "c"))
    side.slots = 1
    assert side.is_silent(), "three came and three are taken: the sum is what it was"
    side.slots = 2
    assert side.sent().credit == 5
    side.slots = 0
    assert side.sent().credit == 3, "it may go down"


def test_more_tasks_than_any_credit_allowed_end_the_stream() -> None:
    side = Side(slots=1)
    with pytest.raises(StreamError, match="credit"):
        side.hears(tasks=tasks("a", "b"))


def test_tasks_on_their_way_while_the_credit_went_down_are_welcome() -> None:
    side = Side(slots=3)
    side.slots = 0
    assert side.sent().credit == 0
    assert len(side.hears(tasks=tasks("a", "b", "c")).tasks) == 3


def test_results_of_one_moment_share_a_frame_and_stay_until_acknowledged() -> None:
    side = Side()
    mine = list(side.hears(tasks=tasks("a", "b")).tasks)
    side.finish(*mine)
    frame = side.sent()
    assert [(result.id, result.attempt, result.status) for result in frame.results] == [
        ("a", 1, "success"),
        ("b", 1, "success"),
    ]
    assert (len(side.outbox), side.session.holding) == (2, 2)
    side.hears(acked=frame.seq)
    assert (len(side.outbox), side.session.holding, side.session.accepted) == (0, 0, 2)


def test_results_that_were_not_acknowledged_are_sent_again_in_their_order() -> None:
    side = Side()
    mine = list(side.hears(tasks=tasks("a", "b", "c")).tasks)
    side.finish(mine[0])
    side.sent()
    side.finish(mine[1])
    side.sent()
    side.session.close()
    side.finish(mine[2])
    side.session.open()
    side.seq = 0
    hello = side.sent().hello
    assert hello is not None
    assert sorted(hello.holding) == ["a", "b", "c"]
    side.hears(acked=1, welcome=WELCOME)
    assert [result.id for result in side.sent().results] == ["a", "b", "c"]


def test_a_task_that_is_held_goes_up_again_to_be_joined_and_answers_for_its_new_attempt() -> None:
    side = Side()
    [task] = side.hears(tasks=tasks("a")).tasks
    again = Task("a", "act", attempt=2)
    assert list(side.hears(tasks=[again]).tasks) == [again]
    side.finish(task)
    assert side.sent().results[0].attempt == 2


def test_the_same_task_twice_in_one_frame_is_held_once() -> None:
    side = Side()
    assert [task.id for task in side.hears(tasks=tasks("a", "b", "a")).tasks] == ["a", "b", "a"]
    assert side.session.holding == 2


def test_an_outcome_of_a_task_that_came_another_way_is_sent_too() -> None:
    side = Side()
    side.finish(Task("from-before", "act"))
    assert [(result.id, result.attempt) for result in side.sent().results] == [("from-before", 0)]


def test_a_result_too_large_for_the_hub_is_replaced_and_settled() -> None:
    side = Side(welcome=Welcome(1, 30.0, 100_000))
    side.finish(Task("a", "act"), result=b" " * 100_000)
    frame = side.sent()
    assert (frame.results[0].status, len(frame.results[0].result) < 1000) == ("error", True)
    side.hears(acked=frame.seq)
    assert (len(side.outbox), side.session.shortened) == (0, 1)


def test_no_frame_grows_beyond_what_the_hub_takes() -> None:
    side = Side(welcome=Welcome(1, 30.0, 200_000))
    side.finish(*tasks(*"abcdefgh"), result=b" " * 60_000)
    sizes = []
    while (data := side.session.data_to_send(side.now, side.slots, ACTIONS)) is not None:
        sizes.append((len(data) < 200_000, len(frames.decode_provider_frame(data).results)))
    assert sizes == [(True, 2)] * 4


def test_leases_are_renewed_three_times_in_one_lease() -> None:
    side = Side(welcome=Welcome(1, 6.0, 1 << 20))
    side.hears(tasks=tasks("a"))
    for _ in range(4):
        assert side.session.next_timeout() == pytest.approx(side.now + 2.0)
        side.now += 2.0
        side.session.on_time(side.now)
        frame = side.sent()
        assert list(frame.renew) == ["a"]
        side.hears(acked=frame.seq)


def test_an_idle_stream_has_a_slow_heartbeat() -> None:
    side = Side(welcome=Welcome(1, 3600.0, 1 << 20))
    assert side.session.next_timeout() == side.now + HEARTBEAT_S
    side.session.on_time(side.now + 1)
    assert side.is_silent()
    side.session.on_time(side.now + HEARTBEAT_S)
    assert list(side.sent().renew) == []


def test_a_hub_that_leaves_a_frame_unanswered_has_fallen_silent() -> None:
    side = Side()
    side.finish(Task("a", "act"))
    side.sent()
    side.now += 4.9
    side.session.on_time(side.now)
    side.now += 0.1
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now)


def test_a_hub_that_never_says_welcome_has_fallen_silent() -> None:
    side = Side(welcome=None)
    assert side.session.next_timeout() == side.now + 5.0


def test_each_answer_gives_the_frames_behind_it_time_again() -> None:
    side = Side()
    for task_id in "ab":
        side.finish(Task(task_id, "act"))
        side.sent()
    side.now += 4.0
    side.hears(acked=2)
    assert len(side.outbox) == 1, "the second frame is still on its way"
    side.session.on_time(side.now + 4.9)
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now + 5.0)


def test_a_frame_without_results_is_answered_sooner_or_the_hub_is_gone() -> None:
    side = Side()
    side.now += HEARTBEAT_S
    side.session.on_time(side.now)
    side.sent()
    assert side.session.next_timeout() == side.now + PROBE_S
    side.session.on_time(side.now + PROBE_S - 0.1)
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now + PROBE_S)


def test_a_hub_that_says_something_else_is_there() -> None:
    side = Side(slots=4)
    side.slots = 5
    side.sent()
    side.now += 1.5
    side.hears(acked=1, tasks=tasks("a"))
    assert side.session.next_timeout() == side.now + PROBE_S


def test_results_behind_an_empty_frame_give_the_hub_time() -> None:
    side = Side(slots=4)
    mine = list(side.hears(tasks=tasks("a")).tasks)
    side.slots = 5
    side.sent()
    side.finish(*mine)
    side.sent()
    side.session.on_time(side.now + 4.9)
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now + 5.0)


def test_who_was_not_running_does_not_blame_the_hub_at_once() -> None:
    side = Side()
    side.now += HEARTBEAT_S
    side.session.on_time(side.now)
    side.sent()
    side.now += 60.0
    side.session.on_time(side.now)
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now + PROBE_S)


def test_at_a_stop_a_welcome_is_not_waited_for_as_long_as_before() -> None:
    side = Side(welcome=None)
    assert side.session.next_timeout() == side.now + 5.0
    side.session.stop_taking()
    assert side.session.next_timeout() == side.now + PROBE_S


def test_a_stop_that_the_hub_does_not_answer_is_over_soon() -> None:
    side = Side()
    side.session.stop_taking()
    side.sent()
    with pytest.raises(StreamError, match="unanswered"):
        side.session.on_time(side.now + PROBE_S)
    side.session.close()
    assert side.session.is_quiet


def test_a_stop_is_quiet_when_the_hub_has_heard_of_it() -> None:
    side = Side()
    side.session.stop_taking()
    assert not side.session.is_quiet
    frame = side.sent()
    assert (frame.credit, side.session.is_quiet) == (0, False)
    assert len(side.hears(tasks=tasks("a")).tasks) == 1, "it was on its way"
    side.hears(acked=frame.seq)
    assert side.session.is_quiet


def test_a_stop_is_quiet_without_a_stream_and_on_the_next_one() -> None:
    side = Side()
    side.session.stop_taking()
    side.session.close()
    assert side.session.is_quiet
    side.session.open()
    assert side.sent().credit == 0
    assert side.session.is_quiet


def test_a_stop_is_told_also_where_the_credit_was_nothing_before() -> None:
    side = Side(slots=0)
    assert side.is_silent()
    side.session.stop_taking()
    side.hears(acked=side.sent().seq)
    assert side.session.is_quiet


def test_after_a_stop_it_takes_again_and_the_next_stop_is_told_as_well() -> None:
    side = Side(slots=4)
    side.session.stop_taking()
    side.hears(acked=side.sent().seq)
    side.session.take_again()
    assert not side.session.is_quiet
    assert side.sent().credit == 4
    assert len(side.hears(tasks=tasks("a")).tasks) == 1
    side.session.stop_taking()
    assert not side.session.is_quiet
    side.hears(acked=side.sent().seq)
    assert side.session.is_quiet


def test_a_stop_that_is_called_off_before_a_frame_went_out_is_told_when_it_comes_back() -> None:
    side = Side()
    side.session.stop_taking()
    side.session.take_again()
    side.session.stop_taking()
    assert not side.session.is_quiet
    frame = side.sent()
    assert frame.credit == 0
    side.hears(acked=frame.seq)
    assert side.session.is_quiet


def test_actions_are_told_again_when_they_are_others() -> None:
    side = Side()
    others = [ActionInfo("new", "", None, {}, None, "", False)]
    data = side.session.data_to_send(side.now, side.slots, others)
    assert data is not None
    assert [action.name for action in frames.decode_provider_frame(data).actions or []] == ["new"]
    assert side.session.data_to_send(side.now, side.slots, others) is None


def test_cancels_refusals_and_good_byes_go_up() -> None:
    side = Side()
    received = side.hears(cancel=["a"], refused=[("b", "why")], go_away=GoAway("later", 2.0))
    assert (list(received.cancel), received.refused) == (["a"], [("b", "why")])
    assert received.go_away == GoAway("later", 2.0)


def test_a_frame_that_is_repeated_means_nothing_the_second_time() -> None:
    side = Side()
    side.hears(tasks=tasks("a"))
    assert side.hears(seq=2, tasks=tasks("a", "b"), cancel=["x"]) == Received()


def test_a_closed_session_is_deaf_and_silent() -> None:
    side = Side()
    side.session.close()
    assert side.hears(tasks=tasks("a")) == Received()
    assert side.is_silent()
    assert side.session.next_timeout() == math.inf


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"seq": 5}, "came after"),
        ({"welcome": WELCOME}, "begins with a welcome"),
        ({"acked": 99}, "acknowledged"),
    ],
)
def test_a_broken_rule_ends_the_stream(said: dict[str, object], why: str) -> None:
    side = Side()
    with pytest.raises(StreamError, match=why):
        side.hears(**said)  # type: ignore[arg-type] # one of several


def test_a_stream_without_a_welcome_or_with_another_version_ends() -> None:
    with pytest.raises(StreamError, match="begins with a welcome"):
        Side(welcome=None).hears(acked=1)
    with pytest.raises(StreamError, match="version 2"):
        Side(welcome=Welcome(2, 30.0, 1 << 20))


# -- an outbox, or anything else, that raises ------------------------------------------------------------------------


class Boom(Exception):
    """Something that nobody expected."""


class FaultyOutbox(MemoryOutbox):
    """``fails``: the calls that raise next time."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: list[str] = []

    def _check(self, name: str) -> None:
        if name in self.fails:
            self.fails.remove(name)
            raise Boom(name)

    def ack(self, outcome: Outcome, now: float) -> None:
        self._check("ack")
        super().ack(outcome, now)

    def put_back(self, outcome: Outcome) -> None:
        self._check("put_back")
        super().put_back(outcome)


def faulty_side() -> tuple[Side, FaultyOutbox]:
    side, outbox = Side(), FaultyOutbox()
    side.outbox = side.session._outbox = outbox
    return side, outbox


def waiting(outbox: MemoryOutbox) -> list[str]:
    ids = []
    while (outcome := outbox.take()) is not None:
        ids.append(outcome.task.id)
    return ids


def test_an_acknowledgement_that_raises_forgets_no_result_of_its_frame() -> None:
    side, outbox = faulty_side()
    side.finish(*side.hears(tasks=tasks("a", "b", "c")).tasks)
    frame = side.sent()
    outbox.fails = ["ack"]
    with pytest.raises(Boom):
        side.hears(acked=frame.seq)
    side.session.close()
    assert len(outbox) == 3
    assert waiting(outbox) == ["a", "b", "c"]


def test_a_result_that_is_not_put_back_keeps_no_other_and_goes_back_the_next_time() -> None:
    side, outbox = faulty_side()
    side.finish(*side.hears(tasks=tasks("a", "b", "c")).tasks)
    side.sent()
    outbox.fails = ["put_back"]
    with pytest.raises(Boom):
        side.session.close()
    side.session.open()
    assert len(outbox) == 3
    assert sorted(waiting(outbox)) == ["a", "b", "c"]


def test_a_result_that_cannot_be_made_ready_goes_back_with_those_before_it() -> None:
    def boom(task: Task, size: int, limit: int) -> bytes:
        raise Boom(task.id)

    side = Side()
    side.session._too_large = boom
    a, b, c = side.hears(tasks=tasks("a", "b", "c")).tasks
    side.finish(a)
    side.finish(b, result=b"x" * 5_000_000)
    side.finish(c)
    with pytest.raises(Boom):
        side.sent()
    side.session.close()
    assert waiting(side.outbox) == ["a", "b", "c"]


def test_a_hub_that_does_not_say_what_it_takes_gets_results_as_they_are() -> None:
    side = Side(welcome=Welcome(1, 30.0, 0))
    side.finish(*side.hears(tasks=tasks("a")).tasks, result=b"x" * 100_000)
    [result] = side.sent().results
    assert (result.status, len(result.result)) == ("success", 100_000)
