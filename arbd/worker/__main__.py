"""``python -m arbd.worker``: a worker that is started by exec. For the zygote's use only."""

from __future__ import annotations

import os
import sys

import msgspec

from arbd import logs, target
from arbd.host import memory, procs
from arbd.worker import main as worker


def main(arguments: list[str]) -> int:
    """Load the target again in this process, then work."""
    parcel, *fds = map(int, arguments)
    spec = msgspec.msgpack.decode(memory.read_parcel(parcel, limit=1 << 20), type=worker.ExecSpec)
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
    provider = target.load(spec.boot.target, spec.boot.argv, script=spec.boot.script)
    provider.redact()
    worker.apply(spec.configure, provider)
    handles = worker.Handles(*fds)
    worker.run(provider, spec.configure, spec.spawn, handles, spec.numbers, parent=spec.parent)
    return 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    finally:
        logs.finish()
    sys.exit(status)
