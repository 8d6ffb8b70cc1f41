"""A course of infusions: what is asked when, over random courses as a clinic and its server would see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facts import CLINIC, COURSE, IDENTIFIERS, PROTOCOL, course, course_of, facts, stored, with_action
from fhir_aftercare.care.plan import Anchor, Episode
from fhir_aftercare.care.policy import Policy
from fhir_aftercare.care.timing import Offset, local, utc
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.course import Course, propose_course, propose_goals, superseded
from fhir_aftercare.fhir.expression import parse
from world import END, NEW_YORK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fhir_aftercare.fhir.course import CourseProposal
    from fhir_aftercare.fhir.facts import Facts

Resource = dict[str, Any]

PHQ9 = terms.QUESTIONNAIRE_PHQ9
FAMILIES = (PHQ9, terms.QUESTIONNAIRE_GAD7, terms.QUESTIONNAIRE_WEEKLY)


class Series:
    """A course on a server: infusions come, somebody looks now and then, Tasks are made and superseded."""

    def __init__(self, first: datetime, *, knows_its_tasks: bool = True) -> None:
        self.first = self.last = first
        self.count = 0
        self.tasks: dict[str, Resource] = {}
        self.knows_its_tasks = knows_its_tasks

    def infusion(self, end: datetime) -> CourseProposal:
        """An infusion ended; its discharge re-anchors the tail."""
        self.last, self.count = end, self.count + 1
        return self.look(utc(end) + timedelta(minutes=90), re_anchors=self.count > 1)

    def look(self, now: datetime, *, re_anchors: bool = False) -> CourseProposal:
        """Compare and write the difference, as a discharge or a sweep does."""
        episode = Episode("harbor", f"e{self.count}")
        given = facts(self.last, now=now, episode=episode, course_active=self.count > 1)
        there = list(self.tasks.values()) if self.knows_its_tasks else None
        proposal = propose_course(PROTOCOL, PROTOCOL.course, given, self.course(episode), there)
        if re_anchors:
            waiting = [each for each in self.tasks.values() if tasks.is_open(each)]
            for changed in superseded(waiting, proposal.wanted, now):
                self.tasks[changed["identifier"][0]["value"]] = changed
        for each in proposal.wanted:
            self.tasks.setdefault(each.identifier[1], each.resource)
        return proposal

    def course(self, episode: Episode) -> Course:
        return Course(("course", "1"), COURSE, self.first, self.last, episode.infusion_key)

    def asked(self, family: str) -> list[date]:
        """Give the days on which a form was asked, or will be: all but those superseded before they opened."""
        found = []
        for each in self.tasks.values():
            opens, ended = tasks.window_of(each)[0], tasks.moment(each.get("lastModified"))
            assert opens is not None
            never = each["status"] == "cancelled" and ended is not None and ended < opens
            if tasks.asks_for(each) == family and not never:
                found.append(local(opens, NEW_YORK).date())
        return sorted(found)


minutes = st.integers(3 * 60, 20 * 24 * 60)
# The time to the next infusion, and how often somebody looks before it (as fractions of that time).
steps = st.lists(st.tuples(minutes, st.lists(st.floats(0.05, 0.95), max_size=1)), max_size=7)


def played(first: datetime, steps: Iterable[tuple[int, list[float]]], **more: Any) -> Series:
    series, end = Series(first, **more), first
    series.infusion(end)
    for gap, looks in steps:
        for part in sorted(looks):
            series.look(utc(end) + timedelta(minutes=max(90, int(gap * part))))
        end = local(utc(end) + timedelta(minutes=gap), NEW_YORK)
        series.infusion(end)
    return series


starts = st.integers(0, 364 * 24 * 60).map(lambda late: local(utc(END) + timedelta(minutes=late), NEW_YORK))


# --- the selection over a course (clinical §2.3, design §9.3) --------------------------------------------------------
@settings(deadline=None, max_examples=30)
@given(starts, steps)
def test_over_any_course_no_form_is_asked_twice_within_five_days(
    first: datetime, steps: list[tuple[int, list[float]]]
) -> None:
    series = played(first, steps)
    for family in FAMILIES:
        assert all((after - before).days >= 5 for before, after in pairwise(series.asked(family)))


@settings(deadline=None, max_examples=30)
@given(starts, steps)
def test_over_any_course_that_is_looked_at_weekly_no_form_stays_away_for_long(
    first: datetime, steps: list[tuple[int, list[float]]]
) -> None:
    weekly = [
        (gap, [*looks, *(week * 7 * 24 * 60 / gap for week in range(1, 3) if week * 7 * 24 * 60 < gap)])
        for gap, looks in steps
    ]
    series = played(first, weekly)
    for week in range(1, 5):
        series.look(utc(series.last) + timedelta(days=7 * week))
    for family in FAMILIES:
        days = [local(first, NEW_YORK).date(), *series.asked(family)]
        assert all(
            (after - before).days <= 11
            for before, after in pairwise(days)
            if after <= series.last.date() + timedelta(days=28)
        )
        assert series.last.date() + timedelta(days=28) in days


@settings(deadline=None, max_examples=30)
@given(starts, steps)
def test_looking_again_at_the_same_time_wants_what_is_there(
    first: datetime, steps: list[tuple[int, list[float]]]
) -> None:
    series = played(first, steps)
    before = dict(series.tasks)
    now = utc(series.last) + timedelta(minutes=90)
    proposal = series.look(now, re_anchors=True)
    assert series.tasks == before
    assert len({each.identifier for each in proposal.wanted}) == len(proposal.wanted)


@settings(deadline=None, max_examples=30)
@given(starts, steps)
def test_even_without_the_tasks_that_are_there_a_day_is_never_asked_for_twice(
    first: datetime, steps: list[tuple[int, list[float]]]
) -> None:
    series = played(first, steps, knows_its_tasks=False)
    for family in FAMILIES:
        days = series.asked(family)
        assert len(set(days)) == len(days)


def asked_of(proposal: CourseProposal, family: str = PHQ9) -> list[str]:
    """Give the days on which a form would open now, as month-day."""
    return [
        opens.strftime("%m-%d")
        for each in proposal.wanted
        if tasks.asks_for(each.resource) == family and (opens := tasks.window_of(each.resource)[0])
    ]


def test_a_new_course_asks_weekly_within_the_horizon_and_shows_what_comes() -> None:
    proposal, _ = course_of(facts())
    assert asked_of(proposal) == ["09-23", "09-30"]
    coming = [each for each in proposal.coming if each.title.startswith("PHQ-9")]
    assert [each.opens.strftime("%m-%d") for each in coming] == [
        "10-07",
        "10-14",
        "11-11",
        "12-09",
        "01-06",
        "02-03",
        "03-03",
    ]
    assert all(each.opens.hour == 9 and each.due > each.opens for each in coming)


def test_the_horizon_is_the_clinics() -> None:
    clinic = replace(CLINIC, policy=Policy(horizon=timedelta(days=30)))
    proposal, _ = course_of(facts(clinic=clinic))
    assert asked_of(proposal) == ["09-23", "09-30", "10-07", "10-14"]


def test_the_next_infusion_takes_the_tail_with_it_and_keeps_the_course_clock() -> None:
    series = Series(END)
    series.infusion(END)
    again = series.infusion(END + timedelta(days=3))
    assert asked_of(again) == ["09-23", "10-03"]
    cancelled = [each for each in series.tasks.values() if each["status"] == "cancelled"]
    assert {each["restriction"]["period"]["start"][:10] for each in cancelled} == {"2026-09-30"}


def test_what_opened_under_the_old_tail_keeps_its_distance_to_what_is_asked_anew() -> None:
    series = Series(END)  # the tail of day 5 asks on day 12; the infusion of day 13 would ask on day 14 by the clock
    for days in (0, 5, 13):
        series.infusion(END + timedelta(days=days))
    assert [(day - END.date()).days for day in series.asked(PHQ9)] == [7, 12, 20, 27]


def test_a_form_that_was_answered_early_or_ended_counts_as_asked() -> None:
    given = facts(END + timedelta(days=13))
    new = course(given, start=END)
    opens = (END + timedelta(days=12)).replace(hour=9, minute=0)
    base = {
        "resourceType": "Task",
        "identifier": [{"system": IDENTIFIERS.system("activity"), "value": "another"}],
        "status": "requested",
        "restriction": {"period": tasks.period(opens, opens + timedelta(days=3))},
        "input": [tasks.form_input(f"{PHQ9}|1.0.0")],
    }
    before, after = tasks.instant(opens - timedelta(days=1)), tasks.instant(opens + timedelta(days=1))
    future = tasks.period(opens + timedelta(days=3), opens + timedelta(days=6))

    def first(**changes: Any) -> str:
        there = [{**base, **changes}]
        return asked_of(propose_course(PROTOCOL, PROTOCOL.course, given, new, there))[0]

    assert first() == first(status="completed") == first(status="failed") == "10-06"
    assert first(status="cancelled", lastModified=after) == "10-06"
    assert first(status="cancelled", lastModified=before) == "09-30"
    assert first(status="entered-in-error") == "09-30"
    assert first(restriction={"period": future}) == "09-30"
    assert first(restriction={"period": future}, status="accepted") == "10-06"
    assert first(restriction={}) == "09-30"
    assert first(input=[]) == "09-30"


# --- identifiers -----------------------------------------------------------------------------------------------------
def keys(given: Facts, **more: Any) -> dict[tuple[str, str], str]:
    proposal, goals = course_of(given, **more)
    forms = {
        (each.action, tasks.window_of(each.resource)[0].isoformat()): each.identifier[1] for each in proposal.wanted
    }  # type: ignore[union-attr]
    return {**forms, **{("goal", each.action): each.identifier[1] for each in goals}}


def test_a_weekly_form_is_the_courses_whichever_infusion_asks_for_it_and_a_tail_is_its_infusions() -> None:
    first = {each.action: each for each in course_of(facts())[0].wanted}
    later = facts(END + timedelta(days=3), episode=Episode("harbor", "e2"))
    second = {each.action: each for each in course_of(later, start=END)[0].wanted}
    assert first["phq-9-weekly"].identifier == second["phq-9-weekly"].identifier
    assert first["phq-9-tail"].identifier != second["phq-9-tail"].identifier


def test_the_same_course_has_the_same_identifiers_whatever_the_language_or_the_moment() -> None:
    usual = set(keys(facts()).values())
    assert set(keys(facts(language="es")).values()) == usual
    assert set(keys(facts(now=END + timedelta(hours=5))).values()) == usual
    newer = replace(PROTOCOL.course, version="2.0.0", actions=tuple(reversed(PROTOCOL.course.actions[2:])))
    newer = replace(newer, actions=(*PROTOCOL.course.actions[:2], *newer.actions))
    moved = propose_course(PROTOCOL, newer, facts(), course(facts()))
    assert {each.identifier[1] for each in moved.wanted} <= usual


# --- §10.3 superseded ------------------------------------------------------------------------------------------------
NOW = datetime(2026, 9, 20, 12, 0, tzinfo=NEW_YORK)


def form(opens: datetime, **changes: Any) -> Resource:
    proposal, _ = course_of(facts())
    task = stored(proposal.wanted[-1].resource, "t1")
    return {**task, "restriction": {"period": tasks.period(opens, opens + timedelta(days=3))}, **changes}


def test_10_3_a_form_of_the_old_tail_is_cancelled_as_superseded() -> None:
    (task,) = superseded([form(NOW + timedelta(days=2))], [], NOW)
    assert task["status"] == "cancelled"
    assert task["businessStatus"]["coding"][0]["code"] == "superseded"
    assert task["statusReason"]["coding"][0]["code"] == "superseded"
    assert "executionPeriod" not in task


@pytest.mark.parametrize("status", ["received", "accepted", "in-progress", "on-hold", "completed", "failed"])
def test_10_3_what_somebody_acted_on_is_not_superseded(status: str) -> None:
    assert superseded([form(NOW + timedelta(days=2), status=status)], [], NOW) == []


@pytest.mark.parametrize("opens", [NOW, NOW - timedelta(days=1)])
def test_10_3_what_is_due_now_stays_due(opens: datetime) -> None:
    assert superseded([form(opens)], [], NOW) == []


def test_10_3_what_is_still_wanted_stays() -> None:
    proposal, _ = course_of(facts())
    open_forms = [stored(each.resource, str(index)) for index, each in enumerate(proposal.wanted)]
    assert superseded(open_forms, proposal.wanted, utc(END)) == []
    assert len(superseded(open_forms, proposal.wanted[:2], utc(END))) == len(open_forms) - 2


# --- late and closed -------------------------------------------------------------------------------------------------
def test_a_course_looked_at_late_asks_only_what_can_still_be_answered() -> None:
    now = END + timedelta(days=20)
    proposal, _ = course_of(facts(now=now))
    for each in proposal.wanted:
        expires = tasks.window_of(each.resource)[2]
        assert expires is not None
        assert expires > now
    assert asked_of(proposal) == ["10-07", "10-14"]


# --- §10.12 goals ----------------------------------------------------------------------------------------------------
def test_10_12_goals_carry_the_target_and_no_achievement() -> None:
    _, goals = course_of(facts())
    found = {each.action.rpartition(".")[2]: each.resource for each in goals}
    assert found.keys() == {"phq9-response", "phq9-remission", "gad7"}
    for goal in found.values():
        assert "achievementStatus" not in goal
        assert goal["lifecycleStatus"] == "active"
        assert (goal["startDate"], goal["target"][0]["dueDate"]) == ("2026-09-16", "2026-10-14")
    assert found["phq9-remission"]["target"][0]["detailQuantity"]["value"] == 5
    assert "addresses" not in found["gad7"]


def test_goals_address_what_the_chart_says() -> None:
    given = facts()
    goals = propose_goals(PROTOCOL.course, given, course(given), ["Condition/c1"])
    assert all(each.resource["addresses"] == [{"reference": "Condition/c1"}] for each in goals)


def test_the_days_of_a_course_are_the_patients() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")  # E is 02:40 of the next day there
    given = facts(zones=(tokyo,))
    proposal, goals = course_of(given)
    assert goals[0].resource["startDate"] == "2026-09-17"
    opens = tasks.window_of(proposal.wanted[0].resource)[0]
    assert opens == datetime(2026, 9, 24, 9, 0, tzinfo=tokyo)


# --- fail closed -----------------------------------------------------------------------------------------------------
def test_a_course_needs_its_two_anchors() -> None:
    one = replace(PROTOCOL.course, actions=PROTOCOL.course.actions[1:])
    with pytest.raises(ProtocolFault) as refused:
        propose_course(PROTOCOL, one, facts(), course(facts()))
    assert refused.value.file == PROTOCOL.course.file


def test_a_goal_that_is_due_at_no_date_is_a_fault_of_the_protocol() -> None:
    goal = replace(PROTOCOL.course.goals[0], due=Offset(Decimal(9999), "a"))
    plan = replace(PROTOCOL.course, goals=(goal,))
    with pytest.raises(ProtocolFault) as refused:
        propose_goals(plan, facts(), course(facts()))
    assert (refused.value.file, refused.value.action) == (plan.file, goal.id)


def test_a_form_under_a_condition_is_asked_only_if_it_holds() -> None:
    first = with_action(PROTOCOL, PROTOCOL.course, "gad-7-tail", conditions=(parse("%infusionNumber = 1"),))
    given = facts()
    assert asked_of(propose_course(first, first.course, given, course(given)), terms.QUESTIONNAIRE_GAD7) == [
        "09-23",
        "09-30",
    ]
    given = replace(given, infusion_number=2)
    assert asked_of(propose_course(first, first.course, given, course(given)), terms.QUESTIONNAIRE_GAD7) == [
        "09-23",
        "09-30",
    ]


def test_an_infusion_before_which_the_end_is_known_is_enough() -> None:
    given = facts(anchor=Anchor(END, END))
    assert course_of(given)[0].wanted
