"""Claim: a frame comes out of its bytes as it went in, and bytes that were cut anywhere are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.model.description import ActionInfo
from arbd.model.task import STATUSES, Status, Task
from arbd.wire import stream_frames as frames
from arbd.wire.pb import arbd_v1_pb2 as pb
from arbd.wire.stream_frames import FrameResult, GoAway, Hello, StreamError, Welcome

TEXT = st.text(max_size=12)
NUMBER = st.integers(1, 2**40)
RESULTS = st.lists(st.tuples(TEXT, st.integers(0, 9), st.sampled_from(STATUSES), st.binary(max_size=20)), max_size=4)
TASKS = st.lists(
    st.builds(
        Task,
        id=TEXT,
        action=TEXT,
        payload=st.binary(max_size=20),
        account=st.binary(max_size=5),
        attempt=st.integers(1, 9),
        traceparent=TEXT,
        priority=st.integers(-9, 9),
    ),
    max_size=4,
)
ACTION = ActionInfo("act", "does it", 1.5, {"type": "object"}, {"type": "string"}, "", False)


@given(seq=NUMBER, acked=NUMBER, credit=NUMBER, results=RESULTS, renew=st.lists(TEXT, max_size=3))
def test_a_provider_frame(
    seq: int, acked: int, credit: int, results: list[tuple[str, int, Status, bytes]], renew: list[str]
) -> None:
    hello = Hello("prov", "tok", "session", 99, ["a", "b"])
    data = frames.encode_provider_frame(seq, acked, credit, hello=hello, actions=[ACTION], results=results, renew=renew)
    frame = frames.decode_provider_frame(data)
    assert (frame.seq, frame.acked, frame.credit, frame.hello) == (seq, acked, credit, hello)
    assert frame.actions == [ACTION]
    assert frame.results == [FrameResult(*result) for result in results]
    assert list(frame.renew) == renew


@given(seq=NUMBER, acked=NUMBER, tasks=TASKS, cancel=st.lists(TEXT, max_size=3))
def test_a_hub_frame(seq: int, acked: int, tasks: list[Task], cancel: list[str]) -> None:
    data = frames.encode_hub_frame(
        seq,
        acked,
        100.0,
        welcome=Welcome(1, 30.0, 4096),
        tasks=tasks,
        cancel=cancel,
        refused=[("t", "why")],
        go_away=GoAway("maintenance", 1.5),
    )
    frame = frames.decode_hub_frame(data, 500.0)
    assert (frame.seq, frame.acked, frame.welcome) == (seq, acked, Welcome(1, 30.0, 4096))
    assert (frame.tasks, list(frame.cancel)) == (tasks, cancel)
    assert (frame.refused, frame.go_away) == ([("t", "why")], GoAway("maintenance", 1.5))


def test_what_is_not_there_stays_away() -> None:
    provider = frames.decode_provider_frame(frames.encode_provider_frame(1, 0, 0))
    assert (provider.hello, provider.actions, provider.results, list(provider.renew)) == (None, None, [], [])
    hub = frames.decode_hub_frame(frames.encode_hub_frame(1, 0, 0.0), 0.0)
    assert (hub.welcome, hub.tasks, hub.go_away) == (None, [], None)


def test_no_actions_are_a_description_too() -> None:
    assert frames.decode_provider_frame(frames.encode_provider_frame(1, 0, 0, actions=[])).actions == []


@given(share=st.floats(0, 1, exclude_max=True))
def test_bytes_that_were_cut_are_refused(share: float) -> None:
    """Also where the cut leaves a message that parses: the number, which is encoded last, is missing then."""
    provider = frames.encode_provider_frame(
        3, 2, 1, hello=Hello("p", "t", "s", 9), results=[("a", 1, "success", b"{}"), ("b", 1, "error", b"{}")]
    )
    hub = frames.encode_hub_frame(3, 2, 0.0, tasks=[Task("a", "x", b"{}"), Task("b", "x")], cancel=["c"])
    with pytest.raises(StreamError):
        frames.decode_provider_frame(provider[: int(len(provider) * share)])
    with pytest.raises(StreamError):
        frames.decode_hub_frame(hub[: int(len(hub) * share)], 0.0)


def test_every_cut_of_one_frame_is_refused() -> None:
    data = frames.encode_hub_frame(7, 2, 0.0, tasks=[Task("a", "x", b"{}")])
    for end in range(len(data)):
        with pytest.raises(StreamError):
            frames.decode_hub_frame(data[:end], 0.0)


def test_a_deadline_travels_as_time_left() -> None:
    tasks = [Task("a", "x", deadline=100.25), Task("b", "x"), Task("c", "x", deadline=99.0)]
    found = frames.decode_hub_frame(frames.encode_hub_frame(1, 0, 100.0, tasks=tasks), 7000.0).tasks
    assert [task.deadline for task in found] == [7000.25, math.inf, pytest.approx(7000.0, abs=1e-5)]


def test_a_status_that_is_none_is_no_status() -> None:
    frame = pb.ProviderFrame(seq=1, results=[pb.Result(id="a"), pb.Result(id="b", status=99)])  # type: ignore[arg-type] # a later version's
    assert [r.status for r in frames.decode_provider_frame(frame.SerializeToString()).results] == ["", ""]


def test_schemas_that_would_fill_a_frame_stay_at_home() -> None:
    large = ActionInfo("act", "", None, {"description": "x" * frames.SCHEMAS_MAX}, None, "", False)
    [found] = frames.decode_provider_frame(frames.encode_provider_frame(1, 0, 0, actions=[large])).actions or []
    assert (found.name, found.payload_schema) == ("act", {})


@pytest.mark.parametrize("text", ["[]", "{", "1", "[" * 100_000])
def test_a_schema_that_is_none_ends_the_stream(text: str) -> None:
    frame = pb.ProviderFrame(seq=1, actions=pb.Actions(actions=[pb.Action(name="a", payload_schema=text)]))
    with pytest.raises(StreamError):
        frames.decode_provider_frame(frame.SerializeToString())


def test_a_hello_does_not_show_its_token() -> None:
    assert "secret" not in repr(Hello("p", "secret", "s", 1))
