"""The real journal takes each line of a daemon as an entry of its own: with a priority, with fields to search by, and
from the process that wrote it, also inside the sandbox of the unit, and after journald was started again.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from daemon_support import Hub, eventually
from rig_support import Instance, Rig

from arbd.hub.board import NewTask

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
Entry = dict[str, Any]


def entries(rig: Rig, arbd: Instance, *matches: str) -> list[Entry]:
    """What ``journalctl`` finds of a unit, and which fields each entry has."""
    said = rig.run("journalctl", "-u", arbd.unit, *matches, "-o", "json", "--all", "--no-pager", check=False)
    return [json.loads(line) for line in said.stdout.splitlines()]


def found(rig: Rig, arbd: Instance, *matches: str, count: int = 1) -> list[Entry]:
    """The same, once there are so many."""
    return eventually(lambda: len(seen := entries(rig, arbd, *matches)) >= count and seen, 20)


def test_what_a_worker_writes_is_found_by_task_action_and_trace(rig: Rig) -> None:
    traced = NewTask("fail", b'{"how": "one\\nARBD_ROLE=forged"}', traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01")
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        (task_id,) = hub.results_of([traced])
        (entry,) = found(rig, arbd, f"ARBD_TASK_ID={task_id}", "PRIORITY=3")
        told = json.loads(entry["MESSAGE"])
        assert entry["_TRANSPORT"] == "journal"
        assert entry["SYSLOG_IDENTIFIER"] == "arbd"
        assert entry["_COMM"] == f"arbd:worker-{told['worker']}"
        fields = ("logger", "role", "worker", "task_id", "action", "attempt", "trace_id", "event")
        assert {name: entry[f"ARBD_{name.upper()}"] for name in fields} == {name: str(told[name]) for name in fields}
        assert (told["action"], told["task_id"], told["trace_id"]) == ("fail", task_id, TRACE_ID)
        for match in ("ARBD_ACTION=fail", f"ARBD_TRACE_ID={TRACE_ID}"):
            assert [each["MESSAGE"] for each in entries(rig, arbd, match)] == [entry["MESSAGE"]]
        assert entries(rig, arbd, "ARBD_ROLE=forged") == []


def test_priorities_tell_errors_from_what_is_printed(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        (printed,), (died,) = hub.submit("print", {"text": "hello"}), hub.submit("die", {"how": "SIGKILL"})
        hub.results()
        (line,) = found(rig, arbd, f"ARBD_TASK_ID={printed}", "ARBD_LOGGER=stdout")
        (lost,) = found(rig, arbd, f"ARBD_TASK_ID={died}", "ARBD_EVENT=worker_lost")
        assert (line["PRIORITY"], lost["PRIORITY"]) == ("6", "3")
        assert (lost["ARBD_ROLE"], lost["_COMM"]) == ("supervisor", "arbd")
        errors = rig.run("journalctl", "-u", arbd.unit, "-p", "err", "-o", "cat", "--no-pager").stdout.splitlines()
        assert [json.loads(each)["event"] for each in errors] == ["worker_lost"]


def test_a_journald_that_was_started_again_gets_what_is_written_then(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        rig.systemctl("restart", "systemd-journald")
        (task,) = hub.submit("print", {"text": "hello again"})
        assert hub.results()[task].status == "success"
        (entry,) = found(rig, arbd, f"ARBD_TASK_ID={task}", "ARBD_LOGGER=stdout")
        assert json.loads(entry["MESSAGE"])["event"] == "hello again"
        arbd.stop()
        assert arbd.show("Result") == "success"
