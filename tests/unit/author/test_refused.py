"""While a target is loaded, every refused registration is kept; anywhere else the first one raises."""

from __future__ import annotations

from typing import Any

import pytest

from arbd import Provider, action, on_worker_start
from arbd.author.refused import RefusedError, collecting, keeping, raise_kept
from arbd.errors import ConfigError, RegistrationError


def wrong_in_many_ways() -> Provider:
    provider = Provider("p")
    register: Any = provider.actions.register

    @register
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
    with pytest.raises(RefusedError) as caught, collecting():
        provider = wrong_in_many_ways()
        assert list(provider.actions) == ["good"]
    texts = [str(error) for error in caught.value.errors]
    words = ("parentheses", "no_time", "cannot_be_filled", "'payload'", "asks_too_much")
    assert all(word in text for word, text in zip(words, texts, strict=True)), texts
    frames = [error.__traceback__.tb_frame.f_code.co_name for error in caught.value.errors if error.__traceback__]
    assert frames == ["wrong_in_many_ways"] * len(texts)


def test_methods_are_kept_too() -> None:
    with pytest.raises(RefusedError) as caught, collecting():

        class Shop(Provider):
            @action(timeout=-1)
            def one(self) -> None: ...

            @action  # type: ignore[arg-type] # what an author forgets
            def two(self) -> None: ...

            @action(payload_schema={"x": 3})
            def three(self) -> None: ...

            @on_worker_start
            def asks(self, nothing: str) -> None: ...

        Shop("shop")
    assert len(caught.value.errors) == 4


def test_one_alone_is_raised_as_it_is() -> None:
    provider = Provider("p")
    with pytest.raises(RegistrationError) as caught, collecting():
        provider.actions.register(timeout=0)(lambda: None)
    assert not isinstance(caught.value, RefusedError)


def test_what_the_code_raises_after_it_is_told_beside_it() -> None:
    provider = Provider("p")
    with pytest.raises(RefusedError) as caught, collecting():
        provider.actions.register(name="a", timeout=0)(print)
        provider.actions["a"]
    first, last = caught.value.errors
    assert (type(first), type(last)) == (RegistrationError, KeyError)


@pytest.mark.parametrize("error", [ConfigError(["no"]), ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_without_any_what_is_raised_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, collecting():
        raise error
    assert caught.value is error


def test_an_interrupt_passes_whatever_was_kept() -> None:
    with pytest.raises(KeyboardInterrupt), collecting():
        with keeping():
            raise RegistrationError("kept")
        raise KeyboardInterrupt


def test_nothing_is_left_of_it() -> None:
    with pytest.raises(RegistrationError), collecting(), keeping():
        raise RegistrationError("one")
    raise_kept()
    with collecting():
        pass


def test_it_is_raised_where_the_provider_starts() -> None:
    with pytest.raises(RegistrationError, match="early"), collecting():
        with keeping():
            raise RegistrationError("early")
        raise_kept()
        raise AssertionError("it went on")


def test_a_loop_without_end_is_none_for_memory() -> None:
    with pytest.raises(RefusedError) as caught, collecting():
        for number in range(5000):
            with keeping():
                raise RegistrationError(str(number))
    assert len(caught.value.errors) <= 1001
