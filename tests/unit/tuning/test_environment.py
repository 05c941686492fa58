"""The daemon of a benchmark runs with the operator's settings, at another hub, and without the operator's token."""

from __future__ import annotations

import pytest
from tuning_support import BASE

from arbd.settings.table import Layer, from_constructor, from_environment, from_toml, resolve
from arbd.tuning.bench import current_point
from arbd.tuning.measure import daemon_environment, point_environment
from arbd.tuning.own import describe_failure
from arbd.tuning.record import Point


def environment(*layers: Layer, **environ: str) -> dict[str, str]:
    resolved = resolve([*layers[:1], from_environment(environ), *layers[1:]])
    return daemon_environment(resolved, environ)


def test_what_the_settings_file_says_becomes_variables() -> None:
    found = environment(from_toml({"execution_timeout": 5, "hub": {"max_polls": 64}, "max_payload": "1MiB"}))
    assert found == {
        "TASK_EXECUTION_TIMEOUT": "5.0",
        "ARBD_HUB_MAX_POLLS": "64",
        "ARBD_MAX_PAYLOAD": "1048576",
    }


def test_the_constructor_s_own_are_left_to_the_constructor() -> None:
    assert environment(from_toml({}), from_constructor({"name": "x", "execution_timeout": 3.0})) == {}


def test_the_operator_s_hub_and_its_secrets_are_left_out() -> None:
    hub = {"url": "grpcs://hub:1", "tls": "on", "tls_ca": "ca.pem", "auth_token_file": "token"}
    found = environment(from_toml({"hub": hub, "control": {"socket": "/run/x.sock"}, "target": "other.py"}))
    assert found == {}


def test_other_variables_stay_and_the_token_is_a_placeholder_everywhere() -> None:
    found = environment(
        from_toml({}), PROVIDER_AUTH_TOKEN="secret-token", URL="http://secret-token@x", HOME="/root", ARBD_PIN="off"
    )
    assert found["HOME"] == "/root"
    assert found["ARBD_PIN"] == "false"
    assert found["PROVIDER_AUTH_TOKEN"]  # the author's code may insist on one
    assert not [value for value in found.values() if "secret-token" in value]


def test_a_point_says_everything_about_itself() -> None:
    found = point_environment(Point(workers=3, pin=False, prefetch=16, protocol="unary", links=2))
    assert found == {
        "ARBD_WORKERS": "3",
        "ARBD_PIN": "false",
        "ARBD_PREFETCH": "16",
        "ARBD_HUB_PROTOCOL": "unary",
        "ARBD_HUB_LINKS": "2",
    }


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, BASE),
        ({"hub": {"protocol": "unary"}, "workers": 5}, Point(workers=5, pin=True, prefetch=256, protocol="unary")),
        ({"pin": False, "prefetch": 9}, Point(workers=2, pin=False, prefetch=9, protocol="stream")),
    ],
)
def test_the_baseline_is_what_the_settings_mean_today(document: dict[str, object], expected: Point) -> None:
    assert current_point(resolve([from_toml(document)]).settings, 2) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"status": "error", "message": "no"}, "error: no"),
        ({"status": "limit"}, "limit: without a message"),
        ({"status": "error", "message": "bad", "data": {"errors": ["a", "b"]}}, "error: bad (a; b)"),
        ({"status": "error", "message": "bad", "data": [1]}, "error: bad"),
    ],
)
def test_a_failure_is_told_in_one_line(response: dict[str, object], expected: str) -> None:
    assert describe_failure(response) == expected
