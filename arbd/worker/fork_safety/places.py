"""Where an object is held: the global name of a module that leads to it.

A walk, breadth first and bounded, from the names of modules to what they hold, what that holds, and so on. Not into
other modules, their classes and functions: those lead everywhere. A database pool is some steps below ``shop.engine``.

No object is asked what it is: ``isinstance`` runs the ``__class__`` of a proxy, which raises outside of its context.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, Final, NamedTuple

#: Objects that a walk looks at, at most: 0.1 s.
MOST_OBJECTS: Final = 200_000
_FAR: Final = 40
_ATOMS: Final = (str, bytes, bytearray, int, float, complex, bool, type(None), CodeType, FrameType)
_NOT_SHOWN: Final = frozenset({"__builtins__", "__spec__", "__loader__", "__annotations__", "__cached__", "__doc__"})


class Held(NamedTuple):
    """An object, and the place where it was found first: ``shop.session``, or ``shop.Client.session``."""

    place: str
    value: Any


def is_a(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether an object is of that type, as Python knows it."""
    return issubclass(type(value), kind)


def walk(modules: Mapping[str, ModuleType], *, depth: int = _FAR, most: int = MOST_OBJECTS) -> Iterator[Held]:
    """What these modules hold, nearest first; ``depth`` steps from a global name at most."""
    own = frozenset(modules)
    seen = {id(vars(module)) for module in list(sys.modules.values()) if isinstance(module, ModuleType)}
    queue = deque((f"{name}.{key}", value, 0) for name, module in modules.items() for key, value in _globals(module))
    while queue and most > 0:
        place, value, steps = queue.popleft()
        if id(value) in seen or is_a(value, _ATOMS):
            continue
        seen.add(id(value))
        most -= 1
        yield Held(place, value)
        if steps < depth and _leads_on(value, own):
            queue.extend((_below(place, key, steps), each, steps + 1) for key, each in _parts(value))


def _globals(module: ModuleType) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in list(vars(module).items()) if key not in _NOT_SHOWN]


def _leads_on(value: Any, own: Collection[str]) -> bool:
    if is_a(value, (type, FunctionType)):
        return getattr(value, "__module__", None) in own
    return not is_a(value, ModuleType)


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What an object holds, with the name of an attribute where it has one."""
    if type(value) is dict:
        return [("", each) for each in [*value.values(), *(key for key in value if not is_a(key, str))]]
    named = list(vars(value).items()) if is_a(value, type) else _attributes(value)
    if is_a(value, FunctionType):
        cells = [cell for cell in gc.get_referents(value) if type(cell).__name__ in ("cell", "tuple", "dict")]
        return [("", cell) for cell in cells]
    if is_a(value, type):
        return named
    if is_a(value, MethodType):
        return [("", value.__self__)]
    return [*named, *(("", each) for each in gc.get_referents(value))]


def _attributes(value: Any) -> list[tuple[str, Any]]:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # it has none
        return []
    return list(attributes.items()) if type(attributes) is dict else []


def _below(place: str, key: object, steps: int) -> str:
    """The place of a part: its attribute's name is added to that of a global."""
    return f"{place}.{key}" if steps == 0 and isinstance(key, str) and key.isidentifier() else place


def number_of(value: Any) -> int:
    """The descriptor of an object that has one; -1 without. Only a method of its class is asked, not what an object
    answers that makes itself at first use."""
    if is_a(value, type) or getattr(type(value), "fileno", None) is None:
        return -1
    try:
        number = value.fileno()
    except Exception:  # closed, or it has none of its own
        return -1
    return number if type(number) is int else -1


class Holders(NamedTuple):
    """The places of descriptors, by number; of event loops that are not closed; of the files of sqlite connections.
    ``native``: those of loops in C (uvloop), whose descriptors no name leads to."""

    descriptors: dict[int, str]
    loops: list[str]
    databases: dict[str, str]
    native: list[str]


def holders_of(
    numbers: Collection[int], modules: Mapping[str, ModuleType], others: Callable[[], Mapping[str, ModuleType]]
) -> Holders:
    """Who holds these descriptors: a name of ``modules``, the author's, or else one of ``others``."""
    found = Holders({}, [], {}, [])
    if numbers:
        _search(found, numbers, walk(modules))
        if not found.loops and (loop := current_loop()) is not None:
            _search(found, numbers, [Held("asyncio.get_event_loop()", loop)])
    if set(numbers) - set(found.descriptors):
        _search(found, numbers, walk(others()))
    return found


def _search(found: Holders, numbers: Collection[int], held: Iterable[Held]) -> None:
    sqlite = sys.modules.get("sqlite3")
    for place, value in held:
        number = number_of(value)
        if number in numbers:
            found.descriptors.setdefault(number, place)
        if is_a(value, asyncio.AbstractEventLoop) and not value.is_closed():
            found.loops.append(place)
            own = _of_loop(value)
            found.descriptors.update(dict.fromkeys(own, place))
            if not own:
                found.native.append(place)
        if sqlite is not None and is_a(value, sqlite.Connection):
            found.databases.update(dict.fromkeys(files_of_sqlite(value), place))


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that is set for this thread and not closed. Looked at without asking, which would make one."""
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    loop = getattr(getattr(policy, "_local", None), "_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) and not loop.is_closed() else None


def _of_loop(loop: asyncio.AbstractEventLoop) -> list[int]:
    """The descriptors that an event loop of asyncio has for itself."""
    own = [getattr(loop, name, None) for name in ("_selector", "_ssock", "_csock")]
    return [number for each in own if each is not None and (number := number_of(each)) >= 0]


def files_of_sqlite(connection: Any) -> list[str]:
    """The files that a connection has open; none of a database in memory."""
    try:
        cursor = connection.cursor()
        cursor.row_factory = None
        return [row[2] for row in cursor.execute("PRAGMA database_list") if row[2]]
    except Exception:  # closed, of another thread, or in the middle of something
        return []
