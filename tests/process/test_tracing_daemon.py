"""Claim: with ``tracing = "otel"`` each task has one span, child of what the hub sent, parent of the author's own; log
lines name it; whatever a task's end, the span tells it; and a worker that stops or is replaced loses none."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import otel_support
import pytest
from daemon_support import PROVIDERS, Arbd, Hub

from arbd.errors import EXIT_CONFIG
from arbd.hub.board import NewTask

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
STATE = "vendor=a1,other=b2"
TARGET = PROVIDERS / "spans.py"


def environment(directory: Path, **more: str) -> dict[str, str]:
    found = {"ARBD_TRACING": "otel", **otel_support.install(directory), **more}
    path = [found.pop("EXTRA_PATH"), *filter(None, sys.path)]
    return {**found, "PYTHONPATH": ":".join(path)}


def run(directory: Path, tasks: list[NewTask], *, workers: int = 1, **more: Any) -> tuple[dict[str, Any], Arbd]:
    """Run tasks on a daemon that is stopped then; responses by id, and the daemon."""
    with Hub() as hub:
        env = environment(directory, **more)
        with Arbd.run(hub.address, directory, target=TARGET, workers=workers, env=env) as daemon:
            daemon.wait_serving(workers)
            results = hub.results_of(tasks)
            daemon.signal(signal.SIGTERM)
            assert daemon.exit_code() == 0
    return {task_id: result.response for task_id, result in results.items()}, daemon


def by_name(directory: Path) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in otel_support.spans(directory)}


@pytest.mark.parametrize("protocol", ["stream", "unary", "links"])
def test_a_task_is_a_child_of_what_the_hub_sent(tmp_path: Path, protocol: str) -> None:
    how: dict[str, Any] = {"ARBD_HUB_PROTOCOL": "stream"} if protocol == "stream" else {"ARBD_HUB_PROTOCOL": "unary"}
    how |= {"ARBD_HUB_LINKS": "1"} if protocol == "links" else {}
    task = NewTask("told", b"{}", id=f"traced {protocol}", traceparent=TRACEPARENT, tracestate=STATE)
    responses, daemon = run(tmp_path, [task], **how)
    found = by_name(tmp_path)
    told, inner = found["told"], found["inner"]
    assert (told["trace"], told["parent"], told["state"]) == (TRACE, PARENT, STATE)
    assert (inner["trace"], inner["parent"]) == (TRACE, told["span"])
    data = responses[task.id]["data"]
    assert (data["traceparent"], data["tracestate"]) == (f"00-{TRACE}-{told['span']}-01", STATE)
    assert told["attributes"] == {
        "arbd.task_id": task.id,
        "arbd.attempt": 1,
        "arbd.worker": 0,
        "arbd.outcome": "success",
    }
    assert told["service"] == "prov"
    lines = {line["event"]: line for line in daemon.events() if line.get("task_id") == task.id}
    named = ("attempt", "worker", "trace_id", "span_id")
    of_task = (1, 0, TRACE, told["span"])
    assert {event: tuple(lines[event].get(name) for name in named) for event in lines if "told" in event} == {
        "told by a logger": of_task,
        "told in a span": (1, 0, TRACE, inner["span"]),
        "told by print": of_task,
        "told by a child": of_task,
    }


def test_how_tasks_end(tmp_path: Path) -> None:
    tasks = [NewTask(action, b"{}", id=f"ends {action}") for action in ("told", "waits", "fails", "late", "checked")]
    responses, _ = run(tmp_path, tasks)
    found = by_name(tmp_path)
    ends = {name: (span["status"], span["attributes"].get("error.type")) for name, span in found.items()}
    assert ends == {
        "told": ("UNSET", None),
        "inner": ("UNSET", None),
        "waits": ("UNSET", None),
        "inner of waits": ("UNSET", None),
        "fails": ("ERROR", "LookupError"),
        "late": ("ERROR", "TIMEOUT"),
        "checked": ("ERROR", "invalid"),
    }
    assert found["inner of waits"]["parent"] == found["waits"]["span"]
    assert len({found[task.action]["trace"] for task in tasks}) == len(tasks)  # no context: each a trace of its own
    [[name, told]] = found["fails"]["events"]
    assert (name, told["exception.type"], told["exception.message"]) == ("exception", "LookupError", "no such thing")
    assert told["exception.stacktrace"].splitlines()[1].split('"')[1] == str(TARGET)
    assert responses["ends fails"]["data"]["error_type"] == "LookupError"


def test_a_worker_that_is_replaced_loses_no_span(tmp_path: Path) -> None:
    """The exporter's thread would send after a minute."""
    tasks = [NewTask("waits", b"{}", id=f"replaced {n}") for n in range(60)]
    more: dict[str, Any] = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "ARBD_WORKER_MAX_TASKS": "10"}
    responses, _ = run(tmp_path, tasks, workers=2, **more)
    pids = {response["data"]["pid"] for response in responses.values()}
    assert len(pids) > 4
    found = [span for span in otel_support.spans(tmp_path) if span["name"] == "waits"]
    assert sorted(span["attributes"]["arbd.task_id"] for span in found) == sorted(task.id for task in tasks)
    assert {span["pid"] for span in found} == pids


def test_a_sampler_and_a_name_of_the_standard_variables_hold(tmp_path: Path) -> None:
    tasks = [NewTask("waits", b"{}", id="unsampled"), NewTask("waits", b"{}", id="sampled", traceparent=TRACEPARENT)]
    run(tmp_path, tasks, OTEL_TRACES_SAMPLER="parentbased_always_off", OTEL_SERVICE_NAME="shop")
    found = [span for span in otel_support.spans(tmp_path) if span["name"] == "waits"]
    assert [(span["attributes"]["arbd.task_id"], span["service"]) for span in found] == [("sampled", "shop")]


def test_an_exporter_that_nobody_offers_is_a_configuration_error(tmp_path: Path) -> None:
    env = environment(tmp_path, OTEL_TRACES_EXPORTER="nonsense")
    with Arbd.run("127.0.0.1:1", tmp_path, target=TARGET, env=env) as daemon:
        assert daemon.exit_code() == EXIT_CONFIG
    text = daemon.log.read_text()
    assert all(words in text for words in ("nonsense", "OTEL_TRACES_EXPORTER", "arbd[otel]"))


class Collector:
    """An HTTP server that takes OTLP, as a collector does."""

    def __init__(self) -> None:
        bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.bodies = bodies
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Collector:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_otlp_goes_to_a_collector(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with Collector() as collector:
        endpoint = f"http://127.0.0.1:{collector.server.server_port}"
        tasks = [NewTask("waits", b"{}", id=f"otlp {n}") for n in range(20)]
        run(tmp_path, tasks, workers=2, OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    requests = [ExportTraceServiceRequest.FromString(body) for body in collector.bodies]
    spans = [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.name == "waits"
    ]
    ids = [each.value.string_value for span in spans for each in span.attributes if each.key == "arbd.task_id"]
    assert sorted(ids) == sorted(task.id for task in tasks)


def test_a_collector_that_is_not_there_delays_no_stop_beyond_its_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the connection, and never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        more: dict[str, Any] = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        begun = time.monotonic()
        responses, daemon = run(tmp_path, [NewTask("waits", b"{}", id="silent")], ARBD_WORKER_STOP_TIMEOUT="2", **more)
    assert responses["silent"]["status"] == "success"
    assert [line["level"] for line in daemon.events("spans_not_sent")] == ["warning"]
    assert daemon.events("stop_timeout") == []
    assert time.monotonic() - begun < 60
