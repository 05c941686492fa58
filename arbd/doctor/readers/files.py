"""Facts of files: secrets and TLS, what the settings name, and the directories that the daemon writes to."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from arbd.doctor import certificates
from arbd.doctor.case import Case
from arbd.doctor.certificates import Validity
from arbd.doctor.checks.directories import DirectoryFacts
from arbd.doctor.checks.secrets import SecretFacts, SecretFile
from arbd.doctor.checks.settings import NamedFile, SettingFacts
from arbd.doctor.readers import paths, units
from arbd.errors import ConfigError
from arbd.host import runtime_dir
from arbd.links.tls_files import read_tls
from arbd.settings.credentials import SETTING_OF

_PRIVATE: Final = ("hub.auth_token_file", "hub.tls_key")
_WITH_CERTIFICATES: Final = ("hub.tls_ca", "hub.tls_cert")
_MOST: Final = 4 << 20  # bytes of a bundle of authorities; the system's has 220 kB


def setting_facts(case: Case, *, target: str, target_error: str, was_loaded: bool) -> SettingFacts:
    """``target_error``: why what was named on the command line does not load."""
    settings = case.settings
    target = target or settings.target
    if not target_error and target and not was_loaded and _is_file(target):
        target_error = _missing(case, target)
    files = (
        [NamedFile("the settings file", case.config_file, paths.way_to(case.config_file))] if case.config_file else []
    )
    if settings.env_file:
        files.append(NamedFile("env_file", settings.env_file, paths.way_to(settings.env_file)))
    if _is_file(target) and not target_error:
        path = Path(case.directory, target)
        files.append(NamedFile("target", str(path), paths.way_to(path)))
    command = case.unit.last("ExecStart").split() if case.unit is not None else []
    return SettingFacts(
        source=case.source,
        account=case.account,
        problems=case.problems,
        warnings=case.resolved.warnings,
        name=settings.name,
        target=target,
        target_error=target_error,
        target_was_loaded=was_loaded,
        files=files,
        unit=case.unit.name if case.unit is not None and case.is_of_unit else "",
        unit_names_target=any(not word.startswith("-") for word in _arguments(command)),
    )


def secret_facts(case: Case, *, is_local: bool, uses_tls: bool) -> SecretFacts:
    """The secrets that these settings name."""
    settings = case.settings
    problems = [*case.token_problems]
    try:
        read_tls(settings)
    except ConfigError as error:
        problems += error.problems
    problems = [problem for problem in problems if not _is_opaque(case, problem)]
    unseen = [problem for problem in problems if _is_for_others(case, problem)]
    origin = case.resolved.origin["hub.auth_token"]
    in_settings = settings.hub_auth_token_file is None and origin == case.config_file
    has_token = bool(settings.hub_auth_token) or "token" in case.opaque
    return SecretFacts(
        account=case.account,
        has_token=has_token,
        token_origin="an encrypted credential" if not settings.hub_auth_token and has_token else origin,
        files=[*_secret_files(case)],
        problems=[problem for problem in problems if problem not in unseen],
        unseen=unseen,
        pipes=case.pipes,
        readable_settings=case.config_file if in_settings and _others_read(case.config_file) else "",
        uses_tls=uses_tls,
        is_local=is_local,
        now=time.time(),
    )


def directory_facts(case: Case) -> list[DirectoryFacts]:
    """The runtime directory, and the one for what is to outlive a start."""
    settings, account = case.settings, case.account
    runtime = runtime_dir.for_daemon(settings.runtime_dir, case.environ, account.uid)
    found = [_directory(case, "runtime_dir", runtime, "RUNTIME_DIRECTORY")]
    if settings.state_dir:
        found.append(_directory(case, "state_dir", Path(settings.state_dir), "STATE_DIRECTORY"))
    return found


def _directory(case: Case, setting: str, path: Path, variable: str) -> DirectoryFacts:
    path = Path(case.directory, path)
    is_there = path.is_dir()
    nearest = next(each for each in (path, *path.parents) if each.is_dir())
    space = os.statvfs(nearest)
    by_unit = case.is_of_unit and case.environ.get(variable, "") == str(path)
    return DirectoryFacts(
        setting=setting,
        path=str(path),
        here=paths.look(nearest),
        is_there=is_there,
        can_be_made=nearest in (path, path.parent),
        made_by_unit=by_unit,
        is_private=setting == "runtime_dir",
        is_read_only=bool(space.f_flag & os.ST_RDONLY),
        free=space.f_bavail * space.f_frsize if space.f_blocks else None,
        free_files=space.f_favail if space.f_files else None,
    )


def _secret_files(case: Case) -> Iterator[SecretFile]:
    started_at: float | None = None
    if case.copied and case.unit is not None:
        started_at = units.started_at(case.unit, is_user=case.is_user_unit)
    for setting in SETTING_OF.values():
        path: str | None = getattr(case.settings, setting.replace(".", "_"))
        if path is None:
            continue
        is_copied = setting in case.copied
        whole = Path(case.directory, path)
        yield SecretFile(
            setting=setting,
            path=str(whole),
            origin=case.resolved.origin[setting],
            way=paths.way_to(whole),
            is_private=setting in _PRIVATE,
            is_copied=is_copied,
            copied_before_change=is_copied and started_at is not None and _changed_at(whole) > started_at,
            certificates=_certificates(whole) if setting in _WITH_CERTIFICATES else (),
        )


def _certificates(path: Path) -> list[Validity]:
    try:
        if not path.is_file():
            return []  # of a pipe the daemon would find nothing any more
        with path.open("rb") as opened:
            return certificates.in_pem(opened.read(_MOST))
    except OSError:
        return []  # that it cannot be read is told by whoever has to use it


def _changed_at(path: Path) -> float:
    """When this path last came to hold something else: also a file that has kept its older time (``install -p``,
    ``mv``), or a link on the way to it that leads elsewhere now."""
    times = [0.0]
    for each in (path, *path.parents):
        with suppress(OSError):
            if each.is_symlink():
                times.append(each.lstat().st_ctime)
    with suppress(OSError):
        found = path.stat()
        times += [found.st_mtime, found.st_ctime]
    return max(times)


def _others_read(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False


def _is_opaque(case: Case, problem: str) -> bool:
    """Whether it is about a credential that only systemd can decrypt."""
    return any(f"/{name} " in problem for name in case.opaque)


def _is_for_others(case: Case, problem: str) -> bool:
    """Whether whoever asks may not read what the daemon's user, or systemd, may."""
    reason = os.strerror(errno.EACCES)
    return reason in problem and case.is_of_unit and os.geteuid() not in (0, case.account.uid)


def _is_file(target: str) -> bool:
    """Whether a target is a path and no module."""
    return "/" in target or target.partition(":")[0].endswith(".py")


def _missing(case: Case, target: str) -> str:
    path = Path(case.directory, target.rpartition(":")[0] if ".py:" in target else target)
    return "" if path.exists() else f"target is {target}: {path}: {os.strerror(errno.ENOENT)}"


def _arguments(command: list[str]) -> list[str]:
    """The words behind ``run``, without options and their values."""
    if "run" not in command:
        return []
    rest = command[command.index("run") + 1 :]
    return [word for before, word in zip(["", *rest], rest, strict=False) if not before.startswith("--")]
