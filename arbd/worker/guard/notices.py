"""What the wrappers have noticed in this process since it was looked at last.

Not armed, a wrapper does what it wraps and nothing else: in the zygote, in a forked child of an action, in a process
that only imports this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from arbd.host import fork_mark
from arbd.host.fork_mark import ForkMark
from arbd.interrupts import is_importing


class Notices:
    """The kinds of state that Python code has changed, by name."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.adopt: dict[str, Callable[[], object]] = {}  # by kind: what makes its present state the baseline
        self.is_as_before: dict[str, Callable[[], bool]] = {}  # by kind, for the same kinds
        self._mark: ForkMark = fork_mark.NOBODY

    def arm(self, mark: ForkMark) -> None:
        """Notice from now on, in the process of this mark."""
        self.changed.clear()
        self._mark = mark

    def disarm(self) -> None:
        """Notice nothing any more."""
        self._mark = fork_mark.NOBODY

    @property
    def is_armed(self) -> bool:
        """Whether this process notices; a forked child does not."""
        return bool(self._mark[0])

    def changes(self, kind: str) -> None:
        """Notice that this kind of state is changed. What a module changes while it is imported is adopted where that
        is the module's to decide, such as an environment variable."""
        if not self._mark[0]:
            return
        adopt = self.adopt.get(kind)
        if adopt is not None and kind not in self.changed and is_importing(sys._getframe(1)):
            adopt()
        else:
            self.changed.add(kind)

    def restored(self, kind: str) -> None:
        """Notice that code has put back what it had changed of this kind for a while: inside an import, what was
        adopted in between was passing; else nothing is left to be looked at, if it is as it was."""
        if not self._mark[0]:
            return
        if kind in self.changed:
            if (is_as_before := self.is_as_before.get(kind)) is not None and is_as_before():
                self.changed.discard(kind)
        elif (adopt := self.adopt.get(kind)) is not None and is_importing(sys._getframe(1)):
            adopt()


NOTICES = Notices()
