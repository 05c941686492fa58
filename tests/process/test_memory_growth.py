"""Claim: memory does not grow with the number of tasks, in any process; and a worker shares what its zygote has loaded,
also after a garbage collection, which would otherwise write to every page of it."""

from __future__ import annotations

from pathlib import Path

import psutil
from daemon_support import PROVIDERS, Arbd, Hub, eventually

KIB = 1024
MIB = 1024 * KIB
WARM_UP = 20_000
TASKS = 50_000
BALLAST = PROVIDERS / "ballast.py"
BALLAST_BYTES = 20 * MIB  # at least


def own_bytes(pid: int) -> int:
    """What would be free if this process ended."""
    return int(psutil.Process(pid).memory_full_info().uss)


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def test_memory_does_not_grow_with_tasks(tmp_path: Path) -> None:
    """100 bytes for each task would be 5 MB. Looked at when nothing is under way.

    What is resident, not what is a process's own: a page of the zygote's that a worker writes to becomes its own,
    sooner or later, and nothing has grown by that.
    """
    with Hub(keep_finished=1_000) as hub, Arbd.run(hub.address, tmp_path, target=BALLAST) as daemon:
        daemon.wait_serving()
        family = {"supervisor": [daemon.process.pid], **daemon.family()}

        def run(tasks: int) -> dict[str, int]:
            already = hub.done()
            hub.submit("echo", {"number": 1}, count=tasks)
            eventually(lambda: hub.done() == already + tasks, timeout_s=60)
            return {name: sum(map(resident_bytes, pids)) for name, pids in family.items()}

        before = run(WARM_UP)
        after = run(TASKS)
    grown = {name: after[name] - size for name, size in before.items()}
    assert grown.pop("supervisor") < 2 * MIB
    assert {name: size for name, size in grown.items() if size > 256 * KIB} == {}


def test_a_worker_shares_what_the_zygote_has_loaded(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path, target=BALLAST, workers=1) as daemon:
        daemon.wait_serving(1)
        family = daemon.family()
        [worker], [zygote] = family["arbd:worker-0"], family["arbd:zygote"]
        assert psutil.Process(zygote).memory_info().rss > BALLAST_BYTES
        hub.submit("echo")
        hub.results()
        before = own_bytes(worker)
        assert before < 8 * MIB  # 7 of them; the guard has touched what it looks at
        hub.submit("collect")
        hub.results()
        assert own_bytes(worker) - before < MIB
