"""Support for pydantic models as schemas, without importing pydantic: a model has all the methods that are needed.

msgspec parses the JSON, so that NaN, nesting and UTF-8 are judged as everywhere else; the model gets the parsed part.
It validates strictly, in pydantic's JSON mode: ``"1"`` and ``true`` are no int, an int is a float, a string can be a
datetime. These are the rules of every other kind of schema. A model that wants pydantic's lax rules says so with
``model_config = ConfigDict(strict=False)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from arbd.schema.problems import Path, Problem, invalid_value, missing, unknown, wrong_type

_TYPE_ERRORS: Final = {
    "bool_type": "bool",
    "bytes_type": "bytes",
    "dataclass_type": "dict",
    "dict_type": "dict",
    "float_type": "float",
    "int_type": "int",
    "list_type": "list",
    "model_type": "dict",
    "none_required": "None",
    "set_type": "list",
    "string_type": "str",
    "tuple_type": "list",
}


_FOUND: Final = re.compile(r"found `[^`]*`")  # "invalid character: found `h` at 1"
_TELLING: Final = 4  # characters: shorter ones are part of any sentence
_THE_VALUE: Final = "[value]"


def is_model(cls: Any) -> bool:
    """Whether ``cls`` is a pydantic (2.x) model class."""
    return isinstance(cls, type) and hasattr(cls, "model_validate_json") and hasattr(cls, "model_fields")


def is_root_model(cls: Any) -> bool:
    """Whether the model is for one value instead of an object."""
    return bool(getattr(cls, "__pydantic_root_model__", False))


def decode_hook(cls: Any, value: Any) -> Any:
    """msgspec's ``dec_hook``: called for every class that is not msgspec's own, with the decoded JSON value."""
    if cls is object:
        return value
    strict = cls.model_config.get("strict", True)
    return cls.model_validate_json(msgspec.json.encode(value), strict=strict)


def problems_of(cls: Any, value: Any, path: Path) -> Iterator[Problem]:
    """Every problem that pydantic finds in ``value``, in our words."""
    try:
        decode_hook(cls, value)
    except Exception as error:  # validators are author's code
        if not hasattr(error, "errors"):
            yield invalid_value(path, f"{type(error).__name__}: {error}")
            return
        for fault in error.errors(include_url=False):
            yield _problem(fault, value, path)


def keys_of(cls: Any) -> dict[str, str]:
    """The model's attributes, each with the name of its type."""
    return {name: _words(field.annotation) for name, field in cls.model_fields.items()}


def json_schema_of(cls: Any) -> dict[str, Any]:
    """The model's JSON Schema. Its ``$defs`` carry the model's name, so that they can move to another document."""
    schema: dict[str, Any] = cls.model_json_schema(ref_template=f"#/$defs/{cls.__name__}.{{model}}")
    if "$defs" in schema:
        schema["$defs"] = {f"{cls.__name__}.{name}": part for name, part in schema["$defs"].items()}
    return schema


def _problem(fault: dict[str, Any], value: Any, base: Path) -> Problem:
    path = base + _path(fault["loc"], value)
    kind = fault["type"]
    if kind == "missing":
        return missing(path)
    if kind == "extra_forbidden":
        return unknown(path)
    if kind in _TYPE_ERRORS:
        return wrong_type(path, _TYPE_ERRORS[kind], fault["input"])
    if kind == "union_tag_invalid":  # whose words quote the tag
        context = fault.get("ctx", {})
        return invalid_value(path, f"{context.get('discriminator')} must be one of: {context.get('expected_tags')}")
    return invalid_value(path, _without(str(fault["msg"]), fault["input"]))


def _without(message: str, value: Any) -> str:
    """A message without the texts, or numbers of some digits, of the value that it is about: some quote it."""
    for text in sorted({text for text in _texts(value) if len(text) >= _TELLING}, key=len, reverse=True):
        message = message.replace(text, _THE_VALUE)
    return _FOUND.sub("found something else", message)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield str(name)
            yield from _texts(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _texts(part)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
        yield repr(value)[1:-1] if isinstance(value, str) else str(value)  # as a message writes what it quotes


def _path(loc: tuple[str | int, ...], value: Any) -> Path:
    """``loc`` without the steps that name a union's member or a validator, which are not in the data."""
    path: list[str | int] = []
    for place, step in enumerate(loc):
        if isinstance(value, dict) and (step in value or place == len(loc) - 1):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return tuple(path)


def _words(annotation: Any) -> str:
    if isinstance(annotation, type) and not getattr(annotation, "__args__", None):
        return annotation.__name__
    return str(annotation).replace("typing.", "")
