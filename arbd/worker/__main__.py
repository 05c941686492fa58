"""A worker that is started by exec: ``python -m arbd.worker``, called by the zygote alone.

    its state ─> tied to the zygote ─> its CPU ─> the target, once more ─> seeded ─> ``run``

It begins where the zygote began: directory, environment, file mode mask. A target that loaded in the
zygote and does not load here ends it with code 70; what nobody expected, with 71.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Final, NoReturn

import msgspec

from arbd import logs
from arbd.author.provider import Provider
from arbd.author.start import GoOn
from arbd.errors import EXIT_OK, EXIT_ZYGOTE
from arbd.host import cpus, memory, process_state, procs, stack_signal, stdio, tags
from arbd.logs.tracebacks import exc_info_of
from arbd.worker import child_starts, children, target
from arbd.worker import main as worker
from arbd.worker.failures import of_second_import
from arbd.worker.guard import guard
from arbd.worker.reseed import reseed_all

_MAX_SPEC: Final = 256 * 1024 * 1024  # it holds the names of all actions


def main(arguments: list[str]) -> NoReturn:
    """Run a worker until it is told to leave, and end this process."""
    try:
        _work(arguments)
    except BaseException:
        worker.fail()
    worker.leave(EXIT_OK)


def _work(arguments: list[str]) -> None:
    process_state.establish()
    worker.ignore_termination()  # a signal to the whole group is the supervisor's to answer, while this imports as well
    parcel, *fds = map(int, arguments)
    stack_signal.answer_into(worker.Handles(*fds).stacks)  # at once: an import that hangs can be seen
    spec = msgspec.msgpack.decode(memory.read_parcel(parcel, limit=_MAX_SPEC), type=worker.ExecSpec)
    procs.die_with_parent(spec.parent)
    try:
        tags.become_worker(spec.spawn.worker_id)  # before the module is imported, which may start processes
    except OSError:  # logged already, by the zygote
        pass
    for fd in (*fds, *(spec.output or ()), *(() if spec.losses is None else (spec.losses,))):
        os.set_inheritable(fd, False)
    stdio.buffer_lines()
    logs.capture_streams(spec.log_fd)
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
    child_starts.install()
    guard.install()  # before the author's module takes functions out of theirs
    worker.ignore_termination()
    importing = ExitStack()

    def go_on(provider: Provider) -> NoReturn:
        try:
            importing.close()
            _run(spec, worker.Handles(*fds), provider)
        except BaseException:  # not into the author's code around provider.start()
            worker.fail()
        worker.leave(EXIT_OK)

    # Of those that it is bound to; for one that is not pinned, too.
    importing.enter_context(cpus.Narrowed(spec.boot.worker_cpus, spec.spawn.slot))
    go_on(_load(spec, worker.Handles(*fds), go_on))


def _run(spec: worker.ExecSpec, handles: worker.Handles, provider: Provider) -> None:
    children.end_if_child(children.here)  # the module has forked, and this is not the worker
    if spec.configure.reseed:
        reseed_all()
    provider.redact()
    worker.apply(spec.configure, provider)
    worker.run(provider, spec.configure, spec.spawn, handles, spec.numbers, parent=spec.parent, output_fds=spec.output)


def _begin_at(spec: worker.ExecSpec) -> None:
    os.umask(spec.umask)
    try:
        os.chdir(spec.directory)
    except OSError:  # it has been removed, and was when the zygote began
        pass


def _load(spec: worker.ExecSpec, handles: worker.Handles, go_on: GoOn) -> Provider:
    here = children.watch()
    try:
        return target.load(spec.boot.target, spec.boot.argv, script=spec.boot.script, go_on=go_on)
    except BaseException as exc:  # SystemExit of a script, and whatever an import can raise
        children.end_if_child(here, exc)
        problem = of_second_import(exc)
        logs.get_logger("arbd.worker").error("worker_not_loaded", hint=problem.hint, exc_info=exc_info_of(exc))
        if spec.spawn.trial:
            worker.report(handles, problem.text)
        worker.leave(EXIT_ZYGOTE)


if __name__ == "__main__":
    main(sys.argv[1:])
