"""An environment file is read line by line, as systemd does; a problem names the line and quotes nothing of it."""

from __future__ import annotations

import pytest

from arbd.settings.env_file import parse


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  A = b c  ", "b c"),
        ('A="b # c"', "b # c"),
        ("A='b \"c\"'", 'b "c"'),
        (r'A="b \"c\" \\ \$d \n"', r'b "c" \ $d \n'),
        ("A=", ""),
        ('A=""', ""),
        ("A=b=c", "b=c"),
        ("A=$HOME", "$HOME"),
        ("A=b#c", "b#c"),
    ],
)
def test_a_value_is_what_stands_behind_the_sign(line: str, value: str) -> None:
    assert parse(f"{line}\n", "f") == ({"A": value}, [])


def test_comments_and_empty_lines_are_none_and_the_last_of_one_name_counts() -> None:
    assert parse("# A=1\n; A=2\n\n   \nA=3\nA=4", "f") == ({"A": "4"}, [])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("s3cret", "f: line 2 is not NAME=VALUE"),
        ("=s3cret", "f: line 2 is not NAME=VALUE"),
        ("1A=s3cret", "f: line 2 is not NAME=VALUE"),
        ("export A=s3cret", "f: line 2 is not NAME=VALUE"),
        ("Ä=s3cret", "f: line 2 is not NAME=VALUE"),
        ('A="s3cret', "f: line 2: the quotes of A do not end where the line does"),
        ("A='s3cret' more", "f: line 2: the quotes of A do not end where the line does"),
        ("A=s3\0cret", "f: line 2: A holds a zero byte"),
    ],
)
def test_what_is_no_pair_is_named_by_its_line_and_not_quoted(line: str, problem: str) -> None:
    assert parse(f"B=1\n{line}\nC=2\n", "f") == ({"B": "1", "C": "2"}, [problem])
