"""Claim: the trace context of a task reaches the action over the stream, and all log lines of the task name its trace;
what is none is not passed on; a payload that goes by reference changes nothing of that."""

from __future__ import annotations

import json
from pathlib import Path

from daemon_support import PROVIDERS, Arbd, Hub

from arbd.hub.board import NewTask

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_the_trace_context_reaches_action_and_logs(tmp_path: Path) -> None:
    large = json.dumps({"text": "x" * 200_000}).encode()
    tasks = [
        NewTask("tell", b"{}", id="traced", traceparent=PARENT),
        NewTask("tell", large, id="large", traceparent=PARENT),
        NewTask("tell", b"{}", id="untraced"),
        NewTask("tell", b"{}", id="malformed", traceparent="00-1-2-3" * 10_000),
        NewTask("die", b"{}", id="dying", traceparent=PARENT),
    ]
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=PROVIDERS / "traced.py") as daemon:
        daemon.wait_serving()
        results = hub.results_of(tasks)
        lost = daemon.wait_event("worker_lost")
        told = {line["task_id"]: line.get("trace_id") for line in daemon.wait_event("told", 4)}
    data = {task_id: result.response["data"] for task_id, result in results.items()}
    assert {task_id: data[task_id]["traceparent"] for task_id in ("traced", "large", "untraced", "malformed")} == {
        "traced": PARENT,
        "large": PARENT,
        "untraced": "",
        "malformed": "",
    }
    assert data["dying"]["error_code"] == "WORKER_LOST"
    assert told == {"traced": TRACE, "large": TRACE, "untraced": None, "malformed": None}
    assert [(line["task_id"], line["trace_id"]) for line in lost] == [("dying", TRACE)]
