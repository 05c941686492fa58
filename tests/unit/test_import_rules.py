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

#: Modules that decide and never act; a name stands for the package below it, too.
PURE = (
    *("arbd.core", "arbd.rate_limit", "arbd.schema", "arbd.model", "arbd.errors", "arbd.reports", "arbd.interrupts"),
    *("arbd.provider", "arbd.actions", "arbd.binding", "arbd.response", "arbd.encoding", "arbd.description"),
    *("arbd.config", "arbd.config_kinds", "arbd.zones", "arbd.secrets"),
    *("arbd.tuning.plan", "arbd.tuning.compare", "arbd.tuning.choose", "arbd.tuning.report", "arbd.tuning.record"),
)
#: What they must not import: the machine comes to them as arguments.
MACHINE = ("os", "socket", "mmap", "time", "asyncio", "threading", "grpc", "subprocess", "signal", "select")
#: The ways out of pure code: inside a function that an author calls in a process that is not pure anyway.
DOORS = {
    ("arbd.provider", "arbd.start"),  # provider.start() runs the daemon
    ("arbd.provider", "arbd.logs"),  # the default logger
    ("arbd.rate_limit.base", "time"),  # make_safe_request waits for its turn
    ("arbd.rate_limit.limit_monitor", "asyncio"),  # and so does its counterpart for async code
    ("arbd.rate_limit.limit_monitor", "arbd.host.timing"),  # the clock of a monitor outside a daemon
    ("arbd.rate_limit.limit_monitor", "arbd.logs"),
    ("arbd.rate_limit.redis_monitor", "arbd.redis_client"),  # the connection of a monitor outside a daemon
}

#: What a package may import of arbd, besides itself. Nothing else of it: that would point upward, or aside.
LAYERS = {
    "arbd.errors": (),
    "arbd.model": (),
    "arbd.reports": (),
    "arbd.schema": ("arbd.errors",),
    # The last three through DOORS.
    "arbd.rate_limit": (
        *("arbd.errors", "arbd.zones", "arbd.interrupts", "arbd.host.timing", "arbd.logs", "arbd.redis_client"),
    ),
    "arbd.core": ("arbd.errors", "arbd.model", "arbd.reports", "arbd.rate_limit", "arbd.interrupts"),
    "arbd.host": ("arbd.errors", "arbd.interrupts"),
    "arbd.supervised": ("arbd.logs",),
    "arbd.hub": (*PURE, "arbd.supervised"),
    "arbd.hub.process": (*PURE, "arbd.hub", "arbd.host"),  # a program
    # processes of their own, and who starts them
    "arbd.hub.links": (*PURE, "arbd.hub", "arbd.host", "arbd.logs", "arbd.supervised"),
    "arbd.redis_client": (*PURE, "arbd.host", "arbd.logs"),
    "arbd.supervisor": (
        *(*PURE, "arbd.host", "arbd.hub", "arbd.logs", "arbd.launch", "arbd.config_files"),
        *("arbd.redis_client", "arbd.supervised"),
    ),
    "arbd.worker": (*PURE, "arbd.host", "arbd.logs", "arbd.target"),
    "arbd.zygote": (*PURE, "arbd.host", "arbd.logs", "arbd.target", "arbd.worker"),
    "arbd.tuning": (
        *(*PURE, "arbd.host", "arbd.hub", "arbd.launch", "arbd.control", "arbd.daemon_process", "arbd.meter"),
        *("arbd.worker", "arbd.target"),  # to run an action in a process of its own, without a daemon
    ),
}
#: Who may use what stands at the top.
USERS = {
    "arbd.cli": ("arbd.__main__", "arbd.examples"),
    "arbd.supervisor": ("arbd.cli", "arbd.launch", "arbd.testing"),
    "arbd.worker": ("arbd.zygote", "arbd.testing", "arbd.tuning"),
    "arbd.zygote": (),
    "arbd.testing": (),
    "arbd.examples": ("arbd.cli",),
    "arbd.tuning": ("arbd.cli",),
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


@pytest.mark.parametrize("module", in_package(*PURE))
def test_a_pure_module_imports_nothing_of_the_machine(module: str) -> None:
    of_the_machine = [each for each in imports_of(module) if is_below(each.name, *MACHINE)]
    assert [each.name for each in of_the_machine if each.at_top or (module, each.name) not in DOORS] == []


@pytest.mark.parametrize("module", in_package(*PURE))
def test_a_pure_module_imports_pure_ones_of_arbd(module: str) -> None:
    empty = ("arbd", "arbd.tuning")  # packages whose modules are of both kinds
    assert [name for name in loaded_by(module) if name not in empty and not is_below(name, *PURE)] == []
    later = [each.name for each in imports_of(module) if is_below(each.name, "arbd") and not is_below(each.name, *PURE)]
    assert [name for name in later if (module, name) not in DOORS] == []


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_downward(package: str) -> None:
    allowed = (package, *LAYERS[package])
    assert [
        f"{module} imports {each.name}"
        for module in in_package(package)
        if package == max((layer for layer in LAYERS if is_below(module, layer)), key=len)
        for each in imports_of(module)
        if is_below(each.name, "arbd") and not is_below(each.name, *allowed)
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
    graph = {
        module: {each.name for each in imports_of(module) if each.at_top and each.name in SOURCES} for module in SOURCES
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(SOURCES)  # a circle raises, and names its modules


# Process roles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", in_package("arbd.worker", "arbd.zygote"))
def test_worker_and_zygote_know_no_supervisor_and_no_hub(module: str) -> None:
    others = ("arbd.supervisor", "arbd.hub", "arbd.cli", "grpc", "google")
    assert [each.name for each in imports_of(module) if is_below(each.name, *others)] == []
    assert [name for name in loaded_by(module) if is_below(name, *others)] == []


@pytest.mark.parametrize("module", in_package("arbd.supervisor"))
def test_the_supervisor_knows_no_worker_and_nothing_that_loads_the_author_s_code(module: str) -> None:
    others = ("arbd.worker", "arbd.zygote", "arbd.target", "arbd.start")
    assert [each.name for each in imports_of(module) if is_below(each.name, *others)] == []
    assert [name for name in loaded_by(module) if is_below(name, *others)] == []


def modules_of_a_process(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["arbd.zygote", "arbd.worker.__main__"])
def test_the_author_s_processes_load_nothing_heavy(module: str) -> None:
    loaded = modules_of_a_process(f"import {module}")
    assert module in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert [name for name in loaded if is_below(name, "arbd.supervisor", "arbd.hub", "arbd.cli")] == []


def test_the_daemon_loads_nothing_that_runs_an_action() -> None:
    loaded = modules_of_a_process("import arbd.supervisor.main")
    assert "arbd.supervisor.main" in loaded
    assert [name for name in loaded if is_below(name, "arbd.worker", "arbd.zygote", "arbd.target", "arbd.cli")] == []
    assert {name.partition(".")[0] for name in loaded} & {"click", "rich", "watchfiles", "pydantic"} == set()
