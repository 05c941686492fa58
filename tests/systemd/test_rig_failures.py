"""What fails under a real systemd, and what becomes of the service: it is started again, whole, where that helps; it is
not where that cannot help; a worker's end is no failure of the service."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
from daemon_support import Hub, eventually
from rig_support import ZOO, Instance, Rig

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

WATCHDOG_S = 2.0


def started_again(arbd: Instance, before: list[psutil.Process], main: str, began_at: float) -> None:
    """Wait until the service has been started once more, and nothing of its former self is left."""
    arbd.wait("NRestarts", "1")
    arbd.wait("ActiveState", "active")
    print(f"active again after {time.monotonic() - began_at:.2f} s")
    assert arbd.show("MainPID") != main
    assert [process for process in before if process.is_running()] == []
    assert len(arbd.workers) == 2


def test_a_killed_supervisor_is_started_again(rig: Rig) -> None:
    with Hub(lease_s=1) as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        hub.submit("sleep", {"seconds": 0.5}, count=6)
        eventually(lambda: hub.stats()["leased"])
        before, main = arbd.processes(), arbd.show("MainPID")
        began_at = time.monotonic()
        arbd.supervisor.kill()
        started_again(arbd, before, main, began_at)
        assert {result.status for result in hub.results().values()} == {"success"}


@pytest.mark.parametrize("how", ["stopped", "stalled"])
def test_a_supervisor_that_makes_no_progress_is_started_again(rig: Rig, how: str) -> None:
    """By a signal that stops it as a whole; by an event loop that does not turn."""
    unit = (f"WatchdogSec={WATCHDOG_S:g}s", "TimeoutAbortSec=5s", *(Instance.deaf(rig) if how == "stalled" else ()))
    with Hub() as hub, Instance(rig, hub.address, unit=unit) as arbd:
        arbd.start()
        before, main = arbd.processes(), arbd.show("MainPID")
        began_at = time.monotonic()
        if how == "stopped":
            arbd.supervisor.send_signal(signal.SIGSTOP)
        else:
            hub.submit("echo", {})
        eventually(lambda: arbd.show("ActiveState") != "active" or arbd.show("NRestarts") == "1")
        took_s = time.monotonic() - began_at
        print(f"{how}, WatchdogSec {WATCHDOG_S:g} s: restart begun after {took_s:.2f} s")
        assert took_s < WATCHDOG_S + 1 + 1  # a busy machine
        started_again(arbd, before, main, began_at)
        assert any("Watchdog timeout" in line for line in rig.journal(arbd.unit))
        assert len(arbd.events("stalled")) == (1 if how == "stalled" else 0)


def test_a_service_that_works_is_not_restarted_by_the_watchdog(rig: Rig) -> None:
    """Idle, with both workers busy for longer than WatchdogSec, and through a reload."""
    with Hub() as hub, Instance(rig, hub.address, unit=("WatchdogSec=1s",)) as arbd:
        arbd.start()
        hub.submit("sleep", {"seconds": 2.5}, count=2)
        rig.systemctl("reload", arbd.unit)
        hub.results()
        arbd.wait_event("reloaded")
        time.sleep(1.5)
        arbd.wait("ActiveState", "active")
        assert [arbd.show(name) for name in ("ActiveState", "NRestarts")] == ["active", "0"]


@pytest.mark.parametrize("victim", ["arbd:worker", "arbd:zygote"])
def test_a_process_killed_from_outside_is_replaced(rig: Rig, victim: str) -> None:
    """As the OOM killer does it: its tasks are answered, the service goes on."""
    with Hub() as hub, Instance(rig, hub.address) as arbd:
        arbd.start()
        main = arbd.show("MainPID")
        gates = [arbd.state_directory / f"gate{number}" for number in range(2)]
        for gate in gates:
            hub.submit("hold", {"path": arbd.inside(gate)})
            eventually(gate.with_suffix(".started").exists)
        killed = arbd.named(victim)[0]
        began_at = time.monotonic()
        killed.kill()
        eventually(lambda: not killed.is_running() and len(arbd.workers) == 2 and arbd.named("arbd:zygote"))
        print(f"{victim} replaced after {time.monotonic() - began_at:.2f} s")
        for gate in gates:
            gate.with_suffix(".go").touch()
        statuses = sorted(result.status for result in hub.results().values())
        assert statuses == (["error", "success"] if victim == "arbd:worker" else ["error", "error"])
        hub.submit("echo", {}, count=10)
        assert len(hub.results()) == 12
        arbd.wait("ActiveState", "active")  # the code is loaded again where its zygote was lost
        assert [arbd.show(name) for name in ("ActiveState", "MainPID", "NRestarts")] == ["active", main, "0"]


@pytest.mark.parametrize(
    ("target", "settings", "code", "said"),
    [
        (ZOO, ('hub.auth_token_file = "$CREDENTIALS_DIRECTORY/token"',), 78, "token"),
        (ZOO, ('hub.tls_ca = "$CREDENTIALS_DIRECTORY/hub_ca"',), 78, "hub_ca"),
        (ZOO, ("drain_timeout = -1",), 78, "drain_timeout"),
        (ZOO, ("no_such_setting = 1",), 78, "no_such_setting"),
        (ZOO, ("[",), 78, ".toml"),
        ("/srv/missing.py", (), 78, "/srv/missing.py"),
        ("/srv/broken.py", (), 70, "not today"),
    ],
)
def test_what_starting_again_cannot_help_is_not_started_again(
    rig: Rig, target: str, settings: tuple[str, ...], code: int, said: str
) -> None:
    rig.write("/srv/broken.py", "raise RuntimeError('not today')\n")
    with Instance(rig, "127.0.0.1:1", *settings, target=target) as arbd:
        rig.systemctl("start", arbd.unit, check=False)
        assert said in "\n".join(rig.journal(arbd.unit))
        assert [arbd.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")] == [
            "failed",
            str(code),
            "0",
        ]


def test_without_settings_it_is_not_started_again(rig: Rig) -> None:
    unit = "arbd@nobody.service"
    rig.systemctl("start", unit, check=False)
    shown = rig.show(unit)
    rig.systemctl("reset-failed", unit)
    assert (shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"]) == ("failed", "78", "0")
    assert "/etc/arbd/nobody.toml" in "\n".join(rig.journal(unit))


def test_a_token_that_the_hub_refuses_is_told_in_the_status_line(rig: Rig) -> None:
    with Hub(tokens=["right"]) as hub, Instance(rig, hub.address, token="wrong") as arbd:
        rig.systemctl("start", "--no-block", arbd.unit)
        arbd.wait_status("hub refuses the token")
        assert [arbd.show(name) for name in ("ActiveState", "NRestarts")] == ["activating", "0"]
        assert "wrong" not in "\n".join(rig.journal(arbd.unit))
