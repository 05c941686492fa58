"""``arbd dev``: an embedded hub and the daemon in one command, with new workers on every change of the source.

    arbd dev (supervisor, dev=True) ── starts ──> arbd hub (child) <── arbd submit, from another terminal
              └────────────── takes tasks from ──────┘

The hub is a process of its own, so that a task in it outlives a daemon that is restarted: by hand, or because settings
have changed that a reload cannot put in force. Then this process runs the same command once more, in the same process,
and the hub stays.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from arbd.cli import _completers, _show
from arbd.cli import _hub as _hub_words
from arbd.cli._options import LOCAL_HUB, CommandSettings, ListenType, room_for, settings_options_showing
from arbd.cli.hub import READY
from arbd.errors import EXIT_CONFIG, EXIT_ZYGOTE, ConfigError, HubError, ZygoteError
from arbd.settings.hub_address import is_local
from arbd.settings.secrets import hub_tokens
from arbd.settings.table import BY_NAME, CONFIG_FILE, from_flags, resolve

if TYPE_CHECKING:
    from arbd.supervisor.request import RunRequest

_STOP_TIMEOUT_S: Final = 5.0
_HUB_OPTION: Final = "--hub-process"
_TOKEN: Final = BY_NAME["hub.auth_token"].variable
_BROKEN: Final = (EXIT_ZYGOTE, EXIT_CONFIG)  # a change of a file may mend it
_MOST_NAMES: Final = 5


@click.command(
    "dev",
    short_help="Your provider with a hub of its own, reloading.",
    epilog="""\b
Examples:
  arbd dev my_provider.py
  arbd submit echo --payload '{"text": "hello"}' --wait     in another terminal
  arbd dev my_provider.py --listen 127.0.0.1:50052 -- --region eu   what stands behind -- is the provider's sys.argv

Code or settings that do not load are told, and tried again when a file has changed. Ctrl-C finishes running tasks
first; a second one stops at once.

Exit codes: 0 good, 1 the hub did not start or results were left, 2 wrong command line, 78 a wrong option, or there is
no such TARGET.""",
)
@click.argument("target", required=False, shell_complete=_completers.target)
@click.argument("argv", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--listen", type=ListenType(), default=LOCAL_HUB, show_default=True, help="Where its hub listens.")
@click.option(_HUB_OPTION, "adopted", nargs=2, type=(int, str), hidden=True, help="PID ADDRESS of a hub that runs.")
@click.option("--insecure", is_flag=True, help="Listen for other hosts though anybody there may call the hub.")
@settings_options_showing("name", "execution_timeout", "workers", "env_file", "log.level", refused=["hub.url"])
@click.pass_context
def command(
    ctx: click.Context,
    target: str | None,
    argv: tuple[str, ...],
    listen: str,
    adopted: tuple[int, str] | None,
    insecure: bool,
    given: CommandSettings,
) -> None:
    """Run TARGET (see `arbd run --help`) against a hub of its own, and restart its workers when its source changes.

    What arbd.toml or --env-file say is put in force as they change; the daemon is restarted for what needs it.
    """
    if "hub.url" in given.flags:
        raise click.UsageError("arbd dev has a hub of its own: choose its address by --listen, or use arbd run --hub.")
    found = given.required_target(target)
    if (tokens := hub_tokens(os.environ)) and not os.environ.get(_TOKEN, "").strip():
        os.environ[_TOKEN] = tokens[0]  # its provider is let in by what its hub asks for
    resolve([from_flags(given.flags)])  # what is wrong with the command line is mended by no change of a file
    from arbd.supervisor.main import RESTART
    from arbd.supervisor.request import RunRequest

    with (
        _hub(listen, _max_message(given), insecure=insecure) if adopted is None else _adopted(*adopted) as (
            pid,
            address,
        )
    ):
        if adopted is None:
            told = f"arbd dev: the hub listens on {address}; try: arbd submit ACTION --hub {address} --wait"
            _show.say(told, err=True)
        flags = given.flags | {"hub.url": address}
        request = RunRequest(target=found, argv=list(argv), flags=flags, config_file=given.config_file, dev=True)
        code = _run_or_wait(request, is_first=adopted is None)
        if code == RESTART:
            _start_again(pid, address)
    ctx.exit(code)


def _run_or_wait(request: RunRequest, *, is_first: bool) -> int:
    """The exit code of a run, or ``RESTART``: at once where settings ask for it, and where the code or the settings did
    not load, when they have changed. A TARGET that is not there at all is a slip of the command line."""
    from arbd.cli import _mended, message_of
    from arbd.supervisor.main import RESTART, run

    directory, is_there = _mended.place_of(request.target)
    loaded = _mended.LoadedFiles(
        directory, [request.config_file or CONFIG_FILE, str(request.flags.get("env_file", ""))]
    )
    try:
        code = run(request)
    except (ConfigError, ZygoteError) as error:
        if is_first and not is_there:
            raise
        _show.say_lines(f"arbd: {message_of(error)}", err=True)
    else:
        if code not in _BROKEN:
            return code
    _show.say("arbd dev: waiting for a change of the code or of its settings; Ctrl-C ends it", err=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # those of the run are gone, and so is its event loop
    names = loaded.wait()
    _show.say(f"arbd dev: changed: {', '.join(names[:_MOST_NAMES])}; trying again", err=True)
    return RESTART


def _max_message(given: CommandSettings) -> int:
    """The largest message that the hub has to take, by what the operator's settings say."""
    try:
        settings = given.resolve().settings
    except ConfigError:  # told when the provider is loaded
        settings = resolve([]).settings
    return room_for(settings.max_payload, settings.max_result)


def _start_again(pid: int, address: str) -> None:
    """Run this command again in this process, with the hub that is there."""
    from arbd import logs

    words = sys.argv[1:]
    if _HUB_OPTION not in words:
        place = words.index("dev") + 1
        words[place:place] = [_HUB_OPTION, str(pid), address]
    before = logs.stderr_for_children()
    logs.finish()
    if before is not None:
        os.dup2(before, 2)  # as this process was given it
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # what multiprocessing uses too
    # -P: the current directory is the author's, so it must not shadow what arbd imports for itself.
    command = [sys.executable, *flags, "-P", "-m", "arbd", *words]
    # Python's copy of the environment: in that of the process, secrets are written over.
    os.execve(sys.executable, command, os.environ)


@contextmanager
def _adopted(pid: int, address: str) -> Iterator[tuple[int, str]]:
    """The hub that this process has started before it ran this command again; it ends with this block."""
    try:
        yield pid, address
    finally:
        _end(pid)


def _end(pid: int) -> None:
    """End a child of this process, which may have ended already."""
    try:
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_TIMEOUT_S
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() >= until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.005)
    except (ProcessLookupError, ChildProcessError):
        pass


@contextmanager
def _hub(listen: str, max_message: int, *, insecure: bool) -> Iterator[tuple[int, str]]:
    """A hub in a child process; its process id and its address. It ends with this block, and with this process if that
    is killed."""
    from arbd import logs

    _hub_words.require_listen(listen, f"the hub of arbd dev did not start on {listen}: ")
    if not insecure and not is_local(listen) and not hub_tokens(os.environ):
        raise click.UsageError(
            f"{listen} can be reached from other hosts, and anybody there could give tasks and take them: listen on "
            "127.0.0.1, or say --insecure; with tokens and TLS: arbd hub, and arbd run --hub for the provider."
        )
    options = ["--max-message", str(max_message), "--parent", str(os.getpid()), *(["--insecure"] if insecure else [])]
    process = subprocess.Popen(
        # -P: as above.
        [sys.executable, "-P", "-m", "arbd", "hub", "--listen", listen, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=logs.stderr_for_children(),
        text=True,
        start_new_session=True,  # Ctrl-C is for the supervisor alone: it still has results to send to this hub
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().strip()
        if not ready.startswith(READY):
            raise HubError("UNAVAILABLE", f"the hub of arbd dev did not start on {listen}")
        yield process.pid, ready.removeprefix(READY)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
