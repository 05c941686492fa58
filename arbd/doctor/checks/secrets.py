"""The token and the files of TLS: whether they are there, who else may read them, and until when they are good."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from arbd.doctor.certificates import Validity, date
from arbd.doctor.checks.access import PathFacts, ServiceUser, closed_to
from arbd.doctor.findings import Finding, fail, ok, warn

_SOON_DAYS: Final = 21
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


class SecretFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a secret or of TLS. ``way``: it and the directories above it, from the root on. ``is_private``: nobody
    else may read it. ``is_copied``: systemd copies it when the unit starts, as root. ``origin``: who names it.
    ``copied_before_change``: it has changed since the unit made its copy."""

    setting: str
    path: str
    origin: str
    way: Sequence[PathFacts] = ()
    is_private: bool = False
    is_copied: bool = False
    copied_before_change: bool = False
    certificates: Sequence[Validity] = ()


class SecretFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets of one daemon. ``has_token``, and where that comes from. ``problems``: what cannot be read or used.
    ``unseen``: what only the daemon's user or root may read. ``pipes``: settings that name a pipe, which is not opened.
    ``readable_settings``: the settings file that holds the token, if others may read it. ``now`` in seconds since
    1970."""

    account: ServiceUser
    has_token: bool
    token_origin: str
    files: Sequence[SecretFile] = ()
    problems: Sequence[str] = ()
    unseen: Sequence[str] = ()
    pipes: Mapping[str, str] = {}
    readable_settings: str = ""
    uses_tls: bool = False
    is_local: bool = True
    now: float = 0.0


def check_secrets(facts: SecretFacts) -> Iterator[Finding]:
    """Whether the daemon has its secrets, and nobody else."""
    for problem in facts.problems:
        what, _, remedy = problem.partition(": ") if "hub.auth_token_file" in problem else (problem, "", "")
        yield fail(
            "secrets.file",
            f"{what}: {remedy}" if remedy else what,
            "the daemon does not start (exit code 78)",
            "put the file there, in the form that is asked for; docs: deploy.md, secrets",
        )
    for problem in facts.unseen:
        yield warn(
            "secrets.unseen",
            problem,
            "the daemon runs as another user, who may read it; whether it is any good is not seen here",
            "ask as root",
        )
    for setting, path in facts.pipes.items():
        yield warn(
            "secrets.pipe",
            f"{setting}: {path} is a pipe",
            "it can be read once, by the daemon; what is in it is not seen here, and a change is not noticed there",
            "name a file, where that can be had",
        )
    findings = [*_token(facts)]
    for file in facts.files:
        findings += [*_who_reads(file, facts.account), *_copies(file), *_validity(file, facts.now)]
    yield from findings
    if all(finding.level == "ok" for finding in findings) and not (facts.problems or facts.unseen or facts.pipes):
        yield ok(
            "secrets", f"the token comes from {facts.token_origin}" if facts.has_token else "no token is asked for"
        )
        for file in facts.files:
            if file.certificates:
                first = min(file.certificates, key=lambda each: each.not_after)
                yield ok("secrets.expiry", f"{file.setting}: {file.path} is good until {date(first.not_after)}")


def _token(facts: SecretFacts) -> Iterator[Finding]:
    told = any("hub.auth_token_file" in problem for problem in (*facts.problems, *facts.unseen, *facts.pipes))
    if not facts.has_token and not told:
        yield warn(
            "secrets.token",
            "there is no token",
            "a hub that asks for one refuses the daemon, which then asks again every 31 s and takes no task",
            "put it into a file (mode 0600) and name that in hub.auth_token_file, or pass a credential (deploy.md)",
        )
    if not facts.uses_tls and not facts.is_local:
        what = "the token, payloads and results go" if facts.has_token else "payloads and results go"
        yield warn(
            "secrets.in_clear",
            f"{what} to another host without TLS",
            "whoever sees the connection has them, and can answer in the hub's place",
            "write grpcs:// in hub.url, if the hub has it; hub.require_tls = true refuses to start without",
        )
    if facts.has_token and facts.token_origin == "constructor":
        yield warn(
            "secrets.in_source",
            "the token stands in the provider's code",
            "whoever sees the code has it, and it cannot be changed without a release",
            "remove it there, and name a file in hub.auth_token_file",
        )
    if facts.readable_settings:
        yield warn(
            "secrets.readable_settings",
            f"{facts.readable_settings} holds the token, and others may read it",
            "every user of this machine has the token",
            f"put the token into a file of its own (hub.auth_token_file), or chmod 640 {facts.readable_settings}",
        )


def _who_reads(file: SecretFile, account: ServiceUser) -> Iterator[Finding]:
    last = file.way[-1] if file.way else None
    if last is None or last.error:
        return
    if file.is_private and stat.S_ISREG(last.mode) and last.permissions & _OTHERS:
        yield warn(
            "secrets.mode",
            f"{file.path} has mode {last.permissions:o}: others may read or change it",
            "it is a secret; every user of this machine has it, or can put another in its place",
            f"chmod 600 {file.path}" + ("" if file.is_copied else f", and have it belong to {account.name}"),
        )
    if not file.is_copied and account.is_known and (place := closed_to(account, file.way)):
        yield warn(
            "secrets.closed",
            f"{file.setting}: user {account.name} may not read {file.path}, as {place} is closed to it",
            "the daemon runs as that user, and does not start",
            f"let it read that (chgrp {account.name}, mode 0640; directories 0750), or pass the file as a credential",
        )


def _copies(file: SecretFile) -> Iterator[Finding]:
    if file.copied_before_change:
        yield warn(
            "secrets.copy",
            f"{file.path} has changed since the unit was started",
            "systemd copied it at the start (LoadCredential=): the daemon has the old one, also after a reload",
            "systemctl restart the unit; or name a file that the daemon reads itself (deploy.md, new secrets)",
        )
    elif file.is_copied:
        yield ok(
            "secrets.copy",
            f"{file.setting}: {file.path}, copied when the unit starts: a new one comes with a restart, not a reload",
        )


def _validity(file: SecretFile, now: float) -> Iterator[Finding]:
    """Of a bundle of authorities some may be over; all of them must not."""
    over = [each for each in file.certificates if each.not_after < now]
    ahead = [each for each in file.certificates if each.not_before > now]
    good = [each for each in file.certificates if each not in over and each not in ahead]
    bundle = file.setting == "hub.tls_ca"
    if ahead and not (bundle and good):
        yield fail(
            "secrets.expiry",
            f"{file.setting}: {file.path}{_of(ahead[0])} is not good before {date(ahead[0].not_before)}",
            "the hub is not reached" if bundle else "the hub refuses the connection",
            "look at the clock of this machine, or wait",
        )
    elif over and not (bundle and good):
        yield fail(
            "secrets.expiry",
            f"{file.setting}: {file.path}{_of(over[0])} has expired at {date(over[0].not_after)}",
            "the hub's certificate is not trusted" if bundle else "the hub refuses the connection",
            "put a new one there (a running daemon takes it up within 5 s), or restart the unit if it is a credential",
        )
    soon = [each for each in good if each.days_left(now) < _SOON_DAYS]
    if soon and (not bundle or len(soon) == len(good)):
        first = min(soon, key=lambda each: each.not_after)
        yield warn(
            "secrets.expiry",
            f"{file.setting}: {file.path}{_of(first)} expires in {first.days_left(now)} days, at "
            f"{date(first.not_after)}",
            "from then on the hub is not reached",
            "put a new one there in time; a credential of a unit needs a restart as well",
        )


def _of(validity: Validity) -> str:
    return f" ({validity.subject})" if validity.subject else ""
