"""Whether a hub is another host, and whether its address asks for TLS."""

from __future__ import annotations

import pytest

from arbd.errors import ConfigError
from arbd.settings.hub_address import asks_for_tls, is_local
from arbd.settings.table import Settings, from_environment, resolve

LOCAL = [
    *("localhost:50051", "LOCALHOST:1", "127.0.0.1:50051", "127.1:1", "127.9.9.9:1", "[::1]:50051", "unix:/run/hub"),
    *("unix-abstract:hub", "grpc://localhost:1", "http://127.0.0.1:1", "dns:///localhost:1", "ipv4:127.0.0.1:1"),
    *("ipv6:[::1]:1", "ipv6:%5B::1%5D:1", "ipv4:127.0.0.1:1,127.0.0.2:1", "[::ffff:127.0.0.1]:1", "localhost.:1"),
    *("grpc://localhost:1/", "[::1%25lo]:1", "dns://10.0.0.53/localhost:1"),
]
ELSEWHERE = [
    *("hub-grpc:50051", "hub:1", "10.0.0.1:1", "0.0.0.0:1", "[::]:1", "grpc://hub:1", "dns:///hub:1", ":50051"),
    *("127.evil.example:1", "localhost.evil.example:1", "ipv4:127.0.0.1:1,10.0.0.1:1", "dns://127.0.0.1/hub:1"),
    *("[fe80::1%25lo]:1", "128.0.0.1:1", "127.0.0.1%2eevil.example:1", "127.0.0.1%evil:1", "localhost%2Eevil:1"),
    *("127.300.1:1", "127.0.0.\uff11.evil:1", "localhost:1%2c10.0.0.1:1", "evil:1?localhost:1", "evil:1#localhost:1"),
]


@pytest.mark.parametrize("address", LOCAL)
def test_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_another_host(address: str) -> None:
    assert not is_local(address)


def test_only_two_schemes_ask_for_tls() -> None:
    asking = ("grpcs://hub:1", "https://hub:1", "grpc://hub:1", "hub:1", "grpcs:1")
    assert [asks_for_tls(address) for address in asking] == [True, True, False, False, True]


def settings(**variables: str) -> Settings:
    return resolve([from_environment(variables)]).settings


@pytest.mark.parametrize(
    ("variables", "in_clear"),
    [
        ({}, True),  # the default: it must go on working, and is told
        ({"HUB_GRPC_URL": "hub:1"}, True),
        ({"HUB_GRPC_URL": "127.0.0.1:1"}, False),
        ({"HUB_GRPC_URL": "grpcs://hub:1"}, False),
        ({"HUB_GRPC_URL": "hub:1", "ARBD_HUB_TLS": "on"}, False),
        ({"HUB_GRPC_URL": "hub:1", "ARBD_HUB_TLS": "off"}, True),
        ({"HUB_GRPC_URL": "hub:1", "ARBD_HUB_TLS_CA": "ca.pem"}, False),
        ({"HUB_GRPC_URL": "hub:1", "ARBD_HUB_TLS_CERT": "c.pem", "ARBD_HUB_TLS_KEY": "k.pem"}, False),
    ],
)
def test_what_goes_in_clear_is_refused_where_tls_is_required(variables: dict[str, str], in_clear: bool) -> None:
    assert settings(**variables).hub_in_clear is in_clear
    required = variables | {"ARBD_HUB_REQUIRE_TLS": "yes"}
    if not in_clear:
        assert not settings(**required).hub_in_clear
        return
    with pytest.raises(ConfigError) as caught:
        settings(**required)
    assert [
        problem for problem in caught.value.problems if "hub.require_tls" in problem and "grpcs://" in problem
    ] != []


def test_it_is_one_of_all_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(ARBD_HUB_REQUIRE_TLS="yes", HUB_GRPC_URL="hub:1", ARBD_WORKERS="none")
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError) as caught:
        settings(ARBD_HUB_REQUIRE_TLS="yes", HUB_GRPC_URL="no port")
    assert len(caught.value.problems) == 1  # whether it is local cannot be told


@pytest.mark.parametrize("address", ["grpc://me:hunter2@hub:1", "me:hunter2@hub:1", "grpc://me:hunt@er2@hub"])
def test_a_password_in_an_address_is_not_repeated(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(HUB_GRPC_URL=address, ARBD_HUB_REQUIRE_TLS="yes")
    assert "hunt" not in str(caught.value)
    assert "@hub" in str(caught.value)
