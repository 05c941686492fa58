"""The messages between supervisor and zygote, and the parameters of a worker.

    supervisor                                      zygote
      Boot (+ 2 descriptors)  ───────────────────>  imports the target
           <──────────── Described (+ parcel) or Failed
      Configure  ────────────────────────────────>  freezes the heap; ready to fork
      ChangeLogLevel  ───────────────────────────>  it and the workers it starts from then on write at that level
      Spawn (+ 9 descriptors)  ──────────────────>  forks
           <──────────── Spawned (+ pidfd)
           <──────────── Exited                     a worker ended, and what it had started; or none began
      (end of stream)  ──────────────────────────>  kills every worker, leaves

The descriptors of ``Boot``: the file for its stacks (``arbd.host.stack_signal``), if ``stacks`` says so, and the one on
which lost log lines are counted (``arbd.logs``), which may be missing. Those of ``Spawn``, in order: cell, task
doorbell, board, results doorbell, side socket, limits doorbell, answers doorbell, the file for its stacks, the
page of the author's metrics (``arbd.ipc.author_page``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Watched = Literal["", "zygote", "daemon"]
"""What a watcher is to see to the end of, if there is one (``arbd.worker.watcher``)."""


EXPORTERS_GROUP: Final = "opentelemetry_traces_exporter"
"""The entry points by which packages offer exporters of spans."""


def exporter_names(environ: Mapping[str, str]) -> list[str]:
    """The entry points of the exporters that ``OTEL_TRACES_EXPORTER`` names: OTLP, unless it says something else. OTLP
    goes by HTTP whatever the protocol is said to be: no process of an author's code may have gRPC."""
    names = [name.strip().lower() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",")]
    given = [name for name in names if name] or ["otlp"]
    return ["otlp_proto_http" if name in ("otlp", "otlp_proto_grpc") else name for name in given if name != "none"]


class LogSettings(msgspec.Struct, frozen=True):
    """The log settings of a process, as ``arbd.logs.configure`` takes them."""

    level: str
    format: str
    silent: bool


class Boot(msgspec.Struct, frozen=True, tag=True):
    """Tells a new zygote to load this target.

    ``script``: run it as ``__main__`` and stop at ``provider.start()``. ``open_files``: the soft descriptor limit for
    what runs the author's actions, as the operator has set it; 0: unchanged. ``worker_cpus``: how many CPUs a worker
    will have, and so its libraries threads. ``generation``: what its processes are tagged with (``arbd.host.tags``);
    0: the zygote chooses. ``watched``: what it starts a watcher for. ``stacks``: a file for its stacks comes with it.
    ``core_files``: it and what it starts may leave core files.
    """

    target: str
    argv: list[str]
    script: bool
    log: LogSettings
    open_files: int = 0
    worker_cpus: int = 1
    generation: int = 0
    watched: Watched = "zygote"
    stacks: bool = False
    core_files: bool = False


class Configure(msgspec.Struct, frozen=True, tag=True):
    """Tells the zygote the settings in force, as far as workers need them."""

    name: str
    hub_url: str
    timezone: str
    execution_timeout: float
    envelope: Literal["plain", "metadata"]
    max_result: int
    log: LogSettings
    nan: Literal["error", "null"] = "error"
    reseed: bool = True
    start_timeout: float = 30.0  # seconds
    stop_timeout: float = 5.0  # seconds
    tracing: bool = False


class ChangeLogLevel(msgspec.Struct, frozen=True, tag=True):
    """Tells the zygote to write lines of this level and above, and to start workers that do."""

    level: str


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """Tells the zygote to start worker ``worker_id`` in slot ``slot``, pinned to ``cpus`` (empty: not pinned).
    ``max_tasks``: it asks to be replaced in time before, and begins no more than so many; 0: no limit.
    ``memory_limit``: after a task it begins no other one while it holds more bytes of memory (RSS); 0: no limit.
    ``trial``: it ends where it would begin to serve, and runs no hook, no resource and no task."""

    worker_id: int
    slot: int
    cpus: tuple[int, ...] = ()
    max_tasks: int = 0
    memory_limit: int = 0
    trial: bool = False


class Described(msgspec.Struct, frozen=True, tag=True):
    """Reports that the target is loaded; its description is in the parcel that comes with this message."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Reports that the target cannot be loaded. ``target_error``: TARGET leads nowhere, rather than code that broke."""

    target_error: bool
    problems: list[str]
    traceback: str = ""


class Spawned(msgspec.Struct, frozen=True, tag=True):
    """Reports a new worker process; its pidfd comes with this message."""

    worker_id: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag=True):
    """Reports that a worker ended: ``status`` is its exit code, or minus the signal that killed it. With a ``reason``
    it never started: no process could be had, and ``status`` means nothing."""

    worker_id: int
    status: int
    reason: str = ""


ToZygote = Boot | Configure | ChangeLogLevel | Spawn
FromZygote = Described | Failed | Spawned | Exited

encode = msgspec.msgpack.Encoder().encode
_to_zygote: msgspec.msgpack.Decoder[ToZygote] = msgspec.msgpack.Decoder(ToZygote)
_from_zygote: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)
decode_to_zygote = _to_zygote.decode
decode_from_zygote = _from_zygote.decode
