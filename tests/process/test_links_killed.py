"""``kill -9`` of link processes under load, again and again: every task has exactly one verdict that counts, and it is
its own; a task that was lost on the way is handed out again after its lease; each link is replaced."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import psutil
from daemon_support import Hub, eventually
from test_links_daemon import links_of, start, stop

_KILLS = 8  # each makes a link wait longer before it starts again
_TASKS = 2000


def test_killed_links_lose_and_falsify_nothing(tmp_path: Path) -> None:
    moments = random.Random(4)
    with Hub(lease_s=1.0) as hub, start(hub.address, tmp_path, 2) as arbd:
        arbd.wait_event("hub_connected", 2)
        ids = [hub.submit("add", {"a": number, "b": 1})[0] for number in range(_TASKS // 20)]
        ids += hub.submit("add", {"a": -1, "b": 1}, count=_TASKS - len(ids))
        for kills in range(1, _KILLS + 1):
            target = hub.done() + moments.randrange(5, 80)
            eventually(lambda target=target: hub.done() >= min(target, _TASKS), 30)  # type: ignore[misc] # of this turn
            psutil.Process(moments.choice(eventually(lambda: links_of(arbd)))).kill()
            arbd.wait_event("link_lost", kills)
        results = hub.results()
        sums = [results[task_id].response["data"]["sum"] for task_id in ids]
        assert sums == [number + 1 for number in range(_TASKS // 20)] + [0] * (_TASKS - _TASKS // 20)
        histories = [hub.kinds(task_id) for task_id in ids[:: _TASKS // 500]]
        for history in histories:
            assert history.count("result") + history.count("result_late") == 1, history
            assert 1 <= history.count("handed_out") <= 1 + history.count("expired"), history
        assert {line["status"] for line in arbd.events("link_lost")} == {-signal.SIGKILL}
        assert len(eventually(lambda: len(links_of(arbd)) == 2 and links_of(arbd))) == 2
        hub.submit("add", {"a": 1, "b": 1}, count=100)
        assert Counter(result.status for result in hub.results().values()) == {"success": _TASKS + 100}
        stop(arbd)
