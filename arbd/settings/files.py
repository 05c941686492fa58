"""Reads the layers of settings: what a service manager gives, ``arbd.toml``, the environment, the token file. The only
place that does.

What they mean is decided by ``arbd.settings.table``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from arbd.errors import ConfigError
from arbd.settings import credentials
from arbd.settings.table import CONFIG_FILE, Layer, Resolved, from_environment, from_toml


def read_layers(config_file: str | Path | None, environ: Mapping[str, str]) -> list[Layer]:
    """The layers below the constructor's: the service manager's if it gives something, the file's, the environment's.

    Without ``config_file``, ``arbd.toml`` of the working directory counts if it is there; a file that was asked
    for must be. What is wrong with the file becomes a problem of its layer, so that ``resolve`` reports it
    together with all others.
    """
    layers = [from_environment(environ)]
    if config_file is not None:
        layers.insert(0, _read_toml(Path(config_file)))
    elif Path(CONFIG_FILE).exists():
        layers.insert(0, _read_toml(Path(CONFIG_FILE)))
    service = credentials.from_service(environ)
    below = [service] if service.values or service.problems else []
    return [*below, *(credentials.named_in(layer, environ) for layer in layers)]


def read_token(resolved: Resolved) -> Resolved:
    """The settings with the token of the file that holds it, if one does. Raises ``ConfigError`` if that cannot be read
    or is empty."""
    file = resolved.settings.hub_auth_token_file
    if file is None:
        return resolved
    where = f"{resolved.origin['hub.auth_token_file']}: hub.auth_token_file {file}"
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{where} cannot be read: {_reason(error)}{credentials.hint(file, error)}"]) from error
    if not token or not token.isprintable():
        raise ConfigError([f"{where} must hold the token, on one line"])
    return msgspec.structs.replace(
        resolved,
        settings=msgspec.structs.replace(resolved.settings, hub_auth_token=token),
        origin=resolved.origin | {"hub.auth_token": f"file {file}"},
    )


def _read_toml(file: Path) -> Layer:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Layer({}, [f"{file}: cannot be read: {_reason(error)}"])
    return from_toml(document, str(file))


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without the bytes that a decoding error quotes: they may be the token's."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return error.strerror or "failed" if isinstance(error, OSError) else str(error)
