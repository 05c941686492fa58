"""The actions of a provider, checked and compiled at registration.

    @provider.actions.register(name="ping")     a function, at once
    @action(name="ping")                        a method of a Provider subclass, when the provider is constructed

Everything that can be wrong with an action is found here, before a worker exists: its name, its timeout, its schemas
(``SchemaError``) and its parameters (``BindingError``). Registration order is kept: it is the order of every list of
actions that users see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec

from arbd.author.binding import Binding, Handler, bind
from arbd.author.lifespan import Lifespan, Resource, ResourceOptions
from arbd.author.marks import ACTION
from arbd.author.refused import keeping, knowing_its_arguments
from arbd.errors import ActionNotFoundError, DuplicateActionError, RegistrationError
from arbd.rate_limit import RateLimitMonitor, TimeBasedRateLimitMonitor
from arbd.schema import Schema, compile_schema

H = TypeVar("H", bound=Callable[..., Any])

AfterTimeout = Literal["replace", "keep"]


class ActionOptions(msgspec.Struct, frozen=True):
    """The options that an author gives for an action. ``timeout`` is in seconds. ``after_timeout``: what becomes of a
    worker in which a timeout or a cancel interrupted this action. It may hold half a reply or half a transaction, so
    ``replace`` has it replaced; ``keep`` is for actions that leave nothing half done.

    Defaults: the handler's name; the first line of its docstring; any JSON object; no look at the account; the
    provider's ``execution_timeout`` and monitor; ``replace``.
    """

    name: str | None = None
    description: str | None = None
    payload_schema: Any = None
    account_schema: Any = None
    timeout: float | None = None
    rate_limit_monitor: RateLimitMonitor | None = None
    after_timeout: AfterTimeout = "replace"


class Action(msgspec.Struct, frozen=True):
    """One compiled action.

    ``timeout`` in seconds and ``rate_limit_monitor`` are ``None`` where the provider's hold. ``checks_account`` tells
    whether the author gave an account schema; without one ``account_schema`` takes any JSON object.
    """

    name: str
    description: str
    handler: Handler
    payload_schema: Schema
    account_schema: Schema
    checks_account: bool
    timeout: float | None
    rate_limit_monitor: RateLimitMonitor | None
    binding: Binding
    after_timeout: AfterTimeout

    @property
    def signature(self) -> str:
        """The action's name, followed by the handler's parameters as Python writes them."""
        return f"{self.name}{self.binding.signature}"

    @property
    def is_async(self) -> bool:
        """Whether the handler is declared ``async``. Any other handler may still return an awaitable."""
        call = getattr(self.handler, "__call__", None)  # noqa: B004 - the method itself, for objects with async __call__
        return inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(call)

    @property
    def notes(self) -> list[str]:
        """Remarks of ``arbd check`` about this action: not wrong, but easily overlooked."""
        return self.binding.notes


class Actions(Mapping[str, Action]):
    """The actions of one provider: a mapping from names, in order of registration."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        #: What the workers that run them have: hooks and resources.
        self.lifespan = Lifespan()
        #: Asked before actions that have no monitor of their own, in place of the provider's.
        self.default_monitor: RateLimitMonitor | None = None
        #: In a worker: tells all workers of a limit that is set now. ``None`` for the action: the default.
        self.tell_workers: Callable[[str | None, RateLimitMonitor], None] | None = None

    @knowing_its_arguments
    def register(
        self,
        name: str | None = None,
        description: str | None = None,
        payload_schema: Any = None,
        account_schema: Any = None,
        timeout: float | None = None,
        rate_limit_monitor: RateLimitMonitor | None = None,
        after_timeout: AfterTimeout = "replace",
    ) -> Callable[[H], H]:
        """Decorate a handler to register it; it is returned unchanged. :class:`ActionOptions` has the defaults. The
        decorator raises :class:`~arbd.errors.RegistrationError` or one of its subclasses; while ``arbd`` loads the
        code, that is kept, and told with all others at the end."""
        options = ActionOptions(
            name, description, payload_schema, account_schema, timeout, rate_limit_monitor, after_timeout
        )

        if callable(name):
            return _without_parentheses(name)

        def decorate(handler: H) -> H:
            with keeping():
                self.add(handler, options)
            return handler

        return decorate

    def add(self, handler: Handler, options: ActionOptions) -> Action:
        """Compile and register ``handler``, as ``register`` does. Raises ``RegistrationError`` or a subclass."""
        action = _compile(handler, options, self.lifespan.resources)
        if action.name in self._actions:
            raise DuplicateActionError(f"action '{action.name}' is registered twice; give one of them another name")
        self._actions[action.name] = action
        return action

    def add_resources(self, functions: Iterable[tuple[Callable[..., Any], ResourceOptions]]) -> None:
        """Register resources, and give them to the actions there are. Raises ``RegistrationError`` or a subclass; then
        none of them is registered."""
        resources = self.lifespan.with_resources(functions)
        rebound = {name: _rebound(action, resources) for name, action in self._actions.items()}
        self.lifespan.resources = resources
        self._actions = rebound

    def set_default_rate_limit(self, min_delay: float = 1.0) -> None:
        """Allow one start per ``min_delay`` seconds of all actions without a limit of their own, together."""
        monitor = TimeBasedRateLimitMonitor(min_delay=min_delay)
        if self.tell_workers is not None:
            self.tell_workers(None, monitor)
        self.default_monitor = monitor

    def set_rate_limit(self, action_name: str, min_delay: float = 1.0) -> None:
        """Allow one start of this action per ``min_delay`` seconds."""
        self.set_custom_rate_limit(action_name, TimeBasedRateLimitMonitor(min_delay=min_delay))

    def set_custom_rate_limit(self, action_name: str, monitor: RateLimitMonitor) -> None:
        """Have this monitor limit an action, in place of its own or the provider's.

        Inside a running daemon this holds for all workers, from their next task on, until the code is loaded again;
        only a built-in monitor can be set there. Raises :class:`~arbd.errors.ActionNotFoundError`, and
        ``RegistrationError`` for what is no monitor.
        """
        if not is_monitor(monitor):
            raise RegistrationError(f"action {action_name!r}: {NOT_A_MONITOR.format(monitor)}")
        if self.tell_workers is not None:
            self.find(action_name)
            self.tell_workers(action_name, monitor)
        changed = msgspec.structs.replace(self.find(action_name), rate_limit_monitor=monitor)
        self._actions[action_name] = changed

    def find(self, name: str) -> Action:
        """The action of that name. Raises :class:`~arbd.errors.ActionNotFoundError`."""
        try:
            return self._actions[name]
        except KeyError:
            raise ActionNotFoundError(f"Action '{name}' not found", {"available_actions": list(self)}) from None

    def __getitem__(self, name: str) -> Action:
        return self._actions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._actions)

    def __len__(self) -> int:
        return len(self._actions)

    def __repr__(self) -> str:
        return f"<Actions {', '.join(self) or 'none'}>"


@knowing_its_arguments
def action(
    name: str | None = None,
    description: str | None = None,
    payload_schema: Any = None,
    account_schema: Any = None,
    timeout: float | None = None,
    rate_limit_monitor: RateLimitMonitor | None = None,
    after_timeout: AfterTimeout = "replace",
) -> Callable[[H], H]:
    """Mark a method of a ``Provider`` subclass as an action; the arguments are those of ``Actions.register``.

    ``arbd.author.marks`` says what becomes of it in subclasses.
    """
    options = ActionOptions(
        name, description, payload_schema, account_schema, timeout, rate_limit_monitor, after_timeout
    )
    if callable(name):
        return _without_parentheses(name)
    is_good = False
    with keeping():
        _check_name(name)
        _check_options("an action" if name is None else f"action '{name}'", options)
        is_good = True

    def mark(method: H) -> H:
        if is_good:
            setattr(method, ACTION, options)
        return method

    return mark


def _without_parentheses(handler: Any) -> Any:
    """Refuse a decorator that was given the function itself: it would decorate nothing, and nobody would know."""
    with keeping():
        _check_name(handler)
    return handler


def _rebound(action: Action, resources: Mapping[str, Resource]) -> Action:
    """The action as it is with these resources."""
    binding = bind(action.handler, action.payload_schema, where=f"action '{action.name}'", resources=resources)
    return msgspec.structs.replace(action, binding=binding)


def _compile(handler: Handler, options: ActionOptions, resources: Mapping[str, Resource]) -> Action:
    _check_name(options.name)
    name = options.name or _name_of(handler)
    where = f"action '{name}'"
    _check_options(where, options)
    payload_schema = compile_schema(options.payload_schema, where=f"{where}: payload_schema")
    return Action(
        name=name,
        description=_description_of(handler) if options.description is None else options.description,
        handler=handler,
        payload_schema=payload_schema,
        account_schema=compile_schema(options.account_schema, where=f"{where}: account_schema"),
        checks_account=options.account_schema is not None,
        timeout=options.timeout,
        rate_limit_monitor=options.rate_limit_monitor,
        binding=bind(handler, payload_schema, where=where, resources=resources),
        after_timeout=options.after_timeout,
    )


def _check_name(name: object) -> None:
    if callable(name):
        which = getattr(name, "__name__", repr(name))
        raise RegistrationError(f"write parentheses after the decorator of {which}: @action() or @actions.register()")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise RegistrationError(f"an action's name is a text that is not empty; got {name!r}")


def _check_options(where: str, options: ActionOptions) -> None:
    timeout, monitor = options.timeout, options.rate_limit_monitor
    if not is_timeout(timeout) and timeout is not None:
        raise RegistrationError(f"{where}: timeout is a number of seconds above 0; got {timeout!r}")
    if not is_monitor(monitor) and monitor is not None:
        raise RegistrationError(f"{where}: {NOT_A_MONITOR.format(monitor)}")
    if options.after_timeout not in get_args(AfterTimeout):
        allowed = " or ".join(map(repr, get_args(AfterTimeout)))
        raise RegistrationError(f"{where}: after_timeout is {allowed}; got {options.after_timeout!r}")


NOT_A_MONITOR: Final = "rate_limit_monitor needs a method check_rate_limits(); got {!r}"


def is_monitor(value: object) -> bool:
    """Whether a value can be used as a monitor: any object with the method can."""
    return callable(getattr(value, "check_rate_limits", None))


def is_timeout(value: object) -> bool:
    """Whether a value is a timeout: a finite number of seconds above zero, and not ``True``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value > 0


def _name_of(handler: Handler) -> str:
    name = getattr(handler, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise RegistrationError(f"{handler!r} has no name of its own; register it with name=...")
    return name


def _description_of(handler: Handler) -> str:
    # A partial or a callable object would give the docstring of its class.
    doc = inspect.getdoc(handler) if inspect.isroutine(handler) else None
    return doc.strip().partition("\n")[0] if doc else ""
