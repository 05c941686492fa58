"""Hooks and resources are checked when they are registered, and in every order of registration mean the same."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import arbd
from arbd.author.binding import RESERVED
from arbd.author.lifespan import COMMON, in_order
from arbd.author.provider import Provider, describe
from arbd.errors import BindingError, RegistrationError


@pytest.fixture
def provider() -> Provider:
    return Provider("fx", logger=object())


def names(provider: Provider, moment: Any) -> list[str]:
    return [hook.name for hook in provider.actions.lifespan.hooks[moment]]


# --- hooks -------------------------------------------------------------------------------------------------------


def test_hooks_with_and_without_parentheses_are_returned_and_kept_in_order(provider: Provider) -> None:
    @provider.on_worker_start
    def one() -> int:
        return 1

    @provider.on_worker_start()
    def two() -> int:
        return 2

    @provider.on_worker_stop
    async def three() -> int:
        return 3

    assert (one(), two()) == (1, 2)
    assert names(provider, "start") == ["one", "two"]
    assert names(provider, "stop") == ["three"]
    assert describe(provider).hooks[-1].is_async


class Callable_:
    def __call__(self, logger: Any) -> None: ...


@pytest.mark.parametrize("function", [Callable_(), functools.partial(lambda logger, x: None, x=1), lambda: None])
def test_whatever_can_be_called_is_a_hook(provider: Provider, function: Callable[..., Any]) -> None:
    provider.on_worker_stop(function)
    assert len(names(provider, "stop")) == 1


@pytest.mark.parametrize("register", ["on_worker_start", "on_worker_stop", "resource"])
def test_a_parameter_that_nothing_can_fill_is_refused(provider: Provider, register: str) -> None:
    def act(payload: Any) -> None: ...

    with pytest.raises(BindingError, match=r"parameter 'payload' of \(payload.*can never be filled.*no task is there"):
        getattr(provider, register)(act)
    assert provider.actions.lifespan.resources == {}
    assert names(provider, "start") == names(provider, "stop") == []


@pytest.mark.parametrize("register", ["on_worker_start", "on_worker_stop", "resource"])
@pytest.mark.parametrize("value", [3, "text"])
def test_what_cannot_be_called_is_refused(provider: Provider, register: str, value: Any) -> None:
    with pytest.raises(RegistrationError):
        getattr(provider, register)(value)


def test_common_values_defaults_and_resources_can_be_filled(provider: Provider) -> None:
    provider.resource(name="db")(lambda: 1)

    @provider.on_worker_start
    def start(logger: Any, provider: Any, timezone: Any, db: Any, *args: Any, other: int = 3, **kwargs: Any) -> Any:
        return logger, provider, timezone, db, args, other, kwargs

    [hook] = provider.actions.lifespan.hooks["start"]
    values = dict(zip((*COMMON, "db"), "lptd", strict=True))
    assert hook.supplied.call(values) == ("l", "p", "t", "d", (), 3, {})
    assert hook.supplied.needs(provider.actions.lifespan.resources) == ["db"]


def test_positional_only_parameters_and_what_a_partial_has_bound(provider: Provider) -> None:
    def start(db: Any = 0, logger: Any = 1, /, timezone: Any = 2) -> Any:
        return db, logger, timezone

    provider.on_worker_start(functools.partial(start, timezone="mine"))
    [hook] = provider.actions.lifespan.hooks["start"]
    assert hook.supplied.call({"logger": "l", "timezone": "theirs"}) == (0, "l", "mine")


def test_a_hook_does_not_yield(provider: Provider) -> None:
    def generator() -> Iterator[None]:
        yield

    async def async_generator() -> AsyncIterator[None]:
        yield

    for function in (generator, async_generator):
        with pytest.raises(RegistrationError, match="a hook does not yield"):
            provider.on_worker_start(function)


# --- resources ---------------------------------------------------------------------------------------------------


def test_a_resource_has_its_function_s_name_or_its_own(provider: Provider) -> None:
    @provider.resource
    def one() -> int:
        return 1

    @provider.resource(name="second", lazy=True)
    def two() -> int:
        return 2

    resources = provider.actions.lifespan.resources
    assert (one(), two()) == (1, 2)
    assert {name: each.lazy for name, each in resources.items()} == {"one": False, "second": True}


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_is_arbd_s_own_is_refused(provider: Provider, name: str) -> None:
    with pytest.raises(RegistrationError, match="arbd's own"):
        provider.resource(name=name)(lambda: 1)


@pytest.mark.parametrize("name", ["", "a b", "class", 3, "<lambda>"])
def test_a_name_that_no_parameter_can_have_is_refused(provider: Provider, name: Any) -> None:
    with pytest.raises(RegistrationError, match="is the name of a parameter"):
        provider.resource(name=name)(lambda: 1)


def test_a_lambda_needs_a_name(provider: Provider) -> None:
    with pytest.raises(RegistrationError, match="is the name of a parameter"):
        provider.resource(lambda: 1)


def test_a_name_twice_is_refused(provider: Provider) -> None:
    provider.resource(name="db")(lambda: 1)
    with pytest.raises(RegistrationError, match="registered twice"):
        provider.resource(name="db")(lambda: 2)


def test_lazy_is_a_truth_value(provider: Provider) -> None:
    with pytest.raises(RegistrationError, match="lazy is True or False"):
        provider.resource(name="db", lazy="no")(lambda: 1)  # type: ignore[call-overload] # the mistake


@pytest.mark.parametrize("decorator", [contextmanager, asynccontextmanager])
def test_a_context_manager_is_refused(provider: Provider, decorator: Callable[..., Any]) -> None:
    def db() -> Iterator[int]:
        yield 1

    with pytest.raises(RegistrationError, match="take the context manager's decorator away"):
        provider.resource(decorator(db))


def test_resources_that_need_each_other_are_refused_with_their_path(provider: Provider) -> None:
    provider.resource(name="a")(lambda c=None: 1)
    provider.resource(name="b")(lambda a: 1)
    with pytest.raises(RegistrationError, match="a -> c -> b -> a"):
        provider.resource(name="c")(lambda b: 1)
    assert list(provider.actions.lifespan.resources) == ["a", "b"]


def test_one_that_needs_itself_is_refused(provider: Provider) -> None:
    with pytest.raises(RegistrationError, match="me -> me"):
        provider.resource(name="me")(lambda me: 1)


def test_each_is_behind_what_it_takes(provider: Provider) -> None:
    provider.resource(name="a")(lambda: 1)
    provider.resource(name="b", lazy=True)(lambda a: 1)
    provider.resource(name="c")(lambda b, a: 1)
    resources = provider.actions.lifespan.resources
    assert in_order(resources, ["c"]) == ["a", "b", "c"]
    assert in_order(resources, ["b", "c", "a"]) == ["a", "b", "c"]
    assert in_order(resources, []) == []


# --- resources and actions ---------------------------------------------------------------------------------------


def test_a_name_that_is_a_key_as_well_is_refused_whichever_comes_first(provider: Provider) -> None:
    provider.actions.register(name="early", payload_schema={"db": str})(lambda db: db)
    with pytest.raises(BindingError, match=r"action 'early': 'db' is a resource of the provider and also a key"):
        provider.resource(name="db")(lambda: 1)
    assert provider.actions.lifespan.resources == {}
    assert provider.actions["early"].binding.resources == ()

    provider.resource(name="pool")(lambda: 1)
    for handler in (lambda pool: pool, lambda payload: payload, lambda **kwargs: kwargs):
        with pytest.raises(BindingError, match="'pool' is a resource"):
            provider.actions.register(name="late", payload_schema={"pool": int | None})(handler)
    assert list(provider.actions) == ["early"]


def test_an_action_that_is_there_already_is_given_the_resource(provider: Provider) -> None:
    provider.actions.register(name="act", timeout=3)(lambda db="default": db)
    assert not provider.actions["act"].binding.resources
    provider.resource(name="db")(lambda: 1)
    assert provider.actions["act"].binding.resources == ("db",)
    assert provider.actions["act"].timeout == 3


def test_a_refusal_names_the_resources_there_are(provider: Provider) -> None:
    provider.resource(name="db")(lambda: 1)
    with pytest.raises(BindingError, match=r"no resource registered above it \(db\)"):
        provider.actions.register(name="act", payload_schema={"a": int})(lambda a, pool: a)


def test_the_description_says_who_uses_what(provider: Provider) -> None:
    provider.resource(name="db")(lambda: 1)

    @provider.resource(lazy=True)
    async def pool(db: Any) -> AsyncIterator[Any]:
        yield db

    provider.actions.register(name="ask")(lambda pool: pool)
    provider.actions.register(name="echo")(lambda payload: payload)
    provider.actions.register(name="all")(lambda **kwargs: kwargs)

    @provider.on_worker_start
    def warm(db: Any) -> None: ...

    found = describe(provider)
    assert [(each.name, each.lazy, each.is_async, each.used_by) for each in found.resources] == [
        ("db", False, False, ["all", "on_worker_start warm", "resource pool"]),
        ("pool", True, True, ["ask", "all"]),
    ]
    assert [each.resources for each in found.actions] == [["pool"], [], ["db", "pool"]]
    assert [(each.moment, each.signature.split("(")[0]) for each in found.hooks] == [("start", "warm")]


# --- methods -----------------------------------------------------------------------------------------------------


class Base(Provider):
    @arbd.action(name="use")
    def use(self, db: Any, late: Any) -> Any:
        return db, late

    @arbd.on_worker_start
    def warm(self, late: Any) -> str:
        return f"base {late}"

    @arbd.resource
    def db(self, late: Any) -> Any:
        return self.name, late

    @arbd.on_worker_stop()
    @staticmethod
    def cool() -> str:
        return "static"

    @classmethod
    @arbd.resource(name="late", lazy=True)
    def anything(cls) -> str:
        return cls.__name__

    @arbd.on_worker_stop
    def removed(self) -> None: ...


class Derived(Base):
    removed = None  # type: ignore[assignment] # removes the hook

    def warm(self, late: Any) -> str:
        return f"derived {late}"


def test_marked_methods_in_any_order() -> None:
    provider = Derived("fx")
    lifespan = provider.actions.lifespan
    assert list(lifespan.resources) == ["db", "late"]
    assert lifespan.resources["late"].lazy
    assert lifespan.resources["db"].supplied.call({"late": 5}) == ("fx", 5)
    assert lifespan.resources["late"].supplied.call({}) == "Derived"
    assert [hook.supplied.call({"late": 1}) for hook in lifespan.hooks["start"]] == ["derived 1"]
    assert [hook.supplied.call({}) for hook in lifespan.hooks["stop"]] == ["static"]
    assert provider.actions["use"].binding.resources == ("db", "late")


def test_marked_methods_that_need_each_other_are_refused() -> None:
    class Circle(Provider):
        @arbd.resource
        def a(self, b: Any) -> None: ...

        @arbd.resource
        def b(self, a: Any) -> None: ...

    with pytest.raises(RegistrationError, match="a -> b -> a"):
        Circle("fx")


def test_a_method_that_hides_the_decorator_is_told_of() -> None:
    """Other frameworks call methods of such a name; here nothing would."""

    class Hidden(Provider):
        def on_worker_start(self, function: Any = None) -> None: ...  # type: ignore[override] # the point

    with pytest.raises(RegistrationError, match=r"Hidden\.on_worker_start takes the place of arbd's decorator"):
        Hidden("fx")


def test_unless_it_is_marked() -> None:
    class Marked(Provider):
        @arbd.on_worker_stop
        def on_worker_stop(self) -> None:  # type: ignore[override] # the point
            ...

    assert names(Marked("fx"), "stop") == ["on_worker_stop"]


def test_a_mark_is_for_functions() -> None:
    with pytest.raises(RegistrationError, match="a hook or resource is a function"):
        arbd.resource(3)
