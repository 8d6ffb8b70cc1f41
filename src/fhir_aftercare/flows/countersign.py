"""Who stands for a plan; and to sign one that was made by itself: a person stands for it from now on (design §9.7).

    one read of the plan → one transaction with a Provenance of its author; the plan itself stays as it is

Signing twice leaves one signature: it is created by its tag, of plan and person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import local
from fhir_aftercare.errors import FhirGone, FhirNotFound, IllegalMove, InvalidInput, NotFound, WrongSubject
from fhir_aftercare.fhir import careplan, provenance
from fhir_aftercare.fhir.bundles import Transaction
from fhir_aftercare.fhir.check import check_bundle
from fhir_aftercare.fhir.references import refers_to

if TYPE_CHECKING:
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


async def countersign(context: ClinicContext, patient: str, plan: str, person: str | None) -> None:
    """Sign ``plan`` (``CarePlan/1``) of ``patient`` in the name of ``person``.

    Raises ``InvalidInput`` without a person, ``NotFound``, ``WrongSubject`` for another patient's plan, ``IllegalMove``
    for one that is not in force, and what failures of the FHIR server become.
    """
    if person is None:
        raise InvalidInput("A signature needs a person: the EHR did not say who signed in.", where="person")
    try:
        found = await context.fhir.read("CarePlan", plan.partition("/")[2])
    except (FhirNotFound, FhirGone) as missing:
        raise NotFound("There is no such plan.", where="plan") from missing
    if not refers_to(found.get("subject"), {"resourceType": "Patient", "id": patient.partition("/")[2]}):
        raise WrongSubject("The plan is another patient's.", where="plan")
    if not careplan.is_kind(found, "infusion") or found.get("status") != "active":
        raise IllegalMove("Only a plan that is in force can be signed.", legal=(), where="plan")
    transaction = Transaction()
    provenance.countersign(
        transaction,
        context.identifiers,
        context.author(person),
        plan=plan,
        at=local(context.clock(), context.clinic.zone),
        policy=[str(each) for each in found.get("instantiatesCanonical") or ()],
    )
    bundle = transaction.bundle()
    check_bundle(bundle, transaction.existing, transaction.merged)
    await context.fhir.transaction(bundle)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who stands for a plan: the reference, the person as read (None: not readable), and when, as FHIR has it."""

    reference: str
    person: Resource | None
    at: str


async def signatures(context: ClinicContext, plan: str) -> list[Signature]:
    """Give who stands for ``plan`` (``CarePlan/1``), the first one first: one batch.

    Raises what the FHIR server's refusal becomes.
    """
    query = f"Provenance?target={plan}&_include=Provenance:agent&_count=50"
    (answer,) = await context.fhir.batch([query])
    found = [each["resource"] for each in answer.unwrap().get("entry") or ()]
    persons = {f"{each['resourceType']}/{each['id']}": each for each in found}
    records = [each for each in found if each["resourceType"] == "Provenance"]
    return [Signature(who, persons.get(who), at) for who, at in provenance.signers(records)]
