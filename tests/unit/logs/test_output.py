"""Whole lines or none, whatever the reader does; waiting is bounded; every line that was dropped is counted and told.

The outlet is one in memory, whose reader does what the test says; its clock is stepped by waiting.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.host.outlet import ATOMIC, Outlet, outlet_of
from arbd.logs.output import LineOutput, LineStream

MAX_WAIT_S = 0.01


class Struck(BaseException):
    """What a signal's handler raises, as the soft deadline does."""


class Reader(Outlet):
    """An outlet in memory. ``steps``: how many bytes of each write are taken, or an exception to raise; at the end of
    them there is ``always``, which is room for everything to begin with."""

    def __init__(self, steps: Iterable[int | BaseException] = (), always: int | BaseException | None = None) -> None:
        self.steps = deque(steps)
        self.always = always
        self.taken = b""
        self.now = 100.0
        self.waits: list[float] = []
        self.on_wait: Callable[[float], bool] = lambda seconds: False
        self.does_fit = True

    def writer(self) -> Callable[[bytes], int]:
        return self._write

    def _write(self, data: bytes) -> int:
        step = self.steps.popleft() if self.steps else self.always
        if isinstance(step, BaseException):
            raise step
        part = data if step is None or len(data) <= ATOMIC else data[:step]  # short ones are all or nothing
        self.taken += part
        return len(part)

    def fits(self, size: int) -> bool:
        return self.does_fit

    def wait(self, size: int, seconds: float) -> bool:
        self.waits.append(seconds)
        if self.on_wait(seconds):
            self.now += min(seconds, 0.001)
            return True
        self.now += seconds
        return False

    def stall(self) -> None:
        """Read nothing from now on."""
        self.always = BlockingIOError()
        self.on_wait = lambda seconds: False

    def come_back(self) -> None:
        """Read everything from now on."""
        self.steps.clear()
        self.always = None
        self.on_wait = lambda seconds: True

    @property
    def lines(self) -> list[bytes]:
        assert self.taken.endswith(b"\n") or not self.taken
        return self.taken.split(b"\n")[:-1]


class Output(LineOutput):
    """One that counts the losses."""

    def __init__(self, reader: Reader) -> None:
        self.losses = 0
        super().__init__(reader, self._told, self._count, MAX_WAIT_S, lambda: reader.now)

    def _count(self) -> None:
        self.losses += 1

    @staticmethod
    def _told(count: int) -> bytes:
        return b"lost %d\n" % count


def line(number: int, size: int = 10) -> bytes:
    return (b"%d" % number).ljust(size - 1, b".") + b"\n"


class TestStall:
    def test_it_costs_the_longest_wait_once_and_then_a_look_at_each_line(self) -> None:
        reader = Reader()
        output = Output(reader)
        reader.stall()
        for number in range(100):
            output.write(line(number))
        assert reader.waits == [MAX_WAIT_S] + [0] * 99
        assert (output.losses, reader.taken) == (100, b"")

    def test_the_next_line_tells_how_many_were_lost(self) -> None:
        reader = Reader()
        output = Output(reader)
        output.write(b"before\n")
        reader.stall()
        for number in range(3):
            output.write(line(number))
        reader.come_back()
        output.write(b"after\n")
        output.write(b"and on\n")
        assert reader.lines == [b"before", b"lost 3", b"after", b"and on"]
        assert output.losses == 3

    def test_one_that_takes_a_line_now_and_then_is_not_told_of_losses_alone(self) -> None:
        reader = Reader()
        output = Output(reader)
        for number in range(6):
            reader.come_back() if number % 2 else reader.stall()
            output.write(line(number, 4))
        assert reader.lines == [b"lost 1", b"1..", b"lost 1", b"3..", b"lost 1", b"5.."]

    def test_a_reader_that_comes_back_in_time_loses_nothing(self) -> None:
        reader = Reader([BlockingIOError(), BlockingIOError()])
        reader.on_wait = lambda seconds: True
        output = Output(reader)
        output.write(b"late\n")
        assert (reader.lines, output.losses) == ([b"late"], 0)

    def test_a_reader_that_is_slow_for_ever_costs_a_small_part_of_the_time(self) -> None:
        """It makes room when nearly all of the wait is gone, again and again."""
        reader = Reader()
        output = Output(reader)
        waited = 0.0

        def wait(seconds: float) -> bool:
            nonlocal waited
            waited += seconds * 0.9
            reader.now += seconds * 0.9
            return True

        reader.on_wait = wait
        begin = reader.now
        for number in range(1000):
            reader.steps.extend([BlockingIOError(), BlockingIOError()])
            output.write(line(number))
            reader.now += 0.000_1
        assert waited <= MAX_WAIT_S + 0.06 * (reader.now - begin)

    def test_a_longer_wait_holds_at_once(self) -> None:
        reader = Reader()
        output = Output(reader)
        output.limit_wait(0.25)
        reader.stall()
        output.write(b"lost\n")
        assert reader.waits == [0.25]

    def test_the_wait_grows_back(self) -> None:
        reader = Reader()
        output = Output(reader)
        reader.stall()
        output.write(b"lost\n")
        reader.come_back()
        output.write(b"read\n")
        reader.now += 3600
        reader.stall()
        reader.waits.clear()
        output.write(b"lost again\n")
        assert reader.waits == [MAX_WAIT_S]


class TestTail:
    LONG = line(1, 3 * ATOMIC)

    def test_the_rest_of_a_line_goes_out_before_anything_else(self) -> None:
        reader = Reader([5000], always=BlockingIOError())
        output = Output(reader)
        output.write(self.LONG)
        assert (reader.taken, output.losses) == (self.LONG[:5000], 0)
        reader.come_back()
        output.write(b"next\n")
        assert reader.taken == self.LONG + b"next\n"

    def test_while_it_cannot_others_are_lost(self) -> None:
        reader = Reader([5000], always=BlockingIOError())
        output = Output(reader)
        for text in (self.LONG, b"lost\n", b"lost too\n"):
            output.write(text)
        reader.come_back()
        output.write(b"next\n")
        assert reader.taken == self.LONG + b"lost 2\nnext\n"

    def test_a_long_line_waits_until_it_fits_or_is_lost_whole(self) -> None:
        reader = Reader()
        reader.does_fit = False  # but there is room for a short one
        reader.on_wait = lambda seconds: True
        output = Output(reader)
        output.write(self.LONG)
        output.write(b"short\n")
        assert (reader.lines, output.losses) == ([b"lost 1", b"short"], 1)

    def test_the_end_of_the_process_gets_it_out(self) -> None:
        reader = Reader([5000], always=BlockingIOError())
        output = Output(reader)
        for text in (self.LONG, b"lost\n"):
            output.write(text)
        reader.come_back()
        output.flush(1)
        assert reader.taken == self.LONG + b"lost 1\n"

    def test_the_end_of_the_process_is_put_off_once_by_a_reader_that_stalls(self) -> None:
        reader = Reader()
        output = Output(reader)
        reader.stall()
        output.write(b"lost\n")
        reader.waits.clear()
        output.flush(0.25)
        assert reader.waits == [0.25]

    def test_with_nothing_owed_the_end_does_nothing(self) -> None:
        reader = Reader()
        output = Output(reader)
        output.write(b"line\n")
        reader.stall()
        output.flush(0.25)
        assert (reader.lines, reader.waits) == ([b"line"], [])

    def test_a_file_on_a_disk_that_was_full_goes_on_where_it_broke_off(self) -> None:
        reader = Reader()
        output = Output(reader)

        def almost_full(data: bytes) -> int:
            reader.taken += data[:3]
            return 3

        write, output._writer = output._writer, almost_full
        output.write(b"broken\n")
        output._writer = write
        output.write(b"whole\n")
        assert reader.lines == [b"broken", b"whole"]


class TestFailure:
    @pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "no space")])
    def test_what_time_does_not_mend_is_not_waited_for(self, error: OSError) -> None:
        reader = Reader(always=error)
        reader.on_wait = lambda seconds: True  # there is no reader, so nobody has to be waited for
        output = Output(reader)
        for number in range(5):
            output.write(line(number))
        assert (output.losses, {*reader.waits}) == (5, {0})
        reader.come_back()
        output.write(b"another reader\n")
        assert reader.lines == [b"lost 5", b"another reader"]


class TestStruck:
    """The soft deadline of a task raises wherever it strikes."""

    def test_while_it_waits_for_room(self) -> None:
        reader = Reader(always=BlockingIOError())

        def strike(seconds: float) -> bool:
            raise Struck

        reader.on_wait = strike
        output = Output(reader)
        with pytest.raises(Struck):
            output.write(b"lost\n")
        reader.come_back()
        output.write(b"next\n")
        assert (reader.lines, output.losses) == ([b"lost 1", b"next"], 1)

    def test_between_a_part_of_a_line_and_the_note_of_it(self) -> None:
        """Nobody knows how much went out: that one line is broken, and ended."""
        reader = Reader()
        output = Output(reader)

        def strike(data: bytes) -> int:
            reader.taken += data[:5000]
            raise Struck

        write, output._writer = output._writer, strike
        with pytest.raises(Struck):
            output.write(TestTail.LONG)
        output._writer = write
        output.write(b"next\n")
        *broken, told, following = reader.lines
        assert broken == [TestTail.LONG[:5000]]
        assert (told, following) == (b"lost %d" % output.losses, b"next")


STEPS = st.lists(
    st.one_of(st.integers(1, 9000), st.sampled_from([BlockingIOError(), OSError(5, "broken")])), max_size=60
)
SIZES = st.lists(st.one_of(st.integers(6, 300), st.integers(4000, 4200), st.integers(4097, 40_000)), max_size=40)


@given(steps=STEPS, sizes=SIZES, has_room=st.lists(st.booleans(), max_size=80))
def test_whatever_the_reader_does_it_gets_whole_lines_in_their_order(
    steps: list[int | BaseException], sizes: list[int], has_room: list[bool]
) -> None:
    reader = Reader(steps, always=BlockingIOError())
    answers = iter(has_room)
    reader.on_wait = lambda seconds: next(answers, False)
    output = Output(reader)
    written = [line(number, size) for number, size in enumerate(sizes)]
    for each in written:
        output.write(each)
    reader.come_back()
    output.flush(1)
    told = [int(each.split()[1]) for each in reader.lines if each.startswith(b"lost ")]
    came = [each + b"\n" for each in reader.lines if not each.startswith(b"lost ")]
    assert sum(told) == output.losses == len(written) - len(came)
    rest = iter(written)
    assert all(each in rest for each in came)  # in their order, none twice


@given(steps=STEPS, sizes=SIZES, strikes=st.sets(st.integers(0, 100)))
def test_whoever_strikes_meanwhile_breaks_no_line_but_the_one_it_struck(
    steps: list[int | BaseException], sizes: list[int], strikes: set[int]
) -> None:
    reader = Reader(steps, always=BlockingIOError())
    reader.on_wait = lambda seconds: True
    output = Output(reader)
    write = output._writer
    struck = 0
    calls = 0

    def strike(data: bytes) -> int:
        nonlocal calls, struck
        calls += 1
        written = write(data)
        if calls in strikes:
            struck += 1
            raise Struck
        return written

    output._writer = strike
    written = [line(number, size) for number, size in enumerate(sizes)]
    for each in written:
        try:
            output.write(each)
        except Struck:
            pass
        reader.steps.append(1 << 20)
    output._writer = write
    reader.come_back()
    output.flush(1)
    whole = {each.rstrip(b"\n") for each in written}
    broken = [each for each in reader.lines if each and not each.startswith(b"lost ") and each not in whole]
    assert len(broken) <= struck


class TestFork:
    def test_the_child_owes_nothing(self) -> None:
        reader = Reader([5000], always=BlockingIOError())
        output = Output(reader)
        for text in (TestTail.LONG, b"lost\n"):
            output.write(text)
        output.after_fork()
        reader.taken = b""
        reader.come_back()
        output.write(b"of the child\n")
        output.flush(1)
        assert reader.lines == [b"of the child"]

    def test_a_lock_of_another_thread_does_not_hold_the_child_up(self) -> None:
        reader = Reader(always=BlockingIOError())
        output = Output(reader)
        entered, leave = threading.Event(), threading.Event()

        def wait(seconds: float) -> bool:
            entered.set()
            leave.wait(60)
            return False

        reader.on_wait = wait
        other = threading.Thread(target=output.write, args=(b"of another thread\n",))
        other.start()
        entered.wait(60)
        reader.come_back()
        output.after_fork()
        output.write(TestTail.LONG)  # takes the lock
        leave.set()
        other.join()
        assert reader.lines == [TestTail.LONG.rstrip(b"\n")]


class TestStream:
    def stream(self, fd: int = 2) -> tuple[LineStream, Reader]:
        reader = Reader()
        return LineStream(Output(reader), fd, like=io.TextIOWrapper(io.BytesIO(), "utf-8")), reader

    def test_what_is_printed_goes_out_line_by_line(self) -> None:
        stream, reader = self.stream()
        print("one", "two", file=stream)
        print("a piece", end="", file=stream)
        assert reader.lines == [b"one two"]
        stream.flush()
        assert reader.taken == b"one two\na piece"

    def test_nobody_who_prints_is_told_of_a_reader_that_stalls(self) -> None:
        stream, reader = self.stream()
        reader.stall()
        for _ in range(1000):
            print("into the void", file=stream)
        reader.come_back()
        print("here again", file=stream)
        assert reader.lines == [b"lost 1000", b"here again"]

    def test_it_is_a_stream_of_its_descriptor(self) -> None:
        primary, secondary = os.openpty()
        read, written = os.pipe()
        assert [self.stream(fd)[0].isatty() for fd in (secondary, written)] == [True, False]
        assert self.stream(written)[0].fileno() == written
        for fd in (primary, secondary, read, written):
            os.close(fd)


def test_through_a_pipe_that_is_read_now_and_then_come_whole_lines() -> None:
    read, written = os.pipe()
    output = LineOutput(outlet_of(written), lambda count: b"lost %d\n" % count, lambda: None, max_wait_s=0)
    sent, taken = [], b""
    for number in range(500):
        sent.append(line(number, 50 + number * 37 % 9000))
        output.write(sent[-1])
        if number % 40 == 39:
            taken += os.read(read, 1 << 17)
    reader = threading.Thread(target=output.flush, args=(30,))
    reader.start()
    while reader.is_alive():
        os.set_blocking(read, False)
        try:
            taken += os.read(read, 1 << 17)
        except BlockingIOError:
            pass
    reader.join()
    try:
        taken += os.read(read, 1 << 17)
    except BlockingIOError:
        pass
    lines = taken.splitlines(keepends=True)
    told = [int(each.split()[1]) for each in lines if each.startswith(b"lost ")]
    came = [each for each in lines if not each.startswith(b"lost ")]
    rest = iter(sent)
    assert all(each in rest for each in came)
    assert sum(told) == len(sent) - len(came) > 0
    os.close(read)
    os.close(written)
