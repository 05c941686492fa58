"""Kernel, processor and interpreter: whether arbd runs here at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from arbd.doctor.findings import Finding, fail, ok, warn


class KernelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried of the kernel. ``problems``: what arbd needs and has not. ``wipes_on_fork``: whether a page of
    memory can be wiped in children. ``has_gil``: whether the interpreter has its lock, as arbd's processes expect."""

    release: str
    machine: str
    python: str
    problems: Sequence[str] = ()
    wipes_on_fork: bool = True
    has_gil: bool = True


def check_kernel(facts: KernelFacts) -> Iterator[Finding]:
    """Whether the calls that arbd is built on work here."""
    for problem in facts.problems:
        what, _, remedy = problem.partition(": ")
        yield fail("kernel", what, "the daemon does not start (exit code 78)", remedy or "run it on another machine")
    if not facts.wipes_on_fork:
        yield warn(
            "kernel.wipe_on_fork",
            "the kernel wipes no memory in forked children (MADV_WIPEONFORK, Linux 4.14)",
            "a worker asks for its process id where it could read a byte: 0.2 µs for each look",
            "run a newer kernel, or a container runtime that lets madvise through",
        )
    if not facts.has_gil:
        yield warn(
            "kernel.python",
            f"Python {facts.python} runs without its global lock",
            "arbd is tested with the lock; workers are processes, and gain nothing from running without",
            "run it with the usual build of Python",
        )
    if not facts.problems:
        yield ok("kernel", f"Linux {facts.release} on {facts.machine}, Python {facts.python}: every call works")
