"""Placeholders: what the author's processes see instead of a secret.

A zygote and its workers never hold the hub token, not even in memory they were started with. A variable that carried
it holds a placeholder of the same length, so that a constructor which checks the token still passes; the supervisor
puts the real one back where the placeholder comes out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from arbd.settings.table import Settings, from_environment, secrets_in

#: The tokens that an embedded hub accepts, separated by white space; a daemon may have been started beside one.
HUB_TOKENS: Final = "HUB_AUTH_TOKEN"
_MARK: Final = "arbd-redacted-"
_SHORT: Final = 8  # a shorter secret is replaced only where it is the whole value: "a" is part of many words


def placeholder(secret: str) -> str:
    """A stand-in of the same length that says nothing about the secret."""
    return (_MARK * (len(secret) // len(_MARK) + 1))[: len(secret)]


def hub_tokens(environ: Mapping[str, str]) -> list[str]:
    """The tokens of an embedded hub in an environment."""
    return environ.get(HUB_TOKENS, "").split()


def scrub(environ: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """The environment with every occurrence of each secret replaced by its placeholder; an embedded hub's tokens are
    secrets, too."""
    clean, tokens = dict(environ), hub_tokens(environ)
    if tokens:  # word by word, however short they are
        clean[HUB_TOKENS] = " ".join(map(placeholder, tokens))
    for secret in sorted({s for s in [*secrets, *tokens] if s}, key=len, reverse=True):
        clean = {name: swap(value, secret, placeholder(secret)) for name, value in clean.items()}
    return clean


def without_secrets(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The environment for a process of the daemon that is to hold no token: neither the one in force, nor that of the
    environment, which may be the one of before."""
    return scrub(environ, [settings.hub_auth_token, *secrets_in([from_environment(environ)])])


def restore(text: str, secret: str) -> str:
    """The text with the placeholder of ``secret`` replaced by the secret itself."""
    return swap(text, placeholder(secret), secret) if secret else text


def own_settings(given: Mapping[str, Any], secrets: Iterable[str], tokens_of_hub: Iterable[str] = ()) -> dict[str, Any]:
    """The constructor's settings as their author meant them: secrets back in their places. A token that is nothing but
    a stand-in was read from the operator's variable, so it is the operator's setting and not the constructor's; but one
    of ``tokens_of_hub`` was the author's choice."""
    own = dict(given)
    token = own.get("hub.auth_token")
    if isinstance(token, str):
        known = list(secrets)
        if token in map(placeholder, known):
            del own["hub.auth_token"]
        else:
            for secret in [*known, *tokens_of_hub]:
                token = restore(token, secret)
            own["hub.auth_token"] = token
    return own


def swap(text: str, old: str, new: str) -> str:
    """The text with ``old`` replaced: wherever it stands, or if it is short, only where it is all there is."""
    if len(old) < _SHORT:
        return new if text.strip() == old.strip() else text
    return text.replace(old, new)
