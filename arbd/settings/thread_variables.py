"""The environment variables that tell libraries how many threads to start, as the author's processes get them.

Each is set to ``worker.cpus``, pinned or not: as many workers as CPUs, each with threads for the whole machine, get in
each other's way; threads that spin while they wait (OpenMP, OpenBLAS, ONNX Runtime) made calls 10 to 300 times slower.
What the operator has set stays, and so does a variable whose library would fall back on one that the operator has set.
An empty variable is not set, as with arbd's own.

Not in the table, because there is none to set: DuckDB (``config={"threads": N}``, and it does not look at the CPUs it
may run on), LightGBM and XGBoost beyond OpenMP. Nor ``ARROW_IO_THREADS``: those threads wait for files. Nor
``VECLIB_MAXIMUM_THREADS``: it is macOS's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class ThreadVariable(NamedTuple):
    """One variable. ``read_by``: the libraries that size their pools by it; ``falls_back_on``: what they read where it
    is not set; ``only_for_one``: its value for one thread, where it is no number, and it is not set for more."""

    name: str
    read_by: str
    falls_back_on: tuple[str, ...] = ()
    only_for_one: str = ""


_OURS: Final = "worker.cpus"


# A table is read by its rows; the formatter would give each cell a line of its own.
# fmt: off
TABLE: Final = (
    ThreadVariable("OMP_NUM_THREADS", "OpenMP: scikit-learn, LightGBM, XGBoost, PyTorch; and PyArrow"),
    ThreadVariable("OPENBLAS_NUM_THREADS", "OpenBLAS: NumPy, SciPy", ("GOTO_NUM_THREADS", "OMP_NUM_THREADS")),
    ThreadVariable("MKL_NUM_THREADS", "Intel MKL: PyTorch, NumPy of conda", ("OMP_NUM_THREADS",)),
    ThreadVariable("BLIS_NUM_THREADS", "BLIS", ("OMP_NUM_THREADS",)),
    ThreadVariable("NUMEXPR_NUM_THREADS", "NumExpr, and pandas through it", ("OMP_NUM_THREADS",)),
    ThreadVariable("NUMBA_NUM_THREADS", "Numba"),
    ThreadVariable("RAYON_NUM_THREADS", "Rayon: extensions written in Rust", ("RAYON_RS_NUM_CPUS",)),
    ThreadVariable("POLARS_MAX_THREADS", "Polars"),
    ThreadVariable("OPENCV_FOR_THREADS_NUM", "OpenCV"),
    # ONNX Runtime takes one for each core of the machine, whatever CPUs it may use, and binds them to those cores.
    # Releases before 1.28 read neither: there, SessionOptions.intra_op_num_threads.
    ThreadVariable("ORT_INTRA_OP_NUM_THREADS", "ONNX Runtime"),
    ThreadVariable("ORT_INTER_OP_NUM_THREADS", "ONNX Runtime"),
    ThreadVariable("TF_NUM_INTRAOP_THREADS", "TensorFlow"),
    ThreadVariable("TF_NUM_INTEROP_THREADS", "TensorFlow"),
    ThreadVariable("LOKY_MAX_CPU_COUNT", "joblib, and scikit-learn's n_jobs=-1"),
    ThreadVariable("TOKENIZERS_PARALLELISM", "Hugging Face tokenizers", only_for_one="false"),
    ThreadVariable("PYTHON_CPU_COUNT", "os.cpu_count() from Python 3.13 on, and who goes by it"),
)
# fmt: on


class Shown(NamedTuple):
    """One variable as the author's processes get it, and who says so. ``value`` is empty where it is not set."""

    name: str
    value: str
    origin: str


def missing(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """What to add to this environment, so that libraries use so many threads."""
    return {one.name: one.value for one in shown(environ, threads) if one.origin == _OURS and one.value}


def shown(environ: Mapping[str, str], threads: int) -> list[Shown]:
    """All of them, in this environment, where a worker has so many CPUs."""
    return [_shown(variable, environ, threads) for variable in TABLE]


def _shown(variable: ThreadVariable, environ: Mapping[str, str], threads: int) -> Shown:
    if value := environ.get(variable.name):
        return Shown(variable.name, value, "environment")
    for name in variable.falls_back_on:
        if environ.get(name):
            return Shown(variable.name, "", f"environment {name}, which its library falls back on")
    if variable.only_for_one:
        return Shown(variable.name, variable.only_for_one if threads == 1 else "", _OURS)
    return Shown(variable.name, str(threads), _OURS)
