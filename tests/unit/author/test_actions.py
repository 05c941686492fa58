"""An action is checked and compiled when it is registered; what can never work is refused there, in words."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.author.actions import Action, Actions, action
from arbd.author.marks import ACTION, marked_methods
from arbd.errors import (
    ActionNotFoundError,
    BindingError,
    DuplicateActionError,
    ProviderError,
    RegistrationError,
    SchemaError,
)
from arbd.rate_limit import NoRateLimitMonitor


def registered(handler: Any, **options: Any) -> Action:
    actions = Actions()
    actions.register(**options)(handler)
    [only] = actions.values()
    return only


def test_register_gives_the_handler_back() -> None:
    def handler() -> None: ...

    assert Actions().register(name="ping")(handler) is handler


def test_everything_the_author_said_is_kept() -> None:
    monitor = NoRateLimitMonitor()

    def handler(a: int, *, b: str = "x") -> None: ...

    made = registered(
        handler,
        name="act",
        description="Acts",
        payload_schema={"a": int, "b": str},
        account_schema={"api_key": str},
        timeout=0.25,
        rate_limit_monitor=monitor,
    )
    assert (made.name, made.description, made.timeout, made.handler) == ("act", "Acts", 0.25, handler)
    assert made.rate_limit_monitor is monitor
    assert made.payload_schema.summary == {"a": "str", "b": "str"} | {"a": "int"}
    assert made.account_schema.summary == {"api_key": "str"}
    assert made.checks_account is True
    assert made.signature == "act(a: 'int', *, b: 'str' = 'x') -> 'None'"
    assert made.is_async is False


def test_defaults() -> None:
    def ping() -> None:
        """Answers at once.

        More words.
        """

    made = registered(ping)
    assert (made.name, made.description, made.timeout) == ("ping", "Answers at once.", None)
    assert made.rate_limit_monitor is None
    assert made.payload_schema.decode(b'{"any": 1}') == {"any": 1}
    assert made.checks_account is False


def test_an_object_s_class_does_not_describe_the_action() -> None:
    class Caller:
        """About the class."""

        def __call__(self) -> None: ...

    assert registered(Caller(), name="act").description == ""


def test_an_async_handler_is_known_as_one() -> None:
    async def handler() -> None: ...

    class AsyncObject:
        async def __call__(self) -> None: ...

    assert registered(handler).is_async is True
    assert registered(AsyncObject(), name="act").is_async is True


def test_the_registry_is_a_mapping_in_order_of_registration() -> None:
    actions = Actions()
    for name in ("zulu", "alpha", "mike"):
        actions.register(name=name)(lambda: None)
    assert list(actions) == ["zulu", "alpha", "mike"]
    assert len(actions) == 3
    assert "alpha" in actions
    assert actions.get("november") is None
    assert actions["mike"].name == "mike"
    assert repr(actions) == "<Actions zulu, alpha, mike>"
    assert repr(Actions()) == "<Actions none>"


def test_find_tells_what_there_is() -> None:
    actions = Actions()
    actions.register(name="ping")(lambda: None)
    assert actions.find("ping") is actions["ping"]
    with pytest.raises(ActionNotFoundError, match="Action 'pong' not found") as caught:
        actions.find("pong")
    assert caught.value.data == {"available_actions": ["ping"]}


def test_a_name_twice_is_refused() -> None:
    actions = Actions()
    actions.register(name="ping")(lambda: None)
    with pytest.raises(DuplicateActionError, match="'ping' is registered twice"):
        actions.register(name="ping")(lambda: 1)
    assert actions["ping"].handler() is None


@pytest.mark.parametrize("name", ["", "  ", 7, b"ping"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(RegistrationError, match="an action's name is a text"):
        registered(lambda: None, name=name)


def test_a_handler_without_a_name_needs_one() -> None:
    with pytest.raises(RegistrationError, match="has no name of its own"):
        registered(lambda: None)


def test_a_decorator_without_parentheses_is_explained() -> None:
    def handler() -> None: ...

    with pytest.raises(RegistrationError, match="write parentheses"):
        action(handler)  # type: ignore[arg-type] # the slip itself
    with pytest.raises(RegistrationError, match="write parentheses"):
        Actions().register(handler)(handler)  # type: ignore[arg-type] # the slip itself


@pytest.mark.parametrize("timeout", [0, -1, True, float("nan"), float("inf"), "5"])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(RegistrationError, match="timeout is a number of seconds above 0"):
        registered(lambda: None, name="act", timeout=timeout)


def test_a_refusal_names_the_function_where_the_action_has_no_name_of_its_own() -> None:
    def handler() -> None: ...

    with pytest.raises(RegistrationError, match="action 'handler': after_timeout is 'replace' or 'keep'"):
        Actions().register(after_timeout="maybe")(handler)  # type: ignore[arg-type] # the slip itself


def test_a_monitor_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"needs a method check_rate_limits\(\)"):
        registered(lambda: None, name="act", rate_limit_monitor=object())


def test_a_schema_that_is_none_is_refused_with_its_place() -> None:
    with pytest.raises(SchemaError, match="action 'act': payload_schema"):
        registered(lambda: None, name="act", payload_schema={"a": 5})
    with pytest.raises(SchemaError, match="action 'act': account_schema"):
        registered(lambda: None, name="act", account_schema={"a": 5})


def test_a_handler_that_cannot_be_filled_is_refused() -> None:
    actions = Actions()
    with pytest.raises(BindingError):
        actions.register(name="act", payload_schema={"a": int})(lambda b: None)
    assert len(actions) == 0


def test_every_refusal_is_a_provider_error() -> None:
    assert issubclass(RegistrationError, ProviderError)
    assert {BindingError, SchemaError, DuplicateActionError} <= set(RegistrationError.__subclasses__())


# --- methods ----------------------------------------------------------------------------------------------------


class Base:
    @action(name="first")
    def one(self) -> str:
        return "base one"

    @action()
    def two(self) -> str:
        return "base two"

    @action(name="removed")
    def three(self) -> str:
        return "base three"

    def unmarked(self) -> None: ...


class Derived(Base):
    three = None  # type: ignore[assignment] # removes the action

    def one(self) -> str:
        return "derived one"

    @action(name="above")
    @staticmethod
    def above() -> str:
        return "static, marked above"

    @staticmethod
    @action(name="below")
    def below() -> str:
        return "static, marked below"

    @action(name="class_above")
    @classmethod
    def class_above(cls) -> str:
        return cls.__name__

    @classmethod
    @action(name="class_below")
    def class_below(cls) -> str:
        return cls.__name__


def test_marked_methods_are_bound_inherited_overridden_and_removed() -> None:
    found = {options.name: handler() for handler, options in marked_methods(Derived(), ACTION)}
    assert found == {
        "first": "derived one",
        None: "base two",
        "above": "static, marked above",
        "below": "static, marked below",
        "class_above": "Derived",
        "class_below": "Derived",
    }


def test_a_marked_method_checks_its_options_at_once() -> None:
    with pytest.raises(RegistrationError, match="timeout"):
        action(timeout=-1)
