"""OpenTelemetry and Sentry send in the background: what an action has given them is sent when its worker stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from daemon_support import daemon_of
from life_support import Book, Start

SLOW_S = 0.3  # a collector that answers at once would get all that a process sends before it is killed


class Collector:
    """An HTTP server that takes what is sent to it, slowly."""

    def __init__(self) -> None:
        bodies: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                time.sleep(SLOW_S)
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.bodies = bodies
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def count(self, words: bytes) -> int:
        """How often these occur in what was sent."""
        return sum(body.count(words) for body in self.bodies)


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, args=(0.01,))
    thread.start()
    yield collector
    collector.server.shutdown()
    thread.join()
    collector.server.server_close()


TRACES = """
import json, urllib.request
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Exporter(SpanExporter):
    def export(self, spans):
        body = json.dumps([span.name for span in spans]).encode()
        urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:{port}/", body))
        return SpanExportResult.SUCCESS

{where}
    tracing = TracerProvider()
    tracing.add_span_processor(BatchSpanProcessor(Exporter(), schedule_delay_millis=60_000))
    trace.set_tracer_provider(tracing)

@provider.actions.register()
def traced():
    with trace.get_tracer("test").start_as_current_span("span-of-an-action"):
        return os.getpid()
"""
#: At import it starts a thread, so such workers are started by exec.
WHERE = {"at import": "if True:", "in a start hook": "@provider.on_worker_start\ndef set_up():"}


@pytest.mark.parametrize("where", WHERE)
def test_batched_spans_of_opentelemetry(tmp_path: Path, collector: Collector, where: str) -> None:
    book = Book(tmp_path, TRACES.format(port=collector.port, where=WHERE[where]))
    with daemon_of(book.target, workers=2) as daemon:
        for _ in range(50):
            assert daemon.run("traced").status == "success"
        assert collector.count(b"span-of-an-action") == 0
    assert collector.count(b"span-of-an-action") == 50


EVENTS = """
import sentry_sdk
sentry_sdk.init(dsn="http://key@127.0.0.1:{port}/1", default_integrations=True)

@provider.actions.register()
def captured():
    for n in range(5):
        sentry_sdk.capture_message(f"event-of-an-action {{n}}")
"""


@pytest.mark.parametrize("start", ["fork", "exec"])
def test_events_of_sentry(tmp_path: Path, collector: Collector, start: Start) -> None:
    book = Book(tmp_path, EVENTS.format(port=collector.port), start)
    with daemon_of(book.target) as daemon:
        assert daemon.run("captured").status == "success"
    envelopes = b"".join(_plain(body) for body in collector.bodies)
    assert [f"event-of-an-action {n}".encode() in envelopes for n in range(5)] == [True] * 5


def _plain(body: bytes) -> bytes:
    import gzip

    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
