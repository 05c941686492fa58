"""The one place where other processes wake the supervisor: a doorbell, and when to look next.

    worker: result ─────────────┐
    link process: task, ack ────┴─> doorbell ─> look: every link process's ring, every worker's with news ─> a turn of
                                                the loop, in which what was found goes out ─> again ─> rest or sleep

The supervisor says that it sleeps, and looks once more, before it goes back to its event loop; the others ring only
then. While it looks, publishing costs them no system call. How long it rests is decided in ``arbd.core.doze``.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from arbd.core.doze import BUSY_RESULTS, Doze
from arbd.host import doorbell
from arbd.ipc import layout
from arbd.supervisor.flow import Flow

_RETRY_S: Final = 0.05  # after something unexpected the daemon ends, and looks on until then


class Wakeup:
    """Looks when the doorbell rings, and for as long as there is something. Listens from the start on."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._pool = flow.pool
        self._doze = Doze()
        self._next_look: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pool.bell, self._on_bell)
        self._pool.board[layout.SUPERVISOR_SLEEPING] = 1

    def close(self) -> None:
        """Stop listening."""
        if self._next_look is not None:
            self._next_look.cancel()
        self._loop.remove_reader(self._pool.bell)

    def _on_bell(self) -> None:
        doorbell.wait(self._pool.bell)
        if self._next_look is not None:
            return  # it was rung before, for what has been seen, or will be soon enough
        try:
            self._pool.board[layout.SUPERVISOR_SLEEPING] = 0
            if self._look():
                self._next_look = self._loop.call_soon(self._look_again)
            else:
                self._sleep()
        except BaseException:
            self._look_on()
            raise

    def _look_again(self) -> None:
        """After a turn of the loop in which what was found has gone out, or after a rest."""
        self._next_look = None
        try:
            self._flow.tell_of_room()
            if self._look():
                self._next_look = self._loop.call_soon(self._look_again)
                return
            rest_s = self._doze.after_nothing(self)
            if rest_s:
                self._next_look = self._loop.call_later(rest_s, self._end_rest)
            else:
                self._sleep()
        except BaseException:
            self._look_on()
            raise

    def _end_rest(self) -> None:
        try:
            self._look()
        except BaseException:
            self._look_on()
            raise
        self._look_again()

    def _sleep(self) -> None:
        """Say so, and look once more: who published before that did not ring."""
        board = self._pool.board
        board[layout.SUPERVISOR_SLEEPING] = 1
        for processes in self._flow.link_processes:
            processes.ring_from_now_on()
        self._pool.fence()
        if self._look():
            board[layout.SUPERVISOR_SLEEPING] = 0
            self._next_look = self._loop.call_soon(self._look_again)

    def _look(self) -> bool:
        """Take what there is; whether there was something."""
        brought = 0
        for processes in self._flow.link_processes:
            brought += processes.look()
        if brought:
            self._doze.brought(brought, time.monotonic())
        found = self._flow.collect() or brought
        if found:
            self._doze.found()
        return bool(found)

    def _look_on(self) -> None:
        """Something unexpected was raised in a look, and goes to who handles that: results come in all the same."""
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._loop.call_later(_RETRY_S, self._look_again)

    # -- the load, for ``Doze`` -------------------------------------------------------------------------------

    def hub_is_busy(self) -> bool:
        flow = self._flow
        return flow.link.sends_one_by_one and len(flow.verdicts) >= BUSY_RESULTS and flow.dispatcher.has_short_tasks

    def workers_are_busy(self, duration_ns: int) -> bool:
        return self._flow.dispatcher.have_work_for(duration_ns)

    def links_have_slots(self) -> bool:
        processes = self._flow.link_processes
        return bool(processes) and all(each.have_slots for each in processes)
