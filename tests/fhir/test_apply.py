"""What the shipped protocol makes of one infusion, and that it makes nothing at all where a part of it is broken."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import CLINIC, COURSE, PLAN, PROTOCOL, course_of, facts, still_here, whole, window, with_action
from fhir_aftercare.care.infusion import Escort
from fhir_aftercare.care.plan import Anchor, Episode
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import Offset, OpenHours, Window, local, utc, wall_clock
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.activities import from_activity
from fhir_aftercare.fhir.apply import propose
from fhir_aftercare.fhir.definitions import Dynamic, Repeat
from fhir_aftercare.fhir.expression import parse
from fhir_aftercare.fhir.identifiers import Identifiers
from world import END, NEW_YORK, START, make_clinic

if TYPE_CHECKING:
    from fhir_aftercare.fhir.apply import Proposal
    from fhir_aftercare.fhir.definitions import Plan, Protocol
    from fhir_aftercare.fhir.facts import Facts, Wanted

Resource = dict[str, Any]

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
PHOENIX = ZoneInfo("America/Phoenix")
HOUR = timedelta(hours=1)
SAM = Escort(name="Sam Rivera", relationship="brother", phone="+1 555 0142", arranged=True)
INFUSION = PROTOCOL.infusion
DEEDS = [action.id for action in INFUSION.actions if not action.is_anchor]
ALONE = {"escort": "left-alone", "readiness_met": False, "unmet": ("sedation-resolved", "escort-present")}
UNKNOWN = {"escort": "not-recorded"}
OFFERED = {"clinic": replace(CLINIC, policy=Policy(integration_session=True))}


def proposed(given: Facts, protocol: Protocol = PROTOCOL) -> Proposal:
    return propose(protocol, protocol.infusion, given, PLAN)


def made(given: Facts, action: str) -> Wanted:
    found = proposed(given).of(action)
    assert found is not None
    return found


def resources(given: Facts) -> dict[str, Resource]:
    return {each.action: each.resource for each in proposed(given).wanted}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def driving_ends(given: Facts) -> str:
    return str(made(given, "no-driving").resource["occurrencePeriod"]["end"])


# --- what is owed (clinical §2.2) ------------------------------------------------------------------------------------
FORM = terms.COMPLETE_QUESTIONNAIRE
# Row of clinical §2.2 → the facts under which it is owed, the action, and what it becomes.
OWED: list[tuple[int, dict[str, Any], str, str, terms.Code]] = [
    (3, {}, "escort-home", "Task", terms.ESCORT_HOME),
    (3, UNKNOWN, "confirm-arrived-home", "Task", terms.CONFIRM_ARRIVED_HOME),
    (3, ALONE, "same-evening-call", "Task", terms.SAME_EVENING_CALL),
    (4, {}, "no-driving", "ServiceRequest", terms.DRIVE_VEHICLE),
    (4, {}, "teach-back", "Task", terms.TEACH_BACK),
    (5, {}, "no-alcohol-sedatives-decisions", "ServiceRequest", terms.ALCOHOL_AND_DECISIONS),
    (9, {}, "day-1-check-in", "Task", FORM),
    (10, {}, "day-1-check-in", "Task", FORM),
    (11, {}, "follow-up-call", "Task", terms.FOLLOW_UP_CALL),
    (12, {}, "day-3-check-in", "Task", FORM),
    (16, OFFERED, "integration-session", "Task", terms.INTEGRATION_SESSION),
]


@pytest.mark.parametrize(("row", "more", "action", "type_", "code"), OWED)
def test_every_row_that_asks_for_something_becomes_a_resource(
    row: int, more: dict[str, Any], action: str, type_: str, code: terms.Code
) -> None:
    resource = made(facts(**more), action).resource
    assert resource["resourceType"] == type_
    assert code.coding() in resource["code"]["coding"]
    assert resource.get("for", resource.get("subject")) == {"reference": "Patient/ana"}
    assert resource["basedOn"] == [{"reference": PLAN}]


@pytest.mark.parametrize("row", [6, 7, 8, 9])
def test_sleep_food_practices_and_side_effects_are_taught_when_the_patient_leaves(row: int) -> None:
    words = {6: "sleep", 7: "fluids", 8: "breathing", 9: "tell us"}
    taught = [each["valueString"].lower() for each in made(facts(), "teach-back").resource["input"]]
    assert any(words[row] in each for each in taught)


@pytest.mark.parametrize(
    ("row", "code"), [(13, terms.CLINICAL_REVIEW), (15, terms.BOOSTER_REVIEW), (4, terms.INFORM_PATIENT)]
)
def test_what_answers_and_records_call_for_can_be_raised_at_any_time(row: int, code: terms.Code) -> None:
    activity = PROTOCOL.activity(f"{terms.ACTIVITY_DEFINITION}/{code.code}")
    given = facts()
    span = Window(given.now, given.now, given.now + HOUR, None)
    raised = from_activity(activity, given, span, based_on="CarePlan/1", key=("harbor", "ana", code.code))
    assert code.coding() in raised.resource["code"]["coding"]
    assert raised.resource["status"] == "requested"
    assert raised.resource["owner"] == {"reference": CLINIC.organization}


def test_row_14_the_goals_are_made_with_the_course() -> None:
    assert proposed(facts(course_active=False)).nested == (PROTOCOL.course.canonical,)
    assert proposed(facts(course_active=True)).nested == ()
    _, goals = course_of(facts())
    measured = [each.resource["target"][0]["measure"]["coding"][0]["code"] for each in goals]
    assert measured == [terms.PHQ9_TOTAL.code, terms.PHQ9_TOTAL.code, terms.GAD7_TOTAL.code]


def test_an_unremarkable_discharge_owes_this_and_nothing_else() -> None:
    assert [each.action for each in proposed(facts()).wanted] == [
        "escort-home",
        "no-driving",
        "no-alcohol-sedatives-decisions",
        "teach-back",
        "follow-up-call",
        "day-1-check-in",
        "day-3-check-in",
    ]


def test_while_the_patient_is_here_only_the_escort_and_the_baseline_are_asked_for() -> None:
    assert [each.action for each in proposed(still_here()).wanted] == [
        "baseline-phq-9",
        "baseline-gad-7",
        "escort-home",
    ]
    assert [each.action for each in proposed(still_here(phq9_baseline=True)).wanted] == [
        "baseline-gad-7",
        "escort-home",
    ]


def test_every_action_that_is_left_out_says_why() -> None:
    proposal = proposed(facts())
    named = {each.action for each in proposal.wanted} | proposal.dropped.keys() | {"course"}
    assert named == set(DEEDS)
    assert set(proposal.dropped.values()) == {"its condition is false"}


def test_a_patient_who_left_before_ready_makes_one_urgent_task_with_what_was_missing() -> None:
    task = made(facts(**ALONE), "discharged-not-ready").resource
    assert task["priority"] == "urgent"
    assert [each["valueString"] for each in task["input"]] == ["sedation-resolved", "escort-present"]
    assert "sedation-resolved and escort-present" in task["description"]


# --- §10.2, §9.2 identifiers -----------------------------------------------------------------------------------------
def identities(given: Facts, protocol: Protocol = PROTOCOL) -> dict[str, tuple[str, str, str]]:
    return {each.action: (*each.identifier, each.urn) for each in proposed(given, protocol).wanted}


def test_10_2_the_same_infusion_has_the_same_identifiers_whatever_else_changes() -> None:
    usual = identities(facts())
    newer = replace(INFUSION, version="2.0.0", actions=tuple(reversed(INFUSION.actions)))
    shuffled = replace(PROTOCOL, plans={**PROTOCOL.plans, newer.canonical: newer})
    for other in (
        identities(facts(now=END + 3 * HOUR)),
        identities(facts(END + 2 * HOUR)),
        identities(facts(language="es", zones=(LOS_ANGELES,), requester="Organization/other")),
        identities(facts(patient="Patient/merged")),
        {each.action: (*each.identifier, each.urn) for each in propose(shuffled, newer, facts(), PLAN).wanted},
    ):
        assert other == usual


def test_10_2_another_infusion_generation_clinic_or_base_has_others() -> None:
    found = [
        identities(facts(episode=Episode(*key)))["no-driving"]
        for key in (("harbor", "e1"), ("harbor", "e2"), ("bay", "e1"), ("harbor", "e1", 2), ("harbor", "e1", 1, 2))
    ]
    found.append(identities(facts(identifiers=Identifiers("https://other.example.com")))["no-driving"])
    assert len(set(found)) == len(found)


def test_nothing_is_wanted_twice() -> None:
    for more in ({}, ALONE, UNKNOWN, OFFERED):
        given = facts(**more)
        forms, goals = course_of(given)
        wanted = [*proposed(given).wanted, *forms.wanted, *goals]
        assert len({each.identifier for each in wanted}) == len(wanted)
        assert len({each.urn for each in wanted}) == len(wanted)


# --- §10.5 driving ---------------------------------------------------------------------------------------------------
# Zone, E, release: clinical §4.5 and design §10.6.
RELEASES = [
    ("America/New_York", "2026-03-07T15:45:00-05:00", "2026-03-08T07:00:00-04:00"),
    ("America/New_York", "2026-10-31T15:45:00-04:00", "2026-11-01T07:00:00-05:00"),
    ("America/Phoenix", "2026-03-07T15:45:00-07:00", "2026-03-08T07:00:00-07:00"),
    ("America/Los_Angeles", "2026-11-23T17:10:00-08:00", "2026-11-24T07:00:00-08:00"),
    ("America/New_York", "2026-03-07T02:30:00-05:00", "2026-03-08T07:00:00-04:00"),
    ("America/New_York", "2026-03-07T18:30:00-05:00", "2026-03-08T07:30:00-04:00"),
    ("America/New_York", "2026-03-07T21:00:00-05:00", "2026-03-08T10:00:00-04:00"),
    ("America/New_York", "2026-10-31T20:30:00-04:00", "2026-11-01T07:30:00-05:00"),
]


@pytest.mark.parametrize(("zone", "end", "release"), RELEASES)
def test_10_6_driving_is_released_when_the_vectors_say(zone: str, end: str, release: str) -> None:
    given = facts(local(instant(end), ZoneInfo(zone)), zones=(ZoneInfo(zone),))
    assert made(given, "no-driving").resource["occurrencePeriod"] == {"start": end, "end": release}


def test_both_hours_of_the_night_the_clocks_go_back_have_their_own_ends() -> None:
    first, second = (local(instant(f"2026-11-01T01:30:00-0{offset}:00"), NEW_YORK) for offset in (4, 5))
    assert first == second  # so Python says of two instants in one zone
    for end, over in ((first, "2026-11-02T00:30:00-05:00"), (second, "2026-11-02T01:30:00-05:00")):
        restriction = made(facts(end, zones=(NEW_YORK,)), "no-alcohol-sedatives-decisions").resource
        assert restriction["occurrencePeriod"]["end"] == over


ends = st.integers(0, 365 * 24 * 60).map(lambda minutes: local(utc(START) + timedelta(minutes=minutes), NEW_YORK))
ZONES = [NEW_YORK, LOS_ANGELES, PHOENIX, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")]


@given(ends, st.lists(st.sampled_from(ZONES), min_size=1, max_size=2, unique=True))
def test_10_5_nobody_drives_before_seven_of_the_next_day_or_twelve_hours_wherever_they_may_sleep(
    end: datetime, zones: list[ZoneInfo]
) -> None:
    release = instant(driving_ends(facts(end, zones=tuple(zones))))
    assert release - end >= 12 * HOUR
    for zone in zones:
        assert utc(release) >= utc(wall_clock(local(end, zone).date() + timedelta(days=1), time(7), zone))


def test_10_5_unsure_where_to_sleep_is_the_later_release_shown_in_the_patients_zone() -> None:
    assert driving_ends(facts(zones=(LOS_ANGELES,))) == "2026-09-17T07:00:00-07:00"
    assert driving_ends(facts(zones=(LOS_ANGELES, NEW_YORK))) == "2026-09-17T07:00:00-07:00"
    assert driving_ends(facts(zones=(NEW_YORK, LOS_ANGELES))) == "2026-09-17T10:00:00-04:00"
    assert "10:00 on Thursday" in made(facts(zones=(NEW_YORK, LOS_ANGELES)), "no-driving").line


def test_10_5_where_a_person_must_release_neither_the_instruction_nor_the_narrative_names_a_time_alone() -> None:
    usual, waiting = made(facts(), "no-driving"), made(facts(release_needs_human=True), "no-driving")
    assert waiting.resource["occurrencePeriod"] == usual.resource["occurrencePeriod"]
    assert "until the clinic says you may" in waiting.resource["patientInstruction"]
    assert "clinic" not in usual.resource["patientInstruction"]
    assert "until the clinic says you may" in waiting.line
    assert usual.line == "Do not drive or operate machinery: until 07:00 on Thursday, September 17"
    alcohol = made(facts(release_needs_human=True), "no-alcohol-sedatives-decisions")
    assert alcohol.line == made(facts(), "no-alcohol-sedatives-decisions").line


def test_a_restriction_reads_as_a_prohibition_and_names_no_time_in_its_code() -> None:
    for action in ("no-driving", "no-alcohol-sedatives-decisions"):
        resource = made(facts(), action).resource
        assert resource["doNotPerform"] is True
        assert resource["code"]["text"].startswith("Do not ")
        assert not any(each.isdigit() for each in resource["code"]["text"])
        assert resource["patientInstruction"]
        assert resource["category"]


def test_a_patient_reads_spanish_and_staff_english() -> None:
    given = facts(language="es", **ALONE)
    driving = made(given, "no-driving").resource
    assert driving["patientInstruction"].startswith("No conduzca")
    assert "hasta las 07:00" in made(given, "no-driving").line
    taught = [each["valueString"] for each in made(given, "teach-back").resource["input"]]
    english = [each["valueString"] for each in made(facts(), "teach-back").resource["input"]]
    assert not set(taught) & set(english)
    assert len(taught) == len(english)
    assert made(given, "discharged-not-ready").resource["description"].startswith("The patient left before ready")
    assert made(given, "day-1-check-in").resource["description"].startswith("¿Cómo está?")


# --- §10.7 an end that was estimated, and late looks -----------------------------------------------------------------
def test_10_7_the_end_is_needed_once_the_patient_has_left_and_not_before() -> None:
    assert proposed(still_here())
    with pytest.raises(ProtocolFault) as refused:
        proposed(facts(anchor=Anchor(START, None)))
    assert refused.value.action == "no-driving"


def test_10_7_an_estimated_end_is_known_to_the_protocol() -> None:
    asked = with_action(PROTOCOL, INFUSION, "integration-session", conditions=(parse("%estimatedEnd"),))
    given = facts(anchor=Anchor(START, END, estimated=True))
    assert proposed(given, asked).of("integration-session")
    assert not proposed(facts(), asked).of("integration-session")


lateness = st.integers(0, 12 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))
AFTERMATHS: list[dict[str, Any]] = [{}, UNKNOWN, {**ALONE, **OFFERED}]


def all_parts(resource: Resource) -> list[datetime]:
    if resource["resourceType"] == "ServiceRequest":
        return [instant(resource["occurrencePeriod"]["end"])]
    return [each for each in tasks.window_of(resource)[1:] if each is not None]


@given(ends, lateness, st.sampled_from(AFTERMATHS))
def test_10_7_however_late_it_is_looked_at_nothing_instructs_in_the_past_and_the_call_is_still_owed(
    end: datetime, late: timedelta, more: dict[str, Any]
) -> None:
    now = utc(end) + late
    given = facts(end, now=now, **more)
    wanted = {each.action: each for each in proposed(given).wanted}
    for each in wanted.values():
        assert max(all_parts(each.resource)) > now, each.action
        if each.resource.get("owner") == {"reference": CLINIC.organization}:
            assert window(each)[1] > now, each.action
    opens, due, expires = window(wanted["follow-up-call"])
    assert CLINIC.call_hours.open_time(max(opens, now), due) >= HOUR
    assert expires >= due
    if "teach-back" in wanted or "no-driving" in wanted:
        assert wanted["teach-back"].resource["reasonReference"] == {"reference": wanted["no-driving"].urn}
    owed = {"discharged-not-ready", "same-evening-call"} if more.get("escort") == "left-alone" else set()
    owed |= {"confirm-arrived-home"} if more.get("escort") == "not-recorded" else set()
    assert owed <= wanted.keys()
    whole(given, proposed(given), None, [])


def test_10_7_a_call_looked_at_two_days_late_is_due_now() -> None:
    now = datetime(2026, 9, 18, 14, 0, tzinfo=NEW_YORK)
    opens, due, _ = window(made(facts(now=now), "follow-up-call"))
    assert (opens, due) == (now, datetime(2026, 9, 18, 18, 0, tzinfo=NEW_YORK))


def test_10_7_the_morning_after_an_evening_infusion_nobody_is_taught_what_no_longer_holds() -> None:
    end = datetime(2026, 9, 16, 18, 0, tzinfo=NEW_YORK)
    morning = proposed(facts(end, now=datetime(2026, 9, 17, 8, 0, tzinfo=NEW_YORK)))
    assert morning.dropped["no-driving"] == morning.dropped["teach-back"] == "its time has passed"


def test_10_7_as_long_as_a_restriction_lasts_it_is_taught() -> None:
    end = datetime(2026, 9, 16, 1, 0, tzinfo=NEW_YORK)  # released 30 hours later: the teach-back expires before it
    found = made(facts(end, now=datetime(2026, 9, 16, 20, 0, tzinfo=NEW_YORK)), "teach-back")
    assert window(found)[1] == datetime(2026, 9, 17, 0, 0, tzinfo=NEW_YORK)


def test_10_7_the_escort_task_opens_with_the_infusion_however_late_it_is_recorded() -> None:
    task = made(still_here(now=START + 9 * HOUR), "escort-home").resource
    opens, due, _ = tasks.window_of(task)
    assert opens == START
    assert due is not None
    assert due > START + 9 * HOUR


# --- §9.18 the follow-up call in the clinic's hours ------------------------------------------------------------------
WEEKDAYS = make_clinic("Organization/harbor").call_hours
HOLIDAYS = frozenset({date(2026, 11, 26), date(2026, 11, 27), date(2026, 12, 25), date(2027, 1, 1)})
# Thanksgiving's week, Christmas and New Year, and a week without either.
DAYS = [date(2026, month, day) for month, day in ((11, 23), (12, 23), (12, 30), (9, 14))]


@pytest.mark.parametrize("first", DAYS)
@pytest.mark.parametrize("weekday", range(7))
def test_9_18_a_call_can_be_made_after_an_infusion_on_any_day_at_any_hour(first: date, weekday: int) -> None:
    hours = OpenHours(WEEKDAYS.weekly, HOLIDAYS, NEW_YORK)
    clinic = replace(CLINIC, call_hours=hours)
    for hour in range(24):
        end = datetime.combine(first + timedelta(days=weekday), time(hour, 20), tzinfo=NEW_YORK)
        opens, due, expires = window(made(facts(end, clinic=clinic), "follow-up-call"))
        assert hours.is_open(opens)
        assert hours.open_time(opens, due) >= HOUR
        assert hours.open_time(opens, expires) >= HOUR
        assert opens >= end + 18 * HOUR
        closed = hours.open_time(end + 18 * HOUR, end + 36 * HOUR) < HOUR
        assert closed or due <= end + 36 * HOUR


def test_9_18_after_a_friday_infusion_the_call_is_on_monday_and_after_a_holiday_later() -> None:
    friday = datetime(2026, 9, 18, 15, 0, tzinfo=NEW_YORK)
    assert window(made(facts(friday), "follow-up-call"))[:2] == (
        datetime(2026, 9, 21, 9, 0, tzinfo=NEW_YORK),
        datetime(2026, 9, 21, 18, 0, tzinfo=NEW_YORK),
    )
    closed = replace(CLINIC, call_hours=OpenHours(WEEKDAYS.weekly, frozenset({date(2026, 9, 21)}), NEW_YORK))
    assert window(made(facts(friday, clinic=closed), "follow-up-call"))[0].date() == date(2026, 9, 22)


# --- §10.12, §10.13 the graph ----------------------------------------------------------------------------------------
def test_10_12_the_graph_is_lean() -> None:
    for more in ({}, ALONE, UNKNOWN, OFFERED):
        given = facts(**more)
        forms, goals = course_of(given)
        written = whole(given, proposed(given), forms, goals).written()
        types = {resource["resourceType"] for _, resource in written}
        assert types == {"CarePlan", "Goal", "Provenance", "ServiceRequest", "Task"}


def test_10_12_the_infusions_plan_lists_what_is_fixed_and_the_course_lists_nothing() -> None:
    given = facts()
    forms, goals = course_of(given)
    written = dict(whole(given, proposed(given), forms, goals).written())
    assert "activity" not in written[COURSE]
    listed = [each["reference"]["reference"] for each in written[PLAN]["activity"]]
    assert listed == [each.urn for each in proposed(given).wanted]


def test_10_12_the_escort_task_has_no_focus_and_carries_name_and_phone() -> None:
    task = made(facts(escort_person=SAM), "escort-home").resource
    assert "focus" not in task
    assert {each["type"]["coding"][0]["code"]: each["valueString"] for each in task["input"]} == {
        "escort-name": "Sam Rivera",
        "escort-relationship": "brother",
        "escort-phone": "+1 555 0142",
    }
    assert (
        "input"
        not in made(facts(escort_person=replace(SAM, name=None, relationship=" ", phone="")), "escort-home").resource
    )


def test_10_12_the_teach_back_is_about_the_restriction() -> None:
    found = proposed(facts())
    teach, driving = found.of("teach-back"), found.of("no-driving")
    assert teach is not None
    assert driving is not None
    assert teach.resource["reasonReference"] == {"reference": driving.urn}
    assert "focus" not in teach.resource


def test_10_12_what_is_taught_without_that_restriction_points_nowhere() -> None:
    without = with_action(PROTOCOL, INFUSION, "no-driving", conditions=(parse("false"),))
    teach = proposed(facts(), without).of("teach-back")
    assert teach is not None
    assert "reasonReference" not in teach.resource


def test_10_12_the_teach_back_carries_five_points_of_self_care_restrictions_and_warning_signs() -> None:
    kinds = [each["type"]["coding"][0]["code"] for each in made(facts(), "teach-back").resource["input"]]
    assert kinds.count(terms.INPUT_SELF_CARE.code) == 5
    assert {terms.INPUT_RESTRICTION.code, terms.INPUT_WARNING_SIGN.code} <= set(kinds)


def test_10_13_a_form_is_asked_for_in_both_codings_and_claims_neither_profile() -> None:
    forms, _ = course_of(facts())
    for each in [made(facts(), "day-1-check-in"), *forms.wanted]:
        task = each.resource
        assert [code["code"] for code in task["code"]["coding"]] == ["complete-questionnaire", "collect-information"]
        (asked,) = task["input"]
        assert [code["code"] for code in asked["type"]["coding"]] == ["questionnaire", "collect-information"]
        assert task["meta"]["profile"] == [terms.PROFILE_PRO_TASK]
        assert "focus" not in task
        assert task["owner"] == task["for"]
        assert {"authoredOn", "requester"} <= task.keys()
        assert "|" in asked["valueCanonical"]


def test_everything_is_stamped_with_the_version_that_made_it() -> None:
    for each in proposed(facts(**ALONE)).wanted:
        said = each.resource.get("instantiatesCanonical") or each.resource["input"][0]["valueCanonical"]
        assert all(canonical.endswith("|1.0.0") for canonical in ([said] if isinstance(said, str) else said))


def test_staffs_work_belongs_to_whom_the_clinic_names() -> None:
    owners = replace(CLINIC.owners, nurse="Practitioner/nina", prescriber="Practitioner/pat")
    given = facts(clinic=replace(CLINIC, owners=owners), **ALONE)
    assert made(given, "follow-up-call").resource["owner"] == {"reference": "Practitioner/nina"}
    assert made(given, "discharged-not-ready").resource["owner"] == {"reference": "Practitioner/pat"}


def test_the_plan_may_set_the_urgency_of_an_activity() -> None:
    changed = with_action(PROTOCOL, INFUSION, "follow-up-call", priority="urgent")
    found = proposed(facts(), changed).of("follow-up-call")
    assert found is not None
    assert found.resource["priority"] == "urgent"


@given(ends, st.sampled_from(AFTERMATHS), st.sampled_from(["en", "es"]), st.booleans())
def test_whatever_is_proposed_passes_the_check_before_writing(
    end: datetime, more: dict[str, Any], language: str, needs_human: bool
) -> None:
    given = facts(end, language=language, release_needs_human=needs_human, escort_person=SAM, **more)
    forms, goals = course_of(given)
    whole(given, proposed(given), forms, goals)


def test_what_begins_a_plan_passes_the_check_before_writing() -> None:
    given = still_here(escort_person=SAM)
    whole(given, proposed(given), None, [])


# --- §2.4 fail closed ------------------------------------------------------------------------------------------------
BROKEN = parse("%ageYears > 17")  # a chart without a birth date gives no age
ALL_ACTIONS = [
    (plan, action.id)
    for plan in (PROTOCOL.infusion, PROTOCOL.course)
    for action in plan.actions
    if not action.is_anchor
]
MOMENTS = [facts(), still_here(), facts(**ALONE)]


def apply_all(protocol: Protocol, given: Facts) -> None:
    """Apply both plans, as a discharge does."""
    proposed(given, protocol)
    course_of(given, protocol)


def fault_of(protocol: Protocol, given: Facts) -> ProtocolFault:
    with pytest.raises(ProtocolFault) as refused:
        apply_all(protocol, given)
    return refused.value


@pytest.mark.parametrize(("plan", "action"), ALL_ACTIONS)
@pytest.mark.parametrize("given", MOMENTS)
def test_one_condition_that_cannot_be_evaluated_stops_everything(plan: Plan, action: str, given: Facts) -> None:
    # Behind a condition that is false already: none hides another.
    broken = with_action(PROTOCOL, plan, action, conditions=(parse("false"), BROKEN))
    fault = fault_of(broken, given)
    assert (fault.file, fault.action, fault.expression) == (plan.file, action, BROKEN.text)
    apply_all(broken, replace(given, age_years=40))


@pytest.mark.parametrize(("plan", "action"), ALL_ACTIONS)
@pytest.mark.parametrize("applies", [True, False])
@pytest.mark.parametrize("given", MOMENTS)
def test_one_definition_that_is_not_there_stops_everything(
    plan: Plan, action: str, applies: bool, given: Facts
) -> None:
    for definition in (f"{terms.BASE}/ActivityDefinition/gone|1.0.0", f"{terms.BASE}/Questionnaire/gone", None):
        broken = with_action(
            PROTOCOL, plan, action, definition=definition, conditions=(parse("true" if applies else "false"),)
        )
        fault = fault_of(broken, given)
        assert (fault.file, fault.action) == (plan.file, action)


WITH_WORDS = [each.id for each in INFUSION.actions if PROTOCOL.is_activity(each.definition or "")]


@pytest.mark.parametrize("action", WITH_WORDS)
@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("given", MOMENTS)
def test_words_that_cannot_be_said_stop_everything_whether_or_not_they_apply(
    action: str, language: str, given: Facts
) -> None:
    canonical = next(each.definition for each in INFUSION.actions if each.id == action)
    activity = PROTOCOL.activity(str(canonical))
    broken = parse("'x'", file=activity.file)
    broken = replace(broken, names=frozenset({"ageYears"}))
    path = "patientInstruction" if activity.kind == "ServiceRequest" else "description"
    dynamic = Dynamic(path, {"en": parse("'Said.'"), language: broken})
    protocol = replace(
        PROTOCOL, activities={**PROTOCOL.activities, activity.canonical: replace(activity, dynamic=(dynamic,))}
    )
    fault = fault_of(protocol, given)
    assert (fault.file, fault.action, fault.expression) == (activity.file, action, "'x'")


FAR = Offset(Decimal(9999), "a")


@pytest.mark.parametrize(("plan", "action"), [pair for pair in ALL_ACTIONS if pair[1] != "course"])
@pytest.mark.parametrize("applies", [True, False])
def test_a_time_beyond_the_calendar_stops_everything(plan: Plan, action: str, applies: bool) -> None:
    found = next(each for each in plan.actions if each.id == action)
    related = tuple(replace(each, target=FAR) for each in found.related)
    broken = with_action(
        PROTOCOL, plan, action, related=related, repeat=None, conditions=(parse("true" if applies else "false"),)
    )
    fault = fault_of(broken, facts())
    assert (fault.file, fault.action) == (plan.file, action)


@pytest.mark.parametrize("action", [each for each in DEEDS if each != "course"])
def test_a_repetition_or_a_missing_time_is_never_skipped(action: str) -> None:
    for changes in ({"repeat": Repeat(2, 1, "d")}, {"related": ()}):
        fault = fault_of(with_action(PROTOCOL, INFUSION, action, **changes), facts())
        assert fault.action == action


def test_a_plan_within_the_plan_that_nobody_would_apply_is_never_skipped() -> None:
    other = replace(PROTOCOL.course, url=f"{terms.BASE}/PlanDefinition/other")
    protocol = replace(PROTOCOL, plans={**PROTOCOL.plans, other.canonical: other})
    fault = fault_of(with_action(protocol, INFUSION, "course", definition=other.canonical), facts())
    assert fault.action == "course"


def test_a_course_asks_forms_only() -> None:
    call = f"{terms.ACTIVITY_DEFINITION}/follow-up-call|1.0.0"
    fault = fault_of(with_action(PROTOCOL, PROTOCOL.course, "phq-9-tail", definition=call), facts())
    assert (fault.file, fault.action) == (PROTOCOL.course.file, "phq-9-tail")


@pytest.mark.parametrize(("path", "text"), [("description", "' '"), ("priority", "'high'"), ("priority", "''")])
def test_words_that_no_server_would_take_stop_everything(path: str, text: str) -> None:
    activity = PROTOCOL.activity(f"{terms.ACTIVITY_DEFINITION}/follow-up-call")
    changed = replace(activity, dynamic=(Dynamic(path, {"en": parse(text)}),))
    fault = fault_of(replace(PROTOCOL, activities={**PROTOCOL.activities, activity.canonical: changed}), facts())
    assert (fault.file, fault.action, fault.expression) == (activity.file, "follow-up-call", text)


def test_urgency_may_depend_on_the_facts() -> None:
    activity = PROTOCOL.activity(f"{terms.ACTIVITY_DEFINITION}/follow-up-call")
    changed = replace(activity, dynamic=(Dynamic("priority", {"en": parse("'asap'")}),))
    protocol = replace(PROTOCOL, activities={**PROTOCOL.activities, activity.canonical: changed})
    found = proposed(facts(), protocol).of("follow-up-call")
    assert found is not None
    assert found.resource["priority"] == "asap"


def test_a_fault_holds_no_patient_data() -> None:
    broken = with_action(PROTOCOL, INFUSION, "no-driving", conditions=(BROKEN,))
    fault = fault_of(broken, facts(escort_person=SAM))
    said = " ".join([fault.message, *fault.where, fault.remedy])
    assert "Rivera" not in said
    assert "ana" not in said.split()


def test_proposing_changes_nothing_it_was_given() -> None:
    before = copy.deepcopy((PROTOCOL.plans, PROTOCOL.activities))
    apply_all(PROTOCOL, facts(**ALONE))
    assert (PROTOCOL.plans, PROTOCOL.activities) == before
