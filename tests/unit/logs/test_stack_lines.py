"""Of a stack the log has the action's own part, and not more than somebody reads."""

from __future__ import annotations

from pathlib import Path

import arbd
from arbd.logs import stack_lines

ARBD = Path(arbd.__file__).parent
INNER = '  File "/x/actions.py", line 3 in inner'
OUTER = '  File "/x/actions.py", line 9 in outer'
CALLER = f'  File "{ARBD}/author/binding.py", line 1 in <lambda>'
LOOP = f'  File "{ARBD}/worker/loop.py", line 2 in run'


def test_it_ends_where_arbd_has_called_the_action() -> None:
    assert stack_lines.shortened([INNER, OUTER, CALLER, LOOP]) == f"{INNER}\n{OUTER}"


def test_one_that_is_all_arbds_stays() -> None:
    assert stack_lines.shortened([LOOP]) == LOOP
    assert stack_lines.shortened([]) == ""


def test_a_deep_one_is_cut() -> None:
    assert stack_lines.shortened([INNER] * 100).split("\n") == [*[INNER] * stack_lines.MOST_LINES, "  (60 more)"]
    assert len(stack_lines.shortened(["x" * 100_000])) == 6000


def test_for_people_arbds_part_is_counted() -> None:
    first, second = f"Thread 1:\n{INNER}\n{CALLER}\n{LOOP}", f"Current thread 2:\n{LOOP}\n{LOOP}"
    assert stack_lines.folded(f"{first}\n\n{second}\n\n  waits in x") == (
        f"Thread 1:\n{INNER}\n  (2 more, of arbd)\n\nCurrent thread 2:\n{LOOP}\n  (1 more, of arbd)\n\n  waits in x"
    )
    assert stack_lines.folded("") == ""


def test_of_a_dump_it_takes_the_main_thread_which_is_the_last() -> None:
    dump = f"Thread 0x01 (most recent call first):\n{OUTER}\n\nCurrent thread 0x02 (most recent call first):\n{INNER}\n"
    assert stack_lines.of_action(dump) == INNER
    assert stack_lines.of_action("what is none") == "what is none"
    assert stack_lines.of_action("") == ""
