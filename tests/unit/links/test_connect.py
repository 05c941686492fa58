"""``hub.protocol`` and ``hub.links`` choose the link; nothing is started or connected by the choice."""

from __future__ import annotations

from typing import Any

import pytest

from arbd.errors import ConfigError
from arbd.links import connect
from arbd.links.auto import AutoLink
from arbd.links.processes.group import LinkGroup
from arbd.links.stream.link import GrpcStreamLink
from arbd.links.unary.link import GrpcUnaryLink
from arbd.model.encoding import Encoder
from arbd.settings.table import Settings, from_flags, resolve


def settings(**values: Any) -> Settings:
    given = {"name": "prov", "hub.url": "127.0.0.1:1"} | {f"hub.{name}": value for name, value in values.items()}
    return resolve([from_flags(given)]).settings


@pytest.mark.parametrize(
    ("protocol", "links", "kind"),
    [
        ("stream", 0, GrpcStreamLink),
        ("stream", 3, GrpcStreamLink),
        ("unary", 0, GrpcUnaryLink),
        ("unary", 3, LinkGroup),
        ("auto", 0, AutoLink),
        ("auto", 3, AutoLink),
    ],
)
def test_the_settings_choose_the_link(protocol: str, links: int, kind: type) -> None:
    chosen = settings(protocol=protocol, links=links)
    assert type(connect.make_link(chosen, Encoder.of(chosen))) is kind


@pytest.mark.parametrize("links", [-1, 65, "some", 1.5])
def test_other_numbers_of_links_are_refused(links: object) -> None:
    with pytest.raises(ConfigError, match=r"hub\.links"):
        settings(links=links)


def test_a_tls_file_that_cannot_be_read_is_refused_at_the_start() -> None:
    chosen = settings(tls_ca="/no/such/file", links=2)
    with pytest.raises(ConfigError, match="/no/such/file"):
        connect.make_link(chosen, Encoder.of(chosen))
