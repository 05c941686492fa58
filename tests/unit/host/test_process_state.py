"""Whatever a process was started with, it begins in a known state."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PRELUDE = """
import json, os, resource, signal, subprocess, sys
from arbd.host import process_state
def tell(**found):
    with open(sys.argv[1], "w") as out:
        json.dump(found, out)
"""


def seen(tmp_path: Path, code: str, inherited: str = "") -> dict[str, Any]:
    """What ``code`` tells, in a fresh process that was started with what ``inherited`` has set."""
    answer = tmp_path / "answer"
    program = ["-c", PRELUDE + code, str(answer)]
    launcher = f"import os, signal, sys\n{inherited}\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    subprocess.run([sys.executable, "-c", launcher, *program], check=True, timeout=60)
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_standard_descriptors_are_open(tmp_path: Path, closed: list[int]) -> None:
    """A socket that got number 0 was closed by the event loop at its end, which aborted the process (libuv#4558)."""
    code = """
process_state.establish()
print("to nobody", flush=True)
print("to nobody", file=sys.stderr, flush=True)
tell(files=[os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)], read=sys.stdin.read() if 0 in CLOSED else "",
     inheritable=[os.get_inheritable(fd) for fd in range(3)])
""".replace("CLOSED", repr(closed))
    found = seen(tmp_path, code, f"for fd in {closed}: os.close(fd)")
    assert [found["files"][fd] for fd in closed] == [os.devnull] * len(closed)
    assert found["inheritable"] == [True] * 3
    assert found["read"] == ""


def test_those_that_are_open_stay_as_they_are(tmp_path: Path) -> None:
    code = """
before = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)], id(sys.stderr)
process_state.establish()
tell(same=before == ([os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)], id(sys.stderr)))
"""
    assert seen(tmp_path, code)["same"] is True


def test_no_signal_is_blocked_or_ignored(tmp_path: Path) -> None:
    """A parent that ignores SIGCHLD makes every wait for a child fail (gdnsd#243)."""
    code = """
process_state.establish()
blocked = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
tell(blocked=blocked, child=subprocess.run([sys.executable, "-c", "raise SystemExit(3)"]).returncode)
"""
    inherited = """
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
"""
    assert seen(tmp_path, code, inherited) == {"blocked": [], "child": 3}


def test_a_write_to_nobody_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    """A script's usual SIG_DFL for SIGPIPE, in the author's module, would end a worker by a log line."""
    code = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
process_state.establish()
read_end, write_end = os.pipe()
os.close(read_end)
try:
    os.write(write_end, b"x")
except BrokenPipeError:
    children = subprocess.run(["sh", "-c", "kill -PIPE $$"]).returncode
    tell(children=children)
"""
    assert seen(tmp_path, code) == {"children": -signal.SIGPIPE}


@pytest.mark.parametrize(
    ("theirs", "keep", "kept"),
    [("lambda *_: None", True, True), ("lambda *_: None", False, False), ("signal.SIG_IGN", True, False)],
)
def test_a_handler_of_the_author_s_for_sigchld(tmp_path: Path, theirs: str, keep: bool, kept: bool) -> None:
    code = f"""
signal.signal(signal.SIGCHLD, {theirs})
process_state.establish(keep_handler={keep})
tell(kept=signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL)
"""
    assert seen(tmp_path, code)["kept"] is kept


def test_the_descriptor_limit_is_put_back(tmp_path: Path) -> None:
    code = """
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
found = []
for soft in (0, 90, hard + 1 if hard != resource.RLIM_INFINITY else 90):
    process_state.limit_open_files(soft)
    found.append(resource.getrlimit(resource.RLIMIT_NOFILE))
tell(limits=found, hard=hard)
"""
    found = seen(tmp_path, code)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found["limits"] == [[soft, hard], [90, hard], [90, hard]]
