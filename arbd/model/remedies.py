"""What to return in place of a value that JSON has no form for: one clause for a message, by the value's type.

Not the forms (``arbd.model.json_forms``). Libraries are recognised by the names of their types and never imported.
"""

from __future__ import annotations

import io
import re
import types
from collections.abc import AsyncIterator, Callable, ItemsView, Iterator, KeysView, ValuesView
from fractions import Fraction
from functools import partial
from typing import Any, Final

FINITE: Final = 'replace it (math.isfinite tells), or set result.nan = "null" to have null sent for it'
_DEEP: Final = "return something flatter, which does not contain itself"
_OTHERWISE: Final = "return a dict, a dataclass or a msgspec.Struct with what the caller needs of it"

_COMPLEX: Final = "return [z.real, z.imag] instead"

_OF_CLASS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (complex, _COMPLEX),
    (io.IOBase, "return what is in it, .read(), or its path"),
    ((KeysView, ValuesView, ItemsView, Iterator), "return list(...) of it instead"),
    (AsyncIterator, "return [item async for item in ...] instead"),
    (type, "return an instance of it, or its __name__"),
    (types.ModuleType, "return something that is in it"),
    (BaseException, "return str(...) of it, or raise it"),
    (Fraction, "return float(...) or str(...) of it"),
    (re.Pattern, "return its .pattern"),
    (re.Match, "return its .group() or .groups()"),
    (types.SimpleNamespace, "return vars(...) of it"),
    ((types.FunctionType, types.BuiltinFunctionType, types.MethodType, partial), "call it, and return what it returns"),
)

_OF_NAME: Final = {
    "msgspec.Raw": "give it the text of one JSON value, or return that value itself",
    "pandas.DataFrame": 'return df.to_dict("records") instead',
    "pandas.Series": "return its .tolist() or .to_dict()",
    "pandas.Index": "return its .tolist()",
    "pandas.Period": "return str(...) of it",
    "pandas.Interval": "return str(...) of it",
    "polars.DataFrame": "return its .to_dicts()",
    "polars.LazyFrame": "return its .collect().to_dicts()",
    "pyarrow.Scalar": "return its .as_py()",
    "torch.Tensor": "return its .tolist()",
    "torch.dtype": "return str(...) of it",
    "numpy.complexfloating": _COMPLEX,  # its .tolist() is complex, too
    "numpy.dtype": "return str(...) of it",
    "tensorflow.Tensor": "return its .numpy().tolist()",
    "scipy.spmatrix": "return its .toarray().tolist()",
    "scipy.sparray": "return its .toarray().tolist()",
    "sqlite3.Row": "return dict(...) of it",
    "sqlalchemy.Row": "return dict(row._mapping) instead",
    "requests.Response": "return its .json() or .text",
    "httpx.Response": "return its .json() or .text",
    "PIL.Image": "save it into an io.BytesIO and return the bytes",
    "google.Message": "return google.protobuf.json_format.MessageToDict(...) of it",
    "ipaddress._IPAddressBase": "return str(...) of it",
}

#: Methods that give plain data, by which a type that is not known by name helps itself.
_METHODS: Final = ("to_pylist", "to_dicts", "to_dict", "tolist", "to_list", "_asdict", "asdict", "isoformat")


def of_value(value: Any) -> str:
    """What to return in place of this value."""
    cls = type(value)
    if hasattr(cls, "__await__"):
        return "await it: an async function was called and its result not waited for"
    for base in cls.__mro__:
        if remedy := _OF_NAME.get(f"{base.__module__.partition('.')[0]}.{base.__name__}"):
            return remedy
    for classes, remedy in _OF_CLASS:
        if isinstance(value, classes):
            return remedy
    for method in _METHODS:
        if isinstance(getattr(cls, method, None), Callable):  # type: ignore[arg-type] # runtime-checkable ABC
            return f"return its .{method}()"
    return _OTHERWISE


def of_key(value: Any) -> str:
    """What to use in place of this key."""
    return 'use "null" or leave it out' if value is None else "use a str, str(...) of it for example"


def of_text() -> str:
    """What to do with a text that is no UTF-8."""
    return 'return text.encode("utf-8", "backslashreplace").decode() instead'


def of_depth() -> str:
    """What to do with a value that has no end."""
    return _DEEP
