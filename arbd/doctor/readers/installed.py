"""Facts of the installed unit: its command, its credentials, and what has to be reached from inside its sandbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from arbd.doctor.case import Case, config_of
from arbd.doctor.checks.access import closed_to
from arbd.doctor.checks.sandbox import SandboxFacts
from arbd.doctor.checks.unit import UnitFacts
from arbd.doctor.readers import paths, units
from arbd.doctor.unit_text import Unit
from arbd.wire.grpc_channel import Target


def unit_facts(case: Case, shipped: Callable[[str], bool]) -> UnitFacts:
    """The unit and the settings. ``shipped``: whether a text is that of a unit as another version of arbd wrote it."""
    unit = case.unit
    return UnitFacts(
        unit=unit,
        sought=case.sought,
        settings=case.settings,
        config_file=case.config_file,
        named_config=config_of(unit),
        command_error=_command_error(case, unit) if unit is not None else "",
        sources=case.sources if case.is_of_unit or unit is None else units.credential_sources(unit),
        outdated=unit is not None and shipped(_text(unit.files[0]) if unit.files else ""),
        needs_reload=unit is not None and units.needs_reload(unit, is_user=case.is_user_unit),
        is_user_unit=case.is_user_unit,
        was_named=case.unit_was_named,
        user_is_missing=unit is not None and case.is_of_unit and not case.account.is_known
        and not unit.is_on("DynamicUser"),
    )  # fmt: skip


def sandbox_facts(case: Case, target: str, hub: Target | None) -> SandboxFacts:
    """What has to be reached from inside."""
    settings = case.settings
    is_tcp = hub is not None and not hub.address.startswith("unix")
    return SandboxFacts(
        unit=case.unit,
        pin=settings.pin,
        hub_is_tcp=is_tcp,
        read=[*_read(case, target or settings.target)] if case.is_of_unit else [],
        written=[*_written(case)],
    )


def _read(case: Case, target: str) -> Iterator[tuple[str, str]]:
    unit = case.unit
    command = unit.last("ExecStart").split()[:1] if unit is not None else []
    for word in command:
        yield word.lstrip("@-:+!"), "the command"
    if "/" in target:
        path = target.rpartition(":")[0] if ".py:" in target else target
        yield str(Path(case.directory, path)), "target"
    settings = case.settings
    for name, file in (("env_file", settings.env_file), ("hub.tls_ca", settings.hub_tls_ca),
                       ("hub.tls_cert", settings.hub_tls_cert), ("hub.tls_key", settings.hub_tls_key),
                       ("hub.auth_token_file", settings.hub_auth_token_file)):  # fmt: skip
        if file and name not in case.copied:
            yield str(Path(case.directory, file)), name


def _written(case: Case) -> Iterator[tuple[str, str]]:
    settings = case.settings
    if settings.runtime_dir:
        yield settings.runtime_dir, "runtime_dir"
    if settings.state_dir and case.resolved.origin["state_dir"] != "environment STATE_DIRECTORY":
        yield settings.state_dir, "state_dir"
    if settings.control_socket not in ("auto", "off"):
        yield os.path.dirname(settings.control_socket), "control.socket"


def _command_error(case: Case, unit: Unit) -> str:
    """Why the command of the unit cannot be run; empty if nothing is seen against it."""
    words = unit.last("ExecStart").split()
    if not words:
        return "there is none"
    path = words[0].lstrip("@-:+!")
    if not path.startswith("/"):
        return ""  # systemd looks for it where it looks for commands
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not mode & 0o111:
        return f"{path} may not be executed"
    if case.is_of_unit and case.account.is_known and (closed := closed_to(case.account, paths.way_to(path))):
        return f"user {case.account.name} may not run {path}, as {closed} is closed to it"
    return ""


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
