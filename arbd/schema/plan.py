"""Plans: a schema as a tree that can be walked, to explain problems and to describe the schema to people.

    author's spec --spec.py--> type hint --msgspec.inspect--> type tree --here--> plan

The tree of ``msgspec.inspect`` has every alias, generic and annotation resolved the way the decoder resolves it, so the
plan cannot disagree with the decoder about what a hint means. A plan node keeps what the walk needs and no more.
Classes that refer to themselves give a plan with cycles; ``words`` never follows one.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Union

import msgspec
from msgspec import inspect as mi

from arbd.errors import SchemaError
from arbd.schema import pydantic_bridge


class Leaf(msgspec.Struct, frozen=True):
    """A value that ``msgspec.convert`` checks as a whole.

    ``reasons`` has every type of JSON value it can be, and what is wrong with a value of that type that is refused: in
    our words, because msgspec's are not the same in all its releases.
    """

    hint: Any
    words: str
    reasons: dict[type, str]


class Anything(msgspec.Struct, frozen=True):
    """Any JSON value."""

    words: str = "Any"


class Model(msgspec.Struct, frozen=True):
    """A pydantic model; pydantic explains its own problems."""

    cls: Any
    words: str


class Key(msgspec.Struct, frozen=True):
    """A key of an object: ``name`` in JSON, ``attribute`` in the decoded value. ``required``: data without it is
    refused; ``present``: the decoded value has it, from the data or by default."""

    name: str
    attribute: str
    required: bool
    present: bool
    plan: Plan


class Object(msgspec.Struct, eq=False):
    """A dict schema, TypedDict, Struct or dataclass.

    ``keys`` is filled after the object exists, because a class may refer to itself. ``closed``: unknown keys are an
    error. ``whole`` is set where the class has rules beyond its keys: the type whose ``convert`` knows them all.
    """

    name: str
    keys: tuple[Key, ...] = ()
    tag_field: str | None = None
    tag: str | int | None = None
    closed: bool = False
    whole: Any = None
    words: str = "dict"


class Mapping(msgspec.Struct, eq=False):
    """A ``dict[K, V]``. ``key`` is ``None`` where every string is a key; ``whole`` checks how many: ``rule``."""

    value: Plan
    key: Any = None
    whole: Any = None
    rule: str = ""
    words: str = "dict"


class Array(msgspec.Struct, eq=False):
    """A list, set or tuple. ``items`` has a plan for each position, ``rest`` the plan of all further items.

    ``whole`` checks everything beyond the items: how many (in words: ``rule``), and whether a set can hold them.
    ``hashed``: it is a set, so an item of any kind can be no list or dict.
    """

    items: tuple[Plan, ...]
    rest: Plan | None
    whole: Any = None
    rule: str = ""
    hashed: bool = False
    words: str = "list"


class Choice(msgspec.Struct, eq=False):
    """A union. msgspec allows in one: an array, a mapping or objects (tagged if several), and scalars or a model.

    ``other`` is the plan of everything that is neither an object nor an array; it knows of null unless it is a model.
    """

    words: str
    objects: tuple[Object, ...] = ()
    mapping: Mapping | None = None
    array: Array | None = None
    other: Leaf | Model | None = None
    nullable: bool = False


Plan = Leaf | Anything | Model | Object | Mapping | Array | Choice

_SCALARS: Final[dict[type[mi.Type], Any]] = {
    mi.NoneType: None,
    mi.BoolType: bool,
    mi.IntType: int,
    mi.FloatType: float,
    mi.StrType: str,
    mi.BytesType: bytes,
    mi.ByteArrayType: bytearray,
    mi.MemoryViewType: memoryview,
    mi.DateTimeType: datetime.datetime,
    mi.TimeType: datetime.time,
    mi.DateType: datetime.date,
    mi.TimeDeltaType: datetime.timedelta,
    mi.UUIDType: uuid.UUID,
    mi.DecimalType: decimal.Decimal,
}

# The types of JSON values that a scalar is decoded from.
_JSON_TYPES: Final[dict[type[mi.Type], tuple[type, ...]]] = {
    mi.NoneType: (type(None),),
    mi.BoolType: (bool,),
    mi.IntType: (int,),
    mi.FloatType: (int, float),
    mi.DecimalType: (int, float, str),
}  # all others: a string

_MALFORMED: Final[dict[type[mi.Type], str]] = {
    mi.BytesType: "Invalid base64 encoded string",
    mi.ByteArrayType: "Invalid base64 encoded string",
    mi.MemoryViewType: "Invalid base64 encoded string",
    mi.DateTimeType: "Invalid RFC3339 encoded datetime",
    mi.TimeType: "Invalid RFC3339 encoded time",
    mi.DateType: "Invalid RFC3339 encoded date",
    mi.TimeDeltaType: "Invalid ISO8601 duration",
    mi.UUIDType: "Invalid UUID",
    mi.DecimalType: "Invalid decimal string",
}

# How each rule of a ``msgspec.Meta`` is put after the name of what it limits.
_RULES: Final = {
    "ge": ">= {}",
    "gt": "> {}",
    "le": "<= {}",
    "lt": "< {}",
    "multiple_of": "that's a multiple of {}",
    "min_length": "of length >= {}",
    "max_length": "of length <= {}",
    "pattern": "matching regex {!r}",
}

_ARRAYS: Final[dict[type[mi.Type], Any]] = {
    mi.ListType: list,
    mi.VarTupleType: tuple,
    mi.SetType: set,
    mi.FrozenSetType: frozenset,
}


def plan_of(hint: Any, where: str) -> Plan:
    """The plan of a hint that msgspec accepts.

    Raises:
        SchemaError: it holds a class that no JSON value decodes to.
    """
    return _Planner().plan(mi.type_info(hint), where)


class _Planner:
    def __init__(self) -> None:
        self._objects: dict[Any, Plan] = {}

    def plan(self, info: mi.Type, at: str) -> Plan:
        while isinstance(info, mi.Metadata):
            info = info.type
        if isinstance(info, mi.AnyType):
            return Anything()
        if isinstance(info, mi.StructType | mi.TypedDictType | mi.DataclassType | mi.NamedTupleType):
            return self._class(info, at)
        if isinstance(info, mi.DictType):
            key = None if info.key_type in (mi.AnyType(), mi.StrType()) else hint_of(info.key_type)
            return Mapping(self.plan(info.value_type, f"{at}.*"), key, _constrained(dict, info), _rule("dict", info))
        if isinstance(info, mi.TupleType):
            items = tuple(self.plan(item, f"{at}[{i}]") for i, item in enumerate(info.item_types))
            return Array(items, None, tuple.__class_getitem__((Any,) * len(items)), f"list of length {len(items)}")
        if isinstance(info, mi.CollectionType):
            return self._collection(info, at)
        if isinstance(info, mi.UnionType):
            return self._union(info, at)
        if isinstance(info, mi.CustomType):
            return _custom(info.cls, at)
        if type(info) in _SCALARS or isinstance(info, mi.LiteralType | mi.EnumType):
            return Leaf(hint_of(info), scalar_words(info), _reasons(info))
        # Ext belongs to MessagePack; Raw, of all containers, decodes only in a Struct.
        raise SchemaError(f"{at}: {type(info).__name__.removesuffix('Type')} cannot be used in a schema; write Any")

    def _class(self, info: Any, at: str) -> Plan:
        if info.cls in self._objects:
            return self._objects[info.cls]
        if isinstance(info, mi.NamedTupleType) or getattr(info, "array_like", False):
            # Positional objects are rare: msgspec's own first error, with its path, has to do for them.
            self._objects[info.cls] = whole = Array((), Anything(), info.cls)
            for field in info.fields:
                self.plan(field.type, f"{at}.{field.name}")
            return whole
        cls = getattr(info.cls, "__origin__", info.cls)  # a generic's alias does not pass dunder names on
        has_rules = hasattr(cls, "__post_init__") or hasattr(cls, "__attrs_attrs__")
        self._objects[info.cls] = out = Object(
            name=cls.__name__,
            tag_field=getattr(info, "tag_field", None),
            tag=getattr(info, "tag", None),
            closed=getattr(info, "forbid_unknown_fields", False),
            whole=info.cls if has_rules else None,
        )
        out.keys = tuple(self._key(field, f"{at}.{field.encode_name}") for field in _in_the_authors_order(info))
        # msgspec 0.22 finds a non-ASCII key of a TypedDict or a dataclass only once that very str object has its
        # UTF-8 form cached; encoding it is what caches it.
        msgspec.json.encode([field.name for field in info.fields])
        return out

    def _key(self, field: mi.Field, at: str) -> Key:
        # A default of UNSET counts as none in msgspec.inspect: such an attribute may stay unset.
        has_default = field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
        return Key(
            field.encode_name, field.name, field.required, field.required or has_default, self.plan(field.type, at)
        )

    def _collection(self, info: mi.CollectionType, at: str) -> Array:
        item = self.plan(info.item_type, f"{at}[]")
        kind = _ARRAYS[type(info)]
        hashed = kind in (set, frozenset)
        whole = hint_of(info) if hashed and isinstance(item, Leaf | Anything) else _constrained(kind, info)
        return Array((), item, whole, _rule("list", info), hashed)

    def _union(self, info: mi.UnionType, at: str) -> Plan:
        members = list(_members(info))
        plans = [self.plan(member, at) for member in members]
        if any(isinstance(plan, Anything) for plan in plans):
            return Anything()
        out = Choice(" | ".join(dict.fromkeys(plan.words for plan in plans)), nullable=mi.NoneType() in members)
        scalars: list[Any] = []
        reasons: dict[type, str] = {}
        for plan, member in zip(plans, members, strict=True):
            if isinstance(plan, Object):
                out.objects += (plan,)
            elif isinstance(plan, Mapping):
                out.mapping = plan
            elif isinstance(plan, Array):
                out.array = plan
            elif isinstance(plan, Model):
                out.other = plan
            else:
                scalars.append(hint_of(member))
                reasons |= _reasons(member)
        if scalars and out.other is None:
            out.other = Leaf(Union[tuple(scalars)], out.words, reasons)  # noqa: UP007 -- members known at run time
        return out


def _members(info: mi.Type) -> Iterator[mi.Type]:
    """The members of a union without their metadata; an annotated union inside a union is one union to msgspec."""
    while isinstance(info, mi.Metadata):
        info = info.type
    if isinstance(info, mi.UnionType):
        for member in info.types:
            yield from _members(member)
    else:
        yield info


def _in_the_authors_order(info: Any) -> list[mi.Field]:
    """The fields of a class in the author's order: ``msgspec.inspect`` sorts the keys of a TypedDict."""
    if not isinstance(info, mi.TypedDictType):
        return list(info.fields)
    order = {name: place for place, name in enumerate(getattr(info.cls, "__annotations__", ()))}
    return sorted(info.fields, key=lambda field: order.get(field.name, -1))


def _custom(cls: Any, at: str) -> Plan:
    if cls is object:
        return Anything()
    if pydantic_bridge.is_model(cls):
        return Model(cls, cls.__name__)
    raise SchemaError(
        f"{at}: no JSON value decodes to {getattr(cls, '__qualname__', cls)}; "
        "write a dict schema, a msgspec.Struct, a dataclass, a TypedDict or a pydantic model"
    )


def hint_of(info: mi.Type) -> Any:
    """The inverse of ``msgspec.inspect.type_info`` for types without keys."""
    while isinstance(info, mi.Metadata):
        info = info.type
    if isinstance(info, mi.LiteralType):
        return Literal[tuple(info.values)]
    if isinstance(info, mi.EnumType):
        return info.cls
    if isinstance(info, mi.UnionType):
        return Union[tuple(map(hint_of, info.types))]  # noqa: UP007 -- members known at run time
    if type(info) in _ARRAYS:
        return _with_meta(_ARRAYS[type(info)][hint_of(info.item_type)], info)  # type: ignore[attr-defined]  # all have it
    return _with_meta(_SCALARS.get(type(info), Any), info)


def _with_meta(hint: Any, info: mi.Type) -> Any:
    limits = _limits(info)
    return Annotated[hint, msgspec.Meta(**limits)] if limits else hint


def _limits(info: mi.Type) -> dict[str, Any]:
    names = [name for name in info.__struct_fields__ if name not in ("item_type", "key_type", "value_type")]
    return {name: value for name in names if (value := getattr(info, name)) is not None}


def _constrained(hint: Any, info: mi.Type) -> Any:
    return _with_meta(hint, info) if _limits(info) else None


def _rule(words: str, info: mi.Type) -> str:
    """The constraints of ``info`` beyond its type, as in ``int >= 1, <= 5``; empty where there are none."""
    limits = _limits(info)
    if (has_zone := limits.pop("tz", None)) is not None:
        words += " with a timezone component" if has_zone else " with no timezone component"
    elif not limits:
        return ""
    rules = [_RULES[name].format(limits[name]) for name in _RULES if name in limits]
    return f"{words} {', '.join(rules)}".rstrip()


def _reasons(info: mi.Type) -> dict[type, str]:
    """The types of JSON values that ``info`` accepts, each with what is wrong with a value of it that is refused."""
    if isinstance(info, mi.LiteralType):
        types = tuple(map(type, info.values))
    elif isinstance(info, mi.EnumType):
        types = tuple(type(member.value) for member in info.cls)
    else:
        types = _JSON_TYPES.get(type(info), (str,))
    words = scalar_words(info)
    rule = _rule(words, info)
    reason = f"expected {rule or words}" if rule or type(info) not in _MALFORMED else _MALFORMED[type(info)]
    return dict.fromkeys(types, reason)


def scalar_words(info: mi.Type) -> str:
    """The name of a scalar type as an author would write it: ``int``, ``datetime``, ``'a' | 'b'``."""
    if isinstance(info, mi.LiteralType):
        return " | ".join(repr(value) for value in info.values)
    if isinstance(info, mi.EnumType):
        return " | ".join(repr(member.value) for member in info.cls)
    scalar = _SCALARS[type(info)]
    return "None" if scalar is None else str(scalar.__name__)
