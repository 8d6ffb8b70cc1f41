"""Fixtures of the SMART client's tests: a clock both sides share, one strict EHR, and a clinic registered there."""

from __future__ import annotations

import pytest

from fhir_aftercare.smart import Registrations
from smart.clinic import Clinic, Clock, Internet, registered
from smart.strict_server import StrictEhr


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ehr(clock: Clock) -> StrictEhr:
    return StrictEhr(clock=clock.seconds)


@pytest.fixture
def internet(ehr: StrictEhr) -> Internet:
    return Internet(ehr)


@pytest.fixture
def clinic(ehr: StrictEhr, internet: Internet, clock: Clock) -> Clinic:
    return Clinic(Registrations([registered(ehr)]), internet, clock)
