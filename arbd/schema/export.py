"""Exports of a schema: JSON Schema for programs, and a summary in the author's words for error results.

msgspec makes the JSON Schema; three things are put right here: dict schemas stand inline instead of as ``$ref`` to
classes nobody wrote, a Decimal may also be a JSON number, and definitions that pydantic models bring along are moved to
the top, where their ``$ref`` points.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from arbd.schema import pydantic_bridge
from arbd.schema.plan import Array, Choice, Mapping, Model, Object, Plan
from arbd.schema.spec import DICT_PREFIX

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_REF: Final = "#/$defs/"


def json_schema(hint: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what ``hint`` decodes."""
    (schema,), parts = msgspec.json.schema_components((hint,), schema_hook=_custom)
    defs: dict[str, Any] = {}
    out = _tidy(schema, parts, defs)
    for name, part in parts.items():
        if not name.startswith(DICT_PREFIX):
            defs[name] = _tidy(part, parts, defs)
    return {"$schema": DIALECT, **out, **({"$defs": defs} if defs else {})}


def _custom(cls: Any) -> dict[str, Any]:
    if cls is object:
        return {"description": "any JSON value"}  # msgspec takes an empty schema for a missing one
    return pydantic_bridge.json_schema_of(cls)


def _tidy(node: Any, parts: dict[str, Any], defs: dict[str, Any]) -> Any:
    """``node`` with dict schemas inlined; definitions found inside it go to ``defs``."""
    if isinstance(node, list):
        return [_tidy(item, parts, defs) for item in node]
    if not isinstance(node, dict):
        return node
    ref = node.get("$ref")
    if isinstance(ref, str) and ref.startswith(_REF + DICT_PREFIX):
        rest = {key: value for key, value in node.items() if key != "$ref"}
        made = {key: value for key, value in parts[ref.removeprefix(_REF)].items() if key != "title"}
        return _tidy({**made, **rest}, parts, defs)
    if node.get("format") == "decimal":
        node = {**node, "type": ["string", "number"]}
    if "$defs" in node:
        node = dict(node)
        defs.update(_tidy(node.pop("$defs"), parts, defs))
    return {key: _tidy(value, parts, defs) for key, value in node.items()}


def summary(plan: Plan) -> Any:
    """The summary of a schema as JSON: nested objects and lists, with the name of the type of everything else."""
    return _summary(plan, ())


def _summary(plan: Plan, inside: tuple[Plan, ...]) -> Any:
    """The summary of one node. A class that is among the plans ``inside`` which it stands is only named."""
    match plan:
        case Object():
            if plan in inside:
                return plan.name
            return {key.name: _summary(key.plan, (*inside, plan)) for key in plan.keys}
        case Model():
            return pydantic_bridge.keys_of(plan.cls)
        case Array(items=(), rest=rest) if rest is not None:
            return [_summary(rest, inside)]
        case Array():
            return [_summary(item, inside) for item in plan.items]
        case Mapping():
            return "dict"
        case Choice():
            return plan.words
        case _:
            return plan.words
