"""A plan's status from its children: any order of events, any repetition, the same end (fhir-model §1.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fhir_aftercare.care.rollup import (
    GRACE,
    Child,
    Outcome,
    RollUp,
    Why,
    request_outcome,
    roll_up,
    task_outcome,
)
from fhir_aftercare.care.status import PLAN_MOVES, TASK_MOVES

NOW = datetime(2026, 9, 25, 12, 0, tzinfo=UTC)
OPEN, DONE, UNDONE, WITHDRAWN, VOID = (
    Outcome.OPEN,
    Outcome.DONE,
    Outcome.UNDONE,
    Outcome.WITHDRAWN,
    Outcome.VOID,
)


def rolled(*outcomes: Outcome, critical: Outcome | None = None, status: str = "active", **more: object) -> RollUp:
    """Roll up children of these outcomes, and one that must be done."""
    children = [Child(each) for each in outcomes]
    if critical is not None:
        children.append(Child(critical, critical=True))
    return roll_up(status, children, **{"now": NOW, **more})  # type: ignore[arg-type]


# --- the table -------------------------------------------------------------------------------------------------------
def test_a_plan_is_completed_when_all_of_it_has_ended_and_nothing_critical_is_undone() -> None:
    assert rolled(DONE, UNDONE, WITHDRAWN, critical=DONE) == RollUp("completed", Why.ALL_ENDED)


def test_a_plan_of_which_everything_was_taken_back_is_revoked() -> None:
    assert rolled(WITHDRAWN, WITHDRAWN, critical=WITHDRAWN) == RollUp("revoked", Why.ALL_WITHDRAWN)


def test_a_plan_whose_forms_nobody_answered_was_not_taken_back() -> None:
    assert rolled(UNDONE, UNDONE, WITHDRAWN).status == "completed"


def test_something_critical_that_was_not_done_keeps_it_active_until_a_clinician_closes_it() -> None:
    held = rolled(DONE, critical=UNDONE)
    assert (held.status, held.why, held.needs_clinician) == ("active", Why.CRITICAL_UNDONE, True)
    for closed in ("completed", "revoked"):
        assert rolled(DONE, critical=UNDONE, status=closed) == RollUp(closed, Why.NOT_RUNNING)


def test_a_plan_past_its_end_with_open_children_is_late_and_stays_active() -> None:
    ends = NOW - GRACE
    assert not rolled(OPEN, ends=ends).late
    late = rolled(OPEN, DONE, ends=ends - timedelta(seconds=1))
    assert (late.status, late.late) == ("active", True)
    assert not rolled(DONE, ends=ends - timedelta(days=300)).late
    assert rolled(DONE, ends=ends - timedelta(days=300)).status == "completed"


def test_a_course_goes_on_while_forms_of_it_are_coming() -> None:
    assert rolled(DONE, more_to_come=True) == RollUp("active", Why.MORE_TO_COME)
    assert rolled(WITHDRAWN, more_to_come=True).status == "active"


def test_a_plan_without_children_says_nothing_of_its_end() -> None:
    assert rolled() == rolled(VOID, VOID) == RollUp("active", Why.NOTHING_THERE)
    assert rolled(DONE, VOID).status == "completed"


@pytest.mark.parametrize("status", sorted(PLAN_MOVES.keys() - {"active"}))
def test_only_a_running_plan_is_moved(status: str) -> None:
    assert rolled(DONE, status=status) == rolled(OPEN, status=status) == RollUp(status, Why.NOT_RUNNING)


# --- how a child stands ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [name for name, moves in TASK_MOVES.items() if "cancelled" in moves])
def test_a_task_that_can_still_be_cancelled_is_open(status: str) -> None:
    assert task_outcome(status, "due") is OPEN


@pytest.mark.parametrize(
    ("status", "business", "outcome"),
    [
        ("completed", "answered", DONE),
        ("completed", None, DONE),
        ("rejected", "declined", DONE),
        ("cancelled", "declined", DONE),
        ("cancelled", "answered-late", DONE),
        ("failed", "answered-late", DONE),
        ("failed", "missed", UNDONE),
        ("failed", "unreachable", UNDONE),
        ("failed", "left-alone", UNDONE),
        ("failed", None, UNDONE),
        ("cancelled", "missed", UNDONE),
        ("cancelled", "superseded", WITHDRAWN),
        ("cancelled", "withdrawn", WITHDRAWN),
        ("cancelled", None, WITHDRAWN),
        ("entered-in-error", "missed", VOID),
        ("whatever-comes-next", None, OPEN),
    ],
)
def test_10_3_how_a_task_ended_is_told_by_both_of_its_statuses(
    status: str, business: str | None, outcome: Outcome
) -> None:
    assert task_outcome(status, business) is outcome


def test_a_form_superseded_by_a_score_from_elsewhere_was_answered() -> None:
    assert task_outcome("cancelled", "superseded", has_output=True) is DONE
    assert task_outcome("failed", "unreachable", has_output=True) is UNDONE  # the outputs are the attempts


def test_restrictions_and_plans_end_as_plans_do() -> None:
    assert [request_outcome(each) for each in ("completed", "revoked", "entered-in-error")] == [DONE, WITHDRAWN, VOID]
    assert {request_outcome(each) for each in ("draft", "active", "on-hold", "unknown")} == {OPEN}


# --- any order, any repetition ---------------------------------------------------------------------------------------
ends = st.sampled_from([DONE, UNDONE, WITHDRAWN])
# Each child: when it is there (0: from the start; a form comes later), whether it must be done, how it will end.
plans = st.lists(st.tuples(st.booleans(), st.booleans(), ends), min_size=1, max_size=6)


@given(plans, st.randoms(use_true_random=False), st.lists(st.integers(0, 14), max_size=20))
def test_any_order_of_events_and_looks_ends_the_same(plan, random, looks) -> None:  # type: ignore[no-untyped-def]
    events = [("comes", index) for index, (later, _, _) in enumerate(plan) if later]
    events += [("ends", index) for index in range(len(plan))]
    events += random.choices(events, k=len(events)) if events else []  # repeated, late, out of order
    random.shuffle(events)
    known: set[tuple[str, int]] = set()
    status = "active"
    for step, event in enumerate(events):
        known.add(event)
        for _ in range(looks.count(step) + (step % 3 == 0)):
            status = look(plan, known, status)
    status = look(plan, known, status)
    everything = {*events}
    assert status == look(plan, everything, "active") == look(plan, everything, status)


def look(plan: list[tuple[bool, bool, Outcome]], known: set[tuple[str, int]], status: str) -> str:
    """Look at a plan of which these events have become known, and give the status it has then."""
    children, coming = [], False
    for index, (later, critical, end) in enumerate(plan):
        if later and ("comes", index) not in known:
            coming = True  # its end cannot be known before it is there
            continue
        children.append(Child(end if ("ends", index) in known else OPEN, critical))
    return roll_up(status, children, now=NOW, more_to_come=coming).status


class PlanMachine(RuleBasedStateMachine):
    """A plan lives: forms come, Tasks move as Tasks may, the clock runs, somebody looks or a clinician closes it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.end = NOW + timedelta(days=5)
        self.status = "active"
        self.closed_by_hand = False
        self.coming = 2
        # (status, businessStatus, must be done)
        self.tasks: list[tuple[str, str, bool]] = [("requested", "scheduled", True), ("requested", "scheduled", False)]

    def children(self) -> list[Child]:
        return [Child(task_outcome(status, business), critical) for status, business, critical in self.tasks]

    @precondition(lambda self: self.coming > 0)
    @rule(critical=st.booleans())
    def a_form_comes(self, critical: bool) -> None:
        self.coming -= 1
        self.tasks.append(("requested", "scheduled", critical))

    @rule(data=st.data())
    def a_task_moves(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tasks) - 1))
        status, _, critical = self.tasks[index]
        legal = sorted(TASK_MOVES[status] - {"entered-in-error"})  # a correction's, which moves the plan itself
        if legal:
            business = data.draw(st.sampled_from(["missed", "superseded", "declined", "unreachable"]))
            self.tasks[index] = (data.draw(st.sampled_from(legal)), business, critical)

    @rule(days=st.integers(1, 30))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule()
    def somebody_looks(self) -> None:
        result = self.result()
        assert result.status == self.status or result.status in PLAN_MOVES[self.status]
        self.status = result.status
        assert self.result().status == self.status, "a second look moves nothing"

    @precondition(lambda self: self.status == "active")
    @rule(how=st.sampled_from(["completed", "revoked"]))
    def a_clinician_closes_it(self, how: str) -> None:
        self.status, self.closed_by_hand = how, True

    def result(self) -> RollUp:
        return roll_up(self.status, self.children(), now=self.now, ends=self.end, more_to_come=self.coming > 0)

    @invariant()
    def never_ends_with_anything_open_coming_or_critically_undone(self) -> None:
        if self.status != "active" and not self.closed_by_hand:
            outcomes = [each.outcome for each in self.children()]
            assert self.coming == 0
            assert OPEN not in outcomes
            if self.status == "completed":
                assert not any(each.critical and each.outcome is UNDONE for each in self.children())
            else:
                assert set(outcomes) == {WITHDRAWN}

    @invariant()
    def is_late_only_after_its_end(self) -> None:
        result = self.result()
        if result.late:
            assert self.now > self.end + GRACE
            assert result.status == "active"

    def teardown(self) -> None:
        """Whenever it was looked at before: the end is that of one look at all that happened."""
        once = roll_up("active", self.children(), now=self.now, more_to_come=self.coming > 0).status
        assert self.closed_by_hand or self.result().status == once


PlanMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestPlanMachine = PlanMachine.TestCase
