"""Whatever comes from the hub is answered, says what is wrong, and costs no other task anything."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from daemon_support import ONCE, daemon_of, kinds, responses

from arbd.hub.memory import Handle
from arbd.testing import RunningProvider

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(workers=2) as daemon:
        pids = daemon.worker_pids
        yield daemon
        assert daemon.worker_pids == pids  # none of it has killed a worker


GOOD = {"order": {"items": [{"name": "a", "price": 1}], "note": ""}}
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    ("action", "payload", "told"),
    [
        ("echo", b"this is no JSON", "JSON"),
        ("echo", b"{", "JSON"),
        ("echo", b'{"a": 1} trailing', "JSON"),
        ("echo", b'{"a": "\xff\xfe"}', "UTF-8"),
        ("echo", b"\x00\x01\x02", "JSON"),
        ("echo", b"[1, 2, 3]", "expected dict, got list"),
        ("echo", b'{"a": NaN}', "JSON"),
        ("echo", DEEP, "nested"),
        ("echo", b"[" * 100_000, ""),
        ("order", b"{}", "Missing required parameters: order"),
        ("order", b'{"order": {"items": [{"name": "a", "price": "x"}], "note": ""}}', "order.items[0].price"),
        ("order", b'{"order": {"items": [{"name": "a"}, {"price": 1}], "note": ""}}', "order.items[1].name"),
        ("order", b'{"order": {"items": 5, "note": null}}', "order.note"),
        ("add", b'{"a": true, "b": 1}', "a"),
        ("with_account", b'{"x": 1}', "key"),
        ("no_such_action", b"{}", "Action 'no_such_action' not found"),
        ("", b"{}", "names no action"),
        ("\x00\u2028 odd \U0001f600", b"{}", "not found"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, (bytes, str)) else None,
)
def test_bad_input_is_answered_with_what_is_wrong(
    daemon: RunningProvider, action: str, payload: bytes, told: str
) -> None:
    [response] = responses(daemon, [daemon.submit(action, payload)])
    assert response.status == "error"
    assert told in f"{response.message} {response.data}"
    assert responses(daemon, [daemon.submit("order", GOOD)])[0].data == {"total": 1.0}


def test_twenty_megabytes_are_refused_before_a_worker_sees_them(daemon: RunningProvider) -> None:
    payload = b'{"a": "' + b"x" * (20 * MIB) + b'"}'
    too_much, account = responses(
        daemon, [daemon.submit("echo", payload), daemon.submit("with_account", {"x": 1}, payload)]
    )
    assert too_much.data == {"error_code": "PAYLOAD_TOO_LARGE", "size": len(payload), "limit": 16 * MIB}
    assert account.error_code == "PAYLOAD_TOO_LARGE"
    assert "account" in (account.message or "")


@pytest.mark.parametrize("account", [b"", b"null", b"[]", b"{", b'{"key": 5}', b"\xff", DEEP])
def test_bad_accounts_are_answered(daemon: RunningProvider, account: bytes) -> None:
    [response] = responses(daemon, [daemon.submit("with_account", {"x": 1}, account)])
    assert response.status == "error"
    assert "account" in (response.message or "").lower()


def test_an_empty_payload_and_account_mean_empty_objects(daemon: RunningProvider) -> None:
    [response] = responses(daemon, [daemon.submit("echo", b"", b"")])
    assert response.data["payload"] == {}


def test_five_thousand_good_and_bad_tasks_mixed(daemon: RunningProvider) -> None:
    """Every good one succeeds, every bad one is an error, none is lost and none is run twice."""
    chance = random.Random(11)
    bad = [
        ("echo", b"{"),
        ("echo", b'{"a": "\xff"}'),
        ("echo", b'{"a": NaN}'),
        ("order", b'{"order": 1}'),
        ("add", b'{"a": "1", "b": 2}'),
        ("nobody", b"{}"),
        ("", b""),
        ("echo", b"[" * 5_000),
        ("fail", b'{"how": "any"}'),
    ]
    sent: list[tuple[str, Handle, dict[str, int] | None]] = []
    for n in range(5_000):
        if chance.random() < 0.5:
            sent.append(("success", daemon.submit("add", {"a": n, "b": 1}), {"sum": n + 1}))
        else:
            sent.append(("error", daemon.submit(*chance.choice(bad)), None))
    found = [json.loads(handle.result(60).result) for _, handle, _ in sent]
    assert [response["status"] for response in found] == [status for status, _, _ in sent]
    assert [r["data"] for r, (_, _, sum_) in zip(found, sent, strict=True) if sum_] == [s for _, _, s in sent if s]
    assert {tuple(kinds(daemon, handle)) for _, handle, _ in sent} == {tuple(ONCE)}
