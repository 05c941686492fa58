"""A shared limit holds over the daemons of a host, whichever of them end, and however."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from daemon_support import PROVIDERS, daemon_of, eventually, responses

from arbd.errors import ConfigError
from arbd.model.limit_spec import LimitSpec, Rates
from arbd.rate_limit.storage.host_lease import POLL_NS, Lease, LeasedLimit
from arbd.supervisor.limits.host_file import FileSource
from arbd.testing import Response, RunningProvider

A, B = (f"{PROVIDERS / 'sharing.py'}:{name}" for name in ("ProviderA", "ProviderB"))
SPEC = LimitSpec("limit", "shared", Rates(max_requests=5, window_size=60), shared="the limit")


def exchange(source: FileSource, *arguments: Any) -> Lease:
    """An exchange that nothing stands in the way of."""
    lease = source.exchange(*arguments)
    assert lease is not None
    return lease


def calls(daemon: RunningProvider, times: int) -> list[Response]:
    return responses(daemon, [daemon.submit("call", {}) for _ in range(times)])


def test_two_daemons_draw_on_one_limit(tmp_path: Path) -> None:
    with (
        daemon_of(A, workers=2, runtime_dir=str(tmp_path / "run")) as one,
        daemon_of(B, workers=2, runtime_dir=str(tmp_path / "run")) as other,
    ):
        found = calls(one, 3) + calls(other, 4) + calls(one, 8) + calls(other, 3)
    assert [response.status for response in found].count("success") == 10
    assert [response.status for response in found[:7]] == ["success"] * 7
    refused = found[-1]
    assert refused.message is not None
    assert refused.message.startswith("Rate limit exceeded. Please wait 5")
    assert 50 < refused.data.pop("wait_time") <= 60
    assert refused.data == {
        "current_count": 10,
        "limit": 10,
        "window_size": 60,
        "providers": ["provider-a", "provider-b"],
    }


def test_a_daemon_that_starts_later_knows_what_others_have_used(tmp_path: Path) -> None:
    with daemon_of(A, runtime_dir=str(tmp_path / "run")) as one:
        assert [response.status for response in calls(one, 10)] == ["success"] * 10
    with daemon_of(B, runtime_dir=str(tmp_path / "run")) as other:
        refused = other.run("call")
    assert (refused.status, refused.data["providers"]) == ("limit", ["provider-b"])


def test_what_a_killed_daemon_held_counts_as_used(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            FileSource(tmp_path, SPEC, "a").exchange(10**9, [], 0, 3)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    source = FileSource(tmp_path, SPEC, "b")
    lease = exchange(source, 2 * 10**9, [], 0, 5)
    assert (lease.granted, lease.count, lease.members) == (2, 3, ["b"])
    assert exchange(source, 63 * 10**9 - 1, [], 0, 5).granted == 0
    assert exchange(source, 63 * 10**9, [], 0, 5).granted == 3
    source.close()


def test_a_state_that_cannot_be_read_or_is_of_another_boot_is_begun_anew(tmp_path: Path) -> None:
    source = FileSource(tmp_path, SPEC, "a")
    source.exchange(10**9, [], 0, 5)
    state = next(tmp_path.glob("*.limit"))
    state.write_bytes(b"\xc1 nothing that could be read")
    assert exchange(source, 2 * 10**9, [], 0, 5).granted == 0  # what it holds itself it still knows
    assert exchange(source, 2 * 10**9, [], 5, 5).granted == 5
    text = state.read_bytes()
    state.write_bytes(text.replace(Path("/proc/sys/kernel/random/boot_id").read_text().strip().encode(), b"0" * 36))
    assert exchange(source, 3 * 10**9, [(3 * 10**9, 1)], 4, 5).granted == 4
    source.close()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".limit", ".lock"]


def test_a_daemon_that_is_stopped_inside_an_exchange_does_not_stop_others(tmp_path: Path) -> None:
    source = FileSource(tmp_path, SPEC, "a")
    limit = LeasedLimit(source, 5, 60 * 10**9)
    limit.refill(10**9, 2)
    limit.spend(10**9, 1)
    holds = os.open(next(tmp_path.glob("*.lock")), os.O_RDWR)
    fcntl.flock(holds, fcntl.LOCK_EX)
    began = time.monotonic()
    limit.refill(2 * 10**9, 3)
    assert time.monotonic() - began < 1
    assert (limit.available(2 * 10**9, 0), limit.next_at(2 * 10**9, 0)) == (1, 2 * 10**9 + POLL_NS)
    os.close(holds)
    limit.refill(3 * 10**9, 5)
    assert limit.available(3 * 10**9, 0) == 4
    source.close()


def test_a_limit_that_cannot_be_shared_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="rate limit 'provider' is shared with other daemons, but"):  # noqa: SIM117 - the start is what fails
        with daemon_of(A, runtime_dir=str(tmp_path / "file")):
            pass


def test_limits_of_different_names_do_not_meet(tmp_path: Path) -> None:
    one, other = (
        FileSource(tmp_path, LimitSpec("x", "shared", SPEC.rates, shared=name), "p") for name in ("a/b", "a b")
    )
    assert [exchange(source, 10**9, [], 0, 5).granted for source in (one, other)] == [5, 5]
    one.close()
    other.close()


def test_daemons_whose_runtime_directory_is_removed_go_on_with_what_they_know(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        daemon_of(A, workers=2, runtime_dir=str(run)) as one,
        daemon_of(B, workers=2, runtime_dir=str(run)) as other,
    ):
        found = calls(one, 3)
        shutil.rmtree(run, ignore_errors=True)
        found += calls(other, 4)
        assert [response.status for response in found] == ["success"] * 7
        shutil.rmtree(run, ignore_errors=True)
        # What one knows was in files that were lost twice: until the other has come, nothing is let through.
        eventually(lambda: [response.status for response in found + calls(one, 1)].count("success") == 8)
        found = calls(one, 5) + calls(other, 5)
    assert [response.status for response in found].count("success") == 2
    refused = found[-1]
    assert (refused.status, refused.data["providers"]) == ("limit", ["provider-a", "provider-b"])


def test_a_limit_whose_files_cannot_be_used_refuses_and_the_others_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with daemon_of(PROVIDERS / "held_and_shared.py", workers=2, runtime_dir=str(run)) as daemon:
        assert daemon.run("shared").status == "success"
        eventually(lambda: any(run.iterdir()))
        shutil.rmtree(run)
        run.write_text("in its place")
        refused = eventually(lambda: (found := daemon.run("shared")).status == "limit" and found)
        assert 0 < refused.data["wait_time"] <= 5
        assert [daemon.run("other").status for _ in range(5)] == ["success"] * 5
        run.unlink()
        eventually(lambda: daemon.run("shared").status == "success")


def test_a_provider_s_shared_limit_that_holds_takes_what_it_lets_through(tmp_path: Path) -> None:
    with daemon_of(PROVIDERS / "held_and_shared.py:holding", runtime_dir=str(tmp_path / "run")) as daemon:
        found = responses(daemon, [daemon.submit("held") for _ in range(4)])
    assert [response.status for response in found] == ["success"] * 4
