"""For random schemas and random data: decoding, the walk and an independent reading of the rules agree.

The reference below says in a few lines what a dict schema means; nothing of it comes from arbd or msgspec.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Optional

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types
from thoroughness import examples

from arbd.schema import Invalid, Problem, compile_schema
from arbd.schema.explain import walk
from arbd.schema.plan import plan_of
from arbd.schema.problems import dotted
from arbd.schema.spec import to_hint

MISFIT = object()

# What a spec means -----------------------------------------------------------------------------------------------


def fitted(spec: Any, value: Any) -> Any:
    """``value`` as a handler must see it, or ``MISFIT``."""
    if isinstance(spec, Maybe):
        return None if value is None else fitted(spec.inner, value)
    if isinstance(spec, Either):
        return next((out for each in spec.members if (out := fitted(each, value)) is not MISFIT), MISFIT)
    if isinstance(spec, OneOf):
        return value if type(value) in (str, int) and value in spec.values else MISFIT
    if isinstance(spec, dict):
        return fitted_dict(spec, value)
    if isinstance(spec, list):
        return fitted_list(spec[0] if spec else Any, value)
    if spec is Any:
        return value
    if spec is float and type(value) is int:
        return float(value)
    return value if type(value) is spec else MISFIT


def fitted_dict(spec: dict[str, Any], value: Any) -> Any:
    if not isinstance(value, dict):
        return MISFIT
    if not spec:
        return value
    out: dict[str, Any] = {}
    for key, inner in spec.items():
        if key in value:
            out[key] = fitted(inner, value[key])
        elif not isinstance(inner, Maybe):
            return MISFIT
    return MISFIT if any(part is MISFIT for part in out.values()) else out


def fitted_list(item: Any, value: Any) -> Any:
    if not isinstance(value, list):
        return MISFIT
    out = [fitted(item, part) for part in value]
    return MISFIT if any(part is MISFIT for part in out) else out


class Maybe(msgspec.Struct, frozen=True):
    inner: Any


class Either(msgspec.Struct, frozen=True):
    members: tuple[Any, ...]


class OneOf(msgspec.Struct, frozen=True):
    values: tuple[str | int, ...]


def written(spec: Any) -> Any:
    """The spec as an author writes it."""
    match spec:
        case Maybe(inner=dict() | list() | Either() as inner):
            return (written(inner), None)
        case Maybe(inner=inner):
            return Optional[written(inner)]  # noqa: UP045 -- the spelling of the specs
        case Either():
            return tuple(map(written, spec.members))
        case OneOf():
            return Literal[spec.values]
        case dict():
            return {key: written(value) for key, value in spec.items()}
        case list():
            return [written(item) for item in spec]
    return spec


# Random specs and data -------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=4)
ints = st.integers(-(2**53), 2**53)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | ints | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["a", "b", "key", "a-b", "class", "ü", "a.b", ""]) | texts
leaves = (
    st.sampled_from([str, int, float, bool, Any])
    | st.lists(st.sampled_from(["x", "y", "z", ""]), min_size=1, unique=True).map(lambda part: OneOf(tuple(part)))
    | st.lists(st.integers(-2, 2), min_size=1, unique=True).map(lambda part: OneOf(tuple(part)))
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(keys, inner, max_size=4)
    arrays = st.lists(inner, max_size=1)
    # One member of each JSON kind: more of a kind is ambiguous, and refused at registration.
    mixed = st.tuples(st.sampled_from([str, int, bool, float]), objects) | st.tuples(objects, arrays, st.just(int))
    return objects | arrays | mixed.map(Either) | inner.filter(lambda part: not isinstance(part, Maybe)).map(Maybe)


specs = st.dictionaries(keys, st.recursive(leaves, containers, max_leaves=8), max_size=4)


@st.composite
def data_for(draw: st.DrawFn, spec: Any, faults: bool) -> Any:
    """Data that fits ``spec``; with ``faults``, every part may be something else instead."""
    if faults and draw(st.integers(0, 15)) == 0:
        return draw(values)
    match spec:
        case Maybe():
            return None if draw(st.booleans()) else draw(data_for(spec.inner, faults))
        case Either():
            return draw(data_for(draw(st.sampled_from(spec.members)), faults))
        case OneOf():
            return draw(st.sampled_from(spec.values))
        case dict():
            present = {key: draw(data_for(inner, faults)) for key, inner in spec.items() if needed(draw, inner, faults)}
            unknown = draw(st.dictionaries(texts.filter(lambda key: key not in spec), values, max_size=2))
            return unknown | present
        case list():
            return draw(st.lists(data_for(spec[0] if spec else Any, faults), max_size=3))
    return draw({str: texts, int: ints, float: floats | ints, bool: st.booleans(), Any: values}[spec])


def needed(draw: st.DrawFn, inner: Any, faults: bool) -> bool:
    if isinstance(inner, Maybe):
        return draw(st.booleans())
    return not faults or draw(st.integers(0, 15)) > 0


@st.composite
def spec_and_data(draw: st.DrawFn) -> tuple[Any, Any]:
    spec = draw(specs)
    return spec, draw(data_for(spec, faults=True))


def decoded(spec: Any, data: bytes) -> tuple[Any, list[Problem]]:
    """What a handler would get and no problems, or ``MISFIT`` and all problems."""
    try:
        return compile_schema(spec, where="p").decode(data), []
    except Invalid as invalid:
        return MISFIT, invalid.problems


# The claims ------------------------------------------------------------------------------------------------------


@given(spec_and_data(), st.booleans())
def test_decoding_means_what_the_spec_says(case: tuple[Any, Any], ascii_only: bool) -> None:
    spec, data = case
    actual, problems = decoded(written(spec), json.dumps(data, ensure_ascii=ascii_only).encode())
    expected = fitted(spec, data)
    assert (actual is MISFIT) == bool(problems)
    assert actual == expected
    assert repr(actual) == repr(reordered(expected, actual))  # equal types as well: 1 == 1.0 == True


def reordered(expected: Any, like: Any) -> Any:
    """``expected`` with its keys in the order of ``like``: that order is the data's, not the schema's."""
    if isinstance(expected, dict):
        return {key: reordered(expected[key], like[key]) for key in like}
    if isinstance(expected, list):
        return [reordered(part, other) for part, other in zip(expected, like, strict=True)]
    return expected


@given(spec_and_data())
def test_the_walk_finds_a_problem_exactly_where_decoding_fails(case: tuple[Any, Any]) -> None:
    spec, data = case
    walked = list(walk(data, plan_of(to_hint(written(spec), "p"), "p")))
    value, problems = decoded(written(spec), json.dumps(data).encode())
    assert walked == problems
    assert (value is MISFIT) == bool(walked)


@given(spec_and_data())
def test_every_problem_leads_to_a_place_in_the_data(case: tuple[Any, Any]) -> None:
    spec, data = case
    for problem in walk(data, plan_of(to_hint(written(spec), "p"), "p")):
        place = data
        for step in problem.path[:-1] if problem.kind == "missing" else problem.path:
            place = place[step]
        assert problem.kind != "missing" or problem.path[-1] not in place


@given(st.data())
def test_a_required_key_that_is_removed_is_reported_with_its_exact_path(draw: st.DataObject) -> None:
    spec = draw.draw(specs.filter(bool))
    data = draw.draw(data_for(spec, faults=False))
    places = list(required_places(spec, data, ()))
    if not places:
        return
    holder, path = draw.draw(st.sampled_from(places))
    del holder[path[-1]]
    _, problems = decoded(written(spec), json.dumps(data).encode())
    assert problems == [Problem("missing", path, f"Missing key: {dotted(path)}")]


def required_places(spec: Any, data: Any, path: tuple[Any, ...]) -> Any:
    """Each required key that ``data`` has, as the dict that holds it and its path."""
    if isinstance(spec, Maybe) and data is not None:
        yield from required_places(spec.inner, data, path)
    elif isinstance(spec, Either):
        kinds = [each for each in spec.members if isinstance(each, dict | list) and type(each) is type(data)]
        for each in kinds:
            yield from required_places(each, data, path)
    elif isinstance(spec, dict) and isinstance(data, dict):
        for key, inner in spec.items():
            if key in data:
                if not isinstance(inner, Maybe):
                    yield data, (*path, key)
                yield from required_places(inner, data[key], (*path, key))
    elif isinstance(spec, list) and spec and isinstance(data, list):
        for index, item in enumerate(data):
            yield from required_places(spec[0], item, (*path, index))


FIXED = {"a": int, "b": [{"c": Optional[float]}], "d": ({"e": str}, None), "f": dict[str, list[int]], "": set}  # noqa: UP045

json_like = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b":", b",", b'"a"', b'"b"', b'"\\ud8', b"1", b"-", b"e9", b"nul", b"\xff", b" "]
    )
)


@given(st.binary() | json_like.map(b"".join) | json_like.map(lambda parts: b'{"a":1,"b":' + b"".join(parts)))
@settings(max_examples=examples(300))
def test_random_bytes_are_decoded_or_invalid_and_nothing_else(data: bytes) -> None:
    for spec in (None, FIXED):
        value, problems = decoded(spec, data)
        assert type(value) is dict if not problems else all(problem.text for problem in problems)


@given(spec_and_data())
def test_what_is_accepted_is_valid_by_the_json_schema(case: tuple[Any, Any]) -> None:
    spec, data = case
    schema = compile_schema(written(spec), where="p")
    described = schema.json_schema()
    Draft202012Validator.check_schema(described)
    if fitted(spec, data) is not MISFIT:
        assert Draft202012Validator(described).is_valid(data)


@given(specs)
def test_a_summary_is_json_and_keeps_the_keys(spec: dict[str, Any]) -> None:
    summary = compile_schema(written(spec), where="p").summary
    assert json.loads(json.dumps(summary)) == summary
    assert summary == "dict" if not spec else list(summary) == list(spec)
