"""Every documented form of a hub address leads to the right target; the others are refused with a reason."""

from __future__ import annotations

import errno
import os
import threading

import pytest

import arbd.hub  # sets the variable that one test looks at
from arbd.errors import ConfigError
from arbd.wire.grpc_channel import Target, Tls, channel_options, open_channel, parse_url


@pytest.mark.parametrize(
    ("url", "tls", "address", "encrypted"),
    [
        ("hub-grpc:50051", None, "hub-grpc:50051", False),
        ("127.0.0.1:1", None, "127.0.0.1:1", False),
        ("[::1]:50051", None, "[::1]:50051", False),
        ("hub:50051", True, "hub:50051", True),
        ("dns:///hub:50051", None, "dns:///hub:50051", False),
        ("dns:///hub:50051", True, "dns:///hub:50051", True),
        ("unix:/run/hub.sock", None, "unix:/run/hub.sock", False),
        ("unix:///run/hub.sock", None, "unix:///run/hub.sock", False),
        ("grpc://hub:50051", None, "hub:50051", False),
        ("http://hub:50051/", None, "hub:50051", False),
        ("grpcs://hub:443", None, "hub:443", True),
        ("https://hub:443", None, "hub:443", True),
        ("grpc://hub:50051", True, "hub:50051", True),
    ],
)
def test_addresses(url: str, tls: bool | None, address: str, encrypted: bool) -> None:
    assert parse_url(url, tls) == Target(address, encrypted)


@pytest.mark.parametrize(
    ("url", "tls", "reason"),
    [
        ("", None, "'' is no host and port"),
        ("hub", None, "'hub' is no host and port"),
        ("hub:", None, "'hub:' is no host and port"),
        ("hub:0", None, "'hub:0' is no host and port"),
        ("hub:65536", None, "'hub:65536' is no host and port"),
        ("hub:port", None, "'hub:port' is no host and port"),
        ("ftp://hub:21", None, "the scheme 'ftp' is unknown"),
        ("grpc://hub:1/path", None, "a path ('/path') has no meaning here"),
        ("grpc://me:pw@hub:1", None, "user names and passwords have no meaning here"),
        ("grpcs://hub:1", False, "the scheme 'grpcs' asks for TLS, and hub.tls forbids it"),
        ("[localhost]:1", None, "that cannot be read as an address"),
        ("grpcs://[::1:1", None, "that cannot be read as an address"),
        ("a\u2100b:1", None, "that cannot be read as an address"),
    ],
)
def test_addresses_that_cannot_work(url: str, tls: bool | None, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url, tls)
    [problem] = caught.value.problems
    assert problem.startswith(f"hub.url: {reason}; write ")


@pytest.mark.parametrize("rest", ["hub:1", "hub", "hub:port", "[hub]:1", "a\u2100b:1", "hub:1/path"])
@pytest.mark.parametrize("scheme", ["", "grpc://", "ftp://", "grpcs://"])
def test_a_password_in_an_address_is_not_repeated(scheme: str, rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(f"{scheme}me:secret@{rest}")
    assert "secret" not in str(caught.value)


def test_options_that_others_have_paid_for() -> None:
    options = dict(channel_options(max_send=1, max_receive=2))
    assert options["grpc.keepalive_time_ms"] == 300_000
    assert options["grpc.max_reconnect_backoff_ms"] == 2_000
    assert options["grpc.enable_http_proxy"] == 0
    assert options["grpc.use_local_subchannel_pool"] == 1


def test_sizes_that_a_c_int_does_not_hold_are_the_largest_it_does() -> None:
    options = dict(channel_options(max_send=1 << 40, max_receive=(4 << 30) + 65_536))
    assert options["grpc.max_send_message_length"] == options["grpc.max_receive_message_length"] == (1 << 31) - 1
    assert dict(channel_options(max_send=-1, max_receive=-1))["grpc.max_send_message_length"] == -1


def test_without_descriptors_no_channel_is_begun_and_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC would end the process: see ``require_room``."""
    given: list[int] = []
    eventfd, before = os.eventfd, len(os.listdir("/proc/self/fd"))

    def few(*arguments: int) -> int:
        if len(given) == 5:
            raise OSError(errno.EMFILE, "Too many open files")
        given.append(eventfd(*arguments))
        return given[-1]

    monkeypatch.setattr(os, "eventfd", few)
    with pytest.raises(OSError, match="Too many open files"):
        open_channel(Target("127.0.0.1:1", False), Tls(), [])
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_thread_no_channel_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(OSError, match="can't start new thread"):
        open_channel(Target("127.0.0.1:1", False), Tls(), [])
    assert len(os.listdir("/proc/self/fd")) == before


def test_fork_support_of_grpc_is_off() -> None:
    assert os.environ["GRPC_ENABLE_FORK_SUPPORT"] == "0"
    assert arbd.hub.__doc__
