"""The record of the drug is what the clinic decided, and is read back as the infusion it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.clinic import Clinic
from fhir_aftercare.care.infusion import InfusionRecord, InfusionStatus, Route
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.care.timing import OpenHours
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.fhir.drug_record import drug_record
from fhir_aftercare.fhir.findings import read_administrations
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.observations import amended
from fhir_aftercare.fhir.setting import Setting
from profiles.lock import EXAMPLES, read

Resource = dict[str, Any]
NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
END = START + timedelta(minutes=40)
GOOD = read(EXAMPLES)
CLINIC = Clinic(
    id="harbor",
    name="Harbor Clinic",
    zone=NEW_YORK,
    organization="Organization/clinic",
    phone="+1 555 0100",
    policy=Policy(),
    call_hours=OpenHours({}, frozenset(), NEW_YORK),
)
PROCEDURES = replace(CLINIC, drug_record="procedure")
KINDS = [CLINIC, PROCEDURES]
RECORD = InfusionRecord(start=START, end=END, status=InfusionStatus.COMPLETED, dose_mg=Decimal(35))


def setting(clinic: Clinic = CLINIC, **more: Any) -> Setting:
    given_: dict[str, Any] = {
        "clinic": clinic,
        "identifiers": Identifiers("https://clinic.example.com"),
        "patient": "Patient/ana",
        "encounter": "Encounter/infusion-1",
        "key": ("harbor", "infusion-1", "1"),
        "recorded_by": "Practitioner/nurse",
        **more,
    }
    return Setting(**given_)


def written(record: InfusionRecord = RECORD, clinic: Clinic = CLINIC, **more: Any) -> Resource:
    found = drug_record(record, setting(clinic, **more))
    assert found is not None
    get_fhir_model_class(found["resourceType"]).model_validate_json(exact_json.dumps(found))
    return found


def stored(resource: Resource, **more: Any) -> Resource:
    return {**exact_json.loads(exact_json.dumps(resource)), "id": "1", **more}


def like_the_example(found: Resource, name: str) -> bool:
    example = {key: value for key, value in GOOD[name].items() if key not in {"id", "identifier", "note"}}
    return {key: value for key, value in found.items() if key not in {"identifier", "note"}} == example


def test_a_clinic_whose_server_is_its_record_of_the_drug_writes_an_administration_like_the_example() -> None:
    found = written()
    assert like_the_example(found, "MedicationAdministration-infusion-1.json")


def test_a_clinic_whose_ehr_has_its_own_record_of_the_drug_writes_a_procedure_like_the_example() -> None:
    found = written(clinic=PROCEDURES)
    assert like_the_example(found, "Procedure-infusion-1.json")
    assert found["note"] == [{"authorString": "fhir-aftercare", "text": "Ketamine 35 mg over 40 minutes"}]


def test_a_clinic_may_write_neither() -> None:
    assert drug_record(RECORD, setting(replace(CLINIC, drug_record="none"))) is None


@pytest.mark.parametrize("clinic", KINDS)
@pytest.mark.parametrize("status", InfusionStatus)
def test_each_status_is_written_as_it_is(clinic: Clinic, status: InfusionStatus) -> None:
    end = None if status is InfusionStatus.IN_PROGRESS else END
    assert written(replace(RECORD, status=status, end=end), clinic)["status"] == status.value


@pytest.mark.parametrize("clinic", KINDS)
def test_nothing_is_said_to_be_given_if_it_was_not_done(clinic: Clinic) -> None:
    found = written(replace(RECORD, status=InfusionStatus.NOT_DONE), clinic)
    assert {"dosage", "note"}.isdisjoint(found)


def test_a_route_is_said_in_words_with_the_dose_and_in_a_note_without() -> None:
    with_dose = written(replace(RECORD, route=Route.INTRAVENOUS))
    assert with_dose["dosage"]["route"] == {"text": "intravenous"}
    assert with_dose["dosage"]["text"] == "35 mg intravenous over 40 minutes"
    without = written(replace(RECORD, route=Route.INTRAVENOUS, dose_mg=None))
    assert "dosage" not in without
    assert without["note"][0]["text"] == "Ketamine intravenous over 40 minutes"
    assert {"dosage", "note"}.isdisjoint(written(replace(RECORD, dose_mg=None)))


def test_a_dose_keeps_its_digits() -> None:
    assert b'"value":37.50' in exact_json.dumps(written(replace(RECORD, dose_mg=Decimal("37.50"))))


@pytest.mark.parametrize(
    ("performer", "of_administration", "of_procedure"),
    [("Practitioner/1", True, True), (None, False, True), ("CareTeam/1", False, False)],
)
def test_only_whom_fhir_allows_is_an_actor(performer: str | None, of_administration: bool, of_procedure: bool) -> None:
    for clinic, there in ((CLINIC, of_administration), (PROCEDURES, of_procedure)):
        found = written(clinic=clinic, recorded_by=performer)
        actors = [{"actor": {"reference": performer or "Organization/clinic"}}]
        assert found.get("performer") == (actors if there else None)


@pytest.mark.parametrize("clinic", KINDS)
def test_two_infusions_of_one_encounter_have_records_of_their_own(clinic: Clinic) -> None:
    first, second, again = (
        written(replace(RECORD, infusion=name, dose_mg=Decimal(dose)), clinic)["identifier"]
        for name, dose in (("1", 35), ("2", 35), ("1", 40))
    )
    assert first != second
    assert first == again


@pytest.mark.parametrize("clinic", KINDS)
def test_without_an_encounter_none_is_named(clinic: Clinic) -> None:
    assert {"context", "encounter"}.isdisjoint(written(clinic=clinic, encounter=None))


records = st.builds(
    InfusionRecord,
    start=st.just(START),
    end=st.one_of(st.none(), st.integers(1, 240).map(lambda minutes: START + timedelta(minutes=minutes))),
    status=st.sampled_from(InfusionStatus),
    dose_mg=st.one_of(st.none(), st.decimals(1, 1000, places=1)),
    route=st.one_of(st.none(), st.sampled_from(Route)),
)


def possible(record: InfusionRecord) -> bool:
    try:
        check_record(record, START + timedelta(days=1))
    except InvalidInput:
        return False
    return True


@given(records.filter(possible), st.sampled_from(KINDS))
def test_what_is_written_is_read_back_and_needs_no_amendment(record: InfusionRecord, clinic: Clinic) -> None:
    found = written(record, clinic)
    (back,) = read_administrations([stored(found)], clinic)
    assert back.reference == f"{found['resourceType']}/1"
    assert back.start == START
    assert (back.end, back.status) == (record.end, record.status)
    assert amended(stored(found), found) is None


@given(records.filter(possible), records.filter(possible), st.sampled_from(KINDS))
def test_a_correction_is_made_once(before: InfusionRecord, after: InfusionRecord, clinic: Clinic) -> None:
    existing, wanted = (
        stored(written(before, clinic), extension=[{"url": "http://example.org/x"}]),
        written(after, clinic),
    )
    found = amended(existing, wanted) or existing
    assert amended(found, wanted) is None
    assert found["extension"] == existing["extension"]
    assert found["status"] in {before.status.value, after.status.value}


@pytest.mark.parametrize("clinic", KINDS)
def test_an_infusion_moves_from_running_to_completed_with_its_end(clinic: Clinic) -> None:
    running = written(replace(RECORD, status=InfusionStatus.IN_PROGRESS, end=None), clinic)
    found = amended(stored(running), written(clinic=clinic))
    assert found is not None
    assert found["status"] == "completed"
    assert (found.get("effectivePeriod") or found["performedPeriod"])["end"] == END.isoformat()


@pytest.mark.parametrize("clinic", KINDS)
def test_a_late_message_never_sets_a_completed_infusion_running_again(clinic: Clinic) -> None:
    late = written(replace(RECORD, status=InfusionStatus.IN_PROGRESS, end=None), clinic)
    assert amended(stored(written(clinic=clinic)), late) is None


@pytest.mark.parametrize("clinic", KINDS)
def test_an_infusion_entered_in_error_stays_so(clinic: Clinic) -> None:
    existing = stored(written(clinic=clinic), status="entered-in-error")
    assert amended(existing, written(replace(RECORD, dose_mg=Decimal(40)), clinic)) is None


def test_a_corrected_dose_changes_the_dose_and_keeps_what_the_ehr_added() -> None:
    existing = stored(written())
    existing["dosage"]["site"] = {"text": "left arm"}
    existing["medicationCodeableConcept"]["coding"].append({"system": "http://ehr.example.org", "code": "K50"})
    found = amended(existing, written(replace(RECORD, dose_mg=Decimal(40))))
    assert found is not None
    assert found["dosage"]["dose"]["value"] == 40
    assert found["dosage"]["site"] == {"text": "left arm"}
    assert found["medicationCodeableConcept"] == existing["medicationCodeableConcept"]
    assert found["effectivePeriod"]["start"] == START.isoformat()
    assert datetime.fromisoformat(found["effectivePeriod"]["end"]) == END.astimezone(UTC)
