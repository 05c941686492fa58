"""What the processes may know and where they run: no token outside the supervisor, no gRPC, one CPU each, names.

The token is looked for in every byte of the memory of the zygote and the workers, as a debugger would.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import ZOO, Arbd, Hub, daemon_of, responses

from arbd.testing import RunningProvider

TOKEN = "tok-3f9a27c1d84e6b50-very-secret"


def memory_of(pid: int) -> Iterator[bytes]:
    """All memory of a process that can be read, region by region."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            region = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if region is None or "[v" in line:  # vsyscall, vvar
                continue
            begin, end = (int(bound, 16) for bound in region.groups())
            try:
                memory.seek(begin)
                yield memory.read(end - begin)
            except (OSError, OverflowError, ValueError):
                continue  # a region without pages behind it


def holds(pid: int, secret: str) -> bool:
    return any(secret.encode() in region for region in memory_of(pid))


def open_files(pid: int) -> set[tuple[str, int]]:
    """What a process has open: the name the kernel gives it, and its number."""
    found = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return {(os.readlink(file), os.stat(file).st_ino) for file in found}


PROVIDER = """
import os
from arbd import Provider

provider = Provider(name="secretive", auth_token=os.environ["PROVIDER_AUTH_TOKEN"])


@provider.actions.register(name="token")
def token(provider):
    return {"told": provider, "environment": os.environ["PROVIDER_AUTH_TOKEN"], "other": os.environ["OTHER"]}
"""


@pytest.mark.parametrize("way", ["environment", "file"])
def test_the_token_is_in_no_process_but_the_supervisor(tmp_path: Path, way: str) -> None:
    target = tmp_path / "secretive.py"
    target.write_text(PROVIDER)
    env = {"OTHER": f"hub-{TOKEN}-url"}
    if way == "environment":
        env["PROVIDER_AUTH_TOKEN"] = TOKEN
    else:
        (tmp_path / "token").write_text(TOKEN + "\n")
        env["ARBD_HUB_AUTH_TOKEN_FILE"] = str(tmp_path / "token")
        target.write_text(
            PROVIDER.replace(', auth_token=os.environ["PROVIDER_AUTH_TOKEN"]', "").replace(
                'os.environ["PROVIDER_AUTH_TOKEN"]', '"none"'
            )
        )
        env["OTHER"] = "nothing"
    with Hub(tokens=[TOKEN]) as hub, Arbd.run(hub.address, tmp_path, target=target, env=env) as arbd:
        arbd.wait_serving()
        [task_id] = hub.submit("token")
        data = hub.results()[task_id].response["data"]
        assert TOKEN not in str(data)
        if way == "environment":
            assert len(data["environment"]) == len(TOKEN)
            assert len(data["other"]) == len(TOKEN) + len("hub--url")
        pids = [pid for pids in arbd.family().values() for pid in pids]
        assert len(pids) == 3
        assert holds(arbd.process.pid, TOKEN)  # or the search finds nothing at all
        assert [pid for pid in pids if holds(pid, TOKEN)] == []
        assert [pid for pid in pids if TOKEN in Path(f"/proc/{pid}/environ").read_bytes().decode()] == []
        assert [pid for pid in pids if TOKEN in Path(f"/proc/{pid}/cmdline").read_bytes().decode()] == []
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert TOKEN not in arbd.log.read_text() + arbd.out.read_text()


def test_a_token_in_the_code_works_and_is_warned_about(tmp_path: Path) -> None:
    target = tmp_path / "careless.py"
    target.write_text(PROVIDER.replace('os.environ["PROVIDER_AUTH_TOKEN"]', repr(TOKEN)))
    env = {"OTHER": "", "PROVIDER_AUTH_TOKEN": ""}
    with Hub(tokens=[TOKEN]) as hub, Arbd.run(hub.address, tmp_path, target=target, workers=1, env=env) as arbd:
        arbd.wait_serving(1)
        arbd.wait_event("token_in_source")
        [task_id] = hub.submit("token")
        assert hub.results()[task_id].status == "success"  # so the supervisor has the real one
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
        assert TOKEN not in arbd.log.read_text()


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningProvider]:
    with daemon_of(ZOO, workers=2, pin=True) as daemon:
        yield daemon


def test_what_a_worker_is_seen_from_inside(daemon: RunningProvider) -> None:
    [response] = responses(daemon, [daemon.submit("inside")])
    inside = response.data
    assert re.fullmatch(r"arbd:worker-\d", inside["comm"])
    assert inside["leader"] is True
    assert inside["threads"] == 1
    assert inside["frozen"] > 1000
    assert inside["token"] is None
    assert Path(f"/proc/{inside['parent']}/comm").read_text() == "arbd:zygote\n"
    loaded = set(inside["modules"])
    assert loaded.isdisjoint({"grpc", "google.protobuf", "click", "rich", "watchfiles"})
    assert not [name for name in loaded if name.startswith(("arbd.supervisor", "arbd.hub", "arbd.cli"))]


def test_workers_have_a_cpu_each_inside_the_mask(daemon: RunningProvider) -> None:
    masks = [os.sched_getaffinity(pid) for pid in daemon.worker_pids]
    allowed = os.sched_getaffinity(0)
    assert [len(mask) for mask in masks] == [1, 1]
    assert set().union(*masks) <= allowed
    assert len(set().union(*masks)) == min(2, len(allowed))


def test_more_workers_than_cpus_share_them() -> None:
    count = len(os.sched_getaffinity(0)) + 1
    with daemon_of(workers=count, pin=True) as daemon:
        masks = [frozenset(os.sched_getaffinity(pid)) for pid in daemon.worker_pids]
        assert {len(mask) for mask in masks} == {1}
        assert len(set(masks)) == count - 1


def test_a_worker_holds_no_descriptor_of_another_or_of_the_zygote(daemon: RunningProvider) -> None:
    """Its own cell and no other; no pidfd; two sockets, for large bodies and for its output, which no other has."""
    parent = int(Path(f"/proc/{daemon.worker_pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    seen = {name for name, _ in open_files(parent)}
    for pid in daemon.worker_pids:
        names = [name for name, _ in open_files(pid)]
        assert sum("arbd-cell" in name for name in names) == 1
        assert not [name for name in names if "pidfd" in name]
        sockets = {name for name in names if name.startswith("socket:")}
        assert len(sockets) == 2
        assert not sockets & seen
        seen |= sockets


def test_the_supervisor_is_the_only_one_that_loads_grpc(tmp_path: Path) -> None:
    with Hub() as hub, Arbd.run(hub.address, tmp_path) as arbd:
        arbd.wait_serving()
        mapped = {
            name: any("cygrpc" in line for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines())
            for name, pids in {**arbd.family(), "supervisor": [arbd.process.pid]}.items()
        }
        assert mapped == {"supervisor": True, "arbd:zygote": False, "arbd:worker-0": False, "arbd:worker-1": False}
        arbd.signal(signal.SIGTERM)
        assert arbd.exit_code() == 0
