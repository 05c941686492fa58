"""``arbd submit``: tasks to an embedded hub, results back.

payloads (text, @file or JSON lines) ─> hub ─> results as they finish ─> stdout, one line each
                                                                      └> a bar on stderr where many are awaited
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from arbd.cli import _completers, _hub, _show, _waiting
from arbd.cli._hub_client import HubConnection, hub_options
from arbd.cli._options import SECONDS, KindType, checked_json, json_text
from arbd.errors import EXIT_FAILURE, EXIT_OK, HubError
from arbd.settings.kinds import seconds

if TYPE_CHECKING:
    from arbd.hub.board import NewTask, Result
    from arbd.hub.client import HubClient, HubStatus

_PRIORITIES: Final = click.IntRange(-(2**31), 2**31 - 1)  # what the protocol has room for
_MANY: Final = 20  # from so many tasks on, a bar says more than lines that rush by


class LateResultsError(HubError):
    """The time for waiting is over, and results are missing."""


class Submission(msgspec.Struct, frozen=True):
    """What to send where, and what to do with the answers."""

    hub: HubConnection
    tasks: list[NewTask]
    wait: bool
    timeout_s: float | None
    as_json: bool


@click.command(
    "submit",
    short_help="Send tasks to the embedded hub, print results.",
    epilog="""\b
Examples:
  arbd submit echo --payload '{"text": "hello"}' --wait
  arbd submit add --payload @pair.json --count 1000 --wait
  generate-payloads | arbd submit price --payload - --wait --json > results.jsonl
  arbd submit report --priority 5            goes before tasks of a lower one that wait

With --wait the exit code is 0 if every task succeeded, else 1.""",
)
@click.argument("action")
@click.option(
    "--payload",
    default="{}",
    show_default=True,
    help="JSON, @FILE with JSON, or - for JSON lines on stdin: one task each.",
    shell_complete=_completers.json_file,
)
@click.option("--account", default="", help="JSON or @FILE with JSON.", shell_complete=_completers.json_file)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Send each payload so many times.")
@click.option("--wait", is_flag=True, help="Wait for the results and print them as they come.")
@click.option(
    "--timeout",
    "timeout_s",
    type=KindType("seconds", seconds(0, 86_400)),
    help=f"Be over after that: exit code 1 if results are missing then. {SECONDS}",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@click.option("--provider", default="", help="Only this provider may have the tasks.")
@click.option("--priority", type=_PRIORITIES, default=0, help="The higher one first.  [default: 0]")
@hub_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    action: str,
    payload: str,
    account: str,
    count: int,
    provider: str,
    priority: int,
    **options: Any,
) -> None:
    """Send tasks for ACTION to a hub that `arbd hub` or `arbd dev` runs, and print task ids or results.

    A hub with tokens is given the one in PROVIDER_AUTH_TOKEN, or in --token-file.
    """
    import asyncio

    from arbd.hub.board import NewTask

    payloads = _json_lines() if payload == "-" else [json_text("--payload", payload)]
    account_json = json_text("--account", account) if account else b""
    tasks = [
        NewTask(action, text, account_json, provider=provider, priority=priority)
        for text in payloads
        for _ in range(count)
    ]
    ctx.exit(asyncio.run(_send(Submission(tasks=tasks, **options))))


def _json_lines() -> list[bytes]:
    lines = []
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if line.strip():
            lines.append(checked_json("--payload -", line.strip(), f"line {number} is "))
    return lines


async def _send(submission: Submission) -> int:
    deadline = _hub.Deadline(submission.timeout_s)
    try:
        async with _hub.client(submission.hub, deadline) as client:
            batch = await client.submit(submission.tasks)
            if not submission.wait:
                for task_id in batch.ids:
                    _show.say(_show.json_text({"id": task_id}) if submission.as_json else task_id)
                await _warn_if_alone(client, submission, deadline)
                return EXIT_OK
            return await _wait(client, batch.name, submission, deadline)
    except LateResultsError:
        raise
    except HubError as error:
        raise _hub.explained(error, submission.hub, deadline) from error


async def _wait(client: HubClient, batch: str, submission: Submission, deadline: _hub.Deadline) -> int:
    import asyncio

    started_at = time.monotonic()
    counts: Counter[str] = Counter()
    watch = asyncio.ensure_future(_tell_while_waiting(client, submission, counts))
    try:
        async with asyncio.timeout(deadline.left_s):
            await _print_results(client.results(batch), submission, counts)
    except TimeoutError:
        late = f"not all results came within {submission.timeout_s:g} s"
        raise LateResultsError("DEADLINE_EXCEEDED", late) from None
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    if len(submission.tasks) > 1:
        _print_summary(counts, time.monotonic() - started_at)
    return EXIT_OK if counts["success"] == len(submission.tasks) else EXIT_FAILURE


async def _warn_if_alone(client: HubClient, submission: Submission, deadline: _hub.Deadline) -> None:
    """Say that nobody is there to take the tasks. A hub that cannot tell is believed to have somebody."""
    status = await _status(client)
    if status is not None and (words := _waiting.nobody(_awaited(submission, Counter()), status)):
        _show.say(f"arbd: {words}", err=True)


async def _tell_while_waiting(client: HubClient, submission: Submission, counts: Counter[str]) -> None:
    """Say what is waited for, while no result comes. Ends where the hub cannot tell."""
    import asyncio

    words, seen, since = _waiting.WaitingWords(), 0, time.monotonic()
    await asyncio.sleep(_waiting.LOOK_AFTER_S)
    while True:
        if counts.total() != seen:
            words, seen, since = _waiting.WaitingWords(), counts.total(), time.monotonic()
        elif (status := await _status(client)) is None:
            return
        elif line := words.say(_awaited(submission, counts), status, time.monotonic() - since):
            _show.say(f"arbd: {line}", err=True)
        await asyncio.sleep(_waiting.LOOK_EVERY_S)


async def _status(client: HubClient) -> HubStatus | None:
    """The hub's state; ``None``: it does not know the question, or does not answer now: the results tell why."""
    try:
        return await client.status()
    except HubError:
        return None


def _awaited(submission: Submission, counts: Counter[str]) -> _waiting.Awaited:
    provider = submission.tasks[0].provider if submission.tasks else ""
    return _waiting.Awaited(str(submission.hub), provider, len(submission.tasks) - counts.total())


async def _print_results(results: AsyncIterator[Result], submission: Submission, counts: Counter[str]) -> None:
    """Print every result and count by status into ``counts``. Where a bar is drawn, lines wait until it is gone."""
    from arbd.cli._progress import ProgressLine

    kept: list[Result] = []
    has_bar = len(submission.tasks) >= _MANY and sys.stderr.isatty()
    with ProgressLine(len(submission.tasks), "results") if has_bar else nullcontext() as line:
        async for result in results:
            counts[result.status] += 1
            if line is None:
                _print_result(result, submission)
            else:
                line.advance()
                kept.append(result)
    for result in kept:
        _print_result(result, submission)


def _print_result(result: Result, submission: Submission) -> None:
    response = _response(result)
    if submission.as_json:
        line = {"id": result.id, "action": result.action, "status": result.status, "provider": result.provider}
        times = {"attempts": result.attempts, "taken_s": round(result.taken_s, 6)}
        _show.json_line({**line, **times, "response": response})
    elif len(submission.tasks) == 1:
        _show.json_document(response)
    else:
        _show.say(f"{result.id} {_show.json_text(response)}")


def _response(result: Result) -> Any:
    """The response dict, or the text that a provider sent instead of one."""
    try:
        return result.response
    except (msgspec.DecodeError, UnicodeDecodeError):
        return result.result.decode(errors="replace")


def _print_summary(counts: Counter[str], elapsed_s: float) -> None:
    total = sum(counts.values())
    by_status = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    _show.say(f"{total} tasks in {elapsed_s:.2f} s ({total / elapsed_s:.0f}/s): {by_status}", err=True)
