"""A real systemd for tests: PID 1 of namespaces of its own (``rig_keeper.py``), on a root of its own, with arbd and its
units installed as ``docs/deploy.md`` says. Instances of ``arbd@.service`` run in it; hubs and tests stay outside, on
the network that both share.

It has no cgroup controllers on many machines: ``MemoryMax=`` and ``AllowedCPUs=`` have no effect, ``CPUAffinity=`` has.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil
from daemon_support import eventually, is_alive
from documents import ROOT

ARBD: Final = "/opt/arbd/bin/arbd"
#: Capabilities that nobody in there has, as ``setpriv`` wants them: what they change is the machine's.
DENIED: Final = "-sys_module,-sys_time,-sys_rawio,-syslog,-net_admin"
ZOO: Final = "/opt/source/tests/process/providers/zoo.py"
#: A daemon whose event loop hangs with the first task, and hears no signal from then on.
DEAF: Final = """
import time
from arbd.supervisor.flow import Flow
take = Flow.take
Flow.take = lambda self, tasks: time.sleep(600) if tasks else take(self, tasks)
from arbd.__main__ import main
main()
"""
_BYTECODE: Final = "/opt/bytecode"
_ENTERED: Final = ("--mount", "--pid", "--ipc", "--uts", "--cgroup")
_KEEPER: Final = Path(__file__).with_name("rig_keeper.py")
_SYSTEMD: Final = Path("/lib/systemd/systemd")
_TOOLS: Final = ("unshare", "nsenter", "setpriv", "pivot_root", "mount")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_names = (f"prov{number}" for number in itertools.count(1))


def why_not() -> str:
    """What is missing here to boot a systemd; ``""`` for nothing."""
    if os.geteuid() != 0:
        return "it needs root"
    if not _SYSTEMD.exists():
        return f"no {_SYSTEMD} (Debian: apt install systemd)"
    if missing := [tool for tool in _TOOLS if not shutil.which(tool, path=_PATH)]:
        return f"{', '.join(missing)} not found (Debian: apt install util-linux)"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, timeout=30
    )
    return tried.stderr.strip()


class Rig:
    """One booted systemd. ``pid``: of its PID 1, as seen from outside; ``root``: its files, the same way."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="arbd-rig-", dir="/tmp"))
        self._log = self._directory / "boot.log"
        version = "{}.{}".format(*sys.version_info)
        packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        if sys.pycache_prefix:
            Path(sys.pycache_prefix).mkdir(parents=True, exist_ok=True)
        python = [sys.base_prefix, version, sys.pycache_prefix or "", *packages]
        command = [sys.executable, str(_KEEPER), str(self._directory), DENIED, str(ROOT), *python]
        with self._log.open("wb") as log:
            self._keeper = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": _PATH},
                cwd="/",
                start_new_session=True,
            )
        try:
            assert self._keeper.stdout is not None
            self.pid = int(self._keeper.stdout.readline() or 0)
            assert self.pid, "no process in the namespaces"
            self.root = Path(f"/proc/{self.pid}/root")
            eventually(self._is_running, 60)
        except BaseException as exc:
            self.close()
            exc.add_note(f"The systemd for tests has not booted: {self.boot_log}")
            raise

    def _is_running(self) -> bool:
        assert self._keeper.poll() is None, "its keeper has ended"
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in there, as root without what is ``DENIED``."""
        done = subprocess.run(
            # What enters the namespaces brings root's capabilities with it: those of PID 1 do not bind it.
            ["nsenter", "-t", str(self.pid), *_ENTERED, "--", "setpriv", f"--bounding-set={DENIED}", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
            cwd="/",
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    def systemctl(self, *words: str, check: bool = True) -> str:
        """What ``systemctl`` prints."""
        return self.run("systemctl", *words, check=check).stdout

    def show(self, unit: str) -> dict[str, str]:
        """All properties of a unit, also those that are empty."""
        lines = self.systemctl("show", "--all", unit).splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def journal(self, unit: str) -> list[str]:
        """What a unit has logged, and systemd about it."""
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager").stdout.splitlines()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in there."""
        inside = self.root / path.lstrip("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch(mode)
        inside.chmod(mode)
        inside.write_text(text)

    def processes(self, unit: str) -> list[psutil.Process]:
        """All processes in a unit's cgroup, as seen from outside."""
        cgroup = self.systemctl("show", "-P", "ControlGroup", unit).strip()
        found = []
        for file in (self.root / "sys/fs/cgroup" / cgroup.lstrip("/")).rglob("cgroup.procs") if cgroup else ():
            with suppress(OSError):  # the unit is ending
                found += [int(pid) for pid in file.read_text().split()]
        return [psutil.Process(pid) for pid in found if is_alive(pid)]

    def install(self) -> None:
        """Install arbd's units, by the commands of ``docs/deploy.md``."""
        if sys.pycache_prefix:  # the sandbox keeps daemons from writing there
            python = ["env", f"PYTHONPYCACHEPREFIX={_BYTECODE}", "/opt/arbd/bin/python"]
            self.run(*python, "-m", "compileall", "-q", "/opt/source/arbd")
            self.run(*python, "-c", "import arbd.supervisor.main, arbd.worker.zygote, arbd.cli, numpy")
        self.run(ARBD, "install-units")
        self.run("systemd-sysusers", "arbd.conf")
        self.run("systemd-tmpfiles", "--create", "arbd.conf")
        self.systemctl("daemon-reload")

    def power_off(self) -> bool:
        """Have it end in order; whether it did."""
        self.run("systemctl", "poweroff", check=False)
        try:
            self._keeper.wait(10)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End it, by force if it still runs, and see that nothing of it is left."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait(30)
        self._keeper.stdout.close()
        self.boot_log = self._log.read_text(errors="replace")
        shutil.rmtree(self._directory)


class Instance:
    """One instance of ``arbd@.service``, of the actions of ``tests/process/providers/zoo.py`` with two workers unless
    told otherwise; a context manager that leaves nothing of it.

    ``unit``: lines for a drop-in; ``token``: its credential; ``settings``: lines for its settings.
    """

    def __init__(
        self,
        rig: Rig,
        hub: str,
        *settings: str,
        unit: tuple[str, ...] = (),
        token: str = "",
        target: str = ZOO,
        workers: str = "2",
    ) -> None:
        self.rig = rig
        self.name = next(_names)
        self.unit = f"arbd@{self.name}.service"
        self._drop_in = f"/etc/systemd/system/{self.unit}.d/test.conf"
        lines = [f'target = "{target}"', f'name = "{self.name}"', f'hub.url = "{hub}"', f"workers = {workers}"]
        lines += ['log.format = "json"', 'log.level = "debug"', *settings]
        rig.write(f"/etc/arbd/{self.name}.toml", "\n".join(lines) + "\n")
        if token:
            rig.write(f"/etc/credstore/arbd.{self.name}.token", token, 0o600)
        if unit:
            rig.write(self._drop_in, "\n".join(["[Service]", *unit]) + "\n")
            rig.systemctl("daemon-reload")

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.rig.systemctl("status", "--no-pager", "--lines=0", self.unit, check=False))
            error.add_note("\n".join(self.rig.journal(self.unit)[-100:]))
        self.rig.systemctl("kill", "--signal=KILL", self.unit, check=False)
        self.rig.systemctl("stop", self.unit, check=False)
        self.rig.systemctl("reset-failed", self.unit, check=False)
        shutil.rmtree(self.rig.root / self._drop_in.lstrip("/").rpartition("/")[0], ignore_errors=True)
        self.rig.systemctl("daemon-reload")

    @staticmethod
    def deaf(rig: Rig) -> tuple[str, ...]:
        """Lines for a drop-in, by which the daemon is ``DEAF``."""
        rig.write("/srv/deaf.py", DEAF)
        return ("ExecStart=", "ExecStart=/opt/arbd/bin/python /srv/deaf.py run --config /etc/arbd/%i.toml")

    @property
    def state_directory(self) -> Path:
        """Where its actions may write, as seen from outside."""
        return self.rig.root / "var/lib/arbd" / self.name

    def inside(self, path: Path) -> str:
        """A path as the daemon has it."""
        return f"/{path.relative_to(self.rig.root)}"

    @property
    def control_socket(self) -> str:
        """Its control socket, as an operator in there names it."""
        (path,) = (self.rig.root / "run/arbd" / self.name).glob("*.sock")
        return self.inside(path)

    def start(self) -> float:
        """``systemctl start``, which returns when it is active; how long that took, in seconds."""
        return self._timed("start")

    def stop(self) -> float:
        """``systemctl stop``; how long it took, in seconds."""
        return self._timed("stop")

    def _timed(self, verb: str) -> float:
        began_at = time.monotonic()
        self.rig.systemctl(verb, self.unit)
        return time.monotonic() - began_at

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.rig.systemctl("show", "-P", name, self.unit).strip()

    def wait(self, name: str, value: str, timeout_s: float = 30.0) -> None:
        """Wait until a property has a value."""
        eventually(lambda: self.show(name) == value, timeout_s)

    def wait_status(self, words: str) -> str:
        """Wait until the status line has these words; it."""
        return eventually(lambda: words in (line := self.show("StatusText")) and line, 20)

    def processes(self) -> list[psutil.Process]:
        """All its processes, as seen from outside."""
        return self.rig.processes(self.unit)

    def named(self, start: str) -> list[psutil.Process]:
        """Those of its processes whose names begin so."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if process.name().startswith(start):
                    found.append(process)
        return found

    @property
    def workers(self) -> list[psutil.Process]:
        """Its workers."""
        return self.named("arbd:worker")

    @property
    def supervisor(self) -> psutil.Process:
        """The main process of the unit, as seen from outside."""
        main = self.show("MainPID")
        return next(each for each in self.processes() if _pid_inside(each.pid) == main)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Its log lines in the journal, of one event or all."""
        found = [json.loads(line) for line in self.rig.journal(self.unit) if line.startswith("{")]
        return [line for line in found if name in ("", line["event"])]

    def wait_event(self, name: str, count: int = 1, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Wait until an event was logged so often."""
        return eventually(lambda: len(found := self.events(name)) >= count and found, timeout_s)


def _pid_inside(pid: int) -> str:
    """The pid that a process has in the innermost namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    raise AssertionError("a kernel without NSpid")
