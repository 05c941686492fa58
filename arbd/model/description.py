"""The description of the author's provider that a zygote sends to the supervisor: values only, no code.

The supervisor knows actions by the numbers of this list: number ``i`` in a task record is ``actions[i]``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from arbd.model.limit_spec import LimitSpec


class ActionInfo(msgspec.Struct, frozen=True):
    """The description of one action. ``timeout`` is in seconds; ``None``: the provider's ``execution_timeout``.
    ``source``: file and first line of its handler's code; empty if that is no Python code."""

    name: str
    description: str
    timeout: float | None
    payload_schema: dict[str, Any]
    account_schema: dict[str, Any] | None
    signature: str
    is_async: bool
    notes: list[str] = []
    resources: list[str] = []
    source: str = ""


class HookInfo(msgspec.Struct, frozen=True):
    """The description of one hook."""

    moment: Literal["start", "stop"]
    signature: str
    is_async: bool


class ResourceInfo(msgspec.Struct, frozen=True):
    """The description of one resource. ``used_by``: actions by name, then hooks and other resources."""

    name: str
    signature: str
    lazy: bool
    is_async: bool
    used_by: list[str]


class Leftover(msgspec.Struct, frozen=True):
    """One kind of thing that importing the author's module has left behind: ``found`` says what, and where, ``hint``
    what follows and what to do. ``by_exec``: workers cannot be forked because of it."""

    kind: str
    found: list[str]
    hint: str
    by_exec: bool = False

    @property
    def event(self) -> str:
        """The log event that tells of it."""
        return "module_starts_threads" if self.kind == "threads" else f"module_leaves_{self.kind}"


class Description(msgspec.Struct, frozen=True):
    """The description of a loaded provider.

    ``given`` holds the settings the author wrote into the constructor, by setting name (``hub.url``); a token among
    them is the author's own. ``limits`` are in the order of their seats. ``threads`` names the threads that importing
    the module left running and that forbid a fork, ``leftovers`` is all that is worth telling of what it left, and
    ``sources`` are the author's own files among those that were imported. ``load_s`` is how long the import took, and
    ``load_bytes`` the memory that it added: what a worker costs that is started by exec.
    """

    given: dict[str, Any]
    actions: list[ActionInfo]
    limits: list[LimitSpec] = []
    problems: list[str] = []
    threads: list[str] = []
    sources: list[str] = []
    hooks: list[HookInfo] = []
    resources: list[ResourceInfo] = []
    leftovers: list[Leftover] = []
    load_s: float = 0.0
    load_bytes: int = 0

    @property
    def by_exec(self) -> bool:
        """Whether workers are started by exec, and import the module again, instead of being forked."""
        return any(leftover.by_exec for leftover in self.leftovers)

    @property
    def exec_cost(self) -> str:
        """What that costs, as the import was measured."""
        return (
            f"each worker imports the module again: {self.load_s:.1f} s and up to {self.load_bytes / 1e6:.0f} MB of "
            "its own, instead of milliseconds and memory that is shared"
        )
