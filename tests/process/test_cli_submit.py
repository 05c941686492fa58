"""``arbd hub`` and ``arbd submit`` as real processes, with a provider that is one loop of two calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import grpc
import pytest

from arbd.cli.hub import READY
from arbd.wire.pb import hub_pb2 as pb

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("ARBD_", "PROVIDER_"))}
COMMAND = [sys.executable, "-m", "arbd"]


@pytest.fixture
def hub() -> Iterator[str]:
    command = [*COMMAND, "hub", "--listen", "127.0.0.1:0", "--token", "tok", "--parent", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().strip()
        assert ready.startswith(READY)
        yield ready.removeprefix(READY)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.fixture
def provider(hub: str) -> Iterator[None]:
    """Answers every task with its own payload; the action ``fail`` with an error."""
    should_exit = threading.Event()
    channel = grpc.insecure_channel(hub)
    get = channel.unary_unary("/Hub/GetTask", pb.ProviderRequest.SerializeToString, pb.Task.FromString)
    submit = channel.unary_unary("/Hub/SubmitTaskResult", pb.TaskResult.SerializeToString, pb.Task.FromString)

    def serve() -> None:
        while not should_exit.is_set():
            metadata = (("arbd-long-poll-ms", "50"),)
            task = get(pb.ProviderRequest(provider="p", auth_token="tok"), timeout=10, metadata=metadata)
            if task.id:
                status = "error" if task.action == "fail" else "success"
                response = {"status": status, "data": json.loads(task.payload)}
                result = pb.TaskResult(
                    id=task.id, provider="p", auth_token="tok", status=status, result=json.dumps(response)
                )
                submit(result, timeout=10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        should_exit.set()
        thread.join()
        channel.close()


def submit(hub: str, *arguments: str, stdin: str = "", token: str = "tok") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "submit", *arguments, "--hub", hub],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT | {"PROVIDER_AUTH_TOKEN": token},
        check=False,
    )


def test_one_task_prints_its_response(hub: str, provider: None) -> None:
    done = submit(hub, "echo", "--payload", '{"a": 1}', "--wait", "--timeout", "30")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"status": "success", "data": {"a": 1}}


def test_json_lines_in_json_lines_out(hub: str, provider: None) -> None:
    lines = "".join(f'{{"n": {number}}}\n' for number in range(5))
    done = submit(hub, "echo", "--payload", "-", "--count", "2", "--wait", "--json", "--timeout", "30", stdin=lines)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(result["response"]["data"]["n"] for result in results) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert {(result["status"], result["action"], result["provider"], result["attempts"]) for result in results} == {
        ("success", "echo", "p", 1)
    }
    assert done.returncode == 0
    assert done.stderr.endswith("10 success\n")


def test_a_task_that_fails_is_told_by_the_exit_code(hub: str, provider: None) -> None:
    assert submit(hub, "fail", "--wait", "--timeout", "30").returncode == 1


def test_without_wait_it_prints_ids_and_leaves(hub: str) -> None:
    done = submit(hub, "echo", "--count", "3", "--json")
    ids = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert (done.returncode, len(set(ids))) == (0, 3)


def test_waiting_ends_at_the_timeout(hub: str) -> None:
    done = submit(hub, "echo", "--wait", "--timeout", "50ms")
    assert (done.returncode, done.stderr) == (1, "arbd: DEADLINE_EXCEEDED: not all results came within 0.05 s\n")


def test_a_wrong_token_is_told_and_not_shown(hub: str) -> None:
    done = submit(hub, "echo", token="wr0ng")
    assert done.returncode == 1
    assert "UNAUTHENTICATED" in done.stderr
    assert "wr0ng" not in done.stderr


def cancel(hub: str, *arguments: str, token: str = "tok") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "cancel", *arguments, "--hub", hub],
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT | {"PROVIDER_AUTH_TOKEN": token},
        check=False,
    )


def test_the_higher_priority_is_handed_out_first(hub: str) -> None:
    ids = [submit(hub, "echo", "--priority", priority).stdout.strip() for priority in ("0", "-1", "7")]
    with grpc.insecure_channel(hub) as channel:
        get = channel.unary_unary("/Hub/GetTask", pb.ProviderRequest.SerializeToString, pb.Task.FromString)
        taken = [get(pb.ProviderRequest(provider="p", auth_token="tok"), timeout=10).id for _ in ids]
    assert taken == [ids[2], ids[0], ids[1]]


def test_a_priority_the_protocol_has_no_room_for_is_refused(hub: str) -> None:
    done = submit(hub, "echo", "--priority", str(2**31))
    assert (done.returncode, "--priority" in done.stderr) == (2, True)


def test_cancel_tells_the_fate_of_each_task(hub: str) -> None:
    waiting, other = submit(hub, "echo", "--count", "2").stdout.split()
    done = cancel(hub, waiting, other)
    assert (done.returncode, done.stdout) == (0, f"{waiting} cancelled\n{other} cancelled\n")
    done = cancel(hub, waiting, "never-submitted", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": waiting, "fate": "finished"},
        {"id": "never-submitted", "fate": "unknown"},
    ]
    assert done.returncode == 1


def test_cancel_with_a_wrong_token_is_an_error(hub: str) -> None:
    done = cancel(hub, "t-1", token="wr0ng")
    assert (done.returncode, done.stdout) == (1, "")
    assert "UNAUTHENTICATED" in done.stderr
