"""Loading of TARGET, which names a provider: ``module``, ``module:attribute`` or ``path/file.py[:attribute]``.

An attribute may be a ``Provider``, a subclass of it, or a function without parameters that returns one. Without an
attribute the module is searched: the one instance, else the one subclass defined there, else a function
``create_provider``. A module that calls ``provider.start()`` while it is being loaded means that provider.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, cast

from arbd.author.provider import Provider
from arbd.author.refused import collecting
from arbd.author.start import GoOn, StartReached, loading
from arbd.errors import TargetError

FACTORY_NAME: Final = "create_provider"
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
#: What a file may well be called: nothing imports these of Python's.
_HARMLESS: Final = frozenset({"test", "this", "antigravity", "idlelib", "turtle", "turtledemo", "lib2to3", "__hello__"})
#: What arbd imports in the processes of the author's code, or may import later.
_ARBD_NEEDS: Final = frozenset({"msgspec", "uvloop", "redis", "pydantic", "grpc", "google", "opentelemetry"})
_NOT_THE_AUTHORS: Final = (Path(os.__file__).parent, Path(__file__).parents[1])


def load(target: str, argv: list[str], *, script: bool = False, go_on: GoOn | None = None) -> Provider:
    """Load the provider that ``target`` names. Raises ``TargetError``; errors of the author's code pass through.
    ``argv`` becomes ``sys.argv[1:]`` of the author's code. ``script``: run the file as ``__main__``. ``go_on``: called
    with the provider where the code calls ``provider.start()``; then this never returns."""
    place, _, attribute = _split(target)
    try:
        with collecting(), loading(go_on):
            module = _run_script(place, argv) if script else _import(place, argv)
            return _provider_in(module, attribute, target)
    except StartReached as reached:
        return cast(Provider, reached.provider)


def author_modules() -> dict[str, ModuleType]:
    """The loaded modules that are neither arbd's, Python's nor installed ones, by name."""
    modules = [(name, module) for name, module in list(sys.modules.items()) if issubclass(type(module), ModuleType)]
    return {name: module for name, module in modules if is_authors(vars(module).get("__file__"))}


def author_files() -> list[str]:
    """The files of these modules, sorted, and of what stands in place of a module."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(file for file in files if isinstance(file, str) and is_authors(file))


def is_authors(file: object) -> bool:
    """Whether a module of this file is neither arbd's, Python's nor an installed one."""
    # As texts: a thousand paths take a tenth of a second.
    if not isinstance(file, str) or any(part in file for part in _INSTALLED):
        return False
    return not any(file.startswith(f"{directory}{os.sep}") for directory in _NOT_THE_AUTHORS)


def hidden_by(module: str) -> str:
    """What a file of this name beside an author's code would hide from every import; empty: nothing that matters."""
    if module == "arbd":
        return "arbd itself"
    if module in sys.stdlib_module_names and module not in _HARMLESS:
        return f"Python's own module {module!r}"
    if module in _ARBD_NEEDS:
        return f"the package {module!r}, which arbd needs"
    return ""


def _hiding_files(directory: Path) -> list[str]:
    """The files beside the author's code that hide something, each with what."""
    try:
        names = sorted(
            path.name for path in directory.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        )
    except OSError:
        return []
    return [f"{name} hides {hidden}" for name in names if (hidden := hidden_by(name.removesuffix(".py")))]


@contextmanager
def _naming_hiding_files(directory: Path) -> Iterator[None]:
    """Where an import fails inside this block, say of files beside the code that may be why."""
    try:
        yield
    except (ImportError, AttributeError) as error:
        if found := _hiding_files(directory):
            error.add_note(f"beside the provider's code: {'; '.join(found)}: rename it, if that is why")
        raise


def _split(target: str) -> tuple[str, str, str]:
    if not target.strip():
        raise TargetError(["no TARGET: name a module, module:attribute or path/file.py[:attribute]"])
    return target.rpartition(":") if _has_attribute(target) else (target, "", "")


def _has_attribute(target: str) -> bool:
    head, colon, tail = target.rpartition(":")
    return bool(colon) and bool(head) and all(part.isidentifier() for part in tail.split("."))


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _import(place: str, argv: list[str]) -> ModuleType:
    sys.argv = [place, *argv]
    if _is_path(place):
        path = _existing_file(place)
        sys.path.insert(0, str(path.parent))
        with _naming_hiding_files(path.parent):
            return _load_file(path.stem, path)
    if place.startswith("."):
        raise TargetError([f"TARGET {place!r} is neither a module nor a path/file.py"])
    sys.path.insert(0, str(Path.cwd()))
    if (hidden := hidden_by(place.partition(".")[0])) and Path(f"{place.partition('.')[0]}.py").exists():
        raise TargetError([f"TARGET {place!r}: the file of that name here hides {hidden}; rename it"])
    try:
        with _naming_hiding_files(Path.cwd()):
            return importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (place == exc.name or place.startswith(f"{exc.name}.")):
            raise TargetError(
                [
                    f"TARGET {place!r}: no module named {exc.name!r} here ({Path.cwd()}) or among the installed ones"
                    f"{_alike(place, Path.cwd())}"
                ]
            ) from exc
        raise


def _run_script(place: str, argv: list[str]) -> ModuleType:
    return _run_file(place, argv) if _is_path(place) else _run_module(place, argv)


def _run_file(place: str, argv: list[str]) -> ModuleType:
    """Run a file as ``python FILE`` does."""
    path = _existing_file(place)
    sys.argv = [place, *argv]
    sys.path.insert(0, str(path.parent))
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    with _naming_hiding_files(path.parent):
        return _run_as_main(code, str(path), None)


def _run_module(place: str, argv: list[str]) -> ModuleType:
    """Run a module as ``python -m MODULE`` does."""
    sys.path.insert(0, str(Path.cwd()))
    spec = importlib.util.find_spec(place)
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    if spec is None or spec.origin is None or get_code is None:
        raise TargetError([f"TARGET {place!r}: there is no such module to run"])
    sys.argv = [spec.origin, *argv]
    return _run_as_main(get_code(place), spec.origin, spec)


def _run_as_main(code: CodeType, file: str, spec: ModuleSpec | None) -> ModuleType:
    """Run code as ``__main__`` like ``runpy``, but keep the module: its classes look names up in ``sys.modules``."""
    main = ModuleType("__main__")
    main.__file__ = file
    main.__spec__ = spec
    main.__package__ = spec.parent if spec else None
    sys.modules["__main__"] = main
    exec(code, vars(main))
    return main


def _existing_file(place: str) -> Path:
    path = Path(place).resolve()
    if not path.is_file():
        raise TargetError([f"TARGET {place!r}: there is no file {path}{_alike(path.stem, path.parent)}"])
    if hidden := hidden_by(path.stem):
        raise TargetError([f"TARGET {place!r}: a file of that name hides {hidden}, for whatever imports it; rename it"])
    return path


def _alike(name: str, directory: Path) -> str:
    """A question whether the file there was meant that is called almost so; empty: there is none."""
    import difflib

    if "." in name or ":" in name:
        return ""
    try:
        there = sorted(path.stem for path in directory.iterdir() if path.suffix == ".py")
    except OSError:
        return ""
    found = difflib.get_close_matches(name, there, n=1)
    return f"; did you mean {found[0]}.py?" if found else ""


def _load_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError([f"TARGET {str(path)!r} is no Python file"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _provider_in(module: ModuleType, attribute: str, target: str) -> Provider:
    if not attribute:
        return _make(_search(module, target), target)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise TargetError([f"TARGET {target!r}: {module.__name__!r} has no attribute {attribute!r}"])
        found = getattr(found, part)
    return _make(found, target)


def _search(module: ModuleType, target: str) -> Any:
    members = vars(module)
    instances = {name: value for name, value in members.items() if isinstance(value, Provider)}
    if "provider" in instances:
        return instances["provider"]
    classes = {
        name: value
        for name, value in members.items()
        if inspect.isclass(value) and issubclass(value, Provider) and value.__module__ == module.__name__
    }
    for found in (instances, classes):
        if len({id(value) for value in found.values()}) > 1:
            names = ", ".join(f"{target}:{name}" for name in found)
            raise TargetError([f"TARGET {target!r} holds several providers; choose one of {names}"])
        if found:
            return next(iter(found.values()))
    if callable(members.get(FACTORY_NAME)):
        return members[FACTORY_NAME]
    raise TargetError(
        [
            f"TARGET {target!r} holds no provider: it needs an instance or a subclass of arbd.Provider, "
            f"or a function {FACTORY_NAME}() that returns one"
        ]
    )


def _require_no_arguments(found: Any, target: str) -> None:
    """Raise ``TargetError`` for a subclass or a function that wants arguments: there are none to give."""
    try:
        wanted = inspect.signature(found)
    except (TypeError, ValueError):
        return  # some callables of C have none; calling tells
    try:
        wanted.bind()
    except TypeError as error:
        name = getattr(found, "__name__", type(found).__name__)
        what = f"{name}{wanted} would be called without arguments ({error})"
        how = (
            f"make an instance, as in provider = {name}(...), or have its __init__ need none"
            if inspect.isclass(found)
            else "name a Provider, a subclass of it, or a function without parameters that returns one"
        )
        raise TargetError([f"TARGET {target!r}: {what}: {how}"]) from None


def _make(found: Any, target: str) -> Provider:
    if isinstance(found, Provider):
        return found
    if callable(found) and getattr(found, "__name__", "") != FACTORY_NAME:  # whose name says what it is meant to be
        _require_no_arguments(found, target)
    made = found() if callable(found) else found
    if not isinstance(made, Provider):
        raise TargetError([f"TARGET {target!r} is {type(made).__name__}, not a Provider, a subclass or a factory"])
    return made
