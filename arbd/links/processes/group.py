"""Link processes as one ``HubLink``: tasks in from all of them, results spread over them.

    the supervisor looks ─> every ring: tasks ─> port.take, once for all; acknowledgements ─> outbox.ack
    port.free_slots ─> split over those that may call ─> one word each           results: to who has fewest, in eights
    a link has ended ─> what is left in its ring; results that it had go back to the outbox, and to others

Which links there are is the ``roster``'s business. Invariants:

* an outcome taken from the outbox is in ``unacked`` of exactly one link, until that one acknowledges it or ends;
* who has ended is out of ``callers`` before anything else happens: whatever the port is told may bring a result at
  once, which goes to one of those;
* a link may ask for what was taken from it plus its share of the free slots, so a task counts once, also in its ring;
* a link whose memory holds what cannot be is killed, and then it is one that has ended;
* a link is rung once for all that is published until it comes round to look;
* what nobody expected goes to the loop's exception handler and reaches nobody who told this group something; then, as
  where a descriptor is missing for a result, it is looked again a moment later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import structlog

from arbd.core.progress import Unmoved
from arbd.host import doorbell, parcels
from arbd.host.fence import make_fence
from arbd.ipc.ring import Pushed
from arbd.links.base import OVERDUE_S, HubPort, LinkHealth
from arbd.links.ending import until_empty
from arbd.links.options import LinkOptions
from arbd.links.processes import boot
from arbd.links.processes.callers import PROBE, Callers, split, split_anew
from arbd.links.processes.handle import UNREADABLE, LinkHandle
from arbd.links.processes.roster import Roster
from arbd.logs.notable import keep
from arbd.model.link_stats import LinkStats, best_state
from arbd.model.task import Outcome, Task
from arbd.settings.table import Settings
from arbd.supervised import report

_CHUNK: Final = 8  # results that one link is given before the next one's turn
_ENOUGH_POLLS: Final = 16  # under way at one link: more make it no faster
_QUEUE: Final = 4  # results that one link has, in those it may send at once: so that it never waits for more
_AGAIN_S: Final = 0.05  # when it is looked again after something could not be done; later each time
_AGAIN_MAX_S: Final = 1.0
_MOST_LATER: Final = 8  # results in a row that are put off: making a memfd for each costs time


class LinkGroup:
    """A ``HubLink`` of ``count`` link processes. ``program``: the module that they run."""

    def __init__(
        self, settings: Settings, options: LinkOptions, count: int, *, program: str = boot.PROGRAM, logger: Any = None
    ) -> None:
        self._callers = Callers(options.refused_interval_s)
        self._log = logger if logger is not None else structlog.get_logger("arbd.hub")
        self._roster = Roster(settings, options.tls_options, program, self._log, self)
        self._links = self._roster.links
        self._count = count
        self._enough_polls = min(options.max_polls, _ENOUGH_POLLS)
        self._most_unacked = _QUEUE * options.max_submits
        self._fence = make_fence()
        self._next_result = 1
        self.have_slots = False
        self._has_news = False  # who may call has changed
        self._state = "connecting"  # of the hub, as it was told last
        self._again: asyncio.TimerHandle | None = None
        self._again_s = _AGAIN_S
        self._put_off: list[Outcome] = []  # to go back to the outbox at that look
        self.sends_one_by_one = True
        self._lease_s = 0.0  # the hub's, once a link has heard it
        self._is_stopping = False
        self._is_flushing = False
        self._is_closing = False
        self._unread = Unmoved()
        self._progress = asyncio.Event()  # for those who wait for an end

    # -- the HubLink interface -------------------------------------------------------------------------------

    @property
    def stats(self) -> LinkStats:
        """The sum of all links, those that have ended included."""
        return self._roster.stats()

    def health(self, now: float) -> LinkHealth:
        """One that hangs is replaced by the roster, with what it has; here only what it leaves to be looked at."""
        if self._is_closing:
            return LinkHealth()
        links = [link for link in self._links.values() if not link.is_damaged]
        # One that sleeps has rung before; one that was stopped in between is awake. With a pause something else waits.
        unheard = [] if self._again is not None else [link for link in links if link.has_unread_for_us]
        unread = frozenset((link.number, link.cell.up.place) for link in unheard)
        is_read = self._unread.look(now, bool(unread), unread) <= OVERDUE_S
        callers = set(self._callers.callers(now))
        may_send = any(link.number in callers and not link.unacked for link in links)
        return LinkHealth("" if is_read else "what link processes have brought is not read", may_send)

    async def start(self, port: HubPort) -> None:
        self._port = port
        self._bell = port.join(self)
        self._roster.start(self._bell, self._count)
        self._news()

    def renew(self, settings: Settings, options: LinkOptions) -> None:
        if self._roster.renew(settings, options.tls_options):
            self._callers.renewed()
        self._has_news = True
        self.slots_changed()

    def slots_changed(self) -> None:
        if self._is_closing or not self._links:
            return
        try:
            self._share()
            self._wake()
        except Exception as error:
            self._look_again(error)

    def results_ready(self) -> None:
        if self._is_closing or not self._links:
            return
        try:
            self._hand_out()
            self._wake()
        except Exception as error:
            self._look_again(error)

    async def stop_taking(self) -> None:
        self._is_stopping = True
        for link in self._links.values():
            link.stop()
        self._wake()
        while self._is_stopping and not (self._is_closing or all(link.polls_no_more for link in self._links.values())):
            self._progress.clear()
            await self._progress.wait()

    def take_again(self) -> None:
        self._is_stopping = False
        for link in self._links.values():
            link.take_again()
        if not self._is_closing:
            self._news()

    async def flush(self, timeout: float) -> bool:
        self._is_flushing = True
        for link in self._links.values():
            link.flush()
        self.results_ready()
        return await until_empty(self._port.outbox, self._progress, timeout)

    async def close(self) -> None:
        self._is_closing = True
        self._progress.set()
        if self._again is not None:
            self._again.cancel()
        await self._roster.close()
        self._end_put_off()
        self._port.leave(self)

    # -- links come and go -----------------------------------------------------------------------------------

    @property
    def links(self) -> list[LinkHandle]:
        """The links that there are."""
        return list(self._links.values())

    def on_link_started(self, link: LinkHandle) -> None:
        link.hold(True)
        if self._is_stopping:
            link.stop()
        if self._is_flushing:
            link.flush()

    def on_link_ended(self, link: LinkHandle) -> None:
        self._hear_of(link)  # for the last time
        if link.has_booted:
            self._callers.gone(link.number, time.monotonic())
        while self._take_from([link]):
            pass
        for outcome in reversed(link.unacked.values()):
            self._put_back(outcome)
        self._news()

    def on_tick(self) -> None:
        """A leader's pause may be over; and a link that makes no use of its slots must not keep them from another."""
        # Fewer than none: it brought what it had asked for before it was told to ask for less.
        slots = [max(0, link.slots) for link in self._links.values() if not link.cell.is_held]
        self._note_condition()
        if slots and min(slots) == 0 and max(slots) > 1:
            self._allow(split_anew(sum(slots), self._callers.callers(time.monotonic())))
        self._news()

    def _note_condition(self) -> None:
        """Keep the hub's loss and return among the notable events; the lines of the log are the links' own."""
        state = best_state({link.state for link in self._links.values()})
        if state != self._state:
            self._state = state
            keep("info" if state == "up" else "warning", f"hub_{state}", links=len(self._links))

    # -- up: tasks and acknowledgements --------------------------------------------------------------------------

    def look(self) -> int:
        """Take a batch of what each link has brought; how many tasks and acknowledgements."""
        if self._is_closing:
            return 0
        found = 0
        try:
            found = self._take_from(list(self._links.values()))
        except Exception as error:
            self._look_again(error)
        if found or self._has_news:
            self._news()
        if found and self._again is None:
            self._again_s = _AGAIN_S
        return found

    def ring_from_now_on(self) -> None:
        for link in self._links.values():
            link.cell.sleep()

    def _look_again(self, error: Exception | None = None) -> None:
        """Look in a moment, since nobody rings for it: after something unexpected, or what lacked a descriptor."""
        if error is not None:
            report(error, "the links to the hub")
        if self._again is None and not self._is_closing:
            self._again = asyncio.get_running_loop().call_later(self._again_s, self._end_pause)
            self._again_s = min(_AGAIN_MAX_S, 2 * self._again_s)

    def _end_pause(self) -> None:
        self._again = None
        self._end_put_off()
        self._news()
        doorbell.ring(self._bell)  # whoever listens goes on until nothing is left

    def _end_put_off(self) -> None:
        put_off, self._put_off = self._put_off, []
        for outcome in reversed(put_off):
            self._put_back(outcome)

    def _take_from(self, links: list[LinkHandle]) -> int:
        """Take a batch from each; how many tasks and acknowledgements."""
        tasks: list[Task] = []
        acked: list[Outcome] = []
        records = sum([self._take(link, tasks, acked) for link in links])
        now = time.monotonic() if acked else 0.0
        for outcome in acked:
            self._ack(outcome, now)
        if tasks:
            self._hand_over(tasks)
        if records:
            self._progress.set()
        return max(records, len(tasks) + len(acked))

    def _hand_over(self, tasks: list[Task]) -> None:
        try:
            self._port.take(tasks)
        except Exception as error:  # results go on
            self._look_again(error)

    def _ack(self, outcome: Outcome, now: float) -> None:
        try:
            self._port.outbox.ack(outcome, now)
        except Exception as error:  # once more: the hub drops the second copy
            self._look_again(error)
            self._put_back(outcome)

    def _put_back(self, outcome: Outcome) -> None:
        try:
            self._port.outbox.put_back(outcome)
        except Exception as error:  # the others go back all the same
            self._put_off.append(outcome)
            self._look_again(error)

    def _take(self, link: LinkHandle, tasks: list[Task], acked: list[Outcome]) -> int:
        if link.is_damaged:
            return 0
        try:
            records = link.take(tasks, acked)
        except parcels.NotNow:  # no descriptor is left for the body of a task, which waits
            self._look_again()
            return 0
        except UNREADABLE as error:
            self._condemn(link, error)
            return 0
        except Exception as error:  # what was popped before it is in the lists
            self._look_again(error)
            self._condemn(link, error)
            return 0
        if not link.has_ended:
            self._hear_of(link)
        return records

    def _condemn(self, link: LinkHandle, error: Exception) -> None:
        self._log.error("link_ring_unreadable", link=link.number, pid=link.pid, reason=str(error))
        link.is_damaged = True
        link.kill()

    def _hear_of(self, link: LinkHandle) -> None:
        if link.is_damaged:
            return
        if not link.has_booted and link.cell.sleeps():
            link.has_booted = self._has_news = True
            self._callers.came(link.number)
        if link.lease_s and not self._lease_s:
            self._lease_s = link.lease_s
            self._port.note_lease(self._lease_s)
        accepted, refused = link.news_of_token()
        if refused:
            self._callers.refused(link.number)
        if accepted:
            self._callers.accepted(link.number)
        self._has_news |= accepted or refused

    def _news(self) -> None:
        """Act upon what has changed: who may call, how many slots are free, what waits for room."""
        self._has_news = False
        try:
            self._share()
            self._hand_out()
            self._wake()
        except Exception as error:
            self._look_again(error)
        self._progress.set()

    # -- down: results, and how much to ask for ------------------------------------------------------------------

    def _share(self) -> None:
        callers = self._callers.callers(time.monotonic())
        free = self._port.free_slots()
        if not self._callers.token_is_accepted:
            free = min(free, PROBE)
        self.have_slots = free >= len(callers) * self._enough_polls
        self._allow(split(free, {number: self._links[number].slots for number in callers}))

    def _allow(self, shares: Mapping[int, int]) -> None:
        for number, link in self._links.items():
            link.hold(number not in shares)
            link.allow(shares.get(number, 0))

    def _hand_out(self) -> None:
        """Give each result to the link that has the fewest; one for which there is no descriptor lets others go."""
        take = self._port.outbox.take
        later = 0
        numbers = self._callers.callers(time.monotonic())
        links = [link for number in numbers if not (link := self._links[number]).is_damaged]
        most = self._most_unacked if self._callers.token_is_accepted else PROBE
        while links:
            link = min(links, key=lambda link: len(link.unacked))
            room = most - len(link.unacked)
            if room <= 0:
                return
            for _ in range(min(room, _CHUNK)):
                if (outcome := take()) is None:
                    return
                given = self._give(link, outcome)
                if given is Pushed.FULL:  # or damaged
                    self._put_back(outcome)
                    links.remove(link)
                    break
                if given is Pushed.LATER:
                    self._put_off.append(outcome)
                    self._look_again()
                    later += 1
                    if later == _MOST_LATER:
                        return

    def _give(self, link: LinkHandle, outcome: Outcome) -> Pushed:
        try:
            given = link.give(outcome, self._next_result)
        except UNREADABLE as error:
            self._condemn(link, error)
            return Pushed.FULL
        except Exception as error:
            self._look_again(error)
            return Pushed.LATER
        self._next_result += 1
        return given

    def _wake(self) -> None:
        """Ring those links for which there is something; now, since a callback would cost another turn of the loop."""
        self._fence()
        for link in self._links.values():
            link.ring_if_due()
