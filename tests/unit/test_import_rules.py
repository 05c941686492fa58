"""Imports point downward only, pure modules touch no machine, and no process loads what belongs to another role.

What is read is the source itself, so that an import inside a function counts, too. Imports for type checkers only do
not: nothing happens there at run time.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import arbd

ROOT = Path(arbd.__path__[0])

#: What everybody may import.
FREE = (
    *("arbd.attempts", "arbd.errors", "arbd.zones", "arbd.logs", "arbd.interrupts", "arbd.printable"),
    "arbd.supervised",
)

#: What a package may import of arbd, besides itself and what is free: the table of docs/architecture.md.
MAY_IMPORT = {
    "arbd.model": (),
    "arbd.settings": (),
    "arbd.schema": (),
    "arbd.host": (),
    "arbd.ipc": ("arbd.model",),
    "arbd.wire": ("arbd.model",),
    "arbd.core": ("arbd.model", "arbd.ipc"),
    "arbd.rate_limit": ("arbd.model", "arbd.ipc", "arbd.core.backoff", "arbd.host.timing"),
    "arbd.control": ("arbd.host", "arbd.ipc", "arbd.model", "arbd.settings"),
    "arbd.author": ("arbd.model", "arbd.schema", "arbd.rate_limit", "arbd.settings"),
    "arbd.links": ("arbd.core", "arbd.ipc", "arbd.wire", "arbd.host", "arbd.model", "arbd.settings"),
    "arbd.hub": (
        *("arbd.core.lines", "arbd.model", "arbd.wire", "arbd.links.base", "arbd.links.ending"),
        *("arbd.host.process_state", "arbd.host.secrecy"),
    ),
    "arbd.metrics": ("arbd.ipc", "arbd.model"),
    "arbd.worker": (
        "arbd.author",
        "arbd.metrics",
        "arbd.rate_limit",
        "arbd.schema",
        "arbd.ipc",
        "arbd.host",
        "arbd.model",
    ),
    "arbd.supervisor": (
        *("arbd.core", "arbd.ipc", "arbd.host", "arbd.links", "arbd.control", "arbd.rate_limit", "arbd.model"),
        "arbd.settings",
    ),
    "arbd.doctor": (
        *("arbd.control", "arbd.core", "arbd.host", "arbd.ipc", "arbd.links.tls_files", "arbd.settings", "arbd.wire"),
        "arbd.supervisor.needs",
    ),
}
#: What the free ones need of the others, besides each other.
FREE_MAY_IMPORT = ("arbd.host.outlet", "arbd.model.trace", "arbd.settings.secrets")
#: Who may use what stands at the top.
USERS = {
    "arbd.cli": ("arbd.__main__", "arbd.examples"),
    "arbd.tuning": ("arbd.cli", "arbd.examples"),
    "arbd.examples": ("arbd.cli",),
    "arbd.testing": (),
    "arbd.doctor": ("arbd.cli",),
    "arbd.supervisor": ("arbd.cli", "arbd.doctor", "arbd.testing", "arbd.tuning"),
    "arbd.worker": ("arbd.testing", "arbd.tuning"),
}

#: Packages and modules that decide and never act.
PURE = (
    *("arbd.model", "arbd.ipc", "arbd.core", "arbd.schema", "arbd.rate_limit", "arbd.settings"),
    *("arbd.author.provider", "arbd.author.actions", "arbd.author.binding", "arbd.interrupts"),
    *("arbd.author.lifespan", "arbd.author.marks", "arbd.author.refused", "arbd.author.source"),
    *(
        "arbd.control.protocol",
        "arbd.control.reports",
        "arbd.control.health",
        "arbd.control.snapshot",
        "arbd.control.probes",
        "arbd.control.exposition",
        "arbd.control.http_request",
        "arbd.control.recent",
        "arbd.control.status_document",
        "arbd.control.chrome_trace",
        "arbd.control.flame_graph",
        "arbd.control.folded_stacks",
        "arbd.wire.pb",
        "arbd.wire.stream_frames",
        "arbd.errors",
        "arbd.zones",
        "arbd.printable",
    ),
    *("arbd.links.stream.session", "arbd.links.unary.policy", "arbd.links.unary.messages"),
    *("arbd.hub.board", "arbd.hub.queues", "arbd.hub.leases", "arbd.hub.desk", "arbd.hub.stream_session"),
    "arbd.hub.presence",
    *("arbd.doctor.checks", "arbd.doctor.findings", "arbd.doctor.unit_text", "arbd.doctor.certificates"),
    *("arbd.tuning.plan", "arbd.tuning.compare", "arbd.tuning.choose", "arbd.tuning.report", "arbd.tuning.record"),
    *("arbd.tuning.bounds", "arbd.tuning.growth", "arbd.tuning.paired", "arbd.tuning.paired_report"),
)
#: Packages whose modules are of both kinds; their ``__init__`` is a map, or names what has to be loaded first.
MIXED = (
    *("arbd", "arbd.author", "arbd.control", "arbd.hub", "arbd.links", "arbd.links.stream", "arbd.links.unary"),
    *("arbd.doctor", "arbd.tuning", "arbd.wire"),
)
#: What they must not import: the machine comes to them as arguments.
MACHINE = ("os", "socket", "mmap", "time", "asyncio", "threading", "grpc", "subprocess", "signal", "select")
#: The ways out of pure code: inside a function that an author calls in a process that is not pure anyway.
DOORS = {
    ("arbd.author.provider", "arbd.author.start"),  # provider.start() runs the daemon
    ("arbd.author.provider", "arbd.logs"),  # the default logger
    ("arbd.rate_limit.base", "time"),  # make_safe_request waits for its turn
    ("arbd.rate_limit.limit_monitor", "asyncio"),  # and so does its counterpart for async code
    ("arbd.rate_limit.limit_monitor", "arbd.host.timing"),  # the clock of a monitor outside a daemon
    ("arbd.rate_limit.limit_monitor", "arbd.logs"),
    ("arbd.rate_limit.redis_monitor", "arbd.rate_limit.storage.redis_client"),  # the connection of one outside a daemon
}

#: What takes long to import, or must not be there when a process forks.
HEAVY = {"grpc", "google", "click", "rich", "watchfiles", "pydantic", "psutil", "backoff", "redis"}


class Import(NamedTuple):
    """One import statement: what it names, where it stands."""

    name: str
    at_top: bool


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: The source of every module of arbd.
SOURCES = {module_name(file): file.read_text() for file in sorted(ROOT.rglob("*.py"))}


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(body: list[ast.stmt], at_top: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import statement that can run, and whether importing the module runs it."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_top
        elif is_for_type_checkers(node):
            assert isinstance(node, ast.If)
            yield from statements(node.orelse, at_top)
        else:
            inside = at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                for block in getattr(node, field, None) or []:
                    yield from statements([block] if isinstance(block, ast.stmt) else block.body, inside)


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """What a module imports: full names, of the submodule where ``from package import submodule`` names one."""
    found = []
    for node, at_top in statements(ast.parse(SOURCES[module]).body):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, at_top) for alias in node.names]
            continue
        assert node.level == 0, f"{module}: imports are absolute here"
        assert node.module is not None
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            found.append(Import(submodule if submodule in SOURCES else node.module, at_top))
    return tuple(found)


def is_below(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def in_package(*packages: str) -> list[str]:
    return [module for module in SOURCES if is_below(module, *packages)]


def pure_modules() -> list[str]:
    """Those of ``PURE``, without the one client of a storage."""
    return [module for module in in_package(*PURE) if module != "arbd.rate_limit.storage.redis_client"]


@cache
def loaded_by(module: str) -> frozenset[str]:
    """Every module of arbd that importing this one runs, its packages included."""
    seen: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        if name in SOURCES and name not in seen:
            seen.add(name)
            left += [name.rpartition(".")[0], *(each.name for each in imports_of(name) if each.at_top)]
    return frozenset(seen)


def test_the_reader_finds_imports_wherever_they_stand() -> None:
    source = """
import a
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import for_checkers
else:
    import b
try:
    import c
except ImportError:
    import d
class Class:
    import e
    def method(self):
        with x:
            import f
match x:
    case 1:
        import g
"""
    found = {ast.unparse(node)[7:]: at_top for node, at_top in statements(ast.parse(source).body)}
    found = {name: at_top for name, at_top in found.items() if len(name) == 1}
    assert found == {"a": True, "b": True, "c": True, "d": True, "e": True, "f": False, "g": True}


# Layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_module_imports_nothing_of_the_machine(module: str) -> None:
    of_the_machine = [each for each in imports_of(module) if is_below(each.name, *MACHINE)]
    assert [each.name for each in of_the_machine if each.at_top or (module, each.name) not in DOORS] == []


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_module_imports_pure_ones_of_arbd(module: str) -> None:
    assert [name for name in loaded_by(module) if name not in MIXED and not is_below(name, *PURE)] == []
    later = [each.name for each in imports_of(module) if is_below(each.name, "arbd") and not is_below(each.name, *PURE)]
    assert [name for name in later if (module, name) not in DOORS] == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_what_it_may(package: str) -> None:
    allowed = (package, *MAY_IMPORT[package], *FREE)
    assert [
        f"{module} imports {each.name}"
        for module in in_package(package)
        for each in imports_of(module)
        if is_below(each.name, "arbd") and not is_below(each.name, *allowed)
    ] == []


def test_what_everybody_may_import_imports_nothing_else() -> None:
    assert [
        f"{module} imports {each.name}"
        for module in in_package(*FREE)
        for each in imports_of(module)
        if is_below(each.name, "arbd") and not is_below(each.name, *FREE, *FREE_MAY_IMPORT)
    ] == []


@pytest.mark.parametrize("package", USERS)
def test_only_these_use_it(package: str) -> None:
    assert [
        f"{module} imports {each.name}"
        for module in SOURCES
        for each in imports_of(module)
        if is_below(each.name, package) and not is_below(module, package, *USERS[package])
    ] == []


def test_no_import_goes_in_a_circle() -> None:
    """Not even one for type checkers only: two modules that must know each other's types are one, or three."""
    graph: dict[str, set[str]] = {module: set() for module in SOURCES}
    for module in SOURCES.keys() - {"arbd"}:  # which names for type checkers what it loads when it is first used
        for node in ast.walk(ast.parse(SOURCES[module])):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
                graph[module] |= {name for name in names if name in SOURCES and not f"{module}.".startswith(f"{name}.")}
    assert len(list(TopologicalSorter(graph).static_order())) == len(SOURCES)  # a circle raises, and names its modules


# Process roles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", in_package("arbd.worker", "arbd.worker.zygote"))
def test_worker_and_zygote_know_no_supervisor_and_no_hub(module: str) -> None:
    others = ("arbd.supervisor", "arbd.links", "arbd.hub", "arbd.core", "arbd.cli", "grpc", "google")
    assert [each.name for each in imports_of(module) if is_below(each.name, *others)] == []
    assert [name for name in loaded_by(module) if is_below(name, *others)] == []


@pytest.mark.parametrize("module", in_package("arbd.supervisor"))
def test_the_supervisor_knows_no_worker_and_nothing_that_loads_the_author_s_code(module: str) -> None:
    others = ("arbd.worker", "arbd.author", "arbd.hub")
    assert [each.name for each in imports_of(module) if is_below(each.name, *others)] == []
    assert [name for name in loaded_by(module) if is_below(name, *others)] == []


def modules_of_a_process(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["arbd.worker.zygote", "arbd.worker.__main__"])
def test_the_author_s_processes_load_nothing_heavy(module: str) -> None:
    loaded = modules_of_a_process(f"import {module}")
    assert module in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert [
        name for name in loaded if is_below(name, "arbd.supervisor", "arbd.links", "arbd.hub", "arbd.core", "arbd.cli")
    ] == []


def test_the_daemon_loads_nothing_that_runs_an_action() -> None:
    loaded = modules_of_a_process("import arbd.supervisor.main")
    assert "arbd.supervisor.main" in loaded
    assert [name for name in loaded if is_below(name, "arbd.worker", "arbd.author", "arbd.hub", "arbd.cli")] == []
    assert {name.partition(".")[0] for name in loaded} & {"click", "rich", "watchfiles", "pydantic"} == set()
