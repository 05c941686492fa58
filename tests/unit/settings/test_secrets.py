"""No secret survives scrubbing, and putting it back undoes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.settings.files import read_secrets
from arbd.settings.secrets import own_settings, placeholder, restore, scrub, without_secrets
from arbd.settings.table import from_constructor, from_environment, from_flags, from_toml, resolve, secrets_in
from arbd.supervisor.request import zygote_environment

MARK = "arbd-redacted-"

#: Tokens, as they are in the world: letters and digits, here at least 8. (One that is a part of the mark is no secret.)
secrets = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=8, max_size=60).filter(
    lambda secret: secret not in MARK
)
#: What stands around them in a value.
around = st.text(":/@=&?#%+., \n'\"", max_size=5)
#: Any text whatever, as long as nothing of the mark is in it.
strange_secrets = st.text(st.characters(codec="utf-8", exclude_characters=MARK), min_size=8)


def test_a_placeholder_has_the_length_and_nothing_else_of_its_secret() -> None:
    assert placeholder("0123456789abcdef0123") == "arbd-redacted-arbd-r"
    assert placeholder("") == ""


@given(secrets | strange_secrets)
def test_placeholders_tell_only_the_length(secret: str) -> None:
    assert placeholder(secret) == placeholder("x" * len(secret))
    assert len(placeholder(secret)) == len(secret)


@given(st.lists(secrets, min_size=1, max_size=4), st.data())
def test_no_token_survives(tokens: list[str], data: st.DataObject) -> None:
    value = data.draw(st.lists(st.sampled_from(tokens) | around, max_size=8).map("/".join))
    clean = scrub({"A": value, "B": tokens[0]}, tokens)
    assert [token for token in tokens if token in clean["A"] + clean["B"]] == []
    assert (len(clean["A"]), clean["B"]) == (len(value), placeholder(tokens[0]))


@given(st.lists(strange_secrets, min_size=1, max_size=3), st.lists(st.text(), max_size=4))
def test_no_secret_survives_whatever_its_characters(hidden: list[str], texts: list[str]) -> None:
    environ = {str(i): f"{text}{secret}{text}" for i, text in enumerate(texts) for secret in hidden}
    environ["ALL"] = "".join(hidden)
    clean = scrub(environ, hidden)
    assert [name for name, value in clean.items() for secret in hidden if secret in value] == []


@given(secret=secrets, before=around, after=around)
def test_restore_undoes_scrub(secret: str, before: str, after: str) -> None:
    for value in (secret, before + secret + after, secret + before + secret, before + after):
        assert restore(scrub({"A": value}, [secret])["A"], secret) == value


@given(secret=st.text("abc123", min_size=1, max_size=7), before=around)
def test_a_short_secret_is_hidden_only_where_it_is_the_whole_value(secret: str, before: str) -> None:
    environ = {"WHOLE": secret, "PART": f"{before}x{secret}", "OTHER": "arbd"}
    clean = scrub(environ, [secret])
    assert clean == {"WHOLE": placeholder(secret), "PART": f"{before}x{secret}", "OTHER": "arbd"}
    assert restore(clean["WHOLE"], secret) == secret


def test_a_secret_that_holds_another_is_replaced_as_a_whole() -> None:
    short, long = "token-12345", "prefix-token-12345-suffix"
    assert scrub({"A": long, "B": short}, [short, long]) == {"A": placeholder(long), "B": placeholder(short)}


def test_empty_secrets_change_nothing() -> None:
    environ = {"A": "", "B": "value"}
    assert scrub(environ, ["", ""]) == environ
    assert restore("value", "") == "value"


def test_scrub_leaves_its_argument_alone() -> None:
    environ = {"A": "0123456789"}
    assert scrub(environ, ["0123456789"]) == {"A": "arbd-redac"}
    assert environ == {"A": "0123456789"}


def test_an_embedded_hub_s_tokens_are_secrets_wherever_they_stand() -> None:
    environ = {"HUB_AUTH_TOKEN": "token-of-one token-of-two", "COPY": "Bearer token-of-two"}
    assert not [value for value in scrub(environ, []).values() if "token-of" in value]


@pytest.mark.parametrize("tokens", ["abc def", "longtoken-123456 abc", " x\ty "])
def test_none_of_them_stays_however_short(tokens: str) -> None:
    clean = scrub({"HUB_AUTH_TOKEN": tokens}, [])["HUB_AUTH_TOKEN"]
    assert [len(each) for each in clean.split()] == [len(each) for each in tokens.split()]
    assert not set(clean.split()) & set(tokens.split())


def test_an_author_may_choose_one_of_them() -> None:
    clean = scrub({"HUB_AUTH_TOKEN": "token-of-hub"}, [])["HUB_AUTH_TOKEN"]
    assert own_settings({"hub.auth_token": clean}, ["own"], ["token-of-hub"]) == {"hub.auth_token": "token-of-hub"}


# Where they come from and go to ----------------------------------------------------------------------------------


def test_every_layer_s_token_is_a_secret() -> None:
    layers = [
        from_environment({"PROVIDER_AUTH_TOKEN": "from-environment", "PROVIDER_NAME": "desk", "HOME": "/root"}),
        from_flags({"hub.auth_token": "from-a-flag", "workers": 2}),
    ]
    assert secrets_in(layers) == ["from-environment", "from-a-flag"]
    assert secrets_in([from_environment({"PROVIDER_NAME": "desk"})]) == []


def test_the_author_s_processes_get_no_secret_and_no_line_to_systemd() -> None:
    environ = {
        "PROVIDER_AUTH_TOKEN": "0123456789",
        "URL": "https://x:0123456789@y",
        "NOTIFY_SOCKET": "/run/n",
        "A": "b",
    }
    assert zygote_environment(environ, ["0123456789"]) == {
        "PROVIDER_AUTH_TOKEN": "arbd-redac",
        "URL": "https://x:arbd-redac@y",
        "A": "b",
    }
    assert zygote_environment({"A": "b"}, []) == {"A": "b"}


def test_a_token_that_is_only_a_stand_in_is_the_operator_s() -> None:
    given_ = {"name": "desk", "hub.auth_token": placeholder("0123456789")}
    assert own_settings(given_, ["0123456789"]) == {"name": "desk"}
    assert given_ == {"name": "desk", "hub.auth_token": "arbd-redac"}


def test_a_token_built_around_the_operator_s_is_the_author_s_with_the_secret_in_it() -> None:
    built = f"Bearer {placeholder('0123456789')}"
    assert own_settings({"hub.auth_token": built}, ["0123456789"]) == {"hub.auth_token": "Bearer 0123456789"}


def test_a_token_of_the_author_s_own_stays() -> None:
    assert own_settings({"hub.auth_token": "mine"}, ["0123456789"]) == {"hub.auth_token": "mine"}
    assert own_settings({"hub.auth_token": "mine"}, []) == {"hub.auth_token": "mine"}


@pytest.mark.parametrize("given_", [{}, {"name": "desk"}, {"hub.auth_token": 5}])
def test_settings_without_a_text_as_token_stay_as_they_are(given_: dict[str, object]) -> None:
    assert own_settings(given_, ["0123456789"]) == given_


def test_a_token_is_hidden_with_and_without_the_spaces_around_it() -> None:
    layers = [from_environment({"PROVIDER_AUTH_TOKEN": "  s3cret-token "})]
    assert secrets_in(layers) == ["  s3cret-token ", "s3cret-token"]
    environ = {"PROVIDER_AUTH_TOKEN": "  s3cret-token ", "COPY": "s3cret-token", "BEARER": "Bearer s3cret-token"}
    assert [name for name, value in scrub(environ, secrets_in(layers)).items() if "s3cret" in value] == []


def test_a_short_secret_is_hidden_with_spaces_around_it_as_well() -> None:
    assert scrub({"A": " tok ", "B": "token"}, ["tok"]) == {"A": "arb", "B": "token"}


def test_an_environment_without_secrets_has_neither_the_token_in_force_nor_the_one_of_before() -> None:
    settings = resolve([from_constructor({"hub.auth_token": "token-in-force"})]).settings
    environ = {"PROVIDER_AUTH_TOKEN": "token-of-before", "COPY": "Bearer token-in-force", "HOME": "/root"}
    clean = without_secrets(environ, settings)
    assert clean.keys() == environ.keys()
    assert [name for name, value in clean.items() if "token-" in value] == []
    assert clean["HOME"] == "/root"


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_blank_token_of_the_constructor_is_none(blank: str | None) -> None:
    layers = [from_toml({"hub": {"auth_token": "of-the-file"}}), from_constructor({"hub.auth_token": blank})]
    assert resolve(layers).settings.hub_auth_token == "of-the-file"


def test_the_token_of_a_file_is_a_secret_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    layers = [from_environment({"ARBD_HUB_AUTH_TOKEN_FILE": str(file), "ARBD_WORKERS": "wrong, and told elsewhere"})]
    found = read_secrets(layers)
    assert found.texts == ["of-the-file"]
    assert found.held is not None
    file.unlink()
    assert read_secrets(layers) == ([], None)  # whoever resolves says why
