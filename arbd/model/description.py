"""The description of the author's provider that a zygote sends to the supervisor: values only, no code.

The supervisor knows actions by the numbers of this list: number ``i`` in a task record is ``actions[i]``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from arbd.model.limit_spec import LimitSpec


class ActionInfo(msgspec.Struct, frozen=True):
    """The description of one action. ``timeout`` is in seconds; ``None``: the provider's ``execution_timeout``."""

    name: str
    description: str
    timeout: float | None
    payload_schema: dict[str, Any]
    account_schema: dict[str, Any] | None
    signature: str
    is_async: bool
    notes: list[str] = []
    resources: list[str] = []


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


class Description(msgspec.Struct, frozen=True):
    """The description of a loaded provider.

    ``given`` holds the settings the author wrote into the constructor, by setting name (``hub.url``); a token among
    them is the author's own. ``limits`` are in the order of their seats. ``threads`` names the threads that importing
    the module left running, ``sources`` the author's own files among those that were imported.
    """

    given: dict[str, Any]
    actions: list[ActionInfo]
    limits: list[LimitSpec] = []
    problems: list[str] = []
    threads: list[str] = []
    sources: list[str] = []
    hooks: list[HookInfo] = []
    resources: list[ResourceInfo] = []
