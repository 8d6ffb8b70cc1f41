"""Reading answers back: every accepted encoding says the same, and what is not understood is never 0.

The shapes are those of US Core, of LOINC's form renderer, of EHRs that send bare totals, and of our own forms.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.instruments import GAD7, PHQ2, PHQ9, Answers, Instrument, score
from fhir_aftercare.errors import InvalidInput, MissingZone, WrongSubject
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.answers import number
from fhir_aftercare.fhir.responses import Reading, read_panel, read_response, read_score_points, read_total
from profiles.lock import EXAMPLES, read

if TYPE_CHECKING:
    from collections.abc import Callable

Resource = dict[str, Any]

FORMS = {each["url"]: each for each in read().values() if each["resourceType"] == "Questionnaire"}
AUTHORED = "2026-09-23T18:20:00-04:00"
ITEMS = {"phq-9": terms.PHQ9_ITEMS, "gad-7": terms.GAD7_ITEMS, "phq-2": terms.PHQ9_ITEMS[:2]}
TOTALS = {"phq-9": terms.PHQ9_TOTAL, "gad-7": terms.GAD7_TOTAL, "phq-2": terms.PHQ2_TOTAL}
PANELS = {"phq-9": terms.PHQ9_PANEL, "gad-7": terms.GAD7_PANEL, "phq-2": terms.PHQ2_PANEL}
ITEM9 = terms.PHQ9_ITEM9.code

# --- ways to write an answer -----------------------------------------------------------------------------------------
ENCODINGS: dict[str, Callable[[int], Resource]] = {
    "loinc answer": lambda n: {"valueCoding": terms.FREQUENCY_ANSWERS[n].coding()},
    "loinc answer without system": lambda n: {"valueCoding": {"code": terms.FREQUENCY_ANSWERS[n].code}},
    "number as code": lambda n: {"valueCoding": {"system": "http://example.com/answers", "code": str(n)}},
    "integer": lambda n: {"valueInteger": n},
    "decimal": lambda n: {"valueDecimal": Decimal(f"{n}.0")},
    "float": lambda n: {"valueDecimal": float(n)},
    "string of a digit": lambda n: {"valueString": str(n)},
    "quantity": lambda n: {"valueQuantity": {"value": n, "unit": "{score}"}},
    "own code with its weight": lambda n: {
        "valueCoding": {
            "code": "abcd"[n],
            "extension": [{"url": terms.EXT_ORDINAL, "valueDecimal": Decimal(n)}],
        }
    },
    "own code, the answer is weighed": lambda n: {
        "extension": [{"url": terms.EXT_ITEM_WEIGHT, "valueDecimal": n}],
        "valueCoding": {"code": "abcd"[n]},
    },
}
LINKS = {"/code": "/{code}", "code": "{code}", "path": "/group/{code}", "custom": "Q.{number}"}


def custom_form(instrument: Instrument) -> Resource:
    """A clinic's own form: linkIds of its own, the LOINC code on each item."""
    items = [
        {"linkId": f"Q.{at + 1}", "type": "choice", "code": [code.coding()]}
        for at, code in enumerate(ITEMS[instrument.key])
    ]
    group = {"linkId": "group", "type": "group", "item": items}
    total = {"linkId": "sum", "type": "decimal", "code": [TOTALS[instrument.key].coding()]}
    return {
        "resourceType": "Questionnaire",
        "url": "https://clinic.example.com/q",
        "version": "2",
        "item": [group, total],
    }


def response(*items: Resource, **more: Any) -> Resource:
    return {
        "resourceType": "QuestionnaireResponse",
        "id": "r1",
        "status": "completed",
        "authored": AUTHORED,
        "subject": {"reference": "Patient/ana"},
        "item": list(items),
        **more,
    }


def item(link_id: str, *answer: Resource) -> Resource:
    return {"linkId": link_id, **({"answer": list(answer)} if answer else {})}


def phq9(*given: int | None, **more: Any) -> Resource:
    items = [
        item(f"/{code.code}", *([ENCODINGS["loinc answer"](each)] if each is not None else []))
        for code, each in zip(terms.PHQ9_ITEMS, given, strict=False)
    ]
    return response(*items, **{"questionnaire": terms.QUESTIONNAIRE_PHQ9, **more})


def answers_of(reading: Reading) -> Answers:
    assert reading.answers is not None
    return reading.answers


@given(st.data(), st.sampled_from([PHQ9, GAD7]), st.sampled_from(sorted(LINKS)), st.booleans())
def test_every_accepted_encoding_reads_back_as_the_same_answers(
    data: st.DataObject, instrument: Instrument, link: str, nested: bool
) -> None:
    codes = ITEMS[instrument.key]
    given_answers = data.draw(
        st.lists(st.none() | st.integers(0, 3), min_size=len(codes), max_size=len(codes)).filter(
            lambda each: each[2] is not None  # an item that is in no other instrument
        )
    )
    items = []
    for at, (code, each) in enumerate(zip(codes, given_answers, strict=True)):
        encoding = ENCODINGS[data.draw(st.sampled_from(sorted(ENCODINGS)))]
        items.append(
            item(LINKS[link].format(code=code.code, number=at + 1), *([encoding(each)] if each is not None else []))
        )
    shuffled = data.draw(st.permutations(items))
    body = [{"linkId": "group", "item": shuffled}] if nested else shuffled
    found = read_response(
        response(*body, questionnaire="https://clinic.example.com/q|2"),
        {"any key": custom_form(instrument)} if link == "custom" else {},
    )
    assert answers_of(found) == Answers(instrument, tuple(given_answers))
    assert found.unreadable == ()


@pytest.mark.parametrize("code", [*terms.FREQUENCY_ANSWERS, terms.MORE_DAYS_THAN_NOT], ids=lambda each: each.code)
def test_loincs_own_list_for_the_second_gad7_item_is_understood(code: terms.Code) -> None:
    asked = terms.GAD7_ITEMS[1].code
    found = answers_of(read_response(response(item(f"/{asked}", {"valueCoding": code.coding()}))))
    expected = 2 if code == terms.MORE_DAYS_THAN_NOT else terms.FREQUENCY_ANSWERS.index(code)
    assert found == Answers(GAD7, (None, expected, None, None, None, None, None))


def test_our_own_example_reads_whole() -> None:
    found = read_response(read(EXAMPLES)["QuestionnaireResponse-phq-9.json"], FORMS)
    assert answers_of(found).items == (1, 1, 2, 1, 0, 1, 1, 0, 0)
    assert score(answers_of(found)).total == 7
    assert (found.reference, found.patient, found.source) == (
        "QuestionnaireResponse/phq-9",
        "Patient/ana",
        "Patient/ana",
    )
    assert (found.questionnaire, found.version) == (terms.QUESTIONNAIRE_PHQ9, "1.0.0")
    assert found.authored == datetime(2026, 9, 23, 22, 20, tzinfo=UTC)
    assert found.identifiers == (("https://clinic.example.com/id/response", "d562f4ce-c992-55d2-bba8-43e38e9c30f3"),)
    assert (found.check_in, found.unreadable, found.further, found.counted) == (None, (), (), True)


@pytest.mark.parametrize("url", [terms.QUESTIONNAIRE_PHQ9, terms.QUESTIONNAIRE_GAD7])
def test_every_option_of_our_forms_reads_as_its_place_and_as_the_weight_it_carries(url: str) -> None:
    for asked in FORMS[url]["item"]:
        for place, option in enumerate(asked.get("answerOption", [])):
            weights = [each["valueDecimal"] for each in option.get("extension", []) if each["url"] == terms.EXT_ORDINAL]
            assert weights in ([], [place])
            answer = {"valueCoding": {k: v for k, v in option["valueCoding"].items() if k in {"system", "code"}}}
            found = answers_of(read_response(response(item(asked["linkId"], answer), questionnaire=url), {}))
            assert [each for each in (*found.items, found.difficulty) if each is not None] == [place]


# --- what is not understood ------------------------------------------------------------------------------------------
NOT_UNDERSTOOD: dict[str, Resource] = {
    "code of nobody": {"valueCoding": {"system": "http://example.com/answers", "code": "often"}},
    "answer of another list": {"valueCoding": terms.DIFFICULTY_ANSWERS[1].coding()},
    "above the range": {"valueInteger": 4},
    "below the range": {"valueInteger": -1},
    "a fraction": {"valueDecimal": Decimal("1.5")},
    "words": {"valueString": "Several days"},
    "a boolean": {"valueBoolean": True},
    "more than": {"valueQuantity": {"value": 2, "comparator": ">"}},
    "no value": {"extension": []},
    "two values": {"valueInteger": 1, "valueString": "1"},
    "huge": {"valueDecimal": Decimal("1E+999999")},
    "not a number": {"valueDecimal": float("nan")},
    "an object": {"valueQuantity": {"unit": "{score}"}},
    "a weight out of range": {
        "valueCoding": {"code": "x", "extension": [{"url": terms.EXT_ORDINAL, "valueDecimal": 7}]}
    },
}


@pytest.mark.parametrize("answer", NOT_UNDERSTOOD.values(), ids=list(NOT_UNDERSTOOD))
@pytest.mark.parametrize("at", [0, 8])
def test_what_is_not_understood_is_missing_and_named_and_never_zero(answer: Resource, at: int) -> None:
    body = phq9(*[1] * 9)
    body["item"][at]["answer"] = [answer]
    found = read_response(body)
    assert answers_of(found).items[at] is None
    assert found.unreadable == (f"/{terms.PHQ9_ITEMS[at].code}",)
    assert score(answers_of(found)).item9_known == (at != 8)


def test_two_different_answers_to_one_question_are_none() -> None:
    body = phq9(*[0] * 8)
    body["item"].append(item(ITEM9, {"valueInteger": 0}, {"valueInteger": 3}))
    assert answers_of(read_response(body)).items[8] is None
    twice = phq9(*[0] * 9)
    twice["item"].append(item(ITEM9, {"valueInteger": 3}))
    assert answers_of(read_response(twice)).items[8] is None
    same = phq9(*[0] * 9)
    same["item"].append(item(ITEM9, {"valueInteger": 0}))
    assert (answers_of(read_response(same)).items[8], read_response(same).unreadable) == (0, ())


def test_a_form_that_counts_from_one_is_read_by_its_weights() -> None:
    form = custom_form(PHQ9)
    options = [
        {"valueCoding": {"code": str(n + 1)}, "extension": [{"url": terms.EXT_ORDINAL, "valueDecimal": n}]}
        for n in range(4)
    ]
    for each in form["item"][0]["item"]:
        each["answerOption"] = options
    given_answers = [item(f"Q.{at + 1}", {"valueCoding": {"code": "1"}}) for at in range(8)]
    last = item("Q.9", {"valueCoding": {"code": "4"}})
    found = read_response(response(*given_answers, last, questionnaire=form["url"]), {"q": form})
    assert answers_of(found).items == (0,) * 8 + (3,)


def test_weights_of_integer_options_count_too() -> None:
    form = custom_form(PHQ9)
    for each in form["item"][0]["item"]:
        each["answerOption"] = [
            {"valueInteger": n + 1, "extension": [{"url": terms.EXT_ITEM_WEIGHT, "valueDecimal": n}]} for n in range(4)
        ]
    given_answers = [item(f"Q.{at + 1}", {"valueInteger": 1 + at % 4}) for at in range(9)]
    found = read_response(response(*given_answers, questionnaire=form["url"]), {"q": form})
    assert answers_of(found).items == (0, 1, 2, 3, 0, 1, 2, 3, 0)


@pytest.mark.parametrize("coded", [True, False])
def test_bare_numbers_of_a_form_that_counts_from_one_are_not_guessed_at(coded: bool) -> None:
    form = custom_form(PHQ9)
    values: list[Resource] = [{"valueCoding": {"code": str(n)}} if coded else {"valueInteger": n} for n in range(1, 5)]
    for each in form["item"][0]["item"]:
        each["answerOption"] = values
    body = response(*(item(f"Q.{at + 1}", values[0]) for at in range(9)), questionnaire=form["url"])
    found = read_response(body, {"q": form})
    assert answers_of(found).items == (None,) * 9
    assert len(found.unreadable) == 9
    loinc = response(item("Q.1", ENCODINGS["loinc answer"](3)), questionnaire=form["url"])
    assert answers_of(read_response(loinc, {"q": form})).items[0] == 3


def test_the_weight_of_an_option_of_another_system_is_not_taken() -> None:
    form = custom_form(PHQ9)
    option = {"valueCoding": {"system": "http://example.com/a", "code": "often"}}
    weighed = {**option, "extension": [{"url": terms.EXT_ORDINAL, "valueDecimal": 2}]}
    form["item"][0]["item"][0]["answerOption"] = [weighed]
    for system, expected in (("http://example.com/a", 2), (None, 2), ("http://example.com/b", None)):
        coding = {"code": "often", **({"system": system} if system else {})}
        body = response(item("Q.1", {"valueCoding": coding}), questionnaire=form["url"])
        assert answers_of(read_response(body, {"q": form})).items[0] == expected


def test_a_form_nobody_knows_is_no_instrument_and_its_answers_are_named() -> None:
    found = read_response(response(item("Q.9", {"valueInteger": 3}), questionnaire="https://clinic.example.com/q"))
    assert (found.answers, found.check_in, found.unreadable) == (None, None, ("Q.9",))


def test_the_code_of_the_form_decides_over_the_link_id() -> None:
    form = custom_form(PHQ9)
    form["item"] = [{"linkId": f"/{ITEM9}", "type": "choice", "code": [{"system": "http://example.com", "code": "x"}]}]
    found = read_response(response(item(f"/{ITEM9}", {"valueInteger": 3}), questionnaire=form["url"]), {"q": form})
    assert found.answers is None


def test_the_right_version_of_a_form_is_used_and_a_contained_one_too() -> None:
    old, new = custom_form(GAD7) | {"version": "1"}, custom_form(PHQ9)
    body = response(item("Q.1", {"valueInteger": 2}), questionnaire=f"{new['url']}|1")
    assert answers_of(read_response(body, {"a": old, "b": new})).instrument == GAD7
    body["questionnaire"] = f"{new['url']}|2"
    assert answers_of(read_response(body, {"a": new, "b": old})).instrument == PHQ9
    body |= {"questionnaire": "#f", "contained": [{**old, "id": "f"}]}
    assert answers_of(read_response(body)).instrument == GAD7


# --- which instrument ------------------------------------------------------------------------------------------------
def test_our_form_with_no_answer_at_all_is_still_a_phq9_with_item_9_unknown() -> None:
    found = answers_of(read_response(phq9()))
    assert found == Answers(PHQ9, (None,) * 9)
    assert not score(found).item9_known


def test_an_unanswered_item_of_a_known_form_is_asked_all_the_same() -> None:
    form = custom_form(PHQ9)
    body = response(item("Q.1", {"valueInteger": 1}), item("Q.2", {"valueInteger": 1}), questionnaire=form["url"])
    assert answers_of(read_response(body, {"q": form})).instrument == PHQ9


def test_the_first_two_items_alone_are_the_short_form() -> None:
    two = [item(f"/{code.code}", {"valueInteger": 2}) for code in terms.PHQ9_ITEMS[:2]]
    assert answers_of(read_response(response(*two))) == Answers(PHQ2, (2, 2))
    assert answers_of(read_response(response(*two, item(f"/{terms.PHQ2_TOTAL.code}", {"valueInteger": 4})))) == Answers(
        PHQ2, (2, 2), stated_total=4
    )
    assert answers_of(read_response(response(two[0]))).instrument == PHQ9
    with_sub_score = phq9(*[1] * 9)
    with_sub_score["item"].append(item(f"/{terms.PHQ2_TOTAL.code}", {"valueInteger": 2}))
    found = read_response(with_sub_score)
    assert (answers_of(found).instrument, found.further) == (PHQ9, ())


def test_one_form_may_hold_both_and_item_9_comes_first() -> None:
    items = [item(f"/{code.code}", {"valueInteger": 1}) for code in (*terms.GAD7_ITEMS, *terms.PHQ9_ITEMS)]
    found = read_response(response(*items))
    assert answers_of(found) == Answers(PHQ9, (1,) * 9)
    assert found.further == (Answers(GAD7, (1,) * 7),)
    assert found.answers_to(GAD7) == found.further[0]
    assert found.answers_to(PHQ2) is None


def test_other_forms_with_like_questions_are_ignored() -> None:
    cms = response(item("/54643-2", {"valueInteger": 3}), item("/93038-8", ENCODINGS["loinc answer"](0)))
    found = read_response(cms)
    assert (found.answers, found.unreadable) == (None, ("/54643-2", "/93038-8"))


# --- difficulty and totals -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [terms.PHQ9_DIFFICULTY, terms.PHQ9_DIFFICULTY_EHR], ids=lambda each: each.code)
@pytest.mark.parametrize("level", range(4))
def test_difficulty_is_read_by_meaning_not_by_the_order_of_the_codes(code: terms.Code, level: int) -> None:
    body = phq9(*[0] * 9)
    body["item"].append(item(f"/{code.code}", {"valueCoding": terms.DIFFICULTY_ANSWERS[level].coding()}))
    assert answers_of(read_response(body)).difficulty == level


@pytest.mark.parametrize(
    "value", [{"valueInteger": 12}, {"valueDecimal": Decimal("12.0")}, {"valueString": "12"}, {"valueString": " 12.0 "}]
)
def test_a_stated_total_is_read_in_any_shape(value: Resource) -> None:
    body = phq9(*[0] * 9)
    body["item"].append(item(f"/{terms.PHQ9_TOTAL.code}", value))
    found = answers_of(read_response(body))
    assert found.stated_total == 12
    assert score(found).stated_total_differs


@pytest.mark.parametrize("value", [{"valueInteger": 28}, {"valueInteger": -1}, {"valueString": "12/27"}])
def test_an_impossible_total_is_named_not_used(value: Resource) -> None:
    body = phq9(*[1] * 9)
    body["item"].append(item(f"/{terms.PHQ9_TOTAL.code}", value))
    found = read_response(body)
    assert answers_of(found).stated_total is None
    assert found.unreadable == (f"/{terms.PHQ9_TOTAL.code}",)
    assert score(answers_of(found)).total == 9


# --- the response itself ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "where", "error"),
    [
        ({"resourceType": "Questionnaire"}, "resourceType", InvalidInput),
        ({"status": "final"}, "status", InvalidInput),
        ({"status": None}, "status", InvalidInput),
        ({"authored": None}, "authored", InvalidInput),
        ({"authored": "2026-09-23"}, "authored", MissingZone),
        ({"authored": "2026-09-23T18:20:00"}, "authored", MissingZone),
        ({"authored": "yesterday"}, "authored", MissingZone),
    ],
)
def test_what_is_no_usable_response_is_refused_with_the_field_named(
    change: Resource, where: str, error: type[InvalidInput]
) -> None:
    with pytest.raises(error) as caught:
        read_response(phq9(*[1] * 9) | change)
    assert caught.value.where == (where,)
    assert "2026" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "counted"),
    [("completed", True), ("amended", True), ("in-progress", False), ("stopped", False), ("entered-in-error", False)],
)
def test_only_completed_and_amended_answers_count_but_drafts_are_read(status: str, counted: bool) -> None:
    found = read_response(phq9(*[0] * 8, 3, status=status))
    assert (found.status, found.counted) == (status, counted)
    assert answers_of(found).items[8] == 3


def test_what_is_absent_is_none() -> None:
    found = read_response({"resourceType": "QuestionnaireResponse", "status": "completed", "authored": AUTHORED})
    assert (found.reference, found.patient, found.questionnaire, found.version) == (None, None, None, None)
    assert (found.identifiers, found.source, found.author, found.answers, found.check_in) == (
        (),
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize("broken", [None, "text", 7, {"linkId": "x"}, ["x", None], [{"answer": "x"}], [{}]])
def test_broken_items_are_no_answers(broken: Any) -> None:
    assert read_response(phq9(item=broken)).answers == Answers(PHQ9, (None,) * 9)


def test_thousands_of_nested_items_are_read() -> None:
    innermost = item(f"/{ITEM9}", {"valueInteger": 3})
    for at in range(5000):
        innermost = (
            {"linkId": str(at), "item": [innermost]}
            if at % 2
            else {"linkId": str(at), "answer": [{"item": [innermost]}]}
        )
    assert answers_of(read_response(response(innermost))).items[8] == 3


# --- check-ins -------------------------------------------------------------------------------------------------------
DAY_1 = FORMS[terms.QUESTIONNAIRE_CHECK_IN]


def test_a_check_in_is_read_into_its_fields() -> None:
    found = read_response(
        response(
            item("unsafe", {"valueBoolean": False}),
            item("feels-worse", {"valueBoolean": True}),
            item("mood", {"valueInteger": 4}),
            item("nausea", {"valueCoding": terms.SEVERITY_ANSWERS[2].coding()}),
            item("headache", {"valueCoding": terms.SEVERITY_ANSWERS[0].coding()}),
            item("vomiting-3-or-no-fluids", {"valueBoolean": True}),
            questionnaire=f"{terms.QUESTIONNAIRE_CHECK_IN}|1.0.0",
        ),
        FORMS,
    )
    got = found.check_in
    assert got is not None
    assert (got.unsafe, got.feels_worse, got.mood, got.nausea, got.headache) == (False, True, 4, 2, 0)
    assert (got.vomiting_3_or_no_fluids, got.dizziness, got.drove, got.wants_call) == (True, None, None, None)
    assert (found.answers, found.unreadable) == (None, ())


def test_every_question_of_our_check_ins_has_its_field() -> None:
    for url in (terms.QUESTIONNAIRE_CHECK_IN, terms.QUESTIONNAIRE_WEEKLY, terms.QUESTIONNAIRE_SLEEP_DRIVING):
        values: dict[str, Resource] = {
            "boolean": {"valueBoolean": True},
            "integer": {"valueInteger": 10},
            "choice": {"valueCoding": terms.SEVERITY_ANSWERS[3].coding()},
        }
        asked = [each for each in FORMS[url]["item"] if each["type"] != "display"]
        body = response(*(item(each["linkId"], values[each["type"]]) for each in asked), questionnaire=url)
        for forms in (FORMS, {}):
            found = read_response(body, forms)
            assert found.unreadable == ()
            assert found.check_in is not None
            for each in asked:
                expected = {"boolean": True, "integer": 10, "choice": 3}[each["type"]]
                assert getattr(found.check_in, each["linkId"].replace("-", "_")) == expected


@pytest.mark.parametrize(
    ("link_id", "answer"),
    [
        ("unsafe", {"valueString": "no"}),
        ("unsafe", {"valueInteger": 0}),
        ("mood", {"valueInteger": 11}),
        ("nausea", {"valueInteger": 4}),
        ("nausea", {"valueCoding": terms.FREQUENCY_ANSWERS[3].coding()}),
    ],
)
def test_an_odd_answer_of_a_check_in_is_not_known(link_id: str, answer: Resource) -> None:
    found = read_response(response(item(link_id, answer), questionnaire=terms.QUESTIONNAIRE_CHECK_IN), FORMS)
    assert found.check_in is not None
    assert getattr(found.check_in, link_id) is None
    assert found.unreadable == (link_id,)


def test_the_words_of_our_check_ins_mean_nothing_in_a_form_of_others() -> None:
    body = response(item("mood", {"valueInteger": 4}), item("unsafe", {"valueBoolean": True}))
    assert read_response(body | {"questionnaire": "https://clinic.example.com/other"}).check_in is None
    assert read_response(body).check_in is not None


def test_a_clinics_own_check_in_is_known_by_its_codes() -> None:
    code = terms.CHECK_IN_ITEMS["unsafe"]
    form = {"url": "https://clinic.example.com/own", "item": [{"linkId": "7b", "code": [code.coding()]}]}
    found = read_response(response(item("7b", {"valueBoolean": True}), questionnaire=form["url"]), {"own": form})
    assert found.check_in is not None
    assert found.check_in.unsafe is True


# --- Observations ----------------------------------------------------------------------------------------------------
def observation(code: terms.Code | None, value: Resource, **more: Any) -> Resource:
    """An Observation as an EHR writes it: no performer, no answers behind it."""
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "category": [terms.SURVEY.concept()],
        **({"code": {"coding": [code.coding()]}} if code else {}),
        "subject": {"reference": "Patient/ana"},
        "effectiveDateTime": AUTHORED,
        **value,
        **more,
    }


def quantity(value: Any) -> Resource:
    return {
        "valueQuantity": {"value": value, "unit": "{score}", "system": "http://unitsofmeasure.org", "code": "{score}"}
    }


@pytest.mark.parametrize(
    ("code", "instrument"),
    [
        (terms.PHQ9_TOTAL, PHQ9), (terms.PHQ9_TOTAL_SNOMED, PHQ9), (terms.GAD7_TOTAL, GAD7),
        (terms.GAD7_TOTAL_SNOMED, GAD7), (terms.PHQ2_TOTAL, PHQ2),
        # miscodings that have been seen: a panel's code used for the score
        (terms.PHQ9_PANEL, PHQ9), (terms.GAD7_PANEL, GAD7),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [quantity(5), {"valueInteger": 5}, {"valueString": "5"}, quantity(Decimal("5.0"))])
def test_a_bare_total_is_read_and_leaves_item_9_unknown(
    code: terms.Code, instrument: Instrument, value: Resource
) -> None:
    found = read_total(observation(code, value))
    assert answers_of(found) == Answers(instrument, (None,) * len(instrument.items), stated_total=5)
    assert score(answers_of(found)).total == 5
    assert score(answers_of(found)).item9_known == (instrument is not PHQ9)
    assert (found.reference, found.patient, found.author, found.counted) == (
        "Observation/o1",
        "Patient/ana",
        None,
        True,
    )


@pytest.mark.parametrize("value", [4, 12, 27])
def test_a_value_above_three_under_item_9s_code_is_a_total_and_never_item_9(value: int) -> None:
    found = answers_of(read_total(observation(terms.PHQ9_ITEM9, quantity(value))))
    assert found == Answers(PHQ9, (None,) * 9, stated_total=value)
    assert not score(found).item9_known


@pytest.mark.parametrize("value", range(4))
@pytest.mark.parametrize("encoding", ["quantity", "integer", "concept"])
def test_item_9_alone_is_item_9(value: int, encoding: str) -> None:
    written: dict[str, Resource] = {
        "quantity": quantity(value),
        "integer": {"valueInteger": value},
        "concept": {"valueCodeableConcept": terms.FREQUENCY_ANSWERS[value].concept()},
    }
    found = answers_of(read_total(observation(terms.PHQ9_ITEM9, written[encoding])))
    assert found == Answers(PHQ9, (None,) * 8 + (value,))
    assert (score(found).total, score(found).item9) == (None, value)


@pytest.mark.parametrize("value", [quantity(28), quantity(Decimal("0.68")), {"valueString": "moderate"}])
def test_a_total_that_cannot_be_one_is_named_not_used(value: Resource) -> None:
    found = read_total(observation(terms.PHQ9_TOTAL, value))
    assert answers_of(found).stated_total is None
    assert found.unreadable == (terms.PHQ9_TOTAL.code,)


def test_a_total_that_says_it_is_absent_is_not_unreadable() -> None:
    absent = {"dataAbsentReason": terms.Code(terms.DATA_ABSENT, "unknown").concept()}
    found = read_total(observation(terms.PHQ9_TOTAL, absent))
    assert (answers_of(found).stated_total, found.unreadable) == (None, ())


@pytest.mark.parametrize(
    "code", [None, terms.PHQ9_ITEMS[0], terms.PHQ9_DIFFICULTY, terms.NAUSEA, terms.Code(terms.LOINC, "54643-2")]
)
def test_what_is_no_score_is_refused(code: terms.Code | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_total(observation(code, quantity(2)))
    assert caught.value.where == ("code",)


@pytest.mark.parametrize(
    ("times", "error"),
    [
        ({"effectiveDateTime": "2026-09-23"}, MissingZone),
        ({"effectiveDateTime": "2026-09-23", "issued": "2026-10-23T10:00:00Z"}, MissingZone),
        ({"effectiveDateTime": "2026-09"}, MissingZone),
        ({"effectiveDateTime": None}, MissingZone),
    ],
)
def test_a_score_of_no_known_time_is_refused(times: Resource, error: type[InvalidInput]) -> None:
    with pytest.raises(error) as caught:
        read_total(observation(terms.PHQ9_TOTAL, quantity(5)) | times)
    assert caught.value.where == ("effective",)


def test_a_score_without_any_time_is_refused() -> None:
    timeless = observation(terms.PHQ9_TOTAL, quantity(5))
    del timeless["effectiveDateTime"]
    with pytest.raises(InvalidInput):
        read_total(timeless)


@pytest.mark.parametrize(
    "times",
    [
        {"effectiveDateTime": "2026-09-23T22:20:00Z"},
        {"effectiveDateTime": None, "effectiveInstant": AUTHORED},
        {"effectiveDateTime": None, "effectivePeriod": {"start": "2026-09-23T18:00:00-04:00", "end": AUTHORED}},
        {"effectiveDateTime": "2026-09-23", "issued": AUTHORED},
    ],
)
def test_every_way_to_say_when_is_understood(times: Resource) -> None:
    found = read_total(observation(terms.PHQ9_TOTAL, quantity(5)) | times)
    assert found.authored == datetime(2026, 9, 23, 22, 20, tzinfo=UTC)


# --- panels ----------------------------------------------------------------------------------------------------------
def us_core_panel(values: list[int | None], total: Resource | None = None) -> tuple[Resource, list[Resource]]:
    """A panel with one Observation for each item, and the total among them."""
    members = [
        observation(code, {"valueCodeableConcept": terms.FREQUENCY_ANSWERS[value].concept()}, id=f"item-{at}")
        for at, (code, value) in enumerate(zip(terms.PHQ9_ITEMS, values, strict=True))
        if value is not None
    ]
    if total is not None:
        members.append(observation(terms.PHQ9_TOTAL, total, id="total"))
    named = [{"reference": f"Observation/{each['id']}"} for each in members]
    return observation(terms.PHQ9_PANEL, {"hasMember": named}, id="panel"), members


@given(st.lists(st.none() | st.integers(0, 3), min_size=9, max_size=9), st.none() | st.integers(0, 27))
def test_a_panel_reads_as_its_members(values: list[int | None], total: int | None) -> None:
    panel, members = us_core_panel(values, {"valueString": str(total)} if total is not None else None)
    found = read_panel(panel, members)
    assert answers_of(found) == Answers(PHQ9, tuple(values), stated_total=total)
    assert (found.reference, found.unreadable) == ("Observation/panel", ())


def test_members_nobody_named_or_that_were_withdrawn_do_not_count() -> None:
    panel, members = us_core_panel([1] * 9)
    members[3]["status"] = "entered-in-error"
    stranger = observation(terms.PHQ9_ITEM9, quantity(3), id="another-day")
    found = answers_of(read_panel(panel, [*members, stranger]))
    assert found.items == (1, 1, 1, None, 1, 1, 1, 1, 1)


def test_members_are_known_by_any_form_of_reference() -> None:
    panel, members = us_core_panel([0, 1, 2, 3, 0, 1, 2, 3, 0])
    shapes = ["Observation/{}/_history/2", "https://ehr.example.com/fhir/Observation/{}", "urn:uuid:{}"]
    panel["hasMember"] = [
        {"reference": shapes[at % 3].format(each["id"])} for at, each in enumerate(members) if at != 8
    ]
    members[8]["identifier"] = [{"system": "https://clinic.example.com/id/observation", "value": "abc"}]
    panel["hasMember"].append({"identifier": members[8]["identifier"][0]})
    assert answers_of(read_panel(panel, members)).items == (0, 1, 2, 3, 0, 1, 2, 3, 0)


def test_a_member_of_another_patient_is_refused() -> None:
    panel, members = us_core_panel([1] * 9)
    members[8]["subject"] = {"reference": "Patient/ben"}
    with pytest.raises(WrongSubject):
        read_panel(panel, members)


def test_components_are_read_like_members() -> None:
    parts = [{"code": {"coding": [code.coding()]}, "valueInteger": 1} for code in terms.PHQ9_ITEMS]
    total = {"code": {"coding": [terms.PHQ9_TOTAL.coding()]}, **quantity(9)}
    panel = observation(terms.PHQ9_PANEL, {"component": [*parts, total]})
    expected = Answers(PHQ9, (1,) * 9, stated_total=9)
    assert answers_of(read_panel(panel, [])) == expected
    assert answers_of(read_total(panel)) == expected
    assert [(each.total, each.item9) for each in read_score_points([panel])] == [(9, 1)]


def test_the_total_may_be_the_panels_own_value() -> None:
    panel, members = us_core_panel([1] * 9)
    assert answers_of(read_panel(panel | quantity(9), members)).stated_total == 9


def test_a_total_miscoded_as_item_9_in_a_panel_is_not_item_9() -> None:
    panel, members = us_core_panel([1] * 9)
    members[8] = observation(terms.PHQ9_ITEM9, quantity(12), id="item-8")
    found = read_panel(panel, members)
    assert answers_of(found).items[8] is None
    assert found.unreadable == (ITEM9,)


def test_a_panel_without_members_is_a_form_nobody_answered() -> None:
    assert answers_of(read_panel(observation(terms.GAD7_PANEL, {}), [])) == Answers(GAD7, (None,) * 7)


@pytest.mark.parametrize("code", [None, terms.PHQ9_TOTAL, terms.BP_PANEL])
def test_what_is_no_panel_is_refused(code: terms.Code | None) -> None:
    with pytest.raises(InvalidInput):
        read_panel(observation(code, {}), [])


# --- trend -----------------------------------------------------------------------------------------------------------
def ehr_total(code: terms.Code, value: int, at: str, identity: str) -> Resource:
    """As a generator of test records writes them: bare, with issued, of an encounter, without a performer."""
    return observation(
        code,
        quantity(value),
        id=identity,
        effectiveDateTime=at,
        issued=at,
        encounter={"reference": "urn:uuid:dad8db80-faf1-12ec-a2c0-b1a642e228b3"},
        subject={"reference": "urn:uuid:7ec30e1c-261a-ceaa-cf27-f1b2f4251883"},
    )


def test_the_totals_of_an_ehr_become_points() -> None:
    found = read_score_points(
        [
            ehr_total(terms.PHQ9_TOTAL, 22, "2024-12-08T02:33:18+00:00", "a"),
            ehr_total(terms.GAD7_TOTAL, 4, "2023-04-09T01:07:18+00:00", "b"),
            ehr_total(terms.PHQ2_TOTAL, 1, "2024-04-14T02:11:57+00:00", "c"),
        ]
    )
    assert [(each.instrument, each.total, each.source, each.item9) for each in found] == [
        ("phq-9", 22, "Observation/a", None),
        ("gad-7", 4, "Observation/b", None),
    ]
    assert found[0].at == datetime(2024, 12, 8, 2, 33, 18, tzinfo=UTC)


def test_item_9_is_joined_by_its_answers_or_else_by_its_instant() -> None:
    answers_1 = {"derivedFrom": [{"reference": "QuestionnaireResponse/1"}]}
    total = observation(terms.PHQ9_TOTAL, quantity(9), **answers_1)
    ours = observation(
        terms.PHQ9_ITEM9,
        {"valueCodeableConcept": terms.FREQUENCY_ANSWERS[2].concept()},
        id="o2",
        effectiveDateTime="2026-09-23T18:21:00-04:00",
        **answers_1,
    )
    bare = observation(terms.PHQ9_TOTAL, quantity(12), id="o3", effectiveDateTime="2026-09-30T14:00:00Z")
    same_time = observation(terms.PHQ9_ITEM9, quantity(1), id="o4", effectiveDateTime="2026-09-30T10:00:00-04:00")
    other = observation(terms.GAD7_TOTAL, quantity(3), id="o5")
    points = read_score_points([total, ours, bare, same_time, other])
    assert [(each.total, each.item9) for each in points] == [(9, 2), (12, 1), (3, None)]


@pytest.mark.parametrize("values", [(3, 1), (1, 3)])
def test_of_two_item_9_of_one_instant_the_graver_one_is_taken(values: tuple[int, int]) -> None:
    both = [observation(terms.PHQ9_ITEM9, quantity(each), id=f"item9-{each}") for each in values]
    assert [each.item9 for each in read_score_points([observation(terms.PHQ9_TOTAL, quantity(12)), *both])] == [3]


def test_a_total_written_under_item_9s_code_is_a_point_without_item_9() -> None:
    [found] = read_score_points([observation(terms.PHQ9_ITEM9, quantity(14))])
    assert (found.total, found.item9) == (14, None)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "entered-in-error"},
        {"status": "preliminary"},
        {"status": "cancelled"},
        {"effectiveDateTime": "2026-09-23"},
        {"code": {"coding": [terms.HEART_RATE.coding()]}},
        {"code": {"text": "PHQ-9"}},
        {"valueQuantity": {"value": 40}},
        {"valueQuantity": {"value": 12, "comparator": ">="}},
    ],
)
def test_what_is_no_counted_score_is_no_point(change: Resource) -> None:
    assert read_score_points([observation(terms.PHQ9_TOTAL, quantity(12)) | change]) == []


@pytest.mark.parametrize("status", ["final", "amended", "corrected"])
def test_amended_scores_count(status: str) -> None:
    assert len(read_score_points([observation(terms.PHQ9_TOTAL, quantity(12), status=status)])) == 1


# --- numbers ---------------------------------------------------------------------------------------------------------
@given(st.integers(-999, 999))
def test_a_whole_number_is_the_same_in_every_json_shape(value: int) -> None:
    assert [number(value), number(float(value)), number(Decimal(value)), number({"value": value})] == [value] * 4
    assert number(str(value)) == (value if value >= 0 else None)


@given(st.one_of(st.text(), st.booleans(), st.none(), st.lists(st.integers()), st.floats(), st.decimals()))
def test_anything_else_is_no_number_and_no_error(value: Any) -> None:
    found = number(value)
    assert found is None or str(value).strip().removesuffix(".0") == str(found) or Decimal(value) == found
