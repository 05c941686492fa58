"""arbd@.service lives as it says, under a real systemd: active when it serves, and not before; a reload, a stop and a
status line as an operator sees them; no task is lost.

A printed line is a measurement: ``python -m pytest tests/systemd -rP`` shows them.
"""

from __future__ import annotations

import threading
import time

import pytest
from daemon_support import ONCE, Hub, eventually
from hub_support import free_port
from rig_support import ARBD, Instance, Rig

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

HUB_UNIT = """
[Service]
ExecStart={arbd} hub --listen {address}
"""
ONE_ACTION = """
from arbd import Provider
provider = Provider(name="prov")

@provider.actions.register(name="echo")
def echo(payload):
    return payload
"""


def test_active_means_that_it_serves(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        took_s = arbd.start()
        print(f"start to READY: {took_s:.2f} s")
        assert (arbd.show("ActiveState"), arbd.show("SubState")) == ("active", "running")
        assert 'Status: "serving: ' in rig.systemctl("status", "--no-pager", arbd.unit)
        assert arbd.show("WatchdogUSec") == "30s"
        assert len(arbd.workers) == 2
        hub.submit("echo", {}, count=10)
        assert {result.status for result in hub.results().values()} == {"success"}
        arbd.wait_status("serving: 0 tasks/s, 0 of 2 workers busy, hub connected (stream)")


def test_it_is_not_active_before_the_hub_has_answered(rig: Rig) -> None:
    """The hub is a unit beside it, and the operator a shell in there."""
    address = f"127.0.0.1:{free_port()}"
    rig.write("/etc/systemd/system/hub.service", HUB_UNIT.format(arbd=ARBD, address=address))
    with Instance(rig, address) as arbd:
        try:
            rig.systemctl("start", "--no-block", arbd.unit)
            arbd.wait_status("waiting for the hub: hub not reached")
            assert arbd.show("ActiveState") == "activating"
            rig.systemctl("start", "hub")
            arbd.wait("ActiveState", "active")
            said = rig.run(ARBD, "submit", "add", "--payload", '{"a": 1, "b": 2}', "--wait", "--hub", address).stdout
            assert '"sum":3' in said.replace(" ", "")
            assert "serving" in rig.run(ARBD, "status", arbd.control_socket).stdout
        finally:
            rig.systemctl("kill", "--signal=KILL", "hub", check=False)


def test_a_setting_has_it_start_without(rig: Rig) -> None:
    with Instance(rig, f"127.0.0.1:{free_port()}", "hub.start_without = true") as arbd:
        arbd.start()
        assert arbd.show("ActiveState") == "active"
        assert "hub not reached" in arbd.wait_status("serving: ")


def test_reloads_under_load_lose_nothing(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        before = {worker.pid for worker in arbd.workers}
        main = arbd.show("MainPID")
        ids = hub.submit("sleep", {"seconds": 0.005}, count=600)
        for number in range(1, 4):
            began_at = time.monotonic()
            rig.systemctl("reload", arbd.unit)
            arbd.wait_event("reloaded", number)
            print(f"reload under load: {time.monotonic() - began_at:.2f} s")
        assert {result.status for result in hub.results().values()} == {"success"}
        assert [hub.kinds(task) for task in ids] == [ONCE] * len(ids)
        arbd.wait("ActiveState", "active")
        assert (arbd.show("MainPID"), arbd.show("NRestarts")) == (main, "0")
        eventually(lambda: len(now := {worker.pid for worker in arbd.workers}) == 2 and not now & before)


def test_a_reload_of_broken_code_leaves_the_service_as_it_was(rig: Rig) -> None:
    rig.write("/srv/app.py", ONE_ACTION)
    with Hub() as hub, Instance(rig, hub.address, target="/srv/app.py") as arbd:
        arbd.start()
        rig.write("/srv/app.py", "raise RuntimeError('not today')\n")
        rig.systemctl("reload", arbd.unit)
        arbd.wait_status("the last reload failed, see the log")
        arbd.wait("ActiveState", "active")
        hub.submit("echo", {})
        assert len(hub.results()) == 1


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_a_stop_drains(rig: Rig, mode: str) -> None:
    """Also where every process of the unit is told to end, not the supervisor alone."""
    with Hub() as hub, Instance(rig, hub.address, unit=(f"KillMode={mode}",)) as arbd:
        arbd.start()
        gate = arbd.state_directory / "gate"
        held = hub.submit("hold", {"path": arbd.inside(gate)})
        short = hub.submit("sleep", {"seconds": 0.05}, count=20)
        eventually(gate.with_suffix(".started").exists)
        before = arbd.processes()
        stopping = threading.Thread(target=arbd.stop)
        stopping.start()
        assert "draining: " in arbd.wait_status("draining")
        assert arbd.show("ActiveState") == "deactivating"
        gate.with_suffix(".go").touch()
        stopping.join()
        assert [arbd.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")] == ["inactive", "success", "0"]
        assert hub.kinds(held[0]) == ONCE
        assert all(hub.kinds(task) in (ONCE, ["submitted"]) for task in short)
        assert [process for process in before if process.is_running()] == []


def test_what_does_not_end_is_stopped_and_answered(rig: Rig) -> None:
    """Each worker is stuck in a loop that no exception ends: they cost the stop drain_timeout and a second."""
    settings = ("drain_timeout = 1", "execution_timeout = 600")
    with Hub() as hub, Instance(rig, hub.address, *settings) as arbd:
        arbd.start()
        gates = [arbd.state_directory / f"gate{number}" for number in range(2)]
        ids = [task for gate in gates for task in hub.submit("stubborn_hold", {"path": arbd.inside(gate)})]
        for gate in gates:
            eventually(gate.with_suffix(".started").exists)
        took_s = arbd.stop()
        print(f"stop with both workers stuck, drain_timeout 1 s: {took_s:.2f} s")
        assert took_s < 1 + 1 + 1  # a busy machine
        assert arbd.show("Result") == "success"
        assert {result.status for result in hub.results().values()} == {"error"}
        assert [hub.kinds(task) for task in ids] == [ONCE] * 2


def test_a_drain_may_take_longer_than_the_unit_says(rig: Rig) -> None:
    """The daemon asks for the time that its settings give it."""
    with Hub() as hub, Instance(rig, hub.address, unit=("TimeoutStopSec=1s",)) as arbd:
        arbd.start()
        [task] = hub.submit("sleep", {"seconds": 2.5})
        eventually(lambda: hub.kinds(task) == ONCE[:2])
        arbd.stop()
        assert arbd.show("Result") == "success"
        assert hub.results()[task].status == "success"


def test_a_stop_that_nobody_hears_ends_in_time(rig: Rig) -> None:
    unit = (*Instance.deaf(rig), "TimeoutStopSec=1s", "WatchdogSec=0")
    with Hub() as hub, Instance(rig, hub.address, unit=unit) as arbd:
        arbd.start()
        [task] = hub.submit("echo", {})
        eventually(lambda: hub.kinds(task) == ONCE[:2])
        before = arbd.processes()
        took_s = arbd.stop()
        print(f"stop of a daemon that hears nothing, TimeoutStopSec 1 s: {took_s:.2f} s")
        assert 0.9 < took_s < 4
        assert arbd.show("Result") == "timeout"
        assert [process for process in before if process.is_running()] == []
