"""Every gRPC status has one meaning for each method, and "message too large" is told apart from push-back."""

from __future__ import annotations

import grpc
import pytest

from arbd.links.unary.policy import TABLE, Disposition, Method, disposition

CELLS = [
    ("OK", "accepted", "accepted"),
    ("CANCELLED", "retry", "retry"),
    ("UNKNOWN", "retry", "defer"),
    ("INVALID_ARGUMENT", "retry", "drop"),
    ("DEADLINE_EXCEEDED", "silent", "defer"),
    ("NOT_FOUND", "empty", "drop"),
    ("ALREADY_EXISTS", "retry", "accepted"),
    ("PERMISSION_DENIED", "refused", "defer"),
    ("RESOURCE_EXHAUSTED", "retry", "retry"),
    ("FAILED_PRECONDITION", "retry", "drop"),
    ("ABORTED", "retry", "retry"),
    ("OUT_OF_RANGE", "retry", "drop"),
    ("UNIMPLEMENTED", "retry", "retry"),
    ("INTERNAL", "retry", "defer"),
    ("UNAVAILABLE", "retry", "retry"),
    ("DATA_LOSS", "retry", "defer"),
    ("UNAUTHENTICATED", "refused", "refused"),
]


@pytest.mark.parametrize(("code", "get_task", "submit"), CELLS)
def test_each_cell(code: str, get_task: str, submit: str) -> None:
    assert disposition(Method.GET_TASK, code) == Disposition(get_task)
    assert disposition(Method.SUBMIT, code) == Disposition(submit)


def test_the_table_has_exactly_the_codes_of_grpc() -> None:
    assert set(TABLE) == {code.name for code in grpc.StatusCode}
    assert [cell[0] for cell in CELLS] == list(TABLE)


@pytest.mark.parametrize(
    "details",
    [
        "SERVER: Received message larger than max (5000000 vs. 4194304)",
        "CLIENT: Sent message larger than max (5000000 vs. 4194304)",
        "grpc: received message larger than max (5000000 vs. 4194304)",
        "gRPC message exceeds maximum size 4194304: 5000000",
        "Received message exceeds the maximum configured message size.",
    ],
)
def test_a_message_over_the_limit_is_not_push_back(details: str) -> None:
    assert disposition(Method.SUBMIT, "RESOURCE_EXHAUSTED", details) == Disposition.TOO_LARGE


def test_rust_hubs_say_it_with_out_of_range() -> None:
    details = "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes"
    assert disposition(Method.SUBMIT, "OUT_OF_RANGE", details) == Disposition.TOO_LARGE


@pytest.mark.parametrize("details", ["", "quota exceeded", "too many requests", "memory pressure"])
def test_push_back_is_retried(details: str) -> None:
    assert disposition(Method.SUBMIT, "RESOURCE_EXHAUSTED", details) == Disposition.RETRY


def test_words_about_size_mean_nothing_with_other_codes() -> None:
    assert disposition(Method.SUBMIT, "UNAVAILABLE", "larger than max") == Disposition.RETRY


def test_a_code_that_grpc_does_not_define_counts_as_unknown() -> None:
    assert disposition(Method.GET_TASK, "TEAPOT") == Disposition.RETRY
    assert disposition(Method.SUBMIT, "TEAPOT") == Disposition.DEFER
