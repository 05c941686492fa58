"""arbd@.service lives as its unit says, under a real systemd: active when it serves, and not before; a reload, a stop
and a status line as an operator sees them; no task is lost."""

from __future__ import annotations

import threading

import pytest
from daemon_support import ONCE, Hub, eventually
from hub_support import free_port
from rig_support import ARBD, Instance, Rig

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")


def test_active_means_that_it_serves(rig: Rig) -> None:
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        took_s = arbd.start()
        assert (arbd.show("ActiveState"), arbd.show("SubState")) == ("active", "running")
        assert len(arbd.workers) == 2
        print(f"start to READY: {took_s:.2f} s")
        hub.submit("echo", {}, count=10)
        assert {result.status for result in hub.results().values()} == {"success"}
        status = rig.systemctl("status", "--no-pager", arbd.unit)
        assert 'Status: "serving: ' in status
        assert "hub connected" in status
