"""Take back one Observation that we wrote: it stays, as entered in error, with who said so and why.

    request → one batch → the Observation → one transaction

A value that was only mistyped is corrected by recording its row again (``record_infusion``). What others wrote is
theirs to correct.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fhir_aftercare.errors import InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir import corrections, provenance
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.chart import observation_section, patient_section
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext


@dataclass(frozen=True, slots=True)
class RetractionDecision:
    """The difference to write."""

    transaction: Transaction


async def retract_observation(
    context: ClinicContext, patient: str, observation: str, reason: str, person: str | None
) -> bool:
    """Mark an Observation of ours (``Observation/1``) as entered in error; tell whether anything had to be written.

    ``reason`` are the words of a person, ``person`` is a reference. Raises ``InvalidInput`` without a reason and for an
    Observation that others wrote, ``NotFound``, ``WrongSubject``, and what failures of the FHIR server become.
    """
    if not reason.strip():
        raise InvalidInput("A retraction needs the reason, in the words of a person.", where="reason")
    settled = await settle(
        context,
        patient,
        [patient_section(patient), observation_section(observation)],
        lambda chart: decide(context, chart, observation, reason=reason, person=person),
    )
    return settled.wrote


def decide(
    context: ClinicContext, chart: Chart, observation: str, *, reason: str, person: str | None
) -> RetractionDecision:
    """Compare the Observation with what it must be. Pure."""
    id_ = observation.rpartition("/")[2]
    found = next((each for each in chart.of("Observation") if each["id"] == id_), None)
    if found is None:
        raise NotFound("The Observation is not on this FHIR server.", where="observation")
    if not refers_to(found.get("subject"), chart.patient):
        raise WrongSubject("The Observation is another patient's.", where="observation")
    if not corrections.has_identifier_of(found, context.identifiers.system("observation")):
        raise InvalidInput(
            "The Observation was not written by this software.",
            where="observation",
            remedy="Correct it where it was written.",
        )
    draft = Draft(context, chart, reference_of(chart.patient))
    changed = corrections.taken_back(found)
    if changed is not None:
        draft.transaction.update(changed, found)
    provenance.sign(
        draft.transaction,
        context.identifiers,
        context.author(person),
        at=draft.now,
        policy=[context.protocol.infusion.canonical],
        activity="NULLIFY",
        reason=reason,
    )
    return RetractionDecision(draft.transaction)
