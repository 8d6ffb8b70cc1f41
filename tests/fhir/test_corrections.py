"""What is corrected keeps everything else, and is corrected once."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.correction import WORDS, Change, task_after
from fhir_aftercare.care.status import TASK_MOVES
from fhir_aftercare.errors import IllegalMove
from fhir_aftercare.fhir import corrections, tasks, terms

Resource = dict[str, Any]

NOW = datetime(2026, 9, 17, 6, 0, tzinfo=UTC)
START = datetime(2026, 9, 16, 13, 0, tzinfo=UTC)


def a_task(status: str = "requested", **more: Any) -> Resource:
    return {
        "resourceType": "Task",
        "id": "1",
        "status": status,
        "authoredOn": tasks.instant(START),
        "extension": [{"url": "http://vendor.example.org/x", "valueCode": "y"}],
        "restriction": {"period": tasks.period(START, START + timedelta(hours=4)), "repetitions": 1},
        "description": "Call the daughter",
        **more,
    }


def an_administration(**more: Any) -> Resource:
    return {
        "resourceType": "MedicationAdministration",
        "id": "1",
        "status": "completed",
        "effectivePeriod": tasks.period(START, START + timedelta(minutes=40)),
        "dosage": {"text": "35 mg intravenous over 40 minutes", "method": {"text": "pump 3"}},
        "note": [{"authorString": "Ngozi", "text": "Ran slowly, over 50 minutes"}],
        **more,
    }


@given(st.sampled_from(sorted(TASK_MOVES)), st.sampled_from([each for each in Change if each.retracts]))
def test_a_task_taken_back_keeps_what_others_wrote_and_is_taken_back_once(status: str, change: Change) -> None:
    before = a_task(status)
    as_read = copy.deepcopy(before)
    once = corrections.withdrawn(before, task_after(change, status), change, NOW)
    assert before == as_read
    if once is None:
        assert status in {"cancelled", "rejected", "entered-in-error"}
        return
    for name in ("extension", "restriction", "description", "authoredOn"):
        assert once[name] == before[name]
    assert corrections.withdrawn(once, once["status"], change, NOW + timedelta(hours=1)) is None


def test_only_who_acted_finds_a_note() -> None:
    begun = corrections.withdrawn(a_task("accepted"), "cancelled", Change.NOT_DONE, NOW)
    waiting = corrections.withdrawn(a_task("requested"), "cancelled", Change.NOT_DONE, NOW)
    assert begun is not None
    assert [each["text"] for each in begun["note"]] == [WORDS[Change.NOT_DONE]]
    assert corrections.is_acted_on(begun)
    assert waiting is not None
    assert "note" not in waiting
    assert not corrections.is_acted_on(waiting)
    assert corrections.is_withdrawn(waiting)


def test_what_nobody_did_in_time_was_not_acted_on() -> None:
    missed = a_task("failed", statusReason=terms.STATUS_REASONS["missed"].concept())
    alone = a_task("failed", statusReason=terms.STATUS_REASONS["left-alone"].concept())
    assert (corrections.is_acted_on(missed), corrections.is_acted_on(alone)) == (False, True)
    assert corrections.is_acted_on({**missed, "output": [tasks.score_output("Observation/1")]})


def test_a_task_is_never_changed_before_it_was_made() -> None:
    ahead = a_task(authoredOn=tasks.instant(NOW + timedelta(minutes=2)))
    moved = corrections.rescheduled(ahead, (NOW, NOW + timedelta(hours=1), None), NOW)
    assert moved["lastModified"] == ahead["authoredOn"]


def test_a_task_moves_with_its_expiry_and_nothing_else() -> None:
    expiry = {"url": terms.EXT_TASK_EXPIRY, "valueDateTime": tasks.instant(START + timedelta(hours=16))}
    before = a_task()
    before["extension"].append(expiry)
    at = (NOW, NOW + timedelta(hours=4), NOW + timedelta(hours=16))
    after = corrections.rescheduled(before, at, NOW)
    assert tasks.window_of(after) == at
    assert corrections.is_at(after, at)
    assert not corrections.is_at(before, at)
    assert after["restriction"]["repetitions"] == 1
    assert after["extension"][0] == before["extension"][0]


def test_the_record_says_the_new_times_and_how_long_it_took() -> None:
    end = START + timedelta(minutes=61)
    moved = corrections.record_corrected(an_administration(), "completed", end=end)
    assert moved is not None
    assert corrections.period_of(moved) == (START, end)
    assert moved["dosage"] == {"text": "35 mg intravenous over 61 minutes", "method": {"text": "pump 3"}}
    assert moved["note"] == an_administration()["note"]
    assert corrections.record_corrected(moved, "completed", end=end) is None


@pytest.mark.parametrize("type_", ["MedicationAdministration", "Procedure"])
def test_the_record_says_why_it_was_taken_back_and_the_first_reason_stays(type_: str) -> None:
    record = an_administration(resourceType=type_)
    gone = corrections.record_corrected(record, "entered-in-error", reason="wrong-patient")
    assert gone is not None
    reasons = gone["statusReason"] if type_ == "MedicationAdministration" else [gone["statusReason"]]
    assert [each["coding"][0]["code"] for each in reasons] == ["wrong-patient"]
    assert corrections.record_corrected(gone, "entered-in-error", reason="infusion-entered-in-error") is None


def test_an_observation_is_taken_back_once() -> None:
    found = corrections.taken_back({"resourceType": "Observation", "status": "amended", "note": [{"text": "x"}]})
    assert found == {"resourceType": "Observation", "status": "entered-in-error", "note": [{"text": "x"}]}
    assert corrections.taken_back(found) is None


def test_a_plan_that_has_ended_does_not_end_differently() -> None:
    with pytest.raises(IllegalMove):
        corrections.ended({"resourceType": "CarePlan", "status": "completed"}, "revoked")
    assert corrections.ended({"resourceType": "CarePlan", "status": "revoked"}, "revoked") is None


def test_the_narrative_says_the_new_line_and_keeps_the_rest() -> None:
    plan = {
        "text": {
            "status": "additional",
            "div": "<div><li>Call &amp; ask: by 9</li><p>Call &amp; ask: by 9 or so</p></div>",
        }
    }
    after = corrections.reworded(plan, [("Call & ask: by 9", "Call & ask: by 10")])
    assert after["text"]["div"] == "<div><li>Call &amp; ask: by 10</li><p>Call &amp; ask: by 9 or so</p></div>"


def test_a_clinicians_note_is_added_once() -> None:
    request: Resource = {"resourceType": "ServiceRequest", "note": [{"text": "x"}]}
    once = corrections.with_note(request, "Slept well", NOW, author="Practitioner/1")
    assert [each["text"] for each in once["note"]] == ["x", "Slept well"]
    assert corrections.with_note(once, "Slept well", NOW + timedelta(hours=1), author="Practitioner/1") is once
    assert len(corrections.with_note(once, "Slept well", NOW, author="Practitioner/2")["note"]) == 3


def test_an_extension_goes_and_the_others_stay() -> None:
    plan = {"extension": [{"url": terms.EXT_ANCHOR_ESTIMATED, "valueBoolean": True}, {"url": "y"}]}
    assert corrections.without_extension(plan, terms.EXT_ANCHOR_ESTIMATED) == {"extension": [{"url": "y"}]}
    assert corrections.without_extension({"extension": [{"url": "y"}]}, "y") == {}
