"""A worker that is started by exec: ``python -m arbd.worker``, called by the zygote alone.

    its state ─> tied to the zygote ─> its CPU ─> the target, once more ─> ``worker.main.run``

A target that loaded in the zygote and does not load here ends it with code 70; what nobody expected, with 71.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_ZYGOTE
from arbd.host import memory, process_state, procs, tags
from arbd.worker import main as worker
from arbd.worker import target

_MAX_SPEC: Final = 256 * 1024 * 1024  # it holds the names of all actions


def main(arguments: list[str]) -> int:
    """Run a worker until it is told to leave; the exit code."""
    try:
        _work(arguments)
    except BaseException:
        worker.fail()
    return 0


def _work(arguments: list[str]) -> None:
    process_state.establish()
    parcel, *fds = map(int, arguments)
    spec = msgspec.msgpack.decode(memory.read_parcel(parcel, limit=_MAX_SPEC), type=worker.ExecSpec)
    procs.die_with_parent(spec.parent)
    try:
        tags.become_worker(spec.spawn.worker_id)  # before the module is imported, which may start processes
    except OSError:  # logged already, by the zygote
        pass
    for fd in fds if spec.losses is None else (*fds, spec.losses):
        os.set_inheritable(fd, False)
    log = spec.boot.log
    logs.configure(
        level=log.level,
        format=log.format,
        silent=log.silent,
        role="worker",
        worker=spec.spawn.slot,
        losses=spec.losses,
    )
    # First: libraries size their thread pools by the CPUs they may use when they are imported. Threads for a whole
    # machine on one CPU wait for each other; numpy, torch, scikit-learn and lightgbm were 10 to 300 times slower so.
    worker.pin(spec.spawn)
    process_state.limit_open_files(spec.boot.open_files)
    provider = _load(spec)
    provider.redact()
    worker.apply(spec.configure, provider)
    handles = worker.Handles(*fds)
    worker.run(provider, spec.configure, spec.spawn, handles, spec.numbers, parent=spec.parent)


def _load(spec: worker.ExecSpec) -> Provider:
    try:
        return target.load(spec.boot.target, spec.boot.argv, script=spec.boot.script)
    except BaseException as exc:  # SystemExit of a script, and whatever an import can raise
        logs.get_logger("arbd.worker").error("worker_not_loaded", exc_info=exc)
        worker.leave(EXIT_ZYGOTE)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    finally:
        logs.finish()
    sys.exit(status)
