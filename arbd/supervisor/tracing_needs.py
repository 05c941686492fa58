"""What the setting ``tracing`` needs to be installed. Nothing of it is imported here: spans are made in workers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Final

from arbd.errors import ConfigError
from arbd.ipc.zygote_protocol import EXPORTERS_GROUP, exporter_names

INSTALL: Final = "pip install 'arbd[otel]'"


def require_tracing(environ: Mapping[str, str], origin: str) -> None:
    """Raise ``ConfigError`` where spans cannot be made or sent. ``environ``: the workers'; ``origin``: of the
    setting."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise ConfigError(
            [f"{origin}: tracing is otel, but OpenTelemetry is not installed; {INSTALL}, or set it to off"]
        )
    missing = [name for name in exporter_names(environ) if not entry_points(group=EXPORTERS_GROUP, name=name)]
    if missing:
        offered = sorted({each.name for each in entry_points(group=EXPORTERS_GROUP)})
        raise ConfigError(
            [
                f"{origin}: tracing is otel, but no package offers the exporter {name}; {INSTALL} brings OTLP, or set "
                f"OTEL_TRACES_EXPORTER to one of {', '.join([*offered, 'none'])}"
                for name in missing
            ]
        )
