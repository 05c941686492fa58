"""The environment of the author's processes is the operator's, without what is secret or the supervisor's alone."""

from __future__ import annotations

from arbd.supervisor.request import zygote_environment

TOKEN = "a-token-that-nobody-may-see"


def test_secrets_and_the_socket_of_systemd_stay_here() -> None:
    operators = {"PATH": "/bin", "PROVIDER_AUTH_TOKEN": TOKEN, "URL": f"hub://x:{TOKEN}@y", "NOTIFY_SOCKET": "/run/n"}
    clean = zygote_environment(operators, [TOKEN])
    assert clean["PATH"] == "/bin"
    assert "NOTIFY_SOCKET" not in clean
    assert TOKEN not in "".join(clean.values())
    assert "CREDENTIALS_DIRECTORY" not in zygote_environment({"CREDENTIALS_DIRECTORY": "/run/credentials/x"}, [])
    assert operators["NOTIFY_SOCKET"] == "/run/n", "it was changed in place"
