"""A kind of state of the process: how it is read, and how it is put back to its baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

Look = Literal["noticed", "quick", "full"]
"""When it is looked at: where a wrapper has noticed it; after every task that took a while, too; or less often, because
the look takes microseconds."""

ROUGH: Final = (OSError, ValueError, TypeError, OverflowError, RuntimeError)
"""What the functions raise that put things back."""


class Spoiled(Exception):
    """Something that cannot be put back; the worker must be replaced. The message says what."""


class StateKind:
    """A kind of state with a value that can be read and written.

    ``name`` is for people: what an action has left changed. ``describe`` shows what it was changed to, and never a
    value that may be a secret. ``adopts``: what a module changes while it is imported is its to decide. ``quiet``:
    changing it is good practice, so nobody is warned.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Any],
        write: Callable[[Any], object],
        *,
        look: Look = "noticed",
        changed_by: tuple[tuple[Any, str], ...] = (),
        adopts: bool = False,
        quiet: bool = False,
        describe: Callable[[Any, Any], str] = lambda before, after: "",
    ) -> None:
        self.name = name
        self.look: Look = look
        self.changed_by = changed_by
        self.adopts = adopts
        self.quiet = quiet
        self._read = read
        self._write = write
        self._describe = describe
        self._baseline: Any = None

    def remember(self) -> None:
        """Take its present state for the baseline."""
        self._baseline = self._read()

    def is_as_before(self) -> bool:
        """Whether its present state is the baseline."""
        return bool(self._read() == self._baseline)

    def put_back(self) -> str | None:
        """Put it back; what it had been changed to, empty where nobody needs to know. ``None``: it was as it should
        be. Raises ``Spoiled``."""
        now = self._read()
        if now == self._baseline:
            return None
        told = self._describe(self._baseline, now)
        try:
            self._write(self._baseline)
            as_before = self._read() == self._baseline
        except ROUGH as exc:
            raise Spoiled(f"{self.name} cannot be put back: {exc}") from exc
        if not as_before:
            raise Spoiled(f"{self.name} cannot be put back")
        return told


class Undone(StateKind):
    """A kind that cannot be read: once its change was noticed, it is undone by a call."""

    def __init__(
        self, name: str, undo: Callable[[], object], changed_by: tuple[tuple[Any, str], ...], **how: Any
    ) -> None:
        super().__init__(name, lambda: None, lambda _: undo(), changed_by=changed_by, **how)

    def put_back(self) -> str | None:
        try:
            self._write(None)
        except ROUGH as exc:
            raise Spoiled(f"{self.name} cannot be put back: {exc}") from exc
        return ""
