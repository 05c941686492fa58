"""The daemon over the stream, as an operator runs it: processes, sockets, signals."""

from __future__ import annotations

import signal
from pathlib import Path

from daemon_support import ONCE, Arbd, Gate, Hub, eventually


def test_tasks_of_every_fate_come_back_once(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as daemon:
        daemon.wait_serving()
        good = hub.submit("add", {"a": 1, "b": 2}, count=500)
        large = hub.submit("blob", {"size": 3_000_000})
        bad = hub.submit("add", {"a": "x", "b": 2})
        unknown = hub.submit("nothing_of_that_name")
        dying = hub.submit("die", {"how": "SIGKILL"})
        late = hub.submit("quick_sleep", {"seconds": 5.0})
        results = hub.results()
        assert [results[task_id].response["data"]["sum"] for task_id in good] == [3] * 500
        assert len(results[large[0]].response["data"]["blob"]) == 3_000_000
        assert [results[ids[0]].status for ids in (bad, unknown, dying, late)] == ["error"] * 4
        codes = [results[ids[0]].response["data"].get("error_code") for ids in (dying, late)]
        assert codes == ["WORKER_LOST", "TIMEOUT"]
        assert [hub.kinds(task_id) for task_id in results] == [ONCE] * 505
        [connected] = daemon.wait_event("hub_connected")
        assert connected["protocol"] == "stream"
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0


def test_a_drain_under_load_answers_everything_it_took(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as daemon:
        daemon.wait_serving()
        ids = hub.submit("echo", count=30_000)
        eventually(lambda: hub.done() > 500)
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
        histories = [hub.kinds(task_id) for task_id in ids[:: len(ids) // 300]]
        assert all(history in (ONCE, ["submitted"]) for history in histories)
        with Arbd.run(hub.address, tmp_path) as successor:
            successor.wait_serving()
            assert {result.status for result in hub.results().values()} == {"success"}


def test_the_unary_protocol_when_it_is_asked_for(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"ARBD_HUB_PROTOCOL": "unary"}) as daemon:
        hub.submit("echo", count=20)
        assert len(hub.results()) == 20
        assert "protocol" not in daemon.wait_event("hub_connected")[0]


def test_a_hub_without_the_stream(tmp_path: Path) -> None:
    with Hub(stream=False) as hub, Arbd.run(hub.address, tmp_path) as daemon:
        hub.submit("echo", count=20)
        assert len(hub.results()) == 20
        assert len(daemon.wait_event("hub_without_stream")) == 1


def test_a_cancel_from_a_client_stops_the_action(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"TASK_EXECUTION_TIMEOUT": "60"}) as daemon:
        daemon.wait_serving()
        gate = Gate(tmp_path)
        [task_id] = hub.submit("hold", gate.payload)
        assert gate.pid
        assert hub.cancel(task_id)
        assert hub.results()[task_id].response["data"]["error_code"] == "CANCELLED"
        assert hub.kinds(task_id) == ["submitted", "handed_out", "cancelled", "result"]
