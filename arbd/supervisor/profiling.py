"""A profile of the workers: py-spy samples their stacks for some seconds, all of them at the same time.

    begin ─> one py-spy for each worker ─> their time is over ─> folded stacks ─> the operation's ``data``

It reads the memory of workers that go on meanwhile, so that none is stopped; now and then a stack is therefore a
mixture of two. What it writes goes into a memory of ours, not into a file. Nothing waits here for a process: it is
looked at again and again, and killed if it does not end. A worker that ends meanwhile is told up to there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from arbd.control.folded_stacks import Folded, in_action, most, of_tasks, parse
from arbd.control.protocol import ControlReply, Failure, GetProfile, OperationReply
from arbd.control.reports import Profile
from arbd.host import memory
from arbd.model.description import ActionInfo
from arbd.supervisor import native_stacks
from arbd.supervisor.operations import OperationFailed, Operations, Progress
from arbd.supervisor.stacks import Stacks, Subject

MOST_WORKERS: Final = 16  # each needs a py-spy, some 20 MB
LONGEST_S: Final = 600.0
_SAMPLES_PER_S: Final = 400  # of all together, so that looking takes little of the machine
_MOST_RATE: Final = 100
_LATE_S: Final = 20.0  # it reads the symbols first; on a busy machine that took seconds
_LOOK_S: Final = 0.1
_MOST_OUTPUT: Final = 32 * 1024 * 1024
_MOST_TEXT: Final = 4 * 1024 * 1024
MISSING: Final = (
    "a profile needs py-spy, which is neither beside the daemon's Python nor on its PATH; "
    "`pip install 'arbd[stacks]'` brings it"
)


class Profiling:
    """Begins profiles. ``actions``: those that are offered now."""

    def __init__(self, stacks: Stacks, operations: Operations, actions: Callable[[], Sequence[ActionInfo]]) -> None:
        self._stacks = stacks
        self._operations = operations
        self._actions = actions

    def begin(self, request: GetProfile) -> ControlReply:
        """Begin one, or say why not."""
        if not 0 < request.seconds <= LONGEST_S:
            return _refused(f"a profile takes more than 0 and at most {LONGEST_S:g} seconds, not {request.seconds:g}")
        sources = {each.name: each.source for each in self._actions()}
        source = sources.get(request.action or "", "")
        if request.action is not None and request.action not in sources:
            return _refused(f"there is no action {request.action!r}; `arbd status` lists them")
        if request.action is not None and not source:
            return _refused(f"{request.action} is no Python code, which py-spy could tell; leave the action out")
        program = native_stacks.find()
        if program is None:
            return _refused(MISSING)
        found = self._stacks.workers()
        if not found:
            return _refused("there is no worker now; `arbd status` says why")
        others = [name for name, at in sources.items() if source and at == source and name != request.action]
        run = _Sampling(program, found, request, source, others)
        of = "" if request.action is None else f" of {request.action}"
        return OperationReply(operation=self._operations.begin(f"profile{of}", "starting py-spy", run.work))


def _refused(message: str) -> Failure:
    return Failure(code="failed", message=message)


class _Sampling:
    """One profile."""

    def __init__(
        self, program: str, subjects: Sequence[Subject], request: GetProfile, source: str, others: list[str]
    ) -> None:
        self._program = program
        self._of = len(subjects)
        self._subjects = subjects[:MOST_WORKERS]
        self._request = request
        self._source = source
        self._others = others
        self._rate = max(1, min(_MOST_RATE, _SAMPLES_PER_S // len(self._subjects)))

    async def work(self, progress: Progress) -> None:
        """Sample, and say how far it is; what was found is the operation's ``data``."""
        seconds = self._request.seconds
        spies: list[_Spy] = []
        try:
            for subject in self._subjects:
                spies.append(_Spy(self._program, subject, self._rate, self._request))
                await asyncio.sleep(0)  # to start a process takes milliseconds; tasks go on between two of them
            begun = time.monotonic()
            while (left := [spy for spy in spies if spy.is_running()]) and not self._is_late(begun):
                passed_s = min(seconds, time.monotonic() - begun)
                progress.say(f"{passed_s:.0f} of {seconds:g} s", round(100 * passed_s / seconds), 100)
                await asyncio.sleep(_LOOK_S)
            for spy in left:
                spy.trouble = f"py-spy has not ended {_LATE_S:g} s after its time"
            found: Folded = Counter()
            for spy in spies:
                found.update(spy.stacks())
        finally:  # also where the daemon ends meanwhile
            for spy in spies:
                spy.close()
        self._tell(progress, found, spies)

    def _is_late(self, begun: float) -> bool:
        return time.monotonic() - begun > self._request.seconds + _LATE_S

    def _tell(self, progress: Progress, found: Folded, spies: Sequence[_Spy]) -> None:
        troubles = [f"worker {spy.subject.worker}: {spy.trouble}" for spy in spies if spy.trouble]
        if len(troubles) == len(spies):
            raise OperationFailed(troubles[0])
        kept = in_action(found, self._source) if self._source else of_tasks(found)
        profile = Profile(
            workers=len(spies) - len(troubles),
            of_workers=self._of,
            rate=self._rate,
            seconds=self._request.seconds,
            samples=kept.total(),
            stacks=most(kept, _MOST_TEXT),
            troubles=troubles,
            shared_with=self._others,
        )
        progress.data = profile
        progress.say(f"{profile.samples} samples of {profile.workers} of {profile.of_workers} workers", 100, 100)


class _Spy:
    """One py-spy, and the memory into which it writes."""

    def __init__(self, program: str, subject: Subject, rate: int, request: GetProfile) -> None:
        self.subject = subject
        self.trouble: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._out = self._err = -1
        try:
            self._out, self._err = memory.create_parcel(()), memory.create_parcel(())
            self._process = start(program, subject.pid, rate, request, self._out, self._err)
        except OSError as error:
            self.trouble = f"{program}: {error.strerror or error}"

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def stacks(self) -> Folded:
        """What it has seen, once it has ended; none, with ``trouble``, if it could not look."""
        if self.trouble is not None or self._process is None:
            return Counter()
        output, said = self._read(self._out), self._read(self._err)
        self._out = self._err = -1
        found = parse(native_stacks.clean(output))
        if self._process.returncode == 0 or found:
            return found
        words = " ".join(native_stacks.clean(said).split())[:300] or f"it ended with {self._process.returncode}"
        self.trouble = f"py-spy: {words}; it needs the right to trace (root, or CAP_SYS_PTRACE)"
        return Counter()

    def _read(self, fd: int) -> bytes:
        try:
            return memory.read_parcel(fd, _MOST_OUTPUT)
        except (OSError, ValueError) as error:
            self.trouble = f"what py-spy has written cannot be read: {error}"
            return b""

    def close(self) -> None:
        """End it, and give back what it had."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for fd in (self._out, self._err):
            if fd >= 0:
                os.close(fd)
        self._out = self._err = -1


def start(program: str, pid: int, rate: int, request: GetProfile, out: int, err: int) -> subprocess.Popen[bytes]:
    """Start py-spy for one process; its output goes to the descriptors ``out`` and ``err``."""
    words = [program, "record", "--pid", str(pid), "--nonblocking", "--function", "--full-filenames"]
    words += ["--format", "raw", "--output", f"/proc/self/fd/{out}", "--rate", str(rate)]
    words += ["--duration", str(max(1, round(request.seconds))), *(["--idle"] if request.idle else [])]
    return subprocess.Popen(
        words,
        env={"PATH": os.environ.get("PATH", os.defpath)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=err,
        pass_fds=(out,),
    )
