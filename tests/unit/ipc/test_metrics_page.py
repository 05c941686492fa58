"""The metrics page: what is written is read, a reader sees all of a change or nothing, and no name overflows a row."""

from __future__ import annotations

from array import array

import pytest

from arbd.errors import InvariantError
from arbd.ipc import metrics_page as page
from arbd.ipc.metrics_page import MetricsReader, MetricsWriter, SnapshotTooLongError, cut_name, page_bytes


def made(rows: int = 3, snapshot_bytes: int = 64) -> tuple[MetricsWriter, memoryview]:
    words = memoryview(bytearray(page_bytes(rows, snapshot_bytes))).cast("Q")
    return MetricsWriter(words, rows), words


def test_a_row_is_read_as_it_was_written() -> None:
    writer, words = made()
    writer.begin_rows()
    writer.name_row(1, "größe")
    writer.write_row(1, array("Q", [7, 8]).tobytes())
    writer.end_rows(2)
    others, row = MetricsReader(words).read_rows()
    assert (others.name, row.name) == ("", "größe")
    assert (row.words[page.RUN_NS], row.words[page.WAIT_NS], row.words[page.DECIDED_NS]) == (7, 8, 0)


def test_a_slot_is_read_as_it_was_written_and_no_slot_is_zeros() -> None:
    writer, words = made()
    writer.write_slot(1023, array("Q", range(8)).tobytes())
    reader = MetricsReader(words)
    assert reader.slot(1023) == list(range(8))
    assert reader.slot(1024) == reader.slot(-1) == [0] * 8


def test_the_rows_of_a_supervisor_that_was_stopped_while_it_wrote_are_read_all_the_same() -> None:
    writer, words = made()
    writer.begin_rows()
    writer.name_row(1, "a")
    assert [row.name for row in MetricsReader(words).read_rows()] == [""]


def test_a_snapshot_is_read_as_it_was_written() -> None:
    writer, words = made()
    reader = MetricsReader(words)
    assert (reader.snapshot(), reader.snapshot_at_ns) == (None, 0)
    writer.write_snapshot(b'{"a":1}', 5)
    assert (reader.snapshot(), reader.snapshot_at_ns) == (b'{"a":1}', 5)
    writer.write_snapshot(b"{}", 6)
    assert (reader.snapshot(), reader.snapshot_at_ns) == (b"{}", 6)


def test_half_a_snapshot_is_none() -> None:
    writer, words = made()
    writer.write_snapshot(b"{}", 5)
    words[2 * 8] += 1  # the supervisor was stopped while it wrote the next
    assert MetricsReader(words).snapshot() is None


def test_a_snapshot_that_does_not_fit_leaves_the_one_before() -> None:
    writer, words = made(snapshot_bytes=64)
    writer.write_snapshot(b"x" * 64, 5)
    with pytest.raises(SnapshotTooLongError, match="65 bytes, and the page has room for 64"):
        writer.write_snapshot(b"y" * 65, 6)
    assert MetricsReader(words).snapshot() == b"x" * 64


@pytest.mark.parametrize(
    ("name", "bytes_"), [("a" * 600, 504), ("é" * 300, 504), ("a" + "é" * 300, 503), ("\ud800", 1), ("", 0)]
)
def test_a_name_is_cut_to_whole_characters(name: str, bytes_: int) -> None:
    text = cut_name(name)
    assert len(text) == bytes_
    text.decode()


def test_lengths_that_cannot_be_are_not_believed() -> None:
    writer, words = made()
    writer.end_rows(10**9)
    words[page.row_at(1)] = 10**9
    words[2 * 8 + 1] = 10**9
    reader = MetricsReader(words)
    assert len(reader.read_rows()) == 3
    reader.snapshot()


def test_another_memory_is_no_page() -> None:
    with pytest.raises(InvariantError, match="no metrics page"):
        MetricsReader(memoryview(bytearray(4096)).cast("Q"))
    with pytest.raises(InvariantError, match="no room for 9 rows"):
        MetricsWriter(memoryview(bytearray(page_bytes(3, 0))).cast("Q"), 9)
