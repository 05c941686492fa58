"""Failure messages of a load: what went wrong in the author's code, cut so that it always fits a control message.

    ConfigError         the target leads nowhere, or the arguments of Provider(...) cannot work: all problems
    RegistrationError   an action that can never work: the problem and the traceback
    anything else       code that broke: likewise. Also SystemExit of a script, and whatever an import can raise

A control message has 64 KiB. An exception can quote a whole SQL statement or document, in any script, and even its
``__str__`` may be broken. So the head of a message is kept, and the tail of a traceback.
"""

from __future__ import annotations

import errno
import os
import resource
import traceback
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from arbd.author.refused import RefusedError
from arbd.errors import ConfigError, RegistrationError
from arbd.ipc.zygote_protocol import Failed
from arbd.logs.tracebacks import exc_info_of
from arbd.model.response import message_of
from arbd.worker.error_place import place_of

# Bytes of UTF-8. Together well below a control message (``channel.MAX_MESSAGE``).
MOST_PROBLEMS: Final = 24_000
MOST_OF_ONE: Final = 8_000
MOST_TRACEBACK: Final = 24_000
_MOST_OF_A_LINE: Final = 4_000
_ROOM_FOR_PLACE: Final = 1_000
_MOST_LISTED: Final = 1_000  # each also costs some bytes of the message


def failed(exc: BaseException) -> Failed:
    """The message to the supervisor about an exception."""
    if isinstance(exc, ConfigError):
        return Failed(True, listed(exc.problems))
    if isinstance(exc, RefusedError):
        return Failed(True, listed([_listed_among(each) for each in exc.errors]), traceback_of(exc.errors[-1]))
    return Failed(isinstance(exc, RegistrationError), listed([_told(exc)]), traceback_of(exc))


def _told(exc: BaseException) -> str:
    """What went wrong."""
    text, name = message_of(exc), type(exc).__name__
    if isinstance(exc, RegistrationError):
        return _placed(exc, text)
    return text if text == name or isinstance(exc, ConfigError) else f"{name}: {text}"


def _listed_among(exc: BaseException) -> str:
    """The same of one of several."""
    text = _told(exc)
    return text if isinstance(exc, (RegistrationError, ConfigError)) else _placed(exc, text)


def _placed(exc: BaseException, text: str) -> str:
    """A text with the line that it is about: no traceback is shown with it."""
    place = place_of(exc)
    return f"{head(text, MOST_OF_ONE - _ROOM_FOR_PLACE)} ({place})" if place else text


def of_examination(exc: BaseException) -> Failed:
    """The message about an exception after the import, while what was loaded is looked at. There is one that no line of
    the author's has raised: nothing can be opened any more."""
    if isinstance(exc, OSError) and exc.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        text = (
            f"after its import the module holds all {limit} descriptors that this process may have: "
            f"{os.strerror(errno.EMFILE)}; open fewer of them, or in an @provider.on_worker_start hook, or raise the "
            "limit (ulimit -n)"
        )
        return Failed(False, [text])
    return failed(exc)


class SecondImport(NamedTuple):
    """Why the target, which loaded in the zygote, does not load in a worker that imports it again: ``text`` says it,
    ``hint`` what to do."""

    text: str
    hint: str


def of_second_import(exc: BaseException) -> SecondImport:
    """What is told of an exception in a worker's own import. It is most often that the zygote holds what can be had
    once only: a port, a lock on a file."""
    name, text = type(exc).__name__, message_of(exc)
    head_of_it = head(text if text == name else f"{name}: {text}", MOST_OF_ONE)
    if is_held(exc):
        hint = (
            "the module was imported before, in the process arbd:zygote, and that holds what this worker asks for (a "
            "port, a lock on a file); open it in an @provider.on_worker_start hook or as a @provider.resource instead"
        )
    else:
        hint = (
            "the module could be imported in the process arbd:zygote and cannot be imported a second time beside it; "
            "does it take what can be had once only? Then open that in an @provider.on_worker_start hook or as a "
            "@provider.resource"
        )
    return SecondImport(f"{head_of_it}; {hint}", hint)


_HELD: Final = (errno.EADDRINUSE, errno.EAGAIN, errno.EACCES, errno.EBUSY, errno.ETXTBSY, errno.EEXIST, errno.EDEADLK)
_HELD_WORDS: Final = ("lock", "in use", "already", "busy", "another process", "temporarily unavailable")


def is_held(exc: BaseException) -> bool:
    """Whether an exception, or what caused it, says that somebody else holds something. Libraries in C have classes of
    their own for it, so the words count too."""
    seen: set[int] = set()
    each: BaseException | None = exc
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, OSError) and each.errno in _HELD:
            return True
        text = message_of(each).lower()
        if any(word in text for word in _HELD_WORDS):
            return True
        each = each.__cause__ or each.__context__
    return False


def head(text: str, most: int) -> str:
    """The beginning of a text in at most ``most`` bytes of UTF-8, with a note about what was left out."""
    data = _utf8(text)
    if len(data) <= most:
        return data.decode()
    kept = data[:most].decode("utf-8", "ignore")
    return f"{kept} [... and {len(data) - most} bytes more]"


def tail(text: str, most: int) -> str:
    """The end of a text in at most ``most`` bytes of UTF-8, from the beginning of a line if there is one."""
    data = _utf8(text)
    if len(data) <= most:
        return data.decode()
    kept = data[-most:].decode("utf-8", "ignore")
    return f"[... {len(data) - most} bytes before]\n{kept[kept.find(chr(10)) + 1 :]}"


def listed(problems: Sequence[str]) -> list[str]:
    """As many problems as fit, each cut to a readable length."""
    found: list[str] = []
    room = MOST_PROBLEMS
    for problem in problems[:_MOST_LISTED]:
        text = head(str(problem), MOST_OF_ONE)
        room -= len(_utf8(text))
        if room < 0:
            break
        found.append(text)
    left_out = len(problems) - len(found)
    return [*found, f"and {left_out} problems more"] if left_out else found


def traceback_of(exc: BaseException) -> str:
    """The traceback of an exception as text; each message in it is cut, so that the frames are not lost behind it."""
    try:
        lines: Iterable[str] = traceback.TracebackException(*exc_info_of(exc)).format()
        return tail("".join(head(line, _MOST_OF_A_LINE).rstrip("\n") + "\n" for line in lines), MOST_TRACEBACK)
    except Exception as problem:  # an exception of the author's that breaks whoever looks at it
        return f"(the traceback cannot be shown: {type(problem).__name__})"


def _utf8(text: str) -> bytes:
    """The text as UTF-8; lone surrogates, which file names may have, are escaped, because they cannot be sent."""
    return text.encode("utf-8", "backslashreplace")
