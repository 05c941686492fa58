"""A verdict is given, whatever stands in its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arbd.core.outbox import MemoryOutbox
from arbd.model.response import timed_out
from arbd.model.task import Task
from arbd.supervisor.verdicts import Verdicts


class BrokenEncoder:
    """One that has a bug."""

    def encode_any_size(self, *_: Any) -> bytes:
        raise RuntimeError("a bug")


def test_a_verdict_that_cannot_be_encoded_is_given_in_its_plainest_form() -> None:
    async def scenario() -> None:
        outbox = MemoryOutbox()
        link: Any = None
        encoder: Any = BrokenEncoder()
        verdicts = Verdicts(outbox, encoder, link)
        task = Task("t-1", "act", b"")
        with pytest.raises(RuntimeError, match="a bug"):
            verdicts.decide(task, timed_out("act", 2))
        outcome = outbox.take()
        assert outcome is not None
        assert (outcome.task, outcome.status) == (task, "error")
        assert b'"error_code":"TIMEOUT"' in outcome.result

    asyncio.run(scenario())
