"""``hub.links`` in a real daemon: link processes serve, drain and end with it, and the token stays where it must."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest
from daemon_support import ONCE, Arbd, Gate, Hub, eventually, is_alive
from hub_support import free_port
from links_support import TOKEN

from arbd.hub.process import HubProcess

MIB = 1024 * 1024


def links_of(arbd: Arbd) -> list[int]:
    """Process ids of the link processes."""
    return [pid for name, pids in arbd.family().items() if name.startswith("arbd:link-") for pid in pids]


def start(hub: str, directory: Path, links: int | str, **settings: str) -> Arbd:
    variables = {"ARBD_HUB_LINKS": str(links), "ARBD_HUB_PROTOCOL": "unary", "ARBD_LOG_LEVEL": "info", **settings}
    return Arbd.run(hub, directory, env=variables)


def stop(arbd: Arbd) -> None:
    """SIGTERM, and a good end of every process."""
    family = [pid for pids in arbd.family().values() for pid in pids]
    arbd.signal(signal.SIGTERM)
    assert arbd.exit_code() == 0
    assert [pid for pid in family if is_alive(pid)] == []


def test_two_links_serve_and_the_status_shows_them(tmp_path: Path) -> None:
    with Hub() as hub, start(hub.address, tmp_path, 2, ARBD_CONTROL_SOCKET=str(tmp_path / "socket")) as arbd:
        arbd.wait_event("hub_connected", 2)
        ids = hub.submit("echo", {"a": 1}, count=500)
        assert {result.status for result in hub.results().values()} == {"success"}
        assert [hub.kinds(task_id) for task_id in ids] == [ONCE] * 500
        status = ["-m", "arbd", "status", str(tmp_path / "socket")]
        with Arbd([*status, "--json"], tmp_path / "..") as asked:
            assert asked.exit_code() == 0
        link = json.loads(asked.out.read_text())["link"]
        assert (link["state"], link["tasks"], link["accepted"]) == ("up", 500, 500)
        assert sorted(each["pid"] for each in link["links"]) == sorted(links_of(arbd))
        assert sum(each["tasks"] for each in link["links"]) == 500
        assert all(each["tasks"] > 50 and each["cpu_s"] > 0 for each in link["links"])
        with Arbd(status, tmp_path / "..") as asked:
            assert asked.exit_code() == 0
        assert "link" in asked.out.read_text()
        stop(arbd)


def test_the_protocol_auto_uses_links_at_a_unary_hub_only(tmp_path: Path) -> None:
    with Hub(stream=False) as hub, start(hub.address, tmp_path, 1, ARBD_HUB_PROTOCOL="auto") as arbd:
        hub.submit("echo", count=20)
        assert len(hub.results()) == 20
        assert len(links_of(arbd)) == 1
        stop(arbd)
    with Hub() as hub, start(hub.address, tmp_path, 1, ARBD_HUB_PROTOCOL="auto") as arbd:
        hub.submit("echo", count=20)
        assert len(hub.results()) == 20
        assert links_of(arbd) == []
        stop(arbd)


def test_the_token_is_in_no_argument_no_variable_and_no_line_of_a_link(tmp_path: Path) -> None:
    settings = {"PROVIDER_AUTH_TOKEN": TOKEN, "OTHER": f"hub-{TOKEN}-url", "ARBD_LOG_LEVEL": "debug"}
    with Hub(tokens=[TOKEN]) as hub, start(hub.address, tmp_path, 2, **settings) as arbd:
        connected = arbd.wait_event("hub_connected", 2)
        hub.submit("echo", {"a": "b" * 50}, count=50)
        assert len(hub.results()) == 50  # so the links do have it
        links = links_of(arbd)
        assert len(links) == 2
        for pid in links:
            for name in ("environ", "cmdline"):
                assert TOKEN not in Path(f"/proc/{pid}/{name}").read_bytes().decode()
            opened = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
            assert [name for name in opened if "parcel" in name] == []  # what it was told with
        assert [(line["role"], line["link"]) for line in sorted(connected, key=lambda line: int(line["link"]))] == [
            ("link", 1),
            ("link", 2),
        ]
        stop(arbd)
    assert TOKEN not in arbd.log.read_text() + arbd.out.read_text()


def test_a_refused_token_is_sent_once_by_any_number_of_links(tmp_path: Path) -> None:
    with Hub(tokens=["another"]) as hub, start(hub.address, tmp_path, 3, PROVIDER_AUTH_TOKEN=TOKEN) as arbd:
        arbd.wait_event("hub_refuses_token")
        arbd.wait_serving()
        first = hub.stats()["refused"]
        with pytest.raises(AssertionError):
            eventually(lambda: hub.stats()["refused"] > first, 1.5)
        assert first == 1
        [leader] = arbd.events("hub_refuses_token")
        [pid] = [line["pid"] for line in arbd.events("link_started") if line["link"] == leader["link"]]
        psutil.Process(pid).kill()
        arbd.wait_event("link_lost")
        arbd.wait_event("link_started", 4)
        with pytest.raises(AssertionError):
            eventually(lambda: hub.stats()["refused"] > first, 1.0)  # who follows it waits for its turn
        stop(arbd)


def test_a_hub_that_is_down_at_the_start_and_restarted_later(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with start(address, tmp_path, 2) as arbd:
        arbd.wait_event("hub_unavailable")
        with Hub(address=address) as hub:
            hub.submit("echo", count=100)
            assert len(hub.results()) == 100
        with Hub(address=address) as hub:
            hub.submit("echo", count=100)
            assert len(hub.results()) == 100
        stop(arbd)


def test_no_link_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with Hub() as hub, start(hub.address, tmp_path, 2) as arbd:
        arbd.wait_event("link_started", 2)
        starting = links_of(arbd)
        arbd.wait_event("hub_connected", 2)
        hub.submit("echo", count=2000)
        eventually(lambda: hub.done() > 100)
        family = [pid for pids in arbd.family().values() for pid in pids]
        assert len(family) == 5
        arbd.signal(signal.SIGKILL)
        eventually(lambda: not [pid for pid in {*family, *starting} if is_alive(pid)], 1)
    with HubProcess() as down, start(down.address, tmp_path, 3) as arbd:
        arbd.wait_event("link_started", 3)  # their interpreters are just starting
        family = [child.pid for child in psutil.Process(arbd.process.pid).children(recursive=True)]
        arbd.signal(signal.SIGKILL)
        eventually(lambda: not [pid for pid in family if is_alive(pid)], 5)


def test_a_drain_under_load_loses_nothing(tmp_path: Path) -> None:
    with Hub() as hub, start(hub.address, tmp_path, 2) as arbd:
        ids = hub.submit("sleep", {"seconds": 0.002}, count=3000)
        eventually(lambda: hub.done() > 200)
        stop(arbd)
        assert arbd.events("results_not_sent") == []
        histories = [hub.kinds(task_id) for task_id in ids]
        assert all(history in (ONCE, ["submitted"]) for history in histories)
        assert 200 < histories.count(ONCE) < 3000


def test_a_drain_waits_for_what_runs(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with Hub() as hub, start(hub.address, tmp_path, 1) as arbd:
        [task_id] = hub.submit("hold", gate.payload)
        assert gate.pid
        arbd.signal(signal.SIGTERM)
        arbd.wait_event("draining")
        gate.open()
        assert arbd.exit_code() == 0
        assert hub.kinds(task_id) == ONCE


def test_eight_megabytes_pass_through_a_link(tmp_path: Path) -> None:
    sizes = {"ARBD_MAX_RESULT": "16MiB", "ARBD_RING_SIZE": "16KiB"}
    with Hub(max_message=64 * MIB) as hub, start(hub.address, tmp_path, 2, **sizes) as arbd:
        [large] = hub.submit("echo", {"large": "x" * 8 * MIB})
        [fits] = hub.submit("blob", {"size": 3 * MIB})
        [too_large] = hub.submit("blob", {"size": 8 * MIB})  # for the calls of the protocol, not for the link
        results = hub.results()
        assert results[fits].response["data"]["blob"] == "x" * 3 * MIB
        assert results[too_large].response["data"]["error_code"] == "RESULT_TOO_LARGE"
        assert results[large].response["data"]["error_code"] == "RESULT_TOO_LARGE"
        [counted] = hub.submit("add", {"a": 1, "b": 2, "ignored": "x" * 8 * MIB})
        assert hub.results()[counted].response["data"] == {"sum": 3}
        stop(arbd)
