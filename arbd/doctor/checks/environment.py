"""The environment that the daemon is started with: threads of libraries, and variables that slow Python down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from arbd.doctor.findings import Finding, ok, warn
from arbd.settings import thread_variables

_PLURAL: Final = {1: "CPU"}
#: Variables of Python's that cost, with what.
_COSTLY: Final = {
    "PYTHONDEVMODE": "checks at every turn, and warnings",
    "PYTHONASYNCIODEBUG": "the event loop looks at each callback: several times slower",
    "PYTHONTRACEMALLOC": "each piece of memory is noted, with where it was asked for: 2 to 4 times slower",
    "PYTHONMALLOC": "memory comes from a slower place",
    "PYTHONPROFILEIMPORTTIME": "a line on standard error for each import",
}
_PRELOADS: Final = ("LD_PRELOAD", "LD_AUDIT")


class EnvironmentFacts(msgspec.Struct, frozen=True):
    """The environment, and how many CPUs each worker has. ``source``: whose environment it is."""

    environ: Mapping[str, str]
    cpus_each: int
    source: str


def check_environment(facts: EnvironmentFacts) -> Iterator[Finding]:
    """Whether it makes libraries start more threads than there are CPUs for, or Python slow."""
    findings = [*_threads(facts), *_costly(facts)]
    yield from findings
    if not findings:
        yield ok(
            "environment", f"libraries are told to use {facts.cpus_each} thread(s) each; nothing slows Python down"
        )


def _threads(facts: EnvironmentFacts) -> Iterator[Finding]:
    many = {
        variable.name: facts.environ[variable.name]
        for variable in thread_variables.TABLE
        if facts.environ.get(variable.name, "").isdecimal() and int(facts.environ[variable.name]) > facts.cpus_each
    }
    if many:
        named = ", ".join(f"{name}={value}" for name, value in many.items())
        yield warn(
            "environment.threads",
            f"{named} ({facts.source}), and each worker has {facts.cpus_each} {_PLURAL.get(facts.cpus_each, 'CPUs')}",
            "threads that wait for each other on one CPU spin: numerical libraries become 10 to 300 times slower",
            "remove it: arbd tells libraries worker.cpus by itself; or raise worker.cpus",
        )


def _costly(facts: EnvironmentFacts) -> Iterator[Finding]:
    for name, cost in _COSTLY.items():
        if facts.environ.get(name, "0") not in ("", "0", "default", "pymalloc"):
            yield warn("environment.python", f"{name} is set ({facts.source})", cost, f"remove {name}")
    for name in _PRELOADS:
        # Allocators are preloaded with good reason; what they are is worth a look, not a warning.
        if facts.environ.get(name):
            yield ok("environment.preload", f"{name} is set ({facts.source}): all processes of the daemon load it")
