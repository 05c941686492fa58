"""What CPU-heavy actions are made of: one call of each of four libraries, 5 to 30 ms with one thread.

    WORK[name]()    imports the library, makes its data, and gives the call: so "imported at module top" is a module
                    that says this at its top

The same function runs in workers (``libraries_provider.py``) and in bare processes (``bare_library.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any, Final

Work = Callable[[], object]


def _numpy() -> Work:
    """OpenBLAS: a dense system of equations."""
    numpy = import_module("numpy")
    chance = numpy.random.default_rng(1)
    matrix, right = chance.standard_normal((600, 600)), chance.standard_normal(600)
    return lambda: float(numpy.linalg.solve(matrix, right)[0])


def _lightgbm() -> Work:
    """OpenMP: a small training."""
    lightgbm, numpy = import_module("lightgbm"), import_module("numpy")
    x, y = _samples(numpy)
    settings = {"objective": "regression", "num_leaves": 15, "verbosity": -1}

    def train() -> object:
        return lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=10).num_trees()

    return train


def _sklearn() -> Work:
    """OpenMP, by scikit-learn's own count of CPUs: histogram gradient boosting."""
    ensemble, numpy = import_module("sklearn.ensemble"), import_module("numpy")
    x, y = _samples(numpy)

    def fit() -> object:
        return ensemble.HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=15).fit(x, y).n_iter_

    return fit


def _torch() -> Work:
    """ATen's pool: forward and backward through three layers."""
    torch = import_module("torch")
    torch.manual_seed(1)
    sizes = (256, 512, 512, 1)
    layers: list[Any] = []
    for one, next_one in pairwise(sizes):
        layers += [torch.nn.Linear(one, next_one), torch.nn.ReLU()]
    model, x = torch.nn.Sequential(*layers), torch.randn(256, sizes[0])

    def step() -> object:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return float(loss.detach())

    return step


def _samples(numpy: Any) -> tuple[Any, Any]:
    chance = numpy.random.default_rng(1)
    x = chance.standard_normal((1_000, 10))
    return x, x[:, 0] * 2 + numpy.sin(x[:, 1])


WORK: Final[dict[str, Callable[[], Work]]] = {
    "numpy": _numpy,
    "lightgbm": _lightgbm,
    "sklearn": _sklearn,
    "torch": _torch,
}
