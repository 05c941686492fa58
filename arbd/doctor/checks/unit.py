"""The installed unit of systemd against the settings: times, restarts, limits, credentials. Its sandbox is
``checks.sandbox``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn
from arbd.doctor.unit_text import Unit
from arbd.settings.credentials import SETTING_OF
from arbd.settings.table import Settings

_DEFAULT_STOP_S: Final = 90.0
_LEAVE_S: Final = 1.5  # after worker.stop_timeout, as docs/operate.md says
_CLOSE_S: Final = 15.0  # to give everything back after a drain
_FLUSH_S: Final = 5.0  # for results that wait for the hub, at least
_LEAST_WATCHDOG_S: Final = 5.0
_NOTIFIES: Final = ("notify", "notify-reload")


class UnitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A unit and what it is to fit. ``unit``: ``None`` if none is installed; ``sought``: what was looked for.
    ``config_file``: the settings file that is examined, ``named_config``: the one that the unit names.
    ``command_error``: why what ``ExecStart=`` names cannot be run. ``sources``: for each credential where its source
    was found, empty: nowhere. ``outdated``: it was written by another version of arbd, and nobody has changed it since.
    ``needs_reload``: systemd has not read it again since it was changed. ``user_is_missing``: ``User=`` names nobody of
    this machine. ``was_named``: somebody has asked for this very unit."""

    unit: Unit | None
    sought: str
    settings: Settings
    config_file: str = ""
    named_config: str = ""
    command_error: str = ""
    sources: Mapping[str, str] = {}
    outdated: bool = False
    needs_reload: bool = False
    is_user_unit: bool = False
    user_is_missing: bool = False
    was_named: bool = False


def check_unit(facts: UnitFacts) -> Iterator[Finding]:
    """Whether systemd treats the daemon as its settings want."""
    unit = facts.unit
    if unit is None:
        yield _none(facts)
        return
    checks = (_start, _stop, _watchdog, _restarts, _credentials, _state)
    findings = [finding for check in checks for finding in check(unit, facts)]
    yield from findings
    if all(finding.level == "ok" for finding in findings):
        yield ok("unit", f"{unit.name} fits the settings ({', '.join(unit.files)})")


def _none(facts: UnitFacts) -> Finding:
    if not facts.was_named:
        what = f"{facts.sought}: not installed, so there is nothing to compare; arbd install-units writes one"
        return ok("unit", what)
    return fail(
        "unit",
        f"{facts.sought}: there is no such unit",
        "there is nothing to compare the settings with",
        "correct --unit: a name such as arbd@prices, or a file; arbd install-units writes one",
    )


def stop_needs_s(settings: Settings) -> tuple[float, float]:
    """How long a stop may take: until the last task has its verdict and its worker has ended, and until all is given
    back."""
    tasks = settings.drain_timeout + max(settings.worker_stop_timeout, _FLUSH_S) + _LEAVE_S
    return tasks, tasks + _CLOSE_S


def _start(unit: Unit, facts: UnitFacts) -> Iterator[Finding]:
    if facts.command_error:
        yield fail(
            "unit.command",
            f"ExecStart= of {unit.name}: {facts.command_error}",
            "systemd cannot start it (status 203)",
            "arbd install-units writes the path of this arbd; or correct it in a drop-in",
        )
    named = facts.named_config
    if facts.config_file and named and named != facts.config_file:
        yield warn(
            "unit.settings",
            f"{unit.name} starts arbd with --config {named}, and {facts.config_file} was examined",
            "what is said here does not hold for that daemon",
            f"arbd doctor --config {named}",
        )
    kind = unit.last("Type", "simple")
    if kind not in _NOTIFIES:
        yield warn(
            "unit.type",
            f"Type= of {unit.name} is {kind}",
            "systemd takes it for started before its workers and the hub are there, and a drain gets no more time than "
            "TimeoutStopSec=",
            "Type=notify, NotifyAccess=main",
        )
    elif unit.last("NotifyAccess") == "none":
        yield fail(
            "unit.notify_access",
            f"NotifyAccess= of {unit.name} is none",
            "systemd does not hear that the daemon is ready, and ends it after TimeoutStartSec=",
            "NotifyAccess=main",
        )
    if facts.user_is_missing:
        yield fail(
            "unit.user",
            f"User= of {unit.name} is {unit.last('User')}, and there is no such user",
            "systemd cannot start it (status 217)",
            "systemd-sysusers arbd.conf, after arbd install-units",
        )
    if unit.last("User", "") in ("", "root", "0") and not facts.is_user_unit and not unit.is_on("DynamicUser"):
        yield warn(
            "unit.user",
            f"{unit.name} runs as root",
            "your code, and whoever breaks into it, may do everything on this machine",
            "User=arbd and Group=arbd, as arbd install-units has it",
        )


def _stop(unit: Unit, facts: UnitFacts) -> Iterator[Finding]:
    tasks_s, whole_s = stop_needs_s(facts.settings)
    given_s = unit.seconds("TimeoutStopSec", unit.seconds("TimeoutSec", _DEFAULT_STOP_S)) or math.inf
    needs = (
        f"drain_timeout ({facts.settings.drain_timeout:g} s) and worker.stop_timeout "
        f"({facts.settings.worker_stop_timeout:g} s)"
    )
    written = "" if unit.last("TimeoutStopSec") else ", the default,"
    what = (
        f"TimeoutStopSec={given_s:g}{written} of {unit.name} is shorter than a stop may take: {needs} and what follows"
    )
    remedy = f"TimeoutStopSec={math.ceil(whole_s)} in a drop-in, or a shorter drain_timeout"
    if given_s <= tasks_s:
        why = "systemd kills the daemon with tasks under way; those are done again elsewhere, or never"
        yield fail("unit.stop_timeout", what, why, remedy)
    elif given_s < whole_s:
        why = "tasks have their verdicts by then, but what is given back at the end may be cut short"
        yield warn("unit.stop_timeout", what, why, remedy)
    mode = unit.last("KillMode", "control-group")
    if mode in ("process", "none"):
        yield fail(
            "unit.kill_mode",
            f"KillMode= of {unit.name} is {mode}",
            "what is left when the supervisor was killed goes on running, beside the next start",
            "KillMode=mixed",
        )
    if (signal := unit.last("KillSignal", "SIGTERM")) not in ("SIGTERM", "15", "SIGINT", "2"):
        yield fail(
            "unit.kill_signal",
            f"KillSignal= of {unit.name} is {signal}",
            "a stop begins with SIGTERM; another signal drains nothing",
            "remove the line",
        )


def _watchdog(unit: Unit, _: UnitFacts) -> Iterator[Finding]:
    watchdog_s = unit.seconds("WatchdogSec", 0.0)
    if watchdog_s in (0.0, math.inf):
        yield warn(
            "unit.watchdog",
            f"{unit.name} has no WatchdogSec=",
            "a daemon that stands still is not noticed, and not started again",
            "WatchdogSec=30s",
        )
    elif watchdog_s < _LEAST_WATCHDOG_S:
        yield warn(
            "unit.watchdog",
            f"WatchdogSec= of {unit.name} is {watchdog_s:g} s",
            "on a busy machine a healthy daemon misses a ping of 5 s or less, and is killed with its tasks",
            "WatchdogSec=30s",
        )


def _restarts(unit: Unit, _: UnitFacts) -> Iterator[Finding]:
    restart = unit.last("Restart", "no")
    if restart in ("no", "on-success"):
        yield warn(
            "unit.restart",
            f"Restart= of {unit.name} is {restart}",
            "a daemon that fails, is killed or stands still stays away",
            "Restart=on-failure",
        )
    elif "78" not in unit.words("RestartPreventExitStatus") and "CONFIG" not in unit.words("RestartPreventExitStatus"):
        yield warn(
            "unit.restart_loop",
            f"{unit.name} is started again after exit code 78 as well",
            "wrong settings do not mend themselves: it fails until the start limit is met",
            "RestartPreventExitStatus=2 70 78",
        )
    if unit.last("OOMPolicy", "stop") != "continue":
        yield warn(
            "unit.oom_policy",
            f"OOMPolicy= of {unit.name} is {unit.last('OOMPolicy', 'stop')}",
            "when the kernel kills one worker for want of memory, systemd ends the whole daemon",
            "OOMPolicy=continue",
        )


def _credentials(unit: Unit, facts: UnitFacts) -> Iterator[Finding]:
    for value in (*unit.all("LoadCredential"), *unit.all("LoadCredentialEncrypted")):
        name, _, place = value.partition(":")
        if place.startswith("/") and not facts.sources.get(name):
            yield fail(
                "unit.credential",
                f"LoadCredential= of {unit.name}: there is no {place}",
                "systemd cannot start it (status 243); only what has no path may be missing",
                f"put it there (root's, mode 0600), or name it arbd.%i.{name} and put it into /etc/credstore",
            )
    passed = {
        value.partition(":")[0]
        for name in (
            "LoadCredential",
            "LoadCredentialEncrypted",
            "SetCredential",
            "SetCredentialEncrypted",
            "ImportCredential",
        )
        for value in unit.all(name)
    }
    for setting in SETTING_OF.values():
        path = getattr(facts.settings, setting.replace(".", "_")) or ""
        wanted = path.rpartition("/")[2] if "CREDENTIALS_DIRECTORY" in path else ""
        if wanted and wanted not in passed:
            yield fail(
                "unit.credential",
                f"{setting} is {path}, and {unit.name} passes no credential of that name",
                "the daemon does not start (exit code 78)",
                f"LoadCredential={wanted}:/path in a drop-in, or another file in {setting}",
            )


def _state(unit: Unit, facts: UnitFacts) -> Iterator[Finding]:
    if facts.outdated:
        yield warn(
            "unit.outdated",
            f"{unit.files[0]} was written by another version of arbd",
            "what this version expects of its unit may be missing there",
            "arbd install-units && systemctl daemon-reload",
        )
    if facts.needs_reload:
        yield warn(
            "unit.daemon_reload",
            f"{unit.name} has changed, and systemd has not read it again",
            "the next start is still by the old text",
            "systemctl daemon-reload",
        )
    if not facts.is_user_unit and not unit.words("RuntimeDirectory") and not facts.settings.runtime_dir:
        yield warn(
            "unit.runtime_directory",
            f"{unit.name} has no RuntimeDirectory=",
            "the control socket goes below /tmp, where arbd status does not find it",
            "RuntimeDirectory=arbd/%i",
        )
