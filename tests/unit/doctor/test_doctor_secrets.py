"""The token and the TLS files: there, closed to others, open to the daemon's user, and good for a while."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import Any

import pytest

from arbd.doctor.certificates import Validity
from arbd.doctor.checks.access import PathFacts, ServiceUser, closed_to, may
from arbd.doctor.checks.secrets import SecretFacts, SecretFile, check_secrets
from arbd.doctor.findings import Finding

NOW = 1_796_040_181.0
DAY_S = 86_400
ARBD = ServiceUser("arbd", 990, frozenset({990, 5}))
DIRECTORY, FILE = stat.S_IFDIR, stat.S_IFREG


def way(*modes: int, uid: int = 0, gid: int = 0) -> list[PathFacts]:
    """Directories and at last a file, with these modes."""
    places = [PathFacts(f"/{number}", uid, gid, DIRECTORY | mode) for number, mode in enumerate(modes[:-1])]
    return [*places, PathFacts("/file", uid, gid, FILE | modes[-1])]


def check(**changed: Any) -> dict[str, str]:
    facts = {"user": ARBD, "has_token": True, "token_origin": "file /token", "now": NOW}
    return {finding.check: finding.level for finding in found(**{**facts, **changed}) if finding.level != "ok"}


def found(user: ServiceUser, **facts: Any) -> Sequence[Finding]:
    return [*check_secrets(SecretFacts(account=user, **facts))]


def file(setting: str = "hub.auth_token_file", **changed: Any) -> SecretFile:
    facts: dict[str, Any] = {"way": way(0o755, 0o600, uid=990), "is_private": True, **changed}
    return SecretFile(setting=setting, path="/file", origin="arbd.toml", **facts)


def certificate(starts_in: float, ends_in: float) -> Validity:
    """One that is good for so many days from now."""
    return Validity(NOW + starts_in * DAY_S, NOW + ends_in * DAY_S, "hub")


# -- who may read ---------------------------------------------------------------------------------------------------


def test_root_may_read_everything() -> None:
    assert closed_to(ServiceUser("root", 0), way(0o700, 0o000)) == ""
    assert may(ServiceUser("root", 0), PathFacts("/x"), 7)


@pytest.mark.parametrize(("modes", "gid", "closed"), [
    ((0o755, 0o644), 0, ""),
    ((0o755, 0o640), 5, ""),
    ((0o750, 0o640), 5, ""),
    ((0o750, 0o644), 0, "/0"),
    ((0o755, 0o600), 0, "/file"),
    ((0o711, 0o604), 0, ""),
    ((0o705, 0o640), 5, "/0"),  # the group's bits count for who is in it, though others have more
])  # fmt: skip
def test_each_directory_on_the_way_counts(modes: tuple[int, ...], gid: int, closed: str) -> None:
    assert closed_to(ARBD, way(*modes, gid=gid)) == closed


def test_the_owner_s_bits_count_for_the_owner() -> None:
    assert closed_to(ARBD, way(0o755, 0o044, uid=990)) == "/file"


# -- the token ------------------------------------------------------------------------------------------------------


def test_a_token_in_a_file_of_its_own_is_well() -> None:
    assert check(files=[file()]) == {}


@pytest.mark.parametrize(("changed", "problems"), [
    ({"has_token": False, "token_origin": "default"}, {"secrets.token": "warn"}),
    ({"is_local": False}, {"secrets.in_clear": "warn"}),
    ({"is_local": False, "uses_tls": True}, {}),
    ({"token_origin": "constructor"}, {"secrets.in_source": "warn"}),
    ({"readable_settings": "/etc/arbd/prices.toml"}, {"secrets.readable_settings": "warn"}),
    ({"has_token": False, "problems": ["hub.auth_token_file /x cannot be read: gone"]}, {"secrets.file": "fail"}),
    ({"problems": ["hub.tls_ca: /ca holds no certificate in PEM form"]}, {"secrets.file": "fail"}),
    ({"has_token": False, "pipes": {"hub.auth_token_file": "/dev/fd/63"}}, {"secrets.pipe": "warn"}),
    ({"has_token": False, "unseen": ["hub.auth_token_file /x cannot be read: closed"]}, {"secrets.unseen": "warn"}),
])  # fmt: skip
def test_what_is_wrong_with_the_token_is_told(changed: dict[str, Any], problems: dict[str, str]) -> None:
    assert check(**changed) == problems


@pytest.mark.parametrize(("changed", "problems"), [
    ({"way": way(0o755, 0o644)}, {"secrets.mode": "warn"}),
    ({"way": way(0o755, 0o620, uid=990)}, {"secrets.mode": "warn"}),
    ({"way": way(0o755, 0o644), "is_private": False}, {}),
    ({"way": way(0o755, 0o640, gid=990)}, {}),
    ({"way": way(0o755, 0o600)}, {"secrets.closed": "warn"}),
    ({"way": way(0o700, 0o600), "is_copied": True}, {}),
    ({"way": [PathFacts("/dev/fd/3", mode=stat.S_IFIFO | 0o666)]}, {}),
    ({"way": [PathFacts("/file", error="gone")]}, {}),
    ({"way": way(0o755, 0o600, uid=990), "is_copied": True, "copied_before_change": True}, {"secrets.copy": "warn"}),
])  # fmt: skip
def test_who_else_may_read_a_file_is_told(changed: dict[str, Any], problems: dict[str, str]) -> None:
    assert check(files=[file(**changed)]) == problems


def test_nobody_is_told_to_be_locked_out_who_does_not_exist() -> None:
    assert check(user=ServiceUser("arbd", -1, is_known=False), files=[file(way=way(0o755, 0o600))]) == {}


def test_that_copies_change_with_a_restart_is_said() -> None:
    copied = file(is_copied=True)
    told = found(ARBD, has_token=True, token_origin="credential token", files=[copied], now=NOW)
    assert any("restart" in finding.what for finding in told if finding.check == "secrets.copy")


# -- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("setting", "good", "level"), [
    ("hub.tls_cert", [(-100, 300)], None),
    ("hub.tls_cert", [(-100, 20)], "warn"),
    ("hub.tls_cert", [(-100, -1)], "fail"),
    ("hub.tls_cert", [(1, 100)], "fail"),
    ("hub.tls_cert", [(-100, 300), (-100, -1)], "fail"),  # a chain that is broken in the middle
    ("hub.tls_ca", [(-100, 300), (-100, -1)], None),
    ("hub.tls_ca", [(-100, -1), (-100, -2)], "fail"),
    ("hub.tls_ca", [(-100, 300), (-100, 5)], None),
    ("hub.tls_ca", [(-100, 5)], "warn"),
    ("hub.tls_ca", [], None),
])  # fmt: skip
def test_certificates_that_end_are_told(setting: str, good: list[tuple[int, int]], level: str | None) -> None:
    certificates = [certificate(*days) for days in good]
    problems = check(files=[file(setting, is_private=False, certificates=certificates)])
    assert problems == ({} if level is None else {"secrets.expiry": level})
