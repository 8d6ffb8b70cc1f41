"""Which hosts are this machine: where plain http may go, and where it is safe to listen."""

from __future__ import annotations

import pytest

from fhir_aftercare.loopback import is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "ehr.localhost", "localhost.", "127.0.0.1", "127.9.9.9", "::1"]
)
def test_these_are_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "fhir.example.com"])  # noqa: S104
def test_these_are_not(host: str) -> None:
    assert not is_loopback(host)
