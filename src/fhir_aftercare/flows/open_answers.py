"""Open the answers behind a score: what was asked and answered, and what that comes to, from one batch.

    Observation with what it is derived from → fhir.made_of → care.instruments

Data only, no page. Answers that could not be read are a gap: the score stands, and what it rests on is not known. A
second batch is only needed for a panel that holds the score and has items which the server did not send with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fhir_aftercare.care.instruments import score
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.errors import InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir.made_of import made_of, panel_of
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.fhir.responses import read_total
from fhir_aftercare.flows.chart import Section, answers_section, patient_section, read_chart
from fhir_aftercare.flows.draft import reference_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.instruments import Answers, Score
    from fhir_aftercare.fhir.responses import Reading
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AnswersView:
    """A score (``observation``, as read) with its answers. ``total`` is what the chart says it is.

    ``answers`` are those of its instrument, ``computed`` what they come to. ``gap``: it names answers that could not be
    read; then ``answers`` are those of the total alone, which are none.
    """

    patient: Resource
    observation: Resource
    reading: Reading
    answers: Answers
    total: int | None
    computed: Score
    gap: bool


async def open_answers(context: ClinicContext, patient: str, observation: str) -> AnswersView:
    """Read the answers behind a score of a patient (``Patient/1``, ``Observation/1``).

    Raises ``NotFound``, ``WrongSubject`` if it is another patient's, ``InvalidInput`` if it is no score that is
    understood, and what failures of the FHIR server become.
    """
    chart = await read_chart(context.fhir, [patient_section(patient), answers_section(observation)])
    for error in chart.gaps.values():
        raise error
    found = [*chart.of("Observation"), *chart.of("QuestionnaireResponse")]
    own = next((each for each in found if reference_of(each) == observation), None)
    if own is None:
        raise NotFound("The score is not in the chart.", where="of")
    if not own.get("subject"):
        raise WrongSubject("The score is nobody's.", where="of")
    _check_subjects(found, chart.patient)
    around = [each for each in found if each is not own]
    around += await _members(context, patient, own, around)
    return look(context, chart.patient, own, around)


def look(context: ClinicContext, patient: Resource, observation: Resource, around: Sequence[Resource]) -> AnswersView:
    """Say what a score and what was read around it tell. Pure. Raises as ``open_answers`` does."""
    alone = read_total(observation)
    try:
        reading, unread = made_of(observation, around, context.protocol.form_resources()), False
    except InvalidInput:
        reading, unread = alone, True
    own = alone.answers
    if own is None:
        raise InvalidInput("The Observation is no score that is understood.", where="of")
    answers = reading.answers_to(own.instrument) or own
    panel = panel_of(observation, around) or {}
    behind = {*_references(observation, "derivedFrom"), *_references(panel, "hasMember")} - {reference_of(observation)}
    return AnswersView(
        patient=patient,
        observation=observation,
        reading=reading,
        answers=answers,
        total=own.stated_total,
        computed=score(answers),
        gap=unread or (bool(behind) and not any(each is not None for each in answers.items)),
    )


async def _members(
    context: ClinicContext, patient: str, observation: Resource, around: Sequence[Resource]
) -> Sequence[Resource]:
    """Give the items of the panel that holds the score, if the server has not sent them with it."""
    panel = panel_of(observation, around)
    known = {each["id"] for each in (observation, *around)}
    named = (each.partition("/") for each in _references(panel or {}, "hasMember"))
    ids = sorted({id_ for type_, _, id_ in named if type_ == "Observation"} - known)
    if not ids:
        return ()
    query = f"Observation?_id={quote(','.join(ids), safe=',')}&_count=200"
    chart = await read_chart(context.fhir, [patient_section(patient), Section("items", "Observation", query)])
    _check_subjects(chart.of("Observation"), chart.patient)
    return chart.of("Observation")


def _check_subjects(resources: Sequence[Resource], patient: Resource) -> None:
    if not all(refers_to(each["subject"], patient) for each in resources if each.get("subject")):
        raise WrongSubject("The score is another patient's.", where="of")


def _references(resource: Resource, name: str) -> list[str]:
    places = [location_of(each.get("reference")) for each in resource.get(name) or ()]
    return [each.reference for each in places if each is not None]
