"""The board hands a task to one provider at a time, counts the first verdict only, and remembers what happened."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from thoroughness import examples

from arbd.hub.board import ForgottenError, NewTask, Receipt, SubmitError, TaskBoard, TaskEvent

OK = b'{"status":"success"}'


def kinds(board: TaskBoard, task_id: str) -> list[str]:
    return [event.kind for event in board.history(task_id)]


def test_a_task_from_submission_to_verdict() -> None:
    board = TaskBoard(run="r")
    batch, [task_id] = board.submit([NewTask("add", b"{}", b"acc")], now=1.0)
    task = board.hand_out("p1", now=2.0)
    assert task is not None
    assert (task.id, task.action, task.payload, task.account) == (task_id, "add", b"{}", b"acc")
    assert board.record_result(task_id, "p1", "success", OK, now=3.5) == Receipt.ACCEPTED
    assert board.history(task_id) == [
        TaskEvent(1.0, "submitted"),
        TaskEvent(2.0, "handed_out", "p1", 1),
        TaskEvent(3.5, "result", "p1", 1, "success"),
    ]
    [result] = board.results(batch)
    assert (result.id, result.provider, result.status, result.attempts, result.taken_s) == (
        task_id, "p1", "success", 1, 2.5,
    )  # fmt: skip
    assert result.response == {"status": "success"}
    assert board.is_finished(batch)


def test_tasks_go_out_in_the_order_of_submission() -> None:
    board = TaskBoard()
    _, ids = board.submit([NewTask("a") for _ in range(5)], now=0.0)
    taken = [board.hand_out("p", 0.0) for _ in range(6)]
    assert [task.id if task else None for task in taken] == [*ids, None]


def test_a_lease_that_runs_out_gives_the_task_to_somebody_else() -> None:
    board = TaskBoard(lease_s=30.0)
    _, [task_id] = board.submit([NewTask("a")], now=0.0)
    board.hand_out("p1", now=1.0)
    assert board.next_expiry() == 31.0
    assert board.expire(30.9) == []
    assert board.hand_out("p2", 30.9) is None
    board.expire(31.0)
    task = board.hand_out("p2", now=31.0)
    assert task is not None
    assert kinds(board, task_id) == ["submitted", "handed_out", "expired", "handed_out"]


def test_a_late_result_counts_if_it_is_the_first() -> None:
    board = TaskBoard(lease_s=30.0)
    batch, [task_id] = board.submit([NewTask("a")], now=0.0)
    board.hand_out("p1", now=0.0)
    board.expire(30.0)
    assert board.record_result(task_id, "p1", "success", OK, now=31.0) == Receipt.ACCEPTED
    assert board.hand_out("p2", now=32.0) is None  # nobody does it again
    assert kinds(board, task_id)[-1] == "result_late"
    assert board.is_finished(batch)


def test_the_first_verdict_wins_and_later_ones_are_recorded() -> None:
    board = TaskBoard(lease_s=30.0)
    batch, [task_id] = board.submit([NewTask("a")], now=0.0)
    board.hand_out("p1", now=0.0)
    board.record_result(task_id, "p1", "success", OK, now=1.0)
    assert board.record_result(task_id, "p2", "error", b"{}", now=2.0) == Receipt.DUPLICATE
    assert [result.status for result in board.results(batch)] == ["success"]
    assert board.history(task_id)[-1] == TaskEvent(2.0, "result_duplicate", "p2", 1, "error")


def test_results_nobody_can_have() -> None:
    board = TaskBoard()
    _, [task_id] = board.submit([NewTask("a")], now=0.0)
    assert board.record_result("no-such", "p", "success", OK, 0.0) == Receipt.UNKNOWN
    assert board.record_result(task_id, "p", "success", OK, 0.0) == Receipt.UNKNOWN  # never handed out
    board.hand_out("p", 0.0)
    assert board.record_result(task_id, "p", "fine", OK, 0.0) == Receipt.INVALID
    assert kinds(board, task_id) == ["submitted", "handed_out"]


def test_attempts_can_be_limited_for_an_action() -> None:
    board = TaskBoard(lease_s=1.0, max_attempts={"a": 2})
    batch, [task_id] = board.submit([NewTask("a")], now=0.0)
    board.hand_out("p", 0.0)
    assert board.expire(1.0) == []
    board.hand_out("p", 1.0)
    assert board.expire(2.0) == [task_id]
    [result] = board.results(batch)
    assert (result.status, result.provider, result.attempts) == ("error", "", 2)
    assert msgspec.json.decode(result.result)["data"] == {"error_code": "LEASE_EXPIRED"}
    assert kinds(board, task_id)[-2:] == ["expired", "gave_up"]


def test_a_task_that_could_not_be_delivered_is_first_in_line_again() -> None:
    board = TaskBoard()
    _, [first, second] = board.submit([NewTask("a"), NewTask("a")], now=0.0)
    board.hand_out("p", 0.0)
    board.give_back(first, "p", 0.0)
    taken = [board.hand_out("q", 0.0), board.hand_out("q", 0.0)]
    assert [task.id for task in taken if task] == [first, second]
    board.give_back(first, "p", 0.0)  # p has it no longer: nothing happens
    assert (board.queued, board.leased) == (0, 2)


def test_a_task_for_one_provider_goes_to_no_other() -> None:
    board = TaskBoard()
    board.submit([NewTask("mine", provider="p1")], now=0.0)
    board.submit([NewTask("anybody's")], now=1.0)
    first, second = board.hand_out("p2", 2.0), board.hand_out("p2", 2.0)
    assert first is not None
    assert (first.action, second) == ("anybody's", None)
    mine = board.hand_out("p1", 2.0)
    assert mine is not None
    assert mine.action == "mine"


def test_own_and_shared_tasks_are_taken_oldest_first() -> None:
    board = TaskBoard()
    board.submit([NewTask("1")], now=1.0)
    board.submit([NewTask("2", provider="p")], now=2.0)
    board.submit([NewTask("3")], now=3.0)
    taken = [board.hand_out("p", 4.0) for _ in range(3)]
    assert [task.action for task in taken if task] == ["1", "2", "3"]


def test_all_tasks_of_a_call_are_submitted_or_none() -> None:
    board = TaskBoard()
    board.submit([NewTask("a", id="x")], now=0.0)
    with pytest.raises(SubmitError, match="'x' is taken"):
        board.submit([NewTask("a", id="y"), NewTask("a", id="x")], now=0.0)
    with pytest.raises(SubmitError, match="'z' is taken"):
        board.submit([NewTask("a", id="z"), NewTask("a", id="z")], now=0.0)
    assert board.queued == 1


def test_finished_tasks_are_forgotten_oldest_first() -> None:
    board = TaskBoard(keep_finished=2)
    batch, ids = board.submit([NewTask("a") for _ in range(3)], now=0.0)
    for task_id in ids:
        board.hand_out("p", 0.0)
        board.record_result(task_id, "p", "success", OK, 0.0)
    with pytest.raises(ForgottenError, match="unknown"):
        board.history(ids[0])
    with pytest.raises(ForgottenError, match="results 0 to 0 were dropped"):
        board.results(batch)
    assert [result.id for result in board.results(batch, skip=1)] == ids[1:]
    _, more = board.submit([NewTask("a"), NewTask("a")], now=0.0)
    for task_id in more:
        board.hand_out("p", 0.0)
        board.record_result(task_id, "p", "success", OK, 0.0)
    with pytest.raises(ForgottenError, match=r"batch .* is unknown"):
        board.is_finished(batch)


def test_a_batch_without_tasks_is_finished() -> None:
    board = TaskBoard()
    batch, ids = board.submit([], now=0.0)
    assert (ids, board.is_finished(batch), list(board.results(batch))) == ([], True, [])


class BoardMachine(RuleBasedStateMachine):
    """Random providers do everything right and wrong; a plain model says what must be true."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.board = TaskBoard(lease_s=10.0, max_attempts={"limited": 2})
        self.batch, _ = self.board.submit([], 0.0)
        self.ids: list[str] = []
        self.holders: dict[str, tuple[str, float]] = {}  # task -> who, until when
        self.first_verdict: dict[str, str] = {}

    @rule(action=st.sampled_from(["free", "limited"]), count=st.integers(1, 3))
    def submit(self, action: str, count: int) -> None:
        _, ids = self.board.submit([NewTask(action)] * count, self.now, self.batch)
        self.ids += ids

    @rule(provider=st.sampled_from(["p", "q"]))
    def hand_out(self, provider: str) -> None:
        task = self.board.hand_out(provider, self.now)
        if task is not None:
            assert task.id not in self.holders
            assert task.id not in self.first_verdict
            self.holders[task.id] = (provider, self.now + 10.0)

    @rule(data=st.data(), provider=st.sampled_from(["p", "q"]), status=st.sampled_from(["success", "error"]))
    def answer(self, data: st.DataObject, provider: str, status: str) -> None:
        if not self.ids:
            return
        task_id = data.draw(st.sampled_from(self.ids))
        result = status.encode()
        receipt = self.board.record_result(task_id, provider, status, result, self.now)
        if task_id in self.first_verdict:
            assert receipt == Receipt.DUPLICATE
        elif receipt == Receipt.ACCEPTED:
            self.first_verdict[task_id] = status
            self.holders.pop(task_id, None)
        else:
            assert receipt == Receipt.UNKNOWN
            assert "handed_out" not in kinds(self.board, task_id)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.holders:
            task_id = data.draw(st.sampled_from(sorted(self.holders)))
            self.board.give_back(task_id, self.holders.pop(task_id)[0], self.now)

    @rule(step=st.floats(0.0, 12.0))
    def time_passes(self, step: float) -> None:
        self.now += step
        for task_id in self.board.expire(self.now):
            self.first_verdict[task_id] = "error"
        for task_id, (_, until) in list(self.holders.items()):
            if until <= self.now:
                del self.holders[task_id]

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        finished = [result.id for result in self.board.results(self.batch)]
        assert sorted(finished) == sorted(self.first_verdict)
        assert self.board.leased == len(self.holders)
        assert self.board.queued == len(self.ids) - len(self.holders) - len(finished)

    @invariant()
    def the_first_verdict_stands(self) -> None:
        verdicts = {result.id: result.status for result in self.board.results(self.batch)}
        assert verdicts == self.first_verdict

    @invariant()
    def the_next_expiry_is_that_of_the_oldest_lease(self) -> None:
        expected = min((until for _, until in self.holders.values()), default=None)
        assert self.board.next_expiry() == expected


TestBoardMachine = BoardMachine.TestCase
TestBoardMachine.settings = settings(max_examples=examples(60), stateful_step_count=40)


def test_the_higher_priority_goes_out_first() -> None:
    board = TaskBoard()
    board.submit([NewTask("a", id="usual"), NewTask("a", id="urgent", priority=5)], now=0.0)
    handed = [board.hand_out("p", 1.0) for _ in range(2)]
    assert [task.id for task in handed if task] == ["urgent", "usual"]


def test_a_task_knows_its_attempt_and_what_it_was_submitted_with() -> None:
    board = TaskBoard(lease_s=1.0)
    board.submit([NewTask("a", id="t", timeout=9.0, traceparent="00-1-2-3", priority=4)], now=1.0)
    first = board.hand_out("p", 1.0)
    board.expire(2.5)
    second = board.hand_out("p", 3.0)
    assert first is not None
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    assert (second.deadline, second.traceparent, second.priority) == (10.0, "00-1-2-3", 4)


def test_a_task_that_is_not_finished_in_its_time_expires_wherever_it_is() -> None:
    board = TaskBoard(lease_s=100.0)
    batch, _ = board.submit([NewTask("a", id=task_id, timeout=5.0) for task_id in ("held", "queued")], now=0.0)
    board.hand_out("p", 1.0)
    assert board.next_expiry() == 5.0
    assert board.expire(4.9) == []
    assert board.expire(5.0) == ["held", "queued"]
    assert [result.response["data"]["error_code"] for result in board.results(batch)] == ["EXPIRED"] * 2
    assert board.record_result("held", "p", "success", OK, 6.0) is Receipt.DUPLICATE
    assert (board.next_expiry(), board.queued, board.leased) == (None, 0, 0)


def test_a_cancelled_task_in_line_is_over_and_a_leased_one_gets_its_verdict_from_its_holder() -> None:
    board = TaskBoard()
    batch, _ = board.submit([NewTask("a", id="held"), NewTask("a", id="queued")], now=0.0)
    board.hand_out("p", 1.0, "session")
    assert (board.cancel("queued", 2.0), board.cancel("held", 2.0)) == (True, True)
    assert (board.wants("held"), board.session_of("held"), board.is_finished(batch)) == (False, "session", False)
    assert board.record_result("held", "p", "error", OK, 3.0) is Receipt.ACCEPTED
    assert board.cancel("held", 4.0) is False
    assert (kinds(board, "held"), kinds(board, "queued")) == (
        ["submitted", "handed_out", "cancelled", "result"],
        ["submitted", "cancelled", "gave_up"],
    )
    with pytest.raises(ForgottenError):
        board.cancel("nobody", 5.0)


def test_a_cancelled_task_is_not_handed_out_again() -> None:
    board = TaskBoard(lease_s=1.0)
    batch, _ = board.submit([NewTask("a", id="t")], now=0.0)
    board.hand_out("p", 0.0)
    board.cancel("t", 0.5)
    assert board.expire(1.0) == ["t"]
    assert next(board.results(batch)).response["data"]["error_code"] == "CANCELLED"


def test_a_lease_is_renewed_by_the_session_that_has_it() -> None:
    board = TaskBoard(lease_s=1.0)
    board.submit([NewTask("a", id="t")], now=0.0)
    board.hand_out("p", 0.0, "mine")
    assert (board.renew("t", "other", 0.5), board.renew("t", "mine", 0.9), board.renew("x", "mine", 0.9)) == (
        False, True, False,
    )  # fmt: skip
    assert board.is_leased_to("t", "mine")
    board.expire(1.5)
    assert board.leased == 1
    board.expire(1.9)
    assert (board.leased, board.queued, board.is_leased_to("t", "mine")) == (0, 1, False)


def test_only_the_session_that_has_a_task_can_give_it_back() -> None:
    board = TaskBoard()
    board.submit([NewTask("a", id="t")], now=0.0)
    board.hand_out("p", 0.0, "mine")
    assert (board.give_back("t", "p", 1.0), board.give_back("t", "p", 1.0, "mine")) == (False, True)
    assert (board.queued, board.leased) == (1, 0)
