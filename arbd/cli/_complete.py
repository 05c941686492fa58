"""How a command line may go on: the answer to the scripts of ``arbd completion``, the same for every shell.

    script: _ARBD_COMPLETE=1 arbd WORD... WORD      the last word is the one at the cursor, maybe empty
    answer: KIND FRONT VALUE HELP                   one line for each way to go on; between the fields \\x1f, because a
                                                    shell that splits at tabs loses empty fields
            plain   FRONT and VALUE are the whole word
            file    FRONT and the path of a file that begins with VALUE; HELP: the ending that files must have, if any
            dir     the same with directories

Invariants: nothing is run and nothing written. A word that a shell would not take as it is, is never offered: names of
daemons, actions and tasks are written by others, and Enter comes after Tab. What goes wrong gives no answer, because
the line that is being typed has no room for it; ``_ARBD_COMPLETE=debug`` shows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import ShellComplete

from arbd.printable import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Item = CompletionItem[Any]

_PLAIN: Final = frozenset("-_./:=@%+,~^")  # what may stand in a word beside letters and digits


def answer(cli: click.Command, words: Sequence[str], *, is_debugged: bool = False) -> int:
    """Print how these words may go on; the exit code."""
    try:
        lines = list(_lines(cli, [_unquoted(word) for word in words] or [""]))
    except Exception:
        if is_debugged:
            raise
        return 1
    click.echo("".join(f"{line}\n" for line in lines), nl=False)
    return 0


def _lines(cli: click.Command, words: Sequence[str]) -> Iterator[str]:
    *before, word = words
    option, equals, value = word.partition("=")
    front = option + equals if equals and option.startswith("--") else ""
    for item in ShellComplete(cli, {}, "arbd", "").get_completions(before, word):
        if item.type in ("file", "dir"):
            yield _line(item.type, front + (item.front or ""), item.value, item.ending or "")
        elif item.value.startswith(value if front else word) and is_plain(item.value):
            yield _line("plain", front, item.value, printable(item.help or ""))


def is_plain(word: str) -> bool:
    """Whether a word means itself in every shell."""
    return word != "" and word[0] not in "~=" and all(letter.isalnum() or letter in _PLAIN for letter in word)


def _line(kind: str, front: str, value: str, last: str) -> str:
    return "\x1f".join((kind, *(" ".join(each.split()) for each in (front, value, last))))


def _unquoted(word: str) -> str:
    """A word as the shell would give it to the command; what is begun may lack its second quote."""
    lexer = shlex.shlex(word, posix=True, punctuation_chars=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = "", True, ""
    try:
        return lexer.get_token() or ""
    except ValueError:  # a quote is open, or nothing follows the last backslash
        return lexer.token
