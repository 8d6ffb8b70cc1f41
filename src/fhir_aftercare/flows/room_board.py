"""The room: the infusions that run, and those that have ended today, across patients, each as its visit stands.

    one batch (who is given ketamine) → one batch (what was found, and the plans) → the visits

Data only, no page. A visit of another clinic on the same server is left out; what could not be read is a gap of its
visit, never an empty chart (design §4.4).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import WrongSubject
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.findings import read_administrations
from fhir_aftercare.fhir.references import target_of
from fhir_aftercare.flows.chart import Chart, check_clinic
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.open_visit import look

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.open_visit import VisitView

Resource = dict[str, Any]

# Who was given the drug longer ago has left, or is on the worklist.
TODAY: Final = timedelta(hours=12)
# As many as one page can show: the running ones come first.
MOST: Final = 12
_PAGE: Final = "_count=200"
# Of these each names its visit; of all others whom it is about is enough.
_OF_A_VISIT: Final = frozenset({"MedicationAdministration", "Procedure", "Observation", "CarePlan"})
_LIVING: Final = "in-progress,on-hold,completed,stopped,unknown"


@dataclass(frozen=True, slots=True)
class Room:
    """The visits, the running ones first, then by their start. ``more`` are not shown. ``places`` name where a visit
    is (chair, room), by encounter reference.
    """

    visits: tuple[VisitView, ...]
    more: int
    places: Mapping[str, str]
    as_of: datetime
    gaps: Mapping[str, AftercareError] = field(default_factory=dict)


async def room_board(context: ClinicContext) -> Room:
    """Read the room in two round trips. Raises what a failure of a whole batch becomes."""
    now = context.clock()
    found, gaps = await _read(context, _drug_queries(now - TODAY))
    encounters = _encounters(context.clinic, found)
    shown = encounters[:MOST]
    more: dict[str, dict[str, Resource]] = {}
    if shown:
        read, other = await _read(context, _visit_queries([reference_of(each) for each in shown]))
        more, gaps = read, {**gaps, **other}
    everything = _merged(found, more)
    about = _by_what_it_is_about(everything)
    charts = [_chart(encounter, everything, about, gaps) for encounter in shown]
    visits = [look(context, chart) for chart in charts if chart is not None]
    return Room(tuple(visits), len(encounters) - len(shown), {reference_of(e): _place(e) for e in shown}, now, gaps)


Found = dict[str, dict[str, Resource]]
About = dict[str, dict[str, list[Resource]]]


async def _read(
    context: ClinicContext, queries: Mapping[str, tuple[str, str]]
) -> tuple[Found, dict[str, AftercareError]]:
    answers = await context.fhir.batch([query for _, query in queries.values()])
    found: Found = {}
    gaps: dict[str, AftercareError] = {}
    for (name, (type_, _)), answer in zip(queries.items(), answers, strict=True):
        if answer.error is not None or answer.resource is None:
            if answer.error is not None:
                gaps[name] = answer.error
            continue
        pages = await context.fhir.collect(type_, answer.resource)
        for each in (*pages.matches, *pages.included):
            found.setdefault(each["resourceType"], {})[each["id"]] = each
    return found, gaps


def _drug_queries(since: datetime) -> dict[str, tuple[str, str]]:
    at = utc(since).strftime("%Y-%m-%dT%H:%M:%SZ")
    administration = "MedicationAdministration"
    includes = "&".join(f"_include={administration}:{each}" for each in ("subject", "context", "medication"))
    of_procedures = "&".join(f"_include=Procedure:{each}" for each in ("subject", "encounter"))
    return {
        "drug records": (
            administration,
            f"{administration}?status={_LIVING}&effective-time=ge{at}&{includes}&{_PAGE}",
        ),
        "procedures": ("Procedure", f"Procedure?status={_LIVING}&date=ge{at}&{of_procedures}&{_PAGE}"),
    }


def _visit_queries(encounters: Sequence[str]) -> dict[str, tuple[str, str]]:
    category = f"{terms.INFUSION_PLAN.system}|{terms.INFUSION_PLAN.code}"
    children = "_revinclude=Task:based-on&_revinclude=ServiceRequest:based-on"
    named = ",".join(encounters)
    found = {"plans": ("CarePlan", f"CarePlan?encounter={named}&category={category}&{children}&{_PAGE}")}
    for number, each in enumerate(encounters, 1):
        found[f"observations {number}"] = ("Observation", f"Observation?encounter={each}&{_PAGE}")
    return found


def _encounters(clinic: Clinic, found: Found) -> list[Resource]:
    """Give the encounters in which ketamine is given or was, the running ones first."""
    known = [each for type_ in ("MedicationAdministration", "Procedure", "Medication") for each in _of(found, type_)]
    best: dict[str, tuple[bool, datetime]] = {}
    encounters = {reference_of(each): each for each in _of(found, "Encounter")}
    for given in read_administrations(known, clinic):
        named = target_of(given.resource.get("context") or given.resource.get("encounter"))
        if named in encounters and _is_here(encounters[named], clinic):
            ended = given.end is not None or given.resource.get("status") != "in-progress"
            rank = (ended, utc(given.start))
            best[named] = min(best.get(named, rank), rank)
    return [encounters[name] for name in sorted(best, key=lambda each: best[each])]


def _is_here(encounter: Resource, clinic: Clinic) -> bool:
    try:
        check_clinic(Chart({}, encounter, {}), clinic)
    except WrongSubject:
        return False
    return True


def _merged(*both: Found) -> Found:
    found: Found = {}
    for each in both:
        for type_, resources in each.items():
            found.setdefault(type_, {}).update(resources)
    return found


def _of(found: Found, type_: str) -> Iterable[Resource]:
    return found.get(type_, {}).values()


def _by_what_it_is_about(found: Found) -> About:
    """Give what was read by the visit or patient (``Type/id``) it is about, and by its type."""
    about: About = defaultdict(lambda: defaultdict(list))
    for type_, resources in found.items():
        first, second = ("context", "encounter") if type_ in _OF_A_VISIT else ("for", "subject")
        for each in resources.values():
            about[target_of(each.get(first) or each.get(second))][type_].append(each)
    return about


def _chart(encounter: Resource, found: Found, about: About, gaps: Mapping[str, AftercareError]) -> Chart | None:
    """Give the chart of one visit out of what was read for all; None if its patient did not come along."""
    subject = target_of(encounter.get("subject"))
    patient = next((each for each in _of(found, "Patient") if reference_of(each) == subject), None)
    if patient is None:
        return None
    # No type is about both, so neither hides anything of the other.
    resources = {**about[subject], **about[reference_of(encounter)], "Medication": [*_of(found, "Medication")]}
    return Chart(patient, encounter, resources, gaps)


def _place(encounter: Resource) -> str:
    """Give where a visit is, in the EHR's own words: the last place named that is not over."""
    named = [
        str((each.get("location") or {}).get("display") or "")
        for each in encounter.get("location") or ()
        if each.get("status") != "completed"
    ]
    return next((each for each in reversed(named) if each), "")
