"""One call of each library, 5 to 20 ms with one thread, always with the same answer.

    JOBS[name].make(threads)()    imports the library, makes its data, and gives the call

``threads``: what is said to a library that reads no environment variable; 0: nothing, as an author would who knows of
no pool. The same function runs in workers (``provider.py``) and in bare processes (``bare.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any, Final, NamedTuple

Work = Callable[[], object]


class Job(NamedTuple):
    """One library: its distribution, the modules that "import it" means, what the call does, and how to get it."""

    package: str
    modules: tuple[str, ...]
    what: str
    make: Callable[[int], Work]


def _numpy(_: int) -> Work:
    numpy = import_module("numpy")
    chance = numpy.random.default_rng(1)
    matrix, right = chance.standard_normal((600, 600)), chance.standard_normal(600)
    return lambda: float(numpy.linalg.solve(matrix, right)[0])


def _scipy(_: int) -> Work:
    numpy, linalg = import_module("numpy"), import_module("scipy.linalg")
    matrix = numpy.random.default_rng(1).standard_normal((350, 350))
    matrix = matrix + matrix.T
    return lambda: float(linalg.eigh(matrix, eigvals_only=True)[-1])


def _pandas(_: int) -> Work:
    numpy, pandas = import_module("numpy"), import_module("pandas")
    chance = numpy.random.default_rng(1)
    frame = pandas.DataFrame({"key": chance.integers(0, 1000, 300_000), "value": chance.standard_normal(300_000)})
    return lambda: float(frame.groupby("key")["value"].agg(["mean", "std"])["std"].sum())


def _polars(_: int) -> Work:
    numpy, polars = import_module("numpy"), import_module("polars")
    chance = numpy.random.default_rng(1)
    frame = polars.DataFrame({"key": chance.integers(0, 1000, 400_000), "value": chance.standard_normal(400_000)})
    column = polars.col("value")

    def group() -> object:
        by_key = frame.group_by("key").agg(column.mean().alias("mean"), column.std().alias("std"))
        return float(by_key["std"].sum())

    return group


def _pyarrow(_: int) -> Work:
    numpy, arrow = import_module("numpy"), import_module("pyarrow")
    import_module("pyarrow.compute")
    chance = numpy.random.default_rng(1)
    table = arrow.table({"key": chance.integers(0, 1000, 800_000), "value": chance.standard_normal(800_000)})

    def group() -> object:
        return float(numpy.sum(table.group_by("key").aggregate([("value", "stddev")])["value_stddev"].to_numpy()))

    return group


def _duckdb(threads: int) -> Work:
    duckdb = import_module("duckdb")
    connection = duckdb.connect(config={"threads": threads} if threads else {})
    connection.execute("create table t as select i % 1000 as key, sin(i) as value from range(600_000) r(i)")

    def query() -> object:
        found = connection.execute("select sum(s) from (select stddev(value) as s from t group by key)").fetchone()
        return float(found[0])

    return query


def _sklearn(_: int) -> Work:
    ensemble, numpy = import_module("sklearn.ensemble"), import_module("numpy")
    x, y = _samples(numpy)

    def fit() -> object:
        model = ensemble.HistGradientBoostingRegressor(max_iter=4, max_leaf_nodes=15, random_state=1).fit(x, y)
        return float(model.predict(x[:1])[0])

    return fit


def _lightgbm(_: int) -> Work:
    lightgbm, numpy = import_module("lightgbm"), import_module("numpy")
    x, y = _samples(numpy)
    settings = {"objective": "regression", "num_leaves": 15, "verbosity": -1, "seed": 1}

    def train() -> object:
        return float(lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=10).predict(x[:1])[0])

    return train


def _xgboost(_: int) -> Work:
    xgboost, numpy = import_module("xgboost"), import_module("numpy")
    x, y = _samples(numpy)

    def train() -> object:
        model = xgboost.train({"max_depth": 4, "seed": 1}, xgboost.DMatrix(x, y), num_boost_round=10)
        return float(model.predict(xgboost.DMatrix(x[:1]))[0])

    return train


def _numba(_: int) -> Work:
    numba, numpy = import_module("numba"), import_module("numpy")
    values = numpy.random.default_rng(1).standard_normal(500_000)

    def total(of: Any) -> float:
        found = 0.0
        for i in numba.prange(len(of)):
            found += numpy.sin(of[i]) * numpy.exp(-of[i] * of[i])
        return found

    compiled = numba.njit(total, parallel=True)
    return lambda: float(compiled(values))


def _torch(_: int) -> Work:
    torch = import_module("torch")
    chance = torch.Generator().manual_seed(1)
    sizes = (256, 512, 512, 1)
    layers: list[Any] = []
    for one, next_one in pairwise(sizes):
        layer = torch.nn.Linear(one, next_one)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(next_one, one, generator=chance) / one**0.5)
            layer.bias.zero_()
        layers += [layer, torch.nn.ReLU()]
    model, x = torch.nn.Sequential(*layers[:-1]), torch.randn(256, sizes[0], generator=chance)

    def step() -> object:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return float(loss.detach())

    return step


def _opencv(_: int) -> Work:
    cv2, numpy = import_module("cv2"), import_module("numpy")
    image = numpy.random.default_rng(1).integers(0, 255, (1200, 1600, 3), dtype=numpy.uint8)

    def blur() -> object:
        return float(cv2.resize(cv2.GaussianBlur(image, (15, 15), 0), (400, 300), interpolation=cv2.INTER_AREA).mean())

    return blur


def _pillow(_: int) -> Work:
    image_module, io = import_module("PIL.Image"), import_module("io")
    image_module.init()
    image = image_module.frombytes("RGB", (900, 700), bytes(i * i % 251 for i in range(900 * 700 * 3)))

    def thumbnail() -> object:
        out = io.BytesIO()
        image.resize((450, 350), image_module.Resampling.LANCZOS).save(out, "JPEG", quality=80)
        return len(out.getvalue())

    return thumbnail


def _onnxruntime(threads: int) -> Work:
    runtime, numpy = import_module("onnxruntime"), import_module("numpy")
    chance = numpy.random.default_rng(1)
    weights = [(chance.standard_normal((512, 512)) / 23).astype("f") for _ in range(4)]
    options = runtime.SessionOptions()
    if threads:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    model = _perceptron([(one.shape, one.tobytes()) for one in weights], rows=256)
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = chance.standard_normal((256, 512)).astype("f")
    return lambda: float(session.run(None, {"x0": x})[0].sum())


def _lxml(_: int) -> Work:
    etree = import_module("lxml.etree")
    row = '<row id="{}"><name>n{}</name><value unit="m">{}</value></row>'
    document = ("<rows>" + "".join(row.format(i, i, i * i % 97) for i in range(6_000)) + "</rows>").encode()
    select = etree.XPath("sum(//row[@id mod 3 = 0]/value)")
    return lambda: float(select(etree.fromstring(document)))


def _cryptography(_: int) -> Work:
    hashes = import_module("cryptography.hazmat.primitives.hashes")
    kdf = import_module("cryptography.hazmat.primitives.kdf.pbkdf2")
    return lambda: kdf.PBKDF2HMAC(hashes.SHA256(), 32, b"salt", 40_000).derive(b"password").hex()


def _spacy(_: int) -> Work:
    language = import_module("spacy").blank("en")
    language.add_pipe("sentencizer")
    text = "Dr. Smith paid $3.50 for 2 apples, didn't he? The quick brown fox jumps over the lazy dog. " * 60

    def sentences() -> object:
        document = language(text)
        return [len(document), sum(1 for _ in document.sents)]

    return sentences


def _samples(numpy: Any) -> tuple[Any, Any]:
    chance = numpy.random.default_rng(1)
    x = chance.standard_normal((1_000, 10))
    return x, x[:, 0] * 2 + numpy.sin(x[:, 1])


# -- an ONNX model, by hand: the package that makes them is larger than the runtime needs ----------------------------


def _perceptron(weights: list[tuple[tuple[int, ...], bytes]], rows: int) -> bytes:
    """MatMul and Relu in turn, from ``x0`` to the last; the protocol buffer of it."""
    nodes, tensors = b"", b""
    for i, (shape, raw) in enumerate(weights):
        nodes += _field(1, _text(1, f"x{i}") + _text(1, f"w{i}") + _text(2, f"y{i}") + _text(4, "MatMul"))
        nodes += _field(1, _text(1, f"y{i}") + _text(2, f"x{i + 1}") + _text(4, "Relu"))
        dims = b"".join(_number(1, size) for size in shape)
        tensors += _field(5, dims + _number(2, 1) + _text(8, f"w{i}") + _field(9, raw))
    first = _value("x0", (rows, weights[0][0][0]))
    last = _value(f"x{len(weights)}", (rows, weights[-1][0][1]))
    graph = nodes + _text(2, "perceptron") + tensors + _field(11, first) + _field(12, last)
    return _number(1, 8) + _field(7, graph) + _field(8, _text(1, "") + _number(2, 13))


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    """A value of 32-bit floats."""
    dims = b"".join(_field(1, _number(1, size)) for size in shape)
    return _text(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _field(field, value.encode())


def _field(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    def groups() -> Iterator[int]:
        left = value
        while left > 127:
            yield left & 127 | 128
            left >>= 7
        yield left

    return struct.pack(f"{(max(1, value.bit_length()) + 6) // 7}B", *groups())


JOBS: Final[dict[str, Job]] = {
    "numpy": Job("numpy", ("numpy",), "solve 600 by 600", _numpy),
    "scipy": Job("scipy", ("scipy.linalg",), "eigenvalues of 350 by 350", _scipy),
    "pandas": Job("pandas", ("pandas",), "group 300,000 rows", _pandas),
    "polars": Job("polars", ("polars",), "group 400,000 rows", _polars),
    "pyarrow": Job("pyarrow", ("pyarrow", "pyarrow.compute"), "group 800,000 rows", _pyarrow),
    "duckdb": Job("duckdb", ("duckdb",), "group 600,000 rows in memory", _duckdb),
    "scikit-learn": Job("scikit-learn", ("sklearn.ensemble",), "4 iterations of HistGradientBoosting", _sklearn),
    "lightgbm": Job("lightgbm", ("lightgbm",), "10 rounds on 1,000 by 10", _lightgbm),
    "xgboost": Job("xgboost-cpu", ("xgboost",), "10 rounds on 1,000 by 10", _xgboost),
    "numba": Job("numba", ("numba",), "parallel=True over 500,000", _numba),
    "torch": Job("torch", ("torch",), "forward and backward, 3 layers", _torch),
    "opencv": Job("opencv-python-headless", ("cv2",), "blur and resize 1600 by 1200", _opencv),
    "pillow": Job("pillow", ("PIL.Image",), "resize 900 by 700, JPEG", _pillow),
    "onnxruntime": Job("onnxruntime", ("onnxruntime",), "4 layers of 512, batch of 256", _onnxruntime),
    "lxml": Job("lxml", ("lxml.etree",), "parse and query 6,000 rows", _lxml),
    "cryptography": Job(
        "cryptography", ("cryptography.hazmat.primitives.kdf.pbkdf2",), "40,000 rounds of PBKDF2", _cryptography
    ),
    "spacy": Job("spacy", ("spacy",), "tokens and sentences of 5 kB", _spacy),
}
#: Of what says something about its worker: so that every worker gets some.
SLEEP_S: Final = 0.002
#: What CI runs.
SMALL: Final = ("numpy", "pandas", "scikit-learn", "lightgbm")
#: In no extra, because it is large.
BY_HAND: Final = ("torch",)
