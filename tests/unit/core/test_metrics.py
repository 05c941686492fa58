"""Counting: each verdict is in one row, sums are what was counted, and nothing that is read ever falls."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from unit_flights import answered

from arbd.core.metrics import TaskMetrics
from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import ActionRow, MetricsReader, MetricsWriter, page_bytes
from arbd.model.reasons import NUMBER_OF, REASONS
from arbd.model.task import STATUSES

S = 1_000_000_000


class Counted:
    """Metrics with a page of so many rows, and its reader."""

    def __init__(self, rows: int = 4) -> None:
        words = memoryview(bytearray(page_bytes(rows, 64))).cast("Q")
        self.tasks = TaskMetrics(MetricsWriter(words, rows))
        self.reader = MetricsReader(words)

    def rows(self) -> dict[str, ActionRow]:
        self.tasks.publish()
        return {row.name: row for row in self.reader.read_rows()}


def test_a_task_is_counted_by_action_and_outcome_with_its_times() -> None:
    counted = Counted()
    counted.tasks.offer(["a"])
    counted.tasks.finished(answered("a", "success", 3 * S, 10 * S, 15 * S))
    row = counted.rows()["a"]
    assert [row.count(status) for status in STATUSES] == [1, 0, 0]
    assert (row.words[page.RUN_NS], row.words[page.WAIT_NS]) == (3 * S, 2 * S)
    assert row.buckets(page.RUN)[(3 * S).bit_length()] == 1
    assert row.buckets(page.WAIT)[(2 * S).bit_length()] == 1
    assert row.buckets(page.END_TO_END)[(5 * S).bit_length()] == 1


def test_a_worker_that_says_it_ran_for_longer_than_its_task_was_here_is_not_believed() -> None:
    counted = Counted()
    counted.tasks.finished(answered("a", "error", 2**64 - 1, 10, 17))
    counted.tasks.failed("a", 2**16 - 1)
    row = counted.rows()[""]
    assert (row.words[page.RUN_NS], row.words[page.WAIT_NS]) == (7, 0)
    assert row.words[page.FAILURES + NUMBER_OF["other"]] == 1


def test_a_verdict_of_the_supervisor_s_own_has_neither_run_nor_wait() -> None:
    counted = Counted()
    counted.tasks.offer(["a"])
    counted.tasks.decided("a", "error", "timeout", 5)
    counted.tasks.decided("a", "limit", "other", -5)
    row = counted.rows()["a"]
    assert [row.count(status) for status in STATUSES] == [0, 1, 1]
    assert (sum(row.buckets(page.RUN)), sum(row.buckets(page.WAIT)), row.words[page.DECIDED_NS]) == (0, 0, 5)
    assert [row.words[page.FAILURES + NUMBER_OF[reason]] for reason in REASONS] == [
        int(reason == "timeout") for reason in REASONS
    ]


def test_callers_make_no_rows() -> None:
    counted = Counted()
    counted.tasks.offer(["a"])
    for name in ("b", "c", "\x1b[2J", ""):
        counted.tasks.finished(answered(name, "error", 1, 1, 3))
        counted.tasks.killed(name)
        counted.tasks.ended_worker(name)
        counted.tasks.used_cpu(name, 5)
    rows = counted.rows()
    assert list(rows) == ["", "a"]
    others = rows[""]
    assert others.count("error") == 4
    assert [others.words[at] for at in (page.KILLS, page.WORKERS_ENDED, page.CPU_NS)] == [4, 4, 20]


def test_an_action_that_goes_keeps_its_row_until_another_needs_it() -> None:
    counted = Counted(rows=3)
    counted.tasks.offer(["a", "b"])
    counted.tasks.finished(answered("a", "success", 1, 1, 3))
    counted.tasks.offer(["b"])
    assert counted.rows()["a"].count("success") == 1
    counted.tasks.offer(["b", "c"])
    counted.tasks.finished(answered("c", "success", 1, 1, 3))
    rows = counted.rows()
    assert set(rows) == {"", "b", "c"}
    assert (rows[""].count("success"), rows["c"].count("success")) == (1, 1)


def test_more_actions_than_rows_share_one() -> None:
    counted = Counted(rows=2)
    counted.tasks.offer(["a", "b"])
    counted.tasks.finished(answered("b", "success", 1, 1, 3))
    rows = counted.rows()
    assert (set(rows), rows[""].count("success")) == ({"", "a"}, 1)


def test_slots_go_on_with_the_next_worker() -> None:
    counted = Counted()
    counted.tasks.add_to_slot(2, (5, 0, 1))
    counted.tasks.add_to_slot(2, (1, 2))
    counted.tasks.publish()
    assert counted.reader.slot(2)[:4] == [6, 2, 1, 0]


_names = st.sampled_from(["a", "b", "c", "d", "e"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.lists(_names)),
        st.tuples(st.just("finished"), _names, st.sampled_from(STATUSES), st.integers(0, 2**64 - 1)),
        st.tuples(st.just("decided"), _names, st.sampled_from(STATUSES), st.sampled_from(REASONS)),
        st.tuples(st.just("publish")),
    )
)


@given(_steps)
def test_no_sum_ever_falls_and_all_are_exact(steps: list[tuple[object, ...]]) -> None:
    counted = Counted(rows=3)
    expected: Counter[object] = Counter()
    before = [0] * page.ROW_WORDS
    for step in steps:
        match step:
            case ("offer", list(names)):
                counted.tasks.offer(names)
            case ("finished", str(name), str(status), int(run_ns)):
                counted.tasks.finished(answered(name, status, run_ns, 5, 2**40))
                expected[status] += 1
            case ("decided", str(name), str(status), reason):
                counted.tasks.decided(name, status, reason, 2**30)  # type: ignore[arg-type] # of REASONS
                expected[status] += 1
            case _:
                rows = counted.rows().values()
                assert {status: sum(row.count(status) for row in rows) for status in STATUSES} == {
                    status: expected[status] for status in STATUSES
                }
                now = [sum(row.words[index] for row in rows) for index in range(page.COUNTERS_FROM, page.ROW_WORDS)]
                assert all(is_ >= was for was, is_ in zip(before, now, strict=False))
                before = now
