"""Settings that are attributes, lists and dictionaries of modules: no function is called to change them, so that they
are compared with what they were.

    Attributes     names of a module, such as ``warnings.showwarning``; all of those of ``builtins``
    Values         plain values in a module or a class there, such as ``http.client.HTTPConnection.debuglevel``
    Lists          a list of a module, such as ``sys.meta_path``, and what is in it
    TemporaryDir   ``tempfile.tempdir``, which is found out at its first use

What a module sets that was imported by the action stays (``arbd.worker.guard.modules``).
"""

from __future__ import annotations

import builtins
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from types import ModuleType
from typing import Any, Final

from arbd.worker.guard.kinds import StateKind
from arbd.worker.guard.modules import is_any_new, is_of_new

_ABSENT: Final = object()
_SYS: Final = (
    *("__stdin__", "__stdout__", "__stderr__", "__excepthook__", "__displayhook__", "__unraisablehook__"),
    *("__breakpointhook__", "tracebacklimit", "dont_write_bytecode", "executable", "pycache_prefix"),
)
_LOGGING: Final = (
    *("raiseExceptions", "lastResort", "_warnings_showwarning", "_srcfile", "root", "_defaultFormatter"),
    *("logThreads", "logProcesses", "logMultiprocessing"),
)
_SOCKET: Final = (
    *("socket", "SocketType", "create_connection", "getaddrinfo", "gethostbyname", "gethostbyname_ex"),
    *("gethostbyaddr", "getnameinfo", "getfqdn"),
)
_HTTPS: Final = "_create_default_https_context"


def kinds() -> list[StateKind]:
    """All of them, in the order in which they are put back."""
    return [
        Attributes("the settings of sys", "sys", _SYS),
        Attributes("how warnings are shown", "warnings", ("showwarning", "formatwarning", "_showwarnmsg_impl")),
        Attributes("the settings of logging", "logging", _LOGGING),
        Attributes("the functions of socket", "socket", _SOCKET),
        Attributes("what is checked of certificates", "ssl", (_HTTPS,), first=_of_ssl),
        *(Values(*row) for row in _VALUES),
        Builtins(),
        Lists("sys.argv", sys, "argv"),
        Lists("sys.warnoptions", sys, "warnoptions"),
        Lists("the import hooks", sys, "meta_path"),
        Lists("the hooks of sys.path", sys, "path_hooks", then=lambda: sys.path_importer_cache.clear()),
        Lists("the callbacks of the garbage collector", gc, "callbacks"),
        StateKind("the hooks of async generators", sys.get_asyncgen_hooks, _restore_asyncgen_hooks, look="full"),
        TemporaryDir(),
    ]


_TIME_OF_LINES: Final = {
    "converter": time.localtime,
    "default_time_format": "%Y-%m-%d %H:%M:%S",
    "default_msec_format": "%s,%03d",
}
#: By what they are called: the module, the class or object in it, and the names, with what they are by default.
_VALUES: Final[tuple[tuple[str, str, str, dict[str, Any]], ...]] = (
    ("how log lines show the time", "logging", "Formatter", _TIME_OF_LINES),
    ("what http prints", "http.client", "HTTPConnection", {"debuglevel": 0}),
    ("the first day of the week", "calendar", "c", {"_firstweekday": 0}),
    ("the names of temporary files", "tempfile", "", {"template": "tmp"}),
    ("what multiprocessing starts", "multiprocessing.spawn", "", {"_python_exe": os.fsencode(sys.executable)}),
    ("the domain of gettext", "gettext", "", {"_current_domain": "messages"}),
)


def _of_ssl(ssl: ModuleType) -> tuple[Any, ...]:
    """What it is where nobody has changed it: a module that an action imports has had no baseline before."""
    return (ssl.create_default_context,)


class Attributes(StateKind):
    """Names of one module, which may not be loaded, and what they are bound to. ``first``: what that is where the
    module is loaded and nobody has changed it; without it, what they are when it is first seen."""

    def __init__(
        self,
        name: str,
        module: str,
        names: Sequence[str],
        first: Callable[[ModuleType], tuple[Any, ...]] | None = None,
    ) -> None:
        super().__init__(name, lambda: None, lambda _: None, look="full")
        self._module = module
        self._names = names
        self._nothing = [_ABSENT] * len(names)
        self._first = first
        self._found: tuple[Any, ...] | None = None

    def remember(self) -> None:
        module = sys.modules.get(self._module)
        self._found = None if module is None else self._values(module)

    def put_back(self) -> str | None:
        module = sys.modules.get(self._module)
        if module is None:
            return None
        now = self._values(module)
        if self._found is None:
            self._found = now if self._first is None else self._first(module)
        if now == self._found:
            return None
        changed = [
            name
            for name, before, after in zip(self._names, self._found, now, strict=True)
            if before is not after and not is_of_new(after) and _bind(module, name, before)
        ]
        self._found = self._values(module)
        return ", ".join(changed) or None

    def _values(self, module: ModuleType) -> tuple[Any, ...]:
        return tuple(map(vars(module).get, self._names, self._nothing))


class Values(StateKind):
    """Plain values of one module, which may not be loaded, or of a class or object ``owner`` in it; ``defaults``: what
    they are where nobody has changed them. Of a value nobody can tell who has set it: what changes while a module is
    loaded is taken for that module's."""

    def __init__(self, name: str, module: str, owner: str, defaults: Mapping[str, Any]) -> None:
        super().__init__(name, lambda: None, lambda _: None, look="full")
        self._module = module
        self._owner = owner
        self._names = tuple(defaults)
        self._defaults = tuple(defaults.values())
        self._found: tuple[Any, ...] | None = None

    def remember(self) -> None:
        owner = self._place()
        self._found = None if owner is None else self._values(owner)

    def put_back(self) -> str | None:
        owner = self._place()
        if owner is None:
            return None
        wanted, now = self._found or self._defaults, self._values(owner)
        if now == wanted:
            return None
        if self._found is not None and is_any_new():
            self._found = now
            return None
        self._found = wanted
        changed = zip(self._names, wanted, now, strict=True)
        return ", ".join(name for name, before, after in changed if before is not after and _bind(owner, name, before))

    def _place(self) -> Any:
        """The module, or what it has under that name."""
        module = sys.modules.get(self._module)
        return getattr(module, self._owner, None) if self._owner else module

    def _values(self, owner: Any) -> tuple[Any, ...]:
        return tuple(map(vars(owner).get, self._names, self._defaults))


def _bind(place: Any, name: str, value: Any) -> bool:
    """Bind a name of a module or class to what it was, or to nothing."""
    if value is _ABSENT:
        delattr(place, name)
    else:
        setattr(place, name, value)
    return True


class Builtins(StateKind):
    """All names of ``builtins``, and what they are bound to."""

    def __init__(self) -> None:
        super().__init__("the names of builtins", lambda: None, lambda _: None, look="full")
        self._names: list[str] = []
        self._values: list[Any] = []

    def remember(self) -> None:
        self._names, self._values = list(vars(builtins)), list(vars(builtins).values())

    def put_back(self) -> str | None:
        found = vars(builtins)
        if list(found.values()) == self._values:  # 1 µs; as dictionaries 1.7
            return None
        before = dict(zip(self._names, self._values, strict=True))
        changed = [
            name
            for name in sorted(found.keys() | before.keys())
            if (was := before.get(name, _ABSENT)) is not (now := found.get(name, _ABSENT))
            and not _stays(now)
            and _bind(builtins, name, was)
        ]
        self.remember()
        return ", ".join(changed[:20]) or None


def _stays(value: Any) -> bool:
    """Whether an imported module has set this. Of a number or a text nobody can tell where it is from."""
    return is_of_new(value) or (is_any_new() and value is not _ABSENT and not hasattr(value, "__module__"))


class Lists(StateKind):
    """A list of a module: which one it is, and what is in it. ``then`` is called when it was put back."""

    def __init__(
        self, name: str, module: ModuleType, attribute: str, then: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(name, lambda: None, lambda _: None, look="full")
        self._module = module
        self._attribute = attribute
        self._then = then
        self._list: list[Any] = []
        self._items: list[Any] = []

    def remember(self) -> None:
        self._list = getattr(self._module, self._attribute)
        self._items = list(self._list)

    def put_back(self) -> str | None:
        now = getattr(self._module, self._attribute, ())
        items = self._items
        if now is self._list and now == items:
            return None
        wanted = _together(self._items, list(now))
        is_changed = len(wanted) != len(now) or not all(map(is_, wanted, now))
        self._list[:] = self._items = wanted
        self._items = list(wanted)
        setattr(self._module, self._attribute, self._list)
        self._then()
        return "" if is_changed else None


def _together(before: list[Any], now: list[Any]) -> list[Any]:
    """What was there before, and what modules have added since: in front of it, or behind."""
    known = {id(each) for each in before}
    begin = next((place for place, each in enumerate(now) if id(each) in known), 0)
    added = [(place, each) for place, each in enumerate(now) if id(each) not in known and is_of_new(each)]
    front = [each for place, each in added if place < begin]
    return [*front, *before, *(each for place, each in added if place >= begin)]


def _restore_asyncgen_hooks(before: Any) -> None:
    sys.set_asyncgen_hooks(*before)


class TemporaryDir(StateKind):
    """``tempfile.tempdir``: nothing, until somebody asks for it. What it is then is no change, unless it follows from
    an environment that an action has changed."""

    def __init__(self) -> None:
        super().__init__("tempfile.tempdir", lambda: None, lambda _: None, look="full")

    def remember(self) -> None:
        self._baseline = getattr(sys.modules.get("tempfile"), "tempdir", None)

    def put_back(self) -> str | None:
        tempfile: Any = sys.modules.get("tempfile")
        now = getattr(tempfile, "tempdir", None)
        if now == self._baseline:
            return None
        if self._baseline is None:
            tempfile.tempdir = None
            self._baseline = tempfile.gettempdir()  # in the environment that was put back
            if now == self._baseline:
                return None
        tempfile.tempdir = self._baseline
        return f"it was {now!s:.200}"
