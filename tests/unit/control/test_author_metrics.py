"""An author's metrics out of the workers' pages: sums that are right, that never fall, and that stay bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.control.author_metrics import AuthorFamily, AuthorMetrics
from arbd.control.author_text import AuthorText
from arbd.ipc import author_page
from arbd.ipc.author_page import AuthorPageReader, AuthorPageWriter
from arbd.model.metric import MetricDefinition, OverWorkers

ORDERS = MetricDefinition("counter", "orders", "Orders.", ("kind",))
SIZES = MetricDefinition("histogram", "sizes", "Sizes.", buckets=(1.0, 2.5))
HELD = MetricDefinition("gauge", "held", "Held.")


@dataclass
class Machine:
    """Pages and workers on them, as supervisor and workers would have it."""

    limit: int = 100
    pages: list[memoryview] = field(default_factory=list)
    writers: list[AuthorPageWriter] = field(default_factory=list)
    now_ns: int = 0

    def tick(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def begin(self, page: int) -> AuthorPageWriter:
        """A worker begins on that page."""
        while page >= len(self.pages):
            words = memoryview(bytearray(author_page.page_bytes(self.limit))).cast("Q")
            author_page.begin(words, self.limit)
            self.pages.append(words)
            self.writers.append(AuthorPageWriter(words))
        worker = self.tick()
        author_page.own(self.pages[page], worker)
        writer = self.writers[page] = AuthorPageWriter(self.pages[page])
        writer.attach(worker)
        return writer

    def end(self, page: int) -> None:
        author_page.own(self.pages[page], 0)

    def count(self, page: int, definition: MetricDefinition, *labels: str, value: float = 1.0, cell: int = 0) -> bool:
        writer = self.writers[page]
        if not writer.define(definition, self.tick()):
            return False
        cells = writer.series(definition, labels, self.tick())
        if cells is None:
            return False
        if definition.kind == "gauge":
            cells[0], cells[1] = value, float(self.tick())
        else:
            cells[cell] += value
        return True

    def readers(self) -> list[AuthorPageReader]:
        return [AuthorPageReader(words) for words in self.pages]


def lines(families: list[AuthorFamily], *, own: bool = False) -> dict[str, float]:
    """Every line by what it begins with."""
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sample.labels): sample.value
        for family in families
        for sample in family.samples
        if own or not sample.name.startswith("arbd_")
    }


def of(machine: Machine) -> dict[str, float]:
    return lines(AuthorMetrics(machine.limit).families(machine.readers()))


def two() -> Machine:
    machine = Machine()
    machine.begin(0)
    machine.begin(1)
    return machine


def test_counters_are_added_and_stay_when_the_worker_is_gone() -> None:
    machine = two()
    machine.count(0, ORDERS, "a", value=2)
    machine.count(1, ORDERS, "a", value=3)
    machine.count(1, ORDERS, "b")
    expected = {"orders_total{kind=a}": 5, "orders_total{kind=b}": 1}
    assert of(machine) == expected
    machine.end(1)
    assert of(machine) == expected


def test_histograms_are_added_and_counted_up() -> None:
    machine = two()
    for page, cell, value in ((0, 1, 1), (0, 2, 1), (0, 0, 3.5), (1, 3, 1), (1, 0, 9)):
        machine.count(page, SIZES, value=value, cell=cell)
    assert of(machine) == {
        "sizes_bucket{le=1.0}": 1,
        "sizes_bucket{le=2.5}": 2,
        "sizes_bucket{le=+Inf}": 3,
        "sizes_sum": 12.5,
        "sizes_count": 3,
    }


@pytest.mark.parametrize(("how", "expected"), [("sum", 4), ("max", 5), ("min", -1), ("last", -1)])
def test_gauges_of_workers_that_are_there_become_one(how: OverWorkers, expected: float) -> None:
    machine = two()
    held = msgspec.structs.replace(HELD, over_workers=how)
    machine.count(0, held, value=5)
    machine.count(1, held, value=-1)
    machine.begin(2).define(held, 1)  # it has set none: no 0 that would be the smallest
    machine.begin(3)
    machine.count(3, held, value=99)
    machine.end(3)
    assert of(machine) == {"held": expected}


def test_a_gauge_that_nobody_has_set_is_0_and_one_with_labels_is_not_there() -> None:
    machine = two()
    for definition, labels in ((HELD, ()), (MetricDefinition("gauge", "named", "", ("x",)), ("a",))):
        machine.writers[0].define(definition, 1)
        machine.writers[0].series(definition, labels, 1)
    assert of(machine) == {"held": 0}
    machine.end(0)
    assert of(machine) == {}


def test_a_reader_that_has_been_there_sees_what_one_sees_that_begins() -> None:
    machine, metrics, readers = Machine(), AuthorMetrics(100), []
    for page in range(3):
        machine.begin(page)
        readers.append(AuthorPageReader(machine.pages[page]))
        machine.count(page, ORDERS, str(page))
        assert lines(metrics.families(readers)) == of(machine)


def test_code_that_makes_another_thing_of_a_name_holds_and_so_does_going_back() -> None:
    machine = two()
    other = MetricDefinition("gauge", "orders", "Orders, otherwise.")
    machine.count(0, ORDERS, "a", value=5)
    machine.count(1, other, value=7)
    assert of(machine) == {"orders": 7}
    machine.begin(0)
    machine.count(0, ORDERS, "a")
    assert of(machine) == {"orders_total{kind=a}": 6}


def test_two_definitions_never_have_a_line_in_common() -> None:
    machine = two()
    machine.count(0, SIZES, cell=1)
    machine.count(1, MetricDefinition("gauge", "sizes_sum", ""), value=7)
    assert of(machine) == {"sizes_sum": 7}


def test_there_are_no_more_lines_than_one_page_has_and_the_oldest_stay() -> None:
    machine, metrics = Machine(limit=10), AuthorMetrics(10)
    readers: list[AuthorPageReader] = []
    for page in range(3):
        machine.begin(page)
        readers.append(AuthorPageReader(machine.pages[page]))
        for number in range(8):
            machine.count(page, ORDERS, f"{page}-{number}")
    found = lines(metrics.families(readers), own=True)
    assert sum(not name.startswith("arbd_") for name in found) == 10
    assert found["arbd_author_series"] == found["arbd_author_series_limit"] == 10
    before = of(machine)
    for page in range(3):
        for number in range(8):
            machine.count(page, ORDERS, f"{page}-{number}")
    assert of(machine) == {name: 2 * value for name, value in before.items()}
    assert lines(metrics.families(readers)) == of(machine)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 1000)),
        st.tuples(st.just("observe"), st.integers(0, 3), st.integers(1, 3), st.integers(0, 1000)),
        st.tuples(st.just("die"), st.integers(0, 3), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@given(ACTS)
def test_whoever_dies_sums_are_what_was_counted_and_nothing_ever_falls(
    acts: list[tuple[str, int, str | int, int]],
) -> None:
    machine, metrics = Machine(), AuthorMetrics(100)
    for page in range(4):
        machine.begin(page)
    readers = machine.readers()
    truth: dict[str, float] = {}
    before: dict[str, float] = {}
    for act, page, what, amount in acts:
        if act == "count":
            machine.count(page, ORDERS, str(what), value=amount)
            truth[f"orders_total{{kind={what}}}"] = truth.get(f"orders_total{{kind={what}}}", 0) + amount
        elif act == "observe":
            machine.count(page, SIZES, value=amount, cell=int(what))
            truth["sizes_count"] = truth.get("sizes_count", 0) + amount
        else:
            machine.end(page)
            machine.begin(page)
        now = lines(metrics.families(readers))
        assert all(now[name] >= value for name, value in before.items())
        before = now
    assert {name: before[name] for name in truth} == truth
    assert of(machine) == before


# -- as a text ---------------------------------------------------------------------------------------------------------


def test_the_text_is_what_prometheus_reads() -> None:
    machine = two()
    odd = MetricDefinition("gauge", "odd", 'A "text"\nof \\ two lines.', ("x",))
    for label, value in (('q"\n\\', 0.1), ("nan", float("nan")), ("inf", float("inf")), ("whole", 1e6)):
        machine.count(0, odd, label, value=value)
    text = "".join(AuthorText().families(dict(enumerate(machine.pages))))
    assert text.startswith(
        '# HELP odd A "text"\\nof \\\\ two lines.\n# TYPE odd gauge\n'
        'odd{x="q\\"\\n\\\\"} 0.1\nodd{x="nan"} NaN\nodd{x="inf"} +Inf\nodd{x="whole"} 1000000\n'
        "# HELP arbd_author_updates_dropped_total "
    )


def test_where_an_author_has_no_metrics_there_is_no_text() -> None:
    assert list(AuthorText().families(dict(enumerate(two().pages)))) == []


def test_a_page_that_a_worker_has_ruined_is_left_out_until_it_is_whole() -> None:
    machine, text = two(), AuthorText()
    machine.count(1, ORDERS, "a")
    machine.pages[1][author_page.MAGIC] = 0
    assert list(text.families(dict(enumerate(machine.pages)))) == []
    author_page.begin(machine.pages[1], machine.limit)
    assert 'orders_total{kind="a"} 1\n' in "".join(text.families(dict(enumerate(machine.pages))))


def test_values_of_labels_that_look_the_same_are_one_series_that_controls_no_terminal() -> None:
    machine = Machine()
    machine.begin(0)
    machine.begin(1)
    for page, value in enumerate(("\x00\x1b[2J\u202e", "\\x00\\x1b[2J\\u202e")):
        assert machine.count(page, ORDERS, value)
    hostile = msgspec.structs.replace(HELD, documentation="held\x00\x1b[2J\r\nFORGED 1")
    assert machine.count(0, hostile)
    text = "".join(AuthorText().families(dict(enumerate(machine.pages))))
    assert {letter for letter in text if not letter.isprintable()} == {"\n"}
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("FORGED")] == []
    assert [line for line in lines if line.startswith("orders_total")] == [
        'orders_total{kind="\\\\x00\\\\x1b[2J\\\\u202e"} 2'
    ]
