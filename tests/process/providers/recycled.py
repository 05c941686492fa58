"""Actions that count, leak, hoard and wait."""

from __future__ import annotations

import os
import time

from arbd import Provider

provider = Provider(name="recycled")
_kept: list[object] = []
_runs = 0


@provider.actions.register("who")
def who() -> dict[str, int]:
    """Which process this is, and how many tasks it has begun."""
    global _runs
    _runs += 1
    return {"pid": os.getpid(), "run": _runs}


@provider.actions.register("spin")
def spin(seconds: float) -> dict[str, int]:
    """So much work."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return {"pid": os.getpid()}


@provider.actions.register("leak")
def leak(mib: int) -> dict[str, int]:
    """Memory that is never given back."""
    _kept.append(b"\1" * (mib << 20))
    return {"pid": os.getpid()}


@provider.actions.register("drip")
def drip(kib: int = 60) -> None:
    """A little of that, so short that nobody looks."""
    _kept.append(b"\1" * (kib << 10))


@provider.actions.register("hog", timeout=60)
def hog(mib: int, seconds: float) -> dict[str, int]:
    """Memory that is held for a time."""
    held = [b"\1" * (1 << 20) for _ in range(mib)]
    time.sleep(seconds)
    return {"pid": os.getpid(), "held": len(held)}


@provider.actions.register("hoard")
def hoard(descriptors: int) -> dict[str, int]:
    """Descriptors that are never closed."""
    _kept.extend(open(os.devnull) for _ in range(descriptors))  # noqa: SIM115 # that is the point
    return {"pid": os.getpid()}


@provider.actions.register("die")
def die() -> None:
    """The end of its worker."""
    os._exit(3)


@provider.actions.register("nap", timeout=60)
def nap(seconds: float) -> dict[str, int]:
    """A task that takes its time, without work."""
    time.sleep(seconds)
    return {"pid": os.getpid()}


_broken = False


@provider.actions.register("break_worker")
def break_worker() -> dict[str, int]:
    """From here on ``needs_whole`` fails in this process."""
    global _broken
    _broken = True
    return {"pid": os.getpid()}


@provider.actions.register("needs_whole")
def needs_whole() -> None:
    """Fails in a process that is broken."""
    if _broken:
        raise RuntimeError("this process is broken")


@provider.actions.register("never_works")
def never_works() -> None:
    """Fails."""
    raise RuntimeError("it always does")
