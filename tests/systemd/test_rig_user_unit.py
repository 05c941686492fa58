"""The unit of a user's own service manager: it starts, commands of that user find its daemon, and ``arbd doctor`` knows
its directories. Nothing of it needs root."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from daemon_support import Hub
from rig_support import ARBD, Rig

pytest_plugins = ["rig_fixture"]
pytestmark = pytest.mark.usefixtures("rig")

UID: Final = 2001
HOME: Final = "/home/operator"
SESSION: Final = f"/run/user/{UID}"
NAME: Final = "of-user"
UNIT: Final = f"arbd@{NAME}.service"
TARGET: Final = f"{HOME}/nothing.py"
PROVIDER: Final = f"""
from arbd import Provider
provider = Provider(name="{NAME}")
provider.actions.register(name="nothing")(lambda: None)
"""


class User:
    """Somebody with a service manager of their own in the systemd for tests."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def run(self, *command: str, has_session: bool = True, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, with the variables of a session or as ``sudo -u`` and ``cron`` do."""
        variables = [f"HOME={HOME}", *([f"XDG_RUNTIME_DIR={SESSION}"] if has_session else [])]
        identity = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        return self.rig.run("setpriv", *identity, "env", *variables, *command, check=check)


@pytest.fixture
def user(rig: Rig) -> Iterator[User]:
    rig.write("/etc/sysusers.d/operator.conf", f"u operator {UID} - {HOME} /bin/sh\n")
    rig.run("systemd-sysusers", "operator.conf")
    rig.run("install", "-d", "-o", "operator", "-g", "operator", HOME)
    rig.systemctl("start", f"user@{UID}.service")
    try:
        yield User(rig)
    finally:
        rig.systemctl("stop", f"user@{UID}.service", check=False)
        rig.run("rm", "-rf", HOME)


def test_the_daemon_of_a_user_s_unit_is_found_and_examined(user: User) -> None:
    config = f"{HOME}/.config/arbd/{NAME}.toml"
    with Hub() as hub:
        assert "arbd@.service" in user.run(ARBD, "install-units", "--user").stdout
        user.run("install", "-d", f"{HOME}/.config/arbd")
        user.rig.write(TARGET, PROVIDER)
        lines = [f'target = "{TARGET}"', f'name = "{NAME}"', f'hub.url = "{hub.address}"', "workers = 1", "pin = false"]
        user.rig.write(config, "\n".join(lines))
        user.run("systemctl", "--user", "daemon-reload")
        started = user.run("systemctl", "--user", "start", UNIT, check=False)
        assert started.returncode == 0, user.rig.run("journalctl", f"_UID={UID}", "-o", "cat", "--no-pager").stdout

        for has_session in (True, False):
            for words in ([], [NAME]):
                said = user.run(ARBD, "status", "--json", *words, has_session=has_session)
                assert json.loads(said.stdout)["state"] == "serving"

        pid = user.run("systemctl", "--user", "show", "-P", "MainPID", UNIT).stdout.strip()
        variables = user.rig.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
        environment = dict(line.split("=", 1) for line in variables if "=" in line)
        doctor = json.loads(user.run(ARBD, "doctor", "--config", config, "--json", check=False).stdout)
        told = "\n".join(f"{each['check']}: {each['what']}" for each in doctor["findings"])
        assert environment["RUNTIME_DIRECTORY"] == f"{SESSION}/arbd/{NAME}"
        for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
            assert f": {environment[variable]}, systemd makes it" in told
        assert "\ndaemon: " in told
        assert "no daemon of this provider" not in told

        user.run("systemctl", "--user", "stop", UNIT)
        gone = user.run(ARBD, "status", NAME, check=False)
        assert (gone.returncode, SESSION in gone.stderr) == (1, True)
