"""What is updated around something: a block (``with``), a function, a coroutine function (decorated)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class Around:
    """A context manager and decorator. ``enter`` gives what ``leave`` is given at the end, with the exception that has
    passed, if one has. It may be entered again, also inside itself: each time has a beginning of its own."""

    def __init__(self, enter: Callable[[], Any], leave: Callable[[Any, BaseException | None], None]) -> None:
        self._enter = enter
        self._leave = leave
        self._begun: list[Any] = []

    def __enter__(self) -> None:
        self._begun.append(self._enter())

    def __exit__(self, _kind: object, raised: BaseException | None, _where: TracebackType | None) -> None:
        self._leave(self._begun.pop(), raised)

    def __call__(self, function: F) -> F:
        """The function, with this around each call of it; around a coroutine while it runs."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with Around(self._enter, self._leave):
                    return await function(*args, **kwargs)

            return cast(F, coroutine)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with Around(self._enter, self._leave):
                return function(*args, **kwargs)

        return cast(F, call)
