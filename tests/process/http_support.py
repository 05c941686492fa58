"""What tests of `arbd:http` share: a request over a socket of its own, and figures out of a scrape."""

from __future__ import annotations

import http.client
import socket
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Got(NamedTuple):
    """An answer."""

    status: int
    text: str
    headers: dict[str, str]


def get(address: str, path: str, *, method: str = "GET", timeout_s: float = 10.0, **headers: str) -> Got:
    """Ask for a path, over a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Got(answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()})
    finally:
        connection.close()


def raw(address: str, request: bytes, timeout_s: float = 10.0) -> bytes:
    """Send these bytes; all that comes until the other side closes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s) as connection:
        connection.sendall(request)
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        return received


Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(address: str) -> tuple[Series, dict[str, str]]:
    """Every series of /metrics as Prometheus' own client reads it, and the type of each."""
    got = get(address, "/metrics")
    assert got.status == 200, got.text
    series: Series = {}
    types: dict[str, str] = {}
    for family in text_string_to_metric_families(got.text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in series, f"the same series twice: {key}"
            series[key] = sample.value
            types[sample.name] = family.type
    return series, types


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of all series of a metric that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, has), value in series.items() if found == name and wanted <= set(has))


def fallen(before: Series, after: Series, types: dict[str, str]) -> list[str]:
    """Counters, and parts of histograms, that have fallen or are not there any more."""
    return [
        f"{name}{dict(labels)}: {value} -> {after.get((name, labels))}"
        for (name, labels), value in before.items()
        if types.get(name) in ("counter", "histogram") and after.get((name, labels), -1.0) < value
    ]
