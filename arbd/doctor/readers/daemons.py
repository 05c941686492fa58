"""The daemons of a provider that run on this machine, asked over their control sockets."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Final

from arbd.control.client import ask
from arbd.control.names import matches, parse
from arbd.control.protocol import GetStatus, StatusReply
from arbd.doctor.case import Case
from arbd.doctor.checks.running import RunningFacts
from arbd.errors import ControlError
from arbd.host import control_socket, runtime_dir

_TIMEOUT_S: Final = 2.0


def running_facts(case: Case) -> RunningFacts:
    """What the daemons of this provider say of themselves."""
    found = RunningFacts(reports=[], version=_version())
    if not case.settings.name:
        return found
    for directory in runtime_dir.for_command(case.settings.runtime_dir, case.environ, case.account.uid):
        try:
            names = sorted(file.name for file in directory.iterdir())
        except OSError:
            continue  # it is not there, or closed to us
        for name in names:
            socket_name = parse(name)
            if socket_name is not None and matches(socket_name, case.settings.name):
                _ask(found, directory / name)
    return found


def _ask(found: RunningFacts, path: Path) -> None:
    try:
        if control_socket.is_listening(path):
            found.reports.append(ask(path, GetStatus(), StatusReply, _TIMEOUT_S).report)
    except (ControlError, OSError) as error:
        found.silent.append(str(error))


def _version() -> str:
    try:
        return metadata.version("arbd")
    except metadata.PackageNotFoundError:
        return ""
