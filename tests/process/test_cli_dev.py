"""``arbd dev`` runs the supervisor against a hub of its own, which ends with it."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import grpc
import psutil
import pytest
from cli_support import invoke
from daemon_support import Arbd, eventually

from arbd.supervisor.request import RunRequest


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def is_listening(address: str) -> bool:
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=1)
    except grpc.FutureTimeoutError:
        return False
    finally:
        channel.close()
    return True


def test_the_supervisor_gets_the_address_of_a_hub_that_lives_as_long_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunRequest] = []
    alive: list[bool] = []

    def run(request: RunRequest) -> int:
        seen.append(request)
        alive.append(is_listening(request.flags["hub.url"]))
        return 0

    module = ModuleType("arbd.supervisor.main")
    module.run, module.RESTART = run, -1  # type: ignore[attr-defined] # a stand-in for the whole module
    monkeypatch.setitem(sys.modules, "arbd.supervisor.main", module)
    result = invoke("dev", "p.py", "--listen", "127.0.0.1:0", "--workers", "1")
    (request,) = seen
    address = request.flags["hub.url"]
    assert (result.exit_code, alive, is_listening(address)) == (0, [True], False)
    assert request == RunRequest(target="p.py", flags={"workers": "1", "hub.url": address}, dev=True)
    assert f"arbd submit ACTION --hub {address} --wait" in result.stderr


def test_another_hub_is_refused() -> None:
    result = invoke("dev", "p.py", "--hub", "hub:1")
    assert (result.exit_code, "has a hub of its own" in result.stderr) == (2, True)


def test_a_hub_that_cannot_listen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arbd.supervisor.main", ModuleType("arbd.supervisor.main"))
    sys.modules["arbd.supervisor.main"].run = lambda request: 0  # type: ignore[attr-defined] # a stand-in
    sys.modules["arbd.supervisor.main"].RESTART = -1  # type: ignore[attr-defined] # the same
    result = invoke("dev", "p.py", "--listen", "256.256.256.256:1")
    assert result.exit_code == 1
    assert "the hub of arbd dev did not start on 256.256.256.256:1" in result.stderr


def test_a_hub_for_other_hosts_has_to_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of dev has no tokens."""
    addresses: list[str] = []
    module = ModuleType("arbd.supervisor.main")

    def run(request: RunRequest) -> int:
        addresses.append(request.flags["hub.url"])
        return 0

    module.run, module.RESTART = run, -1  # type: ignore[attr-defined] # a stand-in for the whole module
    monkeypatch.setitem(sys.modules, "arbd.supervisor.main", module)
    refused = invoke("dev", "p.py", "--listen", "0.0.0.0:0")
    assert (refused.exit_code, "--insecure" in refused.stderr, addresses) == (2, True, [])
    assert invoke("dev", "p.py", "--listen", "0.0.0.0:0", "--insecure").exit_code == 0
    assert [address.rpartition(":")[0] for address in addresses] == ["0.0.0.0"]


DESK = """
from arbd import Provider

provider = Provider(name="desk")


@provider.actions.register(name="add")
def add(a, b):
    return {"sum": a + b}
"""


def written(file: Path, text: str) -> bool:
    """Write a file, again each half second: nobody tells since when it is watched."""
    if not file.exists() or file.read_text() != text or time.time() > file.stat().st_mtime + 0.5:
        file.write_text(text)
    return True


def test_a_setting_that_needs_a_restart_restarts_the_daemon_and_not_the_hub(tmp_path: Path) -> None:
    """What is written into arbd.toml holds, whatever kind of setting it is; tasks in the hub outlive it."""
    (tmp_path / "desk.py").write_text(DESK)
    config = tmp_path / "arbd.toml"
    config.write_text("workers = 1\npin = false\n[control]\nsocket = 'off'\n")
    env = {"ARBD_LOG_FORMAT": "json"}
    with Arbd(["-m", "arbd", "dev", "desk.py", "--listen", "127.0.0.1:0"], tmp_path, env) as dev:
        [first] = dev.wait_event("started")
        hub = psutil.Process(dev.process.pid).children()
        text = config.read_text().replace("workers = 1", "workers = 2\nexecution_timeout = 5")
        eventually(lambda: written(config, text) and dev.events("source_changed"))
        second = dev.wait_event("started", 2)[-1]
        assert (first["workers"], second["workers"], second["hub"]) == (1, 2, first["hub"])
        assert dev.events("setting_needs_restart")[0]["setting"] == "workers"
        again = [each for each in psutil.Process(dev.process.pid).children() if each in hub]
        assert [each for each in again if "hub" in each.cmdline()] != []
        answer = invoke("submit", "add", "--hub", second["hub"], "--payload", '{"a": 1, "b": 2}', "--wait")
        assert '"sum": 3' in answer.stdout.replace('"sum":3', '"sum": 3')
        dev.signal(signal.SIGTERM)
        assert dev.exit_code() == 0
        assert not is_listening(second["hub"])


@pytest.mark.parametrize("blank", [{}, {"PROVIDER_AUTH_TOKEN": ""}])
def test_tokens_of_its_hub_let_its_provider_in_and_no_action_sees_them(tmp_path: Path, blank: dict[str, str]) -> None:
    token = "the-hub-s-own-61c"
    look = "import os\n\n@provider.actions.register(name='look')\ndef look(): return sorted(os.environ.items())\n"
    (tmp_path / "desk.py").write_text(DESK + look)
    env = {"ARBD_LOG_FORMAT": "json", "HUB_AUTH_TOKEN": f"{token} another-token-7d", **blank}
    arguments = ["-m", "arbd", "dev", "desk.py", "--listen", "127.0.0.1:0", "--workers", "1", "--no-pin"]
    with Arbd(arguments, tmp_path, env) as dev:
        [started] = dev.wait_event("started")
        asked = ["submit", "look", "--hub", started["hub"], "--wait", "--timeout", "20"]
        answer = invoke(*asked, env={"PROVIDER_AUTH_TOKEN": token})
        assert answer.exit_code == 0
        assert "HUB_AUTH_TOKEN" in answer.stdout
        assert token not in answer.stdout
        assert "another-token-7d" not in answer.stdout
        dev.signal(signal.SIGTERM)
        assert dev.exit_code() == 0


def titles_below(pid: int) -> set[str]:
    """What ``ps -ef`` shows of the processes below this one."""
    titles = set()
    for each in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            titles.add(" ".join(each.cmdline()).strip())
    return titles


def test_a_file_that_does_not_load_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("from arbd import Provder\n", encoding="utf-8")
    with Arbd(["-m", "arbd", "dev", "broken.py", "--listen", "127.0.0.1:0", "--workers", "1"], tmp_path) as arbd:
        eventually(lambda: "waiting for a change" in arbd.log.read_text(), timeout_s=60)
        assert "cannot import name 'Provder'" in arbd.log.read_text()
        hub = arbd.log.read_text().partition("listens on ")[2].partition(";")[0]
        file.write_text("also wrong\n", encoding="utf-8")
        eventually(lambda: arbd.log.read_text().count("waiting for a change") == 2, timeout_s=60)
        assert "SyntaxError" in arbd.log.read_text()
        file.write_text(DESK, encoding="utf-8")
        eventually(lambda: '"event":"started"' in arbd.log.read_text(), timeout_s=60)
        assert is_listening(hub)
        eventually(lambda: {"arbd:zygote", "arbd:worker-0 desk"} <= titles_below(arbd.process.pid), timeout_s=20)
        arbd.process.send_signal(signal.SIGTERM)
        assert arbd.process.wait(30) == 0
    assert not is_listening(hub)


def test_ctrl_c_ends_the_waiting(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError\n", encoding="utf-8")
    with Arbd(["-m", "arbd", "dev", "broken.py", "--listen", "127.0.0.1:0", "--workers", "1"], tmp_path) as arbd:
        eventually(lambda: "waiting for a change" in arbd.log.read_text(), timeout_s=60)
        arbd.process.send_signal(signal.SIGINT)
        assert arbd.process.wait(30) == 130
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("arguments", [["nowhere.py"], ["nowhere_at_all"], ["desk.py", "--workers", "0"]])
def test_what_no_change_of_a_file_mends_is_told_and_ends_it(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    with Arbd(["-m", "arbd", "dev", *arguments, "--listen", "127.0.0.1:0"], tmp_path) as arbd:
        assert arbd.process.wait(60) == 78
