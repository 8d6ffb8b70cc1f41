"""The two plans: made, activated without undoing what a clinician did, told apart, told in words."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts import stored
from fhir_aftercare.errors import IllegalMove
from fhir_aftercare.fhir import careplan, terms
from fhir_aftercare.fhir.careplan import PlanFacts, activated, is_kind, make_plan, narrative, with_activities
from fhir_aftercare.fhir.check import faults_of

Resource = dict[str, Any]

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 16, 13, 0, tzinfo=NEW_YORK)
END = START + timedelta(minutes=40)
BEGAN = PlanFacts(
    kind="infusion",
    identifier={"system": "https://clinic.example.com/id/plan", "value": "1"},
    canonical=f"{terms.PLAN_INFUSION}|1.0.0",
    title="Aftercare of one ketamine infusion",
    patient="Patient/ana",
    author="Device/1",
    zone="America/New_York",
    created=START,
    start=START,
    encounter="Encounter/e1",
    activities=["Task/escort"],
    lines=["Escort home: by 21:00"],
    policy_hash="aaa",
    active=False,
)
LEFT = replace(
    BEGAN,
    start=END,
    end=END + timedelta(days=5),
    part_of="CarePlan/course",
    addresses=["Condition/depression"],
    activities=["Task/escort", "ServiceRequest/no-driving"],
    lines=["Do not drive or operate machinery: until 07:00 on Thursday, September 17"],
    policy_hash="bbb",
    active=True,
)


def draft(**changes: Any) -> Resource:
    return {**stored(make_plan(BEGAN), "p1"), **changes}


def references(plan: Resource, name: str) -> list[str]:
    return [each["reference"] for each in plan[name]]


def extension(plan: Resource, url: str) -> list[Any]:
    return [value for each in plan["extension"] if each["url"] == url for key, value in each.items() if key != "url"]


def text_of(plan: Resource) -> str:
    return "".join(ET.fromstring(plan["text"]["div"]).itertext())  # noqa: S314 - our own words


# --- made ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("facts", [BEGAN, LEFT, replace(LEFT, kind="course", goals=["Goal/1"], activities=[])])
def test_a_plan_says_what_every_reader_needs(facts: PlanFacts) -> None:
    plan = make_plan(facts)
    assert faults_of(plan) == []
    assert plan["status"] == ("active" if facts.active else "draft")
    assert [each["coding"][0]["code"] for each in plan["category"]] == ["assess-plan", facts.kind]
    assert plan["instantiatesCanonical"] == [facts.canonical]
    assert extension(plan, terms.EXT_PLAN_TIMEZONE) == ["America/New_York"]
    assert all(line in text_of(plan) for line in facts.lines)
    assert not [name for name, value in plan.items() if value in (None, [], {})]


def test_an_estimated_end_is_marked() -> None:
    assert extension(make_plan(LEFT), terms.EXT_ANCHOR_ESTIMATED) == []
    assert extension(make_plan(replace(LEFT, estimated=True)), terms.EXT_ANCHOR_ESTIMATED) == [True]


def test_kinds_are_told_apart_whoever_wrote_the_plan() -> None:
    assert is_kind(make_plan(LEFT), "infusion")
    assert not is_kind(make_plan(LEFT), "course")
    for other in (
        {},
        {"category": None},
        {"category": [{"text": "infusion"}]},
        {"category": [{"coding": [{"code": "infusion"}]}]},
    ):
        assert not is_kind(other, "infusion")


@given(st.text(), st.lists(st.text(), max_size=3))
def test_whatever_the_words_are_the_narrative_is_xhtml_that_says_them(title: str, lines: list[str]) -> None:
    allowed = [each for each in (title, *lines) if each.isprintable()]
    found = narrative(allowed[0] if allowed else "", allowed[1:])
    assert text_of({"text": found}) == "".join(allowed)


# --- activated -------------------------------------------------------------------------------------------------------
def test_a_draft_becomes_the_plan_that_is_owed() -> None:
    plan = activated(draft(), LEFT)
    assert plan["status"] == "active"
    assert plan["period"] == make_plan(LEFT)["period"]
    assert references(plan, "partOf") == ["CarePlan/course"]
    assert references(plan, "addresses") == ["Condition/depression"]
    assert [each["reference"]["reference"] for each in plan["activity"]] == ["Task/escort", "ServiceRequest/no-driving"]
    assert "until 07:00 on Thursday" in text_of(plan)
    assert "Escort home: by 21:00" not in text_of(plan)
    assert extension(plan, terms.EXT_POLICY_HASH) == ["bbb"]
    assert (plan["id"], plan["author"]) == ("p1", {"reference": "Device/1"})
    assert faults_of(plan) == []


def test_what_a_clinician_added_stays() -> None:
    theirs: Resource = {
        "title": "Ketamine, third time",
        "note": [{"text": "Lives alone"}],
        "careTeam": [{"reference": "CareTeam/1"}],
        "goal": [{"reference": "Goal/theirs"}],
        "addresses": [{"reference": "Condition/pain"}],
        "partOf": [{"reference": "CarePlan/theirs"}],
        "activity": [{"reference": {"reference": "Appointment/1"}}, {"reference": {"reference": "Task/escort"}}],
        "period": {"start": "2026-09-16T13:00:00-04:00", "end": "2026-10-16"},
    }
    before = draft(**theirs)
    before["extension"] = [{"url": "http://ehr.example.com/x", "valueCode": "y"}, *before["extension"]]
    kept = copy.deepcopy(before)
    plan = activated(before, LEFT)
    assert before == kept
    assert {name: plan[name] for name in ("title", "note", "careTeam", "goal")} == {
        name: theirs[name] for name in ("title", "note", "careTeam", "goal")
    }
    assert references(plan, "addresses") == ["Condition/pain", "Condition/depression"]
    assert references(plan, "partOf") == ["CarePlan/theirs", "CarePlan/course"]
    assert [each["reference"]["reference"] for each in plan["activity"]] == [
        "Appointment/1",
        "Task/escort",
        "ServiceRequest/no-driving",
    ]
    assert plan["period"] == {"start": "2026-09-16T13:40:00-04:00", "end": "2026-10-16"}
    assert extension(plan, "http://ehr.example.com/x") == ["y"]
    assert faults_of(plan) == []


@pytest.mark.parametrize(
    ("theirs", "end"),
    [
        (None, "2026-09-21T13:40:00-04:00"),
        ("2026-09-18T12:00:00-04:00", "2026-09-21T13:40:00-04:00"),
        ("2026-09-22T12:00:00Z", "2026-09-22T12:00:00Z"),
        ("2026-09-21", "2026-09-21"),
        ("2026-09-20", "2026-09-21T13:40:00-04:00"),
        ("2027", "2027"),
    ],
)
def test_a_plan_ends_no_earlier_than_anybody_said(theirs: str | None, end: str) -> None:
    dates = {"start": "2026-09-16T13:00:00-04:00", **({"end": theirs} if theirs else {})}
    assert activated(draft(period=dates), LEFT)["period"]["end"] == end


def test_the_words_of_a_person_stand_below_what_is_generated() -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p>Sister &amp; brother help.</p></div>'
    plan = activated(draft(text={"status": "additional", "div": div}), LEFT)
    assert plan["text"]["status"] == "additional"
    assert text_of(plan).endswith("Sister & brother help.")
    assert "until 07:00 on Thursday" in text_of(plan)
    assert faults_of(plan) == []


@pytest.mark.parametrize("text", [None, {"status": "empty"}, {"status": "generated", "div": "<div>old</div>"}])
def test_an_old_narrative_is_made_anew(text: Resource | None) -> None:
    before = {name: value for name, value in draft(text=text).items() if value is not None}
    assert activated(before, LEFT)["text"] == make_plan(LEFT)["text"]


def test_a_new_version_of_the_protocol_is_named_before_the_old_one() -> None:
    newer = replace(LEFT, canonical=f"{terms.PLAN_INFUSION}|1.1.0")
    assert activated(draft(), newer)["instantiatesCanonical"] == [newer.canonical, BEGAN.canonical]


def test_an_end_that_is_no_longer_estimated_is_no_longer_marked() -> None:
    before = make_plan(replace(BEGAN, estimated=True))
    assert extension(activated(before, LEFT), terms.EXT_ANCHOR_ESTIMATED) == []


@pytest.mark.parametrize("status", ["revoked", "completed", "entered-in-error"])
def test_a_plan_that_has_ended_is_not_activated(status: str) -> None:
    with pytest.raises(IllegalMove):
        activated(draft(status=status), LEFT)


def test_activating_twice_is_activating_once() -> None:
    once = activated(draft(), LEFT)
    assert activated(once, LEFT) == once


# --- activities ------------------------------------------------------------------------------------------------------
@given(
    st.lists(st.sampled_from(["Task/1", "Task/2", "ServiceRequest/1"])), st.lists(st.sampled_from(["Task/1", "Task/3"]))
)
def test_each_activity_is_listed_once_and_none_is_taken_away(first: list[str], more: list[str]) -> None:
    plan = with_activities(make_plan(replace(BEGAN, activities=list(dict.fromkeys(first)))), more)
    listed = [each["reference"]["reference"] for each in plan.get("activity", [])]
    assert listed == list(dict.fromkeys([*first, *more]))


def test_an_activity_somebody_described_in_words_stays() -> None:
    detail = {"detail": {"status": "not-started", "description": "Yoga"}}
    plan = with_activities(draft(activity=[detail]), ["Task/1"])
    assert plan["activity"] == [detail, {"reference": {"reference": "Task/1"}}]


def test_ended_plans_count_as_absent() -> None:
    assert {"revoked", "entered-in-error"} == careplan.ENDED
