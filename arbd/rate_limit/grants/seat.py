"""A seat: the shared words by which one worker asks for starts of one limit, and the supervisor grants them.

    worker (worker_seat.py)                      supervisor (supervisor_seat.py)
      spent + returned < granted ?  ──yes──> start: LAST_START_NS, then SPENT
               │no
      before NEXT_AT_NS ?  ──yes──> limited, without asking
               │no
      UNTIL_NS, NEED, then ASKED ──ring──>  observe every seat, take from the one bucket
               <──ring── NOT_BEFORE_NS, then GRANTED, then ANSWERED          (or only NEXT_AT_NS, then ANSWERED)

Where the words lie is in ``arbd.ipc.layout``, what is granted in ``arbd.rate_limit.grants.account``. Invariants:

* every word has one writer and the counters only grow, so both sides may die at any instruction: what was granted and
  neither spent nor returned is ``granted - spent - returned``, exactly;
* SPENT is stored before the call starts: a worker killed in between has spent it;
* LAST_START_NS is read from the clock after the grant was seen and stored before SPENT, so a supervisor that reads
  SPENT first and LAST_START_NS after it never dates a start too early;
* a grant may end (NOT_AFTER_NS): what is only on loan from a limit of many hosts is not used later, also not by a
  worker that was stopped meanwhile;
* a worker without an answer counts as limited: a stalled supervisor can make workers idle, never too fast;
* a task's deadline never interrupts the worker's own steps (``arbd.interrupts``): what SPENT counts was started, what
  ASKED asks is waited for or withdrawn. It is raised in the waits, in which no step is half done.

Pure: clock, locks, bells and sleep are arguments.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from arbd.ipc import layout
from arbd.rate_limit.usage import Figures, Totals

_PPM: Final = 1_000_000


class GrantRequest(NamedTuple):
    """A worker's request for ``need`` starts, for which it can wait until ``until_ns`` (0: it cannot wait)."""

    number: int
    need: int
    until_ns: int


def write_figures(words: memoryview, figures: Figures) -> None:
    """Store the figures of a limit, but for its members."""
    totals = figures.totals
    words[layout.COUNT] = totals.calls
    words[layout.TOTAL_WALL_NS] = totals.wall_ns
    words[layout.TOTAL_CPU_NS] = totals.cpu_ns
    words[layout.CALL_USAGE_PPM] = max(0, round(figures.call_usage * _PPM))
    words[layout.CPU_USAGE_PPM] = max(0, round(figures.cpu_usage * _PPM))
    words[layout.CAUSE] = figures.cause


def read_figures(words: memoryview) -> Figures:
    """The figures stored last, with the members."""
    totals = Totals(words[layout.COUNT], words[layout.TOTAL_WALL_NS], words[layout.TOTAL_CPU_NS])
    call_usage, cpu_usage = words[layout.CALL_USAGE_PPM] / _PPM, words[layout.CPU_USAGE_PPM] / _PPM
    return Figures(totals, call_usage, cpu_usage, words[layout.CAUSE], _read_members(words))


def write_members(words: memoryview, names: tuple[str, ...]) -> None:
    """Store as many names as there is room for; a very long last one is cut."""
    text = "\n".join(names).encode()[: layout.MEMBERS_BYTES]
    for at in range(0, len(text), 8):
        words[layout.MEMBERS + 1 + at // 8] = int.from_bytes(text[at : at + 8].ljust(8, b"\0"), "little")
    words[layout.MEMBERS] = len(text)


def _read_members(words: memoryview) -> tuple[str, ...]:
    length = min(words[layout.MEMBERS], layout.MEMBERS_BYTES)
    if not length:
        return ()
    first = layout.MEMBERS + 1
    text = b"".join(word.to_bytes(8, "little") for word in words[first : first + -(-length // 8)])[:length]
    return tuple(text.decode(errors="replace").split("\n"))
