"""Corrections only take back: in whatever order and however often they come, the same stands at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.correction import (
    ACTED,
    MOVABLE,
    Change,
    CourseEffect,
    course_after,
    plan_after,
    record_after,
    release_after,
    restriction_after,
    task_after,
    tell_of_later_release,
    tell_of_retraction,
)
from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.status import PLAN_MOVES, RESTRICTION_MOVES, TASK_MOVES, Kind, check_move
from fhir_aftercare.errors import IllegalMove

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 9, 17, 6, 0, tzinfo=UTC)
# R4's statuses of a MedicationAdministration and a Procedure.
RECORDS = ("preparation", "in-progress", "on-hold", "completed", "stopped", "unknown", "not-done", "entered-in-error")


@dataclass(frozen=True)
class Part:
    """A Task as a correction sees it. ``acted`` stays true whatever closes it: a note tells so."""

    status: str
    acted: bool
    withdrawn: bool = False


@dataclass(frozen=True)
class Situation:
    """An infusion with all that hangs on it."""

    record: str
    plan: str
    restrictions: tuple[str, ...]
    tasks: tuple[Part, ...]

    def after(self, change: Change) -> Situation:
        """Do what the flow does. Raises IllegalMove."""
        record = record_after(change, self.record)
        acted = any(each.acted for each in self.tasks)
        return replace(
            self,
            record=record,
            plan=plan_after(change, self.plan, acted=acted),
            restrictions=tuple(restriction_after(change, each, acted=acted) for each in self.restrictions),
            tasks=tuple(self._task(change, each) for each in self.tasks),
        )

    @staticmethod
    def _task(change: Change, task: Part) -> Part:
        status = task_after(change, task.status, withdrawn=task.withdrawn)
        by_correction = status == "cancelled" != task.status
        return replace(task, status=status, withdrawn=task.withdrawn or by_correction)

    def statuses(self) -> list[tuple[Kind, str]]:
        return [
            ("CarePlan", self.plan),
            *(("ServiceRequest", each) for each in self.restrictions),
            *(("Task", each.status) for each in self.tasks),
        ]


def tasks(statuses: Sequence[str] = tuple(TASK_MOVES)) -> st.SearchStrategy[Part]:
    return st.sampled_from(statuses).map(lambda status: Part(status, status in ACTED))


# As the flows leave them: what was taken back before is taken back as a whole.
situations = st.builds(
    Situation,
    record=st.sampled_from(("completed", "stopped", "unknown", "in-progress")),
    plan=st.sampled_from(("draft", "active", "on-hold", "completed")),
    restrictions=st.lists(st.sampled_from(("active", "on-hold", "completed")), max_size=2).map(tuple),
    tasks=st.lists(tasks(), max_size=4).map(tuple),
)
changes = st.sampled_from(tuple(Change))


def run(situation: Situation, made: Sequence[Change]) -> list[Situation]:
    """Give what stands after each change; one that is refused changes nothing."""
    found = [situation]
    for change in made:
        try:
            found.append(found[-1].after(change))
        except IllegalMove:
            found.append(found[-1])
    return found


@given(situations, st.lists(changes, max_size=8))
def test_no_correction_ever_makes_an_illegal_move(situation: Situation, made: list[Change]) -> None:
    for before, after in pairwise(run(situation, made)):
        for (kind, old), (_, new) in zip(before.statuses(), after.statuses(), strict=True):
            check_move(kind, old, new)


@given(situations, st.lists(changes, max_size=8))
def test_a_correction_again_changes_nothing(situation: Situation, made: list[Change]) -> None:
    for change in made:
        once = run(situation, [change])[-1]
        assert run(once, [change])[-1] == once
        situation = once


@given(situations, st.lists(changes, min_size=1, max_size=6), st.randoms())
def test_any_order_ends_in_the_same_state(situation: Situation, made: list[Change], random: object) -> None:
    other = [*made, *made]
    random.shuffle(other)  # type: ignore[attr-defined]
    one, two = run(situation, made)[-1], run(situation, other)[-1]
    assert one.record == two.record
    assert one.statuses() == two.statuses()


@given(situations, st.lists(changes, max_size=6))
def test_once_in_error_nothing_stands_and_nothing_is_open(situation: Situation, made: list[Change]) -> None:
    end = run(situation, [*made, Change.ENTERED_IN_ERROR])[-1]
    assert end.record == "entered-in-error"
    assert end.plan in {"revoked", "entered-in-error"}
    assert {*end.restrictions} <= {"revoked", "entered-in-error", "completed"}
    ended = {"completed", "failed", "cancelled", "rejected", "entered-in-error"}
    assert {each.status for each in end.tasks} <= ended


@given(situations, st.lists(st.sampled_from((Change.END_MOVED, Change.STOPPED)), max_size=5))
def test_aftercare_is_owed_for_any_dose(situation: Situation, made: list[Change]) -> None:
    end = run(situation, made)[-1]
    assert end.statuses() == situation.statuses()


# --- by state --------------------------------------------------------------------------------------------------------
def test_what_somebody_acted_on_is_revoked_and_what_nobody_did_was_an_error() -> None:
    assert plan_after(Change.ENTERED_IN_ERROR, "active", acted=True) == "revoked"
    assert plan_after(Change.ENTERED_IN_ERROR, "active", acted=False) == "entered-in-error"
    assert plan_after(Change.NOT_DONE, "active", acted=False) == "revoked"
    assert restriction_after(Change.WRONG_PATIENT, "active", acted=True) == "revoked"
    assert restriction_after(Change.WRONG_PATIENT, "active", acted=False) == "entered-in-error"


def test_a_completed_plan_counts_no_longer_and_a_restriction_that_was_kept_stays() -> None:
    for change in (Change.NOT_DONE, Change.ENTERED_IN_ERROR):
        assert plan_after(change, "completed", acted=True) == "entered-in-error"
        assert restriction_after(change, "completed", acted=True) == "completed"


@pytest.mark.parametrize("status", sorted(TASK_MOVES))
def test_a_task_that_has_ended_stays_and_an_open_one_is_closed(status: str) -> None:
    open_ = status not in {"completed", "failed", "cancelled", "rejected", "entered-in-error"}
    assert task_after(Change.NOT_DONE, status) == ("cancelled" if open_ else status)
    assert task_after(Change.WRONG_PATIENT, status) == ("entered-in-error" if open_ else status)
    assert task_after(Change.END_MOVED, status) == status


def test_what_was_withdrawn_as_not_done_turns_out_to_be_an_error() -> None:
    assert task_after(Change.ENTERED_IN_ERROR, "cancelled", withdrawn=True) == "entered-in-error"
    assert task_after(Change.ENTERED_IN_ERROR, "cancelled") == "cancelled"


def test_who_moves_what_is_begun_is_nobody() -> None:
    assert MOVABLE.isdisjoint(ACTED)
    assert {*TASK_MOVES} > MOVABLE | ACTED


@pytest.mark.parametrize("status", RECORDS)
def test_the_record_says_what_became_known(status: str) -> None:
    assert record_after(Change.WRONG_PATIENT, status) == "entered-in-error"
    if status == "entered-in-error":
        return
    assert record_after(Change.NOT_DONE, status) == "not-done"
    if status != "not-done":
        assert record_after(Change.STOPPED, status) == "stopped"


@pytest.mark.parametrize(
    ("change", "status", "legal"),
    [
        (Change.STOPPED, "entered-in-error", {"entered-in-error", "wrong-patient"}),
        (Change.END_MOVED, "entered-in-error", {"entered-in-error", "wrong-patient"}),
        (Change.NOT_DONE, "entered-in-error", {"entered-in-error", "wrong-patient"}),
        (Change.STOPPED, "not-done", {"not-done", "entered-in-error", "wrong-patient"}),
        (Change.END_MOVED, "in-progress", {"stopped", "not-done", "entered-in-error", "wrong-patient"}),
    ],
)
def test_what_was_taken_back_does_not_stand_again(change: Change, status: str, legal: set[str]) -> None:
    with pytest.raises(IllegalMove) as refused:
        record_after(change, status)
    assert (set(refused.value.legal), refused.value.where) == (legal, ("kind",))


@given(st.sampled_from(tuple(Change)), st.sampled_from(sorted(PLAN_MOVES)), st.booleans())
def test_every_status_of_a_plan_and_a_restriction_has_its_legal_end(change: Change, status: str, acted: bool) -> None:
    check_move("CarePlan", status, plan_after(change, status, acted=acted))
    check_move("ServiceRequest", status, restriction_after(change, status, acted=acted))
    assert status in RESTRICTION_MOVES


# --- the course ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("finished", "running", "was_last", "answered", "effect"),
    [
        (1, 0, True, False, CourseEffect.REANCHOR),
        (2, 1, True, True, CourseEffect.REANCHOR),
        (1, 0, False, False, CourseEffect.KEEP),
        (0, 1, True, False, CourseEffect.KEEP),
        (0, 0, True, True, CourseEffect.WITHDRAW_FORMS),
        (0, 0, True, False, CourseEffect.REVOKE),
    ],
)
def test_the_course_hangs_on_what_is_left(
    finished: int, running: int, was_last: bool, answered: bool, effect: CourseEffect
) -> None:
    assert course_after(finished=finished, running=running, was_last=was_last, answered=answered) is effect


# --- the release -----------------------------------------------------------------------------------------------------
hours = st.integers(-48, 48).map(lambda hours: NOW + timedelta(hours=hours))


@given(hours, st.lists(hours, max_size=5))
def test_nobody_may_drive_earlier_than_told_unless_a_clinician_agrees(told: datetime, computed: list[datetime]) -> None:
    release = told
    for each in computed:
        release = release_after(release, each, agreed=False)
        assert release >= told
    assert release == max([told, *computed])
    for each in computed:
        assert release_after(release, each, agreed=True) == each


@given(hours)
def test_the_patient_is_told_before_the_time_they_were_told(told: datetime) -> None:
    telling = tell_of_later_release(told, NOW)
    assert NOW < telling.due <= NOW + timedelta(hours=2)
    if told > NOW:
        assert (telling.level, telling.due <= told) == (Level.URGENT, True)
    else:
        assert (telling.level, telling.due) == (Level.ASAP, NOW + timedelta(hours=1))


def test_who_was_given_anothers_instructions_is_told_soonest() -> None:
    assert tell_of_retraction(Change.WRONG_PATIENT, NOW).level is Level.ASAP
    assert tell_of_retraction(Change.ENTERED_IN_ERROR, NOW).level is Level.URGENT
    assert tell_of_retraction(Change.NOT_DONE, NOW).due == NOW + timedelta(hours=2)
