"""``arbd completion``: real shells complete real command lines: commands, options, settings, files, daemons that run.

bash is there wherever this runs. zsh and fish are tried where they are installed, and missed with a loud line
elsewhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from shell_terminal_support import Terminal, at_terminal

_SHELLS: Final = ("bash", "zsh", "fish")
#: What is typed before Tab, and what stands there after it, in every shell.
_LINES: Final = {
    "a command": ("arbd log-l", "arbd log-level "),
    "an option": ("arbd install-units --ro", "arbd install-units --root "),
    "an option of a setting": ("arbd run p.py --wor", "arbd run p.py --workers "),
    "a setting": ("arbd run p.py --log-level cr", "arbd run p.py --log-level critical "),
    "a setting behind =": ("arbd run p.py --log-level=cr", "arbd run p.py --log-level=critical "),
    "a file": ("arbd check pri", "arbd check prices.py "),
    "a file behind @": ("arbd submit x --payload @ord", "arbd submit x --payload @order.json "),
    "a file behind =": ("arbd config --config=ar", "arbd config --config=arbd.toml "),
    "a directory": ("arbd check nes", "arbd check nested/"),
    "a file below": ("arbd check nested/pr", "arbd check nested/provider.py "),
    "a daemon": ("arbd status ord", "arbd status orders "),
    "the second daemon of a provider": ("arbd status prices@2", "arbd status prices@2 "),
    "a daemon behind =": ("arbd pause x --daemon=ord", "arbd pause x --daemon=orders "),
    "by the path of the command": ("./bin/arbd log-l", "./bin/arbd log-level "),
    "behind another option": ("arbd --debug log-l", "arbd --debug log-level "),
}
_READY: Final = "IT-IS-READY"


def has(shell: str) -> bool:
    return shutil.which(shell) is not None


def where(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has(shell), reason=f"NO {shell.upper()} HERE: its completion is not tried")


each_shell = pytest.mark.parametrize("shell", [pytest.param(shell, marks=where(shell)) for shell in _SHELLS])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with what the lines name: files, a command ``arbd`` in ``bin``, and daemons' sockets."""
    here = tmp_path_factory.mktemp("shells")
    for name in ("prices.py", "order.json", "arbd.toml", "nested/provider.py", "nested/notes.txt", "my order.json"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("")
    command = here / "bin" / "arbd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m arbd "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    for shell in _SHELLS:
        done = subprocess.run([command, "completion", shell], capture_output=True, check=True, timeout=60)
        (here / f"arbd.{shell}").write_bytes(done.stdout)
    with sockets(here / "run", "prices", "prices@2", "orders", "a%24%28touch%20ran%29"):
        yield here


class sockets:
    """A context manager: somebody listens on sockets of these names, as daemons do."""

    def __init__(self, directory: Path, *names: str) -> None:
        self._directory, self._names = directory, names
        self._listening: list[socket.socket] = []

    def __enter__(self) -> None:
        self._directory.mkdir()
        at = os.open(self._directory, os.O_RDONLY)
        for name in self._names:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"/proc/self/fd/{at}/{name}.sock")
            listener.listen()
            self._listening.append(listener)
        os.close(at)

    def __exit__(self, *_: object) -> None:
        for listener in self._listening:
            listener.close()


def environ(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARBD_", "PROVIDER_", "LC_"))}
    own = {"HOME": str(place), "ZDOTDIR": str(place), "TERM": "dumb", "INPUTRC": "/dev/null", "LANG": "C.UTF-8"}
    return kept | own | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "RUNTIME_DIRECTORY": str(place / "run")}


def completed(shell: str, place: Path, line: str, result: str) -> None:
    """Type ``line`` and Tab, and wait for ``result``; Python's own start is part of it."""
    setups = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='$ '; source ./arbd.bash"),
        "zsh": (["zsh", "-f", "-i"], "PS1='$ '; autoload -Uz compinit; compinit -u -D; source ./arbd.zsh"),
    }
    argv, setup = setups[shell]
    with at_terminal(argv, environ(place), place) as terminal:
        prepare(terminal, setup)
        terminal.send(f"{line}\t")
        terminal.until(result)


def prepare(terminal: Terminal, setup: str) -> None:
    terminal.send(f"{setup}; echo {_READY[:4]}''{_READY[4:]}\n")  # what is typed is shown, too: not as one word
    terminal.until(_READY)
    terminal.until("$ ")


@pytest.mark.parametrize("line", _LINES)
@pytest.mark.parametrize("shell", [pytest.param(shell, marks=where(shell)) for shell in ("bash", "zsh")])
def test_tab_completes(shell: str, line: str, place: Path) -> None:
    completed(shell, place, *_LINES[line])


def ways_in_fish(place: Path, line: str) -> list[str]:
    """What fish would offer; it tells without a terminal."""
    program = f"source ./arbd.fish; complete --do-complete '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=place,
        env=environ(place),
    )
    assert done.stderr == ""
    return [way.partition("\t")[0] for way in done.stdout.splitlines()]


@where("fish")
@pytest.mark.parametrize("line", _LINES)
def test_fish_offers(line: str, place: Path) -> None:
    typed, result = _LINES[line]
    assert ways_in_fish(place, typed) == [result.rstrip().rpartition(" ")[2]]


def offered_by_bash(place: Path, line: str) -> list[str]:
    """What the function of the script offers for a line, without a terminal; cut as bash cuts it."""
    program = f"""
    source ./arbd.bash
    compopt() {{ :; }}
    COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
    read -ra COMP_WORDS <<<"$COMP_LINE"; [[ $COMP_LINE != *' ' ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    _arbd_completion arbd
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-uc", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=place,
        env=environ(place),
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_no_daemon_s_name_brings_a_command_into_the_line(place: Path) -> None:
    assert offered_by_bash(place, "arbd status ") == ["orders", "prices@1", "prices@2"]
    assert not (place / "ran").exists()


def test_a_file_whose_name_needs_quotes_gets_them_of_the_shell(place: Path) -> None:
    completed("bash", place, "arbd submit x --payload @my", "my\\ order.json ")


@pytest.mark.parametrize("line", ["arbd fly ", "arbd kill ", "arbd run --timeout "])
def test_where_nothing_fits_nothing_is_offered_and_nothing_printed(place: Path, line: str) -> None:
    assert offered_by_bash(place, line) == [""]


def test_in_the_middle_of_a_line_what_stands_behind_the_cursor_does_not_count(place: Path) -> None:
    with at_terminal(["bash", "--norc", "--noprofile", "-i"], environ(place), place) as terminal:
        prepare(terminal, "PS1='$ '; source ./arbd.bash")
        terminal.send("arbd log-l p.py" + "\x02" * len(" p.py") + "\t" + "\x05#")
        terminal.until("arbd log-level")
        terminal.until("p.py#")


@each_shell
def test_the_shell_takes_the_script_as_it_is(shell: str, place: Path) -> None:
    done = subprocess.run([shell, "-n", f"arbd.{shell}"], capture_output=True, text=True, timeout=60, cwd=place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
