"""Reads the layers of settings: what a service manager gives, ``arbd.toml``, the environment, the environment file, the
token file. The only place that does.

What they mean is decided by ``arbd.settings.table``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from arbd.errors import ConfigError
from arbd.settings import credentials
from arbd.settings import env_file as env_files
from arbd.settings.table import (
    BY_NAME,
    CONFIG_FILE,
    Layer,
    Resolved,
    Settings,
    from_environment,
    from_toml,
    resolve,
    secrets_in,
)

_ENV_FILE: Final = BY_NAME["env_file"]
_OF_TOKEN: Final = frozenset({"hub.auth_token", "hub.auth_token_file"})
_MOST_TOKEN: Final = 64 * 1024  # bytes; nobody's token is longer, and /dev/zero has no end


class Sources(NamedTuple):
    """The operator's layers below the constructor's, and the environment that the author's code is to have."""

    layers: list[Layer]
    environ: dict[str, str]


def read_sources(config_file: str | Path | None, environ: Mapping[str, str], env_file: object = None) -> Sources:
    """The layers of the service manager if it gives something, of the file, of the environment, and of the environment
    file, which wins over the environment.

    Without ``config_file``, ``arbd.toml`` of the working directory counts if it is there; a file that was asked
    for must be. ``env_file``: as the command line names it. What is wrong with a file becomes a problem of its layer,
    so that ``resolve`` reports it together with all others.
    """
    layers = [from_environment(environ)]
    if config_file is not None:
        layers.insert(0, _read_toml(Path(config_file)))
    elif Path(CONFIG_FILE).exists():
        layers.insert(0, _read_toml(Path(CONFIG_FILE)))
    told = dict(environ)
    file = _env_file_of(layers, env_file)
    if file is not None:
        variables = _read_env_file(file)
        layer = from_environment(variables.values, file)
        layers.append(Layer(layer.values, [*variables.problems, *layer.problems]))
        told |= variables.values
    service = credentials.from_service(environ)
    below = [service] if service.values or service.problems else []
    return Sources([*below, *(credentials.named_in(layer, environ) for layer in layers)], told)


def read_layers(config_file: str | Path | None, environ: Mapping[str, str], env_file: object = None) -> list[Layer]:
    """The layers of ``read_sources``."""
    return read_sources(config_file, environ, env_file).layers


def read_token(resolved: Resolved, before: Settings | None = None) -> Resolved:
    """The settings with the token of the file that holds it, if one does. Raises ``ConfigError`` if that cannot be read
    or is empty. ``before``: those in force, whose token stays where the file is a pipe, which can be read once."""
    file = resolved.settings.hub_auth_token_file
    if file is None:
        return resolved
    if before is not None and before.hub_auth_token_file == file and _can_be_read_once(file):
        token = before.hub_auth_token
    else:
        token = _token_in(file, f"{resolved.origin['hub.auth_token_file']}: hub.auth_token_file {file}")
    return msgspec.structs.replace(
        resolved,
        settings=msgspec.structs.replace(resolved.settings, hub_auth_token=token),
        origin=resolved.origin | {"hub.auth_token": f"file {file}"},
    )


class Secrets(NamedTuple):
    """What an author's processes must not see, before the constructor has spoken: every token, as it is written and as
    it counts. ``held``: settings that hold the token that was read, for ``read_token``; ``None``: none was."""

    texts: list[str]
    held: Settings | None


def read_secrets(layers: Sequence[Layer], before: Settings | None = None) -> Secrets:
    """The tokens of the operator's layers, and the one in the file that they name, of which a variable may hold a copy.
    What is wrong is told by whoever resolves all of it. ``before``: as for ``read_token``."""
    own = [Layer({name: raw for name, raw in layer.values.items() if name in _OF_TOKEN}) for layer in layers]
    try:
        held = read_token(resolve(own), before).settings
    except ConfigError:
        return Secrets(secrets_in(layers), None)
    return Secrets([*secrets_in(layers), *filter(None, [held.hub_auth_token])], held)


def token_of(settings: Settings) -> str:
    """The token as its file has it now, or as it was given. Raises ``ConfigError``."""
    file = settings.hub_auth_token_file
    if file is None or _can_be_read_once(file):
        return settings.hub_auth_token
    return _token_in(file, f"hub.auth_token_file {file}")


def _token_in(file: str, where: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            token = opened.read(_MOST_TOKEN).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{where} cannot be read: {_reason(error)}{credentials.hint(file, error)}"]) from error
    if not token or not token.isprintable():
        raise ConfigError([f"{where} must hold the token, on one line"])
    return token


def _can_be_read_once(file: str) -> bool:
    """Whether it is a pipe or the like: whoever opened it a second time would find nothing, or wait for ever."""
    path = Path(file)
    return path.exists() and not (path.is_file() or path.is_dir())


def _read_toml(file: Path) -> Layer:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Layer({}, [f"{file}: cannot be read: {_reason(error)}"])
    return from_toml(document, str(file))


def _env_file_of(layers: list[Layer], named: object) -> str | None:
    """The environment file that these layers name; a wrong value is ``resolve``'s to report."""
    raws: list[Any] = [layer.values[_ENV_FILE.name].raw for layer in layers if _ENV_FILE.name in layer.values]
    raw = named if named is not None else raws[-1] if raws else None
    try:
        return None if raw is None else str(_ENV_FILE.kind.parse(raw))
    except ValueError:
        return None


def _read_env_file(file: str) -> env_files.Variables:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return env_files.Variables({}, [f"env_file {file}: cannot be read: {_reason(error)}"])
    variables = env_files.parse(text, file)
    if _ENV_FILE.variable not in variables.values:
        return variables
    problem = f"{file}: {_ENV_FILE.variable} has no meaning in an environment file; remove it"
    return env_files.Variables(variables.values, [*variables.problems, problem])


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without the bytes that a decoding error quotes: they may be the token's."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return error.strerror or "failed" if isinstance(error, OSError) else str(error)
