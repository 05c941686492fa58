"""The protocol between a member of a limit and Redis: one Lua script, its arguments and its reply.

A *member* is a daemon, or a process that uses a monitor outside a daemon. All of a limit's state is one key. It is a
log of starts (date, how many) and one *lease* for each member: starts that it was granted and of which it has not said
yet that they were made or are not needed. Times are microseconds.

What makes it exact, however late anything is:

* ``starts in the log + starts on lease <= limit`` whenever something is granted; so no window sees more than ``limit``
  (the proof of ``arbd.rate_limit.algorithms.base``, with Redis in the place of the account);
* a lease ends. What is left of it then is dated at its end, and its holder stops using it before (``redis_lease``);
* counters only grow (``started``, ``returned``, ``granted``), so a call that is repeated because its answer was lost
  says nothing twice;
* time is the server's. It goes on evenly although that clock is set: backward, ``offset`` makes up for it; forward, no
  more time has passed than by the caller's own monotonic clock since it was last here, and ``SLACK``. (A clock that is
  set forward by less than that, while no member has called for less than a lease, can let a window end so much early.)
* a server that has lost the log (a restart, an old snapshot, ``FLUSHALL``) is found out by a member that was here
  before; then nothing is granted for one window, because it is not known what the lost log held.

The cost is that of reading and writing one value of at most ``GROUPS`` dates; with more starts than that in a window,
their dates are rounded up by ``window / GROUPS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

LEASE_NS: Final = 2_000_000_000  # long against a busy server; a crashed member costs a part of the limit that long
#: A holder stops so long before its lease ends: clocks may differ by ``SLACK``, and in their rate.
MARGIN_NS: Final = 200_000_000
GROUPS: Final = 512
_SLACK_US: Final = 50_000
_US: Final = 1000  # nanoseconds

LUA: Final = """
local limit, window, lease_time = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local member, session = ARGV[4], ARGV[4] .. ':' .. ARGV[5]
local granted, started, returned = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local want, epoch, heard, elapsed = tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])

local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
local packed = redis.call('GET', KEYS[1])
local state = packed and cmsgpack.unpack(packed) or {
  epoch = member .. ':' .. string.format('%.0f', wall),
  offset = 0, last = wall, settled = 0, dates = {}, calls = {}, leases = {}, seen = {},
}

-- The time now. It never goes back, and not forward by more than the caller has seen pass.
local lost = epoch ~= '' and (state.epoch ~= epoch or state.last < heard)
local now = wall + state.offset
if epoch ~= '' and not lost then now = math.min(now, heard + elapsed + __SLACK__) end
now = math.max(now, state.last)
state.offset, state.last = now - wall, now
if lost then state.settled = now + window end

local dates, calls, leases, seen = state.dates, state.calls, state.leases, state.seen
local grain = limit > __GROUPS__ and math.ceil(window / __GROUPS__) or 1
local function note(date, number)
  if number <= 0 then return end
  date = math.ceil(date / grain) * grain
  local i = #dates
  while i > 0 and dates[i] > date do i = i - 1 end
  if i > 0 and dates[i] == date then
    calls[i] = calls[i] + number
  else
    table.insert(dates, i + 1, date)
    table.insert(calls, i + 1, number)
  end
end

-- Leases that have ended: the rest may have been started until the end.
for name, lease in pairs(leases) do
  if lease.ends <= now then
    note(lease.ends, lease.granted - lease.done)
    leases[name] = nil
  end
end

-- The caller's report.
local mine = leases[session]
local known = mine or granted == 0
if known then
  mine = mine or {granted = 0, done = 0, started = 0}
  leases[session] = mine
  local reported = 0
  for i = 13, #ARGV, 2 do reported = reported + tonumber(ARGV[i + 1]) end
  local again = math.max(0, reported - math.max(0, started - mine.started))
  for i = 13, #ARGV, 2 do
    local number = tonumber(ARGV[i + 1])
    local skipped = math.min(again, number)
    again = again - skipped
    note(now - tonumber(ARGV[i]), number - skipped)
  end
  mine.started = math.max(mine.started, started)
  mine.done = math.max(mine.done, started + returned)
  mine.granted = math.max(mine.granted, mine.done)
  mine.ends = now + lease_time
end

-- What is over, and what is left.
local used, over = 0, 0
for i = 1, #dates do
  if dates[i] <= now - window then over = i else used = used + calls[i] end
end
if over > 0 then
  local last = #dates
  for i = 1, last do
    dates[i], calls[i] = dates[i + over], calls[i + over]
  end
end
seen[member] = now
local members, held = 0, 0
for name, at in pairs(seen) do
  if at <= now - window - lease_time then seen[name] = nil else members = members + 1 end
end
for _, lease in pairs(leases) do held = held + lease.granted - lease.done end

local free = limit - used - held
local settling = math.max(0, state.settled - now)
if known and settling == 0 and free > 0 then
  local grant = math.min(want, math.max(1, math.floor(free / members)))
  mine.granted = mine.granted + grant
  free, held = free - grant, held + grant
end

-- When one more start is free if all that is on lease is started now. -1: only when a lease gives it back.
local wait = 0
if free <= 0 then
  wait = -1
  for i = 1, #dates do
    free = free + calls[i]
    if free > 0 then
      wait = math.max(1, dates[i] + window - now)
      break
    end
  end
end

local keep = math.ceil(math.max(window, settling) / 1000) + math.ceil(lease_time / 1000)
redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', keep)
return {state.epoch, now, known and mine.granted or -1, wait, used + held, members, settling}
""".replace("__SLACK__", str(_SLACK_US)).replace("__GROUPS__", str(GROUPS))


class LeaseRequest(NamedTuple):
    """One call of the script. ``starts``: date (ns, this process's monotonic clock) and number, oldest first.

    ``granted``, ``started`` and ``returned`` count since the session began; ``heard`` is the server's time at the last
    reply, whose request was sent at ``heard_at_ns``; ``epoch`` is empty where nothing of that is known any more.
    """

    limit: int
    window_ns: int
    member: str
    session: int
    granted: int
    started: int
    returned: int
    want: int
    starts: Sequence[tuple[int, int]]
    epoch: str
    heard: int
    heard_at_ns: int

    def arguments(self, now_ns: int) -> list[str | int]:
        """The arguments of the script at ``now_ns``; ages are rounded down and times up, as late dates are safe."""
        listed: list[str | int] = [
            *(self.limit, -(-self.window_ns // _US), LEASE_NS // _US, self.member, self.session),
            *(self.granted, self.started, self.returned, self.want),
            *(self.epoch, self.heard, max(0, now_ns - self.heard_at_ns) // _US),
        ]
        for at_ns, number in self.starts:
            listed += (max(0, now_ns - at_ns) // _US, number)
        return listed


class LeaseReply(NamedTuple):
    """The script's reply. ``granted``: ever, in this session; -1 where the server does not know the session.

    ``wait_us``: until one more start is free; 0: one is free now, -1: only when a lease gives it back. ``taken``:
    starts in the window and on lease. ``settling_us``: so long nothing is granted, because the server lost its memory.
    """

    epoch: str
    now: int
    granted: int
    wait_us: int
    taken: int
    members: int
    settling_us: int

    @classmethod
    def of(cls, answer: Sequence[bytes | str | int]) -> LeaseReply:
        """The reply from what the client library returns."""
        epoch, *numbers = answer
        now, granted, wait_us, taken, members, settling_us = map(int, numbers)
        return cls(
            epoch.decode() if isinstance(epoch, bytes) else str(epoch),
            now,
            granted,
            wait_us,
            taken,
            members,
            settling_us,
        )
