"""The report of two builds says what was found, and never more."""

from __future__ import annotations

from random import Random

import pytest
from tuning_support import BASE, MACHINE, SETUP, sample

from arbd.tuning import paired, paired_report
from arbd.tuning.paired import Block, BuildFacts, PairedRecord


def record(here: float, *, blocks: int = 10, msgspec_there: str = "0.21", complete: bool = True) -> PairedRecord:
    made = [
        Block(order, [sample(1000 * here if side == "here" else 1000) for side in order])
        for order in paired.orders(blocks, Random(1))
    ]
    return PairedRecord(
        created_at="2026-11-30T16:00:00+00:00",
        machine=MACHINE,
        setup=SETUP,
        point=BASE,
        builds={
            "here": BuildFacts("3.11.7", {"arbd": "0.2", "msgspec": "0.21"}),
            "there": BuildFacts("3.11.7", {"arbd": "0.1", "msgspec": msgspec_there}),
        },
        blocks=made,
        rows=paired.judge(made),
        load_before=0.0,
        complete=complete,
    )


@pytest.mark.parametrize(
    ("here", "blocks", "told"),
    [
        (0.8, 10, "This build is slower by more than noise: tasks/s 0.80 times."),
        (1.2, 10, "This build is faster by more than noise: tasks/s 1.20 times."),
        (1.0, 10, "No difference was found."),
        (0.2, 3, "Too few blocks to tell slower from noise; use --repeat 9 or more."),
    ],
)
def test_the_sentence_is_what_the_blocks_say(here: float, blocks: int, told: str) -> None:
    assert paired_report.verdict(record(here, blocks=blocks)).startswith(told)


def test_the_table_has_both_builds_and_how_far_the_blocks_lie_apart() -> None:
    first, second = paired_report.rows(record(0.8))
    assert first == ("tasks/s", "1,000", "800", "0.800", "0.80", "0.80", "0.0020", "SLOWER")
    assert second[-1] == "no difference found"
    assert len(first) == len(paired_report.COLUMNS)


def test_what_else_differs_between_the_builds_is_said() -> None:
    notes = list(paired_report.notes(record(1.0, msgspec_there="0.20", complete=False)))
    assert [note.partition(";")[0] for note in notes] == [
        "another arbd: 0.1 there, 0.2 here",
        "another msgspec: 0.20 there, 0.21 here",
        "it was cut short: this is what the whole blocks by then say",
    ]


def test_the_headline_names_action_settings_and_blocks() -> None:
    assert paired_report.headline(record(1.0)) == (
        "total: stream, 2 workers, prefetch 256; 10 blocks of two runs of each build"
    )
