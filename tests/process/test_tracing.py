"""Claim: with ``tracing = "otel"`` each task has one span, child of what the hub sent, parent of the author's own; log
lines name it; whatever a task's end, the span tells it; and a worker that stops or is replaced loses none."""

from __future__ import annotations

import signal
import sys
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


def run(directory: Path, tasks: list[NewTask], workers: int = 1, **more: str) -> tuple[dict[str, Any], Arbd]:
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
    how = {"ARBD_HUB_PROTOCOL": "stream"} if protocol == "stream" else {"ARBD_HUB_PROTOCOL": "unary"}
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
    more = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "ARBD_WORKER_MAX_TASKS": "10"}
    responses, _ = run(tmp_path, tasks, 2, **more)
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
