"""The name plate tells who runs only while that one runs. Nothing that a wild store makes of it breaks its reader."""

from __future__ import annotations

import pytest

from arbd.ipc import layout
from arbd.ipc.plate import OwnPipes, PlateWriter, decode_own_pipes, encode, read_plate

TASK = ("t-1", "price", "00-trace", 2)


@pytest.fixture
def page() -> bytearray:
    return bytearray(layout.PAGE_BYTES)


def words_of(page: bytearray) -> memoryview:
    return memoryview(page).cast("Q")


def test_a_task_is_certain_while_it_runs(page: bytearray) -> None:
    words = words_of(page)
    writer = PlateWriter(words)
    assert read_plate(bytes(page))[:2] == (0, 0)
    words[layout.RUNNING_SEQ] = 7
    assert writer.write(TASK, threads=2)
    plate = read_plate(bytes(page))
    assert (plate.running, plate.certain, plate.threads, plate.task) == (7, 7, 2, TASK)
    words[layout.RUNNING_SEQ] = 8
    assert read_plate(bytes(page))[:2] == (8, 0)


def test_a_name_too_long_for_it(page: bytearray) -> None:
    words = words_of(page)
    writer = PlateWriter(words)
    words[layout.RUNNING_SEQ] = 7
    writer.write(TASK, 1)
    assert not writer.write(("t" * layout.PAGE_BYTES, "price", "", 1), 1)
    assert read_plate(bytes(page)).certain == 0
    assert words[layout.TAKEN_BACK] == 0


@pytest.mark.parametrize("length", [0, 3, 1 << 40, (1 << 64) - 1])
def test_whatever_is_stored_there(page: bytearray, length: int) -> None:
    words = words_of(page)
    PlateWriter(words).write(TASK, 1)
    words[layout.PLATE_LENGTH] = length
    assert read_plate(bytes(page)).task is None


@pytest.mark.parametrize("task", [TASK, None])
def test_the_message_with_pipes_of_a_tasks_own(task: tuple[str, str, str, int] | None) -> None:
    assert decode_own_pipes(encode(OwnPipes(task))).task == task
