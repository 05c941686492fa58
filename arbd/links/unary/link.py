"""The hub link over the unary Hub protocol: many ``GetTask`` calls out, results sent beside them.

    polls.py     tasks in      ─┐
    submits.py   results out   ─┼─ calls.py  the connection, the pacing, and what the answers say of both
    probes.py    is it there?  ─┘

The coroutines that make the calls live as long as the link: no task of the event loop is made for a call.

Not a policy: what a status means is ``policy``, how often to call is ``pace``, how messages look is ``messages``.
"""

from __future__ import annotations

from typing import Any

from arbd.links.base import HubPort, LinkHealth
from arbd.links.condition import HubCondition
from arbd.links.ending import end
from arbd.links.options import LinkOptions
from arbd.links.pace import TokenGate
from arbd.links.unary.calls import CallState
from arbd.links.unary.polls import Polls
from arbd.links.unary.probes import Probes
from arbd.links.unary.submits import Submits
from arbd.model.link_stats import LinkStats
from arbd.settings.table import Settings


class GrpcUnaryLink:
    """A ``HubLink`` over grpc.aio. Counters and the state of the connection are in ``stats``.

    ``gate``, ``stats``: those that others share. Raises ``ConfigError`` for a URL that cannot be used.
    """

    def __init__(
        self,
        options: LinkOptions,
        *,
        logger: Any = None,
        gate: TokenGate | None = None,
        stats: LinkStats | None = None,
    ) -> None:
        self.sends_one_by_one = True
        self._options = options
        self._condition = HubCondition(options, "unary", logger, stats)
        self.stats = self._condition.stats
        self._gate = gate or TokenGate(options.refused_interval_s)
        self._calls: CallState | None = None

    def health(self, now: float) -> LinkHealth:
        return LinkHealth(self._polls.overdue(now) or self._submits.overdue(now), self._submits.may_send(now))

    async def start(self, port: HubPort) -> None:
        self._calls = calls = CallState(self._options, self._condition, self._gate)
        self._polls = Polls(calls, port)
        self._submits = Submits(calls, port, self._polls.release)
        self._probes = Probes(calls)

    def slots_changed(self) -> None:
        self._polls.tick_soon()

    def results_ready(self) -> None:
        self._submits.release()

    def renew(self, settings: Settings, options: LinkOptions) -> None:
        self._options = options
        self._condition.renew(options)
        if self._calls is not None:
            self._calls.renew(options)
            self._polls.renew(options)
            self._submits.release()

    async def stop_taking(self) -> None:
        self._probes.stop()  # a hub that is gone answers none of them
        await self._polls.stop()

    def take_again(self) -> None:
        self._probes.go_on()
        self._polls.go_on()

    async def flush(self, timeout: float) -> bool:
        self._polls.hand_over()  # what cannot be begun any more gets its result, too
        return await self._submits.flush(timeout)

    async def close(self) -> None:
        self._polls.close()
        self._submits.close()
        await end(self._probes.crew)
        if self._calls is not None:
            await self._calls.connection.close()  # ends what is still under way: stop_taking and flush had their time
        await end([*self._polls.crew, *self._submits.crew])
        self._submits.put_all_back()
