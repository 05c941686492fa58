"""One turn, in a process of its own: the caller of one peer.

    python -m bench.peers.turn JOB        a Job as JSON; prints a line for each phase, and a Turn as JSON at the end

It has a process to itself so that no peer meets another's imports, threads or forks, and so that whatever goes wrong
ends with it. What it starts is killed here, and once more by whoever started it.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import msgspec

from bench.peers import measure, processes, registry
from bench.peers.actions import DIRECTORY
from bench.peers.base import Peer
from bench.peers.record import About, Job, Turn

_WORDS = 500  # of an error


def main(job: Job) -> None:
    """Run it, and tell."""
    place = Path(job.place)
    out = _own_output(place)
    processes.end_with_parent()
    processes.adopt_orphans()

    def say(phase: str) -> None:
        print(phase, file=out, flush=True)

    try:
        turn = _run(job, place, say)
    except ImportError as error:
        turn = Turn(failed=f"not installed: {error}")
    print(msgspec.json.encode(turn).decode(), file=out, flush=True)
    processes.end_all()
    os._exit(0)  # threads of a peer may wait for ever for what was just killed


def _own_output(place: Path) -> TextIO:
    """Our end of the pipe; what anybody else prints goes to the log."""
    out = os.fdopen(os.dup(1), "w")
    log = os.open(place / "workers.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return out


def _run(job: Job, place: Path, say: measure.Say) -> Turn:
    os.environ[DIRECTORY] = job.place
    peer = registry.find(job.peer)()
    about = _about(peer)
    try:
        if job.stage == "speed":
            say("bare processes")
            bare_per_s = measure.bare_rate(job.work, job.spans.burn_s / 2)
            say("start")
            peer.start(place)
            return Turn(about, speed=measure.speed(peer, job.work, bare_per_s, place, job.spans, say))
        if peer.limit_s is None:
            return Turn(about)
        say("start")
        peer.start(place)
        return Turn(about, kill=measure.kill(peer, job.stage, place, job.spans, say))
    except Exception as error:  # whatever a peer may raise: its row says so, and the run goes on
        return Turn(about, failed=f"{type(error).__name__}: {error}"[:_WORDS])
    finally:
        _stop(peer)


def _stop(peer: Peer) -> None:
    try:
        peer.stop()
    except Exception as error:  # it did not start, or is broken; its processes are killed in any case
        print(f"stop: {error!r}", file=sys.stderr)


def _about(peer: Peer) -> About:
    versions = {package: version(package) for package in peer.packages}
    return About(peer.title, peer.settings, versions, peer.has_broker, peer.limit_s)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Job))
