"""Claim: tracing that cannot work is a configuration error that says what to install, or to set."""

from __future__ import annotations

import pytest

from arbd.errors import ConfigError
from arbd.ipc.zygote_protocol import exporter_names
from arbd.supervisor import tracing_needs as tracing


def problem(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        tracing.require_tracing(environ, "arbd.toml")
    [text] = caught.value.problems
    return text


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None if name == missing else object())
    assert all(words in problem({}) for words in ("arbd.toml", "arbd[otel]", "off"))


def test_an_exporter_that_nobody_offers() -> None:
    assert all(words in problem({"OTEL_TRACES_EXPORTER": "nonsense"}) for words in ("nonsense", "console", "none"))


def test_exporters_that_are_there() -> None:
    tracing.require_tracing({"OTEL_TRACES_EXPORTER": "console"}, "arbd.toml")
    tracing.require_tracing({"OTEL_TRACES_EXPORTER": "none"}, "arbd.toml")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ["otlp_proto_http"]),
        (" ", ["otlp_proto_http"]),
        ("otlp", ["otlp_proto_http"]),
        ("otlp_proto_grpc", ["otlp_proto_http"]),  # gRPC is in no worker
        ("Console, otlp", ["console", "otlp_proto_http"]),
        ("none", []),
    ],
)
def test_the_standard_variable_names_exporters(value: str | None, names: list[str]) -> None:
    assert exporter_names({} if value is None else {"OTEL_TRACES_EXPORTER": value}) == names
