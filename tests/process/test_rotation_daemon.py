"""Token, CA and client certificate change while tasks run: the daemon goes on with the new ones, without a restart and
without a lost task; what cannot be used is refused, and the old ones go on. Real hubs with TLS, real daemons."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from daemon_support import ONCE, Arbd, eventually
from rotation_support import Authority, Load, NotingHub, Volume, swap

LINKS = {
    "stream": {"ARBD_HUB_PROTOCOL": "stream"},
    "unary": {"ARBD_HUB_PROTOCOL": "unary"},
    "auto": {},
    "auto, a unary hub": {"unary hub": "1"},
    "link processes": {"ARBD_HUB_PROTOCOL": "unary", "ARBD_HUB_LINKS": "2"},
}


SOON = "import arbd.supervisor.rotation as rotation; rotation.LOOK_S = 0.1"  # files are looked at so often here

# So soon a hub is told not to be reached; in link processes by a program of theirs that does the same.
LATE = f"""{SOON}
import arbd.links.handover as handover
from arbd.links.processes.group import LinkGroup
handover.LATE_S = 1.0
LinkGroup.__init__.__kwdefaults__["program"] = "soon_link"
"""


def settings(kind: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in LINKS[kind].items() if name != "unary hub"} | more


def all_once(hub: NotingHub, load: Load) -> None:
    """Every task of the load got its one verdict, and was handed out once or, at the end of a stream, again."""
    # Not the last word: a result whose acknowledgement was on its way when the stream ended is sent again.
    eventually(lambda: all("result" in each for each in hub.histories(load.ids)), 30.0)
    for history in hub.histories(load.ids):
        assert history.count("result") == 1


@pytest.mark.parametrize("kind", LINKS)
def test_certificates_rotate_under_load(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    one, two = first.issue("one"), second.issue("two")
    material = {"ca.pem": first.pem, "cert.pem": one[0], "key.pem": one[1], "token": b"old-token-of-hub\n"}
    secrets = Volume(tmp_path / "secrets", material)
    hub = NotingHub(
        monkeypatch,
        identity=first.issue("localhost"),
        trusted=first.pem + second.pem,
        stream="unary hub" not in LINKS[kind],
    )
    env = settings(
        kind,
        ARBD_HUB_TLS_CA=str(secrets.directory / "ca.pem"),
        ARBD_HUB_TLS_CERT=str(secrets.directory / "cert.pem"),
        ARBD_HUB_TLS_KEY=str(secrets.directory / "key.pem"),
        ARBD_HUB_AUTH_TOKEN_FILE=str(secrets.directory / "token"),
    )
    with hub, Arbd.run(f"grpcs://{hub.address}", tmp_path, env=env, before=SOON) as arbd, Load(hub, "echo") as load:
        eventually(lambda: ("old-token-of-hub", "one") in hub.seen)
        secrets.update(
            {
                "ca.pem": first.pem + second.pem,
                "cert.pem": two[0],
                "key.pem": two[1],
                "token": b"new-token-of-hub\n",
            }
        )
        [line] = arbd.wait_event("credentials_renewed")
        assert line["changed"] == ["hub.auth_token", "hub.tls_ca", "hub.tls_cert", "hub.tls_key"]
        eventually(lambda: ("new-token-of-hub", "two") in hub.seen)
        seen = len(load.ids)
        eventually(lambda: len(load.ids) > seen + 100)
        load.__exit__()
        all_once(hub, load)
        text = arbd.log.read_text()
        assert "token-of-hub" not in text
        assert "PRIVATE KEY" not in text
        assert arbd.events("hub_unavailable") == []
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0


@pytest.mark.parametrize("kind", LINKS)
def test_a_token_that_is_revoked_at_the_same_time_costs_no_task(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub knows the new token alone from the moment on at which the file has it."""
    token = tmp_path / "token"
    token.write_text("old-token-of-hub")
    hub = NotingHub(monkeypatch, stream="unary hub" not in LINKS[kind])
    hub.tokens = {"old-token-of-hub"}
    env = settings(kind, ARBD_HUB_AUTH_TOKEN_FILE=str(token))
    with hub, Arbd.run(hub.address, tmp_path, env=env, before=SOON) as arbd, Load(hub, "echo") as load:
        eventually(lambda: len(load.ids) > 100)
        hub.tokens = {"new-token-of-hub"}
        swap(token, b"new-token-of-hub")
        arbd.wait_event("credentials_renewed")
        eventually(lambda: any(seen[0] == "new-token-of-hub" for seen in hub.seen))
        seen = len(load.ids)
        eventually(lambda: len(load.ids) > seen + 100)
        load.__exit__()
        all_once(hub, load)
        assert "token-of-hub" not in arbd.log.read_text()


def test_what_cannot_be_used_is_refused_and_the_old_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file, a key of another certificate, an empty token: a line each, and tasks go on."""
    authority = Authority(tmp_path, "first")
    one, two = authority.issue("one"), authority.issue("two")
    paths = {name: tmp_path / name for name in ("ca", "cert", "key", "token")}
    for name, content in zip(paths, (authority.pem, *one, b"token-of-the-hub"), strict=True):
        paths[name].write_bytes(content)
    hub = NotingHub(monkeypatch, identity=authority.issue("localhost"), trusted=authority.pem)
    env = {
        "ARBD_HUB_TLS_CA": str(paths["ca"]),
        "ARBD_HUB_TLS_CERT": str(paths["cert"]),
        "ARBD_HUB_TLS_KEY": str(paths["key"]),
        "ARBD_HUB_AUTH_TOKEN_FILE": str(paths["token"]),
    }
    with hub, Arbd.run(f"grpcs://{hub.address}", tmp_path, env=env, before=SOON) as arbd:
        arbd.wait_event("hub_connected")
        for count, (name, content, problem) in enumerate(
            [
                ("ca", b"no certificate", "hub.tls_ca"),
                ("cert", two[0], "do not belong together"),
                ("cert", one[0][:200], "are not a certificate"),
                ("token", b"", "must hold the token"),
            ],
            start=1,
        ):
            good = paths[name].read_bytes()
            paths[name].write_bytes(content)
            line = arbd.wait_event("credentials_refused", count)[-1]
            assert problem in line["problems"][0]
            swap(paths[name], good)
            ids = hub.submit("echo", count=5)
            eventually(lambda: hub.histories(ids) == [ONCE] * 5)  # noqa: B023 # within this turn
        arbd.signal(signal.SIGHUP)  # a reload with all of them right
        arbd.wait_event("reloaded")
        paths["cert"].write_bytes(two[0])
        arbd.signal(signal.SIGHUP)
        [line] = arbd.wait_event("reload_failed")
        assert "do not belong together" in line["reason"]
        swap(paths["key"], two[1])
        arbd.wait_event("credentials_renewed")
        eventually(lambda: hub.seen[-1] == ("token-of-the-hub", "two"))


@pytest.mark.parametrize("kind", ["stream", "unary", "link processes"])
@pytest.mark.parametrize("who", ["the hub", "the daemon"])
def test_what_the_other_side_does_not_trust_leaves_the_old_connection(
    who: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate of a stranger, or an authority that has not signed the hub's: found out beside what works."""
    known, stranger = Authority(tmp_path, "known"), Authority(tmp_path, "stranger")
    one, strange = known.issue("one"), stranger.issue("strange")
    material = {"ca.pem": known.pem, "cert.pem": one[0], "key.pem": one[1]}
    secrets = Volume(tmp_path / "secrets", material)
    hub = NotingHub(monkeypatch, identity=known.issue("localhost"), trusted=known.pem)
    env = settings(
        kind,
        **{f"ARBD_HUB_TLS_{name.upper()}": str(secrets.directory / f"{name}.pem") for name in ("ca", "cert", "key")},
    )
    wrong = {"cert.pem": strange[0], "key.pem": strange[1]} if who == "the hub" else {"ca.pem": stranger.pem}
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
    with (
        hub,
        Arbd.run(f"grpcs://{hub.address}", tmp_path, env=env, before=LATE) as arbd,
        Load(hub, "echo") as load,
    ):
        eventually(lambda: len(load.ids) > 100)
        secrets.update(material | wrong)
        arbd.wait_event("hub_not_reached_with_new_credentials")
        seen = len(load.ids)
        eventually(lambda: len(load.ids) > seen + 100)
        secrets.update(material)
        arbd.wait_event("credentials_renewed", 2)
        load.__exit__()
        all_once(hub, load)
        assert {name for _, name in hub.seen} == {"one"}
        assert arbd.events("hub_unavailable") == []
