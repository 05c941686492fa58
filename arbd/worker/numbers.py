"""The numbers of actions and limits in shared memory, which follow the zygote's description."""

from __future__ import annotations

import msgspec

from arbd.model.description import Description


class Numbers(msgspec.Struct, frozen=True):
    """The names of actions and limits in the zygote's order. A module that is imported again, for a worker that is
    started by exec, may make its actions and limits in another order, so they are found by name."""

    actions: list[str]
    limits: list[str]

    @classmethod
    def of(cls, description: Description) -> Numbers:
        """The numbers of a description."""
        return cls([action.name for action in description.actions], [limit.name for limit in description.limits])
