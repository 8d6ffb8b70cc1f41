"""The hospital of a chaos run: patients whose infusion has ended, and what must be on the server for them then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fhir_aftercare.fhir import careplan, terms
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fhir_aftercare.ehr.client import FhirClient

Resource = dict[str, Any]

VISIT_SYSTEM = "https://harbor.example.org/visits"
MRN_SYSTEM = "https://harbor.example.org/mrn"
_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class Visit:
    """One infusion visit: its FHIR ids, and the numbers by which HL7 v2 knows it."""

    number: int
    patient: str
    encounter: str
    left_at: datetime

    @property
    def visit_number(self) -> str:
        """PV1-19."""
        return f"V{self.number:06}"

    @property
    def mrn(self) -> str:
        """PID-3."""
        return f"M{self.number:06}"


async def admit(fhir: FhirClient, organization: str, count: int, done: Callable[[int], None]) -> list[Visit]:
    """Write ``count`` patients with a finished encounter and its ketamine record, and give them."""
    visits: list[Visit] = []
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    for first in range(0, count, _AT_A_TIME):
        numbers = range(first, min(first + _AT_A_TIME, count))
        entries = [entry for number in numbers for entry in _visit(number, organization, end)]
        answer = await fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
        places = [each.location.reference for each in answer.entries if each.location is not None]
        for index, number in enumerate(numbers):
            patient, encounter, _ = places[3 * index : 3 * index + 3]
            visits.append(Visit(number, patient, encounter, end + timedelta(minutes=90)))
        done(len(visits))
    return visits


def _visit(number: int, organization: str, end: datetime) -> list[Resource]:
    visit = Visit(number, f"urn:uuid:0000{number:04x}-0000-4000-8000-000000000001", "", end)
    encounter_urn = f"urn:uuid:0000{number:04x}-0000-4000-8000-000000000002"
    start = end - timedelta(minutes=40)
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": MRN_SYSTEM, "value": visit.mrn}],
        "name": [{"family": f"Chaos{number}", "given": ["Test"]}],
        "birthDate": "1980-01-01",
    }
    encounter = {
        "resourceType": "Encounter",
        "identifier": [{"system": VISIT_SYSTEM, "value": visit.visit_number}],
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": visit.patient},
        "serviceProvider": {"reference": organization},
        "period": {"start": instant(start), "end": instant(end + timedelta(minutes=90))},
    }
    drug = {
        "resourceType": "MedicationAdministration",
        "status": "completed",
        "medicationCodeableConcept": {"coding": [terms.KETAMINE_RXNORM.coding()]},
        "subject": {"reference": visit.patient},
        "context": {"reference": encounter_urn},
        "effectivePeriod": {"start": instant(start), "end": instant(end)},
    }
    return [
        _post(patient, visit.patient),
        _post(encounter, encounter_urn),
        _post(drug, f"urn:uuid:0000{number:04x}-0000-4000-8000-000000000003"),
    ]


def _post(resource: Resource, urn: str) -> Resource:
    return {"fullUrl": urn, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong at the end, in words; empty if nothing is."""

    plans: int
    tasks: int
    faults: tuple[str, ...]


async def judge(fhir: FhirClient, visits: Sequence[Visit]) -> Verdict:
    """Look at everything on the server: exactly one whole plan for each visit, and nothing twice."""
    category = f"{terms.AFTERCARE}|{terms.INFUSION_PLAN.code},{terms.AFTERCARE}|{terms.COURSE_PLAN.code}"
    plans = [each async for each in fhir.search("CarePlan", {"category": category, "_count": "200"})]
    work = [each async for each in fhir.search("Task", {"_count": "200"})]
    restrictions = [each async for each in fhir.search("ServiceRequest", {"_count": "200"})]
    faults = [*_twice(plans), *_twice(work), *_twice(restrictions), *_strays(plans, work, restrictions)]
    infusions = [each for each in plans if careplan.is_kind(each, "infusion")]
    by_visit = Counter(each["encounter"]["reference"] for each in infusions)
    wanted = {visit.encounter for visit in visits}
    faults += [f"{encounter}: {by_visit[encounter]} plans" for encounter in wanted if by_visit[encounter] != 1]
    if set(by_visit) - wanted:
        faults.append("there is a plan of an encounter that was never discharged")
    faults += [f"CarePlan {each['id']} is {each['status']}" for each in plans if each["status"] != "active"]
    faults += _unlike(infusions, [*work, *restrictions])
    return Verdict(len(infusions), len(work), tuple(faults))


def _twice(resources: Sequence[Resource]) -> list[str]:
    seen = Counter(each["identifier"][0]["value"] for each in resources if each.get("identifier"))
    kind = resources[0]["resourceType"] if resources else ""
    return [f"{kind} identifier {value} is there {count} times" for value, count in seen.items() if count > 1]


def _strays(plans: Sequence[Resource], *work: Sequence[Resource]) -> list[str]:
    """Find what belongs to no plan that is there."""
    known = {f"CarePlan/{each['id']}" for each in plans}
    return [
        f"{each['resourceType']} {each['id']} belongs to no plan"
        for of_type in work
        for each in of_type
        if not any(reference["reference"] in known for reference in each.get("basedOn") or ())
    ]


def _unlike(plans: Sequence[Resource], work: Sequence[Resource]) -> list[str]:
    """Find plans that lack, or have more of, what most of them have: all these visits are alike."""
    children: dict[str, Counter[str]] = {f"CarePlan/{each['id']}": Counter() for each in plans}
    for each in work:
        for reference in each.get("basedOn") or ():
            if reference["reference"] in children:
                children[reference["reference"]][_kind(each)] += 1
    shapes = Counter(frozenset(each.items()) for each in children.values())
    if not shapes:
        return ["there is no plan at all"]
    usual = dict(shapes.most_common(1)[0][0])
    faults = [f"{plan} has {dict(found)}" for plan, found in children.items() if dict(found) != usual]
    return [*faults, *([] if usual else ["the plans have nothing in them"])]


def _kind(resource: Resource) -> str:
    return str(resource.get("instantiatesCanonical") or resource["code"].get("text") or resource["resourceType"])
