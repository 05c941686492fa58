"""``arbd hub`` and ``arbd submit`` as real processes, with a provider that is one loop of two calls."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    assert "PROVIDER_AUTH_TOKEN" in done.stderr


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def other_server(answer: bytes) -> Iterator[str]:
    """What listens and is no hub: it answers whatever comes with this, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_nobody_is_connected_is_said_while_it_waits_and_when_it_gives_up(hub: str) -> None:
    done = submit(hub, "echo", "--wait", "--timeout", "2.5")
    assert (done.returncode, done.stdout) == (1, "")
    first, last = done.stderr.splitlines()
    assert first.startswith(f"arbd: nobody is connected to the hub at {hub}")
    assert "not all results came within 2.5 s" in last


def test_nobody_is_connected_is_said_without_waiting(hub: str) -> None:
    done = submit(hub, "echo", "--count", "3")
    assert (done.returncode, len(done.stdout.split())) == (0, 3)
    assert "nobody is connected" in done.stderr


def test_a_provider_that_is_not_the_one_wanted(hub: str, provider: None) -> None:
    submit(hub, "echo", "--wait", "--timeout", "30")
    done = submit(hub, "echo", "--provider", "somebody", "--wait", "--timeout", "2")
    assert "no provider somebody is connected" in done.stderr


def test_somebody_is_there_and_nothing_is_said(hub: str, provider: None) -> None:
    submit(hub, "echo", "--wait", "--timeout", "30")
    assert submit(hub, "echo").stderr == ""


@pytest.mark.parametrize("command", [submit, cancel, lambda hub, *words: ask(hub, "--timeout", "5")])
def test_a_hub_that_is_not_there_is_said_at_once(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    hub = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    done = command(hub, "echo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody listens there" in done.stderr
    assert "`arbd hub` starts one" in done.stderr
    assert time.monotonic() - began < 8  # with the start of Python on a busy machine; it waited 10 s before


def test_a_port_of_something_else() -> None:
    with other_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        done = submit(address, "echo", "--timeout", "10")
    assert (done.returncode, "what listens there is no hub" in done.stderr) == (1, True)


def test_tls_against_plaintext(hub: str) -> None:
    done = submit(f"grpcs://{hub}", "echo", "--timeout", "10")
    assert (done.returncode, "does not speak TLS" in done.stderr) == (1, True)


@pytest.mark.parametrize(("token", "words"), [("wr0ng", "does not know this token"), ("", "wants a token")])
def test_a_token_that_is_not_taken(hub: str, token: str, words: str) -> None:
    done = submit(hub, "echo", token=token)
    assert (done.returncode, done.stdout, words in done.stderr) == (1, "", True)
    assert "wr0ng" not in done.stderr


def test_a_hub_that_does_not_know_the_question_is_waited_for_as_ever() -> None:
    """One without the status call: nothing is said, and the time limit holds."""
    from concurrent.futures import ThreadPoolExecutor

    from arbd.wire.pb import arbd_client_pb2 as client_pb

    over = threading.Event()

    def results(_: object, context: grpc.ServicerContext) -> Iterator[bytes]:
        over.wait(20)
        return iter(())

    handlers = {
        "Submit": grpc.unary_unary_rpc_method_handler(
            lambda *_: client_pb.SubmitReply(batch="b", ids=["t"]).SerializeToString()
        ),
        "Await": grpc.unary_stream_rpc_method_handler(results),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arbd.client.v1.Client", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        done = submit(f"127.0.0.1:{port}", "echo", "--wait", "--timeout", "2")
        status = ask(f"127.0.0.1:{port}")
    finally:
        over.set()
        server.stop(0).wait()
    assert (done.returncode, done.stderr) == (1, "arbd: DEADLINE_EXCEEDED: not all results came within 2 s\n")
    assert (status.returncode, "no hub of arbd's, or an older one" in status.stderr) == (1, True)


def test_a_payload_as_large_as_a_provider_takes(hub: str, tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    file.write_text(json.dumps({"a": "x" * (8 << 20)}), encoding="utf-8")
    done = submit(hub, "fail", "--payload", f"@{file}", "--timeout", "30")
    assert (done.returncode, len(done.stdout.split())) == (0, 1)


def test_one_that_is_larger_is_told_with_both_sizes(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    file.write_text(json.dumps({"a": "x" * 100_000}), encoding="utf-8")
    command = [*COMMAND, "hub", "--listen", "127.0.0.1:0", "--max-message", "64KiB", "--parent", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().removeprefix(READY)
        done = submit(address, "echo", "--payload", f"@{file}", "--timeout", "30")
        process.send_signal(signal.SIGTERM)
    assert (done.returncode, "larger than the 65536" in done.stderr) == (1, True)


def ask(hub: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "hub", "status", "--hub", hub, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=ENVIRONMENT | {"PROVIDER_AUTH_TOKEN": "tok"},
        check=False,
    )


def test_the_state_of_a_hub(hub: str) -> None:
    submit(hub, "echo", "--count", "3")
    told = ask(hub)
    assert "3 wait for a provider, 0 are with one" in told.stdout
    assert "nobody is connected" in told.stdout
    found = json.loads(ask(hub, "--json").stdout)
    assert (found["queued"], found["leased"], found["finished"], found["providers"]) == (3, 0, 0, [])


def test_who_is_connected(hub: str, provider: None) -> None:
    submit(hub, "echo", "--wait", "--timeout", "30")
    (found,) = json.loads(ask(hub, "--json").stdout)["providers"]
    assert (found["name"], found["is_connected"], found["leased"]) == ("p", True, 0)
    assert "by calls" in ask(hub).stdout


def listen(address: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "hub", "--insecure", "--listen", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)


@pytest.mark.parametrize("address", ["127.0.0.1:", "127.0.0.1", ":50051", "127.0.0.1:99999", "::1:5", "http://x:1", ""])
def test_an_address_that_is_none_is_a_wrong_command_line(address: str) -> None:
    done = listen(address)
    assert (done.returncode, "write HOST:PORT" in done.stderr) == (2, True)


def test_a_port_that_is_taken(hub: str) -> None:
    done = listen(hub)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()  # and no line of gRPC's above it
    assert "is taken, perhaps by another hub" in line


def test_an_address_of_another_machine() -> None:
    done = listen("192.0.2.1:50051")
    assert (done.returncode, "is no address of this machine" in done.stderr) == (1, True)
