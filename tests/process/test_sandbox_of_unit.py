"""A daemon under the unit's filters of system calls and socket families works as it does without: workers are pinned,
what actions start is followed and ends, numerical libraries compute.

The filters are those that systemd makes of the unit, made here by libseccomp, which systemd itself uses. The rest of
the sandbox needs a service manager.
"""

from __future__ import annotations

import ctypes.util
import errno
import json
import os
import signal
from pathlib import Path
from typing import Final

import pytest
from daemon_support import Arbd, Hub
from unit_calls import allowed_calls, require_tools
from unit_text import UNITS, Unit

#: Said where the sandbox stands in the way of something.
TROUBLE: Final = {
    *("not_pinned", "descendants_not_followed", "no_subreaper", "no_watcher", "oom_score_not_raised", "worker_failed"),
    *("no_control_socket", "unexpected_failure", "claims_not_made", "worker_not_started", "worker_lost"),
}
FAMILIES: Final = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}

#: What the process of the daemon does before all else: allow these calls, of ``socket`` these families, and no more.
FILTER: Final = """
import ctypes, json
library = ctypes.CDLL({library!r}, use_errno=True)
library.seccomp_init.restype = ctypes.c_void_p
class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
context = ctypes.c_void_p(library.seccomp_init(0x00050000 | {eperm}))
for name in json.loads({names!r}):
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number != -1:  # it is none of this machine's
        library.seccomp_rule_add(context, 0x7FFF0000, number, 0)
EQUAL = 4
for family in {families!r}:
    rule = (Comparison * 1)(Comparison(0, EQUAL, family, 0))
    number = library.seccomp_syscall_resolve_name(b"socket")
    assert library.seccomp_rule_add_array(context, 0x7FFF0000, number, 1, rule) == 0
assert library.seccomp_load(context) == 0
"""
PROVIDER: Final = """
import os, subprocess, sys, threading
from arbd import Provider
provider = Provider(name="sandboxed", execution_timeout=20)

@provider.actions.register(name="work")
def work():
    import numpy, socket
    matrix = numpy.ones((300, 300))
    thread = threading.Thread(target=lambda: None)
    thread.start(); thread.join()
    try:
        os.chown("/", 0, 0)
    except PermissionError:
        refused = True
    else:
        refused = False
    return {"sum": float((matrix @ matrix).sum()), "cpus": sorted(os.sched_getaffinity(0)), "refused": refused,
            "said": subprocess.check_output([sys.executable, "-c", "print(6 * 7)"]).decode(),
            "address": socket.getaddrinfo("localhost", 80)[0][4][0],
            "seccomp": "Seccomp:\\t2" in open("/proc/self/status").read()}

@provider.actions.register(name="hang", timeout=0.3)
def hang():
    subprocess.Popen(["sleep", "600"])
    while True:
        pass
"""


@pytest.fixture(scope="module")
def library() -> str:
    require_tools("systemd-analyze")
    found = ctypes.util.find_library("seccomp")
    assert found is not None, "systemd is here, and the library of its filters is not"
    return found


def test_a_daemon_works_under_the_filters_of_the_unit(library: str, tmp_path: Path) -> None:
    unit = Unit(UNITS / "arbd@.service")
    names = sorted(allowed_calls(unit) - {"socket"})
    families = [FAMILIES[name] for name in unit.one("RestrictAddressFamilies").split()]
    before = FILTER.format(library=library, eperm=errno.EPERM, names=json.dumps(names), families=families)
    target = tmp_path / "sandboxed.py"
    target.write_text(PROVIDER)
    command = ["-c", f"{before}\nfrom arbd.cli import main\nmain()", "run", str(target), "--workers", "2"]
    with Hub() as hub:
        log = ["--log-format", "json", "--log-level", "debug", "--hub", hub.address]
        with Arbd([*command, *log], tmp_path) as arbd:
            arbd.wait_serving(2)
            tasks = hub.submit("work", count=4)
            [hung] = hub.submit("hang")
            results = hub.results()
            arbd.signal(signal.SIGHUP)
            arbd.wait_event("reloaded")
            arbd.signal(signal.SIGTERM)
            assert arbd.exit_code() == 0, arbd.log.read_text()
            events = {line["event"] for line in arbd.events()}
    for task in tasks:
        data = results[task].response["data"]
        assert (data["sum"], data["said"], data["refused"], data["seccomp"]) == (300.0**3, "42\n", True, True)
        assert len(data["cpus"]) == 1 or len(os.sched_getaffinity(0)) == 1
    assert results[hung].response["status"] == "error"
    assert events & TROUBLE == set()
