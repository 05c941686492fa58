"""A worker without descriptors, or without memory for a moment: what was done is handed over as the success it is, what
cannot be begun is answered, and the worker goes on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import PROVIDERS, daemon_of, responses

from arbd.host import parcels
from arbd.testing import RunningProvider

LARGE = 300_000  # more than a record in the ring may have


@pytest.fixture
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(PROVIDERS / "exhausted.py", log_level="critical") as running:
        yield running


def served_by(daemon: RunningProvider) -> int:
    """The process that serves what comes after: a worker that is about to be replaced serves no more."""
    [response] = responses(daemon, [daemon.submit("mirror", {"text": ""})])
    return int(response.data["pid"])


def test_a_large_result_of_a_worker_without_descriptors_is_a_success(daemon: RunningProvider) -> None:
    [pid] = daemon.worker_pids
    for _ in range(3):
        [response] = responses(daemon, [daemon.submit("fill", {"size": LARGE})])
        assert (response.status, response.data) == ("success", "x" * LARGE)
    assert served_by(daemon) == pid


def test_a_large_payload_for_a_worker_without_descriptors_is_taken(daemon: RunningProvider) -> None:
    [pid] = daemon.worker_pids
    responses(daemon, [daemon.submit("fill", {"size": 1})])
    sent = [letter * LARGE for letter in "abc"]
    found = responses(daemon, [daemon.submit("mirror", {"text": text}) for text in sent])
    assert [(response.data["text"], response.data["pid"]) for response in found] == [(text, pid) for text in sent]


def test_without_a_reserve_a_result_waits_until_there_is_a_descriptor(daemon: RunningProvider, tmp_path: Path) -> None:
    [pid] = daemon.worker_pids
    payload = {"path": str(tmp_path / "file"), "size": LARGE, "free_after": 0.3}
    [response] = responses(daemon, [daemon.submit("fill_all", payload)])
    assert (response.status, response.data) == ("success", "x" * LARGE)
    responses(daemon, [daemon.submit("free")])
    assert (tmp_path / "file").read_text() == "still mine", "the author's file with the reserve's number is not closed"
    assert served_by(daemon) == pid


def test_without_a_reserve_a_payload_that_cannot_be_received_is_answered(
    daemon: RunningProvider, tmp_path: Path
) -> None:
    """And the ones behind it come as they should."""
    [pid] = daemon.worker_pids
    responses(daemon, [daemon.submit("fill_all", {"path": str(tmp_path / "file"), "size": 1, "free_after": 0})])
    [refused] = responses(daemon, [daemon.submit("mirror", {"text": "a" * LARGE})])
    assert refused.error_code == "WORKER_EXHAUSTED"
    assert "could not receive its payload: no free descriptor" in (refused.message or "")
    [small] = responses(daemon, [daemon.submit("mirror", {"text": "small"})])
    assert small.data == {"text": "small", "pid": pid}
    responses(daemon, [daemon.submit("free")])
    [large] = responses(daemon, [daemon.submit("mirror", {"text": "b" * LARGE})])
    assert large.data == {"text": "b" * LARGE, "pid": pid}


@pytest.mark.parametrize("number", sorted(parcels.NOT_NOW))
@pytest.mark.parametrize(("module", "call"), [("os", "memfd_create"), ("os", "write"), ("socket", "send_fds")])
def test_a_result_that_cannot_be_sent_for_a_moment_is_sent_then(
    daemon: RunningProvider, module: str, call: str, number: int
) -> None:
    [pid] = daemon.worker_pids
    payload = {"module": module, "call": call, "number": number, "times": 5, "size": LARGE}
    [response] = responses(daemon, [daemon.submit("failing", payload)])
    assert (response.status, response.data) == ("success", "x" * LARGE)
    assert served_by(daemon) == pid


def test_a_result_that_can_never_be_sent_is_answered_as_that(daemon: RunningProvider) -> None:
    """The operator bounds the size of files, and memory is one."""
    [pid] = daemon.worker_pids
    payload = {"module": "os", "call": "write", "number": errno.EFBIG, "times": 1, "size": LARGE}
    [response] = responses(daemon, [daemon.submit("failing", payload)])
    assert response.error_code == "WORKER_EXHAUSTED"
    assert "could not hand over its result" in (response.message or "")
    assert responses(daemon, [daemon.submit("mirror", {"text": "next"})])[0].data == {"text": "next", "pid": pid}


def test_a_payload_for_which_there_is_no_memory_for_a_moment_is_read_then(daemon: RunningProvider) -> None:
    [pid] = daemon.worker_pids
    responses(daemon, [daemon.submit("unreadable")])
    for text in ("a" * LARGE, "b" * LARGE):
        assert responses(daemon, [daemon.submit("mirror", {"text": text})])[0].data == {"text": text, "pid": pid}
