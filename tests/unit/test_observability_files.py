"""The dashboard and the alerts ask for metrics and labels that arbd has, and hang together as Grafana and Prometheus
want them. That Prometheus takes the rules, and that each fires: tests/process/test_promtool_rules.py."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from documents import ROOT

from arbd.control.exposition import PREFIX, TABLE, Family

FILES = ROOT / "systemd/observability"
DASHBOARD: dict[str, Any] = json.loads((FILES / "arbd-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: list[dict[str, Any]] = yaml.safe_load((FILES / "arbd-alerts.yml").read_text())["groups"][0]["rules"]
CASES: list[dict[str, Any]] = yaml.safe_load((FILES / "arbd-alerts-test.yml").read_text())["tests"]
OF_SCRAPE = {"instance", "job", "le"}  # labels that are not arbd's to name
STRINGS = re.compile(r'"[^"]*"')
SELECTOR = re.compile(r"(arbd_\w+)\s*(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")


def series() -> dict[str, Family]:
    """The metric of each name of a series: a histogram has three."""
    found = {}
    for family in TABLE:
        endings = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        found.update({f"{PREFIX}{family.name}{ending}": family for ending in endings})
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every query there is, with where it stands."""
    for panel in PANELS:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    yield from ((note["name"], note["expr"]) for note in DASHBOARD["annotations"]["list"])
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    for case in CASES:
        yield from ((case["name"], each["series"]) for each in case["input_series"])


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_each_query_asks_for_series_and_labels_that_there_are(where: str, query: str) -> None:
    known = series()
    labels = set(OF_SCRAPE)
    for name, selector in SELECTOR.findall(query):
        assert name in known, f"{where}: no such metric"
        used = re.findall(r"(\w+)\s*[=!]", STRINGS.sub('""', selector))
        assert set(used) <= {*known[name].labels, *OF_SCRAPE}, f"{where}: {name} has no such label"
        labels |= set(known[name].labels)
    grouped = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
    assert grouped <= labels, f"{where}: nothing it asks for has such a label"


def test_nothing_but_counters_is_asked_for_its_rate() -> None:
    for where, query in queries():
        for function, name in re.findall(r"\b(rate|increase|irate)\((arbd_\w+)", query):
            assert series()[name].kind in ("counter", "histogram"), f"{where}: {function} of {name}"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_legend_names_a_label_that_its_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        groups = GROUPING.findall(target["expr"])
        left = {label.strip() for group in groups for label in group.split(",")}
        if not groups:
            left = {"instance", *(x for name, _ in SELECTOR.findall(target["expr"]) for x in series()[name].labels)}
        assert used <= left


def test_each_panel_takes_the_data_source_and_the_daemons_that_were_chosen() -> None:
    names = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource": "datasource", "provider": "query", "instance": "query", "action": "query"}
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            for name, selector in SELECTOR.findall(target["expr"]):
                assert 'instance=~"$instance"' in selector, f"{panel['title']}: {name} of all daemons"
                assert "action" not in series()[name].labels or panel["gridPos"]["y"] < 6 or "$action" in selector


def test_panels_are_told_apart_and_do_not_lie_upon_each_other() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert len(set(titles)) == len(titles)
    for one, other in itertools.combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart |= one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])


def test_each_alert_says_what_it_is_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "warn", "none")
        if rule["labels"]["severity"] != "none":
            assert {"summary", "description"} == set(rule["annotations"]), rule["alert"]


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires = {test["alertname"] for case in CASES for test in case["alert_rule_test"] if test["exp_alerts"]}
    silent = {test["alertname"] for case in CASES for test in case["alert_rule_test"] if not test["exp_alerts"]}
    names = {rule["alert"] for rule in RULES}
    assert fires == names
    assert silent == names - {"ArbdWatchdog"}  # which fires always


def test_the_dashboard_knows_no_machine() -> None:
    text = (FILES / "arbd-dashboard.json").read_text()
    assert not re.search(r"https?://|localhost|\d+\.\d+\.\d+\.\d+", text)
