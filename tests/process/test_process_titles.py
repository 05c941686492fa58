"""A process that has set its title is found by it, in both places where people look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from arbd.host.process_title import set_title
set_title(sys.argv[1], sys.argv[2])
print(open("/proc/self/comm").read().strip())
print(open("/proc/self/cmdline").read().rstrip("\\0"))
print(sys.argv[1:])
if os.fork() == 0:
    set_title("arbd:worker-7")
    print(open("/proc/self/cmdline").read().rstrip("\\0"), flush=True)
    os._exit(0)
os.wait()
"""


def said(title: str, of: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, title, of], capture_output=True, text=True, check=True)
    return sorted(done.stdout.splitlines())


def test_both_names_and_those_of_a_fork() -> None:
    assert said("arbd:worker-12", "prices") == sorted(
        ["arbd:worker-12", "arbd:worker-12 prices", "['arbd:worker-12', 'prices']", "arbd:worker-7"]
    )


def test_a_long_name_is_cut_where_the_room_ends() -> None:
    longest = "p" * 5000
    assert "arbd:worker-7" in said("arbd:worker-12", longest)


def test_a_name_with_control_characters_is_left_out() -> None:
    assert "arbd:worker-1" in said("arbd:worker-1", "a\x1b[2J")


def test_where_the_kernel_does_not_say_only_the_short_name_is_set() -> None:
    program = (
        "import arbd.host.process_title as title, os\n"
        "def no(*_): raise OSError(13, 'no')\n"
        "title._write = no\n"
        "title.set_title('arbd:x')\n"
        "print(open('/proc/self/comm').read().strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "arbd:x\n"
    assert Path("/proc/self/cmdline").read_bytes()
