"""A reload puts every reloadable setting in force where it is used, and names every other one that has changed; what is
wrong changes nothing. One table goes through all settings there are."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Arbd, Hub, daemon_of, eventually, flow, on_loop
from rotation_support import Authority

from arbd.hub.memory import MemoryLink
from arbd.settings.table import BY_NAME, REDACTED, TABLE
from arbd.supervisor.reload_outcome import ReloadOutcome, SettingChange
from arbd.testing import RunningProvider

CODE = """
import os, sys
import msgspec
from arbd import Provider

provider = Provider(name="told", hub_url="hub:1")


@provider.actions.register(name="told")
def told():
    frame = sys._getframe()
    while "configure" not in frame.f_locals:  # arbd.worker.main.run, far below
        frame = frame.f_back
    return {{
        "configure": msgspec.to_builtins(frame.f_locals["configure"]),
        "spawn": msgspec.to_builtins(frame.f_locals["spawn"]),
        "timezone": provider.timezone,
        "execution_timeout": provider.execution_timeout,
        "variable": os.environ.get("MY_OWN_VARIABLE"),
        "token": os.environ.get("PROVIDER_AUTH_TOKEN"),
    }}
{more}
"""


class Desk:
    """A daemon whose settings come from an environment file. ``renewals``: what its link was told of."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.env_file = directory / "told.env"
        self.target = directory / "told.py"
        self.renewals: list[Any] = []
        self.write_code()
        self.write({})
        monkeypatch.setattr(MemoryLink, "renew", lambda link, settings, options: self.renewals.append(options))

    def write(self, variables: dict[str, str]) -> None:
        said = {"ARBD_LOG_LEVEL": "critical", **variables}
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in said.items()))

    def write_code(self, more: str = "") -> None:
        self.target.write_text(CODE.format(more=more))

    def reload(self, daemon: RunningProvider) -> ReloadOutcome:
        """Reload; how that ended."""
        generations = daemon.daemon._generations
        assert generations is not None
        return asyncio.run_coroutine_threadsafe(generations.reloaded(), daemon._loop).result(60)

    def told(self, daemon: RunningProvider) -> Any:
        """What a worker of the newest generation has been told."""
        data = daemon.run("told").data
        return data.get("response", data)  # in its envelope, where that is asked for


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


@pytest.fixture
def daemon(desk: Desk) -> Iterator[RunningProvider]:
    with daemon_of(desk.target, env_file=str(desk.env_file)) as daemon:
        flags = daemon.daemon._request.flags
        for name in list(flags):  # they would win over the file
            if name != "env_file":
                del flags[name]
        yield daemon


class Seen:
    """What the parts of a daemon go by after the reload."""

    def __init__(self, desk: Desk, daemon: RunningProvider) -> None:
        self.told = desk.told(daemon)
        self.worker = self.told["configure"]
        self.spawn = self.told["spawn"]
        self.log = self.worker["log"]
        self.link = desk.renewals[-1]
        self.daemon: Any = daemon.daemon
        self.flow = flow(daemon)
        self.pool = daemon.daemon.pool
        sent: Any = self.flow.on_sent  # recycling's, around the watch's
        self.watch = sent.__self__._sent_before.__self__


Probe = Callable[[Seen], Any]
RELOADS: dict[str, tuple[str, Any, tuple[Probe, ...]]] = {
    # setting: what the file says, what that is, and the places that must go by it
    "timezone": ("Asia/Tokyo", "Asia/Tokyo", (lambda s: s.worker["timezone"], lambda s: s.told["timezone"])),
    "execution_timeout": (
        "7",
        7.0,
        (lambda s: s.worker["execution_timeout"], lambda s: s.told["execution_timeout"], lambda s: s.flow.shortest_s),
    ),
    "kill_grace": ("0.5", 0.5, (lambda s: s.watch._deadlines._grace_ns / 1e9,)),
    "drain_timeout": ("11", 11.0, (lambda s: s.daemon.settings.drain_timeout,)),
    "prefetch": ("17", 17, (lambda s: s.flow.dispatcher._prefetch,)),
    "max_payload": (
        "2MiB",
        2 << 20,
        (lambda s: s.flow.admission.max_payload, lambda s: (s.link.max_receive - 65536) // 4),
    ),
    "max_result": (
        "5MiB",
        5 << 20,
        (lambda s: s.worker["max_result"], lambda s: s.flow._largest_result),
    ),
    "outbox_limit": ("123", 123, (lambda s: s.flow._settings.outbox_limit,)),
    "worker.start_timeout": ("12", 12.0, (lambda s: s.worker["start_timeout"], lambda s: s.pool._lives.times.start_s)),
    "worker.stop_timeout": (
        "3",
        3.0,
        (
            lambda s: s.worker["stop_timeout"],
            lambda s: s.pool._lives.times.stop_s,
            lambda s: s.daemon._drain.stop_timeout,
        ),
    ),
    "worker.reseed": ("no", False, (lambda s: s.worker["reseed"],)),
    "worker.max_tasks": (
        "1000",
        1000,
        (lambda s: s.pool.recycle.max_tasks, lambda s: 1000 if 900 <= s.spawn["max_tasks"] <= 1000 else s.spawn),
    ),
    "worker.max_age": ("1h", 3600.0, (lambda s: s.pool.recycle.max_age_s,)),
    "worker.max_memory": ("8GiB", 8 << 30, (lambda s: s.pool.recycle.max_memory,)),
    "worker.max_fds": ("500", 500, (lambda s: s.pool.recycle.max_fds,)),
    "worker.memory_limit": (
        "9GiB",
        9 << 30,
        (lambda s: s.pool.recycle.memory_limit, lambda s: s.spawn["memory_limit"]),
    ),
    "worker.core_files": ("yes", True, (lambda s: s.daemon.settings.worker_core_files,)),
    "hub.require_tls": ("yes", True, (lambda s: s.daemon.settings.hub_require_tls,)),
    "hub.auth_token": (
        "the-new-token",
        "the-new-token",
        (lambda s: s.link.token, lambda s: s.daemon.settings.hub_auth_token),
    ),
    "hub.tls": ("on", True, (lambda s: s.link.tls,)),
    "hub.tls_ca": ("CA", "CA", (lambda s: s.link.tls_options.ca,)),
    "hub.tls_cert": ("CERT", "CERT", (lambda s: s.link.tls_options.cert,)),
    "hub.tls_key": ("KEY", "KEY", (lambda s: s.link.tls_options.key,)),
    "hub.long_poll": ("21", 21.0, (lambda s: s.link.long_poll_s,)),
    "hub.submit_timeout": ("22", 22.0, (lambda s: s.link.submit_timeout_s,)),
    "response.envelope": ("metadata", "metadata", (lambda s: s.worker["envelope"],)),
    "result.nan": ("null", "null", (lambda s: s.worker["nan"],)),
    "log.level": ("error", "error", (lambda s: s.log["level"],)),
    "log.format": ("json", "json", (lambda s: s.log["format"],)),
    "log.silent": ("yes", True, (lambda s: s.log["silent"],)),
}
ELSEWHERE = {"hub.auth_token_file", "env_file"}  # shown in tests of their own, below
RESTARTS: dict[str, tuple[str, Any]] = {
    "name": ("other", "other"),
    "target": ("other.py", "other.py"),
    "workers": ("3", 3),
    "pin": ("yes", True),
    "ring_size": ("1MiB", 1 << 20),
    "worker.cpus": ("2", 2),
    "runtime_dir": ("/other", "/other"),
    "state_dir": ("/other", "/other"),
    "control.socket": ("/other.sock", "/other.sock"),
    "metrics.listen": ("127.0.0.1:1", "127.0.0.1:1"),
    "metrics.author_series": ("7", 7),
    "tracing": ("otel", "otel"),
    "hub.url": ("other:1", "other:1"),
    "hub.protocol": ("unary", "unary"),
    "hub.start_without": ("yes", True),
    "hub.links": ("2", 2),
    "hub.max_polls": ("3", 3),
    "hub.max_submits": ("4", 4),
    "hub.idle_min": ("0.5", 0.5),
    "hub.idle_max": ("9", 9.0),
}


def test_the_tables_here_have_every_setting() -> None:
    """Whoever adds a setting says here whether it reloads, and shows where."""
    assert {s.name for s in TABLE if s.reloadable} == set(RELOADS) | ELSEWHERE
    assert {s.name for s in TABLE if not s.reloadable} == set(RESTARTS)


def test_every_reloadable_setting_is_in_force_where_it_is_used(
    desk: Desk, daemon: RunningProvider, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "ca")
    cert, key = authority.issue("one")
    files = {"CA": authority.pem, "CERT": cert, "KEY": key}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    said = {BY_NAME[name].variable: value for name, (value, _, _) in RELOADS.items()}
    for name in ("tls_ca", "tls_cert", "tls_key"):
        said[f"ARBD_HUB_{name.upper()}"] = str(tmp_path / RELOADS[f"hub.{name}"][0])
    desk.write(said)
    outcome = desk.reload(daemon)
    assert outcome.failed == ""
    assert set(outcome.applied) == set(RELOADS)
    assert outcome.applied["hub.auth_token"] == SettingChange("", REDACTED)
    assert outcome.applied["execution_timeout"] == SettingChange(1.0, 7.0)
    seen = Seen(desk, daemon)
    for name, (_, value, probes) in RELOADS.items():
        expected = files.get(value, value) if isinstance(value, str) else value
        assert [probe(seen) for probe in probes] == [expected] * len(probes), name
        default = BY_NAME[name].default
        assert default != value, f"{name}: this shows nothing"
    assert seen.told["token"] == "arbd-redacte"[: len("the-new-token")] + "d"  # a stand-in, as at the start


def test_every_other_setting_is_named_and_stays_as_it_was(desk: Desk, daemon: RunningProvider) -> None:
    before = daemon.daemon.settings
    at_first = {name: getattr(before, BY_NAME[name].attribute) for name in RESTARTS}
    desk.write({BY_NAME[name].variable: value for name, (value, _) in RESTARTS.items()})
    # The constructor's name and hub win over a file.
    desk.target.write_text(desk.target.read_text().replace('"told", hub_url="hub:1"', '"other", hub_url="other:1"', 1))
    outcome = desk.reload(daemon)
    assert (outcome.failed, outcome.applied) == ("", {})
    assert outcome.needs_restart == {name: SettingChange(at_first[name], new) for name, (_, new) in RESTARTS.items()}
    assert daemon.daemon.settings == before
    assert desk.told(daemon)["configure"]["name"] == "told"


def test_wrong_settings_change_nothing_and_all_of_them_are_listed(desk: Desk, daemon: RunningProvider) -> None:
    before, pids = daemon.daemon.settings, daemon.worker_pids
    desk.write({"TASK_EXECUTION_TIMEOUT": "soon", "ARBD_PREFETCH": "-1", "ARBD_KILL_GRACE": "1", "ARBD_NO_SUCH": "1"})
    with desk.env_file.open("a") as file:
        file.write("my secret, and no pair\n")
    outcome = desk.reload(daemon)
    for part in ("TASK_EXECUTION_TIMEOUT", "ARBD_PREFETCH", "ARBD_NO_SUCH", "line 6 is not NAME=VALUE"):
        assert part in outcome.failed
    assert "my secret" not in outcome.failed
    assert (daemon.daemon.settings, daemon.worker_pids) == (before, pids)


def test_code_that_does_not_load_or_boot_changes_no_setting(desk: Desk, daemon: RunningProvider) -> None:
    before = daemon.daemon.settings
    recycle = daemon.daemon.pool.recycle
    desk.write({"ARBD_KILL_GRACE": "1", "ARBD_WORKER_MAX_TASKS": "77", "TASK_EXECUTION_TIMEOUT": "3"})
    for more, reason in (
        ("raise RuntimeError('half deployed')", "half deployed"),
        ("os.register_at_fork(after_in_child=lambda: os._exit(9))", "its workers cannot boot"),
    ):
        desk.write_code(more)
        outcome = desk.reload(daemon)
        assert outcome.failed
        assert reason in outcome.failed
        assert daemon.daemon.settings == before
        assert on_loop(daemon, lambda: daemon.daemon.pool.recycle) == recycle
        assert desk.told(daemon)["execution_timeout"] == 1.0
    desk.write_code()
    assert set(desk.reload(daemon).applied) == {"kill_grace", "worker.max_tasks", "execution_timeout"}


def test_a_token_file_that_is_named_by_a_reload_is_read(desk: Desk, daemon: RunningProvider, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("token-of-a-file\n")
    desk.write({"ARBD_HUB_AUTH_TOKEN_FILE": str(token), "MY_OWN_VARIABLE": "seen by the code"})
    outcome = desk.reload(daemon)
    assert set(outcome.applied) == {"hub.auth_token", "hub.auth_token_file"}
    assert desk.renewals[-1].token == "token-of-a-file"
    assert desk.told(daemon)["variable"] == "seen by the code"
    token.write_text("another-token")
    eventually(lambda: desk.renewals[-1].token == "another-token")
    assert desk.reload(daemon).applied == {}


def test_another_environment_file_is_read_by_the_reload_that_names_it(
    desk: Desk, daemon: RunningProvider, tmp_path: Path
) -> None:
    other = tmp_path / "other.env"
    other.write_text("ARBD_PREFETCH=3\nARBD_LOG_LEVEL=critical\n")
    daemon.daemon._request.flags["env_file"] = str(other)
    outcome = desk.reload(daemon)
    assert outcome.applied == {
        "prefetch": SettingChange(256, 3),
        "env_file": SettingChange(str(desk.env_file), str(other)),
    }


def test_a_zygote_that_dies_is_replaced_though_the_settings_are_half_edited(
    desk: Desk, daemon: RunningProvider
) -> None:
    """Nobody asked for what is in the file; nor does it keep the daemon from starting workers again."""
    before = daemon.daemon.settings
    desk.write({"ARBD_PREFETCH": "no number"})
    zygote: Any = daemon.daemon.pool.zygote
    zygote._process.kill()
    eventually(lambda: daemon.daemon.pool.zygote is not zygote)
    assert desk.told(daemon)["execution_timeout"] == 1.0
    assert daemon.daemon.settings == before


def test_sighup_changes_the_log_of_every_process_and_says_what_changed(tmp_path: Path) -> None:
    env_file = tmp_path / "told.env"
    env_file.write_text("TASK_EXECUTION_TIMEOUT=2\nPROVIDER_AUTH_TOKEN=the-first-token\n")
    target = tmp_path / "told.py"
    target.write_text(CODE.format(more=""))
    command = ["-m", "arbd", "run", str(target), "--env-file", str(env_file), "--no-pin", "--workers", "1"]
    with Hub() as hub, Arbd([*command, "--hub", hub.address, "--log-format", "json"], tmp_path) as arbd:
        arbd.wait_event("hub_connected")
        env_file.write_text(
            "TASK_EXECUTION_TIMEOUT=3\nPROVIDER_AUTH_TOKEN=the-second-token\nARBD_LOG_LEVEL=debug\nARBD_HUB_LINKS=3\n"
        )
        arbd.signal(signal.SIGHUP)
        [line] = arbd.wait_event("reloaded")
        assert line["settings"] == {
            "execution_timeout": [2.0, 3.0],
            "hub.auth_token": [REDACTED, REDACTED],
            "log.level": ["info", "debug"],
        }
        [line] = arbd.wait_event("setting_needs_restart")
        assert (line["level"], line["setting"], line["old"], line["new"]) == ("warning", "hub.links", 0, 3)
        arbd.signal(signal.SIGHUP)
        arbd.wait_event("worker_ready")  # level debug
        arbd.wait_event("reloaded", 2)
        assert "settings" not in arbd.events("reloaded")[1]
        assert "the-first-token" not in arbd.log.read_text()
        assert "the-second-token" not in arbd.log.read_text()


def test_many_sighups_are_a_few_loads_and_the_last_one_counts(tmp_path: Path) -> None:
    """From its first moment on, and under load: what was written before the last of them is in force at the end."""
    env_file = tmp_path / "told.env"
    env_file.write_text("TASK_EXECUTION_TIMEOUT=2\n")
    target = tmp_path / "told.py"
    target.write_text(CODE.format(more=""))
    command = ["-m", "arbd", "run", str(target), "--env-file", str(env_file), "--no-pin", "--workers", "2"]
    with Hub() as hub, Arbd([*command, "--hub", hub.address, "--log-format", "json"], tmp_path) as arbd:
        arbd.wait_event("started")
        hub.submit("told", {}, count=300)
        for number in range(200):
            env_file.write_text(f"TASK_EXECUTION_TIMEOUT={3 + number}\n")
            arbd.signal(signal.SIGHUP)
        last = eventually(
            lambda: next(
                (each for each in arbd.events("reloaded") if "settings" in each and _last(each) == 202.0), None
            ),
            30.0,
        )
        assert last["level"] == "info"
        assert len(arbd.events("reloaded")) <= 10
        assert {result.status for result in hub.results().values()} == {"success"}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


def _last(line: dict[str, Any]) -> Any:
    return line["settings"]["execution_timeout"][1]
