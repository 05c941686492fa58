"""A worker that is started by exec: ``python -m arbd.worker``, called by the zygote alone.

    its state ─> tied to the zygote ─> its CPU ─> the target, once more ─> seeded ─> ``run``

It begins where the zygote began: directory, environment, file mode mask. A target that loaded in the
zygote and does not load here ends it with code 70; what nobody expected, with 71.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.errors import EXIT_ZYGOTE
from arbd.host import cpus, memory, process_state, procs
from arbd.worker import main as worker
from arbd.worker import target
from arbd.worker.failures import of_second_import
from arbd.worker.reseed import reseed_all

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
    worker.ignore_termination()  # a signal to the whole group is the supervisor's to answer, while this imports as well
    parcel, *fds = map(int, arguments)
    spec = msgspec.msgpack.decode(memory.read_parcel(parcel, limit=_MAX_SPEC), type=worker.ExecSpec)
    procs.die_with_parent(spec.parent)
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
    _begin_at(spec)
    with cpus.Narrowed(spec.boot.worker_cpus, spec.spawn.slot):  # one that is not pinned, too
        provider = _load(spec, fds)
    if spec.configure.reseed:
        reseed_all()
    provider.redact()
    worker.apply(spec.configure, provider)
    handles = worker.Handles(*fds)
    worker.run(provider, spec.configure, spec.spawn, handles, spec.numbers, parent=spec.parent)


def _begin_at(spec: worker.ExecSpec) -> None:
    os.umask(spec.umask)
    try:
        os.chdir(spec.directory)
    except OSError:  # it has been removed, and was when the zygote began
        pass


def _load(spec: worker.ExecSpec, fds: list[int]) -> Provider:
    try:
        return target.load(spec.boot.target, spec.boot.argv, script=spec.boot.script)
    except BaseException as exc:  # SystemExit of a script, and whatever an import can raise
        problem = of_second_import(exc)
        logs.get_logger("arbd.worker").error("worker_not_loaded", hint=problem.hint, exc_info=exc)
        if spec.spawn.trial:
            worker.report(worker.Handles(*fds), problem.text)
        worker.leave(EXIT_ZYGOTE)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    finally:
        logs.finish()
    sys.exit(status)
