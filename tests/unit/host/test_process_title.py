"""Where the command line lies is read from the kernel's own text, whatever a process is called."""

from __future__ import annotations

import pytest

from arbd.host.process_title import arguments_in

FIELDS = [b"S", *(str(number).encode() for number in range(4, 53))]


@pytest.mark.parametrize("name", [b"python", b"a b", b"a) R 1 (b", b") "])
def test_the_two_addresses(name: bytes) -> None:
    stat = b"41 (" + name + b") " + b" ".join(FIELDS) + b"\n"
    assert arguments_in(stat) == (48, 49)


@pytest.mark.parametrize("stat", [b"", b"41 (x) S 1 2", b"41 x S", b"41 (x) " + b"y " * 60])
def test_a_text_of_another_form_is_told(stat: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        arguments_in(stat)
