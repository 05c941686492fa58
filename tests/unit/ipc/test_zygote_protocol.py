"""Every message between supervisor and zygote comes out as it went in, and only in its own direction."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.ipc import zygote_protocol as protocol
from arbd.ipc.zygote_protocol import Boot, Configure, Described, Exited, Failed, LogSettings, Spawn, Spawned

text = st.text()
whole = st.integers(-(2**31), 2**63 - 1)
log_settings = st.builds(LogSettings, text, text, st.booleans())
to_zygote = st.one_of(
    st.builds(Boot, text, st.lists(text), st.booleans(), log_settings, whole),
    st.builds(
        Configure,
        name=text,
        hub_url=text,
        timezone=text,
        execution_timeout=st.floats(allow_nan=False),
        envelope=st.sampled_from(["plain", "metadata"]),
        max_result=whole,
        log=log_settings,
    ),
    st.builds(Spawn, whole, whole, st.lists(whole).map(tuple), whole),
)
from_zygote = st.one_of(
    st.builds(Described),
    st.builds(Failed, st.booleans(), st.lists(text), text),
    st.builds(Spawned, whole, whole),
    st.builds(Exited, whole, whole, text),
)


@given(to_zygote)
def test_to_the_zygote(message: protocol.ToZygote) -> None:
    assert protocol.decode_to_zygote(protocol.encode(message)) == message


@given(from_zygote)
def test_from_the_zygote(message: protocol.FromZygote) -> None:
    assert protocol.decode_from_zygote(protocol.encode(message)) == message


@given(from_zygote)
def test_a_message_that_goes_the_other_way_is_refused(message: protocol.FromZygote) -> None:
    with pytest.raises(msgspec.ValidationError):
        protocol.decode_to_zygote(protocol.encode(message))


@given(to_zygote)
def test_and_the_other_way_round(message: protocol.ToZygote) -> None:
    with pytest.raises(msgspec.ValidationError):
        protocol.decode_from_zygote(protocol.encode(message))


@given(st.binary(max_size=40))
def test_what_is_no_message_is_refused(noise: bytes) -> None:
    for decode in (protocol.decode_to_zygote, protocol.decode_from_zygote):
        with pytest.raises(msgspec.DecodeError):  # of which a ValidationError is one
            decode(noise)
