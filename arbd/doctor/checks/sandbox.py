"""The sandbox of a unit: what it keeps from the daemon and from its actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from arbd.doctor.checks import syscalls
from arbd.doctor.findings import Finding, fail, ok, warn
from arbd.doctor.unit_text import Unit

_HIDDEN_HOMES: Final = ("/home", "/root", "/run/user")
_TMP: Final = ("/tmp", "/var/tmp")


class SandboxFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A unit, and what the daemon has to reach from inside of it. ``hub_is_tcp``: else a Unix socket. ``read``: paths
    with what they are; ``written``: likewise."""

    unit: Unit | None
    pin: bool
    hub_is_tcp: bool
    read: Sequence[tuple[str, str]] = ()
    written: Sequence[tuple[str, str]] = ()


def check_sandbox(facts: SandboxFacts) -> Iterator[Finding]:
    """Whether what the daemon needs is open."""
    unit = facts.unit
    if unit is None:
        return
    checks = (_calls, _network, _memory, _paths)
    findings = [finding for check in checks for finding in check(unit, facts)]
    yield from findings
    if not findings:
        yield ok("sandbox", f"{unit.name} leaves open what the daemon needs, pinning included")


def _calls(unit: Unit, facts: SandboxFacts) -> Iterator[Finding]:
    forbidden = syscalls.forbidden(unit.all("SystemCallFilter"))
    vital = [call for call in forbidden if call not in syscalls.DISPENSABLE]
    if vital:
        yield fail(
            "sandbox.system_calls",
            f"SystemCallFilter= of {unit.name} forbids {', '.join(vital)}",
            "the daemon does not start, or cannot start a worker",
            "SystemCallFilter=@system-service, as arbd install-units has it",
        )
    if syscalls.PINNING in forbidden and facts.pin:
        yield warn(
            "sandbox.pinning",
            f"SystemCallFilter= of {unit.name} forbids sched_setaffinity",
            "pin = true has no effect (not_pinned in the log), and workers move between CPUs",
            "remove ~@resources from SystemCallFilter=, or set pin = false",
        )


def _network(unit: Unit, facts: SandboxFacts) -> Iterator[Finding]:
    remedy = "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"
    families = unit.all("RestrictAddressFamilies")
    if families and not _may_use(families, "AF_UNIX"):
        yield fail(
            "sandbox.address_families",
            f"RestrictAddressFamilies= of {unit.name} leaves out AF_UNIX",
            "supervisor and workers reach each other, and arbd status the daemon, over such sockets",
            remedy,
        )
    if families and facts.hub_is_tcp and not (_may_use(families, "AF_INET") or _may_use(families, "AF_INET6")):
        yield fail(
            "sandbox.address_families",
            f"RestrictAddressFamilies= of {unit.name} leaves out AF_INET and AF_INET6",
            "the hub cannot be reached",
            remedy,
        )
    if unit.is_on("PrivateNetwork") and facts.hub_is_tcp:
        yield fail(
            "sandbox.network",
            f"PrivateNetwork= of {unit.name} is on",
            "there is no network in it, and so no hub",
            "remove it; IPAddressAllow= with IPAddressDeny=any lets through the hub alone",
        )
    if "any" in unit.words("IPAddressDeny") and not unit.words("IPAddressAllow") and facts.hub_is_tcp:
        yield fail(
            "sandbox.network",
            f"IPAddressDeny=any of {unit.name} without an IPAddressAllow=",
            "the hub cannot be reached",
            "IPAddressAllow= with the address of the hub, and of the name server",
        )


def _memory(unit: Unit, _: SandboxFacts) -> Iterator[Finding]:
    if unit.is_on("MemoryDenyWriteExecute"):
        yield warn(
            "sandbox.write_execute",
            f"MemoryDenyWriteExecute= of {unit.name} is on",
            "numba, torch, llvmlite, and whatever else compiles code, fail in your actions",
            "remove it, unless your actions use none of them",
        )
    if unit.last("ProcSubset") == "pid":
        yield warn(
            "sandbox.proc",
            f"ProcSubset= of {unit.name} is pid",
            "psutil and numerical libraries do not find /proc/cpuinfo, meminfo and stat; arbd cannot tell how much "
            "memory is left",
            "remove it",
        )


def _paths(unit: Unit, facts: SandboxFacts) -> Iterator[Finding]:
    for path, what in facts.read:
        if line := _hides(unit, path):
            yield fail(
                "sandbox.hidden",
                f"{line} of {unit.name} hides {path} ({what})",
                "the daemon does not find it, and does not start",
                "move it elsewhere, such as below /opt or /srv; or ProtectHome=read-only",
            )
    for path, what in facts.written:
        if unit.last("ProtectSystem") == "strict" and not _is_open_for_writing(unit, path):
            yield fail(
                "sandbox.read_only",
                f"ProtectSystem=strict of {unit.name} closes {path} ({what}) to writing",
                "the daemon cannot make its socket or keep its state there",
                f"ReadWritePaths={path} in a drop-in, or leave {what} to the unit",
            )


def _may_use(families: Sequence[str], family: str) -> bool:
    allowed = families[0].startswith("~")
    for line in families:
        if family in line.removeprefix("~").split():
            allowed = not line.startswith("~")
    return allowed


def _hides(unit: Unit, path: str) -> str:
    """The line by which a unit hides a path; empty if none does."""
    if unit.is_on("ProtectHome", "tmpfs") and _is_below(path, _HIDDEN_HOMES):
        return f"ProtectHome={unit.last('ProtectHome')}"
    if unit.is_on("PrivateTmp", "disconnected") and _is_below(path, _TMP):
        return "PrivateTmp="
    inaccessible = [word.lstrip("-+") for word in unit.words("InaccessiblePaths")]
    return "InaccessiblePaths=" if _is_below(path, inaccessible) else ""


def _is_open_for_writing(unit: Unit, path: str) -> bool:
    tops = (
        ("RuntimeDirectory", "/run"),
        ("StateDirectory", "/var/lib"),
        ("CacheDirectory", "/var/cache"),
        ("LogsDirectory", "/var/log"),
    )
    own = [f"{top}/{word.partition(':')[0]}" for name, top in tops for word in unit.words(name)]
    extra = [word.lstrip("-+") for name in ("ReadWritePaths", "BindPaths") for word in unit.words(name)]
    return _is_below(path, [*own, *extra, "/dev", *_TMP])


def _is_below(path: str, tops: Sequence[str]) -> bool:
    return any(path == top or path.startswith(f"{top.rstrip('/')}/") for top in tops)
