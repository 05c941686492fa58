"""What can be sent is sent in one pass; what cannot is named by its path; nothing else is raised."""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import ResultError
from arbd.model.encoding import Encoder
from arbd.model.response import ProviderResponse, error, success
from arbd.settings.table import from_flags, resolve

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)


class Log:
    def bind(self) -> Log:
        return Log()


LOG = Log()


def encoder(**changes: Any) -> Encoder:
    options = {"provider": "fx", "timezone": "Europe/Moscow", "utc_now": lambda: NOON, "logger": LOG, **changes}
    return Encoder(**options)


def encoded(data: Any, **changes: Any) -> Any:
    return json.loads(encoder(**changes).encode("act", success(data)))["data"]


class Text(str):
    __slots__ = ()


class Count(int):
    pass


class Rate(float):
    pass


class Item(msgspec.Struct):
    name: str
    value: Any = None


@dataclass
class Row:
    cell: Any


class Model:
    """Has what a pydantic model has."""

    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


@pytest.mark.parametrize(
    ("data", "json_value"),
    [
        pytest.param(Item("a"), {"name": "a", "value": None}, id="struct"),
        pytest.param(Row({1}), {"cell": [1]}, id="dataclass with a set"),
        pytest.param(Text("a"), "a", id="str subclass"),
        pytest.param(Count(3), 3, id="int subclass"),
        pytest.param(Rate(0.5), 0.5, id="float subclass"),
        pytest.param({Text("a"): 1, 2: 3}, {"a": 1, "2": 3}, id="keys"),
        pytest.param(types.MappingProxyType({"a": 1}), {"a": 1}, id="mapping"),
        pytest.param(Model(), {"mode": "json"}, id="pydantic model"),
        pytest.param({"logger": LOG}, {"logger": "<logger fx>"}, id="logger"),
        pytest.param([LOG.bind()], ["<logger fx>"], id="bound logger"),
        pytest.param(2**70, 2**70, id="large integer"),
        pytest.param(NOON, "2024-07-01T12:00:00Z", id="datetime"),
    ],
)
def test_what_can_be_sent(data: Any, json_value: Any) -> None:
    assert encoded(data) == json_value


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    ("data", "path", "kind"),
    [
        pytest.param(1j, "data", "complex", id="data itself"),
        pytest.param(
            {"items": [{}, {}, {}, {"when": 1j}]}, "data.items[3].when", "complex", id="deep in dicts and lists"
        ),
        pytest.param({"a": Item("x", [Row((1, 1j))])}, "data.a.value[0].cell[1]", "complex", id="deep in objects"),
        pytest.param({"first": 1j, "second": 2j}, "data.first", "complex", id="the first of two"),
        pytest.param({"a": {(1, 2): 3}}, "data.a.key((1, 2))", "tuple", id="a key"),
        pytest.param({"a": {None: 3}}, "data.a.key(None)", "NoneType", id="a key that is none"),
        pytest.param({"a": "\ud800"}, "data.a", "str with a lone surrogate, which is no UTF-8", id="surrogate"),
        pytest.param({"a": LOG.bind}, "data.a", "method", id="function"),
        pytest.param({"a": Row}, "data.a", "type", id="class"),
        pytest.param({"a": iter([1])}, "data.a", "list_iterator", id="iterator"),
        pytest.param({3: 1j}, "data[3]", "complex", id="under a number"),
        pytest.param(types.MappingProxyType({"a": 1j}), "data.a", "complex", id="in a mapping"),
        pytest.param({"a": Log}, "data.a", "type", id="the logger's class"),
        pytest.param({"a": types}, "data.a", "module", id="module"),
    ],
)
def test_the_culprit_is_named(data: Any, path: str, kind: str) -> None:
    with pytest.raises(ResultError) as caught:
        encoded(data)
    assert str(caught.value).startswith(f"The action returned something JSON has no form for: {path}: {kind}; ")
    assert caught.value.data == {"error_code": "RESULT_NOT_ENCODABLE", "path": path, "type": kind}


def test_a_type_is_named_with_its_module() -> None:
    with pytest.raises(ResultError, match=r"data: fractions\.Fraction; "):
        encoded(Fraction(1, 3))


def test_a_message_can_be_the_culprit() -> None:
    with pytest.raises(ResultError, match="message: str with a lone surrogate"):
        encoder().encode("act", error("\ud800"))


def test_a_value_inside_itself_ends_in_words() -> None:
    with pytest.raises(ResultError, match=r"data\.self\.self.*: dict, nested too deeply or inside itself; "):
        encoded(LOOP)


def test_metadata_wraps_the_data_of_every_status() -> None:
    make = encoder(envelope="metadata")
    for response in (success({"a": 1}), error("no"), ProviderResponse("limit", "wait", {"wait_time": 1})):
        assert json.loads(make.encode("act", response)) == {
            "status": response.status,
            **({"message": response.message} if response.message else {}),
            "data": {
                "provider": "fx",
                "action": "act",
                "timezone": "Europe/Moscow",
                "now": "2024-07-01T15:00:00+03:00",
                "now_utc": "2024-07-01T12:00:00Z",
                "response": response.data,
            },
        }


def test_the_culprit_s_path_is_the_same_inside_metadata() -> None:
    with pytest.raises(ResultError, match=r"data\.a: complex; "):
        encoded({"a": 1j}, envelope="metadata")


def test_the_size_of_the_json_text_is_bounded() -> None:
    text = encoder().encode("act", success("x" * 100))
    assert encoder(max_result=len(text)).encode("act", success("x" * 100)) == text
    with pytest.raises(ResultError) as caught:
        encoder(max_result=len(text) - 1).encode("act", success("x" * 100))
    assert str(caught.value) == f"The result of action 'act' has {len(text)} bytes; at most {len(text) - 1} can be sent"
    assert caught.value.data == {"error_code": "RESULT_TOO_LARGE", "size": len(text), "limit": len(text) - 1}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    assert encoded({"value": value}) == {"value": value}


@given(path=st.lists(st.integers(0, 3) | st.sampled_from(["a", "b", "key"]), max_size=8))
def test_a_culprit_is_found_at_any_depth(path: list[int | str]) -> None:
    data: Any = 1j
    for step in reversed(path):
        data = {step: data} if isinstance(step, str) else [*range(step), data]
    with pytest.raises(ResultError) as caught:
        encoded(data)
    assert caught.value.data is not None
    expected = "data" + "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in path)
    assert caught.value.data["path"] == expected


@pytest.mark.parametrize("envelope", ["plain", "metadata"])
def test_the_settings_say_what_the_daemon_s_own_responses_look_like(envelope: str) -> None:
    flags = {"name": "fx", "timezone": "Europe/Moscow", "response.envelope": envelope}
    sent = json.loads(Encoder.of(resolve([from_flags(flags)]).settings).encode("act", success("sum")))
    if envelope == "plain":
        assert sent["data"] == "sum"
    else:
        now = datetime.fromisoformat(sent["data"].pop("now"))
        assert datetime.fromisoformat(sent["data"].pop("now_utc")) == now
        about = {"provider": "fx", "action": "act", "timezone": "Europe/Moscow"}
        assert sent["data"] == {**about, "response": "sum"}
