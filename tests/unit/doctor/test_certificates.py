"""The dates of a certificate are read, also of one that is not good, and what is none harms nobody."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbd.doctor import certificates

#: From 2026-11-30 (two digits of the year) to 2126-11-06 (four).
PEM = b"""
-----BEGIN CERTIFICATE-----
MIIBpzCCAU2gAwIBAgIUfZi80e9VUbqSG2+ziMYCusEkXHowCgYIKoZIzj0EAwIw
KDEQMA4GA1UECgwHRXhhbXBsZTEUMBIGA1UEAwwLaHViLmV4YW1wbGUwIBcNMjYx
MTMwMTIwMzAxWhgPMjEyNjExMDYxMjAzMDFaMCgxEDAOBgNVBAoMB0V4YW1wbGUx
FDASBgNVBAMMC2h1Yi5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
KHU1YIXbDsvmhMhNceXvI69hXAKGrgMBOn/MRgMFaf7N6KE1AqqP7BptecVkeXRh
mRDtGBam/5iBB8R/pq9aRKNTMFEwHQYDVR0OBBYEFKwVcf3AjROz8s3DwEnAO+ac
skqyMB8GA1UdIwQYMBaAFKwVcf3AjROz8s3DwEnAO+acskqyMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAJhFhmrQcSb447/7oMxixkak9j10v1Qe
qv2SNlGxxSRgAiAZKbMEGX5lPcHQBLqi01LABULDzWzPzWeJyr+ketaAPw==
-----END CERTIFICATE-----
"""
DER = base64.b64decode(re.sub(rb"-----.*-----|\s", b"", PEM))
FROM, UNTIL = 1_796_040_181.0, 4_949_640_181.0


def test_dates_and_name_are_read() -> None:
    assert certificates.in_pem(PEM) == [certificates.Validity(FROM, UNTIL, "hub.example")]
    assert certificates.of_der(DER) == certificates.in_pem(PEM)[0]


def test_a_bundle_has_many_and_what_is_broken_is_left_out() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert len(certificates.in_pem(b"# comment\n" + PEM + broken + b"text" + PEM)) == 2
    assert certificates.in_pem(b"") == certificates.in_pem(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END") == []


@pytest.mark.parametrize("cut", range(0, len(DER), 7))
def test_one_that_was_cut_short_is_none(cut: int) -> None:
    assert certificates.of_der(DER[:cut]) is None


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_none(data: bytes) -> None:
    certificates.of_der(data)
    certificates.in_pem(b"-----BEGIN CERTIFICATE-----" + data + b"-----END")


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_byte_that_is_wrong_is_survived(place: int, byte: int) -> None:
    found = certificates.of_der(DER[:place] + bytes((byte,)) + DER[place + 1 :])
    assert found is None or found.days_left(0) is not None


def test_days_are_counted_down() -> None:
    validity = certificates.Validity(FROM, FROM + 3 * 86_400, "")
    assert [validity.days_left(FROM + days * 86_400) for days in (0, 2.5, 3, 3.5)] == [3, 0, 0, -1]
    assert certificates.date(FROM) == "2026-11-30 12:03 UTC"
