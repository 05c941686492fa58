"""The guard: every kind of state together, its baseline, and the look after a task.

install    wrappers stand, notice nothing; before the author's module is imported
arm        in the worker, when it is ready: what is now is the baseline
after      what was noticed, or is due to be looked at, is put back
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from arbd import logs
from arbd.host.fork_mark import ForkMark
from arbd.worker.guard import (
    descriptors,
    generators,
    imports,
    interpreter,
    kernel,
    loggers,
    modules,
    process,
    registrations,
    settings,
    signals,
    thread_exceptions,
    threads,
)
from arbd.worker.guard.kinds import Spoiled, StateKind
from arbd.worker.guard.notices import NOTICES, Notices
from arbd.worker.guard.wrappers import watch

Depth = Literal["noticed", "quick", "full"]
_LOOKS: Final[dict[Depth, frozenset[str]]] = {
    "noticed": frozenset(),
    "quick": frozenset({"quick"}),
    "full": frozenset({"quick", "full"}),
}


class Guard:
    """What looks after a worker's process. ``noticed`` is true where there is something to look at."""

    def __init__(self, kinds: Sequence[StateKind], notices: Notices = NOTICES) -> None:
        self._kinds = kinds
        self._names = frozenset(kind.name for kind in kinds)
        self._due: dict[Depth, list[StateKind]] = {
            depth: [kind for kind in kinds if kind.look in looks] for depth, looks in _LOOKS.items()
        }
        self._notices = notices
        self._told: set[tuple[str, str]] = set()
        self._late: list[str] = []  # what could not be put back before something was adopted
        self.noticed = notices.changed
        self.found = False  # something changed, at the last look
        self._log = logs.get_logger("arbd.worker")

    def arm(self, mark: ForkMark) -> None:
        """Take the process as it is now for the baseline, and notice what changes from now on."""
        self._notices.is_as_before = {kind.name: kind.is_as_before for kind in self._kinds if kind.adopts}
        self._notices.adopt = {kind.name: kind.remember for kind in self._kinds if kind.adopts}
        self.rebase()
        self._notices.arm(mark)

    def rebase(self) -> None:
        """Take the process as it is now for the baseline."""
        for kind in self._kinds:
            kind.remember()
        self._notices.changed.clear()

    @contextmanager
    def adopting(self) -> Iterator[None]:
        """What is changed inside this block, such as the opening of a resource, belongs to the worker; what actions
        have changed before does not."""
        self._late += filter(None, [self.after("", "full")])
        try:
            yield
        finally:
            self.rebase()

    def after(self, action: str, depth: Depth) -> str:
        """Put back what the action has changed: what was noticed, and what is due at this depth. Why the worker must be
        replaced; empty: it need not be."""
        noticed = self._notices.changed
        self.found = not noticed.isdisjoint(self._names)  # what is nobody's kind here is left as the action made it
        due = self._due[depth]
        if noticed:
            names = set(noticed)
            noticed.clear()
            due = [kind for kind in self._kinds if kind in due or kind.name in names]
        spoiled, self._late = self._late, []
        for kind in due:
            try:
                told = kind.put_back()
            except Spoiled as exc:
                spoiled.append(str(exc))
                continue
            except Exception as exc:  # the action has put something there that breaks whoever looks
                self._log.error("look_failed", **logs.left_task_fields(action), what=kind.name, exc_info=exc)
                spoiled.append(f"{kind.name} cannot be looked at")
                continue
            if told is not None:
                self.found = True
                if not kind.quiet:
                    self._warn(action, kind.name, told)
        noticed.clear()  # putting back is noticed, too
        self.found = self.found or bool(spoiled)
        return "; ".join(spoiled)

    def _warn(self, action: str, what: str, told: str) -> None:
        if (action, what) in self._told:
            return
        self._told.add((action, what))
        self._log.warning(
            "changed_by_action",
            **logs.left_task_fields(action),
            what=what,
            **({"how": told} if told else {}),
            hint="it was put back for the next task; an action should leave the process as it found it",
        )


class NoGuard(Guard):
    """A guard that looks at nothing, for where there is no process to look after."""

    def __init__(self) -> None:
        super().__init__((), Notices())


def all_kinds() -> list[StateKind]:
    """Every kind there is, in the order in which they are put back."""
    return [
        *signals.kinds(),
        *process.kinds(),
        *kernel.kinds(),
        *settings.kinds(),
        *interpreter.kinds(),
        *registrations.kinds(),
        imports.ModuleTable(),
        *descriptors.kinds(),
        threads.Threads(),
        threads.Executors(),
        thread_exceptions.ThreadExceptions(),
        modules.LoadedModules(),
    ]


def install() -> None:
    """Put every wrapper in its place. Until ``arm`` they do nothing else than what they wrap."""
    signals.install()
    descriptors.install()
    threads.install()
    process.install()
    loggers.install()
    interpreter.install()
    registrations.install()
    thread_exceptions.install()
    generators.install()
    for kind in all_kinds():
        for owner, name in kind.changed_by:
            watch(owner, name, kind.name)


def make(*, reseed: bool = True) -> Guard:
    """The guard of this process. ``reseed``: generators that an action has seeded are seeded anew."""
    return Guard([*all_kinds(), *(generators.kinds() if reseed else ())])
