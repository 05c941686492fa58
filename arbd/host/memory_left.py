"""How much more memory this process and its children could have, as far as the kernel tells: the host's, and that of
every control group (v2) that it is in. ``None`` where nobody says anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MEMINFO: Final = Path("/proc/meminfo")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_CGROUP: Final = Path("/sys/fs/cgroup")
_NO_LIMIT: Final = 1 << 60  # version 1 says so by the largest number of pages


def left(meminfo: Path = _MEMINFO, membership: Path = _MEMBERSHIP, root: Path = _CGROUP) -> int | None:
    """Bytes that can be had before something has to go: the least that the host or a control group has left."""
    found = [_of_host(meminfo), *(_of_group(directory) for directory in _groups(membership, root))]
    return min((each for each in found if each is not None), default=None)


def limit(membership: Path = _MEMBERSHIP, root: Path = _CGROUP) -> int | None:
    """Bytes of the tightest limit of this process's control groups, of either version; ``None``: there is none."""
    found = [_number(directory / "memory.max") for directory in _groups(membership, root)]
    found += [_number(directory / "memory.limit_in_bytes") for directory in _first_version(membership, root)]
    return min((each for each in found if each is not None and each < _NO_LIMIT), default=None)


def _of_host(meminfo: Path) -> int | None:
    kib = _table(meminfo, ":").get("MemAvailable")
    return None if kib is None else kib * 1024


def _groups(membership: Path, root: Path) -> Iterator[Path]:
    """The group of this process and those above it: a parent's limit binds its children."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, path = line.split(":", 2)
        if number == "0":
            directory = root / path.lstrip("/")
            yield directory
            yield from (parent for parent in directory.parents if parent.is_relative_to(root))


def _first_version(membership: Path, root: Path) -> Iterator[Path]:
    """The same for control groups of version 1."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            directory = root / controllers / path.lstrip("/")
            yield directory
            yield from (parent for parent in directory.parents if parent.is_relative_to(root / controllers))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is no limit
        return None


def _of_group(directory: Path) -> int | None:
    """What a group has left; its page cache that nobody uses can be had, too."""
    try:
        limit, used = int((directory / "memory.max").read_text()), int((directory / "memory.current").read_text())
    except (OSError, ValueError):  # the root has neither, and "max" is no limit
        return None
    return max(0, limit - used + _table(directory / "memory.stat").get("inactive_file", 0))


def _table(file: Path, separator: str = " ") -> dict[str, int]:
    """The numbers of a file of the kernel's, by name; empty where it cannot be read."""
    found: dict[str, int] = {}
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, rest = line.partition(separator)
        number = rest.split(maxsplit=1)[:1]
        if number and number[0].isdecimal():
            found[name] = int(number[0])
    return found
