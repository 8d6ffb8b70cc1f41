"""A Task is made whole, moves forward only, and what is known of its urgency only grows."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.care.timing import Window
from fhir_aftercare.errors import IllegalMove
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.check import faults_of

Resource = dict[str, Any]

NEW_YORK = ZoneInfo("America/New_York")
AT = datetime(2026, 9, 17, 9, 0, tzinfo=NEW_YORK)
HOUR = timedelta(hours=1)
WINDOW = Window(AT, AT + 2 * HOUR, AT + 4 * HOUR, AT + 16 * HOUR)
CALL = tasks.Work(
    identifier={"system": "https://clinic.example.com/id/activity", "value": "1"},
    code=terms.FOLLOW_UP_CALL.concept(),
    priority="routine",
    description="Call the patient",
    patient="Patient/ana",
    requester="Organization/harbor",
    owner="Organization/harbor",
    authored_on=AT,
    window=WINDOW,
    based_on=("CarePlan/1",),
)


def call(**changes: Any) -> Resource:
    return {**tasks.make(CALL), **changes}


def reason(text: str) -> Resource:
    return tasks.text_input(terms.INPUT_REASON, text)


# --- made ------------------------------------------------------------------------------------------------------------
def test_a_new_task_is_requested_scheduled_and_says_when_it_opens_is_due_and_expires() -> None:
    task = call()
    assert (task["status"], task["intent"], task["priority"]) == ("requested", "order", "routine")
    assert task["businessStatus"]["coding"][0]["code"] == "scheduled"
    assert tasks.window_of(task) == (AT, AT + 4 * HOUR, AT + 16 * HOUR)
    assert "executionPeriod" not in task
    assert faults_of(task) == []


def test_what_is_not_known_is_left_out() -> None:
    task = call()
    assert not [name for name, value in task.items() if value in (None, [], {})]
    assert not task.keys() & {"encounter", "input", "reasonCode", "reasonReference", "groupIdentifier", "focus"}


def test_a_task_without_a_due_date_is_due_at_its_target_and_one_without_expiry_never_ends_by_itself() -> None:
    task = tasks.make(tasks.Work(**{**_fields(CALL), "window": Window(None, AT + HOUR, None, None)}))
    assert tasks.window_of(task) == (None, AT + HOUR, None)
    assert "extension" not in task


def _fields(work: tasks.Work) -> dict[str, Any]:
    return {name: getattr(work, name) for name in tasks.Work.__dataclass_fields__}


def test_why_and_about_what_are_said_where_they_are_known() -> None:
    work = tasks.Work(
        **{**_fields(CALL), "reason": "Left alone", "about": "ServiceRequest/1", "extra": {"note": [{"text": "x"}]}}
    )
    task = tasks.make(work)
    assert task["reasonCode"] == {"text": "Left alone"}
    assert task["reasonReference"] == {"reference": "ServiceRequest/1"}
    assert task["note"] == [{"text": "x"}]


# --- read back -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", [None, 7, "", "2026", "2026-09-17", "2026-09-17T09:00:00", "2026-13-17T09:00:00Z", "soon T"]
)
def test_only_an_instant_with_its_offset_is_a_moment(text: Any) -> None:
    assert tasks.moment(text) is None


def test_a_moment_is_read_with_its_offset_or_z() -> None:
    assert tasks.moment("2026-09-17T09:00:00-04:00") == AT
    assert tasks.moment("2026-09-17T13:00:00.000Z") == AT


@pytest.mark.parametrize(
    "task", [{}, {"restriction": None}, {"restriction": {}, "extension": None}, {"code": None}, {"input": None}]
)
def test_a_task_that_says_little_is_read_all_the_same(task: Resource) -> None:
    assert tasks.window_of(task) == (None, None, None)
    assert tasks.asks_for(task) is None
    assert not tasks.has_code(task, terms.FOLLOW_UP_CALL)
    assert not tasks.is_open(task)
    assert not tasks.is_overdue(task, AT)
    assert tasks.is_in_window(task, AT)


def test_overdue_is_computed_from_the_clock_for_open_tasks_only() -> None:
    assert not tasks.is_overdue(call(), AT + 4 * HOUR)
    assert tasks.is_overdue(call(), AT + 4 * HOUR + timedelta(seconds=1))
    assert not tasks.is_overdue(call(status="completed"), AT + 40 * HOUR)


def test_a_window_lasts_from_opening_to_expiry_whatever_zone_is_asked_in() -> None:
    for hours, inside in ((-1, False), (0, True), (4, True), (16, True), (17, False)):
        assert tasks.is_in_window(call(), (AT + hours * HOUR).astimezone(UTC)) is inside


def test_the_form_is_known_without_its_version() -> None:
    assert (
        tasks.asks_for(call(input=[reason("x"), tasks.form_input(f"{terms.QUESTIONNAIRE_PHQ9}|1.0.0")]))
        == terms.QUESTIONNAIRE_PHQ9
    )


# --- moved -----------------------------------------------------------------------------------------------------------
statuses = st.sampled_from(sorted(TASK_MOVES))
businesses = st.sampled_from(sorted(terms.BUSINESS_STATUSES))
# Ends and what leads there; how far a Task has come. To stay is no step back.
RANK = {"draft": 0, "requested": 1, "received": 2, "ready": 3, "accepted": 4, "in-progress": 5}
ENDS = {"completed", "failed", "cancelled", "rejected", "entered-in-error"}
moments = st.integers(-48 * 60, 48 * 60).map(lambda minutes: AT + timedelta(minutes=minutes))


@given(statuses, st.lists(st.tuples(statuses, businesses, moments), min_size=1, max_size=6))
def test_however_it_is_pushed_a_task_never_moves_backwards(first: str, pushes: list[tuple[str, str, datetime]]) -> None:
    task = call(status=first)
    for status, business, at in pushes:
        before = copy.deepcopy(task)
        if status not in {task["status"], *TASK_MOVES[task["status"]]}:
            with pytest.raises(IllegalMove) as refused:
                tasks.moved(task, status, business, at=at)
            assert set(refused.value.legal) == TASK_MOVES[task["status"]]
            assert task == before
            continue
        moved = tasks.moved(task, status, business, at=at, reason="missed")
        assert task == before
        was, now = task["status"], moved["status"]
        assert now == status
        if was in ENDS:
            assert now in {was, "entered-in-error"}
        elif was in RANK and now in RANK:
            assert RANK[now] >= RANK[was]
        for name in ("authoredOn", "lastModified"):
            if name in task:
                assert tasks.moment(moved["lastModified"]) >= tasks.moment(task[name])  # type: ignore[operator]
        done = moved.get("executionPeriod", {})
        assert done.get("start", "") <= done.get("end", "9")
        if "executionPeriod" in task:
            assert done["start"] == task["executionPeriod"]["start"]
            assert "end" not in task["executionPeriod"] or done["end"] == task["executionPeriod"]["end"]
        task = moved


@given(statuses, statuses, businesses)
def test_everything_else_is_kept_also_what_we_do_not_know(before: str, after: str, business: str) -> None:
    assume(after == before or after in TASK_MOVES[before])
    theirs = {"note": [{"text": "from a nurse"}], "extension": [{"url": "http://ehr.example.com/x", "valueCode": "y"}]}
    task = call(status=before, **theirs)
    moved = tasks.moved(task, after, business, at=AT + HOUR)
    ours = {"status", "businessStatus", "lastModified", "executionPeriod"}
    assert {k: v for k, v in moved.items() if k not in ours} == {k: v for k, v in task.items() if k not in ours}


def test_what_is_done_says_when_and_with_what() -> None:
    answer = tasks.answer_output("QuestionnaireResponse/1")
    begun = tasks.moved(call(), "in-progress", "attempt-1", at=AT)
    done = tasks.moved(
        begun, "completed", "reached", at=AT + HOUR, outputs=[answer, tasks.score_output("Observation/1")]
    )
    assert done["executionPeriod"] == tasks.period(AT, AT + HOUR)
    assert done["businessStatus"]["coding"][0]["code"] == "reached"
    assert done["output"][0] == answer
    assert faults_of(done) == []


def test_an_output_is_added_once_and_a_late_one_does_not_change_when_it_was_done() -> None:
    answer = tasks.answer_output("QuestionnaireResponse/1")
    done = tasks.moved(call(), "completed", "answered", at=AT, outputs=[answer])
    again = tasks.moved(
        done, "completed", "answered", at=AT + HOUR, outputs=[answer, tasks.score_output("Observation/1")]
    )
    assert len(again["output"]) == 2
    assert again["executionPeriod"] == done["executionPeriod"]


def test_10_3_what_nobody_did_has_no_time_in_which_it_was_done() -> None:
    missed = tasks.moved(call(), "cancelled", "missed", at=AT + HOUR, reason="missed")
    assert "executionPeriod" not in missed
    assert missed["statusReason"]["coding"][0]["code"] == "missed"
    failed = tasks.moved(call(), "failed", "left-alone", at=AT + HOUR, reason="left-alone")
    assert "executionPeriod" not in failed
    tried = tasks.moved(call(), "in-progress", "attempt-1", at=AT)
    tried = tasks.moved(tried, "in-progress", "attempt-2", at=AT + HOUR)
    over = tasks.moved(tried, "failed", "unreachable", at=AT + 2 * HOUR, reason="unreachable")
    assert over["executionPeriod"] == tasks.period(AT, AT + 2 * HOUR)
    assert [faults_of(each) for each in (missed, failed, over)] == [[], [], []]


def test_10_3_a_late_answer_is_attached_and_the_task_stays_what_it_was() -> None:
    missed = tasks.moved(call(), "cancelled", "missed", at=AT, reason="missed")
    late = tasks.moved(
        missed, "cancelled", "answered-late", at=AT + HOUR, outputs=[tasks.answer_output("QuestionnaireResponse/1")]
    )
    assert (late["status"], late["businessStatus"]["coding"][0]["code"]) == ("cancelled", "answered-late")
    assert late["statusReason"] == missed["statusReason"]


def test_another_machines_clock_that_is_ahead_leaves_the_order_r4_wants() -> None:
    task = call(authoredOn="2026-09-17T09:05:00.700-04:00")
    moved = tasks.moved(task, "completed", "reached", at=AT)
    assert moved["lastModified"] == task["authoredOn"]
    assert faults_of(moved) == []


# --- raised (design §9.20) -------------------------------------------------------------------------------------------
levels = st.sampled_from(tasks.LEVELS)
raises = st.tuples(levels, moments, st.lists(st.sampled_from("abc"), max_size=3))


@given(levels, st.lists(raises, min_size=1, max_size=6))
def test_however_often_it_is_raised_the_level_only_rises_and_the_due_date_only_comes_nearer(
    first: str, raised: list[tuple[str, datetime, list[str]]]
) -> None:
    task = call(priority=first)
    for level, due, reasons in raised:
        before = copy.deepcopy(task)
        found = tasks.raised(task, priority=level, due=due, inputs=[reason(each) for each in reasons], at=AT + HOUR)
        assert task == before
        if found is None:
            assert tasks.LEVELS.index(level) <= tasks.LEVELS.index(task["priority"])
            assert due >= tasks.window_of(task)[1]  # type: ignore[operator]
            assert all(reason(each) in task.get("input", []) for each in reasons)
            continue
        assert tasks.LEVELS.index(found["priority"]) == max(map(tasks.LEVELS.index, (task["priority"], level)))
        assert tasks.window_of(found)[1] == min(tasks.window_of(task)[1], due)  # type: ignore[type-var]
        assert found.get("input", [])[: len(task.get("input", []))] == task.get("input", [])
        assert all(found["input"].count(reason(each)) == 1 for each in reasons)
        assert (found["status"], found["businessStatus"]) == (task["status"], task["businessStatus"])
        assert faults_of(found) == []
        task = found


@given(raises)
def test_raising_twice_is_raising_once(given_: tuple[str, datetime, list[str]]) -> None:
    level, due, reasons = given_
    inputs = [reason(each) for each in reasons]
    once = tasks.raised(call(), priority=level, due=due, inputs=inputs, at=AT) or call()
    assert tasks.raised(once, priority=level, due=due, inputs=inputs, at=AT + HOUR) is None


@pytest.mark.parametrize("priority", [None, "high"])
def test_a_level_that_is_missing_or_unknown_is_the_lowest(priority: str | None) -> None:
    task = {name: value for name, value in call(priority=priority).items() if value is not None}
    found = tasks.raised(task, priority="urgent", due=AT + HOUR, inputs=[], at=AT)
    assert found is not None
    assert found["priority"] == "urgent"
    assert "input" not in found


def test_a_task_that_was_due_at_no_time_is_due_then() -> None:
    found = tasks.raised(call(restriction={}), priority="routine", due=AT + HOUR, inputs=[], at=AT)
    assert found is not None
    assert tasks.window_of(found)[1] == AT + HOUR
