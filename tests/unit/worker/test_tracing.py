"""Claim: a span has what its task was and how it ended, with the real SDK; what is odd about an answer or an exception
never costs the task."""

from __future__ import annotations

import contextvars
import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from arbd.logs import tasks
from arbd.model.task import Task
from arbd.worker import tracing
from arbd.worker.tracing import Spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TASK = Task("t-1", "price", attempt=2, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", tracestate="a=1")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Of a provider that the author has set: the process has one, for good."""
    made = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tasks, "_has_spans", False)  # put back with what the test has made of it
    monkeypatch.setattr(tasks, "_current_span", None)
    return made


def only(exporter: InMemorySpanExporter) -> Any:
    [span] = exporter.get_finished_spans()
    return span


def test_a_span_is_the_tasks(exporter: InMemorySpanExporter) -> None:
    spans = Spans("prices", 3)
    task = spans.begin(TASK)
    context = spans.enter(contextvars.copy_context())
    current = context.run(trace.get_current_span).get_span_context()
    named = context.run(tasks.span_fields)
    spans.end("success", b"{}")
    span = only(exporter)
    assert named == {"trace_id": TRACE, "span_id": f"{current.span_id:016x}"}
    assert task.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert (span.name, span.parent.span_id, span.context.trace_state.to_header()) == (
        "price",
        0x00F067AA0BA902B7,
        "a=1",
    )
    assert dict(span.attributes) == {
        "arbd.task_id": "t-1",
        "arbd.attempt": 2,
        "arbd.worker": 3,
        "arbd.outcome": "success",
    }


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'{"status":"error","data":{"error_code":"TIMEOUT"}}', "TIMEOUT"),
        (b'{"status":"error","data":{"error_type":"KeyError","error_code":"X"}}', "KeyError"),
        (b'{"data":{"provider":"p","data":{"error_code":"CANCELLED"}}}', "CANCELLED"),
        (b'{"data":[1]}', "invalid"),
        (b'{"data":{"error_code":7}}', "invalid"),
        (b"nonsense", "invalid"),
        (b"\xff", "invalid"),
        (b"[" * 60_000, "invalid"),
        (b'{"data":{"error_code":"LATE","more":"' + b"x" * 70_000, "invalid"),
    ],
)
def test_an_error_has_its_type(exporter: InMemorySpanExporter, answer: bytes, error: str) -> None:
    spans = Spans("prices", 0)
    spans.begin(TASK)
    spans.end("error", answer)
    span = only(exporter)
    assert (span.status.status_code.name, span.attributes["error.type"]) == ("ERROR", error)


def test_a_limit_is_no_error(exporter: InMemorySpanExporter) -> None:
    spans = Spans("prices", 0)
    spans.begin(TASK)
    spans.end("limit", b"{}")
    span = only(exporter)
    assert (span.status.status_code.name, span.attributes["arbd.outcome"]) == ("UNSET", "limit")


def test_what_was_raised_is_an_event_and_is_the_tasks_alone(exporter: InMemorySpanExporter) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    spans = Spans("prices", 0)
    spans.begin(TASK)
    spans.note(Odd())
    spans.end("error", b"{}")
    spans.begin(TASK)
    spans.end("error", b"{}")
    first, second = exporter.get_finished_spans()
    assert first.attributes is not None
    assert second.attributes is not None
    assert [first.attributes["error.type"], second.attributes["error.type"]] == ["Odd", "invalid"]
    assert [event.name for event in first.events] == ["exception"]
    assert not second.events


def test_a_flush_ends_in_time_whatever_sends(exporter: InMemorySpanExporter) -> None:
    spans = Spans("prices", 0)
    spans.flush(time.monotonic())  # the author's own provider: he has it sent
    released = tracing.threading.Event()  # type: ignore[attr-defined] # the module's

    class Silent:
        def shutdown(self) -> None:
            released.wait(30)

    spans._own = Silent()
    begun = time.monotonic()
    spans.flush(begun)
    released.set()
    assert time.monotonic() - begun < 10
