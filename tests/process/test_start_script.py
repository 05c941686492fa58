"""``provider.start()`` as the last line of a script: ``python script.py`` is the daemon, under the same process id."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from daemon_support import Arbd, Hub, eventually

SCRIPT = """
import os, sys, threading
from arbd import Provider

{threads}


class Mine(Provider):
    def __init__(self):
        super().__init__(
            name="script",
            auth_token=os.environ["PROVIDER_AUTH_TOKEN"],
            hub_url=os.environ["HUB"],
            execution_timeout=3,
        )

        @self.actions.register(name="where", description="", payload_schema={{}})
        def where():
            return {{"pid": os.getpid(), "main": __name__, "argv": sys.argv[1:], "timeout": self.execution_timeout}}


if __name__ == "__main__":
    print("before start", flush=True)
    Mine().start()
    print("never reached", flush=True)
"""
THREADS = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
TOKEN = "token-of-the-script-1234"
JSON_LOGS = {"ARBD_LOG_FORMAT": "json", "ARBD_LOG_LEVEL": "debug", "ARBD_WORKERS": "2", "ARBD_PIN": "off"}


@pytest.mark.parametrize("threads", ["", THREADS], ids=["fork", "exec"])
def test_a_script_is_the_daemon(tmp_path: Path, threads: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(threads=threads))

    with Hub(tokens=[TOKEN]) as hub:
        env = {"HUB": hub.address, "PROVIDER_AUTH_TOKEN": TOKEN, **JSON_LOGS}
        with Arbd(["script.py", "--region", "eu"], tmp_path, env) as arbd:
            arbd.wait_serving()
            [started] = arbd.events("started")
            assert (started["provider"], started["hub"]) == ("script", hub.address)
            [task_id] = hub.submit("where")
            data = hub.results()[task_id].response["data"]
            workers = arbd.family()
            assert data["pid"] in workers["arbd:worker-0"] + workers["arbd:worker-1"]
            assert (data["main"], data["argv"], data["timeout"]) == ("__main__", ["--region", "eu"], 3.0)
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0
            assert "never reached" not in arbd.out.read_text()


def test_a_module_is_the_daemon(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("from .parts import *\n" + SCRIPT.format(threads=""))
    (package / "parts.py").write_text("x = 1\n")
    with Hub() as hub:
        env = {"HUB": hub.address, "PROVIDER_AUTH_TOKEN": TOKEN, **JSON_LOGS}
        with Arbd(["-m", "package"], tmp_path, env) as arbd:
            arbd.wait_serving()
            [task_id] = hub.submit("where")
            assert hub.results()[task_id].response["data"]["main"] == "__main__"
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0


def test_wrong_settings_of_a_script_are_told_like_those_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(threads=""))
    env = {"HUB": "127.0.0.1:1", "PROVIDER_AUTH_TOKEN": TOKEN, "ARBD_WORKERS": "none"}
    with Arbd(["script.py"], tmp_path, env) as arbd:
        assert arbd.exit_code() == 78
        assert "ARBD_WORKERS" in arbd.log.read_text()


def test_the_process_id_stays_the_same(tmp_path: Path) -> None:
    """What started the script, systemd for example, goes on watching the daemon."""
    (tmp_path / "script.py").write_text(SCRIPT.format(threads=""))
    with Hub() as hub:
        env = {"HUB": hub.address, "PROVIDER_AUTH_TOKEN": TOKEN, **JSON_LOGS}
        with Arbd(["script.py"], tmp_path, env) as arbd:
            arbd.wait_serving()
            arguments = Path(f"/proc/{arbd.process.pid}/cmdline").read_bytes().split(b"\0")
            assert b"--script" in arguments
            os.kill(arbd.process.pid, signal.SIGTERM)
            eventually(lambda: arbd.process.poll() == 0)


AROUND = """
import os, sys, threading
from contextlib import contextmanager
from arbd import Provider

{threads}
provider = Provider(name="script", hub_url=os.environ["HUB"])
is_open = False

def note(*words):
    with open("book", "a") as book:
        book.write(" ".join(map(str, words)) + "\\n")

@contextmanager
def opened():
    global is_open
    is_open = True
    try: yield
    finally:
        is_open = False
        note("closed")

@provider.actions.register()
def ask():
    found = []
    other = threading.Thread(target=lambda: found.append(__import__("around").__name__), daemon=True)
    other.start()
    other.join(5)
    return {{"open": is_open, "imported": found}}

def main():
    try:
        with opened():
            provider.start()
            note("behind it")
    except BaseException as error:
        note("raised", type(error).__name__)
    finally:
        note("finally")
    note("after it")

{call}
"""
PLACES = {
    "in a function": "if __name__ == '__main__': main()",
    "in a coroutine": (
        "async def run(): main()\nif __name__ == '__main__':\n    import asyncio\n    asyncio.run(run())"
    ),
    "while it is imported": "main()",
}


@pytest.mark.parametrize("threads", ["", THREADS], ids=["fork", "exec"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_around_the_call_ends_before_the_daemon(tmp_path: Path, threads: str, place: str) -> None:
    """``with`` blocks stay open, ``finally`` does not run, nothing behind the call runs, in no process."""
    (tmp_path / "around.py").write_text(AROUND.format(threads=threads, call=PLACES[place]))
    with Hub() as hub:
        env = {"HUB": hub.address, "PROVIDER_AUTH_TOKEN": TOKEN, **JSON_LOGS}
        imported = place == "while it is imported"
        command = ["-m", "arbd", "run", "around"] if imported else ["around.py"]
        with Arbd(command, tmp_path, env) as arbd:
            arbd.wait_serving()
            [task_id] = hub.submit("ask")
            data = hub.results()[task_id].response["data"]
            assert data == {"open": True, "imported": ["around"]}
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0
    assert not (tmp_path / "book").exists()


def test_what_goes_wrong_behind_the_call_reaches_no_handler_of_the_script(tmp_path: Path) -> None:
    text = AROUND.format(threads=THREADS, call=PLACES["in a function"]).replace(
        "is_open = False", "is_open = False\nprovider.rate_limit_monitor = Shared()", 1
    )
    monitor = """
from arbd import RateLimitMonitor
class Shared(RateLimitMonitor):
    shared = True
    def check_rate_limits(self): return {{}}
"""
    (tmp_path / "around.py").write_text(text.replace("provider = ", monitor.format() + "\nprovider = ", 1))
    env = {"HUB": "127.0.0.1:1", "PROVIDER_AUTH_TOKEN": TOKEN, **JSON_LOGS}
    with Arbd(["around.py"], tmp_path, env) as arbd:
        assert arbd.exit_code() != 0
        assert "shared = True" in arbd.log.read_text()
    assert not (tmp_path / "book").exists()
