"""The table and its resolution: the last layer wins, every problem is told at once, and no secret is ever told."""

from __future__ import annotations

import math
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.errors import ConfigError
from arbd.settings.retired import RETIRED
from arbd.settings.table import (
    BY_NAME,
    REDACTED,
    TABLE,
    Layer,
    Settings,
    from_constructor,
    from_environment,
    from_flags,
    from_toml,
    resolve,
)

TOKEN = "s3cret-of-the-hub"


def problems_of(*layers: Layer, required: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(layers, required)
    return caught.value.problems


class TestTable:
    def test_every_row_is_an_attribute_of_settings_in_the_same_order(self) -> None:
        assert [setting.attribute for setting in TABLE] == list(Settings.__struct_fields__)

    def test_every_default_that_is_set_is_allowed(self) -> None:
        given = [setting for setting in TABLE if setting.default not in (None, "")]
        assert [setting.kind.parse(setting.default) for setting in given] == [setting.default for setting in given]

    def test_a_setting_that_may_be_none_is_typed_so(self) -> None:
        hints = get_type_hints(Settings)
        optional = [
            setting.attribute for setting in TABLE if type(None) in getattr(hints[setting.attribute], "__args__", ())
        ]
        assert optional == [setting.attribute for setting in TABLE if setting.default is None]

    def test_names_variables_and_flags_are_unique(self) -> None:
        for values in (
            [setting.name for setting in TABLE],
            [setting.variable for setting in TABLE],
            [setting.flag for setting in TABLE if setting.flag],
        ):
            assert sorted(set(values)) == sorted(values)

    def test_every_setting_is_documented(self) -> None:
        assert [setting.name for setting in TABLE if not setting.doc] == []

    def test_the_documented_variables_have_their_names(self) -> None:
        documented = {
            "name": "PROVIDER_NAME",
            "hub.auth_token": "PROVIDER_AUTH_TOKEN",
            "hub.url": "HUB_GRPC_URL",
            "execution_timeout": "TASK_EXECUTION_TIMEOUT",
            "timezone": "PROVIDER_TIMEZONE",
            "log.silent": "LOG_SILENT",
            "hub.max_polls": "ARBD_HUB_MAX_POLLS",
            "workers": "ARBD_WORKERS",
        }
        assert {name: BY_NAME[name].variable for name in documented} == documented


class TestPrecedence:
    def test_without_layers_everything_is_default(self) -> None:
        resolved = resolve([])
        defaults = {setting.attribute: setting.default for setting in TABLE}
        assert {name: getattr(resolved.settings, name) for name in defaults} == defaults
        assert set(resolved.origin.values()) == {"default"}

    @given(
        toml=st.none() | st.integers(1, 100),
        environment=st.none() | st.integers(1, 100),
        constructor=st.none() | st.integers(1, 100),
        flag=st.none() | st.integers(1, 100),
    )
    def test_the_last_layer_that_says_something_wins(
        self, toml: int | None, environment: int | None, constructor: int | None, flag: int | None
    ) -> None:
        layers = [
            from_toml({} if toml is None else {"execution_timeout": toml}),
            from_environment({} if environment is None else {"TASK_EXECUTION_TIMEOUT": str(environment)}),
            from_constructor({"execution_timeout": constructor}),
            from_flags({"execution_timeout": flag}),
        ]
        said = [
            (1.0, "default"),
            (toml, "arbd.toml"),
            (environment, "environment TASK_EXECUTION_TIMEOUT"),
            (constructor, "constructor"),
            (flag, "--timeout"),
        ]
        expected = [pair for pair in said if pair[0] is not None][-1]
        resolved = resolve(layers)
        assert (resolved.settings.execution_timeout, resolved.origin["execution_timeout"]) == expected

    @given(st.lists(st.sampled_from(["hub.max_polls", "prefetch", "hub.max_submits"]), max_size=6))
    def test_layers_of_different_settings_do_not_touch_each_other(self, names: list[str]) -> None:
        layers = [from_flags({name: number + 1}) for number, name in enumerate(names)]
        settings = resolve(layers).settings
        expected = {name: number + 1 for number, name in enumerate(names)}
        assert {name: getattr(settings, BY_NAME[name].attribute) for name in names} == expected

    def test_a_wrong_value_that_a_later_layer_overrides_is_no_problem(self) -> None:
        layers = [from_toml({"workers": "many"}), from_flags({"workers": "4"})]
        assert resolve(layers).settings.workers == 4

    def test_an_empty_variable_is_not_set(self) -> None:
        assert resolve([from_environment({"PROVIDER_NAME": ""})]).origin["name"] == "default"

    @pytest.mark.parametrize(("value", "origin"), [(True, "--pin"), (False, "--no-pin")])
    def test_a_switch_tells_which_of_its_flags_was_written(self, value: bool, origin: str) -> None:
        resolved = resolve([from_flags({"pin": value})])
        assert (resolved.settings.pin, resolved.origin["pin"]) == (value, origin)

    def test_tables_of_toml_are_the_parts_of_dotted_names(self) -> None:
        layer = from_toml({"hub": {"url": "hub:1", "max_polls": 3}, "log": {"level": "DEBUG"}})
        settings = resolve([layer]).settings
        assert (settings.hub_url, settings.hub_max_polls, settings.log_level) == ("hub:1", 3, "debug")


class TestProblems:
    def test_all_of_them_come_at_once_with_origin_and_what_is_allowed(self) -> None:
        found = problems_of(
            from_toml({"hub": {"max_polls": 0, "idle_min": 5}, "execution_timeout": math.nan, "prefech": 1}),
            from_environment({"ARBD_HUB_MAX_SUBMITS": "x", "ARBD_WORKER": "3", "PROVIDER_TIMEZONE": "Mars/Olympus"}),
            from_flags({"workers": "0"}),
            required=("name",),
        )
        assert found == [
            "arbd.toml: there is no setting prefech; did you mean prefetch?",
            "environment ARBD_WORKER: no such setting; did you mean ARBD_WORKERS?",
            "environment PROVIDER_TIMEZONE: timezone is 'Mars/Olympus'; "
            "allowed: the name of a time zone, such as UTC or Europe/Moscow",
            'arbd.toml: execution_timeout is nan; allowed: seconds from 0.001 to 604800, such as 1.5 or "250ms"',
            "--workers: workers is '0'; allowed: auto, or a whole number from 1 to 1024",
            "arbd.toml: hub.max_polls is 0; allowed: a whole number from 1 to 1024",
            "environment ARBD_HUB_MAX_SUBMITS: hub.max_submits is 'x'; allowed: a whole number from 1 to 1024",
            "arbd.toml: hub.idle_min (5 s) is longer than hub.idle_max (1 s); swap or raise one",
            "name is not set; set one of PROVIDER_NAME, `name` in arbd.toml, Provider(name=...), --name",
        ]

    @pytest.mark.parametrize(
        ("document", "problem"),
        [
            ({"hub": {"ulr": "x"}}, "arbd.toml: there is no setting hub.ulr; did you mean hub.url?"),
            ({"max_polls": 3}, "arbd.toml: there is no setting max_polls; did you mean hub.max_polls?"),
            ({"hub": "hub:1"}, "arbd.toml: there is no setting hub; it is a table: [hub] url = ..."),
            ({"zzz": 1}, "arbd.toml: there is no setting zzz"),
        ],
    )
    def test_an_unknown_name_in_the_file(self, document: dict[str, Any], problem: str) -> None:
        assert problems_of(from_toml(document)) == [problem]

    @pytest.mark.parametrize(
        ("variable", "problem"),
        [
            ("ARBD_HUB_URL", "environment ARBD_HUB_URL: no such setting; hub.url is set by HUB_GRPC_URL"),
            ("ARBD_PREFETCHH", "environment ARBD_PREFETCHH: no such setting; did you mean ARBD_PREFETCH?"),
            ("ARBD_QQQ", "environment ARBD_QQQ: no such setting"),
        ],
    )
    def test_an_unknown_variable(self, variable: str, problem: str) -> None:
        assert problems_of(from_environment({variable: "1"})) == [problem]

    def test_variables_of_others_are_left_alone(self) -> None:
        assert resolve([from_environment({"HOME": "/", "PROVIDER_REGION": "eu"})]) == resolve([])

    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            (
                {"hub.tls_cert": "c.pem"},
                "arbd.toml: hub.tls_cert is set without hub.tls_key; set both or neither",
            ),
            (
                {"hub.tls_key": "k.pem"},
                "arbd.toml: hub.tls_key is set without hub.tls_cert; set both or neither",
            ),
            (
                {"hub.tls": "off", "hub.tls_ca": "ca.pem"},
                "arbd.toml: hub.tls is off, but hub.tls_ca is set; remove the one or the other",
            ),
            (
                {"hub.tls": "off", "hub.url": "grpcs://hub:1"},
                "arbd.toml: hub.tls is off, but the scheme of hub.url asks for TLS; change one of them",
            ),
            (
                {"hub.auth_token": TOKEN, "hub.auth_token_file": "/run/token"},
                "arbd.toml: set hub.auth_token or hub.auth_token_file, not both",
            ),
        ],
    )
    def test_values_that_contradict_each_other(self, values: dict[str, str], problem: str) -> None:
        assert problems_of(from_toml(values)) == [problem]

    def test_of_token_and_token_file_the_later_layer_counts(self) -> None:
        file, token = from_toml({"hub.auth_token_file": "/run/token"}), from_environment({"PROVIDER_AUTH_TOKEN": TOKEN})
        first, second = resolve([file, token]).settings, resolve([token, file]).settings
        assert (first.hub_auth_token, first.hub_auth_token_file) == (TOKEN, None)
        assert (second.hub_auth_token, second.hub_auth_token_file) == ("", "/run/token")

    @given(st.sampled_from(TABLE), st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
    def test_no_raw_value_breaks_anything_but_its_setting(self, setting: Any, raw: Any) -> None:
        problems: list[str] = []
        try:
            resolve([from_flags({setting.name: raw})])
        except ConfigError as error:
            problems = error.problems
        assert [problem for problem in problems if setting.name not in problem] == []


LINKS = "{}: hub.links is 'auto', which is retired; remove it, or set a number of processes; it counts as 0"
PIGGYBACK = "{}: hub.piggyback is retired, and ignored; remove it: tasks come by polls alone"


class TestRetired:
    """What only earlier versions had is a warning that names the setting, its source and the remedy."""

    @pytest.mark.parametrize(
        ("layer", "origin"),
        [
            (from_toml({"hub": {"links": "auto"}}), "arbd.toml"),
            (from_environment({"ARBD_HUB_LINKS": "auto"}), "environment ARBD_HUB_LINKS"),
            (from_constructor({"hub.links": "auto"}), "constructor"),
            (from_flags({"hub.links": "auto"}), "flag hub.links"),
        ],
    )
    def test_in_place_of_a_retired_value_the_default_counts(self, layer: Layer, origin: str) -> None:
        resolved = resolve([layer])
        assert (resolved.settings.hub_links, resolved.origin["hub.links"]) == (0, "default")
        assert resolved.warnings == [LINKS.format(origin)]

    @pytest.mark.parametrize(
        ("layer", "origin"),
        [
            (from_toml({"hub": {"piggyback": True}}), "arbd.toml"),
            (from_toml({"hub.piggyback": {"whatever": 1}}), "arbd.toml"),
            (from_environment({"ARBD_HUB_PIGGYBACK": "0"}), "environment ARBD_HUB_PIGGYBACK"),
            (from_constructor({"hub.piggyback": False}), "constructor"),
            (from_flags({"hub.piggyback": "what"}), "flag hub.piggyback"),
        ],
    )
    def test_a_retired_setting_is_ignored_whatever_its_value(self, layer: Layer, origin: str) -> None:
        resolved = resolve([layer])
        assert resolved.settings == resolve([]).settings
        assert resolved.warnings == [PIGGYBACK.format(origin)]

    def test_a_retired_value_overrides_and_is_overridden_as_any_other(self) -> None:
        number, auto = from_toml({"hub.links": 2}), from_environment({"ARBD_HUB_LINKS": "auto"})
        earlier, later = resolve([auto, number]), resolve([number, auto])
        assert (earlier.settings.hub_links, earlier.warnings) == (2, [])
        assert (later.settings.hub_links, later.warnings) == (0, [LINKS.format("environment ARBD_HUB_LINKS")])

    def test_an_empty_variable_is_not_set(self) -> None:
        assert resolve([from_environment({"ARBD_HUB_PIGGYBACK": "", "ARBD_HUB_LINKS": " "})]).warnings == []

    def test_other_values_of_such_a_setting_are_judged_as_ever(self) -> None:
        assert problems_of(from_toml({"hub.links": "Auto"})) == [
            "arbd.toml: hub.links is 'Auto'; allowed: a whole number from 0 to 64"
        ]

    def test_a_row_is_of_a_setting_that_is_gone_or_of_a_value_that_is_refused(self) -> None:
        for row in RETIRED:
            assert row.remedy
            assert (row.name in BY_NAME) == (row.value is not None)
            if row.value is not None:
                with pytest.raises(ValueError):  # noqa: PT011 # whatever it says
                    BY_NAME[row.name].kind.parse(row.value)


class TestSecrets:
    @pytest.mark.parametrize(
        "layer",
        [
            from_toml({"hub.auth_token": [TOKEN]}),
            from_environment({"PROVIDER_AUTH_TOKEN": TOKEN, "HUB_GRPC_URL": f"http://{TOKEN}@hub"}),
        ],
    )
    def test_no_problem_tells_a_secret(self, layer: Layer) -> None:
        told = " ".join(problems_of(layer))
        assert REDACTED in told
        assert TOKEN not in told

    def test_neither_repr_nor_shown_tells_a_secret(self) -> None:
        layer = from_environment({"PROVIDER_AUTH_TOKEN": TOKEN})
        resolved = resolve([layer])
        assert resolved.settings.hub_auth_token == TOKEN
        assert TOKEN not in f"{layer!r} {resolved!r} {list(resolved.shown())!r}"
        shown = {setting.name: value for setting, value, _ in resolved.shown()}
        assert (shown["hub.auth_token"], shown["hub.url"]) == (REDACTED, "hub-grpc:50051")

    def test_an_unset_secret_is_shown_as_unset(self) -> None:
        assert {setting.name: value for setting, value, _ in resolve([]).shown()}["hub.auth_token"] == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"hub.tls": "on"}, True),
        ({"hub.tls": "off"}, False),
        ({"hub.tls_ca": "ca.pem"}, True),
        ({"hub.tls_cert": "c.pem", "hub.tls_key": "k.pem"}, True),
    ],
)
def test_tls_is_what_is_said_or_what_follows_from_the_files(values: dict[str, str], expected: bool | None) -> None:
    assert resolve([from_toml(values)]).settings.hub_uses_tls is expected
