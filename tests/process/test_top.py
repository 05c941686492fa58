"""``arbd top`` at a real terminal and a real daemon: keys do what they say, and the terminal is always put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemon_support import Arbd, Gate, Hub, daemon_of, eventually, is_alive
from terminal_support import Terminal

from arbd.control import client, protocol
from arbd.control.protocol import StatusReply
from arbd.control.reports import StatusReport
from arbd.testing import RunningProvider

TOP = [sys.executable, "-m", "arbd", "top"]


def status(path: Path) -> StatusReport:
    return client.ask(path, protocol.GetStatus(), StatusReply).report


@contextmanager
def top(path: Path, directory: Path, size: tuple[int, int] = (80, 24)) -> Iterator[Terminal]:
    with Terminal([*TOP, str(path)], directory, size) as terminal:
        terminal.shows("q quit")
        yield terminal


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a daemon of two workers."""
    path = tmp_path_factory.mktemp("daemon") / "c.sock"
    with daemon_of(workers=2, control_socket=str(path), kill_grace=0.2) as daemon:
        global DAEMON
        DAEMON = daemon
        yield path


DAEMON: RunningProvider


class TestWhatIsSeen:
    def test_it_shows_hub_workers_actions_and_events_and_quits_by_q(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            seen = terminal.shows("last events")
            assert "zoo  serving, up" in seen
            assert terminal.is_full_screen
            assert len(seen.splitlines()) == 24
            assert all(len(line) <= 80 for line in seen.splitlines())
            terminal.type("q")
            assert terminal.exit_code() == 0
            assert terminal.is_as_before

    def test_a_running_task_is_shown_with_its_time(self, socket: Path, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        holding = DAEMON.submit("hold", gate.payload)
        assert gate.pid
        with top(socket, tmp_path, (120, 30)) as terminal:
            terminal.shows(f"/5 s hold {holding.id}")
            gate.open()
            DAEMON.response(holding)
            eventually(lambda: holding.id not in terminal.read())

    def test_it_takes_another_size_and_none_is_too_small(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            for size in ((200, 50), (1, 1), (10, 3), (40, 10), (300, 5)):
                terminal.resize(*size)

                def fits(columns: int = size[0], lines: int = size[1]) -> bool:
                    seen = terminal.read().split("\n")
                    return len(seen) == lines and all(len(line) <= columns for line in seen)

                eventually(fits)
            terminal.resize(80, 24)
            terminal.shows("q quit")
            terminal.type("?")
            terminal.shows("drain the daemon: it takes no more tasks")
            terminal.type("q")
            terminal.shows("zoo  serving")
            terminal.type("q")
            assert terminal.exit_code() == 0


class TestKeys:
    def test_p_pauses_the_action_of_the_selected_worker_and_resumes_it(self, socket: Path, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        holding = DAEMON.submit("hold", gate.payload)
        [slot] = eventually(lambda: [each.slot for each in status(socket).workers if each.running])
        with top(socket, tmp_path) as terminal:
            terminal.shows(" s hold ")
            terminal.type("\x1b[B" * slot + "p")
            terminal.shows("[y/N] pause action hold?")
            terminal.type("n")
            terminal.shows("nothing was done")
            assert status(socket).paused == []
            terminal.type("p")
            terminal.shows("[y/N] pause action hold?")
            terminal.type("y")
            terminal.shows("action hold is paused")
            assert [each.action for each in status(socket).paused] == ["hold"]
            terminal.shows("paused ")
            terminal.type("p")
            terminal.shows("action hold runs again")
            assert status(socket).paused == []
            gate.open()
            DAEMON.response(holding)

    def test_d_drains_and_resumes(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            terminal.type("d")
            terminal.shows("[y/N] drain the daemon?")
            terminal.type("y")
            terminal.shows("drain: drained")
            terminal.shows("zoo  drained")
            assert status(socket).state == "drained"
            terminal.type("d")
            terminal.shows("takes tasks again")
            terminal.shows("zoo  serving")
            assert status(socket).state == "serving"

    def test_r_replaces_the_selected_worker(self, socket: Path, tmp_path: Path) -> None:
        first, second = [each.pid for each in status(socket).workers]
        with top(socket, tmp_path) as terminal:
            terminal.shows(f"> 0       {first}")
            terminal.type("j")
            terminal.shows(f"> 1       {second}")
            terminal.type("r")
            terminal.shows("[y/N] replace worker 1?")
            terminal.type("y")
            terminal.shows("replace")
            eventually(lambda: [each.pid for each in status(socket).workers if each.slot == 1] not in ([second], []))
            assert first in [each.pid for each in status(socket).workers]
            terminal.shows("> 1  ")  # its successor is selected

    def test_k_kills_the_task_of_the_selected_worker(self, socket: Path, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        holding = DAEMON.submit("hold", gate.payload)
        [slot] = eventually(lambda: [each.slot for each in status(socket).workers if each.running])
        with top(socket, tmp_path) as terminal:
            terminal.shows(" s hold ")
            terminal.type("\x1b[B" * slot + "k")
            terminal.shows("[y/N] kill task ")
            terminal.type("y")
            response = DAEMON.response(holding)
            assert (response.status, response.error_code) == ("error", "CANCELLED")
            eventually(lambda: " s hold " not in terminal.read())
            terminal.type("k")
            terminal.shows(f"worker {slot} runs no task")

    def test_s_shows_where_the_selected_worker_is(self, socket: Path, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        holding = DAEMON.submit("hold", gate.payload)
        [slot] = eventually(lambda: [each.slot for each in status(socket).workers if each.running])
        with top(socket, tmp_path) as terminal:
            terminal.shows(" s hold ")
            terminal.type("\x1b[B" * slot + "s")
            seen = terminal.shows("in hold")
            assert f"== worker {slot} (pid {gate.pid}, runs hold" in seen
            terminal.type("\x1b")
            terminal.shows("zoo  serving")
            gate.open()
            DAEMON.response(holding)

    def test_an_answer_that_was_there_before_its_question_is_none(self, socket: Path, tmp_path: Path) -> None:
        """Somebody pastes into the wrong window."""
        with top(socket, tmp_path) as terminal:
            terminal.type("dyryky")
            terminal.shows("[y/N] drain the daemon?")
            terminal.type("\x1b[A")  # the arrow is an answer: no
            terminal.shows("nothing was done")
            assert status(socket).state == "serving"

    def test_what_is_pasted_is_no_key(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            terminal.type("\x1b[200~q d y\x1b[201~?")
            terminal.shows("this page")

    def test_a_command_that_is_refused_says_why(self, socket: Path, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        holding = DAEMON.submit("hold", gate.payload)
        [slot] = eventually(lambda: [each.slot for each in status(socket).workers if each.running])
        with top(socket, tmp_path) as terminal:
            terminal.shows(" s hold ")
            terminal.type("\x1b[B" * slot + "k")
            terminal.shows("[y/N] kill task ")
            gate.open()
            DAEMON.response(holding)
            eventually(lambda: not status(socket).in_flight)
            terminal.type("y")
            terminal.shows("is here: it has not come, or the hub has its result")


class TestTheTerminalIsPutBack:
    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM])
    def test_when_a_signal_ends_it(self, socket: Path, tmp_path: Path, signum: signal.Signals) -> None:
        with top(socket, tmp_path) as terminal:
            terminal.signal(signum)
            assert terminal.exit_code() == 128 + signum
            assert terminal.is_as_before

    def test_when_it_is_ended_by_ctrl_c(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            terminal.type("\x03")
            assert terminal.exit_code() == 0
            assert terminal.is_as_before

    def test_while_it_is_stopped_and_taken_again_when_it_goes_on(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            for _ in range(2):
                terminal.type("\x1a")
                eventually(terminal.is_stopped)
                assert terminal.is_as_before
                terminal.foreground()
                terminal.shows("q quit")
                assert terminal.is_full_screen
                assert terminal.attributes() != terminal.before
            terminal.type("q")
            assert terminal.exit_code() == 0
            assert terminal.is_as_before

    def test_when_something_unexpected_happens(self, socket: Path, tmp_path: Path) -> None:
        code = (
            "from arbd.cli.top import session\nframe, calls = session.frame, []\n"
            "def breaks(*a):\n    calls.append(1)\n    return frame(*a) if len(calls) < 2 else 1 / 0\n"
            "session.frame = breaks\nfrom arbd.cli import main\nmain()"
        )
        with Terminal([sys.executable, "-c", code, "top", str(socket)], tmp_path) as terminal:
            assert terminal.exit_code() == 1
            assert "ZeroDivisionError" in terminal.read()
            assert terminal.is_as_before

    def test_when_nobody_reads_it(self, socket: Path, tmp_path: Path) -> None:
        """A connection that hangs, a window that was frozen: frames are dropped, and it ends when it is told to."""
        with Terminal([*TOP, str(socket)], tmp_path, (300, 100)) as terminal:
            terminal.shows("q quit")
            for number in range(40):  # each is drawn anew
                terminal.resize(300 - number, 100)
                time.sleep(0.02)
            os.kill(terminal.pid, signal.SIGTERM)
            leader = terminal._leader
            assert leader.wait(10) == 128 + signal.SIGTERM

    def test_where_it_is_gone_nothing_is_left(self, socket: Path, tmp_path: Path) -> None:
        with top(socket, tmp_path) as terminal:
            pid = terminal.pid
            terminal.hang_up()
            eventually(lambda: not is_alive(pid))


class TestTheDaemon:
    def test_one_that_does_not_answer_holds_up_no_key_and_one_that_is_started_anew_is_shown(
        self, tmp_path: Path
    ) -> None:
        socket = tmp_path / "c.sock"
        env = {"ARBD_CONTROL_SOCKET": str(socket)}
        with Hub() as hub, Arbd.run(hub.address, tmp_path, env=env) as daemon:
            daemon.wait_serving()
            with top(socket, tmp_path) as terminal:
                daemon.signal(signal.SIGSTOP)
                terminal.shows("no answer: ")
                terminal.type("d")
                terminal.shows("[y/N] drain the daemon?")
                terminal.type("n?")
                terminal.shows("this page")
                terminal.type("q")
                daemon.signal(signal.SIGCONT)
                terminal.shows("  serving, up")
                daemon.signal(signal.SIGTERM)
                daemon.exit_code()
                terminal.shows("no answer: ")
                with Arbd.run(hub.address, tmp_path, env=env) as successor:
                    terminal.shows(f"(pid {successor.process.pid}, ")
                    terminal.type("q")
                    assert terminal.exit_code() == 0
                    successor.signal(signal.SIGTERM)
                    successor.exit_code()


class TestWithoutATerminal:
    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [*TOP, *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env},
        )

    def test_it_says_what_to_do(self, socket: Path) -> None:
        done = self.run(str(socket))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "arbd: standard output is no terminal; `arbd top --once` prints one frame anywhere\n"

    def test_one_frame_is_printed_anywhere(self, socket: Path) -> None:
        done = self.run(str(socket), "--once")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("zoo  serving, up ")
        assert "last events" in done.stdout
        assert "\x1b" not in done.stdout

    def test_programs_get_the_same_as_a_document(self, socket: Path) -> None:
        done = self.run(str(socket), "--json")
        document = json.loads(done.stdout)
        assert document.keys() == {"status", "rates", "limits", "events"}
        assert document["status"]["provider"] == "zoo"
        assert document["rates"]["actions"]["hold"].keys() == {"success", "error", "limit"}
        assert [each["slot"] for each in document["rates"]["workers"]] == [0, 1]

    def test_a_terminal_that_can_do_nothing_is_refused(self, socket: Path, tmp_path: Path) -> None:
        with Terminal([*TOP, str(socket)], tmp_path, env={"TERM": "dumb"}) as terminal:
            assert terminal.exit_code() == 1
            assert "has no full screen; `arbd top --once` prints one frame" in terminal.read().replace("\r\n", "")
