"""A running daemon and its control socket: what it says is true, holds no secret, and it starts and ends well."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from daemon_support import Arbd, Gate, daemon_of, eventually, responses

from arbd.control import client as control
from arbd.control import protocol
from arbd.control.protocol import GetLimits, GetStatus, LimitsReply, StatusReply
from arbd.control.reports import StatusReport
from arbd.errors import EXIT_CONFIG, ConfigError, ControlError
from arbd.host.control_socket import is_listening

LIMITED = """
from arbd import Provider
from arbd.rate_limit import CustomRateLimitMonitor, TimeBasedRateLimitMonitor

provider = Provider(name="limited", rate_limit_monitor=CustomRateLimitMonitor(max_requests=2, window_size=3600))
by_hand = TimeBasedRateLimitMonitor(min_delay=0.5, name="api", on_limit="wait")


@provider.actions.register(name="echo")
def echo(payload):
    return payload


@provider.actions.register(name="rare", rate_limit_monitor=TimeBasedRateLimitMonitor(max_calls_per_second=10))
def rare():
    return None
"""


def status(path: Path) -> StatusReport:
    return control.ask(path, GetStatus(), StatusReply).report


def raw(path: Path, request: protocol.ControlRequest) -> bytes:
    """The reply as it goes over the socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(protocol.encode(request))
        return connection.makefile("rb").readline()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory whose name fits into a socket address."""
    return tmp_path


class TestStatus:
    def test_it_tells_what_the_daemon_does(self, here: Path) -> None:
        gate = Gate(here)
        with daemon_of(workers=2, control_socket="auto", runtime_dir=str(here / "run")) as daemon:
            path = here / "run" / "zoo.sock"
            responses(daemon, [daemon.submit("echo", {}), daemon.submit("no such action")])
            holding = daemon.submit("hold", gate.payload)
            pid = gate.pid
            seen = status(path)
            assert (seen.provider, seen.pid, seen.state) == ("zoo", os.getpid(), "serving")
            assert (seen.in_flight, seen.backlog, seen.outbox) == (1, 0, 0)
            assert seen.verdicts == {"success": 1, "error": 1, "limit": 0}
            assert (seen.link.state, seen.link.tasks, seen.link.accepted) == ("up", 3, 2)
            assert [worker.pid for worker in seen.workers] == daemon.worker_pids
            assert [(worker.slot, worker.cpus, worker.state) for worker in seen.workers] == [
                (0, (), "serving"),
                (1, (), "serving"),
            ]
            assert sum(worker.tasks_done for worker in seen.workers) == 1
            [busy] = [worker for worker in seen.workers if worker.running]
            assert busy.running is not None
            assert (busy.pid, busy.waiting) == (pid, 0)
            assert (busy.running.id, busy.running.action, busy.running.timeout_s) == (holding.id, "hold", 5.0)
            assert 0 < busy.running.elapsed_s <= busy.busy_s <= busy.age_s
            gate.open()
            responses(daemon, [holding])
            after = status(path)
            assert after.verdicts == {"success": 2, "error": 1, "limit": 0}
            assert [worker.running for worker in after.workers] == [None, None]

    def test_a_daemon_that_drains_says_so(self, here: Path) -> None:
        gate = Gate(here)
        with daemon_of(control_socket=str(here / "c.sock")) as daemon:
            daemon.submit("hold", gate.payload)
            assert gate.pid
            daemon.stop()
            eventually(lambda: status(here / "c.sock").state == "draining")
            assert status(here / "c.sock").in_flight == 1
            gate.open()
        assert not (here / "c.sock").exists()

    def test_neither_the_token_nor_a_payload_is_in_any_reply(self, here: Path) -> None:
        gate = Gate(here, "gate-of-the-payload")
        with daemon_of(control_socket=str(here / "c.sock"), hub_auth_token="t0p-s3cret-token") as daemon:
            holding = daemon.submit("hold", gate.payload, {"key": "of-the-account"})
            assert gate.pid
            said = raw(here / "c.sock", GetStatus()) + raw(here / "c.sock", GetLimits())
            for secret in (b"s3cret", b"of-the-payload", b"of-the-account"):
                assert secret not in said
            assert holding.id.encode() in said
            gate.open()


class TestLimits:
    def test_it_tells_every_limit_who_holds_what_and_what_was_turned_away(self, here: Path) -> None:
        (here / "limited.py").write_text(LIMITED)
        with daemon_of(here / "limited.py", control_socket=str(here / "c.sock")) as daemon:
            answered = [daemon.run("echo", {}).status for _ in range(3)]
            assert answered == ["success", "success", "limit"]
            reply = control.ask(here / "c.sock", GetLimits(), LimitsReply)
        limits = {limit.name: limit for limit in reply.limits}
        assert reply.provider == "limited"
        assert {(limit.scope, limit.at_limit) for limit in limits.values()} == {
            ("provider", "reject"),
            ("action", "reject"),
            ("by hand", "wait"),
        }
        [provider] = [limit for limit in limits.values() if limit.scope == "provider"]
        assert (provider.usage, provider.rejections) == (1.0, 1)
        assert provider.rate == pytest.approx(2 / 3600)
        assert [(each.worker, each.spent, each.held) for each in provider.holdings] == [(0, 2, 0)]
        [rejection] = provider.last_rejections
        assert rejection.worker == 0
        assert 3590 < rejection.wait_time <= 3600
        assert 0 <= rejection.ago_s < 10
        assert [limit.actions for limit in limits.values() if limit.scope == "action"] == [["rare"]]
        assert (limits["api"].usage, limits["api"].rejections) == (0.0, 0)


class TestSocket:
    def test_it_is_private_and_gone_at_the_end(self, here: Path) -> None:
        with daemon_of(control_socket="auto", runtime_dir=str(here / "run")):
            directory, path = here / "run", here / "run" / "zoo.sock"
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(directory.iterdir()) == []

    def test_two_daemons_of_one_provider_have_two(self, here: Path) -> None:
        with (
            daemon_of(control_socket="auto", runtime_dir=str(here)),
            daemon_of(control_socket="auto", runtime_dir=str(here)),
        ):
            workers = {status(here / name).workers[0].pid for name in ("zoo.sock", "zoo@2.sock")}
            assert len(workers) == 2

    def test_off_is_off(self, here: Path) -> None:
        with daemon_of(control_socket="off", runtime_dir=str(here)) as daemon:
            assert daemon.run("echo", {}).status == "success"
            assert list(here.iterdir()) == []

    def test_a_directory_that_cannot_be_used_costs_the_socket_only(self, here: Path) -> None:
        (here / "file").touch()
        with daemon_of(control_socket="auto", runtime_dir=str(here / "file")) as daemon:
            assert daemon.run("echo", {}).status == "success"

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("missing/c.sock", os.strerror(errno.ENOENT)), ("taken", "another process listens there, or it is no")],
    )
    def test_a_socket_that_was_asked_for_and_cannot_be_is_a_wrong_setting(
        self, here: Path, name: str, reason: str
    ) -> None:
        (here / "taken").touch()
        with (
            pytest.raises(ConfigError, match=f"control.socket .*{name}: .*{reason}"),
            daemon_of(control_socket=str(here / name)),
        ):
            pass
        assert (here / "taken").exists()


class TestProcess:
    """The whole daemon as an operator runs it, and the commands."""

    @pytest.fixture
    def env(self, here: Path) -> dict[str, str]:
        return {"ARBD_RUNTIME_DIR": str(here / "run"), "PROVIDER_AUTH_TOKEN": "t0p-s3cret-token"}

    @pytest.fixture
    def daemon(self, here: Path, env: dict[str, str]) -> Iterator[Arbd]:
        (here / "a").mkdir()
        with self.start(here / "a", env) as daemon:
            daemon.wait_event("started")
            yield daemon

    def start(self, directory: Path, env: dict[str, str]) -> Arbd:
        # No hub listens there: what a daemon tells about itself does not depend on one.
        return Arbd.run("127.0.0.1:9", directory, workers=1, env=env)

    def command(self, directory: Path, env: dict[str, str], *arguments: str) -> tuple[int, str, str]:
        directory.mkdir(exist_ok=True)
        with Arbd(["-m", "arbd", *arguments], directory, env) as process:
            code = process.exit_code()
        return code, process.out.read_text(), process.log.read_text()

    def test_arbd_status_and_arbd_limits_ask_it(self, here: Path, env: dict[str, str], daemon: Arbd) -> None:
        code, out, err = self.command(here / "b", env, "status")
        assert (code, err) == (0, "")
        assert out.startswith("prov  ")
        assert f"(pid {daemon.process.pid}, arbd " in out
        code, out, _ = self.command(here / "b", env, "status", "prov", "--json")
        report = msgspec.json.decode(out, type=StatusReport)
        assert (code, report.pid, report.provider) == (0, daemon.process.pid, "prov")
        code, out, _ = self.command(here / "b", env, "limits", "--json")
        assert (code, json.loads(out)) == (0, {"provider": "prov", "limits": []})
        assert "s3cret" not in out + daemon.log.read_text()

    def test_a_daemon_of_the_user_s_own_units_is_found(self, here: Path) -> None:
        """As ``install-units --user`` has it: systemd makes ``RuntimeDirectory=arbd/%i`` in ``$XDG_RUNTIME_DIR``."""
        directory = here / "x/arbd/mine"
        directory.mkdir(parents=True, mode=0o700)
        (here / "a").mkdir()
        session = {"XDG_RUNTIME_DIR": str(here / "x")}
        with self.start(here / "a", {**session, "RUNTIME_DIRECTORY": str(directory)}) as daemon:
            daemon.wait_event("started")
            code, out, err = self.command(here / "b", session, "status", "prov", "--json")
            assert (code, err) == (0, "")
            assert json.loads(out)["pid"] == daemon.process.pid

    def test_arbd_limits_watches_until_it_is_interrupted(self, here: Path, env: dict[str, str], daemon: Arbd) -> None:
        (here / "b").mkdir()
        with Arbd(["-m", "arbd", "limits", "--watch", "--json"], here / "b", env) as watching:
            eventually(lambda: watching.out.read_text().count("\n") >= 2)
            watching.signal(signal.SIGINT)
            assert (watching.exit_code(), watching.log.read_text()) == (0, "")
        assert set(watching.out.read_text().splitlines()) == {'{"provider":"prov","limits":[]}'}

    def test_no_daemon_and_the_wrong_one(self, here: Path, env: dict[str, str], daemon: Arbd) -> None:
        code, out, err = self.command(here / "b", env, "status", "other")
        assert (code, out, err) == (1, "", "arbd: no daemon of provider 'other' is running; there is prov\n")
        code, _, err = self.command(here / "b", {"ARBD_RUNTIME_DIR": str(here / "empty")}, "status")
        assert code == 1
        assert err.startswith("arbd: no daemon is running (looked into ")

    def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(
        self, here: Path, env: dict[str, str], daemon: Arbd
    ) -> None:
        path = here / "run" / "prov.sock"
        daemon.signal(signal.SIGKILL)
        daemon.exit_code()
        eventually(lambda: not is_listening(path))
        with pytest.raises(ControlError, match="its daemon has ended"):
            status(path)
        (here / "c").mkdir()
        with self.start(here / "c", env) as successor:
            [started] = successor.wait_event("started")
            assert started["control"] == str(path)
            assert status(path).pid == successor.process.pid
            successor.signal(signal.SIGTERM)
            assert successor.exit_code() == 0
        assert list((here / "run").iterdir()) == []

    def test_a_daemon_that_is_stopped_does_not_hang_who_asks(self, here: Path, daemon: Arbd) -> None:
        daemon.signal(signal.SIGSTOP)
        with pytest.raises(ControlError, match=r"did not answer within 0\.2 s"):
            control.ask(here / "run" / "prov.sock", GetStatus(), StatusReply, timeout_s=0.2)
        daemon.signal(signal.SIGCONT)
        assert status(here / "run" / "prov.sock").provider == "prov"

    def test_a_directory_that_cannot_be_used_is_a_warning(self, here: Path, env: dict[str, str]) -> None:
        (here / "run").mkdir()
        (here / "run").chmod(0o777)
        with self.start(here, env) as daemon:
            [warning] = daemon.wait_event("no_control_socket")
            assert "others can write" in warning["reason"]
            [started] = daemon.wait_event("started")
            assert started["control"] is None

    def test_a_socket_that_was_asked_for_and_cannot_be_ends_the_daemon(self, here: Path, env: dict[str, str]) -> None:
        with self.start(here, {**env, "ARBD_CONTROL_SOCKET": str(here / "no" / "c.sock")}) as daemon:
            assert daemon.exit_code() == EXIT_CONFIG
        assert "control.socket" in daemon.log.read_text()
