"""Tracing of tasks by OpenTelemetry: a span for each, in the worker that runs it, as a child of what the hub sent.

    zygote    imports the SDK, so that workers share it; no provider, no thread, no span
    worker    after its start hooks: the author's provider, if there is one by then, else one of arbd's ─> the loop
    task      span begins ─> limit, schema, action, response ─> outcome, error type, exception ─> span ends
              └─ current in the action: the author's spans are its children, log lines name it
    stop      what waits to be sent is sent, within what is left of worker.stop_timeout

The standard variables hold (``OTEL_*``): the SDK reads most of them; ``OTEL_TRACES_EXPORTER`` is read here. OTLP goes
by HTTP, because gRPC is in no worker. Without the setting ``tracing`` nothing of this is imported, and the loop is the
plain one: it costs a task nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextvars import Context as VariablesContext
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec

from arbd import logs
from arbd.interrupts import uninterruptible
from arbd.ipc.zygote_protocol import EXPORTERS_GROUP, exporter_names
from arbd.logs import tasks
from arbd.logs.tracebacks import class_name, exc_info_of, text_of
from arbd.model.response import message_of
from arbd.model.task import Status, Task
from arbd.worker.loop import Loop

_MODULES: Final = (
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.resources",
    "opentelemetry.trace.propagation.tracecontext",
)
_SEND_EVERY_MS: Final = 1000  # the SDK's own 5 s are lost with a worker that is killed
_DELAY_VARIABLE: Final = "OTEL_BSP_SCHEDULE_DELAY"
_NAME_VARIABLES: Final = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
_MOST_OF_TEXT: Final = 8_000
_MOST_OF_ANSWER: Final = 64 * 1024
_LEAST_FLUSH_S: Final = 0.1


class _AnswerData(msgspec.Struct):
    error_type: Any = None
    error_code: Any = None
    data: Any = None


class _Answer(msgspec.Struct):
    data: _AnswerData | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def preload() -> None:
    """Import what workers will need, and nothing that the author's code might not expect: no provider is made."""
    for name in _MODULES:
        import_module(name)
    for load in _exporter_classes():
        load()
    tasks.name_spans()  # this process writes what workers print from C


def _exporter_classes() -> list[Callable[[], Any]]:
    """What loads the classes of the exporters that ``OTEL_TRACES_EXPORTER`` names."""
    found = []
    for name in exporter_names(os.environ):
        found += [each.load for each in entry_points(group=EXPORTERS_GROUP, name=name)][:1]
    return found


class Spans:
    """The spans of one worker's tasks. ``flush``: sends what waits, until a moment of the monotonic clock."""

    def __init__(self, service: str, slot: int) -> None:
        from opentelemetry import context, trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace: Any = trace
        self._attach: Any = context.attach
        self._extract: Any = TraceContextTextMapPropagator().extract
        self._slot = slot
        self._own: Any = None
        provider: Any = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = self._own = self._make(TracerProvider, service)
            trace.set_tracer_provider(provider)
        self._tracer: Any = provider.get_tracer("arbd")
        self._span: Any = None
        self._error = ""
        self.current: Any = context.get_current()
        tasks.name_spans(self._ids_of_current)

    def _make(self, kind: Any, service: str) -> Any:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        given = any("service.name" in f"{each}={os.environ.get(each, '')}" for each in _NAME_VARIABLES[1:])
        named = given or os.environ.get(_NAME_VARIABLES[0])
        attributes = {"service.instance.id": f"worker-{self._slot}"} | ({} if named else {"service.name": service})
        provider = kind(resource=Resource.create(attributes), shutdown_on_exit=False)
        delay = None if os.environ.get(_DELAY_VARIABLE) else _SEND_EVERY_MS
        before = set(threading.enumerate())
        for load in _exporter_classes():
            provider.add_span_processor(BatchSpanProcessor(load()(), schedule_delay_millis=delay))
        for thread in set(threading.enumerate()) - before:
            tasks.is_quiet(thread)
        return provider

    def _ids_of_current(self) -> tuple[str, str] | None:
        found = self._trace.get_current_span().get_span_context()
        return (f"{found.trace_id:032x}", f"{found.span_id:016x}") if found.is_valid else None

    @uninterruptible
    def begin(self, task: Task) -> Task:
        """Begin the span of a task; the task, with the trace context of the span in place of the hub's."""
        carrier = {"traceparent": task.traceparent, "tracestate": task.tracestate}
        parent = self._extract(carrier) if task.traceparent else None
        attributes = {"arbd.task_id": task.id, "arbd.attempt": task.attempt, "arbd.worker": self._slot}
        self._error = ""
        kind = self._trace.SpanKind.CONSUMER
        self._span = span = self._tracer.start_span(task.action, parent, kind, attributes)
        self.current = self._trace.set_span_in_context(span, parent)
        own = span.get_span_context()
        if not own.is_valid:
            return task
        traceparent = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"
        return msgspec.structs.replace(task, traceparent=traceparent)

    def enter(self, context: VariablesContext) -> VariablesContext:
        """Make the span the current one in the context of a task."""
        context.run(self._attach, self.current)
        return context

    @uninterruptible
    def note(self, exc: BaseException) -> None:
        """Record what the action of the task that runs has raised."""
        self._error = class_name(exc)
        span = self._span
        if span is not None and span.is_recording():
            message = message_of(exc)[:_MOST_OF_TEXT]
            text = text_of(exc_info_of(exc))[-_MOST_OF_TEXT:]
            told = {"type": self._error, "message": message, "stacktrace": text}
            span.add_event("exception", {f"exception.{name}": value for name, value in told.items()})

    @uninterruptible
    def end(self, status: Status, answer: bytes) -> None:
        """End the span, with the outcome of its task."""
        span, self._span = self._span, None
        if span is None:
            return
        try:
            span.set_attribute("arbd.outcome", status)
            if status == "error":
                error = self._error or _error_in(answer)
                span.set_attribute("error.type", error)
                span.set_status(self._trace.StatusCode.ERROR, error)
        finally:
            span.end()

    def flush(self, until: float) -> None:
        """Send what waits to be sent, until that moment; what is left then is lost, and that is logged."""
        if self._own is None:
            return  # the author's own sends it: ``atexit``
        sending = threading.Thread(target=self._own.shutdown, name="arbd-spans", daemon=True)
        sending.start()
        sending.join(max(_LEAST_FLUSH_S, until - time.monotonic()))
        if sending.is_alive():
            hint = "no answer in time; see OTEL_EXPORTER_OTLP_ENDPOINT and worker.stop_timeout"
            logs.get_logger("arbd.tracing").warning("spans_not_sent", hint=hint)


def _error_in(answer: bytes) -> str:
    """The type of the error that an answer tells of."""
    if len(answer) <= _MOST_OF_ANSWER:
        try:
            told = _decode_answer(answer).data
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            told = None
        if told is not None:
            inner = told.data if isinstance(told.data, dict) else {}  # the envelope
            for found in (told.error_type, told.error_code, inner.get("error_type"), inner.get("error_code")):
                if isinstance(found, str) and found:
                    return found
    return "invalid"


class TracedLoop(Loop):
    """The main loop of a worker whose tasks have spans."""

    __slots__ = ("_spans",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._spans: Spans | None = None

    def trace(self, service: str, slot: int) -> None:
        """Set up spans. Where that fails, tasks are run without: a collector must not take the daemon down."""
        try:
            self._spans = Spans(service, slot)
        except Exception as exc:
            logs.get_logger("arbd.tracing").error("tracing_failed", exc_info=exc, hint="tasks run without spans")
            return
        self._context.on_failure = self._spans.note

    def flush(self, until: float) -> None:
        """Send the spans that wait, until that moment of the monotonic clock."""
        if self._spans is not None:
            self._spans.flush(until)

    def _contexts(self) -> Callable[[], VariablesContext]:
        fresh = super()._contexts()
        if self._spans is None:
            return fresh
        enter = self._spans.enter
        return lambda: enter(fresh())

    @uninterruptible
    def _execute(self, task: Task, seq: int, timeout: float, since_ns: int) -> tuple[int, Status, bytes]:
        if self._spans is None:
            return super()._execute(task, seq, timeout, since_ns)
        task = self._spans.begin(task)
        status: Status = "error"
        answer = b""
        try:
            run_ns, status, answer = super()._execute(task, seq, timeout, since_ns)
            return run_ns, status, answer
        finally:
            self._spans.end(status, answer)
