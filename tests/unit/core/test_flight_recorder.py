"""The recorder keeps the last tasks and acknowledgements, no payload, and gives them page by page, none left out."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from arbd.core.flight_recorder import KEPT, AckLog, FlightRecorder
from arbd.core.outbox import MemoryOutbox
from arbd.core.under_way import UnderWay
from arbd.model.flight import NO_WORKER, Flight
from arbd.model.task import Outcome, Task


def task(task_id: str = "t1", payload: bytes = b"") -> Task:
    return Task(task_id, "act", payload)


def ran(recorder: FlightRecorder, task_id: str, answered_ns: int) -> None:
    recorder.flights.append(Flight(task_id, "act", 3, 4711, "success", 10, 20, 30, 4, 5, answered_ns))


def test_a_verdict_without_a_run_has_the_moment_of_its_arrival() -> None:
    under_way = UnderWay()
    refused = task()
    under_way["t1"] = (refused, 10, False)
    recorder = FlightRecorder(under_way, lambda: 40)
    recorder.decided(refused, "error")
    recorder.decided(task(), "error")  # another one of that id
    assert list(recorder.flights) == [
        Flight("t1", "act", NO_WORKER, 0, "error", 10, 0, 0, 0, 0, 40),
        Flight("t1", "act", NO_WORKER, 0, "error", 0, 0, 0, 0, 0, 40),
    ]


def test_what_a_caller_wrote_is_cut() -> None:
    recorder = FlightRecorder(UnderWay())
    recorder.decided(Task("x" * 10**6, "y" * 10**6), "error")
    [flight] = recorder.flights
    assert max(len(flight.id), len(flight.action)) <= 200


def test_only_the_last_ones_are_kept_and_the_collector_tracks_none() -> None:
    recorder = FlightRecorder(UnderWay())
    for number in range(KEPT + 10):
        ran(recorder, f"t{number}", number)
    assert len(recorder.flights) == KEPT
    assert recorder.flights[0].id == "t10"
    assert not any(map(gc.is_tracked, recorder.flights))


def test_acknowledgements_are_noted_by_the_outbox() -> None:
    moments = iter([1e-7, 2e-7])
    recorder = FlightRecorder(UnderWay())
    outbox = MemoryOutbox(acks=recorder.acks)
    for task_id in ("a", "b"):
        outbox.append(Outcome(task(task_id, b"payload"), "success", b"{}"))
    while (outcome := outbox.take()) is not None:
        outbox.ack(outcome, next(moments))
    assert recorder.acks.after(0, 10) == [("a", 100), ("b", 200)]
    assert recorder.acks.after(100, 10) == [("b", 200)]


def test_an_outbox_alone_notes_nothing() -> None:
    outbox = MemoryOutbox()
    outbox.append(Outcome(task(), "success", b"{}"))
    outcome = outbox.take()
    assert outcome is not None
    outbox.ack(outcome, 0.0)
    assert len(outbox) == 0


@given(moments=st.lists(st.integers(1, 30), max_size=60), most=st.integers(1, 10))
def test_pages_leave_none_out_and_none_twice(moments: list[int], most: int) -> None:
    """Whatever the order is in which they were noted: those of one batch have its moment, and others come between."""
    recorder = FlightRecorder(UnderWay())
    acks = AckLog(kept=1000)
    for number, at_ns in enumerate(sorted(moments)):
        ran(recorder, f"t{number}", at_ns)
        acks.ids.append(f"t{number}")
        acks.moments.append(at_ns / 1e9)

    def flights_after(after: int, most: int) -> list[tuple[str, int]]:
        return [(each.id, each.answered_ns) for each in recorder.after(after, most)]

    for read in (flights_after, acks.after):
        seen: list[tuple[str, int]] = []
        while page := read(seen[-1][1] if seen else 0, most):
            seen += page
        assert seen == [(f"t{number}", at_ns) for number, at_ns in enumerate(sorted(moments))]


def test_a_batch_noted_behind_a_later_moment_is_found() -> None:
    recorder = FlightRecorder(UnderWay())
    for task_id, at_ns in (("a", 10), ("of the supervisor", 12), ("b", 10)):
        ran(recorder, task_id, at_ns)
    assert [each.id for each in recorder.after(9, 10)] == ["a", "b", "of the supervisor"]
