"""What stands in for systemd, and for the parts of a daemon that a service looks at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from arbd.core.lifecycle import State
from arbd.core.progress import Sight
from arbd.host.notify import Notifier
from arbd.model.link_stats import LinkStats
from arbd.settings.table import from_flags, resolve


class Heard(Notifier):
    """A notifier that keeps what is told, each with its moment."""

    def __init__(self, watchdog_s: float | None = None) -> None:
        super().__init__("/run/notify", watchdog_s)
        self.texts: list[str] = []

    def send(self, state: str) -> None:
        self.texts.append(state.partition("\n")[0])

    def take(self) -> list[str]:
        texts, self.texts = self.texts, []
        return texts

    def of(self, start: str) -> list[str]:
        return [text for text in self.texts if text.startswith(start)]


class FakeDaemon:
    """Flow, pool and generations of a daemon, as plain values."""

    def __init__(self, *, start_without: bool = False) -> None:
        self.settings = resolve([from_flags({"hub.start_without": start_without})]).settings
        self.stats = LinkStats(protocol="stream")
        self.states = [State.STARTING, State.STARTING]
        self.busy: list[int] = []
        self.in_flight = 0
        self.results = 0
        self.total = 0
        self.seen = Sight()
        self.rung = 0
        self.generations: Any = SimpleNamespace(is_settled=True, reload_failed=False, load_timeout_s=60.0)
        self.flow: Any = self

    # -- as a flow

    @property
    def link(self) -> Any:
        return self

    @property
    def dispatcher(self) -> Any:
        return SimpleNamespace(busy_workers=lambda: iter(self.busy), in_flight=lambda: self.in_flight)

    @property
    def verdicts(self) -> Any:
        return FakeVerdicts(self.results, self.total)

    def sight(self, now: float) -> Sight:
        return self.seen

    def look_soon(self) -> None:
        self.rung += 1

    # -- as its pool

    @property
    def pool(self) -> Any:
        return self

    @property
    def workers(self) -> dict[int, Any]:
        return {slot: SimpleNamespace(state=state, slot=slot) for slot, state in enumerate(self.states)}

    @property
    def size(self) -> int:
        return len(self.states)

    def serving(self) -> set[int]:
        return {slot for slot, state in enumerate(self.states) if state is State.SERVING}


class FakeVerdicts:
    """``results`` wait for the hub; there were ``total`` in all."""

    def __init__(self, results: int, total: int) -> None:
        self.total = total
        self._results = results

    def __len__(self) -> int:
        return self._results
