"""What is examined: a settings file, the unit that starts a daemon with it, and what that daemon would be given.

    --config FILE, --unit UNIT ──> unit ─┬─ it starts arbd with that file ──> its user, environment, credentials
                                         └─ it does not, or there is none ──> those of whoever asks

So root can ask for a daemon that runs as somebody else. A credential is looked at where systemd will copy it from. The
author's code is not loaded: whoever may write it would have it run by whoever asks, who may be root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from arbd.doctor.checks.access import ServiceUser
from arbd.doctor.readers import paths, units
from arbd.doctor.unit_text import Unit
from arbd.errors import ConfigError
from arbd.settings.credentials import DIRECTORY_VARIABLE, SETTING_OF
from arbd.settings.files import read_layers, read_token
from arbd.settings.table import BY_NAME, CONFIG_FILE, Layer, RawValue, Resolved, Settings, resolve

_ENCRYPTED: Final = ("LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked. ``last``: layers above all others, made from those below them: of the constructor and of the
    command line. ``directory``: the one in which relative names count."""

    config_file: str | None
    unit: str | None
    environ: Mapping[str, str]
    last: Callable[[list[Layer]], list[Layer]] = lambda _: []
    env_file: object = None
    directory: Path = Path()


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What is examined. Of ``resolved`` what is wrong (``problems``) is left out; ``token_problems``: why the token
    cannot be read. ``is_of_unit``: the unit starts a daemon with these settings. ``sources``: of its credentials.
    ``opaque``: credentials that cannot be looked at. ``pipes``: settings that name a pipe, with its path; they are not
    in ``resolved``, so that nobody opens it."""

    source: str
    config_file: str
    resolved: Resolved
    problems: Sequence[str]
    token_problems: Sequence[str]
    unit: Unit | None
    sought: str
    is_of_unit: bool
    is_user_unit: bool
    account: ServiceUser
    environ: Mapping[str, str]
    environ_source: str
    sources: Mapping[str, str]
    opaque: frozenset[str]
    directory: Path
    pipes: Mapping[str, str] = {}
    unit_was_named: bool = False

    @property
    def settings(self) -> Settings:
        """The settings, as far as they are right."""
        return self.resolved.settings

    @property
    def has_hub(self) -> bool:
        """Whether the hub and its secrets can be looked at: not where settings are wrong and say nothing of a hub."""
        origin = self.resolved.origin
        return not self.problems or any(origin[name] != "default" for name in origin if name.startswith("hub."))

    @property
    def copied(self) -> dict[str, str]:
        """Of each setting whose file systemd copies the path it is copied from."""
        named = {setting: getattr(self.settings, setting.replace(".", "_")) for setting in SETTING_OF.values()}
        return {setting: path for setting, path in named.items() if path in self.sources.values()}


def open_case(question: Question) -> Case:
    """Find out what is examined."""
    file = question.config_file or (CONFIG_FILE if Path(question.directory, CONFIG_FILE).exists() else None)
    config = str(Path(question.directory, file).absolute()) if file else ""
    is_user = _names_users(question.unit) if question.unit else _is_users(config, question.environ)
    instance = _instance(question, config)
    sought = question.unit or f"arbd@{instance}"
    unit = units.find(sought, question.environ, is_user=is_user, instance=instance)
    named = config_of(unit)
    if unit is not None and not config and question.unit and named:
        config = named
    is_of_unit = unit is not None and (named == config or bool(question.unit and not named))
    account, environ = paths.own_account(), dict(question.environ)
    sources: dict[str, str] = {}
    opaque: frozenset[str] = frozenset()
    layers_environ = environ
    if unit is not None and is_of_unit:
        account = account if is_user else _account_of(unit)
        sources = units.credential_sources(unit)
        environ = layers_environ = units.environment_of(unit)
        opaque = frozenset(value.partition(":")[0] for name in _ENCRYPTED for value in unit.all(name))
        if sources or opaque:
            layers_environ = environ | {DIRECTORY_VARIABLE: unit.specifiers["d"]}
    directory = _directory(unit, question.directory) if is_of_unit else question.directory
    with contextlib.chdir(directory) if directory.is_dir() else contextlib.nullcontext():
        resolved, problems, pipes, token_problems = _read(question, config, layers_environ, sources, unit)
    return Case(
        source=config or "defaults and environment",
        config_file=config,
        resolved=resolved,
        problems=problems,
        token_problems=token_problems,
        unit=unit,
        sought=sought,
        is_of_unit=is_of_unit,
        is_user_unit=is_user,
        account=account,
        environ=environ,
        environ_source=unit.name if unit is not None and is_of_unit else "this environment",
        sources=sources,
        opaque=opaque,
        directory=directory,
        pipes=pipes,
        unit_was_named=question.unit is not None,
    )


def _read(
    question: Question, config: str, environ: Mapping[str, str], sources: Mapping[str, str], unit: Unit | None
) -> tuple[Resolved, Sequence[str], Mapping[str, str], Sequence[str]]:
    """The settings, what is wrong with them, which of them name a pipe, and why the token cannot be read."""
    layers = read_layers(config or None, environ, question.env_file)
    if sources and unit is not None:
        layers = _from_sources(layers, sources, unit.specifiers["d"])
    layers = [*layers, *question.last(layers)]
    problems: Sequence[str] = ()
    try:
        resolved = resolve(layers)
    except ConfigError as error:
        resolved, problems = _without_what_is_wrong(layers), error.problems
    resolved, pipes = _without_pipes(resolved)
    try:
        return read_token(resolved), problems, pipes, ()
    except ConfigError as error:
        return resolved, problems, pipes, error.problems


def _without_what_is_wrong(layers: Sequence[Layer]) -> Resolved:
    """What is left of settings with problems: a typo must not keep the rest from being looked at."""

    def is_right(name: str, value: RawValue) -> bool:
        if name not in BY_NAME:
            return True  # a retired one
        try:
            BY_NAME[name].kind.parse(value.raw)
        except ValueError:
            return False
        return True

    left = [Layer({name: value for name, value in each.values.items() if is_right(name, value)}) for each in layers]
    try:
        return resolve(left)
    except ConfigError:  # right each by itself, and wrong together
        return resolve([])


def _without_pipes(resolved: Resolved) -> tuple[Resolved, Mapping[str, str]]:
    """The settings without files that are named pipes: to open one may wait for ever, and takes it from the daemon."""
    attributes = {setting: setting.replace(".", "_") for setting in SETTING_OF.values()}
    named = {setting: getattr(resolved.settings, attribute) for setting, attribute in attributes.items()}
    pipes = {setting: path for setting, path in named.items() if path and Path(path).is_fifo()}
    settings = msgspec.structs.replace(resolved.settings, **{attributes[setting]: None for setting in pipes})
    return msgspec.structs.replace(resolved, settings=settings), pipes


def _instance(question: Question, config: str) -> str:
    """The instance of the unit that would start with these settings: NAME of NAME.toml, or the provider's name."""
    if config and Path(config).name != CONFIG_FILE:
        return Path(config).stem
    layers = read_layers(config or None, question.environ, question.env_file)
    try:
        return resolve([*layers, *question.last(layers)]).settings.name or "NAME"
    except ConfigError:
        return "NAME"


def _is_users(config: str, environ: Mapping[str, str]) -> bool:
    """Whether a settings file is where the units of a user's own manager look for it."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return bool(config) and Path(config).parent == Path(home, "arbd")


def _names_users(unit: str) -> bool:
    """Whether the path of a unit is one of a user's own manager."""
    return "/systemd/user/" in os.path.abspath(unit) if "/" in unit else False


def config_of(unit: Unit | None) -> str:
    """The settings file that the unit starts arbd with; empty if it names none."""
    words = unit.last("ExecStart").split() if unit is not None else []
    separate = next((after for word, after in pairwise(words) if word == "--config"), "")
    return separate or next((word.partition("=")[2] for word in words if word.startswith("--config=")), "")


def _account_of(unit: Unit) -> ServiceUser:
    account = paths.account_of(unit.last("User", "root"))
    for group in [*unit.all("Group")[-1:], *unit.words("SupplementaryGroups")]:
        account = paths.with_group(account, group)
    return account


def _directory(unit: Unit | None, otherwise: Path) -> Path:
    place = unit.last("WorkingDirectory").lstrip("-") if unit is not None else ""
    return Path(place) if place.startswith("/") else otherwise


def _from_sources(layers: Sequence[Layer], sources: Mapping[str, str], directory: str) -> list[Layer]:
    """The layers with the credentials that are there, each by the path it is copied from."""
    given = {
        setting: RawValue(sources[name], f"credential {name}")
        for name, setting in SETTING_OF.items()
        if name in sources
    }
    return [Layer(given), *(_mapped(layer, sources, directory) for layer in layers)]


def _mapped(layer: Layer, sources: Mapping[str, str], directory: str) -> Layer:
    def place(name: str, value: RawValue) -> RawValue:
        raw = value.raw
        if name not in SETTING_OF.values() or not isinstance(raw, str) or not raw.startswith(f"{directory}/"):
            return value
        return RawValue(sources.get(raw.rpartition("/")[2], raw), value.origin)

    return Layer({name: place(name, value) for name, value in layer.values.items()}, layer.problems)


def working_directory() -> Path:
    """The directory of this process."""
    return Path(os.getcwd())
