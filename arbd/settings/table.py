"""Every setting of arbd, in one table, and the one way in which layers of them become effective values.

Pure: layers arrive as mappings. Who reads ``arbd.toml``, the environment and the token file is
``arbd.settings.files``; what a value may look like is ``arbd.settings.kinds``.

    defaults  <  arbd.toml  <  environment  <  environment file  <  constructor  <  flags          later wins

Invariants:

* every problem of every layer is reported at once, in one ``ConfigError``, with where it came from and what
  is allowed; a wrong value that a later layer overrides is no problem, an unknown name always is one;
* what only earlier versions had is a warning, and no problem (``arbd.settings.retired``);
* a secret never appears in a problem, in ``repr`` or in ``Resolved.shown``;
* ``Resolved.origin`` has an entry for every setting.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from arbd.errors import ConfigError
from arbd.settings import hub_address as addresses
from arbd.settings import retired
from arbd.settings.kinds import (
    Kind,
    auto_or,
    choice,
    hub_address,
    listen_address,
    path,
    power_of_two,
    seconds,
    size,
    socket_place,
    switch,
    text,
    time_zone,
    whole,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
DAY_S: Final = 86_400
REDACTED: Final = "[redacted]"
CONFIG_FILE: Final = "arbd.toml"


class Setting(msgspec.Struct, frozen=True):
    """One row of the table.

    ``name`` is dotted, as in ``arbd.toml``. ``env`` is its one environment variable, if that is not simply
    ``ARBD_`` and the name; ``flag`` its option on the command line; ``argument`` its name in
    ``Provider(...)``. ``reloadable``: a reload may change it without a restart of the daemon.
    """

    name: str
    kind: Kind
    default: Any
    doc: str = ""
    env: str = ""
    flag: str = ""
    argument: str = ""
    secret: bool = False
    reloadable: bool = False

    @property
    def attribute(self) -> str:
        """The name of this setting in ``Settings``."""
        return self.name.replace(".", "_")

    @property
    def unit(self) -> str:
        """What its number counts; empty where it is no number."""
        return self.kind.unit

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return self.env or f"ARBD_{self.attribute.upper()}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective values, typed. Meaning, units and defaults: ``TABLE``, row for row in the same order."""

    name: str
    target: str
    timezone: str
    execution_timeout: float
    kill_grace: float
    drain_timeout: float
    workers: int | Literal["auto"]
    pin: bool
    prefetch: int
    max_payload: int
    max_result: int
    outbox_limit: int
    ring_size: int
    worker_cpus: int
    worker_start_timeout: float
    worker_stop_timeout: float
    worker_reseed: bool
    worker_max_tasks: int
    worker_max_age: float
    worker_max_memory: int
    worker_max_fds: int
    worker_memory_limit: int
    worker_core_files: bool
    runtime_dir: str | None
    state_dir: str | None
    env_file: str | None
    control_socket: str
    metrics_listen: str | None
    metrics_author_series: int
    hub_url: str
    hub_auth_token: str
    hub_auth_token_file: str | None
    hub_tls: Literal["auto", "on", "off"]
    hub_require_tls: bool
    hub_tls_ca: str | None
    hub_tls_cert: str | None
    hub_tls_key: str | None
    hub_protocol: Literal["auto", "stream", "unary"]
    hub_start_without: bool
    hub_links: int
    hub_max_polls: int
    hub_max_submits: int
    hub_long_poll: float
    hub_submit_timeout: float
    hub_idle_min: float
    hub_idle_max: float
    response_envelope: Literal["plain", "metadata"]
    result_nan: Literal["error", "null"]
    tracing: Literal["off", "otel"]
    log_level: Literal["debug", "info", "warning", "error", "critical"]
    log_format: Literal["auto", "json", "console"]
    log_silent: bool

    def __repr__(self) -> str:
        values = ((s, getattr(self, s.attribute)) for s in TABLE)
        return f"Settings({', '.join(f'{s.attribute}={_hide(s, value)!r}' for s, value in values)})"

    @property
    def hub_uses_tls(self) -> bool | None:
        """Whether the connection is encrypted; ``None``: as the scheme of ``hub_url`` says, if it has one."""
        if self.hub_tls == "auto":
            return True if self.hub_tls_ca or self.hub_tls_cert else None
        return self.hub_tls == "on"

    @property
    def hub_in_clear(self) -> bool:
        """Whether token, payloads and results go to another host without TLS."""
        return _is_in_clear({name: getattr(self, BY_NAME[name].attribute) for name in _OF_THE_WAY})


# A table is read by its rows; the formatter would give each cell a line of its own.
# fmt: off
TABLE: Final[tuple[Setting, ...]] = (
    Setting("name", text(), "", env="PROVIDER_NAME", flag="--name", argument="name",
            doc="The provider's name at the hub."),
    Setting("target", text(), "",
            doc="What to run when the command line names no TARGET: module, module:attribute or path/file.py."),
    Setting("timezone", time_zone(), "UTC", env="PROVIDER_TIMEZONE", argument="timezone", reloadable=True,
            doc="The time zone of `now`, given to actions."),
    Setting("execution_timeout", seconds(0.001, 7 * DAY_S), 1.0, env="TASK_EXECUTION_TIMEOUT", flag="--timeout",
            argument="execution_timeout", reloadable=True,
            doc="How long an action may run, unless the action has a timeout of its own."),
    Setting("kill_grace", seconds(0, 60), 0.25, reloadable=True,
            doc="How long after its deadline an action may still wind up before its worker is killed."),
    Setting("drain_timeout", seconds(0, DAY_S), 30.0, reloadable=True,
            doc="How long running tasks may go on after SIGTERM."),
    Setting("workers", auto_or(whole(1, 1024)), "auto", flag="--workers",
            doc="How many worker processes; auto: one for each usable core."),
    Setting("pin", switch(), True, flag="--pin/--no-pin",
            doc="Bind each worker to a CPU of its own."),
    Setting("prefetch", whole(0, 4096, "tasks"), 256, reloadable=True,
            doc="The most tasks that may wait in one worker's ring; slow actions get fewer by themselves."),
    Setting("max_payload", size(1 * KIB, 1 * GIB), 16 * MIB, reloadable=True,
            doc="A task with a larger payload or account is refused."),
    # gRPC refuses messages above 4 MiB unless told otherwise; the payload is echoed beside the result.
    Setting("max_result", size(1 * KIB, 1 * GIB), 4 * MIB - 64 * KIB, reloadable=True,
            doc="A larger result is replaced by an error that says so."),
    Setting("outbox_limit", whole(1, 10_000_000, "results"), 10_000, reloadable=True,
            doc="Take no more tasks while this many results wait for the hub."),
    Setting("ring_size", power_of_two(16 * KIB, 256 * MIB), 256 * KIB,
            doc="The size of each shared-memory ring; two for every worker."),
    Setting("worker.cpus", whole(1, 1024, "CPUs"), 1,
            doc="How many CPUs each worker is bound to, and how many threads its libraries are told to use."),
    Setting("worker.start_timeout", seconds(0.1, 3600), 30.0, reloadable=True,
            doc="How long the start hooks and resources of a worker may take together."),
    Setting("worker.stop_timeout", seconds(0, 3600), 5.0, reloadable=True,
            doc="How long a worker may take to end in order: stop hooks, resources, atexit. 0: it just ends."),
    Setting("worker.reseed", switch(), True, reloadable=True,
            doc="Give each worker random numbers of its own: random, numpy.random, torch."),
    Setting("worker.max_tasks", whole(0, 1_000_000_000, "tasks"), 0, reloadable=True,
            doc="Replace a worker after about so many tasks; 0: never."),
    Setting("worker.max_age", seconds(0, 365 * DAY_S), 0.0, reloadable=True,
            doc="Replace a worker after about this time; 0: never."),
    Setting("worker.max_memory", size(0, 1024 * GIB), 0, reloadable=True,
            doc="Replace a worker after its task when it holds more memory (RSS) than this; 0: never."),
    Setting("worker.max_fds", whole(0, 1_000_000, "descriptors"), 0, reloadable=True,
            doc="Replace a worker after its task when it has more descriptors open than this; 0: never."),
    Setting("worker.memory_limit", size(0, 1024 * GIB), 0, reloadable=True,
            doc="End a task with code MEMORY, and its worker, when that holds more memory (RSS) than this; 0: never."),
    Setting("worker.core_files", switch(), False, reloadable=True,
            doc="Let workers write core files, which hold payloads and accounts; off: the limit of their size is 0."),
    Setting("runtime_dir", path(), None,
            doc="Directory of the control socket; without it $RUNTIME_DIRECTORY, /run/arbd for root, "
            "$XDG_RUNTIME_DIR/arbd or /tmp/arbd-UID."),
    Setting("state_dir", path(), None,
            doc="Directory for what is to outlive a start; without it $STATE_DIRECTORY, and without that nowhere."),
    Setting("env_file", path(), None, flag="--env-file", reloadable=True,
            doc="A file of NAME=VALUE lines that count as the environment, also the code's; it wins over that."),
    Setting("control.socket", socket_place(), "auto",
            doc="Where arbd status and arbd limits reach the daemon; auto: NAME.sock in runtime_dir, off: nowhere."),
    Setting("metrics.listen", listen_address(), None,
            doc="Where to serve /metrics, /livez and /readyz over HTTP: a port of this machine alone, or IP:port."),
    Setting("metrics.author_series", whole(0, 100_000, "series"), 2000,
            doc="The most series that the metrics of the provider's code (arbd.metrics) may have; 0: none."),
    Setting("hub.url", hub_address(), "hub-grpc:50051", env="HUB_GRPC_URL", flag="--hub", argument="hub_url",
            doc="Where the hub listens."),
    Setting("hub.auth_token", text(), "", env="PROVIDER_AUTH_TOKEN", argument="auth_token", secret=True,
            reloadable=True,
            doc="The token the hub knows this provider by."),
    Setting("hub.auth_token_file", path(), None, reloadable=True,
            doc="A file that holds the token, instead of hub.auth_token."),
    Setting("hub.tls", choice("auto", "on", "off"), "auto", reloadable=True,
            doc="Encrypt the connection; auto: if hub.url is grpcs:// or hub.tls_ca or hub.tls_cert is set."),
    Setting("hub.require_tls", switch(), False, reloadable=True,
            doc="Refuse to start, or to reload, where the connection to the hub would not be encrypted."),
    Setting("hub.tls_ca", path(), None, reloadable=True,
            doc="PEM file of the authorities to trust; without it, the system's."),
    Setting("hub.tls_cert", path(), None, reloadable=True,
            doc="PEM file of this client's certificate chain."),
    Setting("hub.tls_key", path(), None, reloadable=True,
            doc="PEM file of the private key of hub.tls_cert."),
    Setting("hub.protocol", choice("auto", "stream", "unary"), "auto",
            doc="auto: one stream if the hub has it, two calls per task if not."),
    Setting("hub.start_without", switch(), False,
            doc="Tell systemd that the daemon is ready before the hub has answered for the first time."),
    Setting("hub.links", whole(0, 64, "processes"), 0,
            doc="Processes that make the calls of the unary protocol; 0: the supervisor. A stream needs none."),
    Setting("hub.max_polls", whole(1, 1024, "calls"), 32,
            doc="The most GetTask calls in flight, in each process of hub.links."),
    Setting("hub.max_submits", whole(1, 1024, "calls"), 32,
            doc="The most SubmitTaskResult calls in flight, in each process of hub.links."),
    Setting("hub.long_poll", seconds(0, 3600), 30.0, reloadable=True,
            doc="How long the hub may hold a GetTask call that has nothing to give."),
    Setting("hub.submit_timeout", seconds(0.1, 600), 10.0, reloadable=True,
            doc="How long one SubmitTaskResult call may take before it is tried again."),
    Setting("hub.idle_min", seconds(0.001, 60), 0.01,
            doc="The first pause after a poll that brought no task."),
    Setting("hub.idle_max", seconds(0.001, 3600), 1.0,
            doc="The longest pause between polls while there is nothing to do."),
    Setting("response.envelope", choice("plain", "metadata"), "plain", reloadable=True,
            doc="metadata: wrap the data of every result with provider, action and times."),
    Setting("result.nan", choice("error", "null"), "error", reloadable=True,
            doc="NaN and the infinities in a result, which JSON does not have: refuse them, or send null."),
    Setting("tracing", choice("off", "otel"), "off",
            doc="otel: a span for each task, sent as the OTEL_* variables say; needs pip install 'arbd[otel]'."),
    Setting("log.level", choice("debug", "info", "warning", "error", "critical"), "info", flag="--log-level",
            reloadable=True,
            doc="The least important lines to write."),
    Setting("log.format", choice("auto", "json", "console"), "auto", flag="--log-format", reloadable=True,
            doc="auto: console on a terminal, JSON everywhere else."),
    Setting("log.silent", switch(), False, env="LOG_SILENT", reloadable=True,
            doc="Write no log lines at all."),
)
# fmt: on

_USER: Final = re.compile(r"[^/'\"]+@")
_OF_THE_WAY: Final = ("hub.url", "hub.tls", "hub.tls_ca", "hub.tls_cert")
BY_NAME: Final = {setting.name: setting for setting in TABLE}
BY_VARIABLE: Final = {setting.variable: setting for setting in TABLE}
_NAME_OF_VARIABLE: Final = {setting.variable: setting.name for setting in TABLE} | retired.NAME_OF_VARIABLE


class RawValue(msgspec.Struct, frozen=True):
    """A raw value and where it came from, such as ``environment PROVIDER_NAME``."""

    raw: Any
    origin: str

    def __repr__(self) -> str:
        return f"RawValue({REDACTED}, {self.origin!r})"  # it may be the token


class Layer(msgspec.Struct, frozen=True):
    """What one source gives: raw values by setting name, those of retired settings among them, and what was wrong with
    the source itself."""

    values: dict[str, RawValue]
    problems: Sequence[str] = ()


class Resolved(msgspec.Struct, frozen=True):
    """The effective settings, and for every setting name where its value came from. ``warnings``: what was given that
    only earlier versions had."""

    settings: Settings
    origin: dict[str, str]
    warnings: list[str] = []

    def shown(self) -> Iterator[tuple[Setting, Any, str]]:
        """Every setting with its value, fit to be printed (secrets redacted), and its origin."""
        for setting in TABLE:
            value = getattr(self.settings, setting.attribute)
            yield setting, _hide(setting, value), self.origin[setting.name]


def from_toml(document: Mapping[str, Any], file: str = CONFIG_FILE) -> Layer:
    """The layer of a parsed TOML file; its tables are the parts of dotted names."""
    values, problems = {}, []
    for name, raw in _leaves(document):
        if name in BY_NAME or name in retired.NAMES:
            values[name] = RawValue(raw, file)
        else:
            problems.append(f"{file}: there is no setting {name}{_did_you_mean(name, list(BY_NAME))}")
    return Layer(values, problems)


def from_environment(environ: Mapping[str, str], source: str = "environment") -> Layer:
    """The layer of the environment, or of a file of variables. An empty variable counts as not set: compose files pass
    those on."""
    values, problems = {}, []
    for variable, raw in environ.items():
        name = _NAME_OF_VARIABLE.get(variable)
        if name is not None:
            if raw.strip():
                values[name] = RawValue(raw, f"{source} {variable}")
        elif variable.startswith("ARBD_"):
            problems.append(f"{source} {variable}: no such setting{_did_you_mean_variable(variable)}")
    return Layer(values, problems)


def from_constructor(given: Mapping[str, Any]) -> Layer:
    """The layer of the arguments of ``Provider(...)``, by setting name; ``None`` counts as not given. So does a blank
    token: ``auth_token=os.environ.get(...)`` of a variable that is set and empty."""
    return Layer({name: RawValue(raw, "constructor") for name, raw in given.items() if not _is_none(name, raw)})


def _is_none(name: str, raw: Any) -> bool:
    return raw is None or (name in BY_NAME and BY_NAME[name].secret and isinstance(raw, str) and not raw.strip())


def from_flags(flags: Mapping[str, Any]) -> Layer:
    """The layer of the command line: values by setting name; ``None`` counts as not given."""
    given = {name: raw for name, raw in flags.items() if raw is not None}
    return Layer({name: RawValue(raw, _flag_written(name, raw)) for name, raw in given.items()})


def secrets_in(layers: Iterable[Layer]) -> list[str]:
    """Every secret the operator's layers hold: as it was written, and as it counts, without what stands around it."""
    given = (item for layer in layers for item in layer.values.items())
    written = [str(value.raw) for name, value in given if name in BY_NAME and BY_NAME[name].secret]
    return list(dict.fromkeys(form for each in written for form in (each, each.strip())))


def resolve(layers: Iterable[Layer], required: Iterable[str] = ()) -> Resolved:
    """Merge the layers, later over earlier, over the defaults.

    ``required`` names settings that must not stay empty. Raises ``ConfigError`` with every problem there is.
    """
    layers = list(layers)
    problems = [problem for layer in layers for problem in layer.problems]
    given = _one_token(layers, problems)
    warnings = _take_retired(given)
    secrets = [str(g.raw) for name, g in given.items() if BY_NAME[name].secret]
    values: dict[str, Any] = {}
    for setting in TABLE:
        if setting.name not in given:
            values[setting.name] = setting.default
            continue
        raw, origin = given[setting.name].raw, given[setting.name].origin
        try:
            values[setting.name] = setting.kind.parse(raw)
        except ValueError:
            shown = _show_raw(setting, raw, secrets)
            problems.append(f"{origin}: {setting.name} is {shown}; allowed: {setting.kind.expects}")
    problems += _contradictions(values, given)
    problems += [_missing(BY_NAME[name]) for name in required if name in values and not values[name]]
    if problems:
        raise ConfigError(problems)
    settings = Settings(**{BY_NAME[name].attribute: value for name, value in values.items()})
    return Resolved(settings, {s.name: given[s.name].origin if s.name in given else "default" for s in TABLE}, warnings)


def _one_token(layers: Sequence[Layer], problems: list[str]) -> dict[str, RawValue]:
    """Merge; of the token and the file that holds it, the later one counts. In one layer, they contradict."""
    token, file = "hub.auth_token", "hub.auth_token_file"
    merged: dict[str, RawValue] = {}
    for layer in layers:
        if token in layer.values and file in layer.values:
            problems.append(f"{layer.values[file].origin}: set {token} or {file}, not both")
        elif token in layer.values:
            merged.pop(file, None)
        elif file in layer.values:
            merged.pop(token, None)
        merged.update(layer.values)
    return merged


def _take_retired(given: dict[str, RawValue]) -> list[str]:
    """Remove what is retired, so that defaults count; the warnings about it."""
    found = [(name, row) for name, value in given.items() if (row := retired.find(name, value.raw)) is not None]
    return [row.warning(given.pop(name).origin) for name, row in found]


def _contradictions(values: Mapping[str, Any], given: Mapping[str, RawValue]) -> Iterator[str]:
    """Values that are right each by itself, and wrong together. Values that failed to parse are not there."""

    def at(*names: str) -> str:
        return ", ".join(dict.fromkeys(given[name].origin for name in names if name in given))

    for one, other in (("hub.tls_cert", "hub.tls_key"), ("hub.tls_key", "hub.tls_cert")):
        if values.get(one) and other in values and not values[other]:
            yield f"{at(one)}: {one} is set without {other}; set both or neither"
    tls_files = [name for name in ("hub.tls_ca", "hub.tls_cert", "hub.tls_key") if values.get(name)]
    if values.get("hub.tls") == "off" and tls_files:
        where = at("hub.tls", *tls_files)
        yield f"{where}: hub.tls is off, but {', '.join(tls_files)} is set; remove the one or the other"
    if values.get("hub.tls") == "off" and str(values.get("hub.url")).startswith(("grpcs:", "https:")):
        yield f"{at('hub.tls', 'hub.url')}: hub.tls is off, but the scheme of hub.url asks for TLS; change one of them"
    if values.get("hub.require_tls") and _is_in_clear(values):
        where = at("hub.require_tls", "hub.url", "hub.tls")
        yield (
            f"{where}: hub.require_tls is on, but {values['hub.url']} is another host, to be reached without TLS; "
            'write grpcs:// in hub.url, or set hub.tls = "on" or hub.tls_ca'
        )
    low, high = values.get("hub.idle_min"), values.get("hub.idle_max")
    if low is not None and high is not None and low > high:
        where = at("hub.idle_min", "hub.idle_max")
        yield f"{where}: hub.idle_min ({low:g} s) is longer than hub.idle_max ({high:g} s); swap or raise one"


def _is_in_clear(values: Mapping[str, Any]) -> bool:
    """Whether the hub is another host that is reached without TLS, by values as the settings have them."""
    if any(name not in values for name in _OF_THE_WAY):
        return False  # one of them failed to parse, and is a problem of its own
    url, tls, *files = (values[name] for name in _OF_THE_WAY)
    uses_tls = any(files) or addresses.asks_for_tls(url) if tls == "auto" else tls == "on"
    return not uses_tls and not addresses.is_local(url)


def _missing(setting: Setting) -> str:
    ways = [setting.variable, f"`{setting.name}` in {CONFIG_FILE}"]
    ways += [f"Provider({setting.argument}=...)"] if setting.argument else []
    ways += [setting.flag] if setting.flag else []
    return f"{setting.name} is not set; set one of {', '.join(ways)}"


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        name = prefix + key
        if isinstance(value, Mapping) and name not in BY_NAME and name not in retired.NAMES:
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    parts = [full.removeprefix(f"{name}.") for full in known if full.startswith(f"{name}.")]
    if parts:
        return f"; it is a table: [{name}] {parts[0]} = ..."
    # A name without its table ("max_polls") is closer to the dotted one than its letters say.
    close = [full for full in known if full.endswith("." + name)] or difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _did_you_mean_variable(variable: str) -> str:
    for setting in TABLE:
        if variable == f"ARBD_{setting.attribute.upper()}":
            return f"; {setting.name} is set by {setting.variable}"
    close = difflib.get_close_matches(variable.removeprefix("ARBD_"), [v.removeprefix("ARBD_") for v in BY_VARIABLE], 1)
    matching = [known for known in BY_VARIABLE if close and known.removeprefix("ARBD_") == close[0]]
    return f"; did you mean {matching[0]}?" if matching else ""


def _flag_written(name: str, raw: Any) -> str:
    """Which half of ``--pin/--no-pin`` was on the command line."""
    flag = BY_NAME[name].flag if name in BY_NAME else ""
    on, _, off = flag.partition("/")
    return off if off and raw is False else on or f"flag {name}"


def _hide(setting: Setting, value: Any) -> Any:
    return REDACTED if setting.secret and value else value


def _show_raw(setting: Setting, raw: Any, secrets: Sequence[str]) -> str:
    shown = repr(raw)
    if setting.secret or any(secret and secret in shown for secret in secrets):
        return REDACTED
    if setting.name.endswith("url"):  # a name and a password before the host
        shown = _USER.sub(f"{REDACTED}@", shown)
    return shown if len(shown) <= 80 else shown[:77] + "..."
