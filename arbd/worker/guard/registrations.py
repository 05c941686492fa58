"""What one registers with the interpreter, and the interpreter does not give back.

    os.register_at_fork      of an author's module: called for the length of the task; a library's own stays, as what
                             it has made does
    sys.addaudithook         stays for ever: the worker is replaced
    faulthandler             taken back; what the module had enabled and registered is put back
    codecs.register          taken back
    codecs.register_error    what handled these errors before handles them again

What a module registers while it is imported is the module's, whoever imports it.
"""

from __future__ import annotations

import codecs
import faulthandler
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

from arbd.interrupts import is_importing
from arbd.worker import target
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import NOTICES
from arbd.worker.guard.wrappers import replace

_FORK: Final = "functions at a fork"
_AUDIT: Final = "audit hooks"
_DUMPS: Final = "what dumps tracebacks"
_CODECS: Final = "the search for codecs"
_ERRORS: Final = "the handlers of codecs' errors"
_FATAL: Final = 0

_at_fork: dict[str, list[Callable[[], object]]] = {"before": [], "after_in_child": [], "after_in_parent": []}
"""Those of the action that runs, or ran last."""
_audit_hooks: list[object] = []
_dumps: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
"""The calls of ``faulthandler.register`` that are in force, by signal; that of ``enable`` at 0."""
_dumps_before: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}
_searches: list[Callable[[str], Any]] = []
_errors: dict[str, Callable[[UnicodeError], Any]] = {}
"""By name: what handled them before an action has changed that."""
_real: dict[str, Any] = {}


def kinds() -> list[StateKind]:
    """One for each."""
    return [
        _Registered(_FORK, _take_back_at_fork),
        _Registered(_AUDIT, _replaced_for_audit_hooks),
        _Registered(_DUMPS, _take_back_dumps, _keep_dumps),
        _Registered(_CODECS, _take_back_searches),
        _Registered(_ERRORS, _take_back_errors),
    ]


def install() -> None:
    """Put wrappers in the place of the functions that register."""
    _real["fork"] = replace(os, "register_at_fork", _register_at_fork)
    _real["audit"] = replace(sys, "addaudithook", _add_audit_hook)
    _real["enable"] = replace(faulthandler, "enable", _enable_dump)
    _real["disable"] = replace(faulthandler, "disable", _disable_dump)
    _real["dump"] = replace(faulthandler, "register", _register_dump)
    _real["no dump"] = replace(faulthandler, "unregister", _unregister_dump)
    if faulthandler.is_enabled():
        _dumps.setdefault(_FATAL, ((), {}))
    _real["codecs"] = replace(codecs, "register", _register_search)
    _real["errors"] = replace(codecs, "register_error", _register_error)


class _Registered(StateKind):
    """What actions have registered of one kind; ``take_back`` says whether there was any."""

    def __init__(self, name: str, take_back: Callable[[], bool], keep: Callable[[], object] = lambda: None) -> None:
        super().__init__(name, lambda: None, lambda _: None)
        self._take_back = take_back
        self._keep = keep

    def remember(self) -> None:
        self._keep()

    def put_back(self) -> str | None:
        return "" if self._take_back() else None


def _is_an_actions() -> bool:
    """Whether what has called the wrapper that asks is part of an action, and not a module that is imported there."""
    return NOTICES.is_armed and not is_importing(sys._getframe(2))


# -- functions at a fork ----------------------------------------------------------------------------------------------


def _register_at_fork(**functions: Any) -> None:
    is_theirs = _is_an_actions() and target.is_authors(sys._getframe(1).f_globals.get("__file__"))
    if not (is_theirs and functions and all(map(callable, functions.values())) and functions.keys() <= _at_fork.keys()):
        _real["fork"](**functions)  # or it raises
        return
    if "dispatch" not in _real:
        _real["dispatch"] = True
        _real["fork"](before=_before_fork, after_in_child=_after_in_child, after_in_parent=_after_in_parent)
    for moment, function in functions.items():
        _at_fork[moment].append(function)
    NOTICES.changes(_FORK)


def _before_fork() -> None:
    with ExitStack() as stack:  # all of them, the last one first, whatever one raises
        for function in _at_fork["before"]:
            stack.callback(function)


def _after_in_child() -> None:
    _call_in_order(_at_fork["after_in_child"])


def _after_in_parent() -> None:
    _call_in_order(_at_fork["after_in_parent"])


def _call_in_order(functions: list[Callable[[], object]]) -> None:
    with ExitStack() as stack:
        for function in reversed(functions):
            stack.callback(function)


def _take_back_at_fork() -> bool:
    found = any(_at_fork.values())
    for functions in _at_fork.values():
        functions.clear()
    return found


# -- the others -------------------------------------------------------------------------------------------------------


def _add_audit_hook(hook: Any) -> None:
    _real["audit"](hook)
    if _is_an_actions():
        _audit_hooks.append(hook)
        NOTICES.changes(_AUDIT)


def _replaced_for_audit_hooks() -> bool:
    if _audit_hooks:
        _audit_hooks.clear()
        raise Spoiled("an audit hook was added, which nobody can remove")
    return False


def _register_dump(signum: int, *args: Any, **kwargs: Any) -> None:
    _real["dump"](signum, *args, **kwargs)
    _dumps[int(signum)] = (args, kwargs)
    NOTICES.changes(_DUMPS)


def _unregister_dump(signum: int) -> bool:
    found: bool = _real["no dump"](signum)
    _dumps.pop(int(signum), None)
    NOTICES.changes(_DUMPS)
    return found


def _enable_dump(*args: Any, **kwargs: Any) -> None:
    _real["enable"](*args, **kwargs)
    _dumps[_FATAL] = (args, kwargs)
    NOTICES.changes(_DUMPS)


def _disable_dump() -> bool:
    found: bool = _real["disable"]()
    _dumps.pop(_FATAL, None)
    NOTICES.changes(_DUMPS)
    return found


def _keep_dumps() -> None:
    _dumps_before.clear()
    _dumps_before.update(_dumps)


def _take_back_dumps() -> bool:
    if _dumps == _dumps_before:
        return False
    for signum in list(_dumps):
        _real["disable"]() if signum == _FATAL else _real["no dump"](signum)
    for signum, (args, kwargs) in _dumps_before.items():
        _real["enable"](*args, **kwargs) if signum == _FATAL else _real["dump"](signum, *args, **kwargs)
    _dumps.clear()
    _dumps.update(_dumps_before)
    return True


def _register_search(search_function: Any) -> None:
    _real["codecs"](search_function)
    if _is_an_actions():
        _searches.append(search_function)
        NOTICES.changes(_CODECS)


def _take_back_searches() -> bool:
    found = bool(_searches)
    while _searches:
        codecs.unregister(_searches.pop())
    return found


def _register_error(name: str, handler: Callable[[UnicodeError], Any]) -> None:
    before = _handler_of(name) if _is_an_actions() else None
    _real["errors"](name, handler)
    if before is not None:
        _errors.setdefault(name, before)
        NOTICES.changes(_ERRORS)


def _handler_of(name: str) -> Callable[[UnicodeError], Any]:
    try:
        return codecs.lookup_error(name)
    except LookupError as exc:
        return _Unknown(*exc.args)


class _Unknown:
    """The handler of a name that nobody had registered, and that nobody can take away any more."""

    def __init__(self, *words: object) -> None:
        self._words = words

    def __call__(self, _: UnicodeError) -> Any:
        raise LookupError(*self._words)


def _take_back_errors() -> bool:
    found = bool(_errors)
    while _errors:
        _real["errors"](*_errors.popitem())
    return found
