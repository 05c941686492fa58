"""What has a number in shared memory: the order in which the zygote described it."""

from __future__ import annotations

import msgspec

from arbd.model.description import Description


class Numbers(msgspec.Struct, frozen=True):
    """Names in the zygote's order. A module that is imported again, for a worker that is started by exec, may make its
    actions and limits in another one, so they are found by name."""

    actions: list[str]
    limits: list[str]

    @classmethod
    def of(cls, description: Description) -> Numbers:
        """The numbers the supervisor knows."""
        return cls([action.name for action in description.actions], [limit.name for limit in description.limits])
