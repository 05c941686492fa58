"""``arbd dev`` runs the supervisor against a hub of its own, which ends with it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from cli_support import invoke

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
    module.run = run  # type: ignore[attr-defined] # a stand-in for the whole module
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
    result = invoke("dev", "p.py", "--listen", "256.256.256.256:1")
    assert result.exit_code == 1
    assert "the hub of arbd dev did not start on 256.256.256.256:1" in result.stderr
