"""While a target is loaded, every refused registration is kept; anywhere else the first one raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from arbd import Provider, action, on_worker_start
from arbd.author.refused import BadRegistrationsError, collecting, keeping, raise_kept
from arbd.errors import ConfigError, RegistrationError


def kept(load: Callable[[], object]) -> BaseException:
    """What a load in which registrations are collected raises."""
    try:
        with collecting():
            load()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def all_kept(load: Callable[[], object]) -> list[BaseException]:
    error = kept(load)
    assert isinstance(error, BadRegistrationsError)
    return error.errors


def wrong_in_many_ways() -> Provider:
    provider = Provider("p")
    register = provider.actions.register

    @register  # type: ignore[arg-type] # what an author forgets
    def without_parentheses() -> None: ...

    @register(timeout=0)
    def no_time() -> None: ...

    @register(payload_schema={"a": int})
    def cannot_be_filled(b: int) -> None: ...

    @provider.resource(name="payload")
    def reserved() -> None: ...

    @provider.on_worker_start
    def asks_too_much(task_id: str) -> None: ...

    @register()
    def good() -> None: ...

    return provider


def test_outside_of_a_load_the_first_one_raises() -> None:
    with pytest.raises(RegistrationError, match="parentheses"):
        wrong_in_many_ways()


def test_all_of_a_load_are_told_with_the_lines_that_are_wrong() -> None:
    providers: list[Provider] = []
    errors = all_kept(lambda: providers.append(wrong_in_many_ways()))
    texts = [str(error) for error in errors]
    words = ("parentheses", "no_time", "cannot_be_filled", "'payload'", "asks_too_much")
    assert all(word in text for word, text in zip(words, texts, strict=True)), texts
    frames = [error.__traceback__.tb_frame.f_code.co_name for error in errors if error.__traceback__]
    assert frames == ["wrong_in_many_ways"] * len(texts)
    assert list(providers[0].actions) == ["good"]


def misspelt() -> None:
    provider: Any = Provider("p")
    decorators: Any = action, on_worker_start

    def handler() -> None: ...

    assert provider.actions.register(name="a", timeot=3)(handler) is handler
    provider.resource(laz=True)(handler)
    provider.on_worker_stop(first=True)(handler)
    decorators[0](colour="red")(handler)
    decorators[1](None, None)(handler)


def test_arguments_that_a_decorator_does_not_have_are_kept_and_told_with_what_was_meant() -> None:
    errors = all_kept(misspelt)
    assert list(map(str, errors))[:3] == [
        "register() has no argument 'timeot'; did you mean 'timeout'?",
        "resource() has no argument 'laz'; did you mean 'lazy'?",
        "on_worker_stop() has no argument 'first'; there are: none",
    ]
    assert "action() has no argument 'colour'; there are: name, description," in str(errors[3])
    assert str(errors[4]).startswith("on_worker_start() takes nothing: ")
    frames = [error.__traceback__.tb_frame.f_code.co_name for error in errors if error.__traceback__]
    assert frames == ["misspelt"] * 5
    with pytest.raises(RegistrationError, match="'timeot'"):
        misspelt()


def test_methods_are_kept_too() -> None:
    def load() -> None:
        forgotten: Any = action

        class Shop(Provider):
            @action(timeout=-1)
            def one(self) -> None: ...

            @forgotten  # type: ignore[untyped-decorator] # of any type, as an author forgets the parentheses
            def two(self) -> None: ...

            @action(payload_schema={"x": 3})
            def three(self) -> None: ...

            @on_worker_start
            def asks(self, nothing: str) -> None: ...

        Shop("shop")

    assert len(all_kept(load)) == 4


def test_one_alone_is_raised_as_it_is() -> None:
    provider = Provider("p")
    error = kept(lambda: provider.actions.register(name="a", timeout=0)(print))
    assert type(error) is RegistrationError


def test_what_the_code_raises_after_it_is_told_beside_it() -> None:
    provider = Provider("p")

    def load() -> None:
        provider.actions.register(name="a", timeout=0)(print)
        provider.actions["a"]

    assert list(map(type, all_kept(load))) == [RegistrationError, KeyError]


@pytest.mark.parametrize("error", [ConfigError(["no"]), ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_without_any_what_is_raised_passes(error: BaseException) -> None:
    def load() -> None:
        raise error

    assert kept(load) is error


def refuse(text: str) -> None:
    with keeping():
        raise RegistrationError(text)


def test_an_interrupt_passes_whatever_was_kept() -> None:
    def load() -> None:
        refuse("kept")
        raise KeyboardInterrupt

    assert isinstance(kept(load), KeyboardInterrupt)


def test_nothing_is_left_of_it() -> None:
    assert str(kept(lambda: refuse("one"))) == "one"
    raise_kept()
    with collecting():
        pass


def test_it_is_raised_where_the_provider_starts() -> None:
    def load() -> None:
        refuse("early")
        raise_kept()
        raise AssertionError("it went on")

    assert str(kept(load)) == "early"


def test_a_loop_without_end_is_none_for_memory() -> None:
    def load() -> None:
        for number in range(5000):
            refuse(str(number))

    assert len(all_kept(load)) <= 1001
