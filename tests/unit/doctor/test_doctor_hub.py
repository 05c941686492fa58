"""What a step that failed means, and what is told of a hub that answers."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from arbd.doctor.certificates import Validity
from arbd.doctor.checks import hub
from arbd.doctor.checks.hub import HubFacts, Step, check_hub
from arbd.doctor.readers.dial import Place, place_of

NOW = 1_796_040_181.0
DAY_S = 86_400


def check(**changed: Any) -> dict[str, str]:
    facts: dict[str, Any] = {"url": "hub:443", "uses_tls": True, "token": "taken", "now": NOW, **changed}
    return {finding.check: finding.level for finding in check_hub(HubFacts(**facts))}


@pytest.mark.parametrize("step", [step for step in get_args(Step) if step != "token"])
def test_every_step_that_fails_says_what_it_means_and_what_to_do(step: Step) -> None:
    (finding,) = check_hub(HubFacts(url="hub:443", uses_tls=True, failed=step, kind="never heard of", error="E"))
    assert (finding.check, finding.level) == (f"hub.{step}", "fail")
    assert finding.why
    assert finding.remedy


@pytest.mark.parametrize(("step", "kind"), sorted(hub._MEANINGS))
def test_every_kind_has_a_meaning_of_its_own(step: Step, kind: str) -> None:
    (finding,) = check_hub(
        HubFacts(url="u", uses_tls=True, failed=step, kind=kind, error="E", addresses=["10.0.0.1:443"])
    )
    assert finding.what == "u (10.0.0.1:443): E"
    assert (finding.why, finding.remedy) == hub._MEANINGS[step, kind]


def test_an_address_is_named_once() -> None:
    facts = HubFacts(url="h:1", uses_tls=False, failed="connect", kind="refused", error="h:1: Connection refused")
    assert next(iter(check_hub(facts))).what == "h:1: Connection refused"


def test_that_no_proxy_is_used_is_said_where_one_is_set() -> None:
    facts = HubFacts(url="u", uses_tls=False, failed="connect", error="E", has_proxy=True)
    assert "proxy" in next(iter(check_hub(facts))).remedy


@pytest.mark.parametrize(("changed", "found"), [
    ({}, {"hub.token": "ok", "hub": "ok"}),
    ({"token": "running"}, {"hub.token": "ok", "hub": "ok"}),
    ({"token": "unknown"}, {"hub.token": "ok", "hub": "ok"}),
    ({"token": "refused", "error": "who are you"}, {"hub.token": "fail"}),
    ({"answer_s": 0.5}, {"hub.token": "ok", "hub.slow": "warn"}),
    ({"unreached": ["[::1]:443"]}, {"hub.token": "ok", "hub.addresses": "warn"}),
    ({"peer": Validity(NOW, NOW + 90 * DAY_S, "hub")}, {"hub.certificate": "ok", "hub.token": "ok", "hub": "ok"}),
    ({"peer": Validity(NOW - DAY_S, NOW + 3 * DAY_S, "hub")}, {"hub.certificate": "warn", "hub.token": "ok"}),
    ({"wanted_protocol": "stream", "protocol": "unary"}, {"hub.token": "ok", "hub.protocol": "fail"}),
])  # fmt: skip
def test_what_is_told_of_a_hub_that_answers(changed: dict[str, Any], found: dict[str, str]) -> None:
    assert check(**changed) == found


@pytest.mark.parametrize(("address", "place"), [
    ("hub:443", Place("hub", 443)),
    ("[::1]:443", Place("::1", 443)),
    ("dns:///hub:443", Place("hub", 443)),
    ("dns://10.0.0.53/hub:443", Place("hub", 443)),
    ("dns:hub:443", Place("hub", 443)),
    ("ipv4:10.0.0.1:443,10.0.0.2:443", Place("10.0.0.1", 443)),
    ("ipv6:[::1]:443", Place("::1", 443)),
    ("unix:/run/hub.sock", Place(path="/run/hub.sock")),
    ("unix:///run/hub.sock", Place(path="/run/hub.sock")),
    ("unix:hub.sock", Place(path="hub.sock")),
    ("unix-abstract:hub", Place(path="\0hub")),
    ("dns:///hub", Place()),
])  # fmt: skip
def test_where_an_address_leads(address: str, place: Place) -> None:
    assert place_of(address) == place
