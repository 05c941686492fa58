"""Keys become requests, nothing harmful without a yes to what it names, and answers are told."""

from __future__ import annotations

from typing import Any

import pytest
from top_support import TASK, control_of, look, report, worker

from arbd.cli.top.control import MESSAGE_S, Control, Selectable
from arbd.control import protocol
from arbd.control.protocol import Done, OperationReply, StacksReply
from arbd.control.reports import ActionReport, NotableEvent, Operation, OutOfService, PausedAction, ProcessStacks

NOW = 1000.0
WORKERS = [worker(0, running=TASK), worker(1)]
ACTIONS = [ActionReport("unused"), ActionReport("order", 5)]
DAEMON: dict[str, Any] = {"workers": WORKERS, "actions": ACTIONS}


def typed(control: Control, *keys: str) -> list[Any]:
    """The requests that follow from these keys."""
    return [request for key in keys if (request := control.key(key, NOW)) is not None]


def message(control: Control) -> str:
    return control.message.text if control.message else ""


def question(control: Control) -> str:
    return control.question.text if control.question else ""


HARM: dict[str, tuple[str, Any, str]] = {
    "pause": ("p", protocol.PauseAction(action="order"), "pause action order?"),
    "drain": ("d", protocol.DrainDaemon(), "drain the daemon?"),
    "replace": ("r", protocol.Replace(worker=0), "replace worker 0?"),
    "kill": ("k", protocol.Kill(task_id="t9"), "kill task t9 (order, 0.2 s) of worker 0?"),
}


class TestQuestions:
    @pytest.mark.parametrize("what", HARM)
    def test_harm_is_done_after_a_yes_alone(self, what: str) -> None:
        key, request, text = HARM[what]
        control = control_of(look(**DAEMON))
        assert typed(control, key) == []
        assert question(control).startswith(text)
        assert typed(control, "y") == [request]
        assert control.question is None

    @pytest.mark.parametrize("answer", ["n", "q", "esc", "enter", "k", "up", " "])
    @pytest.mark.parametrize("what", HARM)
    def test_any_other_key_is_a_no_and_nothing_else(self, what: str, answer: str) -> None:
        control = control_of(look(**DAEMON))
        assert typed(control, HARM[what][0], answer) == []
        assert (control.question, control.is_over, message(control)) == (None, False, "nothing was done")
        assert typed(control, "y") == []

    def test_what_is_asked_about_stays_the_same_whatever_the_daemon_does(self) -> None:
        control = control_of(look(**DAEMON))
        typed(control, "k")
        other = [worker(0, running=TASK.__class__("other", "order", 0.1, 2.0)), worker(1)]
        control.looked(look(NOW + 1, uptime_s=101.0, workers=other, actions=ACTIONS))
        assert typed(control, "y") == [protocol.Kill(task_id="t9")]

    @pytest.mark.parametrize("what", HARM)
    def test_a_yes_is_not_given_to_a_daemon_that_was_started_meanwhile(self, what: str) -> None:
        control = control_of(look(**DAEMON))
        typed(control, *HARM[what][0])
        control.looked(look(NOW + 1, **DAEMON, pid=42, uptime_s=1.0))
        assert (question(control), message(control)) == (
            "",
            "nothing was done: the daemon was started anew meanwhile",
        )
        assert typed(control, "y") == []

    def test_names_of_others_cannot_hide_what_is_asked(self) -> None:
        task = TASK.__class__("x" * 500, "\x1b[2Jorder", 0.1, 2.0)
        control = control_of(look(workers=[worker(0, running=task)]))
        typed(control, "k")
        assert len(question(control)) < 110
        assert question(control).isprintable()


class TestWithoutHarm:
    def test_a_paused_action_is_resumed_at_once(self) -> None:
        control = control_of(look(**DAEMON, paused=[PausedAction("order", 1, 0, 3.0)]))
        assert typed(control, "p") == [protocol.Resume(action="order")]

    @pytest.mark.parametrize("state", ["draining", "drained"])
    def test_a_drained_daemon_is_resumed_at_once_unless_that_resumes_actions_too(self, state: str) -> None:
        assert typed(control_of(look(**DAEMON, state=state)), "d") == [protocol.Resume()]
        control = control_of(look(**DAEMON, state=state, paused=[PausedAction("order", 1, 0, 3.0)]))
        assert typed(control, "d") == []
        assert question(control) == "take tasks again? Paused actions run again, too: order"
        assert typed(control, "y") == [protocol.Resume()]

    def test_stacks_are_asked_for_at_once_and_read_as_a_page(self) -> None:
        control = control_of(look(**DAEMON))
        assert typed(control, "down", "s") == [protocol.GetStacks(worker=1)]
        text = 'Current thread 0x1 (most recent call first):\n  File "a\x1b.py", line 1 in act'
        control.answered(StacksReply(stacks=[ProcessStacks("worker", 101, 1, text, TASK, "it is slow")]), NOW)
        assert control.page is not None
        assert control.page.lines[:4] == [
            "== worker 1 (pid 101, runs order (t9) for 0.2 s)",
            "-- it is slow",
            "Current thread 0x1 (most recent call first):",
            r'  File "a\x1b.py", line 1 in act',
        ]
        assert typed(control, "down", "q", "down") == []
        assert control.rows().index(control.selected) == 2  # type: ignore[arg-type] # one is selected
        assert not control.is_over

    def test_a_page_scrolls_within_its_lines(self) -> None:
        control = control_of(look(**DAEMON))
        typed(control, "?")
        tops = []
        for key in ("up", "down", "page-down", "page-up", "end", "down", "home"):
            typed(control, key)
            assert control.page is not None
            tops.append(control.page.top)
        last = len(control.page.lines) - 1 if control.page else 0
        assert tops == [0, 1, 11, 1, last, last, 0]

    def test_q_quits(self) -> None:
        control = control_of(look(**DAEMON))
        typed(control, "q")
        assert control.is_over


class TestSelection:
    def test_it_goes_from_workers_to_actions_those_in_use_first(self) -> None:
        control = control_of(look(**DAEMON, out_of_service=[OutOfService(2, "unfit", "no database", 1, 1.0)]))
        assert control.rows() == [
            Selectable("worker", "", 0, 100),
            Selectable("worker", "", 1, 101),
            Selectable("worker", "", 2, 0),
            Selectable("action", "order"),
            Selectable("action", "unused"),
        ]
        seen = []
        for key in ("up", "down", "j", "tab", "tab", "end", "down", "home", "page-down", "page-up"):
            typed(control, key)
            seen.append(control.rows().index(control.selected))  # type: ignore[arg-type] # one is selected
        assert seen == [0, 1, 2, 3, 0, 4, 4, 0, 4, 0]

    def test_an_action_can_be_paused_that_does_not_run(self) -> None:
        control = control_of(look(**DAEMON))
        typed(control, "end", "p")
        assert typed(control, "y") == [protocol.PauseAction(action="unused")]

    @pytest.mark.parametrize(
        ("keys", "told"),
        [
            (("down", "p"), "select an action (Tab), or a worker that runs one"),
            (("down", "k"), "worker 1 runs no task"),
            (("tab", "k"), "select a worker first (Tab)"),
            (("tab", "r"), "select a worker first (Tab)"),
            (("tab", "s"), "select a worker first (Tab)"),
        ],
    )
    def test_what_cannot_be_meant_is_told(self, keys: tuple[str, ...], told: str) -> None:
        control = control_of(look(**DAEMON))
        assert typed(control, *keys) == []
        assert (control.question, message(control)) == (None, told)

    def test_a_selected_worker_s_successor_is_selected_and_what_is_gone_gives_way_to_the_first(self) -> None:
        control = control_of(look(**DAEMON))
        typed(control, "down")
        control.looked(look(NOW + 1, uptime_s=101.0, workers=[worker(0), worker(1, pid=555)], actions=ACTIONS))
        assert control.selected == Selectable("worker", "", 1, 555)
        control.looked(look(NOW + 2, uptime_s=102.0, workers=[worker(0)], actions=ACTIONS))
        assert control.selected == Selectable("worker", "", 0, 100)

    def test_a_daemon_without_anything_to_select_takes_every_key(self) -> None:
        control = control_of(look())
        assert typed(control, "up", "tab", "p", "r", "k", "s", "enter") == []

    def test_before_the_first_answer_every_key_is_taken(self) -> None:
        control = Control()
        assert typed(control, "up", "p", "d", "r", "k", "s", "?", "q", "q") == []
        assert control.is_over


class TestAnswers:
    def test_a_message_stays_for_a_while_or_until_the_next_key(self) -> None:
        control = control_of(look(**DAEMON))
        control.answered(Done(text="action order is paused"), NOW)
        assert control.message is not None
        assert (control.message.text, control.message.is_bad, control.message.until) == (
            "action order is paused", False, NOW + MESSAGE_S,
        )  # fmt: skip
        typed(control, "up")
        assert control.message is None

    def test_a_refusal_is_told(self) -> None:
        control = control_of(look(**DAEMON))
        control.refused("the daemon is stopping", NOW)
        assert control.message is not None
        assert (control.message.text, control.message.is_bad) == ("the daemon is stopping", True)

    @pytest.mark.parametrize(("state", "is_bad"), [("done", False), ("failed", True)])
    def test_an_operation_is_followed_until_it_is_over(self, state: Any, is_bad: bool) -> None:
        control = control_of(look(**DAEMON))
        control.answered(OperationReply(operation=Operation(3, "replace", "running", "starting", 0, 1)), NOW)
        assert list(control.operations) == [3]
        over = Operation(3, "replace", state, "as it went", 1, 1)
        control.looked(look(NOW + 1, **DAEMON, uptime_s=101.0, operations=[over]))
        assert control.operations == {}
        assert control.message is not None
        assert (control.message.text, control.message.is_bad) == ("replace: as it went", is_bad)

    def test_operations_of_a_daemon_that_is_gone_are_not_followed(self) -> None:
        control = control_of(look(**DAEMON))
        control.answered(OperationReply(operation=Operation(3, "drain", "running", "")), NOW)
        control.looked(look(NOW + 1, **DAEMON, uptime_s=1.0, operations=[]))
        assert control.operations == {}

    def test_that_nobody_answers_is_told_until_somebody_does(self) -> None:
        control = control_of(look(**DAEMON))
        control.not_looked("nobody listens there")
        assert control.trouble == "nobody listens there"
        control.looked(look(NOW + 1, **DAEMON, uptime_s=101.0))
        assert control.trouble == ""

    def test_events_are_kept_once_each_and_those_of_another_daemon_go(self) -> None:
        first = [NotableEvent(number, 5.0, "info", f"e{number}") for number in (1, 2)]
        control = control_of(look(1000.0, events=first))
        control.looked(look(1001.0, uptime_s=101.0, events=[*first, NotableEvent(3, 0.5, "info", "e3")]))
        seen = [(each.at, each.event.event) for each in control.sightings.events]
        assert seen == [(995.0, "e1"), (995.0, "e2"), (1000.5, "e3")]
        control.looked(look(1002.0, uptime_s=1.0, events=[NotableEvent(1, 0.1, "info", "new")]))
        assert [each.event.event for each in control.sightings.events] == ["new"]


def test_a_report_of_the_same_moment_is_not_of_the_same_daemon() -> None:
    """No time has passed, so nothing can be divided by it."""
    control = control_of(look(**DAEMON))
    control.looked(look(**DAEMON))
    assert control.sightings.rates().since_start
    assert report().uptime_s == 100.0
