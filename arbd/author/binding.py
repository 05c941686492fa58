"""Binding of a handler's parameters: worked out once at registration, a plain closure afterwards.

    registration   bind(handler, schema)      -> Binding    refuses a parameter that nothing can fill
    worker start   binding.prepare(settings)  -> call       picks the shortest closure that does the job
    every task     call(payload, account, task, deadline)   -> whatever the handler returns

Parameters are filled by name, wherever they stand in the signature:

* a *reserved* name gets arbd's own value (``RESERVED`` lists them). It wins over a payload key of the same name,
  which stays readable as ``payload["..."]``; ``Binding.notes`` says where that happens;
* the name of a *resource* of the provider gets that; neither the payload nor a default of the handler takes its place,
  and a schema with a key of that name is refused;
* any other name gets the top-level payload key of that name, or the handler's default when the key is absent;
* ``**kwargs`` gets everything that no other parameter took; ``*args`` gets nothing.

A required parameter is refused if its key can never come. If the key *may* come (an optional key, or no schema at
all) it is accepted, and a task without the key is answered as a payload that lacks it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec

from arbd.errors import BindingError, InvalidPayloadError
from arbd.model.task import Task, TaskInfo
from arbd.schema import Schema
from arbd.zones import zone

RESERVED: Final = ("payload", "account", "logger", "provider", "timezone", "now", "now_utc", "task")

#: functools.wraps shows the signature of the function inside, with what the decorator itself fills.
_DECORATED: Final = (
    " Its function is decorated: if the decorator fills '{0}' itself, have it say so, by a __signature__ without '{0}'"
)

Handler = Callable[..., Any]
Call = Callable[[Any, Any, Task, float], Any]
"""A bound handler: payload, account, task, deadline (seconds of the monotonic clock)."""


class MissingParametersError(InvalidPayloadError):
    """The payload fits its schema but lacks keys that the handler requires: ``names``."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"Missing required parameters: {', '.join(names)}")
        self.names = names


class ResourceValues(dict[str, Any]):
    """The open resources of a process, by name."""

    def open(self, name: str, deadline: float) -> Any:
        """Open one that is not among them yet; its value. Raises what opening it raises. ``deadline``: seconds of the
        monotonic clock."""
        raise KeyError(name)


class BindingContext(msgspec.Struct, frozen=True):
    """The values handlers may ask for that are the same for every task. ``timezone`` is an IANA name."""

    provider: str
    timezone: str
    logger: Any
    utc_now: Callable[[], datetime]
    resources: ResourceValues = msgspec.field(default_factory=ResourceValues)


class CallValues(msgspec.Struct, gc=False):
    """The values of one call, from which the parameters are read."""

    payload: Any
    fields: dict[str, Any]
    account: Any
    task: Task
    deadline: float
    now_utc: datetime | None


Reader = Callable[[CallValues], Any]

_NOT_OPEN: Final = object()


class Binding:
    """The call plan of one handler, made by :func:`bind`; it never changes."""

    __slots__ = (
        *("handler", "signature", "positional", "keyword", "takes_rest"),
        *("fixed", "wanted", "needed", "promised", "notes", "resources"),
    )

    def __init__(
        self, handler: Handler, signature: inspect.Signature, schema: Schema, where: str, resources: Collection[str]
    ) -> None:
        self.handler = handler
        self.signature = signature
        #: Parameters passed by position, and those that can only be passed by keyword.
        self.positional: list[inspect.Parameter] = []
        self.keyword: list[inspect.Parameter] = []
        self.takes_rest = False
        #: What ``functools.partial`` has bound: the author's choice, not the caller's.
        self.fixed = _fixed_by(handler) if isinstance(handler, partial) else frozenset()
        for parameter in signature.parameters.values():
            self._place(parameter, schema, where, resources)
        named = {p.name for p in (*self.positional, *self.keyword)}
        #: Resources this handler is given; with ``**kwargs`` all that there are.
        self.resources = tuple(
            name for name in resources if name in named or (self.takes_rest and name not in self.fixed)
        )
        #: Reserved values this handler is given.
        self.wanted = frozenset(RESERVED if self.takes_rest else named.intersection(RESERVED))
        #: Keys that the handler cannot do without.
        self.needed = [
            p.name
            for p in (*self.positional, *self.keyword)
            if p.name not in RESERVED and p.name not in resources and p.default is p.empty
        ]
        #: Every parameter that is no resource is a key that each valid payload has.
        self.promised = named.difference(resources) <= schema.required.difference(RESERVED)
        self.notes = list(self._notes(schema))

    def _place(self, parameter: inspect.Parameter, schema: Schema, where: str, resources: Collection[str]) -> None:
        if parameter.kind is parameter.VAR_KEYWORD:
            self.takes_rest = True
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in self.fixed:
            can_be_filled = parameter.name in resources or _can_be_filled(parameter.name, schema)
            if parameter.default is parameter.empty and not can_be_filled:
                raise BindingError(
                    _refusal(parameter.name, self.signature, schema, where, resources)
                    + (_DECORATED.format(parameter.name) if hasattr(self.handler, "__wrapped__") else "")
                )
            placed = self.keyword if parameter.kind is parameter.KEYWORD_ONLY else self.positional
            placed.append(parameter)

    def _notes(self, schema: Schema) -> Iterator[str]:
        for name in RESERVED:
            if name in self.wanted and name in (schema.keys or ()):
                yield f"'{name}' is arbd's own value here; the payload key of that name is payload['{name}']"
        for name in self.needed:
            if name not in schema.required:
                yield f"parameter '{name}' has no default and payload_schema does not require it: tasks without it fail"
                if hasattr(self.handler, "__wrapped__"):
                    yield _DECORATED.format(name).strip()

    def prepare(self, context: BindingContext) -> Call:
        """The function that fills the parameters and calls the handler. It raises :class:`MissingParametersError`
        before the handler starts, what opening a resource raises, and otherwise what the handler raises."""
        names = [p.name for p in self.positional]
        if self.resources:
            return self._with_resources(names, context)
        if self.keyword or self.takes_rest:
            return self._general(context)
        return self._plain(self.handler, names, context)

    def _plain(self, handler: Handler, names: list[str], context: BindingContext) -> Call:
        """The shortest function for parameters that are passed by position."""
        if not names:
            return lambda payload, account, task, deadline: handler()
        if names == ["payload"]:
            return lambda payload, account, task, deadline: handler(payload)
        general = self._general(context)
        return _from_keys(handler, names, general) if self.promised else general

    def _with_resources(self, names: list[str], context: BindingContext) -> Call:
        """The function for a handler that takes resources. What is open stays open as long as there are tasks, so once
        all of them are, they are bound to the handler, and the rest costs what it costs without."""
        handler, wanted, opened = self.handler, self.resources, context.resources
        lead = [name for name in names if name in wanted]
        keys = [name for name in names if name not in wanted]
        by_position_only = any(p.kind is p.POSITIONAL_ONLY for p in self.positional if p.name in wanted)
        is_plain = self.promised or keys == ["payload"]
        if not is_plain or self.takes_rest or not all(p.name in wanted for p in self.keyword):
            return self._general(context)
        if names != [*lead, *keys]:
            if by_position_only or names != [*keys, *lead]:
                return self._general(context)
            lead = []
        named = [name for name in wanted if name not in lead]

        def bound(deadline: float) -> Call:
            found = {name: _value_of(name, opened, deadline) for name in wanted}
            filled = partial(handler, *(found[name] for name in lead), **{name: found[name] for name in named})
            return self._plain(filled, keys, context)

        if all(name in opened for name in wanted):
            return bound(0.0)
        run: Call | None = None

        def call(payload: Any, account: Any, task: Task, deadline: float) -> Any:
            nonlocal run
            if run is None:
                run = bound(deadline)
            return run(payload, account, task, deadline)

        return call

    def _general(self, context: BindingContext) -> Call:
        handler, needed = self.handler, self.needed
        reserved = _reserved_readers(context)
        reserved.update((name, _resource_reader(name, context.resources)) for name in self.resources)
        positional = [_reader(p, reserved) for p in self.positional]
        keyword = [(p.name, _reader(p, reserved)) for p in self.keyword]
        named = {p.name for p in (*self.positional, *self.keyword)}
        taken = named.union(reserved, self.fixed)
        rest = [(name, read) for name, read in reserved.items() if name not in named | self.fixed]
        takes_rest = self.takes_rest
        utc_now = context.utc_now if self.wanted & {"now", "now_utc"} else _no_time

        def call(payload: Any, account: Any, task: Task, deadline: float) -> Any:
            keys = fields_of(payload)
            if missing := [name for name in needed if name not in keys]:
                raise MissingParametersError(missing)
            values = CallValues(payload, keys, account, task, deadline, utc_now())
            args = [read(values) for read in positional]
            kwargs = {name: read(values) for name, read in keyword}
            if takes_rest:
                kwargs.update((name, read(values)) for name, read in rest)
                kwargs.update((key, value) for key, value in keys.items() if key not in taken)
            return handler(*args, **kwargs)

        return call


def bind(handler: Handler, schema: Schema, *, where: str, resources: Collection[str] = ()) -> Binding:
    """The binding of ``handler``. ``where`` names the action in messages, ``resources`` are those of the provider.

    Raises :class:`~arbd.errors.BindingError` for a signature that cannot be read, a required parameter that nothing can
    ever fill, and a key of the schema that has the name of a resource.
    """
    if not callable(handler):
        raise BindingError(f"{where}: the handler is {handler!r}, which cannot be called")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError) as exc:  # some C callables carry no signature
        raise BindingError(f"{where}: {handler!r} has no readable signature; wrap it in a function") from exc
    for name in resources:
        if name in (schema.keys or ()):
            raise BindingError(
                f"{where}: '{name}' is a resource of the provider and also a key of payload_schema, so nobody can tell "
                f"which of them a parameter means. Rename one of them; @resource(name=...) renames the resource"
            )
    return Binding(handler, signature, schema, where, resources)


def _fixed_by(handler: partial[Any]) -> frozenset[str]:
    """The names of the parameters that a partial has bound, by keyword or by position."""
    try:
        parameters = list(inspect.signature(handler.func).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    bound = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][: len(handler.args)]
    return frozenset((*handler.keywords, *(p.name for p in bound if p.kind is p.POSITIONAL_OR_KEYWORD)))


def fields_of(payload: Any) -> dict[str, Any]:
    """The top-level keys and values of a decoded payload, whatever the schema decodes it to."""
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, msgspec.Struct):
        names = payload.__struct_fields__
    elif is_dataclass(payload):
        names = tuple(field.name for field in fields(payload))
    else:  # a pydantic model keeps its fields there
        names = tuple(vars(payload))
    return {name: value for name in names if (value := getattr(payload, name)) is not msgspec.UNSET}


def _can_be_filled(name: str, schema: Schema) -> bool:
    return name in RESERVED or schema.keys is None or name in schema.keys


def _refusal(name: str, signature: inspect.Signature, schema: Schema, where: str, resources: Collection[str]) -> str:
    keys = ", ".join(sorted(schema.keys or ())) or "none"
    above = f", no resource registered above it ({', '.join(resources)})" if resources else ""
    return (
        f"{where}: parameter '{name}' of handler{signature} can never be filled. It has no default, is no key of "
        f"payload_schema (keys: {keys}){above} and no reserved name ({', '.join(RESERVED)}). Add '{name}' to "
        f"payload_schema, give the parameter a default, or rename it."
    )


def _value_of(name: str, resources: ResourceValues, deadline: float) -> Any:
    value = resources.get(name, _NOT_OPEN)
    return resources.open(name, deadline) if value is _NOT_OPEN else value


def _resource_reader(name: str, resources: ResourceValues) -> Reader:
    return lambda values: _value_of(name, resources, values.deadline)


def _from_keys(handler: Handler, names: list[str], otherwise: Call) -> Call:
    """The function for keys that every valid payload has: one C-level look-up for all of them. A payload that is an
    object instead of a dict goes the general way, because a field may be ``UNSET``."""
    if len(names) == 1:
        name = names[0]

        def call_one(payload: Any, account: Any, task: Task, deadline: float) -> Any:
            if type(payload) is dict:
                return handler(payload[name])
            return otherwise(payload, account, task, deadline)

        return call_one
    pick = itemgetter(*names)

    def call_many(payload: Any, account: Any, task: Task, deadline: float) -> Any:
        if type(payload) is dict:
            return handler(*pick(payload))
        return otherwise(payload, account, task, deadline)

    return call_many


def _reader(parameter: inspect.Parameter, reserved: dict[str, Reader]) -> Reader:
    name, default = parameter.name, parameter.default
    if name in reserved:
        return reserved[name]
    # A key without a default is known to be there by now, so `.get` never hands out inspect's "empty" marker.
    return lambda values: values.fields.get(name, default)


def _reserved_readers(context: BindingContext) -> dict[str, Reader]:
    provider, timezone, logger = context.provider, context.timezone, context.logger
    local = zone(timezone)
    return {
        "payload": attrgetter("payload"),
        "account": attrgetter("account"),
        "logger": lambda values: logger,
        "provider": lambda values: {"name": provider},  # a new dict each time: a handler may change its own
        "timezone": lambda values: timezone,
        "now": lambda values: values.now_utc.astimezone(local) if values.now_utc else None,
        "now_utc": attrgetter("now_utc"),
        "task": lambda values: TaskInfo(values.task.id, values.task.action, values.deadline, values.task.traceparent),
    }


def _no_time() -> None:
    """The clock for a handler that did not ask for the time: it returns ``None``."""
