"""``arbd profile``: where the workers of a running daemon spend their time, as a flame graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _completers, _show
from arbd.cli import _output_file as output
from arbd.cli._daemon import count, daemon_option
from arbd.cli._follow import to_its_end

if TYPE_CHECKING:
    from arbd.control.reports import Profile

_LONGEST_S: Final = 600


@click.command(
    "profile",
    short_help="Where the workers of a running daemon spend their time: a flame graph.",
    epilog="""\b
Examples:
  arbd profile --out flame.svg               all workers, for 10 seconds
  arbd profile total --out total.svg         only the time in the action "total"
  arbd profile total --idle --out total.svg  also where it waits, for a database perhaps
  arbd profile --seconds 60 --out flame.txt  folded stacks, for https://speedscope.app

It needs py-spy beside the daemon's Python or on its PATH (pip install 'arbd[stacks]'), and the right to trace: root, or
CAP_SYS_PTRACE. No worker is stopped, none runs slower; now and then a stack is a mixture of two. It is daemon and
workers that have to be busy meanwhile: what does not run is not seen.

The exit code is 0 if the file is written, 1 if there is no daemon, no such action, no py-spy, or nothing was seen.""",
)
@click.argument("action", required=False)
@click.option(
    "--seconds",
    type=click.IntRange(min=1, max=_LONGEST_S),
    default=10,
    show_default=True,
    metavar="N",
    help="How long to look.",
)
@click.option("--idle", is_flag=True, help="Count also the time in which the code waits.")
@click.option(
    *("--out", "out"),
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to write: a picture, or folded stacks if it ends with .txt.",
    shell_complete=_completers.files(),
)
@daemon_option
def command(path: Path, as_json: bool, action: str | None, seconds: int, idle: bool, out: Path) -> None:
    """Sample the stacks of a running daemon's workers, and draw where they spend their time.

    With ACTION only what is seen in the code of that action counts.
    """
    with output.checked(out):
        profile = _profile(path, action, seconds, idle)
        out.write_text(_document(profile, action, out), encoding="utf-8", errors="replace")
    if as_json:
        found = {"file": str(out.absolute()), "samples": profile.samples, "workers": profile.workers}
        _show.json_document(found | {"of_workers": profile.of_workers, "troubles": profile.troubles})
        return
    seen = f"{count(profile.samples, 'sample')} of {count(profile.workers, 'worker')}"
    _show.say(f"{out}: {seen}; open it in a browser" if out.suffix != ".txt" else f"{out}: {seen}")
    for line in _remarks(profile, action):
        _show.say(line, err=True)


def _profile(path: Path, action: str | None, seconds: int, idle: bool) -> Profile:
    """What was seen. Raises ``ControlError`` if that is nothing."""
    import msgspec

    from arbd.control.client import ask
    from arbd.control.protocol import GetProfile, OperationReply
    from arbd.control.reports import Profile
    from arbd.errors import ControlError

    operation = ask(path, GetProfile(seconds=seconds, action=action, idle=idle), OperationReply).operation
    operation = to_its_end(path, operation)
    if operation.state == "failed":
        raise ControlError(operation.text)
    profile = msgspec.convert(operation.data, Profile)
    if not profile.samples:
        raise ControlError(_nothing_seen(profile, action, idle))
    return profile


def _nothing_seen(profile: Profile, action: str | None, idle: bool) -> str:
    what = "running a task" if action is None else f"in {action}"
    hint = (
        "have tasks come meanwhile"
        if idle
        else "have tasks come meanwhile, or use --idle if it waits more than it runs"
    )
    return f"in {profile.seconds:g} s no worker was seen {what}; {hint}, or look longer with --seconds"


def _document(profile: Profile, action: str | None, out: Path) -> str:
    from arbd.control import flame_graph, folded_stacks

    stacks = folded_stacks.of_pairs(profile.stacks)
    if out.suffix == ".txt":
        return folded_stacks.folded(stacks)
    title = "all actions" if action is None else action
    workers = f"{profile.workers} of {count(profile.of_workers, 'worker')}"
    looked = f"{profile.seconds:g} s, {profile.rate} times a second each"
    return flame_graph.svg(stacks, title, f"{count(profile.samples, 'sample')}, {workers}, {looked}")


def _remarks(profile: Profile, action: str | None) -> list[str]:
    remarks = list(profile.troubles)
    if profile.workers + len(profile.troubles) < profile.of_workers:
        remarks.append(f"{profile.of_workers} workers are too many to look at: the others do the same")
    if profile.shared_with:
        remarks.append(f"{action} has the same code as {', '.join(profile.shared_with)}: their time is in it, too")
    return remarks
