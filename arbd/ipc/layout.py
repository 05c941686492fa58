"""The layout of shared memory: every offset and constant that two processes must agree on.

Each worker has one memory of its own, a *cell*: a control page, then its task ring, then its result ring::

    0                 4096                   4096 + R               4096 + 2R
    | control page    | task ring (R bytes)  | result ring (R bytes) |

The control page is a table of 64-bit words. A word has exactly one writer; words of different writers lie on
different 64-byte cache lines, so that neither side's stores slow the other's loads down.

    line  word              writer      meaning
    0     MAGIC, VERSION, RING_SIZE     supervisor, once, before the worker exists
    1     TASK_TAIL         supervisor  bytes ever pushed into the task ring
    2     TASK_HEAD         worker      bytes ever popped from it
    3     RESULT_TAIL       worker      bytes ever pushed into the result ring
    4     RESULT_HEAD       supervisor  bytes ever popped from it
    5     CONDEMNED         supervisor  STOP: begin no further task, you will be killed; LEAVE: exit when idle
    5     LOG_LEVEL         supervisor  the number of the least important level to write; 0: as it was configured
    6     WORKER_SLEEPING   worker      1: asleep on its doorbell, or about to be: ring it
    7     RUNNING_SEQ, RUNNING_SINCE_NS worker: the task begun or skipped last, and when (CLOCK_MONOTONIC); 0: done,
                                        and its answer waits for room
    8     TASKS_DONE, BUSY_NS, CPU_NS   worker: totals since it started
    9     CANCELS           supervisor  how many of its tasks were ever cancelled
    10    CANCELLED         supervisor  the numbers of the last 64 of them, on eight lines
    18    TAKEN_BACK        supervisor  skip the tasks that lie before this place in the task ring, and say so
    20    PLATE_SEQ, PLATE_LENGTH, PLATE_THREADS   worker: the task on the plate, the length of its name in bytes, and
                                        the threads of Python that the process had then
    21    (to the end)      worker      the plate: who runs, for the zygote, which reads what it prints (``plate.py``)

One more page and 64 KiB, the *board*, with a line for each slot there can be, belongs to the daemon as a whole::

    0          SUPERVISOR_SLEEPING  supervisor  1: asleep in its event loop: ring the results doorbell
    1 + slot   NEWS                 workers     a value never stored there before: a worker of that slot has published

NEWS is the one word with several writers, the old and the new worker of a slot during a reload. That does no harm,
because no value is used twice: whoever wrote last, the supervisor sees that it must look.

Behind the rings of a cell lies the worker's *ledger*: for each rate limit of the provider one *seat* of 512 bytes::

    line  word              writer      meaning
    0     GRANTED           supervisor  starts this worker was ever allowed
          NOT_BEFORE_NS     supervisor  the one grant that is left may be used from this moment on
          ANSWERED          supervisor  the last request it has answered
          NEXT_AT_NS        supervisor  before this moment asking is of no use; 0: ask
          NOT_AFTER_NS      supervisor  from this moment on the grants that are left are void
          KEEP              supervisor  so many grants it need not give back when it has nothing to do
    1     COUNT .. CAUSE    supervisor  how much of the limit was used, and why it refused, at its last refusal
    2     SPENT             worker      starts it ever made
          RETURNED          worker      grants it ever gave back
          LAST_START_NS     worker      when the last of them was
          ENDED, WALL_NS, SEAT_CPU_NS   worker: calls that ended, and what they took; only where it is measured
          FAILED            worker      those of them that failed
    3     ASKED, NEED, UNTIL_NS         worker: its last request: how many, and how long it can wait for them
          REFUSED           worker      calls it turned away
    4-7   MEMBERS           supervisor  who else draws on the limit: the length in bytes, then names, one per line

Behind the seats of the limits come as many as there are actions, and one more, for limits that are set while the daemon
runs, and then two pages by which they are requested and published (``arbd.rate_limit.grants.live``)::

    page  word              writer      meaning
    0     CHANGES           supervisor  twice the versions of the table so far; odd while it is written
          TABLE_LENGTH      supervisor  bytes of it
          REQUESTS_SEEN, REQUEST_REFUSED   supervisor: the last request answered, and the last refused
          (from line 1)     supervisor  the table
    1     REQUESTS, REQUEST_LENGTH         worker: how many it has made, and bytes of the last
          (from line 1)     worker      the last request

Each link process has one memory of its own, too: a control page, then a ring of tasks and acknowledgements *up* to the
supervisor, then a ring of results *down* to the link::

    line  word                     writer      meaning
    0     MAGIC, VERSION, RING_SIZE            supervisor, once, before the link exists; the magic is another one
    1     UP_TAIL                  link        bytes ever pushed up
    2     UP_HEAD                  supervisor  bytes ever popped from there
    3     DOWN_TAIL                supervisor  bytes ever pushed down
    4     DOWN_HEAD                link        bytes ever popped from there
    5     ALLOWED                  supervisor  tasks the link may have pushed in all; it may also fall
          HELD                     supervisor  1: make no call
          STOPPING, FLUSHING       supervisor  n: poll no more, the n-th stop; 1: send what was put aside at once
          SUPERVISOR_SLEEPS        supervisor  how often it went to sleep: ring it if that is more than when last rung
    6     LINK_SLEEPS              link        the same of the link
          RING_ABOVE               link        also ring it when ALLOWED is above this
    7     TOKEN_ACCEPTED, TOKEN_REFUSED        link: how often the hub was found to accept the token, and refused it
          LINK_STATE               link        state of its connection
    8     COUNTERS                 link        its counters, on two lines

The design leans on x86-64's store order: a payload is visible before the index that publishes it, because
stores become visible in program order. ``host.platform.require_supported`` refuses to start elsewhere.
"""

from __future__ import annotations

from typing import Final

MAGIC_VALUE: Final = 0x61726264_63656C6C  # "arbdcell"
LAYOUT_VERSION: Final = 3

LINE: Final = 64 // 8  # words in one cache line
PAGE_BYTES: Final = 4096
PAGE_WORDS: Final = PAGE_BYTES // 8

# Control page of a cell, as indices into its 64-bit words.
MAGIC: Final = 0
VERSION: Final = 1
RING_SIZE: Final = 2
TASK_TAIL: Final = 1 * LINE
TASK_HEAD: Final = 2 * LINE
RESULT_TAIL: Final = 3 * LINE
RESULT_HEAD: Final = 4 * LINE
CONDEMNED: Final = 5 * LINE
LOG_LEVEL: Final = 5 * LINE + 1
WORKER_SLEEPING: Final = 6 * LINE
RUNNING_SEQ: Final = 7 * LINE
RUNNING_SINCE_NS: Final = 7 * LINE + 1
TASKS_DONE: Final = 8 * LINE
BUSY_NS: Final = 8 * LINE + 1
CPU_NS: Final = 8 * LINE + 2
CANCELS: Final = 9 * LINE
CANCELLED: Final = 10 * LINE
CANCELLED_WORDS: Final = 8 * LINE
TAKEN_BACK: Final = 18 * LINE
PLATE_SEQ: Final = 20 * LINE
PLATE_LENGTH: Final = 20 * LINE + 1
PLATE_THREADS: Final = 20 * LINE + 2
PLATE_TEXT: Final = 21 * LINE

# Values of CONDEMNED.
STOP: Final = 1
LEAVE: Final = 2

# The board.
MAX_SLOTS: Final = 1024  # the most workers of a daemon: the upper bound of the setting ``workers``
SUPERVISOR_SLEEPING: Final = 0
NEWS: Final = 1 * LINE  # of slot 0; one line for each slot, because all workers store there at the same time
READY_NEWS: Final = 1 << 63  # plus the worker's id; otherwise it is the number of the task that is answered,
SKIP_NEWS: Final = 1 << 62  # or, for a task that was skipped, this plus so much for each worker id before its own,
NOTICE_NEWS: Final = 1 << 61  # for a notice, plus so much for each worker id, plus how many it has said before
NOTICE_NEWS_WORKER: Final = 1 << 20
SKIP_NEWS_WORKER: Final = 1 << 40  # plus the place in its ring

# A seat of a ledger, as indices into its words.
SEAT_WORDS: Final = 8 * LINE
GRANTED: Final = 0
NOT_BEFORE_NS: Final = 1
ANSWERED: Final = 2
NEXT_AT_NS: Final = 3
NOT_AFTER_NS: Final = 4
KEEP: Final = 5
COUNT: Final = 1 * LINE
TOTAL_WALL_NS: Final = 1 * LINE + 1
TOTAL_CPU_NS: Final = 1 * LINE + 2
CALL_USAGE_PPM: Final = 1 * LINE + 3
CPU_USAGE_PPM: Final = 1 * LINE + 4
CAUSE: Final = 1 * LINE + 5
SPENT: Final = 2 * LINE
RETURNED: Final = 2 * LINE + 1
LAST_START_NS: Final = 2 * LINE + 2
ENDED: Final = 2 * LINE + 3
WALL_NS: Final = 2 * LINE + 4
SEAT_CPU_NS: Final = 2 * LINE + 5
FAILED: Final = 2 * LINE + 6
ASKED: Final = 3 * LINE
NEED: Final = 3 * LINE + 1
UNTIL_NS: Final = 3 * LINE + 2
REFUSED: Final = 3 * LINE + 3
MEMBERS: Final = 4 * LINE
MEMBERS_BYTES: Final = (4 * LINE - 1) * 8

# The pages for limits that are set while the daemon runs.
CHANGES: Final = 0
TABLE_LENGTH: Final = 1
REQUESTS_SEEN: Final = 2
REQUEST_REFUSED: Final = 3
REQUESTS: Final = PAGE_WORDS
REQUEST_LENGTH: Final = PAGE_WORDS + 1
LIVE_WORDS: Final = 2 * PAGE_WORDS

# Control page of a link.
LINK_MAGIC_VALUE: Final = 0x61726264_6C696E6B  # "arbdlink"
UP_TAIL: Final = 1 * LINE
UP_HEAD: Final = 2 * LINE
DOWN_TAIL: Final = 3 * LINE
DOWN_HEAD: Final = 4 * LINE
ALLOWED: Final = 5 * LINE
HELD: Final = 5 * LINE + 1
STOPPING: Final = 5 * LINE + 2
FLUSHING: Final = 5 * LINE + 3
SUPERVISOR_SLEEPS: Final = 5 * LINE + 4
LINK_SLEEPS: Final = 6 * LINE
RING_ABOVE: Final = 6 * LINE + 1
TOKEN_ACCEPTED: Final = 7 * LINE
TOKEN_REFUSED: Final = 7 * LINE + 1
LINK_STATE: Final = 7 * LINE + 2
COUNTERS: Final = 8 * LINE
COUNTER_WORDS: Final = 2 * LINE

# Rings.
RECORD_HEADER: Final = 8  # bytes: the length of the record, as one 64-bit word
RECORD_ALIGN: Final = 8  # records start on a word, so that their length is stored in one piece
WRAP: Final = 0xFFFF_FFFF  # instead of a length: nothing more before the end, go on at the start
MIN_RING_BYTES: Final = 16 * 1024
MAX_RECORD_FRACTION: Final = 4  # a longer record than ring/4 goes by reference, so that a few always fit


def cell_bytes(ring_bytes: int) -> int:
    """The size in bytes of a cell whose rings hold ``ring_bytes`` each, without a ledger."""
    return PAGE_BYTES + 2 * ring_bytes


def board_bytes(slots: int) -> int:
    """The size in bytes of the board for this many worker slots."""
    return (NEWS + slots * LINE) * 8


def news_at(slot: int) -> int:
    """The index of a slot's news among the board's words."""
    return NEWS + slot * LINE


def ledger_bytes(limits: int, actions: int) -> int:
    """The size in bytes of the ledger of a worker that has this many rate limits and actions."""
    return ((limits + actions + 1) * SEAT_WORDS + LIVE_WORDS) * 8


def seat_at(ring_bytes: int, number: int) -> int:
    """The index of a limit's seat among the cell's words."""
    return (PAGE_BYTES + 2 * ring_bytes) // 8 + number * SEAT_WORDS


def largest_record(ring_bytes: int) -> int:
    """The length in bytes of the longest record that travels inside a ring of that size."""
    return ring_bytes // MAX_RECORD_FRACTION - RECORD_HEADER
