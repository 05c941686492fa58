"""The search for the value at fault in a response: what does not encode, or is no finite number.

Not on the straight path: an encoder asks when it has failed, or when there is a ``null`` in its text that may have been
a NaN. The second question costs about as much as encoding once more: MessagePack has a form for NaN, so what msgspec
encodes into that within a moment is looked at for its bytes; only where these occur does a walk in Python follow, which
names the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from arbd.model import remedies
from arbd.model.json_forms import Form, NoFormError

#: Levels that the search goes down. A structure that contains itself has no end.
_MAX_DEPTH: Final = 64
#: Characters of a path that are reported. A key may be as long as the data.
_MAX_PATH: Final = 500
#: A float64 whose exponent is all ones. No UTF-8 text contains these bytes; packed integers and bytes may.
_PACKED_NAN: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_FLOAT: Final = b"\xcb"  # begins a float64; one byte is found faster than a pattern
_ITEMS: Final = (list, tuple, set, frozenset)
_PLAIN: Final = frozenset((str, int, bool, type(None), bytes))


class Culprit(NamedTuple):
    """The value at fault: where it is, what it is, and what to do about it."""

    path: str
    kind: str
    remedy: str


class _Key(msgspec.Struct):
    """A dict's key in the search: this encodes if and only if the key does."""

    entry: dict[Any, None]


def not_encodable(response: Any, form: Form, encodes: Callable[[Any], bool], cause: Exception) -> Culprit:
    """The first innermost value that does not encode. ``encodes``: whether a value does."""
    path, value = "", response
    for _ in range(_MAX_DEPTH):
        for step, child in children_of(value, form):
            if not encodes(child):
                path, value = path + step, child
                break
        else:
            break
    kind, remedy = _kind(value), _remedy(value, form)
    if isinstance(cause, RecursionError):
        kind, remedy = f"{kind}, nested too deeply or inside itself", remedies.of_depth()
    return Culprit(_shown(path), kind, remedy)


class NonFinite:
    """The search for NaN and infinities among values that have been encoded. ``form``: as the encoder's, but for models
    of pydantic (``json_forms.forms``)."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._pack = msgspec.msgpack.Encoder(enc_hook=form).encode

    def find(self, data: Any) -> Culprit | None:
        """The first of them, if there is one; ``data`` is what a response has under that name."""
        try:
            packed = self._pack(data)
            if packed.find(_FLOAT) < 0 or _PACKED_NAN.search(packed) is None:
                return None
        except Exception:  # it has no form in MessagePack, for example an int of more than 64 bits
            pass
        return self._walk(data)

    def _walk(self, data: Any) -> Culprit | None:
        """Depth first, without recursion: it may be deep."""
        path = ["data"]
        stack = [iter((("", data),))]
        while stack:
            for step, value in stack[-1]:
                if type(value) in _PLAIN:
                    continue
                plain = self._plain(value)
                if plain is None:
                    continue
                if isinstance(plain, float):
                    if not isfinite(plain):
                        return Culprit(_shown("".join([*path, step])), _number(value), remedies.FINITE)
                    continue
                stack.append(_values(plain, self._form))
                path.append(step)
                break
            else:
                stack.pop()
                path.pop()
        return None

    def _plain(self, value: Any) -> Any:
        """What is encoded for it, as far as it is a number or holds other values."""
        for _ in range(_MAX_DEPTH):
            if type(value) is float or _holds(value):
                return value
            if type(value) in _PLAIN:
                return None
            if isinstance(value, Enum):
                value = value.value
                continue
            try:
                value = self._form(value)
            except Exception:  # msgspec has a form of its own for it, which is no number
                return None
        return None


def _holds(value: Any) -> bool:
    return isinstance(value, (Mapping, *_ITEMS)) or bool(_attributes(value))


def _values(value: Any, form: Form) -> Iterator[tuple[str, Any]]:
    """The children of a value but for the keys of a dict: a key is text, also that of a NaN."""
    return (child for child in children_of(value, form) if type(child[1]) is not _Key)


def children_of(value: Any, form: Form) -> Iterator[tuple[str, Any]]:
    """The values that a value holds, each with its step of the path, and the keys of a dict."""
    if type(value) is _Key:
        return iter(())
    if isinstance(value, Mapping):
        return _entries(value)
    if isinstance(value, _ITEMS):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    if names := _attributes(value):
        return ((f".{name}", getattr(value, name)) for name in names if not _is_omitted(value, name))
    try:
        other = form(value)
    except Exception:
        return iter(())
    return children_of(other, form) if _holds(other) else iter(())


def _entries(value: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        yield f".key({key!r})", _Key({key: None})
        yield f".{key}" if isinstance(key, str) else f"[{key!r}]", item


def _attributes(value: Any) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if isinstance(value, type):
        return ()
    if is_dataclass(value):
        return tuple(field.name for field in fields(value))
    attributes = getattr(type(value), "__attrs_attrs__", ())
    return tuple(each.name for each in attributes if not each.name.startswith("_"))  # as msgspec does


def _is_omitted(value: Any, name: str) -> bool:
    """Whether a field is left out of the text: a default of a Struct that omits them."""
    if not isinstance(value, msgspec.Struct) or not value.__struct_config__.omit_defaults:
        return False
    defaults = dict(zip(reversed(value.__struct_fields__), reversed(value.__struct_defaults__), strict=False))
    return name in defaults and getattr(value, name) is defaults[name]


def _shown(path: str) -> str:
    return path.removeprefix(".")[:_MAX_PATH]


def _name(value: Any) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _number(value: Any) -> str:
    return f"{_name(value)} {str(value)[:20]}"


def _kind(value: Any) -> str:
    if type(value) is _Key:
        [value] = value.entry
    name = _name(value)
    if name == "msgspec.Raw":
        return f"{name} that holds no JSON"
    if isinstance(value, str):
        return f"{name} with a lone surrogate, which is no UTF-8"
    if name == "numpy.ndarray":
        return f"{name} of {value.dtype}"
    return name


def _remedy(value: Any, form: Form) -> str:
    if type(value) is _Key:
        [key] = value.entry
        return remedies.of_text() if isinstance(key, str) else remedies.of_key(key)
    if isinstance(value, str):
        return remedies.of_text()
    try:
        form(value)
    except NoFormError as error:
        if error.remedy:
            return error.remedy
    except Exception:  # the author's own method that was to give a form
        pass
    return remedies.of_value(value)
