"""Why tasks end with an error: each response of arbd's own has its reason, and no author's text is one."""

from __future__ import annotations

import pytest

from arbd.ipc.metrics_page import REASON_WORDS
from arbd.model import response
from arbd.model.reasons import REASONS, Reason, reason_of
from arbd.model.response import ProviderResponse


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (response.timed_out("a", 1.0), "timeout"),
        (response.worker_lost("a", signal="SIGKILL"), "worker_lost"),
        (response.worker_exhausted("a", "payload", "x"), "no_resources"),
        (response.memory_exceeded("a", 1), "memory"),
        (response.cancelled("a"), "cancelled"),
        (response.expired("a"), "expired"),
        (response.aborted("a"), "aborted"),
        (response.no_resources("a", "x"), "no_resources"),
        (response.payload_too_large(2, 1), "too_large"),
        (response.action_not_found("a", ["b"]), "unknown_action"),
        (response.error("x"), "other"),
        (response.error("x", {"error_code": "HIS_OWN"}), "other"),
        (response.error("x", ["TIMEOUT"]), "other"),
    ],
)
def test_each_response_has_its_reason(made: ProviderResponse, reason: Reason) -> None:
    assert reason_of(made.data) == reason


def test_a_row_has_room_for_all_of_them() -> None:
    assert len(REASONS) <= REASON_WORDS
