"""The documents hold together: every link leads somewhere, every command, option and setting that they name exists."""

from __future__ import annotations

import re
import shlex
import tomllib

import click
import pytest
from documents import DOCUMENTS, PAGES, ROOT, anchors, blocks, commands, inline_code, links, rows, section, text_of

from arbd.cli import cli
from arbd.cli._options import LOCAL_HUB
from arbd.cli._show import value
from arbd.settings.table import TABLE, from_toml, resolve

_MAKEFILE = text_of("Makefile")
_CONTEXT = click.Context(cli)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    dead = []
    for link in links(document):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(str(target.relative_to(ROOT)))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("document", PAGES)
def test_no_heading_has_the_name_of_another(document: str) -> None:
    assert len(set(anchors(document))) == len(anchors(document))


def test_the_front_page_links_every_page_and_is_short() -> None:
    assert [page for page in PAGES if page != "README.md" and page not in links("README.md")] == []
    assert len(text_of("README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", [page for page in PAGES if page != "README.md"])
def test_a_page_begins_by_saying_what_it_answers_and_links_its_neighbours(page: str) -> None:
    first = text_of(page).split("\n\n")[1]
    assert first.startswith("This page answers ")
    assert re.findall(r"\]\(\S+\.md", text_of(page).partition("\n## ")[0])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_it_names_exists_with_its_options(page: str) -> None:
    named = [code for code in [*inline_code(page), *commands(page)] if re.match(r"(\w+=\S+ )?arbd [a-z]", code)]
    assert [problem for code in named for problem in problems_of(code.partition("arbd ")[2])] == []


def problems_of(code: str) -> list[str]:
    """What is wrong with the command line behind ``arbd``."""
    words = shlex.split(re.split(r" [|>&] ?| \|\| |; ", code)[0].replace("...", ""))
    command = cli.get_command(_CONTEXT, words[0])
    if command is None:
        return [f"arbd {code}: no such command"]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    given = words[1 : words.index("--") if "--" in words else None]
    return [f"arbd {code}: no option {word}" for word in given if word.startswith("-") and word not in {*known, "-"}]


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_it_names_exists(page: str) -> None:
    named = {code.split()[1] for code in [*inline_code(page), *commands(page)] if re.match(r"make [a-z]", code)}
    assert {target for target in named if f"\n{target}:" not in _MAKEFILE} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_extra_that_it_names_exists(page: str) -> None:
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(re.findall(r"'(?:arbd|\.)\[(\w+)\]'", text_of(page))) <= set(extras)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_it_names_exists(page: str) -> None:
    named = [code for code in inline_code(page) if re.fullmatch(r"(arbd|tests|bench|protos|docs)/[\w/]*[\w.]*", code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_settings_files_can_be_used(page: str) -> None:
    for block in blocks(page, "toml"):
        resolve([from_toml(tomllib.loads(block.text))])


def test_the_hub_of_the_first_provider_is_where_the_commands_look_for_it() -> None:
    assert f'"{LOCAL_HUB}"' in blocks("README.md", "python")[0].text


def test_the_table_of_settings_is_the_one_of_the_code() -> None:
    """Name, variable and default of each, in the same order."""
    told = []
    for name, variable, default, _ in rows(section("docs/run.md", "Settings")):
        names, variables = (re.findall("`([^`]+)`", cell) for cell in (name, variable))
        defaults = default.split(", ") if ", " in default else [default] * len(names)
        told += list(zip(names, variables, defaults, strict=True))
    shown = [value(setting, setting.default).replace("-", "", 1 if not setting.default else 0) for setting in TABLE]
    assert told == [(s.name, s.variable, default) for s, default in zip(TABLE, shown, strict=True)]


@pytest.mark.parametrize("document", PAGES)
def test_lines_can_be_read_in_an_editor(document: str) -> None:
    tables = ("|", "- [", "![", "    ")
    lines = text_of(document).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(tables)] == []
