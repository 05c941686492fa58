"""TARGET leads to the one provider it means, in every form, or to a sentence that says why it does not."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbd.author import start
from arbd.author.provider import Provider
from arbd.errors import TargetError
from arbd.worker import target

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes files into an empty working directory; whatever loading does to ``sys`` is undone."""

    def write_file(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["as", "it", "was"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules = dict(sys.modules)
    yield write_file
    sys.modules.clear()
    sys.modules.update(modules)


def problem(place: str, *, script: bool = False) -> str:
    """What is wrong with a target, in one sentence."""
    with pytest.raises(TargetError) as caught:
        target.load(place, [], script=script)
    [sentence] = caught.value.problems
    return sentence


ONE = """
    from arbd import Provider
    provider = Provider("one")
"""
CLASS = """
    from arbd import Provider
    class Desk(Provider):
        def __init__(self):
            super().__init__("from class")
"""
FACTORY = """
    from arbd import Provider
    def create_provider():
        return Provider("from factory")
"""

# Every form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "name"), [(ONE, "one"), (CLASS, "from class"), (FACTORY, "from factory")])
@pytest.mark.parametrize("place", ["desk", "desk.py", "./desk.py"])
def test_a_module_or_file_with_one_provider(write: Write, place: str, text: str, name: str) -> None:
    write("desk.py", text)
    assert target.load(place, []).name == name


@pytest.mark.parametrize(
    ("attribute", "name"),
    [("provider", "one"), ("Desk", "from class"), ("create_provider", "from factory"), ("Outer.Inner.desk", "deep")],
)
@pytest.mark.parametrize("place", ["pkg.sub.desk", "pkg/sub/desk.py"])
def test_an_attribute(write: Write, place: str, attribute: str, name: str) -> None:
    nested = """
        class Outer:
            class Inner:
                desk = Provider("deep")
    """
    text = "".join(map(textwrap.dedent, (ONE, CLASS, FACTORY, nested)))
    write("pkg/sub/desk.py", text)
    assert target.load(f"{place}:{attribute}", []).name == name


def test_a_package(write: Write) -> None:
    write("pkg/__init__.py", "from pkg.inner import provider")
    write("pkg/inner.py", ONE)
    assert target.load("pkg", []).name == "one"


def test_a_file_somewhere_else_imports_its_neighbours(write: Write) -> None:
    write("far/away/prices.py", "NAME = 'neighbour'")
    file = write("far/away/desk.py", "from arbd import Provider\nimport prices\ndesk = Provider(prices.NAME)")
    assert target.load(str(file), []).name == "neighbour"


def test_a_path_may_hold_a_colon(write: Write) -> None:
    write("a:b/desk.py", ONE)
    assert target.load("a:b/desk.py", []).name == "one"
    assert target.load("a:b/desk.py:provider", []).name == "one"


def test_a_loaded_file_is_a_module_like_any_other(write: Write) -> None:
    """Type hints, and whatever else looks a class up in its module, must work."""
    write("desk.py", CLASS)
    provider = target.load("desk.py", [])
    assert type(provider).__module__ == "desk"
    assert sys.modules["desk"].Desk is type(provider)


def test_the_author_s_arguments(write: Write) -> None:
    write("desk.py", "import sys\nfrom arbd import Provider\nprovider = Provider('|'.join(sys.argv))")
    assert target.load("desk", ["--region", "eu"]).name == "desk|--region|eu"
    assert target.load("desk.py", []).name == "desk.py"


# Which one -------------------------------------------------------------------------------------------------------


def test_an_instance_comes_before_a_class_and_a_class_before_a_factory(write: Write) -> None:
    write("all_three.py", "".join(map(textwrap.dedent, (FACTORY, CLASS, ONE.replace("provider =", "other =")))))
    write("two.py", "".join(map(textwrap.dedent, (FACTORY, CLASS))))
    assert target.load("all_three", []).name == "one"
    assert target.load("two", []).name == "from class"


def test_one_named_provider_is_meant_among_several(write: Write) -> None:
    write("desk.py", "from arbd import Provider\na = Provider('a')\nprovider = Provider('b')\nc = Provider('c')")
    assert target.load("desk", []).name == "b"


def test_one_instance_under_two_names_is_one(write: Write) -> None:
    write("desk.py", "from arbd import Provider\na = b = Provider('same')")
    assert target.load("desk", []).name == "same"


def test_an_imported_class_is_not_the_module_s_own(write: Write) -> None:
    write("base.py", CLASS)
    write("desk.py", "from base import Desk\nclass Mine(Desk): pass")
    assert type(target.load("desk", [])).__name__ == "Mine"


def test_several_instances_are_listed(write: Write) -> None:
    write("desk.py", "from arbd import Provider\na = Provider('a')\nb = Provider('b')")
    assert problem("desk") == "TARGET 'desk' holds several providers; choose one of desk:a, desk:b"


def test_several_classes_are_listed(write: Write) -> None:
    write("desk.py", "from arbd import Provider\nclass A(Provider): pass\nclass B(Provider): pass")
    assert problem("./desk.py") == "TARGET './desk.py' holds several providers; choose one of ./desk.py:A, ./desk.py:B"


# Nowhere ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "  "])
def test_no_target(place: str) -> None:
    assert problem(place) == "no TARGET: name a module, module:attribute or path/file.py[:attribute]"


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("nothing_here", "nothing_here"),
        ("nothing_here.at.all", "nothing_here"),
        ("nothing_here:provider", "nothing_here"),
        ("desk.sub", "desk.sub"),
        ("desk:", "desk:"),
        (":desk", ":desk"),
        ("desk:not-a-name", "desk:not-a-name"),
    ],
)
def test_no_such_module(write: Write, place: str, missing: str) -> None:
    write("desk.py", ONE)
    module = place.removesuffix(":provider")
    assert problem(place) == (
        f"TARGET {module!r}: no module named {missing!r} here ({Path.cwd()}) or among the installed ones"
    )


@pytest.mark.parametrize("place", [".", "..", ".desk"])
def test_a_relative_module(place: str) -> None:
    assert problem(place) == f"TARGET {place!r} is neither a module nor a path/file.py"


@pytest.mark.parametrize("place", ["nothing.py", "nothing.py:provider", "dir/nothing", "/nowhere/desk.py", "./"])
@pytest.mark.parametrize("script", [False, True])
def test_no_such_file(place: str, script: bool) -> None:
    file = place.removesuffix(":provider")
    assert problem(place, script=script) == f"TARGET {file!r}: there is no file {Path(file).resolve()}"


@pytest.mark.parametrize("place", ["price.py", "price.py:provider", "price", "prices_", "my-price"])
def test_a_file_that_is_called_almost_so(write: Write, place: str) -> None:
    write("prices.py", ONE)
    write("my-prices.py", ONE)
    like = "my-prices" if "-" in place else "prices"
    assert problem(place).endswith(f"; did you mean {like}.py?")


def test_a_directory_that_cannot_be_listed_has_no_file_of_that_name() -> None:
    assert problem("/proc/1/nowhere/price.py") == "TARGET '/proc/1/nowhere/price.py': there is no file " + (
        "/proc/1/nowhere/price.py"
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("class Shop(Provider): ...", "shop.py", ["Shop(", "'name'", "provider = Shop(...)"]),
        ("class Shop(Provider): ...", "shop.py:Shop", ["Shop(", "provider = Shop(...)"]),
        ("def build(region): ...", "shop.py:build", ["build(region)", "'region'", "without parameters"]),
        ("provider = Provider('p')\ndef total(items): ...", "shop.py:total", ["total(items)", "name a Provider"]),
    ],
)
def test_what_wants_arguments_is_told_and_no_frame_of_arbds(
    write: Write, text: str, place: str, words: list[str]
) -> None:
    write("shop.py", f"from arbd import Provider\n{text}\n")
    told = problem(place)
    assert [word for word in words if word not in told] == []


def test_a_type_error_inside_of_a_factory_is_the_authors(write: Write) -> None:
    write("shop.py", "def build():\n    return len(3)\n")
    with pytest.raises(TypeError):
        target.load("shop.py:build", [])


def test_a_file_of_another_kind(write: Write) -> None:
    file = write("./notes.txt", ONE)
    assert problem("./notes.txt") == f"TARGET {str(file)!r} is no Python file"


@pytest.mark.parametrize("place", ["desk", "desk.py"])
@pytest.mark.parametrize("attribute", ["nothing", "provider.nothing.deeper"])
def test_no_such_attribute(write: Write, place: str, attribute: str) -> None:
    write("desk.py", ONE)
    assert problem(f"{place}:{attribute}") == f"TARGET '{place}:{attribute}': 'desk' has no attribute {attribute!r}"


def test_no_provider_in_the_module(write: Write) -> None:
    write("desk.py", "from arbd import Provider\nvalue = 1")
    assert problem("desk") == (
        "TARGET 'desk' holds no provider: it needs an instance or a subclass of arbd.Provider, "
        "or a function create_provider() that returns one"
    )


@pytest.mark.parametrize(
    ("attribute", "kind"), [("number", "int"), ("gives_text", "str"), ("Other", "Other"), ("gives_class", "type")]
)
def test_an_attribute_that_is_no_provider(write: Write, attribute: str, kind: str) -> None:
    write(
        "desk.py",
        """
        from arbd import Provider
        number = 3
        class Other: pass
        def gives_text(): return "text"
        def gives_class(): return Provider
        """,
    )
    assert (
        problem(f"desk:{attribute}") == f"TARGET 'desk:{attribute}' is {kind}, not a Provider, a subclass or a factory"
    )


# The author's own errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nothing_like_this", ModuleNotFoundError),
        ("import desk.nothing_like_this", ModuleNotFoundError),
        ("from math import nothing_like_this", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def broken(:", SyntaxError),
        ("raise SystemExit(3)", SystemExit),
        ("def create_provider(): return 1 / 0", ZeroDivisionError),
        ("def create_provider(needed): ...", TypeError),
    ],
)
@pytest.mark.parametrize("place", ["desk", "desk.py"])
def test_errors_of_the_author_s_code_pass_through(
    write: Write, place: str, text: str, error: type[BaseException]
) -> None:
    write("desk.py", text)
    with pytest.raises(error):
        target.load(place, [])


# start() while loading -------------------------------------------------------------------------------------------

STARTS = """
    from arbd import Provider
    first, second = Provider("first"), Provider("second")
    second.start()
    raise RuntimeError("start() returned")
"""


@pytest.mark.parametrize("place", ["desk", "desk.py", "desk:first"])
def test_start_means_this_provider(write: Write, place: str) -> None:
    write("desk.py", STARTS)
    assert target.load(place, []).name == "second"


def test_start_inside_a_factory(write: Write) -> None:
    write("desk.py", "from arbd import Provider\ndef create_provider():\n    Provider('inner').start()")
    assert target.load("desk", []).name == "inner"


def test_except_exception_around_start_does_not_catch_it(write: Write) -> None:
    write(
        "desk.py", "from arbd import Provider\ntry:\n    Provider('x').start()\nexcept Exception:\n    raise SystemExit"
    )
    assert target.load("desk", []).name == "x"


@pytest.mark.parametrize("text", [ONE, STARTS, "1 / 0"])
def test_loading_ends_with_the_load(write: Write, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Afterwards ``start()`` means to run a daemon again."""
    write("desk.py", text)
    try:
        target.load("desk", [])
    except ZeroDivisionError:
        pass
    executed: list[str] = []
    monkeypatch.setattr("os.execv", lambda path, _arguments: executed.append(path))
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/srv/desk.py", raising=False)
    start.start(Provider("x"))
    assert executed == [sys.executable]


# Scripts ---------------------------------------------------------------------------------------------------------

SCRIPT = """
    import sys
    from arbd import Provider
    if __name__ == "__main__":
        Provider("|".join(sys.argv)).start()
"""


def test_a_script_runs_as_main(write: Write) -> None:
    file = write("desk.py", SCRIPT)
    assert target.load(str(file), ["-v"], script=True).name == f"{file}|-v"


def test_a_script_needs_no_suffix(write: Write) -> None:
    file = write("bin/desk", f"#!/usr/bin/env python3\n{textwrap.dedent(SCRIPT)}")
    assert target.load(str(file), [], script=True).name == str(file)


def test_a_script_that_never_starts_anything_is_searched(write: Write) -> None:
    file = write("desk.py", CLASS)
    assert target.load(str(file), [], script=True).name == "from class"


def test_a_script_s_classes_are_found_in_main(write: Write) -> None:
    text = f"{textwrap.dedent(CLASS)}\nDesk().start()"
    provider = target.load(str(write("desk.py", text)), [], script=True)
    assert type(provider).__module__ == "__main__"
    assert sys.modules["__main__"].Desk is type(provider)


def test_a_script_imports_its_neighbours(write: Write) -> None:
    write("far/prices.py", "NAME = 'neighbour'")
    file = write("far/desk.py", "from arbd import Provider\nimport prices\nProvider(prices.NAME).start()")
    assert target.load(str(file), [], script=True).name == "neighbour"


def test_a_script_sees_what_python_gives_one(write: Write) -> None:
    text = "from arbd import Provider\nProvider(f'{__file__} {__name__} {__spec__} {__package__}').start()"
    file = write("desk.py", text)
    assert target.load(str(file), [], script=True).name == f"{file} __main__ None None"


def test_a_module_as_python_m_runs_it(write: Write) -> None:
    write("pkg/names.py", "NAME = 'relative'")
    text = """
        import sys
        from arbd import Provider
        from .names import NAME
        if __name__ == "__main__":
            Provider(f"{NAME} {__spec__.name} {__package__} {sys.argv}").start()
    """
    file = write("pkg/desk.py", text)
    main = write("pkg/__main__.py", text)
    write("pkg/__init__.py", "")
    assert target.load("pkg.desk", ["-v"], script=True).name == f"relative pkg.desk pkg {[str(file), '-v']}"
    assert target.load("pkg.__main__", [], script=True).name == f"relative pkg.__main__ pkg {[str(main)]}"


@pytest.mark.parametrize("place", ["nothing_here", "names"])
def test_no_such_module_to_run(write: Write, place: str) -> None:
    write("names/inner.py", "")  # a namespace package has nothing to run
    assert problem(place, script=True) == f"TARGET {place!r}: there is no such module to run"


# What to watch ---------------------------------------------------------------------------------------------------


def test_the_author_s_files_are_theirs_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    before = target.author_files()
    write("pkg/__init__.py", "")
    write(
        "pkg/desk.py",
        "import json, msgspec, arbd.worker.execute, helper, vendored\nfrom arbd import Provider\np = Provider('x')",
    )
    write("helper.py", "")
    write("lib/site-packages/vendored.py", "")
    monkeypatch.syspath_prepend("lib/site-packages")
    target.load("pkg.desk", [])
    here = Path.cwd()
    own = [str(here / "helper.py"), str(here / "pkg/__init__.py"), str(here / "pkg/desk.py")]
    assert sorted(set(target.author_files()) - set(before)) == own


def test_a_directory_whose_name_begins_like_arbd_s_is_not_arbd_s(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target, "_NOT_THE_AUTHORS", (Path.cwd() / "arbd",))
    file = write("arbd_desk/desk.py", ONE)
    other = write("arbd/inner.py", ONE)
    target.load(str(file), [])
    target.load(str(other), [])
    assert str(file) in target.author_files()
    assert str(other) not in target.author_files()


# Names that hide others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("arbd", "arbd itself"),
        ("logging", "Python's own module 'logging'"),
        ("queue", "Python's own module 'queue'"),
        ("msgspec", "the package 'msgspec'"),
    ],
)
@pytest.mark.parametrize("script", [False, True])
def test_a_file_that_hides_what_others_import_is_a_sentence(write: Write, name: str, hidden: str, script: bool) -> None:
    file = write(f"{name}.py", ONE)
    with pytest.raises(TargetError, match=hidden):
        target.load(str(file), [], script=script)
    assert name not in sys.modules or getattr(sys.modules[name], "__file__", None) != str(file)


def test_a_module_of_such_a_name_is_too(write: Write) -> None:
    write("logging.py", ONE)
    with pytest.raises(TargetError, match="rename it"):
        target.load("logging", [])


@pytest.mark.parametrize("name", ["test", "prices", "my_logging", "arbd_prices"])
def test_other_names_hide_nothing(write: Write, name: str) -> None:
    assert target.load(str(write(f"{name}.py", ONE)), []).name == "one"


def test_a_neighbour_that_may_be_why_an_import_fails_is_named(write: Write) -> None:
    write("random.py", "")
    file = write("desk.py", "from arbd.nowhere import nothing")
    with pytest.raises(ImportError) as caught:
        target.load(str(file), [])
    assert "random.py hides Python's own module 'random'" in caught.value.__notes__[0]


def test_without_such_a_neighbour_nothing_is_said(write: Write) -> None:
    file = write("desk.py", "from arbd.nowhere import nothing")
    with pytest.raises(ImportError) as caught:
        target.load(str(file), [])
    assert not hasattr(caught.value, "__notes__")
