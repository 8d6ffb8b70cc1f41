"""Courses of infusions: 4 to 6 in two or three weeks, boosters, and patients who come in the middle (design §9.3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from facts import CLINIC, IDENTIFIERS, PROTOCOL
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.flows import discharge as discharging
from fhir_aftercare.flows import receive_response as receiving
from fhir_aftercare.flows import tend_plans as tending
from fhir_aftercare.flows.chart import Chart
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext
from fhir_aftercare.flows.discharge import DischargeRequest, discharge
from fhir_aftercare.flows.open_chart import open_chart
from fhir_aftercare.flows.receive_response import ResponseRequest
from fhir_aftercare.flows.record_infusion import RecordRequest, record_infusion
from fhir_aftercare.flows.simulated_chart import PATIENT, SimulatedServer
from fhir_aftercare.flows.tend_plans import tend_plans
from flows.cases import SAM, of_patient, only, phq9, record, with_code
from flows.course_cases import (
    WELL,
    after,
    answer,
    days,
    ehr_score,
    forms,
    infusion,
    is_course,
    opens,
    plan_of,
)
from world import END, NEW_YORK, START

if TYPE_CHECKING:
    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.fhir.bundles import Transaction
    from world import World

Resource = dict[str, Any]

SEVERE = (3, 3, 3, 3, 2, 2, 2, 2, 0)
MODERATE = (2, 2, 1, 1, 1, 1, 1, 1, 0)


async def trend(world: World, patient: str) -> tuple[list[int], int | None, Any]:
    """Give what the chart shows: the totals of the PHQ-9, the baseline's, and the outcome."""
    view = await open_chart(world.context, patient)
    found = next(each for each in view.trends if each.instrument == "phq-9")
    return [each.total for each in found.points], found.baseline and found.baseline.total, found.outcome


# --- one course ------------------------------------------------------------------------------------------------------
async def test_five_infusions_are_one_course_whose_weekly_forms_keep_its_clock_and_whose_tail_moves(
    world: World,
) -> None:
    patient = await world.patient()
    await ehr_score(world, patient, START - timedelta(days=1), 20)
    courses, plans = set(), []
    for day in (0, 3, 7, 10, 16):
        done = await infusion(world, patient, after(day))
        await tend_plans(world.context, patient)
        courses.add(done.course)
        plans.append(done.plan)
    (course,) = courses
    there = await of_patient(world, "CarePlan", patient)
    assert len(there) == 6
    for plan in plans:
        assert (await plan_of(world, plan))["partOf"] == [{"reference": course}]
    for day in (20, 24, 31, 38):
        world.clock.move_to(after(day))
        await tend_plans(world.context, patient)
    asked = [each for each in await forms(world, patient) if each["status"] != "cancelled" or _was_open(each)]
    # Weekly on the course's clock until seven days after the last infusion (day 16), then weekly on that one's; its day
    # 23 would be two days after the course's day 21.
    assert days(asked) == [7, 14, 21, 30, 37, 44]
    assert all(opens(each).hour == 9 for each in asked)
    taken_back = [each for each in await forms(world, patient) if each not in asked]
    assert {each["statusReason"]["coding"][0]["code"] for each in taken_back} == {"superseded"}
    assert (await trend(world, patient))[1] == 20


def _was_open(task: Resource) -> bool:
    """Tell whether a form was asked before it was cancelled: not one that a look took back at once."""
    asked, ended = tasks.moment(task["authoredOn"]), tasks.moment(task["lastModified"])
    assert asked is not None
    assert ended is not None
    return utc(ended) >= utc(opens(task)) and utc(ended) > utc(asked)


async def test_each_infusion_owes_its_own_escort_restriction_and_call(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    for day in (0, 3, 7, 10):
        await infusion(world, patient, after(day))
    found = await of_patient(world, "Task", patient)
    for code in (terms.ESCORT_HOME, terms.TEACH_BACK, terms.FOLLOW_UP_CALL):
        assert len(with_code(found, code)) == 4
    assert len(with_code(await of_patient(world, "ServiceRequest", patient), terms.DRIVE_VEHICLE)) == 4
    assert len(await of_patient(world, "Goal", patient)) == 3


async def test_looks_and_discharges_of_a_course_repeated_in_any_order_leave_the_same(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await infusion(world, patient)
    again = await infusion(world, patient, after(3))
    await tend_plans(world.context, patient)
    before = await of_patient(world, "Task", patient)
    for _ in range(2):
        await tend_plans(world.another_process(), patient)
        encounter = (await plan_of(world, again.plan))["encounter"]["reference"]
        await discharge(
            world.another_process(),
            DischargeRequest(
                patient,
                encounter,
                after(3) + timedelta(minutes=90),
                escort="present",
                escort_person=SAM,
                person=world.nurse,
            ),
        )
    assert sorted(await of_patient(world, "Task", patient), key=str) == sorted(before, key=str)


async def test_infusions_without_an_encounter_have_their_forms_once(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    for number, day in enumerate((0, 3), start=1):
        start = after(day) - timedelta(minutes=40)
        world.clock.move_to(after(day) + timedelta(minutes=90))
        sheet = record(start, recorded_by=world.nurse, infusion=f"visit {number}")
        await record_infusion(world.context, RecordRequest(patient, None, sheet, person=world.nurse))
        request = DischargeRequest(
            patient, None, after(day) + timedelta(minutes=90), infusion=f"visit {number}", escort="present",
            escort_person=SAM, person=world.nurse,
        )  # fmt: skip
        await discharge(world.context, request)
    done = await tend_plans(world.context, patient)
    assert (done.asked, done.superseded) == ((), ())
    world.clock.move_to(after(12))
    await tend_plans(world.context, patient)
    found = await forms(world, patient)
    assert days(found, "requested") == [17, 24]
    assert found[-1]["groupIdentifier"] == found[-2]["groupIdentifier"]


# --- boosters and new courses ---------------------------------------------------------------------------------------
async def test_a_booster_after_28_days_joins_the_course_and_keeps_the_baseline(world: World) -> None:
    patient = await world.patient()
    await ehr_score(world, patient, START - timedelta(days=2), 22)
    first = await infusion(world, patient)
    await answer(world, patient, after(14), MODERATE)
    world.clock.move_to(after(34))
    await tend_plans(world.context, patient)
    await ehr_score(world, patient, after(40), 15)
    booster = await infusion(world, patient, after(41))
    await tend_plans(world.context, patient)
    assert booster.course == first.course
    await answer(world, patient, after(48), WELL)
    totals, baseline, outcome = await trend(world, patient)
    assert (totals, baseline) == ([22, 10, 15, 7], 22)
    assert (outcome.response, outcome.change) == (True, -15)
    coming = await forms(world, patient)
    assert days(coming, "requested")[-2:] == [55, 62]


async def test_after_six_months_without_an_infusion_a_new_course_with_a_baseline_of_its_own_begins(
    world: World,
) -> None:
    patient = await world.patient()
    await ehr_score(world, patient, START - timedelta(days=2), 22)
    first = await infusion(world, patient)
    await ehr_score(world, patient, after(183), 16)
    again = await infusion(world, patient, after(184))
    assert again.course not in {None, first.course}
    world.clock.move_to(after(191, 10))
    await tend_plans(world.context, patient)
    course = await plan_of(world, again.course)
    assert course["period"]["start"] == tasks.instant(after(184))
    mine = [each for each in await forms(world, patient) if each["basedOn"][0]["reference"] == again.course]
    assert days(mine) == [191, 198, 205]
    await answer(world, patient, after(191, 11), WELL)
    totals, baseline, outcome = await trend(world, patient)
    assert (totals, baseline, outcome.change) == ([22, 16, 7], 16, -9)


@pytest.mark.parametrize(("day", "joins"), [(183, True), (184, False)])
async def test_the_six_months_are_counted_from_the_last_infusion(small_world: World, day: int, joins: bool) -> None:
    world = small_world
    patient = await world.patient()
    first = await infusion(world, patient)
    world.clock.move_to(after(day - 1))
    await tend_plans(world.context, patient)  # the course still waits for it
    again = await infusion(world, patient, after(day, 13))
    assert (again.course == first.course) == joins


# --- patients who come in the middle --------------------------------------------------------------------------------
async def earlier_infusion(world: World, patient: str, end: datetime) -> None:
    """Let another clinic's EHR have an infusion of before we were there."""
    start = tasks.instant(local(utc(end) - timedelta(minutes=40), NEW_YORK))
    encounter = await world.encounter(patient, status="finished", period={"start": start, "end": tasks.instant(end)})
    await world.server.client().create(
        {
            "resourceType": "MedicationAdministration",
            "status": "completed",
            "medicationCodeableConcept": terms.KETAMINE_RXNORM.concept(),
            "subject": {"reference": patient},
            "context": {"reference": encounter},
            "effectivePeriod": {"start": start, "end": tasks.instant(end)},
        }
    )


async def test_who_comes_in_the_middle_has_a_course_from_the_first_infusion_we_see(world: World) -> None:
    patient = await world.patient()
    for day in (-10, -7, -3):
        await earlier_infusion(world, patient, after(day))
    for day, total in ((-11, 24), (-8, 21), (-4, 18)):
        await ehr_score(world, patient, after(day), total)
    assert await trend(world, patient) == ([24, 21, 18], None, None)
    done = await infusion(world, patient)
    course = await plan_of(world, done.course)
    assert course["period"]["start"] == tasks.instant(END)
    assert course["status"] == "active"
    totals, baseline, outcome = await trend(world, patient)
    assert (totals, baseline) == ([24, 21, 18], 18)  # the last of the seven days before
    assert outcome.change is None
    world.clock.move_to(after(0.1))
    await tend_plans(world.context, patient)
    assert days(await forms(world, patient)) == [7, 14]
    there = await of_patient(world, "Task", patient)
    assert with_code(there, terms.CLINICAL_REVIEW) == []
    assert with_code(there, terms.UNANSWERED_FORM_CALL) == []
    await answer(world, patient, after(7), WELL)
    totals, baseline, outcome = await trend(world, patient)
    assert (totals, outcome.change, outcome.response) == ([24, 21, 18, 7], -11, True)


async def test_answers_of_before_the_first_plan_are_kept_and_raise_nothing(world: World) -> None:
    patient = await world.patient()
    await earlier_infusion(world, patient, after(-7))
    await infusion(world, patient)
    old = phq9(after(-20), (3, 3, 3, 3, 3, 3, 3, 3, 3))
    received = await receiving.receive_response(world.context, ResponseRequest(patient, old))
    assert (received.reasons, received.review) == ((), None)
    assert (await trend(world, patient))[0] == [27]
    assert days(await forms(world, patient), "requested") == [7, 14]


async def test_scores_older_than_a_week_are_no_baseline(small_world: World) -> None:
    world = small_world
    patient = await world.patient()
    await ehr_score(world, patient, after(-9), 24)
    await infusion(world, patient)
    await answer(world, patient, after(7), WELL)
    totals, baseline, outcome = await trend(world, patient)
    assert (totals, baseline, outcome.response) == ([24, 7], None, None)
    course = only([each for each in await of_patient(world, "CarePlan", patient) if is_course(each)])
    assert course["status"] == "active"


# --- any course, any looks -------------------------------------------------------------------------------------------
class Life:
    """A patient's course on a server in memory: infusions, answers and scores come, and somebody looks after each."""

    def __init__(self) -> None:
        self.clock = SettableClock(utc(END))
        self.context = ClinicContext(CLINIC, cast("FhirClient", None), PROTOCOL, IDENTIFIERS, self.clock)
        self.server = SimulatedServer()
        self.infusions = 0
        self.answered: list[datetime] = []
        self.last = END

    def chart(self, encounter: str | None = None) -> Chart:
        everything = {**self.server._given, **self.server.resources}
        found: dict[str, list[Resource]] = {}
        for reference, each in everything.items():
            if each["resourceType"] != "Encounter" or reference == encounter:
                found.setdefault(each["resourceType"], []).append(each)
        return Chart(everything[PATIENT], everything.get(encounter or ""), found)

    def write(self, transaction: Transaction) -> None:
        if not transaction.empty:
            check_bundle(transaction.bundle(), transaction.existing)
            self.server.write(transaction)

    def infusion(self, end: datetime) -> None:
        self.infusions, self.last = self.infusions + 1, end
        start = local(utc(end) - timedelta(minutes=40), NEW_YORK)
        encounter = self.server.add_encounter(self.infusions, start)
        left = local(utc(end) + timedelta(minutes=90), NEW_YORK)
        self.clock.move_to(left)
        request = DischargeRequest(PATIENT, encounter, left, escort="present", start=start, end=end)
        self.write(discharging.decide(self.context, request, self.chart(encounter)).transaction)
        self.look(left)

    def answer(self, at: datetime, how: str) -> None:
        self.clock.move_to(at)
        self.answered.append(at)
        if how == "form":
            request = ResponseRequest(PATIENT, phq9(at, WELL))
            reading = receiving._read(self.context, request)
            self.write(receiving.decide(self.context, request, reading, self.chart()).transaction)
        else:
            score = {
                "resourceType": "Observation",
                "identifier": [{"system": "https://ehr.example.org", "value": f"score-{len(self.answered)}"}],
                "status": "final",
                "code": terms.PHQ9_TOTAL.concept(),
                "subject": {"reference": PATIENT},
                "effectiveDateTime": tasks.instant(at),
                "valueQuantity": {"value": 7},
            }
            self.server.add_given([score])
        self.look(at)

    def look(self, at: datetime) -> None:
        self.clock.move_to(at)
        decision = tending.decide(self.context, PATIENT, self.chart())
        self.write(decision.transaction)
        again = tending.decide(self.context, PATIENT, self.chart())
        assert again.transaction.empty, "a second look changes nothing"
        self.never_ends_with_anything_open()

    def never_ends_with_anything_open(self) -> None:
        for plan in self.chart().of("CarePlan"):
            if plan["status"] == "completed":
                reference = {"reference": f"CarePlan/{plan['id']}"}
                own = [each for each in self.chart().of("Task") if reference in each["basedOn"]]
                assert not any(tasks.is_open(each) for each in own)

    def asked(self, form: str) -> list[datetime]:
        """Give when a form opened, or will: all but what was taken back before it did."""
        found = []
        for each in self.chart().of("Task"):
            never = each["status"] == "cancelled" and not _was_open(each)
            course = [plan for plan in self.chart().of("CarePlan") if is_course(plan)]
            mine = any({"reference": f"CarePlan/{plan['id']}"} in each["basedOn"] for plan in course)
            if tasks.asks_for(each) == form and mine and not never:
                found.append(opens(each))
        return sorted(found, key=utc)


hours = st.integers(3, 12 * 24)
events = st.lists(st.tuples(hours, st.sampled_from(["infusion", "form", "score", "look"])), max_size=9)
starts = st.integers(0, 364 * 24 * 60).map(lambda late: local(utc(END) + timedelta(minutes=late), NEW_YORK))


@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(starts, events)
def test_whatever_happens_no_form_comes_within_five_days_of_another_or_of_an_answer(
    first: datetime, events: list[tuple[int, str]]
) -> None:
    life, at = Life(), first
    life.infusion(first)
    for wait, event in events:
        at = local(utc(at) + timedelta(hours=wait), NEW_YORK)
        if event == "infusion":
            life.infusion(at)
        elif event == "look":
            life.look(at)
        else:
            life.answer(at, event)
    for form in (terms.QUESTIONNAIRE_PHQ9, terms.QUESTIONNAIRE_GAD7, terms.QUESTIONNAIRE_WEEKLY):
        asked = life.asked(form)
        assert all((_day(after) - _day(before)) >= 5 for before, after in pairwise(asked))
    for given_at in life.answered:
        later = [each for each in life.asked(terms.QUESTIONNAIRE_PHQ9) if utc(each) > utc(given_at)]
        assert all(_day(each) - _day(given_at) >= 5 for each in later)


def _day(at: datetime) -> int:
    return local(at, NEW_YORK).toordinal()
