"""Correct a row of an infusion's sheet: its values, its time, or that it never was; all of it in one transaction.

    request → one batch → the row's Observations → one transaction

Each Observation stays the same one: what is corrected becomes ``amended``, what is taken back ``entered-in-error``, and
its versions tell what stood there before. Whoever decided on another version than the chart has now is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.record_check import check_record
from fhir_aftercare.errors import InvalidInput, NotFound, Stale, WrongSubject
from fhir_aftercare.fhir import corrections, provenance
from fhir_aftercare.fhir.observations import amended, measured
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.fhir.tasks import instant
from fhir_aftercare.flows.chart import Section, patient_section
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.settle import settle

if TYPE_CHECKING:
    from fhir_aftercare.care.infusion import Check, InfusionRecord
    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ValueChange:
    """What one Observation (``Observation/1``, in the ``version`` somebody looked at) should say.

    ``check`` holds its right value at its right time; None takes it back.
    """

    observation: str
    version: str
    check: Check | None


@dataclass(frozen=True, slots=True)
class RowCorrection:
    """A row as it should be. ``record`` is the infusion it belongs to, ``reason`` the words of a person."""

    patient: str
    record: InfusionRecord
    changes: tuple[ValueChange, ...]
    reason: str
    person: str | None = None


@dataclass(frozen=True, slots=True)
class RowDecision:
    """The difference to write."""

    transaction: Transaction


async def correct_row(context: ClinicContext, request: RowCorrection) -> bool:
    """Write what a correction changes; tell whether anything had to be written.

    Raises ``InvalidInput`` without a reason, for values that cannot be real (``checks[0].systolic``: the first change
    that is not taken back) and for what others wrote; ``Stale`` if the chart has changed since somebody looked,
    ``NotFound``, ``WrongSubject``, and what failures of the FHIR server become. Nothing is written then.
    """
    if not request.reason.strip():
        raise InvalidInput("A correction needs the reason, in the words of a person.", where="reason")
    checks = [replace(each.check, id=each.observation) for each in request.changes if each.check is not None]
    check_record(replace(request.record, checks=tuple(checks)), context.clock())
    sections = [patient_section(request.patient), _row_section(request)]
    settled = await settle(context, request.patient, sections, lambda chart: decide(context, request, chart))
    return settled.wrote


def decide(context: ClinicContext, request: RowCorrection, chart: Chart) -> RowDecision:
    """Compare the row with what it must be. Pure."""
    draft = Draft(context, chart, request.patient)
    for change in request.changes:
        found = _found(context, chart, change)
        wanted = corrections.taken_back(found) if change.check is None else _amended(found, change.check)
        if wanted is None:
            continue
        if str((found.get("meta") or {}).get("versionId")) != change.version:
            raise Stale("The row was changed in the chart since you opened it.", where=change.observation)
        draft.transaction.update(wanted, found)
    provenance.sign(
        draft.transaction,
        context.identifiers,
        context.author(request.person),
        at=draft.now,
        policy=[context.protocol.infusion.canonical],
        activity="UPDATE" if any(each.check for each in request.changes) else "NULLIFY",
        reason=request.reason,
    )
    return RowDecision(draft.transaction)


def _row_section(request: RowCorrection) -> Section:
    ids = ",".join(each.observation.rpartition("/")[2] for each in request.changes)
    return Section("row", "Observation", f"Observation?_id={ids}")


def _found(context: ClinicContext, chart: Chart, change: ValueChange) -> Resource:
    found = next((each for each in chart.of("Observation") if reference_of(each) == change.observation), None)
    if found is None:
        raise NotFound("The value is not on this FHIR server.", where=change.observation)
    if not refers_to(found.get("subject"), chart.patient):
        raise WrongSubject("The value is another patient's.", where=change.observation)
    if not corrections.has_identifier_of(found, context.identifiers.system("observation")):
        raise InvalidInput(
            "The value was not written by this software.",
            where=change.observation,
            remedy="Correct it where it was written.",
        )
    return found


def _amended(found: Resource, check: Check) -> Resource | None:
    """Give the Observation with its right value and time; None if it has them, or was taken back before."""
    value = next((elements for _, elements in measured(check)), {})
    wanted = {"resourceType": "Observation", "status": "final", **value, "effectiveDateTime": instant(check.at)}
    return amended(found, wanted)
