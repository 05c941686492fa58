"""systemd hears of a daemon what is true at that moment: ready when it serves, reloading until that has ended, and
stopping; nobody but the supervisor can tell it anything."""

from __future__ import annotations

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from daemon_support import Arbd, Hub, eventually
from hub_support import free_port
from notify_support import NotifySocket

from arbd.hub.process import HubProcess

ONE_ACTION = """
from arbd import Provider
provider = Provider(name="prov")

@provider.actions.register(name="echo")
def echo(payload):
    return payload
"""


def test_start_reload_and_stop_are_told_in_order(tmp_path: Path) -> None:
    with NotifySocket(tmp_path) as systemd, Hub() as hub, Arbd.run(hub.address, tmp_path, env=systemd.env) as daemon:
        systemd.wait("READY=1")
        systemd.wait_status("serving: 0 tasks/s, 0 of 2 workers busy, hub connected (stream)")
        before_us = time.monotonic_ns() // 1000
        daemon.signal(signal.SIGHUP)
        systemd.wait("READY=1", count=2)
        [reloading] = systemd.all("RELOADING=1")
        told_us = int(reloading.text.partition("MONOTONIC_USEC=")[2])
        assert before_us <= told_us <= time.monotonic_ns() // 1000
        assert len(daemon.wait_event("reloaded")) == 1
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
        assert systemd.states == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
        assert systemd.received[-1].text == "STATUS=stopped"


def test_each_request_for_a_reload_has_a_word_of_its_own(tmp_path: Path) -> None:
    """systemd waits for one that is younger than its signal; the reload itself may be one for many."""
    with NotifySocket(tmp_path) as systemd, Hub() as hub, Arbd.run(hub.address, tmp_path, env=systemd.env) as daemon:
        systemd.wait("READY=1")
        for count in range(1, 4):
            daemon.signal(signal.SIGHUP)
            systemd.wait("RELOADING=1", count)
        systemd.wait("READY=1", count=2)
        assert systemd.states == ["READY=1", "RELOADING=1", "RELOADING=1", "RELOADING=1", "READY=1"]


def test_a_reload_that_fails_ends_too_and_the_line_says_so(tmp_path: Path) -> None:
    target = tmp_path / "app.py"
    target.write_text(ONE_ACTION)
    with (
        NotifySocket(tmp_path) as systemd,
        Hub() as hub,
        Arbd.run(hub.address, tmp_path, target=target, env=systemd.env) as daemon,
    ):
        systemd.wait("READY=1")
        target.write_text("raise RuntimeError('not today')\n")
        daemon.signal(signal.SIGHUP)
        systemd.wait("READY=1", count=2)
        status = systemd.wait_status("the last reload failed, see the log")
        assert status.startswith("STATUS=serving: ")
        assert "not today" not in status
        target.write_text(ONE_ACTION)
        daemon.signal(signal.SIGHUP)
        systemd.wait("READY=1", count=3)
        eventually(lambda: "failed" not in systemd.all("STATUS=")[-1].text)


def test_it_is_not_ready_before_the_hub_has_answered(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with NotifySocket(tmp_path) as systemd, Arbd.run(address, tmp_path, env=systemd.env) as daemon:
        daemon.wait_serving()
        systemd.wait_status("waiting for the hub: hub not reached")
        assert systemd.states == []
        with HubProcess(address=address):
            systemd.wait("READY=1")
            daemon.signal(signal.SIGTERM)
            assert daemon.exit_code() == 0


def test_unless_it_may_start_without(tmp_path: Path) -> None:
    env = {"ARBD_HUB_START_WITHOUT": "true"}
    address = f"127.0.0.1:{free_port()}"
    with NotifySocket(tmp_path) as systemd, Arbd.run(address, tmp_path, env=systemd.env | env):
        systemd.wait("READY=1")
        systemd.wait_status("hub not reached")


def test_a_stop_in_the_middle_of_the_import_is_told(tmp_path: Path) -> None:
    target = tmp_path / "app.py"
    target.write_text("import time\ntime.sleep(600)\n")
    with NotifySocket(tmp_path) as systemd, Arbd.run("127.0.0.1:1", tmp_path, target=target, env=systemd.env) as daemon:
        systemd.wait_status("starting: importing the provider")
        systemd.wait("EXTEND_TIMEOUT_USEC=")
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
        assert systemd.states == ["STOPPING=1"]


def test_a_drain_says_how_much_is_left_and_asks_for_its_time(tmp_path: Path) -> None:
    with NotifySocket(tmp_path) as systemd, Hub() as hub, Arbd.run(hub.address, tmp_path, env=systemd.env) as daemon:
        systemd.wait("READY=1")
        hub.submit("sleep", {"seconds": 1.5})
        systemd.wait_status("1 of 2 workers busy")
        daemon.signal(signal.SIGTERM)
        systemd.wait_status("draining: 1 task left")
        [stopping] = systemd.wait("STOPPING=1")
        assert systemd.all("EXTEND_TIMEOUT_USEC=", since=stopping.at)
        assert daemon.exit_code() == 0


def test_figures_come_once_a_second_and_only_where_they_have_changed(tmp_path: Path) -> None:
    with NotifySocket(tmp_path) as systemd, Hub() as hub, Arbd.run(hub.address, tmp_path, env=systemd.env):
        [ready] = systemd.wait("READY=1")
        hub.submit("sleep", {"seconds": 0.01}, count=500)
        hub.results()
        systemd.wait_status("serving: 0 tasks/s, 0 of 2 workers busy")
        told = systemd.all("STATUS=", since=ready.at)
        assert all(later.at - one.at > 0.9 for one, later in pairwise(told))
        assert all(later.text != one.text for one, later in pairwise(told))


@pytest.mark.parametrize("links", [0, 1])
def test_nobody_but_the_supervisor_can_tell_systemd_anything(tmp_path: Path, links: int) -> None:
    env = {"ARBD_HUB_LINKS": str(links), "ARBD_HUB_PROTOCOL": "unary", "WATCHDOG_PID": ""}
    with (
        NotifySocket(tmp_path) as systemd,
        Hub() as hub,
        Arbd.run(hub.address, tmp_path, env=systemd.env | env) as daemon,
    ):
        systemd.wait("READY=1")
        family = psutil.Process(daemon.process.pid).children(recursive=True)
        assert len(family) >= 3 + links
        for process in family:
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & process.environ().keys(), process.name()


def test_without_a_socket_nothing_is_said_and_nothing_is_missing(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env={"WATCHDOG_USEC": "2000000"}) as daemon:
        daemon.wait_serving()
        hub.submit("echo", {})
        assert len(hub.results()) == 1
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0


def test_a_socket_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "2000000"}
    with Hub() as hub, Arbd.run(hub.address, tmp_path, env=env) as daemon:
        daemon.wait_serving()
        hub.submit("echo", {})
        assert len(hub.results()) == 1
        assert not os.path.exists(env["NOTIFY_SOCKET"])
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
