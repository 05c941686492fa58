"""A change of the connection's state is told once, in the figures and in the log, and never with the token."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.errors import ConfigError
from arbd.links.condition import HubCondition
from arbd.links.options import LinkOptions

OPTIONS = LinkOptions(url="hub:50051", provider="p", token="very-secret", refused_interval_s=31.0)


class Log:
    """A logger that notes the level, the event and its words."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **words: self.lines.append((level, event, words))


def test_each_state_is_told_when_it_comes() -> None:
    log = Log()
    condition = HubCondition(OPTIONS, "unary", log)
    states = []
    for _ in range(2):
        condition.up()
        states.append(condition.stats.state)
    for state in ("down", "down", "refused"):
        condition.trouble(state, "UNAVAILABLE", "away")
        states.append(condition.stats.state)
    assert states == ["up", "up", "down", "down", "refused"]
    words = {"hub": "hub:50051", "code": "UNAVAILABLE", "details": "away"}
    assert log.lines == [
        ("info", "hub_connected", {"hub": "hub:50051"}),
        ("warning", "hub_unavailable", words),
        ("error", "hub_refuses_token", {**words, "retry_every_s": 31.0}),
    ]


@pytest.mark.parametrize(
    ("protocol", "told"), [("stream", ("info", "hub_without_stream")), ("unary", ("warning", "hub_unavailable"))]
)
def test_a_hub_without_streams_is_no_trouble_to_warn_of(protocol: Any, told: tuple[str, str]) -> None:
    log = Log()
    HubCondition(OPTIONS, protocol, log).trouble("down", "UNIMPLEMENTED", "")
    assert [line[:2] for line in log.lines] == [told]


def test_a_hub_s_words_are_cut_and_never_hold_the_token() -> None:
    condition = HubCondition(OPTIONS, "unary", Log())
    assert condition.clean("no very-secret here" + "x" * 500) == "no *** here" + "x" * 189


def test_without_a_token_nothing_is_replaced() -> None:
    condition = HubCondition(LinkOptions(url="hub:50051", provider="p"), "unary", Log())
    assert condition.clean("as it is") == "as it is"


def test_a_url_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(ConfigError):
        HubCondition(LinkOptions(url="hub:no-port", provider="p"), "unary", None)


def test_a_refusal_of_any_length_is_one_short_line_that_controls_nothing() -> None:
    for state in ("down", "refused"):
        log = Log()
        HubCondition(OPTIONS, "unary", log).trouble(state, "UNAUTHENTICATED", "no\x1b[31m\n" + "x" * 100_000)
        [line] = log.lines
        assert len(str(line)) < 1000
        assert str(line).isprintable()
