"""Simulate shows what the flows write: to the minute on the days the clocks change, and the same on a real server."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.care.infusion import Check, Dissociation, InfusionRecord, InfusionStatus
from fhir_aftercare.care.timing import Offset
from fhir_aftercare.errors import InvalidInput, ProtocolFault
from fhir_aftercare.fhir import exact_json, terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.observations import from_record
from fhir_aftercare.fhir.setting import Setting
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.flows.simulate import Scenario, simulate
from world import NEW_YORK, make_clinic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fhir_aftercare.flows.simulate import Row, Simulation
    from world import World

Resource = dict[str, Any]

PROTOCOL = shipped_protocol()
CLINIC = make_clinic("Organization/1")
IDENTIFIERS = Identifiers("https://aftercare.example.org")
SPRING = datetime(2026, 3, 7, 15, 45, tzinfo=NEW_YORK)
AUTUMN = datetime(2026, 10, 31, 15, 45, tzinfo=NEW_YORK)
THREE_DAYS = Offset(Decimal(3), "d")


def simulated(end: datetime = SPRING, zone: ZoneInfo = NEW_YORK, **more: Any) -> Simulation:
    clinic = more.pop("clinic", CLINIC)
    protocol = more.pop("protocol", PROTOCOL)
    return simulate(clinic, protocol, IDENTIFIERS, Scenario(end, zone, **more))


def shown(row: Row) -> str:
    times = (each.isoformat(timespec="minutes") if each else "-" for each in (row.opens, row.due, row.expires))
    return "|".join((row.what, row.who, *times, row.state))


def resources(simulation: Simulation, type_: str) -> list[Resource]:
    found = (entry["resource"] for entry in simulation.bundle["entry"])
    return [each for each in found if each["resourceType"] == type_]


def titles(rows: tuple[Row, ...]) -> list[str]:
    return [each.what for each in rows]


# --- the days on which the clocks change -----------------------------------------------------------------------------
BEFORE_SPRING = """
PHQ-9 before the infusion|patient|2026-02-28T15:05-05:00|2026-03-07T15:05-05:00|2026-03-08T04:05-04:00|open
GAD-7 before the infusion|patient|2026-02-28T15:05-05:00|2026-03-07T15:05-05:00|2026-03-08T04:05-04:00|open
An adult takes you home|nurse|2026-03-07T15:05-05:00|2026-03-07T23:05-05:00|2026-03-08T12:05-04:00|done
Teach-back of your instructions|nurse|2026-03-07T15:45-05:00|2026-03-07T19:45-05:00|2026-03-08T08:45-04:00|open
Do not drive or operate machinery|patient|2026-03-07T15:45-05:00|-|2026-03-08T07:00-04:00|in force
No alcohol, sedatives or binding decisions|patient|2026-03-07T15:45-05:00|-|2026-03-08T16:45-04:00|in force
How are you? The day after|patient|2026-03-08T09:00-04:00|2026-03-09T21:00-04:00|2026-03-11T21:00-04:00|open
Follow-up call|nurse|2026-03-09T09:00-04:00|2026-03-09T18:00-04:00|2026-03-10T06:00-04:00|open
How are you? Day 3|patient|2026-03-10T09:00-04:00|2026-03-12T09:00-04:00|2026-03-14T09:00-04:00|open
"""
BEFORE_AUTUMN = """
PHQ-9 before the infusion|patient|2026-10-24T15:05-04:00|2026-10-31T15:05-04:00|2026-11-01T02:05-05:00|open
GAD-7 before the infusion|patient|2026-10-24T15:05-04:00|2026-10-31T15:05-04:00|2026-11-01T02:05-05:00|open
An adult takes you home|nurse|2026-10-31T15:05-04:00|2026-10-31T23:05-04:00|2026-11-01T10:05-05:00|done
Teach-back of your instructions|nurse|2026-10-31T15:45-04:00|2026-10-31T19:45-04:00|2026-11-01T06:45-05:00|open
Do not drive or operate machinery|patient|2026-10-31T15:45-04:00|-|2026-11-01T07:00-05:00|in force
No alcohol, sedatives or binding decisions|patient|2026-10-31T15:45-04:00|-|2026-11-01T14:45-05:00|in force
How are you? The day after|patient|2026-11-01T09:00-05:00|2026-11-02T21:00-05:00|2026-11-04T21:00-05:00|open
Follow-up call|nurse|2026-11-02T09:00-05:00|2026-11-02T18:00-05:00|2026-11-03T06:00-05:00|open
How are you? Day 3|patient|2026-11-03T09:00-05:00|2026-11-05T09:00-05:00|2026-11-07T09:00-05:00|open
"""
ONE_WEEK_LATER = """
PHQ-9, every week|patient|{day}|{due}|{over}|open
GAD-7, every week|patient|{day}|{due}|{over}|open
Check-in, every week|patient|{day}|{due}|{over}|open
"""
TWO_WEEKS_LATER = """
PHQ-9, weekly after the last infusion|patient|{day}|{due}|{over}|open
GAD-7, weekly after the last infusion|patient|{day}|{due}|{over}|open
Check-in, weekly after the last infusion|patient|{day}|{due}|{over}|open
"""


def forms(month: str, days: tuple[int, ...], offset: str, words: str) -> str:
    day, due, over = (f"{month}-{each:02}T09:00{offset}" for each in days)
    return words.format(day=day, due=due, over=over)


@pytest.mark.parametrize(
    ("end", "golden"),
    [
        (
            SPRING,
            BEFORE_SPRING
            + forms("2026-03", (14, 17, 19), "-04:00", ONE_WEEK_LATER)
            + forms("2026-03", (21, 24, 26), "-04:00", TWO_WEEKS_LATER),
        ),
        (
            AUTUMN,
            BEFORE_AUTUMN
            + forms("2026-11", (7, 10, 12), "-05:00", ONE_WEEK_LATER)
            + forms("2026-11", (14, 17, 19), "-05:00", TWO_WEEKS_LATER),
        ),
    ],
    ids=["the clocks go forward in the night", "the clocks go back in the night"],
)
def test_an_infusion_before_the_clocks_change(end: datetime, golden: str) -> None:
    (infusion,) = simulated(end).infusions
    assert [shown(each) for each in infusion.rows] == [line for line in golden.splitlines() if line]
    assert infusion.start == end - timedelta(minutes=40)
    assert infusion.left_at == end + timedelta(hours=1)


@pytest.mark.parametrize(
    ("end", "release"),
    [
        ("2026-03-07T18:30:00-05:00", "2026-03-08T07:30:00-04:00"),
        ("2026-03-07T21:00:00-05:00", "2026-03-08T10:00:00-04:00"),
        ("2026-10-31T20:30:00-04:00", "2026-11-01T07:30:00-05:00"),
    ],
)
def test_driving_is_released_as_the_design_says(end: str, release: str) -> None:
    (infusion,) = simulated(datetime.fromisoformat(end)).infusions
    driving = next(each for each in infusion.rows if each.what.startswith("Do not drive"))
    assert driving.expires == datetime.fromisoformat(release)
    assert driving.resource is not None
    assert driving.resource["occurrencePeriod"]["end"] == release


# --- a course --------------------------------------------------------------------------------------------------------
def test_a_course_keeps_its_weekly_clock_and_its_tail_follows_the_last_infusion() -> None:
    course = simulated(infusions=6, every=THREE_DAYS)
    assert [each.end.isoformat() for each in course.infusions] == [
        f"2026-03-{day:02}T15:45:00{'-05:00' if day == 7 else '-04:00'}" for day in (7, 10, 13, 16, 19, 22)
    ]
    rows = [row for each in course.infusions for row in each.rows]
    tail = [each for each in rows if each.what == "PHQ-9, weekly after the last infusion"]
    assert {each.state for each in tail[:-1]} == {"superseded"}
    assert tail[-1].state == "open"
    weekly = [each for each in rows if each.what == "PHQ-9, every week"]
    assert [each.opens and each.opens.isoformat() for each in weekly] == [
        f"2026-03-{day}T09:00:00-04:00" for day in (14, 21, 28)
    ]
    assert {each.state for each in weekly} == {"open"}


def test_what_opens_beyond_the_horizon_is_coming() -> None:
    course = simulated(infusions=6, every=THREE_DAYS)
    (phq9,) = {each.what for each in course.coming if "PHQ-9" in each.what and "four" in each.what}
    assert phq9 == "PHQ-9, every four weeks"
    last = course.infusions[-1]
    assert all(each.state == "coming" and each.resource is None for each in course.coming)
    assert all(each.opens and each.opens > last.left_at + CLINIC.policy.horizon for each in course.coming)
    made = {shown(each) for infusion in course.infusions for each in infusion.rows}
    assert made.isdisjoint(shown(each) for each in course.coming)


def test_a_late_booster_after_months_begins_a_new_course() -> None:
    two = simulated(infusions=2, every=Offset(Decimal(30), "wk"))
    assert len([each for each in resources(two, "CarePlan") if each["title"].startswith("Monitoring")]) == 2


def test_a_simulation_is_always_the_same() -> None:
    assert simulated(infusions=3, every=THREE_DAYS) == simulated(infusions=3, every=THREE_DAYS)


@pytest.mark.parametrize(("more", "field"), [({"infusions": 0}, "infusions"), ({"infusions": 2}, "every")])
def test_a_scenario_that_cannot_be_is_refused(more: Resource, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Scenario(SPRING, NEW_YORK, **more)
    assert refused.value.where == (field,)


# --- who leaves how --------------------------------------------------------------------------------------------------
def test_a_patient_who_left_alone_is_called_the_same_evening() -> None:
    (infusion,) = simulated(escort="left-alone").infusions
    rows = {each.what: each for each in infusion.rows}
    assert rows["An adult takes you home"].state == "failed"
    assert (rows["Call the same evening"].priority, rows["Call the same evening"].who) == ("asap", "nurse")
    assert rows["Left before ready"].who == "prescriber"
    assert infusion.left_at == SPRING + CLINIC.policy.min_observation_without_escort


def test_an_escort_nobody_recorded_is_asked_about() -> None:
    (infusion,) = simulated(escort="not-recorded").infusions
    rows = {each.what: each for each in infusion.rows}
    assert rows["An adult takes you home"].state == "open"
    assert "Confirm arrived home" in " ".join(rows)


def test_a_patient_nobody_measured_left_before_ready() -> None:
    assert "Left before ready" not in titles(simulated().infusions[0].rows)
    (infusion,) = simulated(ready=False).infusions
    (task,) = [each.resource for each in infusion.rows if each.what == "Left before ready"]
    assert task is not None
    assert len([each for each in task["input"] if each["type"]["coding"][0]["code"] == terms.INPUT_UNMET.code]) > 8


def test_the_patients_words_are_in_the_patients_language() -> None:
    spanish = simulated(language="es")
    assert "Llamada de seguimiento" in titles(spanish.infusions[0].rows)
    driving = [each["patientInstruction"] for each in resources(spanish, "ServiceRequest")]
    assert any(each.startswith("No conduzca") and "07:00" in each for each in driving)


def test_times_are_the_patients_and_open_hours_the_clinics() -> None:
    (infusion,) = simulated(zone=ZoneInfo("America/Los_Angeles")).infusions
    rows = {each.what: each for each in infusion.rows}
    assert rows["Do not drive or operate machinery"].expires == datetime.fromisoformat("2026-03-08T07:00:00-07:00")
    call = rows["Follow-up call"]
    assert call.opens is not None
    assert call.opens.isoformat() == "2026-03-09T06:00:00-07:00"


# --- what is written -------------------------------------------------------------------------------------------------
def test_the_bundle_is_a_collection_whose_references_lead_into_it() -> None:
    course = simulated(infusions=2, every=THREE_DAYS)
    assert course.bundle["type"] == "collection"
    urls = [entry["fullUrl"] for entry in course.bundle["entry"]]
    assert len(set(urls)) == len(urls)
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", url) for url in urls)
    text = exact_json.dumps(course.bundle).decode()
    assert set(re.findall(r'"reference":"(urn:uuid:[^"]+)"', text)) <= set(urls)
    assert not any({"id"} & each["resource"].keys() for each in course.bundle["entry"])
    assert '"versionId"' not in text


def test_every_row_is_a_resource_of_the_bundle() -> None:
    course = simulated(infusions=3, every=THREE_DAYS)
    rows = [row.resource for each in course.infusions for row in each.rows]
    written = [*resources(course, "Task"), *resources(course, "ServiceRequest")]
    assert {each["identifier"][0]["value"] for each in rows if each} == {
        each["identifier"][0]["value"] for each in written
    }
    assert len(rows) == len(written)


def test_a_protocol_that_cannot_be_applied_says_so() -> None:
    plan = PROTOCOL.infusion
    fault = replace(
        plan, actions=tuple(replace(each, definition="nowhere|1") if each.must else each for each in plan.actions)
    )
    with pytest.raises(ProtocolFault):
        simulated(protocol=replace(PROTOCOL, plans={**PROTOCOL.plans, plan.canonical: fault}))


# --- the same as on a server -----------------------------------------------------------------------------------------
COMPARED = ("CarePlan", "Task", "ServiceRequest", "Goal", "MedicationAdministration")


async def test_what_is_shown_is_what_the_flows_write_on_a_server(world: World) -> None:
    scenario = Scenario(SPRING, NEW_YORK, infusions=2, every=THREE_DAYS)
    patient = await world.patient()
    client = world.server.client()
    for end in scenario.ends():
        encounter = await world.encounter(patient)
        await one_infusion(world, patient, encounter, end)
    expected = simulate(world.context.clinic, world.context.protocol, world.context.identifiers, scenario)
    for type_ in COMPARED:
        name = "patient" if type_ in {"Task", "MedicationAdministration"} else "subject"
        there = await client.search_all(type_, {name: patient})
        assert sorted(likened(there.matches)) == sorted(likened(resources(expected, type_))), type_


async def one_infusion(world: World, patient: str, encounter: str, end: datetime) -> None:
    """Record an infusion, let somebody else chart that the patient is ready, and discharge the patient."""
    start, left_at = end - timedelta(minutes=40), end + timedelta(hours=1)
    record = InfusionRecord(start, end, InfusionStatus.COMPLETED)
    world.clock.move_to(end)
    await record_infusion(world.context, RecordRequest(patient, encounter, record, zone="America/New_York"))
    check = Check(
        at=left_at, systolic=118, diastolic=76, heart_rate=72, respiratory_rate=14, spo2=99, moaa_s=5, nausea=0,
        dissociation=Dissociation.ABSENT, oriented=True, walks_unaided=True, no_acute_suicidal_intent=True,
        written_instructions=True, emergency_contact=True,
    )  # fmt: skip
    setting = Setting(world.context.clinic, world.context.identifiers, patient, encounter, ("charted", encounter))
    charted = from_record(replace(record, checks=(check,)), setting)
    entries = [{"request": {"method": "POST", "url": "Observation"}, "resource": each} for each in charted]
    assert all(each.created for each in await world.server.client().batch(entries))
    world.clock.move_to(left_at)
    leaving = DischargeRequest(
        patient, encounter, left_at, escort="present", start=start, end=end, zone="America/New_York"
    )
    await discharge(world.context, leaving)


def likened(found: list[Resource]) -> Iterator[str]:
    """Give resources as text, without what differs between any two servers: ids, versions, where references lead."""
    for each in found:
        kept = {name: value for name, value in each.items() if name not in {"id", "identifier", "groupIdentifier"}}
        kept["meta"] = {"profile": each["meta"].get("profile")}
        yield exact_json.dumps(ordered(kept)).decode()


def ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    gone = {"reference", "requisition"}
    return {name: ordered(each) for name, each in sorted(value.items()) if name not in gone}
