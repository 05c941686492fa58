"""Translation of what an author writes as a schema into a type that msgspec can decode.

Not a check of data: this runs once, at registration. Invariants:

* a dict becomes a ``TypedDict``, so that msgspec decodes it to a plain dict and drops unknown keys on the way;
* whatever msgspec would refuse is refused here, with the path inside the spec and what to write instead.

| the author writes         | msgspec gets                    | meaning                                      |
|---------------------------|---------------------------------|----------------------------------------------|
| ``{"a": int}``            | ``TypedDict``                   | these keys; others are dropped               |
| ``{"a": Optional[int]}``  | ``NotRequired[Optional[int]]``  | ``a`` may be absent or null                  |
| ``{}``                    | ``dict[str, Any]``              | any object, all keys kept                    |
| ``[item]``, ``[]``        | ``list[item]``, ``list[Any]``   | each item fits; anything                     |
| ``(int, {"a": str})``     | ``Union[...]``                  | one of these, where ``|`` cannot be written  |
| ``object``                | ``Any``                         | anything                                     |
| ``list[{"a": int}]``      | the same, the dict compiled     |                                              |
| any other type            | itself                          |                                              |
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NotRequired, Required, TypedDict, Union, get_args, get_origin

import msgspec

from arbd.errors import SchemaError

DICT_PREFIX: Final = "arbd.dict."
"""How the classes made from dicts are named. No author's class has such a name, so JSON Schema can inline them."""

_MAX_DEPTH: Final = 100  # a dict that contains itself must end in a message, not in a stack overflow

_ADVICE: Final = (
    ("must be tagged", "give each of them a tag: class A(msgspec.Struct, tag=True)"),
    ("dict-like", "write dict, or a union of msgspec.Structs with tag=True"),
    ("array-like", "write one list whose items are the union, or list"),
    ("str-like", "JSON has only strings there: write str and convert it in the action"),
    ("int-like", "JSON has only numbers there: write int and convert it in the action"),
    ("custom type", "such a class can stand alone or with None, in no other union"),
    ("Literal may only contain", "write the type of the values"),
    ("Can only set", "put the Meta on the type that it limits: Optional[Annotated[int, Meta(ge=0)]]"),
    ("Enums must contain", "make the enum's values all strings or all integers"),
    ("ForwardRef", "a type in quotes cannot be found here: write it without quotes"),
)


def to_hint(spec: object, where: str) -> Any:
    """The msgspec type for ``spec``. ``where`` names the spec in messages, such as ``payload_schema``.

    Raises:
        SchemaError: naming the place inside the spec, what is wrong there, and what to write.
    """
    return _SpecReader().read(spec, where, 0)


class _SpecReader:
    """The translator of one spec. It numbers the dicts it meets, because each needs a class name of its own."""

    def __init__(self) -> None:
        self._dicts = 0

    def read(self, spec: Any, at: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise SchemaError(f"{at[:200]}: nested deeper than {_MAX_DEPTH} levels; does it contain itself?")
        if isinstance(spec, dict):
            return self._dict(spec, at, depth)
        if isinstance(spec, list):
            return self._list(spec, at, depth)
        if isinstance(spec, tuple):
            return self._union(spec, at, depth)
        if spec is object:
            return Any
        if spec is None:
            return type(None)
        if isinstance(spec, str | bytes | bool | int | float):
            raise SchemaError(f"{at}: {spec!r} is a value, not a type; write {_instead_of(spec)}")
        return self._hint(spec, at, depth)

    def _dict(self, spec: dict[Any, Any], at: str, depth: int) -> Any:
        if not spec:
            return dict[str, Any]
        fields: dict[str, Any] = {}
        self._dicts += 1
        name = f"{DICT_PREFIX}{self._dicts}"
        for key, value in spec.items():
            if not isinstance(key, str):
                raise SchemaError(f"{at}: the key {key!r} is no string; JSON keys are strings, write {str(key)!r}")
            fields[key] = self._value(value, f"{at}.{key}", depth + 1)
        return TypedDict(name, fields)  # type: ignore[operator]  # the functional form, with names known at run time

    def _value(self, spec: Any, at: str, depth: int) -> Any:
        """The type of one key, which includes whether the key may be absent."""
        origin = get_origin(spec)
        if origin in (Required, NotRequired):
            return origin[self.read(get_args(spec)[0], at, depth)]
        hint = self.read(spec, at, depth)
        return NotRequired[hint] if _allows_none(hint) else hint

    def _list(self, spec: list[Any], at: str, depth: int) -> Any:
        if len(spec) > 1:
            raise SchemaError(
                f"{at}: a list schema has one item, the schema of every item, not {len(spec)}; "
                "write [(A, B)] for a mix, or tuple[A, B] for exactly these in this order"
            )
        return list[self.read(spec[0], f"{at}[]", depth + 1)] if spec else list[Any]  # type: ignore[misc]  # made at run time

    def _hint(self, spec: Any, at: str, depth: int) -> Any:
        """A type or a typing hint. Only the arguments of built-in generics can hide a dict or list schema."""
        origin, args = get_origin(spec), get_args(spec)
        if origin is Union or origin is types.UnionType:
            return self._union(args, at, depth)
        if origin is Annotated:
            # Rebuilt by subscription: Annotated takes its metadata as further arguments.
            return checked(Annotated[(self.read(args[0], at, depth + 1), *spec.__metadata__)], at)
        if isinstance(spec, types.GenericAlias):
            parts = tuple(a if a is ... else self.read(a, f"{at}[]", depth + 1) for a in args)
            return checked(origin[parts], at)
        return checked(spec, at)

    def _union(self, specs: Iterable[Any], at: str, depth: int) -> Any:
        members = tuple(self.read(spec, at, depth + 1) for spec in specs)
        if not members:
            raise SchemaError(f"{at}: an empty tuple allows nothing; name the types, such as (int, str)")
        return checked(Union[members], at)  # noqa: UP007 -- members known at run time


def checked(hint: Any, at: str) -> Any:
    """``hint``, if msgspec can build a decoder for it. Raises ``SchemaError`` otherwise."""
    try:
        msgspec.json.Decoder(hint)
    except Exception as error:  # a TypeError for what it cannot check, but hints run author's code: NameError, ...
        raise SchemaError(f"{at}: {_refusal(hint, error)}") from error
    return hint


def _refusal(hint: Any, error: Exception) -> str:
    reason = str(error).split(" - type ")[0].rstrip(".")
    for mark, advice in _ADVICE:
        if mark in reason:
            return f"{reason}; {advice}"
    if isinstance(error, NameError):
        return f"{reason}; a type in quotes must be found in the module that names it"
    why = "" if reason.startswith("Type '") else f" ({reason})"
    return f"{hint!r} is no type that JSON can be checked against{why}; write a type such as str, a dict or a list"


def _instead_of(value: str | bytes | bool | int | float) -> str:
    if isinstance(value, str) and value in ("str", "int", "float", "bool", "dict", "list", "bytes"):
        return f"{value} without quotes"
    literal = "" if isinstance(value, bytes | float) else f", or Literal[{value!r}] for exactly this value"
    return f"{type(value).__name__}{literal}"


def _allows_none(hint: Any) -> bool:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return None in get_args(hint)
    return hint is type(None) or (get_origin(hint) is Union and type(None) in get_args(hint))
