"""What a service manager gives beside settings, as a layer below all others: credentials and a state directory.

    systemd                                  here
    LoadCredential=token:... ──> $CREDENTIALS_DIRECTORY/token     ──> hub.auth_token_file, if nobody sets a token
                    tls_ca, tls_cert, tls_key                     ──> hub.tls_ca, hub.tls_cert, hub.tls_key
    StateDirectory=...       ──> $STATE_DIRECTORY                 ──> state_dir

A setting may name a credential by itself, also one with another name: ``hub.tls_ca = "$CREDENTIALS_DIRECTORY/my_ca"``.
That one is required: without it the daemon does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from arbd.settings.table import Layer, RawValue

DIRECTORY_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
STATE_VARIABLE: Final = "STATE_DIRECTORY"
#: The setting that each credential stands for, by the credential's name.
SETTING_OF: Final = {
    "token": "hub.auth_token_file",
    "tls_ca": "hub.tls_ca",
    "tls_cert": "hub.tls_cert",
    "tls_key": "hub.tls_key",
}
_PREFIXES: Final = (f"${DIRECTORY_VARIABLE}/", f"${{{DIRECTORY_VARIABLE}}}/")


def from_service(environ: Mapping[str, str]) -> Layer:
    """The layer of what a service manager has passed in this environment."""
    values, problems = {}, []
    directory = environ.get(DIRECTORY_VARIABLE, "")
    for name, setting in SETTING_OF.items() if directory else ():
        file = Path(directory, name)
        try:
            if file.is_file():
                values[setting] = RawValue(str(file), f"credential {name}")
        except OSError as error:  # where nothing is there, is_file() says so
            problems.append(f"environment {DIRECTORY_VARIABLE}: {file} cannot be read: {error.strerror}")
    state = next((name for name in environ.get(STATE_VARIABLE, "").split(":") if name), "")  # of several the first
    if state:
        values["state_dir"] = RawValue(state, f"environment {STATE_VARIABLE}")
    return Layer(values, problems)


def named_in(layer: Layer, environ: Mapping[str, str]) -> Layer:
    """The layer with the credentials that its settings name in their places. Whether they are there is found out by
    whoever reads them."""
    values = {name: _found(name, value, environ) for name, value in layer.values.items()}
    return Layer(values, layer.problems)


def hint(file: str, error: Exception) -> str:
    """What is said beyond the reason about a file that is not there; empty if it is no credential."""
    if not isinstance(error, FileNotFoundError):
        return ""
    if file.startswith(_PREFIXES):
        return (
            f": this process was given no credentials (${DIRECTORY_VARIABLE} is not set; LoadCredential= of its unit)"
        )
    if "/credentials/" in file:
        return ": a credential is passed by LoadCredential= of the unit, if what that names was there at the start"
    return ""


def _found(name: str, value: RawValue, environ: Mapping[str, str]) -> RawValue:
    raw, directory = value.raw, environ.get(DIRECTORY_VARIABLE, "")
    if name not in SETTING_OF.values() or not isinstance(raw, str) or not raw.startswith(_PREFIXES) or not directory:
        return value
    credential = raw.partition("/")[2]
    return RawValue(str(Path(directory, credential)), f"{value.origin}, credential {credential}")
