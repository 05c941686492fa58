"""A trace keeps the rules of its format, whatever a worker says of its times, and has every task once."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arbd.control.chrome_trace import SUPERVISOR, WORKERS, document, events, legs_of
from arbd.model.flight import NO_WORKER, Flight

NOW = 100_000
moment = st.integers(0, NOW) | st.integers(0, 2**64 - 1)


def flight(task_id: str = "t", **times: Any) -> Flight:
    fields: dict[str, Any] = {
        "id": task_id,
        "action": "act",
        "worker": 0,
        "pid": 41,
        "status": "success",
        "taken_ns": 1000,
        "sent_ns": 0,
        "since_ns": 3000,
        "woke_ns": 500,
        "run_ns": 4000,
        "answered_ns": 8000,
    }
    return Flight(**fields | times)


def check(found: list[dict[str, Any]]) -> None:
    """Assert what readers of the format rely on."""
    ends: dict[tuple[int, int], float] = {}
    opened: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    last = 0.0
    for event in found:
        if event["ph"] == "M":
            continue
        assert event["ts"] >= last, "times only grow"
        last = event["ts"]
        if event["ph"] == "X":
            track = (event["pid"], event["tid"])
            assert event["dur"] >= 0
            assert event["ts"] >= ends.get(track, 0.0) - 0.001, "nothing overlaps"  # what a float of µs rounds
            ends[track] = event["ts"] + event["dur"]
        elif event["ph"] == "b":
            opened[event["cat"], event["id"]].append(event["name"])
        elif event["ph"] == "e":
            assert opened[event["cat"], event["id"]].pop() == event["name"], "what is begun inside ends inside"
    assert not any(opened.values())


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event["ph"] == kind]


def test_a_task_is_drawn_from_taken_to_acknowledged() -> None:
    found = events("prices", legs_of([flight(sent_ns=2000)], [("t", 9000)], NOW))
    check(found)
    assert [(each["name"], each["ts"], each["dur"]) for each in of("X", found)] == [("wakes", 1.5, 0.5), ("act", 2, 4)]
    assert [(each["name"], each["ph"], each["ts"]) for each in found if each["ph"] in "be"] == [
        ("act", "b", 0),
        ("waits for a worker", "b", 0),
        ("waits for a worker", "e", 1),
        ("waits in the ring", "b", 1),
        ("waits in the ring", "e", 2),
        ("the answer waits", "b", 6),
        ("the answer waits", "e", 7),
        ("the result waits for the hub", "b", 7),
        ("the result waits for the hub", "e", 8),
        ("act", "e", 8),
    ]
    assert {each["args"]["outcome"] for each in found if each["ph"] == "X" and "args" in each} == {"success"}
    assert [each["args"] for each in of("C", found)][-1] == {"tasks": 0, "results": 0}


def test_the_tracks_have_names() -> None:
    found = events("prices", legs_of([flight(worker=1, pid=42), flight(worker=0, pid=43)], [], NOW))
    names = [(each["pid"], each.get("tid"), each["args"]["name"]) for each in found if each["name"].endswith("_name")]
    assert names == [
        (SUPERVISOR, None, "prices: supervisor"),
        (WORKERS, None, "prices: workers"),
        (WORKERS, 1, "worker 0 (pid 43)"),
        (WORKERS, 2, "worker 1 (pid 42)"),
    ]


def test_a_task_that_no_worker_saw_has_no_run() -> None:
    found = events("p", legs_of([flight(worker=NO_WORKER, pid=0, since_ns=0, run_ns=0, woke_ns=0)], [], NOW))
    check(found)
    assert of("X", found) == []
    assert len(of("b", found)) == 1


def test_what_runs_is_drawn_until_now() -> None:
    found = events("p", legs_of([flight(answered_ns=0, run_ns=0, woke_ns=0, status="")], [("t", 5)], NOW))
    check(found)
    [run] = of("X", found)
    assert (run["ts"], run["dur"], run["args"]["outcome"]) == (2, (NOW - 3000) / 1000, "still running")


def test_an_acknowledgement_belongs_to_the_task_before_it() -> None:
    first, second = flight(answered_ns=8000), flight(since_ns=11_000, run_ns=10, answered_ns=12_000, taken_ns=10_000)
    legs = legs_of([second, first], [("t", 500), ("t", 9000), ("t", 13_000), ("other", 1)], NOW)
    assert [leg.acked_ns for leg in legs] == [9000, 13_000]


def test_nothing_at_all_is_a_file_too() -> None:
    assert json.loads(b"".join(document("p", [], "now")))["otherData"]["tasks"] == 0


def test_names_control_no_terminal_and_stay_what_they_are() -> None:
    evil = "a\x1b]0;pwned\x07\x9b31m\u202eb\x7f\u2028"
    written = b"".join(document(evil, legs_of([flight(evil)], [], NOW), "now")).decode()
    assert {letter for letter in written if not letter.isprintable()} == {"\n"}
    assert json.loads(written)["otherData"]["provider"] == evil


@given(
    st.lists(
        st.builds(
            flight,
            st.sampled_from(["a", "b", "\x1b[2J</script>"]),
            worker=st.sampled_from([NO_WORKER, 0, 1]),
            pid=st.sampled_from([0, 41, 42]),
            taken_ns=moment,
            sent_ns=moment,
            since_ns=moment,
            woke_ns=moment,
            run_ns=moment,
            answered_ns=st.integers(0, NOW),
        ),
        max_size=12,
    ),
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, NOW)), max_size=12),
)
def test_whatever_a_worker_says_the_format_is_kept(flights: list[Flight], acks: list[tuple[str, int]]) -> None:
    legs = legs_of(flights, acks, NOW)
    found = json.loads(b"".join(document("p", legs, "now")))["traceEvents"]
    check(found)
    assert len([each for each in of("b", found) if "args" in each]) == len(flights), "every task once"
    runs = [each for each in of("X", found) if each.get("cat") == "run"]
    assert len(runs) == sum(
        1 for each in flights if each.since_ns and each.worker != NO_WORKER and (each.answered_ns or NOW)
    )
