"""Compiled schemas: what an author wrote, compiled once into one decoder.

    registration   compile_schema(spec)  -> Schema      refuses what can never work
    every task     schema.decode(bytes)  -> the value   parsing, checking and dropping unknown keys in one msgspec pass
    a bad task     the same              -> Invalid     the slow path of explain.py, only then

Decode on the main thread of a process: deeply nested data overflows the small stacks of other threads.
"""

from __future__ import annotations

from typing import Any

import msgspec

from arbd.errors import SchemaError
from arbd.schema import pydantic_bridge
from arbd.schema.explain import explain
from arbd.schema.export import json_schema, summary
from arbd.schema.plan import Anything, Choice, Mapping, Model, Object, Plan, plan_of
from arbd.schema.problems import Invalid
from arbd.schema.spec import checked, to_hint


class Schema:
    """One compiled payload or account schema. Made by :func:`compile_schema`; never changes.

    Attributes:
        keys: the top-level keys a handler can be given, by the name the decoded value has for them (an attribute name
            for a class); ``None``: any key.
        required: those of them that every decoded value has.
        summary: the schema as JSON, in the author's words: ``{"param1": "str", "tags": ["str"]}``.
    """

    __slots__ = ("_decode", "_hint", "_plan", "keys", "required", "summary")

    def __init__(self, hint: Any, plan: Plan, where: str) -> None:
        self._hint = hint
        self._plan = plan
        self._decode = msgspec.json.Decoder(hint, dec_hook=pydantic_bridge.decode_hook).decode
        self.keys, self.required = _top_level(plan, where)
        self.summary: Any = summary(plan)

    def decode(self, data: bytes) -> Any:
        """The value of a JSON object: checked, without unknown keys. No bytes at all mean ``{}``.

        Raises:
            Invalid: with every problem of the data. Nothing else, whatever the bytes are.
        """
        try:
            if not data:
                data = b"{}"
            elif not data.isascii():  # 50 ns; msgspec does not look inside the strings of unknown keys
                data.decode()
            return self._decode(data)
        except MemoryError:
            raise
        except Exception as error:  # msgspec's own, RecursionError, UnicodeDecodeError, and author's __post_init__
            raise Invalid(explain(data, error, self._plan)) from error

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of accepted data."""
        return json_schema(self._hint)


def compile_schema(spec: object, *, where: str) -> Schema:
    """Compile what an author wrote. ``None`` accepts every JSON object and keeps all its keys.

    Args:
        spec: a dict schema, a ``msgspec.Struct``, a dataclass, a ``TypedDict`` or a pydantic model.
        where: how messages name the schema, such as ``action 'echo': payload_schema``.

    Raises:
        SchemaError: naming the place inside the spec, what is wrong there, and what to write instead.
    """
    hint = Any if spec is None else to_hint(spec, where)
    plan = plan_of(hint, where)
    if isinstance(plan, Anything):
        hint = dict[str, Any]
        plan = plan_of(hint, where)
    # The plan refuses single classes, msgspec refuses how they are combined: only both make a schema that works.
    return Schema(checked(hint, where), plan, where)


_NO_KEYS: frozenset[str] = frozenset()


def _top_level(plan: Plan, where: str) -> tuple[frozenset[str] | None, frozenset[str]]:
    """``keys`` and ``required`` of a schema. Raises ``SchemaError`` unless it is an object, as hubs send."""
    match plan:
        case Mapping():
            return None, _NO_KEYS
        case Object():
            present = frozenset(key.attribute for key in plan.keys if key.present)
            return frozenset(key.attribute for key in plan.keys), present
        case Model() if not pydantic_bridge.is_root_model(plan.cls):
            keys = frozenset(pydantic_bridge.keys_of(plan.cls))
            return keys, keys
        case Choice(mapping=None, array=None, other=None):
            parts = [_top_level(each, where) for each in plan.objects]
            known = frozenset[str]().union(*(keys or () for keys, _ in parts))
            return known, known.intersection(*(required for _, required in parts))
        case _:
            raise SchemaError(
                f"{where}: a payload or account is a JSON object, so {plan.words} cannot be its schema; "
                'write a dict such as {"value": ...} or a class with fields'
            )
