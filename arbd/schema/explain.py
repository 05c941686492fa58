"""Explanations of refused data: every problem in it, found by a second, slower pass.

    decode failed -> not UTF-8, not JSON, too deep?  -> that one problem
                  -> larger than MAX_WALKED_BYTES?   -> what msgspec said
                  -> untyped decode, walk with plan  -> all problems, or what msgspec said if the walk finds none

Invariants:

* the walk says "wrong" only where the decoder does: keys, items and unions are walked by hand, every scalar and every
  rule of a class is put to ``msgspec.convert``;
* the walk is a loop with its own stack, so neither data nor schema can exhaust Python's;
* nothing but a list of problems comes out, whatever the bytes are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from arbd.schema import pydantic_bridge
from arbd.schema.plan import Anything, Array, Choice, Leaf, Mapping, Model, Object, Plan
from arbd.schema.problems import (
    MAX_COUNTED,
    MAX_PROBLEMS,
    Path,
    Problem,
    invalid_value,
    missing,
    not_json,
    unknown,
    wrong_type,
    wrong_type_named,
)

MAX_WALKED_BYTES: Final = 2 * 1024 * 1024
"""Larger data is not decoded untyped: that can take 24 times its size in memory."""

_UTF8_BOM: Final = b"\xef\xbb\xbf"
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")
_TOO_DEEP: Final = "Not decodable: arrays or objects are nested too deep"

_decode_untyped: Final = msgspec.json.Decoder().decode

Step = tuple[Plan, Any, Path]


def explain(data: bytes, error: Exception, plan: Plan) -> list[Problem]:
    """The problems of ``data``, which the decoder refused with ``error``. Never empty, never raises."""
    malformed = _malformed(data, error)
    if malformed:
        return [malformed]
    if len(data) > MAX_WALKED_BYTES:
        return [_from_msgspec(error)]
    try:
        value = _decode_untyped(data)
    except Exception as second:  # no JSON after all, behind the place where the decoder stopped; or a number too large
        return [_malformed(data, second) or _from_msgspec(error)]
    try:
        return _capped(walk(value, plan)) or [_from_msgspec(error)]
    except RecursionError:  # a convert that needs a few more frames than the decoder had
        return [not_json(_TOO_DEEP)]


def _malformed(data: bytes, error: Exception) -> Problem | None:
    """The problem of data that is not UTF-8 or not JSON; ``None`` if it is both."""
    if data.startswith(_UTF8_BOM):
        return not_json("Not JSON: starts with a byte order mark (byte 0)")
    try:
        data.decode()
    except UnicodeDecodeError as fault:
        return not_json(f"Not UTF-8: 0x{data[fault.start]:02x} cannot stand here (byte {fault.start})")
    if isinstance(error, RecursionError):
        return not_json(_TOO_DEEP)
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return not_json(f"Not JSON: {_json_fault(data, str(error))}")
    return None


def _json_fault(data: bytes, message: str) -> str:
    if "truncated" in message:
        if half := _HALF_PAIR.search(data):  # msgspec reports this as the end of the data, too
            return f"half of a surrogate pair (byte {half.start()})"
        return f"the data ends too early (byte {len(data)})"
    if (place := re.search(r"\(byte (\d+)\)$", message)) and re.match(rb"NaN|Infinity", data[int(place[1]) :]):
        return f"NaN and Infinity are no JSON numbers {place[0]}"
    return message.removeprefix("JSON is malformed: ")


def _capped(problems: Iterator[Problem]) -> list[Problem]:
    listed = list(islice(problems, MAX_PROBLEMS))
    if more := sum(1 for _ in islice(problems, MAX_COUNTED)):
        listed.append(Problem("more", (), f"... and {'at least ' * (more == MAX_COUNTED)}{more} more"))
    return listed


class _Visit(msgspec.Struct):
    """An object or array that is being walked: its remaining steps, and the number of problems found before it."""

    steps: Iterator[Problem | Step]
    plan: Plan | None
    value: Any
    path: Path
    found_before: int


def walk(value: Any, plan: Plan) -> Iterator[Problem]:
    """Every problem of a decoded, untyped ``value``, in the order of the schema."""
    found = 0
    stack = [_Visit(iter([(plan, value, ())]), None, None, (), 0)]
    while stack:
        visit = stack[-1]
        for step in visit.steps:
            if isinstance(step, Problem):
                found += 1
                yield step
            elif isinstance(step[0], Leaf):
                if problem := _leaf(*step):
                    found += 1
                    yield problem
            else:
                plan, value, path = step
                stack.append(_Visit(_steps(plan, value, path), plan, value, path, found))
                break
        else:
            stack.pop()
            # The rules of a class or a length are asked only about parts that are right in themselves:
            # otherwise they would name the same problems again.
            if found == visit.found_before:
                for problem in _whole(visit):
                    found += 1
                    yield problem


def _steps(plan: Plan, value: Any, path: Path) -> Iterator[Problem | Step]:
    """The steps of one level: its own problems, and the parts to look into."""
    match plan:
        case Object():
            return _object(plan, value, path)
        case Mapping():
            return _mapping(plan, value, path)
        case Array():
            return _array(plan, value, path)
        case Choice():
            return _choice(plan, value, path)
        case Model():
            return pydantic_bridge.problems_of(plan.cls, value, path)
        case Anything() | Leaf():  # the loop has already dealt with a leaf
            return iter(())


def _object(plan: Object, value: Any, path: Path) -> Iterator[Problem | Step]:
    if not isinstance(value, dict):
        yield wrong_type(path, plan.words, value)
        return
    if plan.tag_field is not None and value.get(plan.tag_field, plan.tag) != plan.tag:
        yield invalid_value((*path, plan.tag_field), f"expected {plan.tag!r}")
    for key in plan.keys:
        if key.name in value:
            yield key.plan, value[key.name], (*path, key.name)
        elif key.required:
            yield missing((*path, key.name))
    if plan.closed:
        known = {key.name for key in plan.keys} | {plan.tag_field}
        for name in value:
            if name not in known:
                yield unknown((*path, name))


def _mapping(plan: Mapping, value: Any, path: Path) -> Iterator[Problem | Step]:
    if not isinstance(value, dict):
        yield wrong_type(path, plan.words, value)
        return
    for name, item in value.items():
        if plan.key is not None and _refused({name: None}, dict[plan.key, Any]):  # type: ignore[name-defined]  # at run time
            yield invalid_value((*path, name), "this key is not allowed")
        yield plan.value, item, (*path, name)


def _array(plan: Array, value: Any, path: Path) -> Iterator[Problem | Step]:
    if not isinstance(value, list):
        yield wrong_type(path, plan.words, value)
        return
    for index, item in enumerate(value):
        part = plan.items[index] if index < len(plan.items) else plan.rest
        if part is None:
            return
        if plan.hashed and isinstance(part, Anything) and isinstance(item, list | dict):
            yield invalid_value((*path, index), f"a set cannot hold a {type(item).__name__}")
        else:
            yield part, item, (*path, index)


def _choice(plan: Choice, value: Any, path: Path) -> Iterator[Problem | Step]:
    """The step into the one member of the union that this kind of JSON value can be."""
    if value is None and plan.nullable:
        return
    member: Plan | None = plan.other
    if isinstance(value, dict) and len(plan.objects) > 1:
        field = plan.objects[0].tag_field or "type"
        tagged = {each.tag: each for each in plan.objects}
        if field not in value:
            yield missing((*path, field))
            return
        tag = value[field]
        member = tagged.get(tag) if isinstance(tag, str | int) and not isinstance(tag, bool) else None
        if member is None:
            yield invalid_value((*path, field), f"expected {' | '.join(map(repr, tagged))}")
            return
    elif isinstance(value, dict):
        member = next(iter(plan.objects), plan.mapping) or plan.other
    elif isinstance(value, list):
        member = plan.array or plan.other
    if member is None:
        yield wrong_type(path, plan.words, value)
    else:
        yield member, value, path


def _leaf(plan: Any, value: Any, path: Path) -> Problem | None:
    if _refused(value, plan.hint) is None:
        return None
    reason = plan.reasons.get(type(value))
    return wrong_type(path, plan.words, value) if reason is None else invalid_value(path, reason)


def _whole(visit: _Visit) -> Iterator[Problem]:
    whole = getattr(visit.plan, "whole", None)
    error = None if whole is None else _refused(visit.value, whole)
    if error is None:
        return
    if not (rule := getattr(visit.plan, "rule", "")):
        yield _from_msgspec(error, visit.path)
    else:
        count = f", got {len(visit.value)}" if isinstance(visit.plan, Array) and visit.plan.items else ""
        yield invalid_value(visit.path, f"expected {rule}{count}")


def _refused(value: Any, hint: Any) -> Exception | None:
    """msgspec's error for ``value``, by the rules of decoding (strict, keys are strings); ``None`` if it fits."""
    try:
        msgspec.convert(value, hint, str_keys=True, dec_hook=pydantic_bridge.decode_hook)
    except RecursionError:
        raise
    except Exception as error:  # __post_init__ is author's code; a set refuses a list with a TypeError
        return error
    return None


_MESSAGE: Final = re.compile(r"(.*?)(?: - at `(?:key` in `)?\$(.*)`)?", re.DOTALL)
_PATH_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_JSON_WORDS: Final = {"array": "list", "object": "dict", "null": "None", "duration": "timedelta"}


def _from_msgspec(error: Exception, base: Path = ()) -> Problem:
    """The problem in msgspec's message, in our words. It never quotes the value, which may be a secret."""
    text = str(error) if isinstance(error, msgspec.ValidationError) else f"{type(error).__name__}: {error}"
    match = _MESSAGE.fullmatch(text)
    reason, inner = (match[1], match[2] or "") if match else (text, "")
    steps = _PATH_STEP.findall(inner)
    path = base + tuple(name or ("*" if index == "..." else int(index)) for name, index in steps)
    if found := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return missing((*path, found[1]))
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        return unknown((*path, found[1]))
    if found := re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", reason):
        return wrong_type_named(path, _words(found[1]), _words(found[2]))
    if re.match(r"Invalid (enum )?value ", reason):
        return invalid_value(path, "not one of the allowed values")
    if reason.startswith("Expected `"):
        reason = "e" + re.sub(r"`([^`]*)`", lambda found: _words(found[1]), reason)[1:]
    return invalid_value(path, reason)


def _words(names: str) -> str:
    return " | ".join(_JSON_WORDS.get(name, name) for name in names.split(" | "))
