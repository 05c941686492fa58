"""The tables of what is known by its name: threads that a fork cannot hurt, libraries that it does, files with owners.

Each row says why it stands here. What is not in a table is judged by what it is: ``judge.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Final, NamedTuple

#: Native threads, by name, that a fork does not hurt. Those of jemalloc (polars, pyarrow) stop before it and start
#: after it: 0 of 140 answers of forked workers were wrong. That of polars removes files that queries have spilled.
HARMLESS_THREADS: Final = frozenset({"jemalloc_bg_thd", "polars-ooc-clea"})

#: The same by a piece of the file of the library that has started them, with the reason.
HARMLESS_LIBRARIES: Final = {
    "openblas": "it ends its threads before a fork, and starts them when they are needed",
    "numexpr/": "it starts its threads again where the number of its process has changed",
    "libarrow": "its pools start again after a fork",
}

#: Libraries that keep a pool of threads, by a piece of the name of their shared object.
POOLS: Final = (
    ("libopenblas", "OpenBLAS"),
    ("openblas", "OpenBLAS"),
    ("libmkl_", "Intel MKL"),
    ("libgomp", "OpenMP (GNU)"),
    ("libiomp5", "OpenMP (Intel)"),
    ("libomp", "OpenMP (LLVM)"),
    ("libtbb", "TBB"),
    ("libtorch_cpu", "torch"),
    ("libtensorflow", "tensorflow"),
    ("libjvm", "a Java machine"),
    ("librdkafka", "librdkafka"),
    ("libzmq", "ZeroMQ"),
    ("libcuda.so", "CUDA"),
)

#: Anonymous descriptors that processes may share: they hold no state that one of them changes.
HARMLESS_ANONYMOUS: Final = frozenset({"pidfd", "bpf-prog", "bpf_link", "btf", "other", "seccomp notify"})

#: What an event loop in C has open, without a name in Python that leads to it.
OF_NATIVE_LOOPS: Final = frozenset({"eventpoll", "eventfd", "io_uring", "pipe", "socket"})

#: Devices without a state; and terminals, which are shared as standard input is.
HARMLESS_DEVICES: Final = frozenset(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "kmsg")
)
TERMINALS: Final = "/dev/pts/"
#: Devices of graphics and compute cards.
GPU_DEVICES: Final = ("/dev/nvidia", "/dev/kfd", "/dev/dri/", "/dev/accel/")

#: Sockets of logs: datagrams go out, and nothing comes back that another process could take.
HARMLESS_PEERS: Final = frozenset(
    {"/dev/log", "/run/systemd/journal/socket", "/run/systemd/journal/dev-log", "/run/systemd/notify"}
)


class Format(NamedTuple):
    """A kind of database file, by the bytes ``magic`` at ``at``. ``written_only``: reading it is safe when forked."""

    name: str
    at: int
    magic: bytes
    written_only: bool


#: Databases whose library keeps a state for each process: locks, caches, what was read of the file.
DATABASES: Final = (
    Format("sqlite", 0, b"SQLite format 3\0", False),
    Format("DuckDB", 8, b"DUCK", True),
    Format("LMDB", 16, b"\xde\xc0\xef\xbe", False),
    Format("HDF5", 0, b"\x89HDF\r\n\x1a\n", True),
    Format("gdbm", 0, b"\xcd\x9a\x57\x13", True),
    Format("gdbm", 0, b"\xce\x9a\x57\x13", True),
    Format("gdbm", 0, b"\xcf\x9a\x57\x13", True),
)
LONGEST_MAGIC: Final = max(form.at + len(form.magic) for form in DATABASES)


def database_of(head: bytes, *, written: bool) -> str:
    """The kind of database whose file begins so; empty: none, or one that can be read by forked workers."""
    for form in DATABASES:
        if head[form.at :].startswith(form.magic) and (written or not form.written_only):
            return form.name
    return ""


def _omp_pool(module: ModuleType) -> bool:
    # Loaded when the first parallel function runs. In a forked child it ends the process by SIGTERM, which a worker
    # does not end by: the function returned 0.0, as a success.
    return True


def _cuda(module: ModuleType) -> bool:
    return bool(module.is_initialized())


def _jax_backends(module: ModuleType) -> bool:
    return bool(getattr(module, "_backends", None))


def _cupy(module: ModuleType) -> bool:
    return bool(getattr(module, "_contexts", None) or "cupy.cuda.memory" in sys.modules)


class _Library(NamedTuple):
    name: str
    why: str
    has_begun: Callable[[ModuleType], bool]


#: Libraries that cannot be used in a forked process once they have begun, by the module that tells.
UNSAFE: Final = {
    "numba.np.ufunc.omppool": _Library("numba", "its OpenMP pool has run a parallel function", _omp_pool),
    "torch.cuda": _Library("torch", "a CUDA context is open", _cuda),
    "jax._src.xla_bridge": _Library("jax", "its backend has been started", _jax_backends),
    "cupy": _Library("cupy", "a CUDA context may be open", _cupy),
}


def unsafe_libraries() -> list[str]:
    """Those that have begun in this process, each with the reason."""
    found = []
    for name, library in UNSAFE.items():
        module = sys.modules.get(name)
        if module is not None and _has_begun(library, module):
            found.append(f"{library.name} ({library.why})")
    return found


def _has_begun(library: _Library, module: ModuleType) -> bool:
    try:
        return library.has_begun(module)
    except Exception:  # another release of it, of which nothing is known: by exec everything works
        return True


def is_harmless(name: str, library: str) -> bool:
    """Whether a fork does not hurt a native thread, by its name or the file of its library."""
    return name in HARMLESS_THREADS or any(piece in library for piece in HARMLESS_LIBRARIES)


def name_of_library(file: str) -> str:
    """The file of a library for people: its directory, which is often the package, and what it is known as."""
    short = "/".join(file.split("/")[-2:])
    names = [name for piece, name in POOLS if piece in file]
    return f"{short} ({names[0]})" if names else short


def pools_in(maps: str) -> list[str]:
    """Libraries with pools of threads among what is mapped, as ``/proc/self/maps`` tells it."""
    files = {line.rpartition("/")[2] for line in maps.splitlines() if ".so" in line}
    return sorted({name for piece, name in POOLS for file in files if piece in file})
