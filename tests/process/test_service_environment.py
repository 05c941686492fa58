"""A daemon with what systemd gives it: the token of a credential reaches the hub and no process of the author's; one
that is missing ends the start with code 78; a worker is killed before the rest when memory runs out."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from daemon_support import Arbd, Hub, daemon_of, serving

TOKEN = "a-credential-that-nobody-may-see"
SOURCE = """
import os, subprocess
from arbd import Provider
at_import = dict(os.environ)
provider = Provider(name="service", execution_timeout=20)
if {by_exec}:
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()

@provider.actions.register(name="see")
def see():
    score = lambda pid: int(open(f"/proc/{{pid}}/oom_score_adj").read())
    child = subprocess.check_output(["cat", "/proc/self/oom_score_adj"])
    return {{"pid": os.getpid(), "score": score("self"), "parent": score(os.getppid()), "child": int(child),
             "environment": [*os.environ.items(), *at_import.items()]}}
"""


@pytest.fixture(params=[False, True], ids=["forked", "by exec"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "service.py"
    path.write_text(SOURCE.format(by_exec=request.param))
    return path


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    directory = tmp_path / "credentials" / "arbd@service.service"
    directory.mkdir(parents=True)
    (directory / "token").write_text(TOKEN)
    return directory


def test_workers_are_preferred_by_the_oom_killer(target: Path) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    with daemon_of(target) as daemon:
        seen = daemon.run("see", {}, timeout=30).data
        assert serving(daemon).pid == seen["pid"]
    assert (seen["parent"], seen["score"], seen["child"]) == (own, min(own + 300, 1000), min(own + 300, 1000))


def test_a_token_that_is_a_credential_reaches_the_hub_and_no_process_of_the_author(
    target: Path, credentials: Path, tmp_path: Path
) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}
    with Hub(tokens=[TOKEN]) as hub, Arbd.run(hub.address, tmp_path, target=target, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        [task] = hub.submit("see")
        seen = hub.results()[task].response["data"]
        pids = [pid for pids in arbd.family().values() for pid in pids]
        held = [Path(f"/proc/{pid}/environ").read_text() for pid in pids]
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        log = arbd.log.read_text() + arbd.out.read_text()
    assert len(held) >= 2
    for told in (*held, repr(seen["environment"])):
        assert TOKEN not in told
        assert str(credentials) not in told
    assert TOKEN not in log


@pytest.mark.parametrize("variable", ["ARBD_HUB_AUTH_TOKEN_FILE", "ARBD_HUB_TLS_CA"])
def test_a_credential_that_is_missing_ends_the_start_with_78_and_is_named(
    tmp_path: Path, credentials: Path, variable: str
) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(credentials), variable: "$CREDENTIALS_DIRECTORY/mine"}
    with Arbd.run("127.0.0.1:1", tmp_path, workers=1, env=env) as arbd:
        assert arbd.exit_code() == 78
    assert f"{credentials}/mine cannot be read: No such file or directory" in arbd.log.read_text()
    assert "LoadCredential= of the unit" in arbd.log.read_text()
