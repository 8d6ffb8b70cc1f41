"""The scored forms ask, in words and weights, what the scoring scores."""

from __future__ import annotations

import pytest

from fhir_aftercare.care import instruments
from fhir_aftercare.fhir import terms
from profiles.lock import read

FORMS = {each["url"]: each for each in read().values() if each["resourceType"] == "Questionnaire"}


@pytest.mark.parametrize(
    ("url", "codes", "instrument"),
    [
        (terms.QUESTIONNAIRE_PHQ9, terms.PHQ9_ITEMS, instruments.PHQ9),
        (terms.QUESTIONNAIRE_GAD7, terms.GAD7_ITEMS, instruments.GAD7),
    ],
)
def test_a_scored_form_asks_what_the_scoring_scores(
    url: str, codes: tuple[terms.Code, ...], instrument: instruments.Instrument
) -> None:
    asked = {item["linkId"]: item for item in FORMS[url]["item"]}
    assert [asked[f"/{code.code}"]["text"] for code in codes] == list(instrument.items)
    for code in codes:
        assert len(asked[f"/{code.code}"]["answerOption"]) == instrument.max_answer + 1
    if instrument.safety_item:
        assert codes[instrument.safety_item - 1].code == terms.PHQ9_ITEM9.code
