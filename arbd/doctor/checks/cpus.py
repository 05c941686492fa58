"""Usable CPUs against the number of workers, pinning, and the CPUs of other daemons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from arbd.core.placement import in_words, usable_cpus, worker_count, worker_cpus
from arbd.doctor.findings import Finding, ok, warn

_MORE: Final = "AllowedCPUs=, CPUAffinity= or CPUQuota= of a unit, the cpuset of a container"


class CpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The CPUs that the daemon will have, and what the settings want of them. ``source``: who gives it these CPUs.
    ``claimed``: by how many other daemons each one is. ``pin_error``: why this process may not be bound to CPUs."""

    allowed: frozenset[int]
    quota: float | None
    source: str
    workers: int | Literal["auto"]
    cpus_each: int
    pin: bool
    claimed: Mapping[int, int] = {}
    pin_error: str = ""


def check_cpus(facts: CpuFacts) -> Iterator[Finding]:
    """Whether the workers have CPUs of their own."""
    usable = usable_cpus(facts.allowed, facts.quota)
    each = worker_cpus(facts.cpus_each, usable)
    workers = worker_count(usable, each) if facts.workers == "auto" else facts.workers
    findings = [
        *_enough(facts, usable, each, workers),
        *_quota(facts, each * workers),
        *_pinning(facts, each * workers),
    ]
    yield from findings
    if not findings:
        quota = "" if facts.quota is None else f", quota {facts.quota:g} CPUs"
        each_words = "one CPU" if each == 1 else f"{each} CPUs"
        yield ok(
            "cpus",
            f"CPUs {in_words(sorted(facts.allowed))} ({facts.source}{quota}) for {_count(workers, 'worker')} with "
            f"{each_words} each",
        )


def _enough(facts: CpuFacts, usable: int, each: int, workers: int) -> Iterator[Finding]:
    if facts.cpus_each > usable:
        yield warn(
            "cpus.worker_cpus",
            f"worker.cpus is {facts.cpus_each}, and only {_count(usable, 'CPU')} can be used ({facts.source})",
            f"each worker gets {_count(each, 'CPU')}, and its libraries as many threads",
            f"lower worker.cpus to {usable}, or give the daemon more CPUs ({_MORE})",
        )
    if workers * each > usable:
        yield warn(
            "cpus.workers",
            f"{_count(workers, 'worker')} with {_count(each, 'CPU')} each, and {_count(usable, 'CPU')} can be used "
            f"({facts.source})",
            "workers that share a CPU slow each other down, and deadlines of actions that compute are met late",
            f'set workers = {max(1, usable // each)} or "auto", or give it more CPUs ({_MORE}); leave it where actions '
            "mostly wait",
        )


def _quota(facts: CpuFacts, wanted: int) -> Iterator[Finding]:
    if facts.quota is None or facts.quota >= min(wanted, len(facts.allowed)):
        return
    yield warn(
        "cpus.quota",
        f"the quota is {facts.quota:g} CPUs, and workers are bound to {_count(min(wanted, len(facts.allowed)), 'CPU')}",
        "when all are busy the kernel stops the whole daemon for the rest of each period (100 ms), and tasks with it",
        "set a whole number of CPUs as the quota (CPUQuota=, cpu.max), or better a CPU set (AllowedCPUs=) without one",
    )


def _pinning(facts: CpuFacts, wanted: int) -> Iterator[Finding]:
    if not facts.pin:
        return
    if facts.pin_error:
        yield warn(
            "cpus.pinning",
            f"binding a process to a CPU fails here: {facts.pin_error}",
            "pin = true has no effect, and workers move between CPUs",
            "allow sched_setaffinity (systemd: no SystemCallFilter=~@resources), or set pin = false",
        )
    taken = {cpu for cpu in facts.allowed if facts.claimed.get(cpu)}
    if taken and wanted > len(facts.allowed - taken):
        yield warn(
            "cpus.claimed",
            f"other daemons of this host have CPUs {in_words(sorted(taken))}, and {_count(wanted, 'CPU')} of "
            f"{len(facts.allowed)} are wanted",
            "workers of both run on the same CPUs, and slow each other down",
            "give each daemon its number of workers and a CPU set of its own (AllowedCPUs=)",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
