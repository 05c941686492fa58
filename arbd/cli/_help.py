"""How ``--help`` of a command is laid out: what it does, then examples, then options, then the rest.

Whoever asks wants to see how it is called before he reads what each option means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from arbd.cli._suggest import CommandWords

_EXAMPLES: Final = "\b\nExamples:"  # after click's mark for lines that stay as they are
_BETWEEN_PARAGRAPHS: Final = re.compile(r"\n\s*\n")


class ExamplesFirst(click.Command):
    """A command whose help shows its examples before its options, and which says where a word that it has no argument
    for may belong."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and judge here what is left over. A group's rest is the command below it."""
        is_strict, ctx.allow_extra_args = not ctx.allow_extra_args, True
        rest = super().parse_args(ctx, args)
        if is_strict and rest and not ctx.resilient_parsing:
            from arbd.cli import _suggest

            raise click.UsageError(_suggest.extra_words(rest, words_of(ctx)), ctx)
        return rest

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help: the epilog's examples go before the options."""
        paragraphs = _BETWEEN_PARAGRAPHS.split((self.epilog or "").strip("\n"))
        examples = [each for each in paragraphs if each.startswith(_EXAMPLES)]
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        _write(formatter, examples)
        self.format_options(ctx, formatter)
        _write(formatter, [each for each in paragraphs if each not in examples])


def words_of(ctx: click.Context, before: Collection[str] = ()) -> CommandWords:
    """What may stand on the command line of this command; ``before``: the options before any command."""
    from arbd.cli import _suggest

    arguments = {
        each.name or "": " ".join(each.get_usage_pieces(ctx))
        for each in ctx.command.get_params(ctx)
        if isinstance(each, click.Argument)
    }
    name = ctx.command_path.partition(" ")[2] or ctx.info_name or ""
    return _suggest.CommandWords(name, options_of(ctx.command, ctx), arguments, before)


def options_of(command: click.Command, ctx: click.Context) -> list[str]:
    """Every way to write an option of this command, but of those that no help shows."""
    options = [
        each
        for each in command.get_params(ctx)
        if isinstance(each, click.Option) and (isinstance(each, RareOption) or not each.hidden)
    ]
    return [name for each in options for name in (*each.opts, *each.secondary_opts)]


def _write(formatter: click.HelpFormatter, paragraphs: Sequence[str]) -> None:
    text = "\n\n".join(paragraphs)
    if text.strip():
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)


def lay_out(command: click.Command) -> click.Command:
    """The command with help of this form; one place, so that the next command has it without knowing."""
    if type(command) is click.Command:
        command.__class__ = ExamplesFirst
    return command


def _show_all(ctx: click.Context, _param: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not ctx.resilient_parsing:
        for param in ctx.command.params:
            if isinstance(param, RareOption):
                param.hidden = False
        click.echo(ctx.get_help())
        ctx.exit()


class RareOption(click.Option):
    """An option that matters little to its command: ``--help-all`` shows it."""


help_all_option: Final = click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_all,
    help="Show this message with every setting that has an option.",
)
