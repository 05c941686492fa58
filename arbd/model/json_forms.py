"""The JSON forms of Python types that msgspec does not encode by itself: the function that its encoders call for them.

    subclasses of str, int, float, bytes, datetime, ...    as their base
    mapping, deque, range, UserList, array.array           as dict or list
    Path                                                   its text
    numpy scalar and array, other libraries' 0-d values    as Python's own scalars and lists
    pydantic model                                         ``model_dump(mode="json")``
    arbd's logger                                          a short text: ``**kwargs`` of a handler contains it

Also called for the keys of dicts; a bool comes here as a key only, and is ``true`` or ``false`` there, as in the
standard library's ``json``.

Libraries are recognised by the names of their types and never imported. What has no form raises ``NoFormError``, with a
remedy where the form would be too large (``arbd.model.remedies`` knows those of types). "Not a number" of any library
(NaT, NA) becomes a NaN: what becomes of that is the encoder's decision.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import UserList, UserString, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from typing import Any, Final

Form = Callable[[Any], Any]

#: Elements of one array or range: more is no result but data, which belongs where data is kept.
MAX_ELEMENTS: Final = 1_000_000
_MOST_TYPES: Final = 1000  # remembered; an action may make classes without end
_SECONDS: Final = {"W": 604_800, "D": 86_400, "h": 3600, "m": 60, "s": 1}
_DIGITS: Final = {"ms": 3, "us": 6, "ns": 9, "ps": 12, "fs": 15, "as": 18}
_UNIT: Final = re.compile(r"\[(\d*)(\w+)\]")


class NoFormError(Exception):
    """JSON has no form for a value. ``remedy``: what to return instead, empty where the type tells."""

    def __init__(self, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(remedy)


def forms(provider: str = "", logger: object = None, *, dump_mode: str = "json") -> Form:
    """The function that gives the JSON form of one object. ``logger``: the one handlers are given, which is no data.

    ``dump_mode``: how pydantic models are dumped. ``python`` for a look at what is in them: ``json`` itself replaces a
    NaN by ``None`` where a field has no type.
    """
    # `logger.bind(...)` gives another object of the same class.
    logger_class = () if logger is None else type(logger)
    known: dict[type, Form] = {}

    def form_of_logger(value: Any) -> str:
        return f"<logger {provider}>"

    def find(value: Any, cls: type) -> Form:
        if (form := _by_class(cls)) is not None:
            return form
        if issubclass(cls, Mapping):
            return dict
        if isinstance(value, logger_class):
            return form_of_logger
        if hasattr(cls, "model_dump"):
            return _dump_as_it_is if dump_mode == "python" and not _has_json_only(cls) else _dump
        return _scalar

    def form(value: Any) -> Any:
        cls = type(value)
        found = known.get(cls)
        if found is None:
            if len(known) >= _MOST_TYPES:
                known.clear()
            found = known[cls] = find(value, cls)
        return found(value)

    return form


def _by_class(cls: type) -> Form | None:
    for base in cls.__mro__:
        form = _OF_CLASS.get(base) or _OF_NAME.get(f"{base.__module__.partition('.')[0]}.{base.__name__}")
        if form is not None:
            return form
    return None


# --- the standard library -----------------------------------------------------------------------------------------


def _of_key(value: bool) -> str:
    return "true" if value else "false"


def _time(value: Any) -> Any:
    """A subclass of a date or time, such as pandas' Timestamp; NaT is one, too."""
    text = value.isoformat()
    return math.nan if text == "NaT" else text


def _timedelta(value: timedelta) -> Any:
    if hasattr(value, "nanoseconds"):  # pandas' Timedelta, which knows the form
        return _time(value)
    return timedelta(value.days, value.seconds, value.microseconds)


def _elements(value: Any) -> list[Any]:
    try:
        count = len(value)
    except OverflowError:
        count = -1
    if not 0 <= count <= MAX_ELEMENTS:
        raise NoFormError(_too_many(count))
    return list(value)


def _too_many(count: int) -> str:
    many = f"{count:,}" if count >= 0 else "more"
    return (
        f"it has {many} elements, and at most {MAX_ELEMENTS:,} of one array or range are sent: "
        "return a part or a summary of it, or store it and return where"
    )


# --- other libraries ----------------------------------------------------------------------------------------------


def _dump(value: Any) -> Any:
    try:
        return value.model_dump(mode="json")
    except Exception as exc:
        if type(exc).__name__ != "PydanticSerializationError" or _has_json_only(type(value)):
            raise
        return value.model_dump(mode="python")  # what pydantic does not know, such as numpy's types, has a form here


def _dump_as_it_is(value: Any) -> Any:
    return value.model_dump(mode="python")


def _has_json_only(cls: type) -> bool:
    """Whether a model has serializers of its own for JSON alone, which may replace a NaN on purpose."""
    decorators = getattr(cls, "__pydantic_decorators__", None)
    found = [*getattr(decorators, "field_serializers", {}).values()]
    found += getattr(decorators, "model_serializers", {}).values()
    return any(str(getattr(each.info, "when_used", "always")).startswith("json") for each in found)


def _scalar(value: Any) -> Any:
    """The value of an array without dimensions, as tensors of any library have it."""
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        return item()
    raise NoFormError


def _not_a_value(value: Any) -> float:
    return math.nan


def _numpy_scalar(value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "biuSU":
        return value.item()
    if kind == "f":
        return float(value)  # `item` of a long double is one again
    if kind == "M":
        text = str(value)  # ISO 8601, with as many digits as the unit has
        return math.nan if text == "NaT" else text
    if kind == "m":
        return _duration(value)
    if kind == "V":
        names = value.dtype.names
        return value.tobytes() if names is None else {name: value[name] for name in names}
    raise NoFormError


def _duration(value: Any) -> Any:
    """A length of time as ISO 8601, as ``datetime.timedelta`` has it; a number where it has no unit."""
    if str(value) == "NaT":
        return math.nan
    count = value.item()
    if not isinstance(count, int):
        return count  # a timedelta
    unit = _UNIT.search(value.dtype.str)
    if unit is None:
        return count
    count *= int(unit[1] or 1)
    sign, count, name = "-" if count < 0 else "", abs(count), unit[2]
    if name in ("Y", "M"):
        return f"{sign}P{count}{name}"
    digits = _DIGITS.get(name, 0)
    whole, part = divmod(count * _SECONDS.get(name, 1), 10**digits)
    fraction = f".{part:0{digits}d}".rstrip("0") if part else ""
    return f"{sign}PT{whole}{fraction}S"


def _numpy_array(value: Any) -> Any:
    if value.size > MAX_ELEMENTS:
        raise NoFormError(_too_many(value.size))
    kind = value.dtype.kind
    if kind == "c":
        raise NoFormError("return [a.real, a.imag] instead")
    if kind in "biuSUOT" or (kind == "f" and value.dtype.itemsize <= 8):
        return value.tolist()
    return list(value) if value.ndim else value[()]  # elements that Python has no type for: one at a time


_OF_CLASS: Final[dict[type, Form]] = {
    bool: _of_key,
    str: str,
    int: int,
    float: float,
    bytes: bytes,
    bytearray: bytes,
    datetime: _time,
    date: _time,
    time: _time,
    timedelta: _timedelta,
    PurePath: str,
    deque: list,
    UserList: list,
    UserString: str,
    range: _elements,
    array: _elements,
}
_OF_NAME: Final[dict[str, Form]] = {
    "numpy.generic": _numpy_scalar,
    "numpy.ndarray": _numpy_array,
    "pandas.NAType": _not_a_value,
    "pandas.NaTType": _not_a_value,
}
