"""A result is sent whole if the hub can take it, else in the largest form that is still true."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from arbd.links.options import LinkOptions
from arbd.links.unary.messages import Form, decode_task, encode_request, encode_result
from arbd.model.task import Outcome, Task
from arbd.wire.pb import hub_pb2 as pb

OK = b'{"status":"success"}'


def options(max_message: int = 1000) -> LinkOptions:
    return LinkOptions(url="h:1", provider="prov", token="tok", max_message=max_message)


def sent(outcome: Outcome, max_message: int, form: Form = Form.FULL) -> tuple[pb.TaskResult, Form]:
    data, used = encode_result(outcome, options(max_message), form)
    return pb.TaskResult.FromString(data), used


def test_a_result_echoes_its_task() -> None:
    message, form = sent(Outcome(Task("1", "add", b'{"a":1}', b'{"k":2}'), "success", OK), 1000)
    assert form == Form.FULL
    assert message == pb.TaskResult(
        id="1", provider="prov", auth_token="tok", status="success", action="add",
        payload='{"a":1}', result=OK.decode(), account='{"k":2}',
    )  # fmt: skip


def test_a_payload_that_is_not_utf8_is_echoed_with_replacement_characters() -> None:
    message, _ = sent(Outcome(Task("1", "a", b"\xff{\xc3}", b"\xfe"), "error", b"{}"), 1000)
    assert (message.payload, message.account) == ("\ufffd{\ufffd}", "\ufffd")


def test_a_large_payload_loses_its_echo_and_the_success_stays() -> None:
    message, form = sent(Outcome(Task("1", "a", b"x" * 2000, b"y"), "success", OK), 1000)
    assert form == Form.NO_ECHO
    assert (message.status, message.result, message.payload, message.account) == ("success", OK.decode(), "", "")


def test_a_large_result_becomes_an_error_that_says_so() -> None:
    message, form = sent(Outcome(Task("1", "a", b"{}"), "success", b"x" * 2000), 1000)
    assert form == Form.REPLACED
    assert (message.id, message.action, message.status) == ("1", "a", "error")
    assert msgspec.json.decode(message.result) == {
        "status": "error",
        "message": "Result of 2000 bytes is larger than the 1000 bytes the hub takes",
        "data": {"error_code": "RESULT_TOO_LARGE", "size": 2000, "limit": 1000},
    }


def test_what_is_too_large_to_be_sent_is_not_made_either() -> None:
    """Above 2 GiB protobuf makes no message at all: the echo of a payload of 1 GiB must not cost its success."""

    class Untouched(bytes):
        def decode(self, *_: object) -> str:
            raise AssertionError("it was made into text")

    outcome = Outcome(Task("1", "a", Untouched(b"x" * 2000), Untouched(b"{}")), "success", OK)
    _, form = sent(outcome, 1000)
    assert form == Form.NO_ECHO
    _, form = sent(Outcome(Task("1", "a"), "success", Untouched(b"x" * 2000)), 1000)
    assert form == Form.REPLACED


def test_a_limit_that_only_the_hub_knows_is_not_invented() -> None:
    message, _ = sent(Outcome(Task("1", "a"), "success", b"x" * 200), 1000, Form.REPLACED)
    assert msgspec.json.decode(message.result) == {
        "status": "error",
        "message": "Result of 200 bytes is larger than the hub takes",
        "data": {"error_code": "RESULT_TOO_LARGE", "size": 200},
    }


@given(
    payload=st.binary(max_size=300),
    account=st.binary(max_size=300),
    result=st.binary(max_size=300),
    limit=st.integers(250, 1200),
)
def test_what_is_sent_fits_and_is_as_large_as_it_can_be(
    payload: bytes, account: bytes, result: bytes, limit: int
) -> None:
    outcome = Outcome(Task("1", "a", payload, account), "success", result)
    data, form = encode_result(outcome, options(limit))
    assert len(data) <= limit
    if form is not Form.FULL:
        larger = Form(form.value - 1)
        forced, _ = encode_result(outcome, options(10**9), larger)
        assert len(forced) > limit


def test_a_task_is_taken_as_it_is() -> None:
    data = pb.Task(id="7", action="a", payload=b"\xff", account=b"").SerializeToString()
    assert decode_task(data) == Task("7", "a", b"\xff", b"")


@pytest.mark.parametrize("data", [b"", pb.Task(action="a").SerializeToString()])
def test_no_id_is_no_task(data: bytes) -> None:
    assert decode_task(data) is None


def test_a_reply_that_is_no_message_is_an_error() -> None:
    with pytest.raises(DecodeError):
        decode_task(b"\xff\xff\xff")


def test_the_request_names_provider_and_token() -> None:
    assert pb.ProviderRequest.FromString(encode_request("p", "t")) == pb.ProviderRequest(provider="p", auth_token="t")
