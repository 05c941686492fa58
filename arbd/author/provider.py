"""``Provider``: the class that an author subclasses or instantiates, and registers actions on.

It holds settings and actions. It runs nothing: ``start()`` hands it to the daemon, which reads it in a process of its
own and runs its actions in workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, overload

from arbd.author.actions import NOT_A_MONITOR, Action, Actions, is_monitor, is_timeout
from arbd.author.lifespan import F, Hook, Moment, Resource, ResourceOptions
from arbd.author.marks import ACTION, ON_START, ON_STOP, RESOURCE, marked_methods
from arbd.author.refused import keeping, knowing_its_arguments
from arbd.author.source import source_of
from arbd.errors import ConfigError, RegistrationError
from arbd.model.description import ActionInfo, Description, HookInfo, Leftover, ResourceInfo
from arbd.model.limit_spec import LimitSpec
from arbd.rate_limit import RateLimitMonitor
from arbd.settings.secrets import placeholder
from arbd.settings.table import TABLE
from arbd.zones import zone

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK_OF: Final[Mapping[Moment, str]] = {"start": ON_START, "stop": ON_STOP}

#: What an argument that was not given means. The environment or ``arbd.toml`` may say otherwise.
DEFAULTS: Final[Mapping[str, Any]] = {
    "name": None,
    "auth_token": None,
    "hub_url": "hub-grpc:50051",
    "execution_timeout": 1,
    "timezone": "UTC",
}


class Provider:
    """A named set of actions and how to run them.

    ``name``               how the hub knows this provider
    ``auth_token``         the hub's token; ``None``: from the environment. In workers it is a stand-in of equal length
    ``hub_url``            where the hub is; default ``hub-grpc:50051``
    ``execution_timeout``  how long an action may run, in seconds, fractions allowed; default 1
    ``rate_limit_monitor`` asked before every action that has none of its own; may also be a class attribute
    ``logger``             what actions are given as ``logger``; default: arbd's own, named after the provider
    ``timezone``           the IANA name of the zone of ``now``; default ``UTC``

    Every argument is an attribute of the same name. ``None`` always means "not given". Raises
    :class:`~arbd.errors.ConfigError` that lists every wrong argument, and what registering the methods marked with
    ``@action`` raises.
    """

    rate_limit_monitor: RateLimitMonitor | None = None

    def __init__(
        self,
        name: str,
        auth_token: str | None = None,
        hub_url: str | None = None,
        execution_timeout: float | None = None,
        rate_limit_monitor: RateLimitMonitor | None = None,
        logger: Any = None,
        timezone: str | None = None,
    ) -> None:
        arguments = {
            "name": name,
            "auth_token": auth_token,
            "hub_url": hub_url,
            "execution_timeout": execution_timeout,
            "timezone": timezone,
        }
        self._explicit = {key: value for key, value in arguments.items() if value is not None}
        problems = [*_problems(self._explicit), *_monitor_problems(rate_limit_monitor)]
        if problems:
            raise ConfigError(problems)
        settings = {**DEFAULTS, **self._explicit}
        self.name: str = settings["name"]
        self.auth_token: str | None = settings["auth_token"]
        self.hub_url: str = settings["hub_url"]
        self.execution_timeout: float = settings["execution_timeout"]
        self.timezone: str = settings["timezone"]
        if rate_limit_monitor is not None:  # otherwise a subclass may have set the class attribute
            self.rate_limit_monitor = rate_limit_monitor
        self.logger = logger if logger is not None else _default_logger(name)
        self.actions = Actions()
        self._register_marked()

    def _register_marked(self) -> None:
        """Register the marked methods: resources first, so that they may stand in any order."""
        with keeping():
            self.actions.add_resources(marked_methods(self, RESOURCE))
        for moment, mark in _MARK_OF.items():
            marked = list(marked_methods(self, mark))
            decorator = f"on_worker_{moment}"
            if getattr(type(self), decorator) is not getattr(Provider, decorator) and decorator not in [
                getattr(method, "__name__", "") for method, _ in marked
            ]:
                raise RegistrationError(
                    f"{type(self).__name__}.{decorator} takes the place of arbd's decorator of that name, and nothing "
                    f"calls it; give the method another name and mark it with @arbd.{decorator}"
                )
            for method, _ in marked:
                with keeping():
                    self.actions.lifespan.add_hook(moment, method)
        for handler, options in marked_methods(self, ACTION):
            with keeping():
                self.actions.add(handler, options)

    @overload
    def on_worker_start(self, function: F) -> F: ...
    @overload
    def on_worker_start(self) -> Callable[[F], F]: ...
    @knowing_its_arguments
    def on_worker_start(self, function: Any = None) -> Any:
        """Decorate a function, plain or ``async``, that each worker runs before its first task. Several run in order of
        registration. Raises ``RegistrationError`` or ``BindingError``."""
        return self._hook("start", function)

    @overload
    def on_worker_stop(self, function: F) -> F: ...
    @overload
    def on_worker_stop(self) -> Callable[[F], F]: ...
    @knowing_its_arguments
    def on_worker_stop(self, function: Any = None) -> Any:
        """Decorate a function, plain or ``async``, that each worker runs after its last task. Several run in reverse
        order of registration. Raises ``RegistrationError`` or ``BindingError``."""
        return self._hook("stop", function)

    def _hook(self, moment: Moment, function: Any) -> Any:
        def decorate(function: F) -> F:
            with keeping():
                self.actions.lifespan.add_hook(moment, function)
            return function

        return decorate if function is None else decorate(function)

    @overload
    def resource(self, function: F) -> F: ...
    @overload
    def resource(self, *, name: str | None = None, lazy: bool = False) -> Callable[[F], F]: ...
    @knowing_its_arguments
    def resource(self, function: Any = None, *, name: str | None = None, lazy: bool = False) -> Any:
        """Decorate a function that makes a value which each worker has of its own: a generator, plain or ``async``,
        that yields it once and closes it behind the ``yield``, or a function that returns it.

        Handlers, hooks and other resources get it by ``name``, by default the function's. ``lazy``: it is made when a
        task first needs it. Raises ``RegistrationError`` or ``BindingError``.
        """

        def decorate(function: F) -> F:
            with keeping():
                self.actions.add_resources([(function, ResourceOptions(name, lazy))])
            return function

        return decorate if function is None else decorate(function)

    @property
    def given(self) -> dict[str, Any]:
        """The settings the author decided: constructor arguments, and attributes set to something else since then."""
        current = {key: getattr(self, key) for key in DEFAULTS}
        return {key: value for key, value in current.items() if key in self._explicit or value != DEFAULTS[key]}

    def redact(self) -> None:
        """Replace the token by a placeholder, before workers share this memory."""
        if self.auth_token:
            self.auth_token = placeholder(self.auth_token)
        self._explicit.pop("auth_token", None)

    def start(self) -> None:
        """Run this provider; the last line of a script. The process becomes ``arbd run``, so this never returns. Raises
        ``ConfigError`` where there is no script to run, as in an interactive session."""
        from arbd.author.start import start

        start(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, actions: {', '.join(self.actions) or 'none'}>"


def describe(
    provider: Provider,
    threads: Iterable[str] = (),
    sources: Iterable[str] = (),
    limits: Iterable[LimitSpec] = (),
    leftovers: Iterable[Leftover] = (),
) -> Description:
    """The description of a provider for the supervisor.

    ``threads`` and ``leftovers`` are what importing its module has left, ``sources`` its files, ``limits`` those of the
    monitors that exist.
    Called before ``redact``: a token in the author's own code reaches the supervisor in this way only.
    """
    lifespan = provider.actions.lifespan
    setting_of = {setting.argument: setting.name for setting in TABLE if setting.argument}
    return Description(
        given={setting_of[key]: value for key, value in provider.given.items()},
        actions=[_describe_action(action) for action in provider.actions.values()],
        hooks=[_describe_hook(moment, hook) for moment, hooks in lifespan.hooks.items() for hook in hooks],
        resources=[_describe_resource(each, provider.actions) for each in lifespan.resources.values()],
        limits=list(limits),
        threads=list(threads),
        sources=list(sources),
        leftovers=list(leftovers),
    )


def _describe_action(action: Action) -> ActionInfo:
    return ActionInfo(
        name=action.name,
        description=action.description,
        timeout=action.timeout,
        payload_schema=action.payload_schema.json_schema(),
        account_schema=action.account_schema.json_schema() if action.checks_account else None,
        signature=action.signature,
        is_async=action.is_async,
        notes=action.notes,
        resources=list(action.binding.resources),
        source=source_of(action.handler),
    )


def _describe_hook(moment: Moment, hook: Hook) -> HookInfo:
    return HookInfo(moment, f"{hook.name}{hook.supplied.signature}", hook.supplied.is_async)


def _describe_resource(resource: Resource, actions: Actions) -> ResourceInfo:
    users = [action.name for action in actions.values() if resource.name in action.binding.resources]
    return ResourceInfo(
        name=resource.name,
        signature=f"{resource.name}{resource.supplied.signature}",
        lazy=resource.lazy,
        is_async=resource.supplied.is_async,
        used_by=[*users, *actions.lifespan.users_of(resource.name)],
    )


def _problems(given: Mapping[str, Any]) -> Iterable[str]:
    """One sentence for every argument that cannot work; the token's value is never shown."""
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        yield f"name: needs a text that is not empty; got {name!r}"
    if not isinstance(given.get("auth_token", ""), str):
        yield f"auth_token: needs a text or None; got {type(given['auth_token']).__name__}"
    hub_url = given.get("hub_url", DEFAULTS["hub_url"])
    if not isinstance(hub_url, str) or not hub_url.strip():
        yield f"hub_url: needs an address such as hub-grpc:50051; got {hub_url!r}"
    timeout = given.get("execution_timeout", DEFAULTS["execution_timeout"])
    if not is_timeout(timeout):
        yield f"execution_timeout: needs a number of seconds above 0; got {timeout!r}"
    yield from _timezone_problems(given.get("timezone", DEFAULTS["timezone"]))


def _timezone_problems(timezone: object) -> Iterable[str]:
    if not isinstance(timezone, str):
        yield f"timezone: needs a name such as 'Europe/Moscow'; got {timezone!r}"
        return
    try:
        zone(timezone)
    except ValueError as exc:
        yield f"timezone: {exc}"


def _monitor_problems(monitor: object) -> Iterable[str]:
    if monitor is not None and not is_monitor(monitor):
        yield NOT_A_MONITOR.format(monitor)


def _default_logger(name: str) -> Any:
    from arbd.logs import default_logger  # here, so that an author's own logger saves the import

    return default_logger(name)
