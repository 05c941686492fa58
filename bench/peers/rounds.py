"""The course of a run: every peer once per round, each round begun by another, one process per turn.

Nothing of a peer is alive while another has its turn, so none can disturb it; what a turn leaves behind is killed.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.harness import CpuUse, facts
from bench.peers import processes
from bench.peers.record import KILLS, SHORT, Job, Record, Row, Spans, Stage, Turn

_TURN_S: Final = 90.0  # of the longest turn ever seen: a quarter
_CALM_SHARE: Final = 0.05  # of all CPUs, by others
_STAGES: Final[tuple[Stage, ...]] = ("speed", *KILLS)

Look = Callable[[int, Row, str], None]
"""Told of every phase: the round, the peer, what it does now."""


def begin(names: list[str], rounds: int, spans: Spans, work: int) -> Record:
    """A record without samples."""
    return Record(facts(), rounds, spans, work, [Row(name) for name in names])


def turns_of(record: Record) -> int:
    """How many turns there are at most."""
    return record.rounds * len(record.rows) * len(_STAGES)


def estimate_s(record: Record) -> float:
    """About how long it will take."""
    spans = record.spans
    speed_s = 2.5 + 1.5 * spans.burn_s + 2 * spans.queue_s + spans.ones_s
    return len(record.rows) * (record.rounds * (speed_s + 3.0) + 0.6 * spans.patience_s)


def run(record: Record, look: Look) -> Iterator[None]:
    """Fill the record; yields after each turn. Failures stand in their rows."""
    processes.adopt_orphans()
    for number in range(record.rounds):
        first = number * len(record.rows) // record.rounds
        for row in record.rows[first:] + record.rows[:first]:
            for stage in _STAGES:
                if not row.is_over(stage):
                    _note(row, stage, _calm_turn(record, row, stage, functools.partial(look, number, row)))
                yield


def _note(row: Row, stage: Stage, turn: Turn) -> None:
    row.about = turn.about or row.about
    if turn.failed:
        row.failures.append(f"{stage}: {turn.failed}")
    if turn.speed:
        row.speeds.append(turn.speed)
        row.foreign.append(turn.foreign)
    if turn.kill:
        row.kills.setdefault(stage, []).append(turn.kill)


def _calm_turn(record: Record, row: Row, stage: Stage, look: Callable[[str], None]) -> Turn:
    """A turn; one of speed in which others took CPU is made again, once, and the calmer of the two counts."""
    turn = _turn(record, row, stage, look)
    if turn.foreign < _CALM_SHARE or not turn.speed or record.spans == SHORT:
        return turn
    look("again, because others took CPU")
    again = _turn(record, row, stage, look)
    return again if again.speed and again.foreign < turn.foreign else turn


def _turn(record: Record, row: Row, stage: Stage, look: Callable[[str], None]) -> Turn:
    with tempfile.TemporaryDirectory(prefix="arbd-peers-", ignore_cleanup_errors=True) as place:
        before = CpuUse()
        job = Job(row.name, stage, record.work, record.spans, place)
        try:
            turn, phase = _talk(job, look)
        finally:
            processes.end_all()
        if turn is None:
            return Turn(failed=f"ended, or took more than {_TURN_S:.0f} s, at: {phase}")
        if turn.failed:
            log = processes.log_tail(Path(place)) if turn.about else ""
            turn = msgspec.structs.replace(turn, failed=f"{phase}: {turn.failed}\n{log}".strip())
        return msgspec.structs.replace(turn, foreign=CpuUse().foreign_share_since(before))


def _talk(job: Job, look: Callable[[str], None]) -> tuple[Turn | None, str]:
    """Run a turn's process; its last word, if it had one, and the phase it was in."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.peers.turn", msgspec.json.encode(job).decode()],
        cwd=processes.ROOT,
        env={**os.environ, "TMPDIR": job.place},  # what a peer leaves there is removed with the place
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is ours
    )
    assert process.stdout is not None
    watchdog = threading.Timer(_TURN_S, process.kill)
    watchdog.start()
    phase = "start"
    try:
        for line in process.stdout:
            if line.startswith("{"):
                return msgspec.json.decode(line, type=Turn), phase
            phase = line.strip()
            look(phase)
        return None, phase
    finally:
        watchdog.cancel()
        process.stdout.close()
        process.kill()
        process.wait()
