"""Score Observations: what profile and base R4 demand, and what they say read back is what was scored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from fhir.resources.R4B.observation import Observation
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9, Answers, Instrument, score
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.fhir.observations import amended
from fhir_aftercare.fhir.responses import Reading, read_panel, read_score_points, read_total
from fhir_aftercare.fhir.scores import score_observations
from fhir_aftercare.fhir.setting import Setting
from profiles.lock import EXAMPLES, read

if TYPE_CHECKING:
    from fhir_aftercare.care.clinic import Clinic

Resource = dict[str, Any]

AUTHORED = datetime.fromisoformat("2026-09-23T18:20:00-04:00")
SUBMISSION = ("harbor", "task", "3f1c", "1")
SCORE_CODES = {
    each.code
    for each in (terms.PHQ9_TOTAL, terms.PHQ9_ITEM9, terms.PHQ9_DIFFICULTY, terms.PHQ2_TOTAL, terms.GAD7_TOTAL)
}


class _Clinic:
    organization = "Organization/harbor"


def setting(**more: Any) -> Setting:
    clinic: Any = _Clinic()
    place: Clinic = clinic
    return Setting(place, Identifiers("https://clinic.example.com"), "Patient/ana", None, ("harbor",), **more)


def reading(answers: Answers | None, **more: Any) -> Reading:
    values: dict[str, Any] = {
        "reference": "QuestionnaireResponse/r1",
        "patient": "Patient/ana",
        "questionnaire": terms.QUESTIONNAIRE_PHQ9,
        "version": "1.0.0",
        "identifiers": (),
        "status": "completed",
        "authored": AUTHORED,
        "source": "Patient/ana",
        "author": "Patient/ana",
        "answers": answers,
        "check_in": None,
        **more,
    }
    return Reading(**values)


def write(answers: Answers, *, everything: bool = False, where: Setting | None = None, **more: Any) -> list[Resource]:
    return score_observations(
        score(answers),
        reading(answers, **more),
        where or setting(),
        submission=SUBMISSION,
        based_on=["CarePlan/course-1"],
        response="QuestionnaireResponse/r1",
        write_all_items=everything,
    )


def phq9(*items: int | None, **more: int | None) -> Answers:
    return Answers(PHQ9, items, **more)


def by_code(resources: list[Resource]) -> dict[str, Resource]:
    found = {each["code"]["coding"][0]["code"]: each for each in resources}
    assert len(found) == len(resources)
    return found


def any_answers() -> st.SearchStrategy[Answers]:
    def of(instrument: Instrument) -> st.SearchStrategy[Answers]:
        count = len(instrument.items)
        return st.builds(
            Answers,
            st.just(instrument),
            st.lists(st.none() | st.integers(0, 3), min_size=count, max_size=count).map(tuple),
            st.none() | st.integers(0, 3),
            st.none() | st.integers(0, instrument.max_total),
        )

    return st.sampled_from([PHQ9, GAD7, PHQ2]).flatmap(of)


def test_the_total_is_written_as_the_shipped_example_shows() -> None:
    example = read(EXAMPLES)["Observation-phq-9-total.json"]
    [total, _] = write(phq9(1, 1, 2, 1, 0, 1, 1, 0, 0))
    assert {**total, "derivedFrom": example["derivedFrom"]} == {
        **{name: value for name, value in example.items() if name != "id"},
        "identifier": total["identifier"],
        "method": {"text": "Sum of the answers"},
    }


@given(any_answers(), st.booleans())
def test_every_observation_is_sound_r4_and_fits_our_profile(answers: Answers, everything: bool) -> None:
    for each in write(answers, everything=everything):
        Observation.model_validate(each)
        code = each["code"]["coding"][0]["code"]
        assert ("meta" in each) == (code in SCORE_CODES)
        assert each["category"][0]["coding"][0]["code"] == "survey"
        assert each["identifier"][0]["system"] == "https://clinic.example.com/id/observation"
        assert each["subject"] == each["performer"][0] == {"reference": "Patient/ana"}
        assert each["derivedFrom"] == [{"reference": "QuestionnaireResponse/r1"}]
        assert each["effectiveDateTime"] == "2026-09-23T18:20:00-04:00"
        values = [name for name in each if name.startswith("value")]
        assert len(values) + ("dataAbsentReason" in each) + ("hasMember" in each) == 1
        assert each["code"]["text"]


@given(any_answers(), st.booleans())
def test_what_was_written_reads_back_as_what_was_scored(answers: Answers, everything: bool) -> None:
    scored = score(answers)
    written = write(answers, everything=everything)
    total = written[0]
    back = read_total(total).answers
    assert back is not None
    assert (back.instrument, back.stated_total) == (answers.instrument, scored.total)
    points = read_score_points(written)
    expected = [] if scored.total is None or answers.instrument is PHQ2 else [(scored.total, scored.item9)]
    assert [(each.total, each.item9) for each in points] == expected


@given(any_answers())
def test_a_panel_of_everything_reads_back_as_the_answers(answers: Answers) -> None:
    written = write(answers, everything=True)
    if not any(each is not None for each in answers.items):
        assert all("hasMember" not in each for each in written)
        return
    *members, panel = written
    back = read_panel(panel, members).answers
    assert back is not None
    assert (back.items, back.difficulty, back.stated_total) == (answers.items, answers.difficulty, score(answers).total)
    assert len(panel["hasMember"]) == len(members)


def test_by_default_only_total_item_9_and_difficulty_are_written() -> None:
    found = by_code(write(phq9(*[1] * 9, difficulty=2)))
    assert list(found) == [terms.PHQ9_TOTAL.code, terms.PHQ9_ITEM9.code, terms.PHQ9_DIFFICULTY.code]
    item9, difficulty = found[terms.PHQ9_ITEM9.code], found[terms.PHQ9_DIFFICULTY.code]
    assert item9["valueCodeableConcept"]["coding"] == [terms.FREQUENCY_ANSWERS[1].coding()]
    assert difficulty["valueCodeableConcept"]["coding"] == [terms.DIFFICULTY_ANSWERS[2].coding()]


def test_anxiety_has_no_item_9() -> None:
    assert list(by_code(write(Answers(GAD7, (1,) * 7)))) == [terms.GAD7_TOTAL.code]


def test_without_item_9_there_is_a_reason_and_no_value() -> None:
    found = by_code(write(phq9(*[1] * 8, None)))
    for each in found.values():
        assert each["dataAbsentReason"]["coding"][0]["code"] == "unknown"
        assert "valueQuantity" not in each
    assert (
        found[terms.PHQ9_TOTAL.code]["method"]["text"] == "Not computed: item 9 was not answered and is never imputed"
    )


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (phq9(*[1] * 9), "Sum of the answers"),
        (phq9(None, *[1] * 8), "Prorated: 8 of 9 items were answered"),
        (phq9(*[1] * 9, stated_total=12), "Sum of the answers; another total was stated"),
        (phq9(*[None] * 3, *[1] * 6), "Not computed: 3 of 9 items were not answered"),
        (phq9(*[None] * 9, stated_total=12), "As stated, without the answers"),
    ],
)
def test_a_total_says_how_it_came_about(answers: Answers, said: str) -> None:
    assert write(answers)[0]["method"] == {"text": said}


def test_a_score_is_the_same_thing_from_every_door_and_another_for_another_submission() -> None:
    once, again = write(phq9(*[1] * 9)), write(phq9(*[2] * 9))
    assert [each["identifier"] for each in once] == [each["identifier"] for each in again]
    other = score_observations(
        score(phq9(*[1] * 9)),
        reading(phq9(*[1] * 9)),
        setting(),
        submission=(*SUBMISSION[:-1], "2"),
        based_on=[],
        response="QuestionnaireResponse/r1",
    )
    assert not {each["identifier"][0]["value"] for each in other} & {each["identifier"][0]["value"] for each in once}
    assert all("basedOn" not in each for each in other)


@pytest.mark.parametrize(
    ("source", "author", "performer"),
    [
        ("Patient/ana", "Practitioner/nurse", "Patient/ana"),
        (None, "RelatedPerson/son", "RelatedPerson/son"),
        (None, "Device/tablet", "Organization/harbor"),
        ("https://ehr.example.com/Device/1", None, "Organization/harbor"),
        (None, None, "Organization/harbor"),
    ],
)
def test_the_performer_is_who_answered_and_never_a_device(
    source: str | None, author: str | None, performer: str
) -> None:
    for each in write(phq9(*[1] * 9), source=source, author=author):
        assert each["performer"] == [{"reference": performer}]


def test_the_encounter_is_named_if_there_is_one() -> None:
    place = Setting(setting().clinic, setting().identifiers, "Patient/ana", "Encounter/7", ("harbor",))
    assert all(each["encounter"] == {"reference": "Encounter/7"} for each in write(phq9(*[1] * 9), where=place))


@pytest.mark.parametrize("status", ["in-progress", "stopped", "preliminary"])
def test_drafts_are_never_scored(status: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        write(phq9(*[1] * 9), status=status)
    assert caught.value.where == ("status",)


def test_withdrawn_answers_withdraw_their_scores() -> None:
    assert {each["status"] for each in write(phq9(*[1] * 9), status="entered-in-error")} == {"entered-in-error"}
    assert {each["status"] for each in write(phq9(*[1] * 9), status="amended")} == {"final"}


def test_two_instruments_of_one_form_are_both_written_and_the_shared_question_once() -> None:
    first, second = phq9(*[1] * 9, difficulty=1), Answers(GAD7, (2,) * 7, difficulty=1)
    both = reading(first, further=(second,))
    found = [
        each
        for answers in (first, second)
        for each in score_observations(
            score(answers),
            both,
            setting(),
            submission=SUBMISSION,
            based_on=[],
            response="QuestionnaireResponse/r1",
        )
    ]
    codes = [terms.PHQ9_TOTAL.code, terms.PHQ9_ITEM9.code, terms.PHQ9_DIFFICULTY.code, terms.GAD7_TOTAL.code]
    assert list(by_code(found)) == codes


@given(any_answers(), st.booleans())
def test_writing_the_same_again_changes_nothing(answers: Answers, everything: bool) -> None:
    for each in write(answers, everything=everything):
        stored = {**each, "id": "1", "meta": {**each.get("meta", {}), "versionId": "1"}}
        assert amended(stored, each) is None


@given(st.data())
def test_an_amended_form_replaces_all_that_its_scores_said(data: st.DataObject) -> None:
    partly = st.lists(st.none() | st.integers(0, 3), min_size=9, max_size=9)
    before, after = (phq9(*data.draw(partly)) for _ in range(2))
    for old, new in zip(write(before)[:2], write(after)[:2], strict=True):
        stored = {**old, "id": "1"}
        found = amended(stored, new) or stored
        assert {**found, "id": "1", "status": "final"} == {**new, "id": "1", "status": "final"}
