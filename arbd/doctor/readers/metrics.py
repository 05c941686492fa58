"""The address of metrics and probes, tried: as a client where a daemon serves there, else as one that would listen."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from arbd.control.http_request import is_loopback
from arbd.control.reports import StatusReport
from arbd.doctor.case import Case
from arbd.doctor.checks.metrics import MetricsFacts
from arbd.errors import os_reason
from arbd.settings.kinds import split_address

_TIMEOUT_S: Final = 2.0
_FIRST_FREE: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def metrics_facts(case: Case, reports: Sequence[StatusReport]) -> MetricsFacts | None:
    """How it is at ``metrics.listen``; ``None`` where that is not set. ``reports``: of the daemons that run."""
    where = case.settings.metrics_listen
    if where is None:
        return None
    address, port = split_address(where)
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    served = next((each.metrics for each in reports if each.metrics == shown or (each.metrics and not port)), "")
    return MetricsFacts(
        address=served or shown,
        is_served=bool(served),
        silence=_silence(served) if served else "",
        refusal="" if served else _refusal(address, port, may_have_any=_may_have_any(case)),
        is_running=bool(reports),
        is_open=not is_loopback(address),
    )


def _silence(shown: str) -> str:
    """Why nobody answers there; empty: somebody does."""
    host, _, port = shown.rpartition(":")
    host = host.strip("[]")
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what others listen at, not we
    connection = http.client.HTTPConnection(every.get(host, host), int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        said = answer.read(1000).decode("utf-8", "replace").strip()
        return "" if answer.status == 200 else f"{answer.status} {said}"
    except TimeoutError:
        return f"not within {_TIMEOUT_S:g} s"
    except OSError as error:
        return os_reason(error)
    except http.client.HTTPException as error:
        return f"that is no HTTP ({type(error).__name__})"
    finally:
        connection.close()


def _may_have_any(case: Case) -> bool:
    """Whether the daemon may listen at the ports that are root's."""
    given = [] if case.unit is None else case.unit.all("AmbientCapabilities")
    return case.account.uid == 0 or any("CAP_NET_BIND_SERVICE" in each for each in given)


def _refusal(address: str, port: int, *, may_have_any: bool) -> str:
    """Why a daemon could not listen there; empty: it could."""
    if 0 < port < _first_free_port() and not may_have_any:
        return f"ports below {_first_free_port()} are for root"
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind((address, port))
    except OSError as error:
        return os_reason(error)
    return ""


def _first_free_port() -> int:
    try:
        return int(_FIRST_FREE.read_text())
    except (OSError, ValueError):
        return 1024
