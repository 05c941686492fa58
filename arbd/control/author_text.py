"""The text of an author's metrics, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from arbd.control.author_metrics import AuthorFamily, AuthorMetrics, AuthorSample
from arbd.control.exposition import escape, escape_help
from arbd.ipc.author_page import AuthorPageReader


class AuthorText:
    """Makes the text out of pages; it keeps what it has read of them from one scrape to the next."""

    def __init__(self) -> None:
        self._readers: dict[int, AuthorPageReader] = {}
        self._metrics = AuthorMetrics(0)

    def families(self, pages: Mapping[int, memoryview]) -> Iterator[str]:
        """The text of one metric after the other. ``pages``: all that there are, by number; a worker may have made one
        unreadable, which is then tried again."""
        for number, words in pages.items():
            if number not in self._readers:
                try:
                    self._readers[number] = AuthorPageReader(words)
                except ValueError:
                    continue
        self._metrics.limit = max((reader.limit for reader in self._readers.values()), default=0)
        for family in self._metrics.families(self._readers.values()):
            yield text_of(family)


def text_of(family: AuthorFamily) -> str:
    """The lines of one metric."""
    lines = [f"# HELP {family.name} {escape_help(family.documentation)}", f"# TYPE {family.name} {family.kind}"]
    lines += map(_line, family.samples)
    return "\n".join(lines) + "\n"


def _line(sample: AuthorSample) -> str:
    labels = ",".join(f'{name}="{escape(value)}"' for name, value in sample.labels)
    return f"{sample.name}{{{labels}}} {_number(sample.value)}" if labels else f"{sample.name} {_number(sample.value)}"


def _number(value: float) -> str:
    """A number as Go reads it: whole ones short, infinities and NaN by its words."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
