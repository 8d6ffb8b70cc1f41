"""A plan that lacks something is completed; what people did, and what is there beyond, stays as it is."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from facts import CLINIC, IDENTIFIERS, PROTOCOL
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.flows import discharge as leaving_flow
from fhir_aftercare.flows import record_infusion as recording_flow
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.discharge import DischargeRequest, preview_discharge
from fhir_aftercare.flows.move_task import MoveRequest, move_task
from fhir_aftercare.flows.reconcile import decide, preview_reconciling, reconcile
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.flows.simulated_chart import PATIENT, SimulatedServer
from flows.cases import LEFT, SAM, leaving, of_patient, only, record, recording, visit, with_code
from world import START

if TYPE_CHECKING:
    from fhir_aftercare.flows.chart import Chart
    from world import World

Resource = dict[str, Any]


def without(bundle: Resource, *codes: terms.Code) -> Resource:
    """Give a transaction as if it had lost the resources of some codes, and all that was said of them."""
    lost = {e["fullUrl"] for e in bundle["entry"] if any(tasks.has_code(e["resource"], code) for code in codes)}
    kept = copy.deepcopy([entry for entry in bundle["entry"] if entry.get("fullUrl") not in lost])
    for resource in (entry["resource"] for entry in kept):
        if (resource.get("reasonReference") or {}).get("reference") in lost:
            del resource["reasonReference"]
        for name in ("target", "activity"):
            if isinstance(resource.get(name), list):
                resource[name] = [each for each in resource[name] if _target(each) not in lost]
    return {**bundle, "entry": kept}


def _target(element: Resource) -> str:
    given = element.get("reference")
    return str(given.get("reference") if isinstance(given, dict) else given)


async def torn_plan(world: World, *codes: terms.Code, **more: Any) -> str:
    """Let a patient leave whose plan lacks what has one of some codes, and give the patient."""
    patient, encounter = await visit(world)
    await record_infusion(world.context, recording(world, patient, encounter))
    bundle = await preview_discharge(world.context, leaving(world, patient, encounter, **more))
    await world.server.client().transaction(without(bundle, *codes))
    world.round_trips()
    return patient


async def plan_of(world: World, patient: str) -> Resource:
    plans = await of_patient(world, "CarePlan", patient)
    return only([each for each in plans if each.get("encounter")])


async def children_of(world: World, patient: str) -> dict[str, Resource]:
    found = [*await of_patient(world, "Task", patient), *await of_patient(world, "ServiceRequest", patient)]
    return {f"{each['resourceType']}/{each['id']}": each for each in found}


def listed(plan: Resource) -> list[str]:
    return [each["reference"]["reference"] for each in plan["activity"]]


async def test_a_missing_call_is_made_as_the_discharge_would_have_and_the_plan_lists_it(world: World) -> None:
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL)
    whole = await visit(world)
    await record_infusion(world.context, recording(world, *whole))
    await leaving_flow.discharge(world.context, leaving(world, *whole))
    before, plan = await children_of(world, patient), await plan_of(world, patient)
    world.round_trips()
    done = await reconcile(world.context, patient)
    assert world.round_trips() == ["batch", "batch", "transaction"]
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    wanted = only(with_code(await of_patient(world, "Task", whole[0]), terms.FOLLOW_UP_CALL))
    assert (done.made, done.changed, done.extra) == ((f"Task/{call['id']}",), True, ())
    for name in ("status", "restriction", "extension", "owner", "priority", "input", "description"):
        assert call.get(name) == wanted.get(name), name
    assert listed(await plan_of(world, patient)) == [*listed(plan), f"Task/{call['id']}"]
    after = await children_of(world, patient)
    assert {reference: each for reference, each in after.items() if reference in before} == before
    signed = await world.server.client().search_all("Provenance", {"target": f"Task/{call['id']}"})
    assert only(signed.matches)["policy"] == [world.context.protocol.infusion.canonical]


async def test_a_whole_plan_is_looked_at_in_one_round_trip_and_left_as_it_is(world: World) -> None:
    patient = await torn_plan(world)
    done = await reconcile(world.context, patient)
    assert world.round_trips() == ["batch"]
    assert (done.made, done.extra, done.left_alone, done.changed) == ((), (), (), False)
    assert "entry" not in await preview_reconciling(world.context, patient)


async def test_many_processes_at_once_make_it_once(world: World) -> None:
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL, terms.TEACH_BACK)
    await asyncio.gather(*(reconcile(world.another_process(), patient) for _ in range(6)))
    found = await of_patient(world, "Task", patient)
    calls, teaching = (with_code(found, code) for code in (terms.FOLLOW_UP_CALL, terms.TEACH_BACK))
    assert [len(calls), len(teaching)] == [1, 1]
    plan = listed(await plan_of(world, patient))
    assert sorted(plan) == sorted(set(plan))
    assert not (await reconcile(world.context, patient)).changed


async def test_a_restriction_that_is_missing_ends_when_the_plan_says_and_is_what_is_taught(world: World) -> None:
    drive = only([each for each in CODES if each.code == "drive-vehicle"])
    patient = await torn_plan(world, drive, terms.TEACH_BACK)
    done = await reconcile(world.context, patient)
    made = only(with_code(await of_patient(world, "ServiceRequest", patient), drive))
    assert made["doNotPerform"] is True
    assert made["occurrencePeriod"]["end"] == "2026-09-17T07:00:00-04:00"
    assert "before 07:00 on Thursday" in made["patientInstruction"]
    assert "has told you" not in made["patientInstruction"]
    teaching = only(with_code(await of_patient(world, "Task", patient), terms.TEACH_BACK))
    assert teaching["reasonReference"]["reference"] == f"ServiceRequest/{made['id']}"
    assert len(done.made) == 2


async def test_teaching_that_is_missing_is_about_the_restriction_that_is_there(small_world: World) -> None:
    patient = await torn_plan(small_world, terms.TEACH_BACK)
    await reconcile(small_world.context, patient)
    teaching = only(with_code(await of_patient(small_world, "Task", patient), terms.TEACH_BACK))
    drive = with_code(await of_patient(small_world, "ServiceRequest", patient), CODES[0])
    assert teaching["reasonReference"]["reference"] == f"ServiceRequest/{only(drive)['id']}"


async def test_who_must_release_is_not_forgotten_with_the_restriction(small_world: World) -> None:
    world = small_world
    whole = await torn_plan(world, sedatives_given=True)
    patient = await torn_plan(world, CODES[0], sedatives_given=True)
    await reconcile(world.context, patient)
    wanted = only(with_code(await of_patient(world, "ServiceRequest", whole), CODES[0]))
    made = only(with_code(await of_patient(world, "ServiceRequest", patient), CODES[0]))
    assert made["patientInstruction"] == wanted["patientInstruction"]


async def test_what_is_found_missing_late_is_due_now_and_nothing_of_the_past_is_asked(small_world: World) -> None:
    world = small_world
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL, CODES[0], terms.TEACH_BACK)
    world.clock.move_to(LEFT + timedelta(days=3))
    done = await reconcile(world.context, patient)
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    assert done.made == (f"Task/{call['id']}",)
    opens, due, _ = tasks.window_of(call)
    assert opens is not None
    assert due is not None
    assert utc(world.clock()) <= utc(opens) < utc(due)  # a Saturday: on Monday, when the clinic opens


async def test_what_a_clinician_changed_is_kept(world: World) -> None:
    patient = await torn_plan(world, terms.TEACH_BACK)
    client = world.server.client()
    found = await of_patient(world, "Task", patient)
    call = only(with_code(found, terms.FOLLOW_UP_CALL))
    await move_task(world.context, MoveRequest(f"Task/{call['id']}", "claim", person=world.nurse))
    call = await client.read("Task", call["id"])
    moved = copy.deepcopy(call)
    moved["restriction"]["period"] = {"start": "2026-09-18T10:00:00-04:00", "end": "2026-09-18T12:00:00-04:00"}
    moved["note"] = [{"text": "Prefers the morning."}]
    await client.update(moved, if_match=call["meta"]["versionId"])
    plan = await plan_of(world, patient)
    noted = await client.update({**plan, "note": [{"text": "Lives alone."}]}, if_match=plan["meta"]["versionId"])
    before = await children_of(world, patient)
    done = await reconcile(world.context, patient)
    assert len(done.made) == 1
    after = await children_of(world, patient)
    assert {reference: after[reference] for reference in before} == before
    now = await plan_of(world, patient)
    ignored = {"meta", "activity"}
    assert {k: v for k, v in now.items() if k not in ignored} == {k: v for k, v in noted.items() if k not in ignored}


async def test_what_was_taken_out_of_the_plan_is_not_made_again(world: World) -> None:
    patient = await torn_plan(world)
    client = world.server.client()
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    kept = {name: value for name, value in call.items() if name != "basedOn"}
    await client.update({**kept, "status": "cancelled"}, if_match=call["meta"]["versionId"])
    done = await reconcile(world.context, patient)
    assert (done.made, done.changed) == ((), False)


async def test_what_nobody_asks_for_is_told_of_by_its_type_and_stays(world: World) -> None:
    patient = await torn_plan(world)
    plan = await plan_of(world, patient)
    call = only(with_code(await of_patient(world, "Task", patient), terms.FOLLOW_UP_CALL))
    stray = {name: value for name, value in call.items() if name not in {"id", "meta"}}
    stray["identifier"] = [world.context.identifiers.identifier("activity", "of", "nobody")]
    made = await world.server.client().create(stray)
    with capture_logs() as logs:
        done = await reconcile(world.context, patient)
    assert (done.extra, done.made, done.changed) == ((f"Task/{made['id']}",), (), False)
    warning = only([each for each in logs if each["event"] == "nobody asks for it"])
    assert warning == {
        "event": "nobody asks for it",
        "log_level": "warning",
        "clinic": "harbor",
        "resource_type": "Task",
        "count": 1,
    }
    assert await world.server.client().read("Task", made["id"]) == made
    assert await plan_of(world, patient) == plan


async def test_a_plan_of_another_version_of_the_protocol_is_left_alone_and_told_of(small_world: World) -> None:
    world = small_world
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL)
    plan = await plan_of(world, patient)
    old = world.context.protocol
    new = replace(old.infusion, version="2.0.0")
    for plans in ({**old.plans, new.canonical: new}, {new.canonical: new, old.course.canonical: old.course}):
        world.context = replace(world.context, protocol=replace(old, plans=plans))
        done = await reconcile(world.context, patient)
        assert (done.made, done.changed) == ((), False)
        assert only(list(done.left_alone)).plan == f"CarePlan/{plan['id']}"


@pytest.mark.parametrize("status", ["draft", "on-hold", "completed", "revoked"])
async def test_only_active_plans_are_completed(small_world: World, status: str) -> None:
    world = small_world
    patient = await torn_plan(world, terms.FOLLOW_UP_CALL)
    plan = await plan_of(world, patient)
    await world.server.client().update({**plan, "status": status}, if_match=plan["meta"]["versionId"])
    done = await reconcile(world.context, patient)
    assert (done.made, done.left_alone, done.changed) == ((), (), False)


async def test_an_escort_that_was_missed_since_asks_for_no_call_of_the_evening(small_world: World) -> None:
    """What became of a Task later tells nothing of how the patient left."""
    world = small_world
    patient = await torn_plan(world, escort=None, escort_person=None)
    escort = only(with_code(await of_patient(world, "Task", patient), terms.ESCORT_HOME))
    failed = tasks.moved(escort, "failed", "missed", at=world.clock(), reason="missed")
    await world.server.client().update(failed, if_match=escort["meta"]["versionId"])
    assert (await reconcile(world.context, patient)).made == ()


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"escort": None, "escort_person": None}, terms.CONFIRM_ARRIVED_HOME),
        ({"escort": "left-alone", "escort_person": None}, terms.SAME_EVENING_CALL),
        ({"escort": "left-alone", "escort_person": None}, terms.DISCHARGED_NOT_READY),
    ],
)
async def test_what_hangs_on_how_the_patient_left_is_completed_too(
    small_world: World, told: dict[str, Any], code: terms.Code
) -> None:
    world = small_world
    patient = await torn_plan(world, code, **told)
    done = await reconcile(world.context, patient)
    made = only(with_code(await of_patient(world, "Task", patient), code))
    assert done.made == (f"Task/{made['id']}",)
    assert not (await reconcile(world.context, patient)).changed


# --- whatever is missing, and whatever people did --------------------------------------------------------------------
CODES = [
    terms.Code(coding["system"], coding["code"])
    for name in ("no-driving", "no-alcohol-sedatives-decisions")
    for coding in PROTOCOL.activity(f"{terms.ACTIVITY_DEFINITION}/{name}").code["coding"]
]


def whole_chart() -> tuple[ClinicContext, Chart]:
    """Give the chart of a patient who has just left, without a server."""
    clock = SettableClock(utc(START))
    context = ClinicContext(CLINIC, None, PROTOCOL, IDENTIFIERS, clock)  # type: ignore[arg-type]
    server = SimulatedServer()
    encounter = server.add_encounter(1, START)
    clock.move_to(LEFT)
    recorded = RecordRequest(PATIENT, encounter, record())
    server.write(recording_flow.decide(context, recorded, server.chart(encounter)).transaction)
    request = DischargeRequest(PATIENT, encounter, LEFT, escort="present", escort_person=SAM)
    server.write(leaving_flow.decide(context, request, server.chart(encounter)).transaction)
    return context, server.chart(encounter)


CONTEXT, WHOLE = whole_chart()
CHILDREN = sorted(
    f"{each['resourceType']}/{each['id']}"
    for type_ in ("Task", "ServiceRequest")
    for each in WHOLE.of(type_)
    if each["basedOn"][0]["reference"]
    == only([f"CarePlan/{plan['id']}" for plan in WHOLE.of("CarePlan") if plan.get("encounter")])
)
BASELINE = {terms.QUESTIONNAIRE_PHQ9, terms.QUESTIONNAIRE_GAD7}
EDITS = {
    "owner": {"owner": {"reference": "Practitioner/other"}},
    "cancelled": {"status": "cancelled"},
    "wrong": {"status": "entered-in-error"},
    "note": {"note": [{"text": "Prefers the morning."}]},
    "due": {"restriction": {"period": {"end": "2026-10-01T12:00:00-04:00"}}},
    "priority": {"priority": "stat"},
}


def by_id(id_: str) -> Resource:
    return only([each for found in WHOLE.resources.values() for each in found if each["id"] == id_])


def torn(lost: set[str], edits: dict[str, str]) -> Chart:
    """Give the chart without some children of the plan, and with others as people changed them."""
    resources = {}
    for type_, found in WHOLE.resources.items():
        kept = [each for each in found if f"{type_}/{each['id']}" not in lost]
        resources[type_] = [{**each, **EDITS.get(edits.get(f"{type_}/{each['id']}", ""), {})} for each in kept]
    plans = []
    for plan in resources["CarePlan"]:
        there = [each for each in plan.get("activity") or () if each["reference"]["reference"] not in lost]
        plans.append({**plan, "activity": there} if there else {k: v for k, v in plan.items() if k != "activity"})
    for each in resources["Task"]:
        if (each.get("reasonReference") or {}).get("reference") in lost:
            del each["reasonReference"]
    return replace(WHOLE, resources={**resources, "CarePlan": plans})


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(st.sampled_from(CHILDREN)),
    st.dictionaries(st.sampled_from(CHILDREN), st.sampled_from(sorted(EDITS))),
    st.just(0) | st.integers(1, 20 * 24),
)
def test_whatever_is_missing_is_made_and_nothing_else_is_written(
    lost: set[str], edits: dict[str, str], hours: int
) -> None:
    context = replace(CONTEXT, clock=SettableClock(utc(LEFT) + timedelta(hours=hours)))
    chart = torn(lost, edits)
    decision = decide(context, PATIENT, chart)
    own = decision.transaction.own
    if own:
        check_bundle(decision.transaction.bundle(), decision.transaction.existing)
    made = [entry["resource"] for entry in own if entry["request"]["method"] == "POST"]
    made = [each for each in made if each["resourceType"] != "Provenance"]
    values = {each["identifier"][0]["value"] for each in made}
    missing = {each.partition("/")[2] for each in lost}
    if hours == 0:  # nothing is over yet: all that is missing is made, but for the baseline, which is too late now
        asked = (each for each in map(by_id, missing) if tasks.asks_for(each) not in BASELINE)
        assert values == {each["identifier"][0]["value"] for each in asked}
    changed = [entry for entry in own if entry["request"]["method"] == "PUT"]
    assert all(entry["request"]["url"].startswith("CarePlan/") for entry in changed)
    for entry in changed:
        before = decision.transaction.existing[entry["request"]["url"]]
        after = entry["resource"]
        assert {k: v for k, v in after.items() if k != "activity"} == {
            k: v for k, v in before.items() if k != "activity"
        }
        assert after["activity"][: len(before.get("activity", []))] == before.get("activity", [])
    assert len(values) <= len(missing)
    assert not decision.difference.extra
    assert not decision.difference.left_alone


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.sampled_from(CHILDREN), min_size=1))
def test_what_was_made_is_not_made_again(lost: set[str]) -> None:
    context = replace(CONTEXT, clock=SettableClock(utc(LEFT)))
    chart = torn(lost, {})
    first = decide(context, PATIENT, chart).transaction
    server = SimulatedServer()
    server.add_encounter(1, START)
    server.resources = {f"{type_}/{each['id']}": each for type_, of in chart.resources.items() for each in of}
    server.write(first)
    again = decide(context, PATIENT, server.chart("Encounter/infusion-1"))
    assert again.transaction.empty
