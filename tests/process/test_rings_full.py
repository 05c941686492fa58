"""Rings that are full, records that do not fit, a supervisor that is away: all of it only makes things slower.

16 KiB is the smallest ring there is: a record above 4 KiB goes by reference, and a few records fill it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from daemon_support import (
    Gate,
    daemon_of,
    eventually,
    flow,
    frozen,
    learn,
    on_loop,
    responses,
    serving,
    tasks_done,
)

from arbd.ipc import layout
from arbd.testing import RunningProvider

TINY = 16 * 1024
MIB = 1024 * 1024


def texts(count: int, longest: int) -> list[str]:
    """Different texts of many lengths, short ones mostly."""
    chance = random.Random(7)
    return [f"{n}:" + "y" * int(longest ** chance.random()) for n in range(count)]


def mirrored(daemon: RunningProvider, sent: list[str]) -> list[str]:
    handles = [daemon.submit("mirror", {"text": text}) for text in sent]
    return [response.data["text"] for response in responses(daemon, handles, timeout_s=60)]


def test_many_tasks_and_results_of_many_sizes_through_tiny_rings(deep_rings: None) -> None:
    """Some go by reference and some inside the record, and all of them stay in order."""
    with daemon_of(ring_size=TINY, workers=2, prefetch=200) as daemon:
        sent = texts(1500, 20_000)
        assert mirrored(daemon, sent) == sent


def test_both_rings_full_and_the_supervisor_away(deep_rings: None, tmp_path: Path) -> None:
    """The worker waits for room, far beyond its task's hard deadline: the task was done in time, so it is a success."""
    with daemon_of(ring_size=TINY, prefetch=4096, execution_timeout=1, kill_grace=0.05) as daemon:
        learn(daemon, tmp_path)
        worker = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("blob", {"size": 3_000}) for _ in range(500)]
        assert gate.pid == worker.pid
        eventually(lambda: on_loop(daemon, lambda: flow(daemon).dispatcher.backlog > 0))
        words = worker.cell._words
        with frozen(daemon):
            free_for_tasks = TINY - (words[layout.TASK_TAIL] - words[layout.TASK_HEAD])
            gate.open()
            done = eventually(lambda: worker.cell.running().since_ns == 0 and tasks_done(worker))
            begin = time.monotonic()
            eventually(lambda: time.monotonic() > begin + 1.2)
            assert tasks_done(worker) == done
        assert free_for_tasks < 200
        found = responses(daemon, handles)
        assert [response.status for response in found] == ["success"] * 501
        assert serving(daemon).pid == worker.pid


def test_a_worker_that_waits_for_room_is_killed_and_what_it_had_pushed_counts(deep_rings: None, tmp_path: Path) -> None:
    """The one task whose answer was not in the ring yet is lost; nothing is run twice."""
    with daemon_of(ring_size=TINY, prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        worker = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        handles += [daemon.submit("blob", {"size": 3_000}) for _ in range(20)]
        assert gate.pid == worker.pid
        with frozen(daemon):
            done_before = tasks_done(worker)
            gate.open()
            eventually(lambda: worker.cell.running().since_ns == 0 and tasks_done(worker) > done_before)
            pushed = tasks_done(worker) - done_before - 1  # without the one that waits
            worker.kill()
        found = responses(daemon, handles)
        expected = ["success"] * pushed + ["error"] + ["success"] * (len(handles) - pushed - 1)
        assert [response.status for response in found] == expected
        assert found[pushed].error_code == "WORKER_LOST"


@pytest.mark.parametrize("ring_size", [TINY, 256 * 1024])
def test_sixteen_mebibytes_each_way(ring_size: int) -> None:
    text = "z" * (16 * MIB - len('{"text":""}'))
    with daemon_of(ring_size=ring_size, max_result=17 * MIB, execution_timeout=20) as daemon:
        assert mirrored(daemon, [text, "short", text]) == [text, "short", text]


def test_a_payload_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    limit = 64 * 1024
    with daemon_of(max_payload=limit) as daemon:
        fits = b'{"text":"' + b"a" * (limit - 11) + b'"}'
        handles = [daemon.submit("mirror", fits), daemon.submit("mirror", b" " + fits)]
        taken, refused = responses(daemon, handles)
        assert taken.status == "success"
        assert refused.data == {"error_code": "PAYLOAD_TOO_LARGE", "size": limit + 1, "limit": limit}


def test_a_result_above_the_limit_is_replaced_by_an_error() -> None:
    with daemon_of(max_result=100_000) as daemon:
        [response] = responses(daemon, [daemon.submit("blob", {"size": 100_000})])
        assert response.error_code == "RESULT_TOO_LARGE"
        assert "at most 100000 can be sent" in (response.message or "")
        assert responses(daemon, [daemon.submit("blob", {"size": 99_000})])[0].status == "success"


def test_parcels_to_a_worker_that_dies_are_given_to_the_next(deep_rings: None, tmp_path: Path) -> None:
    with daemon_of(ring_size=TINY, prefetch=4096) as daemon:
        learn(daemon, tmp_path)
        gate = Gate(tmp_path)
        held = daemon.submit("hold", gate.payload)
        assert gate.pid == serving(daemon).pid
        sent = ["w" * (10_000 + n) for n in range(400)]  # more than a socket's queue holds
        handles = [daemon.submit("mirror", {"text": text}) for text in sent]
        eventually(lambda: daemon.hub.history(handles[50].id)[-1].kind == "handed_out")
        serving(daemon).kill()
        assert responses(daemon, [held])[0].error_code == "WORKER_LOST"
        assert [response.data["text"] for response in responses(daemon, handles)] == sent


def test_a_task_id_of_any_length_is_answered() -> None:
    """An id travels in the ring whatever it is; one that cannot fit used to stop the intake for good."""
    with daemon_of(ring_size=TINY) as daemon:
        longest, too_long = "é" * 1000, "i" * 5000
        fits = daemon.hub.submit("echo", b'{"n": 1}', task_id=longest)
        refused = daemon.hub.submit("echo", b"{}", task_id=too_long)
        assert daemon.response(fits).data["payload"] == {"n": 1}
        assert daemon.response(refused).message == (
            "The task's id has 5000 characters; this provider takes at most 1000"
        )


def test_a_damaged_task_ring_costs_the_tasks_of_that_worker_only(deep_rings: None, tmp_path: Path) -> None:
    """The worker has gone mad, and says that it has taken what was never there."""
    with daemon_of(ring_size=TINY) as daemon:
        learn(daemon, tmp_path)
        mad = serving(daemon)
        gate = Gate(tmp_path)
        handles = [daemon.submit("hold", gate.payload)]
        assert gate.pid == mad.pid
        on_loop(daemon, lambda: mad.cell._words.__setitem__(layout.TASK_HEAD, 1 << 60))
        handles += [daemon.submit("mirror", {"text": "y" * 3_000}) for _ in range(20)]
        codes = [response.error_code for response in responses(daemon, handles)]
        lost = codes.count("WORKER_LOST")
        assert codes == ["WORKER_LOST"] * lost + [None] * (21 - lost), "others are run by the next"
        assert 0 < lost < 10
        assert serving(daemon).pid != mad.pid
