"""The hooks and resources of a provider, checked at registration; what runs them is ``arbd.worker.life``.

    @provider.on_worker_start    run in each worker before its first task, in order of registration
    @provider.on_worker_stop     run in each worker after its last task, in reverse order
    @provider.resource           a value that each worker has of its own, filled by name into handlers, hooks and other
                                 resources; closed when the worker stops

A resource is written as a pytest fixture: a generator function, plain or async, that yields the value once and goes on
behind the ``yield`` when the worker stops. A function without ``yield`` gives a value that needs no closing.

Parameters of both are filled by name with ``COMMON`` values and other resources. One without a default that is neither
is refused, so a resource stands above what uses it; methods of a class may stand in any order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from keyword import iskeyword
from typing import Any, Final, Literal, TypeVar, overload

import msgspec

from arbd.author.binding import RESERVED
from arbd.author.marks import ON_START, ON_STOP, RESOURCE
from arbd.author.refused import knowing_its_arguments
from arbd.errors import BindingError, RegistrationError

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M")  # a method, or what `staticmethod` and `classmethod` make of it

#: What hooks and resources may ask for besides resources: there is no task when they run.
COMMON: Final = ("logger", "provider", "timezone")

Moment = Literal["start", "stop"]

_EMPTY: Final = inspect.Parameter.empty
_STARS: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ResourceOptions(msgspec.Struct, frozen=True):
    """The options that an author gives for a resource: its name, by default the function's; ``lazy``: opened when a
    task first needs it, not at the worker's start."""

    name: str | None = None
    lazy: bool = False


class Supplied(msgspec.Struct, frozen=True):
    """A function of the author's whose parameters are filled by name. ``fixed``: those that ``partial`` has filled."""

    function: Callable[..., Any]
    signature: inspect.Signature
    fixed: frozenset[str]

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that can be filled."""
        found = self.signature.parameters.values()
        return [each for each in found if each.kind not in _STARS and each.name not in self.fixed]

    def needs(self, resources: Collection[str]) -> list[str]:
        """The names of those resources that it takes."""
        return [each.name for each in self.parameters if each.name in resources]

    def call(self, values: Mapping[str, Any]) -> Any:
        """What the function returns when its parameters are filled from these values."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for each in self.parameters:
            if each.kind is each.POSITIONAL_ONLY:
                args.append(values.get(each.name, each.default))
            elif each.name in values:
                kwargs[each.name] = values[each.name]
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        """Whether the function is declared ``async``, with or without ``yield``."""
        target = _underlying(self.function)
        return inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)


class Hook(msgspec.Struct, frozen=True):
    """One hook."""

    name: str
    supplied: Supplied


class Resource(msgspec.Struct, frozen=True):
    """One resource."""

    name: str
    lazy: bool
    supplied: Supplied


class Lifespan:
    """All hooks and resources of one provider, in order of registration."""

    def __init__(self) -> None:
        self.hooks: dict[Moment, list[Hook]] = {"start": [], "stop": []}
        self.resources: dict[str, Resource] = {}

    def add_hook(self, moment: Moment, function: Callable[..., Any]) -> None:
        """Register a hook. Raises ``RegistrationError`` or ``BindingError``."""
        name = _name_of(function)
        where = f"hook on_worker_{moment} '{name}'"
        supplied = _supplied(function, where)
        target = _underlying(function)
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            raise RegistrationError(f"{where}: a hook does not yield; what is to be closed again is a resource")
        _check_parameters(supplied, self.resources, where)
        self.hooks[moment].append(Hook(name, supplied))

    def with_resources(self, functions: Iterable[tuple[Callable[..., Any], ResourceOptions]]) -> dict[str, Resource]:
        """The resources there are, and these; nothing is registered yet. Raises ``RegistrationError`` or
        ``BindingError``."""
        found = dict(self.resources)
        added = [_compile(function, options) for function, options in functions]
        for each in added:
            if each.name in found:
                raise RegistrationError(f"resource '{each.name}' is registered twice; give one of them another name")
            found[each.name] = each
        for each in added:
            _check_parameters(each.supplied, found, f"resource '{each.name}'")
        in_order(found, found)
        return found

    def users_of(self, name: str) -> Iterator[str]:
        """The hooks and resources that take this resource."""
        for moment, hooks in self.hooks.items():
            yield from (f"on_worker_{moment} {hook.name}" for hook in hooks if hook.supplied.needs((name,)))
        yield from (f"resource {each.name}" for each in self.resources.values() if each.supplied.needs((name,)))


def in_order(resources: Mapping[str, Resource], wanted: Iterable[str]) -> list[str]:
    """The wanted resources and those that they take, each behind what it takes. Raises ``RegistrationError`` with the
    path where they take each other."""
    found: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise RegistrationError(f"resources need each other, so none can be opened first: {circle}")
        if name not in found:
            for needed in resources[name].supplied.needs(resources):
                visit(needed, (*path, name))
            found[name] = None

    for name in wanted:
        visit(name, ())
    return list(found)


def _compile(function: Callable[..., Any], options: ResourceOptions) -> Resource:
    name = _name_of(function) if options.name is None else options.name
    _check_name(name)
    where = f"resource '{name}'"
    if not isinstance(options.lazy, bool):
        raise RegistrationError(f"{where}: lazy is True or False; got {options.lazy!r}")
    if getattr(function, "__code__", None) in _CONTEXT_MANAGERS:
        raise RegistrationError(f"{where}: take the context manager's decorator away; a resource is a plain generator")
    return Resource(name, options.lazy, _supplied(function, where))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise RegistrationError(f"a resource's name is the name of a parameter; got {name!r}")
    if name in RESERVED:
        raise RegistrationError(
            f"resource '{name}': that name is arbd's own in every handler ({', '.join(RESERVED)}); give it another one "
            f"with name=..."
        )


def _supplied(function: Callable[..., Any], where: str) -> Supplied:
    if not callable(function):
        raise RegistrationError(f"{where}: {function!r} cannot be called")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as exc:  # some C callables carry no signature
        raise BindingError(f"{where}: {function!r} has no readable signature; wrap it in a function") from exc
    fixed = frozenset(function.keywords if isinstance(function, partial) else ())
    return Supplied(function, signature, fixed)


def _check_parameters(supplied: Supplied, resources: Collection[str], where: str) -> None:
    for each in supplied.parameters:
        if each.default is _EMPTY and each.name not in COMMON and each.name not in resources:
            known = ", ".join(resources) or "none above it"
            raise BindingError(
                f"{where}: parameter '{each.name}' of {supplied.signature} can never be filled. It has no default, is "
                f"no resource (there are: {known}) and none of {', '.join(COMMON)}: no task is there yet. Register the "
                f"resource '{each.name}' above, give the parameter a default, or rename it."
            )


def _name_of(function: Callable[..., Any]) -> str:
    if isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


def _underlying(function: Callable[..., Any]) -> Any:
    """The function that is called in the end: of a partial, or of an object that can be called."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004 - the method itself


@overload
def on_worker_start(method: M) -> M: ...
@overload
def on_worker_start() -> Callable[[M], M]: ...
@knowing_its_arguments
def on_worker_start(method: Any = None) -> Any:
    """Mark a method of a ``Provider`` subclass as a hook that runs in each worker before its first task."""
    return _marking(ON_START, True, method)


@overload
def on_worker_stop(method: M) -> M: ...
@overload
def on_worker_stop() -> Callable[[M], M]: ...
@knowing_its_arguments
def on_worker_stop(method: Any = None) -> Any:
    """Mark a method of a ``Provider`` subclass as a hook that runs in each worker after its last task."""
    return _marking(ON_STOP, True, method)


@overload
def resource(method: M) -> M: ...
@overload
def resource(*, name: str | None = None, lazy: bool = False) -> Callable[[M], M]: ...
@knowing_its_arguments
def resource(method: Any = None, *, name: str | None = None, lazy: bool = False) -> Any:
    """Mark a method of a ``Provider`` subclass as a resource; the arguments are those of ``Provider.resource``."""
    return _marking(RESOURCE, ResourceOptions(name, lazy), method)


def _marking(mark: str, said: object, method: Any) -> Any:
    """A decorator that marks, or a method that is marked: written with or without parentheses."""

    def decorate(method: Any) -> Any:
        if not callable(method) and not isinstance(method, (staticmethod, classmethod)):
            raise RegistrationError(f"a hook or resource is a function; got {method!r}")
        setattr(method, mark, said)
        return method

    return decorate if method is None else decorate(method)


def _generator() -> Iterator[None]:
    yield


async def _async_generator() -> Any:
    yield


#: The code of whatever the decorators of ``contextlib`` return.
_CONTEXT_MANAGERS: Final = tuple(
    decorated.__code__ for decorated in (contextmanager(_generator), asynccontextmanager(_async_generator))
)
