"""No secret is in a process of actions, nor in what a daemon tells or leaves behind; and no action looks into it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from daemon_support import PROVIDERS, Arbd, eventually
from http_support import get
from rotation_support import Authority

from arbd.cli.hub import READY

SPY = PROVIDERS / "spy.py"
TOKEN = "canary-token-7c1f0e55a9"
ACCOUNT = "canary-account-4b2d98"

#: A process without any right beyond its user's, root's as well; with core files as large as may be.
_HUMBLE = """
import ctypes, os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "arbd", *sys.argv[1:]])
"""
_REGION = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) r")


def memory_holds(pid: int, needle: bytes) -> bool:
    """Whether a process has these bytes anywhere in its memory. For root, and for whoever may trace it."""
    with open(f"/proc/{pid}/maps", "rb") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for region in filter(None, map(_REGION.match, maps)):
            start, end = int(region[1], 16), int(region[2], 16)
            tail = b""
            while start < end:
                try:
                    memory.seek(start)
                    part = memory.read(min(1 << 20, end - start))
                except (OSError, ValueError, OverflowError):  # such as that of the kernel
                    break
                if not part:
                    break
                if needle in tail + part:
                    return True
                tail, start = part[-len(needle) :], start + len(part)
    return False


class Desk:
    """A hub with TLS, mutual, and a token; the files to reach it, and how the commands are told of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        authority = Authority(directory, "ca")
        for name in ("hub", "us"):
            authority.issue(name)
        self.ca = authority.path
        self.files = authority.directory
        self.token_file = directory / "hub.token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.token_file.chmod(0o600)
        self.address = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        files = ("--tls-cert", self.files / "hub.pem", "--tls-key", self.files / "hub.key", "--client-ca", self.ca)
        command = ["-m", "arbd", "hub", "--listen", "localhost:0", "--token-file", self.token_file, *files]
        (self.directory / "hub").mkdir()
        with Arbd([str(word) for word in command], self.directory / "hub") as hub:
            ready = eventually(lambda: hub.out.read_text().strip(), timeout_s=60)
            assert ready.startswith(READY + "grpcs://")
            self.address = ready.removeprefix(READY)
            yield

    @property
    def tls(self) -> dict[str, str]:
        """The variables of TLS."""
        return {
            "ARBD_HUB_TLS_CA": str(self.ca),
            "ARBD_HUB_TLS_CERT": str(self.files / "us.pem"),
            "ARBD_HUB_TLS_KEY": str(self.files / "us.key"),
        }

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a command answers."""
        return subprocess.run(
            [sys.executable, "-m", "arbd", *words],
            env={"PATH": "/usr/bin:/bin", "HUB_GRPC_URL": self.address, "PYTHONPATH": ":".join(sys.path), **self.tls},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def submit(self, action: str, payload: str = "{}", account: str = "") -> dict[str, Any]:
        """The response to a task."""
        words = ["submit", action, "--payload", payload, "--token-file", str(self.token_file), "--wait", "--json"]
        done = self.ask(*words, *(["--account", account] if account else []))
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)["response"]
        return document


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    with made.serving():
        yield made


def daemon_of(desk: Desk, directory: Path, env: dict[str, str], *flags: str) -> Arbd:
    directory.mkdir()
    command = ["-c", _HUMBLE, "run", str(SPY), "--hub", desk.address, "--name", "prov", "--workers", "2", "--no-pin"]
    command += ["--log-format", "json", "--log-level", "debug", *flags]
    runtime = {"ARBD_RUNTIME_DIR": str(directory / "run"), "ARBD_HUB_REQUIRE_TLS": "yes", "ARBD_METRICS_LISTEN": "0"}
    return Arbd(command, directory, {**desk.tls, **runtime, **env})


def named(daemon: Arbd, name: str) -> list[int]:
    """The processes of a daemon whose names begin so."""
    return [pid for each, pids in daemon.family().items() if each.startswith(name) for pid in pids]


WAYS: dict[str, dict[str, str]] = {
    "a variable, with spaces": {"PROVIDER_AUTH_TOKEN": f"  {TOKEN} ", "BEARER": f"Bearer {TOKEN}", "COPY": TOKEN},
    "a file, and copies": {"ARBD_HUB_AUTH_TOKEN_FILE": "TOKEN_FILE", "BEARER": f"Bearer {TOKEN}", "COPY": f" {TOKEN}"},
}


@pytest.mark.parametrize("way", WAYS)
def test_no_secret_is_where_actions_or_others_may_see_it(desk: Desk, tmp_path: Path, way: str) -> None:
    env = {name: str(desk.token_file) if value == "TOKEN_FILE" else value for name, value in WAYS[way].items()}
    private = next(line for line in (desk.files / "us.key").read_text().splitlines() if len(line) == 64)
    account = json.dumps({"key": ACCOUNT})
    with daemon_of(desk, tmp_path / "daemon", env) as daemon:
        daemon.wait_serving()
        assert desk.submit("fine", account=account)["data"] == len(ACCOUNT)
        assert [desk.submit(*task, account=account)["status"] for task in (("broken",), ("crash",), ("nothing",))] == [
            "error"
        ] * 3
        assert desk.submit("typed", f'{{"a": "{ACCOUNT}"}}')["status"] == "error"
        daemon.signal(signal.SIGHUP)
        daemon.wait_event("reloaded")
        daemon.signal(signal.SIGUSR1)
        socket = str(next((tmp_path / "daemon" / "run").glob("*.sock")))
        told = [desk.ask(command, socket, "--json") for command in ("status", "events", "stacks", "limits")]
        told += [
            desk.ask("doctor"),
            desk.ask("config"),
            desk.ask("hub", "status", "--token-file", str(desk.token_file)),
        ]
        told.append(desk.ask("trace", socket, "--last", "--out", "trace.json", "--json"))
        assert all(answer.stdout for answer in told)
        address = daemon.wait_event("started")[0]["metrics"]
        eventually(lambda: get(address, "/readyz").status == 200)
        answers = [get(address, path) for path in ("/", "/metrics", "/status.json", "/readyz", "/nothing")]
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 404]
        family = daemon.family()
        assert family["arbd:http"]
        assert len([pid for pids in family.values() for pid in pids]) >= 3
        processes = [psutil.Process(pid) for pids in family.values() for pid in pids]
        for process in processes:
            seen = " ".join(process.cmdline()) + repr(process.environ())
            assert [secret for secret in (TOKEN, ACCOUNT, private) if secret in seen] == [], process.name()
            assert not memory_holds(process.pid, TOKEN.encode()), process.name()
            assert not memory_holds(process.pid, private.encode()), process.name()
        # Where it has to be it is found: else all this would prove nothing.
        assert memory_holds(daemon.process.pid, TOKEN.encode())
        supervisor = psutil.Process(daemon.process.pid)
        assert TOKEN not in " ".join(supervisor.cmdline()) + repr(supervisor.environ())  # root may read that
        daemon.signal(signal.SIGTERM)
        assert daemon.exit_code() == 0
    texts = [daemon.log.read_text(), daemon.out.read_text(), *(each.stdout + each.stderr for each in told)]
    texts += [answer.text + repr(answer.headers) for answer in answers]
    texts.append((tmp_path / "trace.json").read_text())
    texts += [(tmp_path / "hub" / name).read_text() for name in ("stdout.log", "stderr.log")]
    for text in texts:
        assert [secret for secret in (TOKEN, ACCOUNT, private) if secret in text] == []
    assert [path.name for path in (tmp_path / "daemon").iterdir() if path.name.startswith("core")] == []


def test_an_action_cannot_look_into_the_processes_that_are_trusted(desk: Desk, tmp_path: Path) -> None:
    with daemon_of(
        desk, tmp_path / "daemon", {"PROVIDER_AUTH_TOKEN": TOKEN, "ARBD_HUB_LINKS": "1", "ARBD_HUB_PROTOCOL": "unary"}
    ) as daemon:
        daemon.wait_serving()
        links = eventually(lambda: named(daemon, "arbd:link"))
        for pid in (daemon.process.pid, *links, *eventually(lambda: named(daemon, "arbd:http"))):
            found = desk.submit("look", json.dumps({"pid": pid}))["data"]
            assert found.pop("cmdline") > 0
            assert found == dict.fromkeys(("environ", "auxv", "maps", "fd", "mem", "ptrace"), "error")
        zygote = named(daemon, "arbd:zygote")[0]
        open_ones = desk.submit("look", json.dumps({"pid": zygote}))["data"]
        assert open_ones["environ"] != "error"  # it is no other user: the test looks as it should
        status = desk.ask("status", str(next((tmp_path / "daemon" / "run").glob("*.sock"))), "--json")
        assert json.loads(status.stdout)["workers"][0]["rss"] > 0
