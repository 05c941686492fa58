"""One stream of lines from all processes; those of a task carry its id and action; no payload is ever in them."""

from __future__ import annotations

import signal
from pathlib import Path

from daemon_support import Arbd, Hub

SECRET = "payload-secret-81f3"


def test_lines_of_a_task_carry_it_also_from_inside_a_worker(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        [logged] = hub.submit("log", {"text": "said by an action"})
        [failed] = hub.submit("fail", {"how": "told-to"})
        [killed] = hub.submit("die", {"how": "SIGKILL"})
        hub.submit("mirror", {"text": SECRET})
        hub.submit("log", {"text": "another"})
        hub.results()
        [line] = arbd.wait_event("said by an action")
        assert (line["task_id"], line["action"], line["role"]) == (logged, "log", "worker")
        assert line["worker"] in (0, 1)
        [line] = arbd.wait_event("action failed")
        assert (line["task_id"], line["action"]) == (failed, "fail")
        assert "ValueError: told-to" in str(line)
        [line] = arbd.wait_event("worker_lost")
        assert (line["task_id"], line["action"], line["signal"]) == (killed, "die", "SIGKILL")
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert SECRET not in arbd.log.read_text()
        assert {line["role"] for line in arbd.events()} == {"supervisor", "worker"}
        assert [line for line in arbd.events("worker_ready") if "task_id" in line] == []


def test_a_kill_is_told_with_its_task(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, workers=1, env={"ARBD_KILL_GRACE": "0"}) as arbd:
        arbd.wait_serving(1)
        [task_id] = hub.submit("quick_stubborn", {"seconds": 60})
        hub.results()
        [line] = arbd.wait_event("task_killed")
        assert (line["task_id"], line["action"], line["timeout"]) == (task_id, "quick_stubborn", 0.15)
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def test_silence(tmp_path: Path) -> None:
    """Not a line, of any process; what actions print is their own."""
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"LOG_SILENT": "1"}) as arbd:
        hub.submit("log", {"text": "unheard"})
        hub.submit("fail", {"how": "unheard"})
        hub.submit("die", {"how": "SIGKILL"})
        hub.submit("print", {"text": "printed"})
        assert len(hub.results()) == 4
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert arbd.log.read_text() == ""
        assert arbd.out.read_text() == "printed\n"
