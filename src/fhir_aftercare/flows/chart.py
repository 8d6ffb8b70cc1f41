"""Reading a chart: one batch for everything a decision rests on. Every flow begins here.

A section that could not be read is a gap, never an empty section: ``require`` refuses to decide on a gap, a page
shows it as such. What is read stays plain FHIR JSON; its meaning belongs to ``fhir`` and ``care``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from fhir_aftercare.errors import FhirGone, FhirNotFound, NotFound, WrongSubject
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.fhir.references import refers_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.ehr.answers import BatchAnswer
    from fhir_aftercare.ehr.client import FhirClient
    from fhir_aftercare.errors import AftercareError

Resource = dict[str, Any]
Known = TypeVar("Known")

OPEN_TASKS = "draft,requested,received,accepted,ready,in-progress,on-hold"
_PAGE = "_count=200"
# What the caller names: if it is not there, the caller must know.
_PERSON = "recorded_by"
_NAMED = frozenset({"patient", "encounter", _PERSON})


@dataclass(frozen=True, slots=True)
class Chart:
    """What one batch gave. ``resources`` are by type; ``gaps`` names the sections that could not be read.

    It never changes, so what is worked out from it is worked out once: see ``once``.
    """

    patient: Resource
    encounter: Resource | None
    resources: Mapping[str, Sequence[Resource]]
    gaps: Mapping[str, AftercareError] = field(default_factory=dict)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, name: str, look: Callable[[Chart], Known]) -> Known:
        """Give what ``look`` finds in the chart, found at the first asking; nobody may change it."""
        if name not in self._known:
            self._known[name] = look(self)
        found: Known = self._known[name]
        return found

    def of(self, type_: str) -> Sequence[Resource]:
        """Give the resources of one type that were read, each once."""
        return self.resources.get(type_, ())

    def by_identifier(self) -> Mapping[tuple[str, str], Resource]:
        """Give the resources that carry an identifier, by (system, value)."""
        return self.once("by identifier", _by_identifier)


def _by_identifier(chart: Chart) -> dict[tuple[str, str], Resource]:
    return {
        (identifier["system"], identifier["value"]): resource
        for resources in chart.resources.values()
        for resource in resources
        for identifier in _identifiers(resource)
        if identifier.get("system") and identifier.get("value")
    }


def _identifiers(resource: Resource) -> list[Resource]:
    """Give a resource's identifiers: R4 allows a QuestionnaireResponse only one, which is no list."""
    given = resource.get("identifier") or []
    return [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, dict)]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a chart: its name for people, the type its matches have, and the query."""

    name: str
    type: str
    query: str


def _q(reference: str) -> str:
    return quote(reference, safe="/:")


def patient_section(patient: str) -> Section:
    """Give the section that reads the patient: it is always the first."""
    return Section("patient", "Patient", _q(patient))


def person_sections(person: str | None) -> list[Section]:
    """Give the section that reads who acts, if somebody is named: else the whole transaction would be refused."""
    return [Section(_PERSON, person.partition("/")[0], _q(person))] if person else []


def encounter_sections(encounter: str) -> list[Section]:
    """Give what hangs on one encounter: itself, the drug's records, everything observed."""
    e = _q(encounter)
    return [
        Section("encounter", "Encounter", e),
        Section(
            "drug records",
            "MedicationAdministration",
            f"MedicationAdministration?context={e}&_include=MedicationAdministration:medication&{_PAGE}",
        ),
        Section("procedures", "Procedure", f"Procedure?encounter={e}&{_PAGE}"),
        Section("observations", "Observation", f"Observation?encounter={e}&{_PAGE}"),
    ]


def infusion_sections(identifier: Mapping[str, str]) -> list[Section]:
    """Give the drug's record of an infusion that has no encounter, by its business identifier."""
    query = token_query("identifier", dict(identifier))
    return [
        Section("drug records", "MedicationAdministration", f"MedicationAdministration?{query}"),
        Section("procedures", "Procedure", f"Procedure?{query}"),
    ]


def condition_section(patient: str) -> Section:
    """Give the patient's depressive disorders."""
    code = terms.DEPRESSIVE_DISORDER
    return Section("conditions", "Condition", f"Condition?patient={_q(patient)}&code={code.system}|{code.code}")


def recent_observations(patient: str, since: datetime) -> Section:
    """Give the patient's vital signs and examinations since an instant, whoever wrote them (design §9.19)."""
    at = quote(since.isoformat(timespec="seconds"), safe=":")
    return Section(
        "recent observations",
        "Observation",
        f"Observation?patient={_q(patient)}&category=vital-signs,exam&date=ge{at}&{_PAGE}",
    )


def plan_sections(patient: str) -> list[Section]:
    """Give our plans with all that is based on them, and the open Tasks that are based on none."""
    p = _q(patient)
    ours = f"{terms.AFTERCARE}|{terms.COURSE_PLAN.code},{terms.AFTERCARE}|{terms.INFUSION_PLAN.code}"
    return [
        Section(
            "plans",
            "CarePlan",
            f"CarePlan?patient={p}&category={ours}&_include=CarePlan:goal&_revinclude=Task:based-on"
            f"&_revinclude=ServiceRequest:based-on&{_PAGE}",
        ),
        Section("open tasks", "Task", f"Task?patient={p}&status={OPEN_TASKS}&{_PAGE}"),
    ]


def score_section(patient: str) -> Section:
    """Give the patient's PHQ-9 and GAD-7 results, newest first: totals and items, in every coding they are found in."""
    codes = ",".join(
        f"{code.system}|{code.code}"
        for code in (
            terms.PHQ9_TOTAL, terms.GAD7_TOTAL, terms.PHQ9_ITEM9, terms.PHQ9_PANEL, terms.GAD7_PANEL,
            terms.PHQ9_TOTAL_SNOMED, terms.GAD7_TOTAL_SNOMED, terms.PHQ2_TOTAL, terms.PHQ9_DIFFICULTY,
            *terms.PHQ9_ITEMS[:-1], *terms.GAD7_ITEMS,
        )
    )  # fmt: skip
    return Section("scores", "Observation", f"Observation?patient={_q(patient)}&code={codes}&_sort=-date&{_PAGE}")


def total_sections(patient: str) -> list[Section]:
    """Give the patient's PHQ-9 and GAD-7 totals, panels and item 9, newest first; no other items.

    In searches of their own: with hundreds of forms answered it still is one page of the server for each.
    """
    found = []
    for codes in (
        (terms.PHQ9_TOTAL, terms.PHQ9_TOTAL_SNOMED, terms.PHQ9_PANEL),
        (terms.PHQ9_ITEM9,),
        (terms.GAD7_TOTAL, terms.GAD7_TOTAL_SNOMED, terms.GAD7_PANEL),
    ):
        named = ",".join(f"{each.system}|{each.code}" for each in codes)
        query = f"Observation?patient={_q(patient)}&code={named}&_sort=-date&{_PAGE}"
        found.append(Section("scores", "Observation", query))
    return found


def call_section(patient: str, since: datetime) -> Section:
    """Give the attempts to reach the patient since a day, with who made them."""
    day = since.date().isoformat()
    query = f"Communication?patient={_q(patient)}&sent=ge{day}&_include=Communication:sender:Practitioner&{_PAGE}"
    return Section("calls", "Communication", query)


def review_section(patient: str) -> Section:
    """Give the patient's clinical-review Tasks, closed ones too: there is one open at most (design §9.20)."""
    code = terms.CLINICAL_REVIEW
    return Section("reviews", "Task", f"Task?patient={_q(patient)}&code={code.system}|{code.code}&{_PAGE}")


def observation_section(observation: str) -> Section:
    """Give one Observation with the items it is made of."""
    id_ = quote(observation.rpartition("/")[2], safe="")
    return Section("score", "Observation", f"Observation?_id={id_}&_include=Observation:has-member")


def answers_section(observation: str) -> Section:
    """Give one Observation with all that it may be made of: answers, items, and the panel that holds it."""
    query = f"{observation_section(observation).query}&_include=Observation:derived-from"
    return Section("score", "Observation", f"{query}&_revinclude=Observation:has-member")


def response_section(identifier: Mapping[str, str]) -> Section:
    """Give the answers of one submission, if they are there."""
    query = token_query("identifier", dict(identifier))
    return Section("answers", "QuestionnaireResponse", f"QuestionnaireResponse?{query}")


async def read_chart(fhir: FhirClient, sections: Sequence[Section]) -> Chart:
    """Read the sections in one batch (further pages only where a section has them).

    The first section is the patient. Raises ``NotFound`` if there is no such patient or encounter, ``WrongSubject`` if
    the encounter is another patient's, and what the client raises if the batch as a whole fails.
    """
    answers = await fhir.batch([section.query for section in sections])
    found: dict[str, dict[str, Resource]] = {}
    gaps: dict[str, AftercareError] = {}
    for section, answer in zip(sections, answers, strict=True):
        if answer.error is not None:
            if isinstance(answer.error, FhirNotFound | FhirGone) and section.name in _NAMED:
                raise NotFound(f"The {section.name} is not on this FHIR server.", where=section.name) from answer.error
            gaps[section.name] = answer.error
            continue
        for resource in await _all_of(fhir, section, answer):
            found.setdefault(resource["resourceType"], {})[resource["id"]] = resource
    if "patient" in gaps:
        raise gaps["patient"]
    resources = {type_: tuple(by_id.values()) for type_, by_id in found.items()}
    patient = next(iter(resources["Patient"]))
    encounter = next(iter(resources.get("Encounter", ())), None)
    if encounter is not None and not refers_to(encounter.get("subject"), patient):
        raise WrongSubject("The encounter belongs to another patient.", where="encounter")
    return Chart(patient, encounter, resources, gaps)


async def _all_of(fhir: FhirClient, section: Section, answer: BatchAnswer) -> Iterable[Resource]:
    resource = answer.resource
    if resource is None:
        return ()
    if resource["resourceType"] != "Bundle":
        return (resource,)
    pages = await fhir.collect(section.type, resource)
    return (*pages.matches, *pages.included)


def check_clinic(chart: Chart, clinic: Clinic) -> Chart:
    """Give the chart if its encounter is the clinic's. Raises ``WrongSubject`` if it is another's on this server."""
    if chart.encounter is not None and clinic.organizations:
        provider = str((chart.encounter.get("serviceProvider") or {}).get("reference", ""))
        if not any(provider == each or provider.endswith(f"/{each}") for each in clinic.organizations):
            raise WrongSubject("The encounter is another clinic's.", where="encounter")
    return chart


def require(chart: Chart) -> Chart:
    """Give the chart if every section was read; a decision is never made on a gap. Raises the first gap's error."""
    for name, error in chart.gaps.items():
        if name != _PERSON:  # whether the person may be read decides nothing: the server will refuse who is not there
            raise error
    return chart
