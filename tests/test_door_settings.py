"""The doors, sweeps and work of a clinic, as its file says: everything that is wrong is said at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fhir_aftercare.clinic_file import read_clinic
from fhir_aftercare.door_settings import DoorSettings
from fhir_aftercare.errors import ConfigFault

CLINIC = """
name = "Harbor Clinic"
fhir_base_url = "http://localhost:8080/fhir"
identifier_base = "https://aftercare.example.org"
zone = "America/New_York"
organization = "Organization/42"
phone = "+1 555 0100"
[call_hours]
mon = "09:00-18:00"
"""
SECRET = {"AFTERCARE_SUBSCRIPTION_SECRET_HARBOR": "0123456789abcdef0123456789abcdef"}
DOORS = """
[subscription]
header = "X-Secret"
[cds_hooks]
public_url = "https://aftercare.clinic.com"
launch_url = "https://aftercare.clinic.com/launch"
[[cds_hooks.clients]]
iss = "https://ehr.clinic.com"
jku = ["https://ehr.clinic.com/jwks.json"]
[[hl7v2.senders]]
application = "ADT"
facility = "HARBOR"
zone = "America/New_York"
patients = { HARBOR = "https://ehr.clinic.com/mrn" }
visits = { HARBOR = "https://ehr.clinic.com/visit" }
[sweep]
population = false
patients = ["Patient/7"]
first_days = 3
[work]
concurrency = 2
per_minute = 300
"""


def test_a_clinic_without_doors_is_swept_as_usual() -> None:
    assert read_clinic("harbor", CLINIC).doors == DoorSettings()


def test_every_door_is_read_and_none_of_them_changes_the_hash_of_the_policy() -> None:
    plain, settings = read_clinic("harbor", CLINIC), read_clinic("harbor", CLINIC + DOORS, environ=SECRET)
    doors = settings.doors
    assert doors.subscription is not None
    assert (doors.subscription.header, doors.subscription.secrets) == ("X-Secret", tuple(SECRET.values()))
    assert doors.cds_hooks is not None
    assert [each.iss for each in doors.cds_hooks.clients] == ["https://ehr.clinic.com"]
    assert doors.hl7v2 is not None
    assert [each.application for each in doors.hl7v2.senders] == ["ADT"]
    assert (doors.sweep.population, doors.sweep.max_lookback, doors.patients) == (False, timedelta(3), ("Patient/7",))
    assert (doors.concurrency, doors.per_minute) == (2, 300)
    assert settings.clinic.policy_hash == plain.clinic.policy_hash
    assert SECRET["AFTERCARE_SUBSCRIPTION_SECRET_HARBOR"] not in repr(settings)


def test_all_faults_of_all_doors_are_said_at_once_with_those_of_the_clinic() -> None:
    wrong = (
        CLINIC.replace('phone = "+1 555 0100"', "")
        + """
        [subscription]
        header = "Host"
        [cds_hooks]
        public_url = "nowhere"
        [hl7v2]
        [sweep]
        population = "no"
        patients = ["7"]
        often = true
        [work]
        concurrency = 0
        """
    )
    with pytest.raises(ConfigFault) as caught:
        read_clinic("harbor", wrong)
    places = {fault.partition(":")[0] for fault in caught.value.faults}
    assert places >= {
        "phone",
        "AFTERCARE_SUBSCRIPTION_SECRET_HARBOR",
        "subscription.header",
        "cds_hooks.public_url",
        "cds_hooks.clients",
        "hl7v2.senders",
        "sweep.population",
        "sweep.patients[0]",
        "sweep.often",
        "work.concurrency",
    }
    with pytest.raises(ConfigFault) as caught:
        read_clinic("harbor", "sweep = 1\nwork = 2\n" + CLINIC)
    assert {"sweep: must be a table, [sweep]", "work: must be a table, [work]"} <= set(caught.value.faults)


def test_a_clinic_names_the_organizations_whose_visits_are_its_own() -> None:
    shared = read_clinic("harbor", 'organizations = ["Organization/42", "Organization/43"]\n' + CLINIC)
    assert shared.clinic.organizations == {"Organization/42", "Organization/43"}
    with pytest.raises(ConfigFault) as caught:
        read_clinic("harbor", 'organizations = ["42"]\n' + CLINIC)
    assert "organizations.0" in caught.value.faults[0]
