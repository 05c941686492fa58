"""What is on the screen fits it, whatever its size, shows what matters, and holds nothing that steers a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from top_support import TASK, control_of, look, worker

from arbd.cli.top.control import Control
from arbd.cli.top.session import painted
from arbd.cli.top.view import everything, frame
from arbd.control.protocol import OperationReply
from arbd.control.reports import (
    ActionReport,
    LimitReport,
    NotableEvent,
    Operation,
    OutOfService,
    PausedAction,
    RunningTask,
)
from arbd.host.cpu_times import CpuTime
from arbd.model.link_stats import LinkStats

NOW = 1000.0
LIMIT = LimitReport("provider", "provider", "2 calls in any second", 2.0, 1.0, [], rejections=17)
EVENTS = [NotableEvent(number, 9.0 - number, "warning", f"event_{number}", {"n": number}) for number in range(1, 9)]
BUSY: dict[str, Any] = {
    "workers": [
        worker(0, cpus=(0, 1), tasks_done=60, busy_s=4.1, cpu_s=2.0, running=TASK),
        worker(1, state="starting", pid=0, age_s=0.0, rss=None),
    ],
    "actions": [ActionReport("unused"), ActionReport("order", 100, 20, 0, 1, 0.0042, 2.0), ActionReport("", error=3)],
    "out_of_service": [OutOfService(2, "unfit", "no database", 4, 2.0)],
    "paused": [PausedAction("unused", 3, 0, 12.0)],
    "ending_actions": {"order": 2},
    "in_flight": 7,
    "backlog": 3,
    "outbox": 100,
    "log_lines_lost": 5,
    "verdicts": {"success": 100, "error": 23, "limit": 0},
}


def plain(lines: list[Text]) -> list[str]:
    return [" ".join(line.plain.split()) for line in lines]


def shown_of(control: Control, size: tuple[int, int] = (120, 40), now: float = NOW) -> list[str]:
    return plain(frame(control, now, *size))


def test_all_that_matters_is_seen() -> None:
    control = control_of(look(**BUSY, limits=[LIMIT], events=EVENTS, cpus={0: CpuTime(0, 0), 1: CpuTime(0, 0)}))
    later = BUSY | {"uptime_s": 102.0}
    control.looked(look(NOW + 2, **later, limits=[LIMIT], cpus={0: CpuTime(3, 4), 1: CpuTime(0, 4)}))
    assert [line for line in shown_of(control, now=NOW + 2) if line] == [
        "prices serving, up 1 min 42 s (pid 41, arbd 0.1.0); rates: of the last 2 s",
        "hub hub:50051 up (stream); 0 tasks/s taken, 0 results/s accepted",
        "tasks 7 in flight, 3 waiting, outbox 100; 0 success, 0 error, 0 limit /s",
        "cpus 0 75% 1 0%",
        "limits provider 100% used, 17 rejected",
        "log 5 lines lost",
        "worker pid cpu state tasks/s busy on cpu memory running",
        "> 0 100 0-1 serving 6.0 41% 20% 50 MiB 0.2/2 s order t9",
        "1 - 1 starting 0 0% 0% - -",
        "2 - - out - - - - unfit, again in 2.0 s: no database",
        "action tasks/s error/s limit/s run timeout running",
        "order 0 0 0 4.2 ms 2 s 1 ended 2 workers",
        "(not offered) 0 0 0 - - 0",
        "unused 0 0 0 - - 0 paused 12 s, 3 waiting",
        "last events",
        "10 s ago warning event_1 n=1",
        *(f"{11.0 - each:.1f} s ago warning event_{each} n={each}" for each in range(2, 9)),
        "p pause d drain r replace k kill task s stacks Tab actions ? help q quit",
    ]


def test_the_first_frame_tells_the_means_since_the_start() -> None:
    lines = shown_of(control_of(look(**BUSY)))
    assert lines[0].endswith("rates: means since its start")
    assert "tasks 7 in flight, 3 waiting, outbox 100; 1.0 success, 0.2 error, 0 limit /s" in lines


SIZES = [(80, 24), (40, 10), (20, 5), (10, 3), (1, 1), (2, 2), (300, 100)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["list", "help", "question", "nothing"])
def test_it_fills_a_terminal_of_any_size_exactly(size: tuple[int, int], what: str) -> None:
    control = Control() if what == "nothing" else control_of(look(**BUSY, limits=[LIMIT], events=EVENTS))
    for key in {"help": "?", "question": "d"}.get(what, ""):
        control.key(key, NOW)
    lines = frame(control, NOW, *size)
    assert [cell_len(line.plain) for line in lines] == [size[0]] * size[1]


def test_80_by_24_has_room_for_each_part() -> None:
    many = [worker(number) for number in range(64)]
    actions = [ActionReport(f"action_{number}", number) for number in range(50)]
    lines = shown_of(control_of(look(workers=many, actions=actions, limits=[LIMIT], events=EVENTS)), (80, 24))
    assert sum(line.endswith("serving 0 0% 0% 50 MiB -") for line in lines) >= 4
    assert sum(line.startswith("action_") for line in lines) >= 4
    assert sum(" ago warning event_" in line for line in lines) == 3
    assert "worker pid cpu state tasks/s busy on cpu memory running +60 rows" in lines


def test_what_is_selected_is_always_seen() -> None:
    many = [worker(number) for number in range(64)]
    control = control_of(look(workers=many, actions=[ActionReport(f"a{number}") for number in range(50)]))
    for _ in range(113):
        [selected] = [line for line in shown_of(control, (80, 24)) if line.startswith("> ")]
        row = control.selected
        assert row is not None
        assert selected.split()[1] == (str(row.slot) if row.kind == "worker" else row.name)
        control.key("down", NOW)


@pytest.mark.parametrize("height", [10, 8, 7])
def test_on_a_low_terminal_what_the_keys_act_on_goes_before_figures(height: int) -> None:
    cpus = {0: CpuTime(0, 0), 1: CpuTime(0, 0)}
    control = control_of(look(**BUSY, limits=[LIMIT], events=EVENTS, cpus=cpus))
    lines = shown_of(control, (40, height))
    assert lines[0].startswith("prices serving")
    assert [line for line in lines if line.startswith("> 0")], "the selected worker"
    control.key("tab", NOW)
    assert [line for line in shown_of(control, (40, height)) if line.startswith("> order")], "the selected action"


def test_events_are_told_as_arbd_events_does() -> None:
    event = NotableEvent(1, 1.0, "info", "resumed", {"was_draining": False, "actions": ["a"], "left": None})
    lines = shown_of(control_of(look(**BUSY, events=[event])))
    assert '1.0 s ago info resumed was_draining=false actions=["a"] left=null' in lines


def test_a_question_comes_before_a_message_and_that_before_what_goes_on() -> None:
    control = control_of(look(**BUSY))
    control.answered(OperationReply(operation=Operation(3, "replace", "running", "starting", 1, 2)), NOW)
    assert shown_of(control)[-2] == "replace 1/2: starting"
    control.not_looked("nobody listens there")
    assert shown_of(control)[-2] == "no answer: nobody listens there"
    assert shown_of(control, now=NOW + 7)[0].startswith("prices seen 7.0 s ago, up 1 min 40 s")
    control.refused("the daemon is stopping", NOW)
    assert shown_of(control)[-2] == "the daemon is stopping"
    assert shown_of(control, now=NOW + 60)[-2] == "no answer: nobody listens there"
    control.key("d", NOW)
    assert shown_of(control)[-2].startswith("[y/N] drain the daemon?")


@pytest.mark.parametrize(
    ("elapsed_s", "style"),
    [(0.2, "reverse"), (1.7, "yellow reverse"), (2.5, "red reverse")],
    ids=["fine", "late", "over"],
)
def test_a_task_near_its_timeout_is_marked(elapsed_s: float, style: str) -> None:
    control = control_of(look(workers=[worker(0, running=RunningTask("t", "order", elapsed_s, 2.0))]))
    [line] = [line for line in frame(control, NOW, 100, 20) if line.plain.startswith("> ")]
    assert line.style == style


def test_states_are_told_by_colour_where_there_is_one_and_by_words_in_any_case() -> None:
    link = LinkStats("down", failures={"GetTask UNAVAILABLE": 3})
    lines = frame(control_of(look(state="draining", link=link)), NOW, 100, 20)
    assert "draining" in lines[0].plain
    assert "hub:50051 down" in lines[1].plain
    assert lines[2].plain.strip() == "failed calls: GetTask UNAVAILABLE 3 times"
    styles = {str(span.style) for line in lines[:2] for span in line.spans}
    assert {"yellow", "bold red"} <= styles


HOSTILE = "\x1b]0;x\x07\x9b2J\r\n‮名前"


def test_nothing_that_others_wrote_steers_the_terminal() -> None:
    control = control_of(
        look(
            provider=HOSTILE,
            hub=HOSTILE,
            link=LinkStats(HOSTILE, failures={HOSTILE: 1}),
            workers=[worker(0, state=HOSTILE, running=RunningTask(HOSTILE, HOSTILE, 1.0, 2.0))],
            actions=[ActionReport(HOSTILE, 1)],
            paused=[PausedAction(HOSTILE, 1, 0, 1.0)],
            out_of_service=[OutOfService(1, HOSTILE, HOSTILE, 1, 1.0)],
            limits=[LimitReport(HOSTILE, "action", HOSTILE, None, 0.5, [], trouble=HOSTILE)],
            events=[NotableEvent(1, 1.0, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})],
            verdicts={HOSTILE: 1},
        )
    )
    control.answered(OperationReply(operation=Operation(3, HOSTILE, "running", HOSTILE)), NOW)
    for trouble in ("", "nobody answers", "refused"):
        if trouble == "refused":
            control.refused(HOSTILE, NOW)
        elif trouble:
            control.not_looked(HOSTILE)
        for key in ("", "d", "n", "k", "n", "end", "p", "n"):
            if key:
                control.key(key, NOW)
            lines = frame(control, NOW, 100, 30)
            assert all(line.plain.isprintable() for line in lines)
            assert all(cell_len(line.plain) == 100 for line in lines)
    assert all(line.plain.isprintable() for line in everything(control, NOW, 100))


@given(st.text(max_size=60), st.integers(1, 90))
def test_a_line_is_as_wide_as_the_terminal_whatever_the_letters(name: str, width: int) -> None:
    control = control_of(
        look(workers=[worker(0, running=RunningTask(name, name, 1.0, 2.0))], actions=[ActionReport(name or "a", 1)])
    )
    assert {cell_len(line.plain) for line in frame(control, NOW, width, 15)} == {width}


def test_what_is_painted_is_the_text_with_colours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painted([Text.assemble(("a", "red"), "b[bold]:smile: "), Text("c")], 20) == [
        "\x1b[31ma\x1b[0mb[bold]:smile: ",
        "c",
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted([Text("a", "red")], 20) == ["a"]
