"""Where one infusion stands, read out of a chart: its episode, its anchor, its plans, what is known of the escort.

Looks only; the flows decide. Existing plans are looked up first, so that whatever signal comes, in whatever order, it
finds the same episode (design §9.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.escalation import History
from fhir_aftercare.care.infusion import InfusionStatus
from fhir_aftercare.care.instruments import PHQ9
from fhir_aftercare.care.outcome import baseline, tag_recall
from fhir_aftercare.care.plan import Anchor, Episode, episode_number, estimate_end
from fhir_aftercare.care.timing import utc, zone_of
from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import AftercareError, WrongSubject
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.fhir.findings import read_administrations, read_findings
from fhir_aftercare.fhir.references import by_target, refers_to
from fhir_aftercare.fhir.responses import read_score_points

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.outcome import Point
    from fhir_aftercare.care.plan import EscortState
    from fhir_aftercare.care.readiness import Finding
    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart

Resource = dict[str, Any]


def find_episode(
    chart: Chart, clinic: Clinic, identifiers: Identifiers, infusion: str | None, start: datetime | None
) -> Episode:
    """Give the episode that ``start`` belongs to (the encounter's latest if None), in its living generation.

    Raises ``WrongSubject`` if the id of an infusion without encounter is that of another patient's.
    """
    encounter = chart.encounter["id"] if chart.encounter else None
    if encounter is None and any(not refers_to(each.get("subject"), chart.patient) for each in drug_records(chart)):
        raise WrongSubject("The infusion is another patient's.", where="infusion")
    starts = [each.start for each in administrations(chart, clinic) if is_standing(each)]
    moment = start or max(starts, default=None)
    number = episode_number(starts, moment, clinic.policy.episode_gap) if encounter and moment else 1
    episode = Episode.of(clinic.id, encounter, infusion, number)
    known = chart.by_identifier()
    generation = 1
    while True:
        candidate = Episode(episode.clinic, episode.visit, episode.number, generation)
        plan = known.get(_pair(identifiers.identifier("plan", *candidate.key)))
        if plan is None or plan.get("status") not in careplan.ENDED:
            return candidate
        generation += 1


def administrations(chart: Chart, clinic: Clinic) -> list[Administration]:
    """Give the ketamine administrations of the chart's encounter, oldest first."""
    known = [*drug_records(chart), *chart.of("Medication")]
    return sorted(read_administrations(known, clinic), key=lambda each: each.start)


def findings(chart: Chart) -> tuple[Finding, ...]:
    """Give what the chart's Observations say, oldest first."""
    return chart.once("findings", lambda chart: tuple(read_findings(chart.of("Observation"))))


def drug_records(chart: Chart) -> list[Resource]:
    """Give what may record that a drug was given."""
    return [*chart.of("MedicationAdministration"), *chart.of("Procedure")]


def is_standing(administration: Administration) -> bool:
    """Tell whether a record says that the drug was given, or is being given."""
    return administration.status is not InfusionStatus.NOT_DONE


def of_episode(all_of_them: Sequence[Administration], number: int, clinic: Clinic) -> list[Administration]:
    """Give the administrations of one episode of the encounter."""
    given = [each for each in all_of_them if is_standing(each)]
    starts = [each.start for each in given]
    return [each for each in given if episode_number(starts, each.start, clinic.policy.episode_gap) == number]


def find_anchor(
    given: Sequence[Administration],
    encounter: Resource | None,
    *,
    start: datetime | None,
    end: datetime | None,
    left_at: datetime | None,
    clinic: Clinic,
) -> Anchor | None:
    """Give what the times hang on: the drug's record, else the caller's ``start`` and ``end``, else the encounter.

    E is the last recorded end of the episode. ``left_at`` is given once the patient has left: only then is a missing E
    estimated (design §5.2, §10.7). None if there is no start at all.
    """
    first = min((each.start for each in given), default=start)
    source = given[-1].reference if given else None
    ends = [each.end for each in given if each.end is not None]
    running = any(each.end is None for each in given)
    recorded = max(ends, default=None) if not running else None
    recorded = recorded or (end if not ends or running else max(ends))
    period = (encounter or {}).get("period") or {}
    first = first or tasks.moment(period.get("start"))
    if first is None:
        return None
    if recorded is not None:
        return Anchor(first, recorded, source)
    if left_at is None:
        return Anchor(first, None, source)
    estimated, believed = estimate_end(first, tasks.moment(period.get("end")), left_at, clinic.zone, clinic.policy)
    return Anchor(first, estimated, source, estimated=True, known=believed)


def infusion_plan(chart: Chart, identifiers: Identifiers, episode: Episode) -> Resource | None:
    """Give the episode's CarePlan, if it is there."""
    return chart.by_identifier().get(_pair(identifiers.identifier("plan", *episode.key)))


def children(chart: Chart, plan: Resource) -> list[Resource]:
    """Give the Tasks and ServiceRequests that carry out a plan."""
    found = chart.once("children", lambda chart: by_target([*chart.of("Task"), *chart.of("ServiceRequest")], "basedOn"))
    return [*found.get(f"{plan['resourceType']}/{plan['id']}", ())]


def parts_of(chart: Chart, course: Resource) -> list[Resource]:
    """Give the infusions' plans that are part of a course, whatever became of them."""
    found = chart.once("plans by course", _by_course)
    return [*found.get(f"{course['resourceType']}/{course['id']}", ())]


def _by_course(chart: Chart) -> dict[str, list[Resource]]:
    return by_target((each for each in chart.of("CarePlan") if careplan.is_kind(each, "infusion")), "partOf")


def is_task(resource: Resource) -> bool:
    """Tell whether a resource is a Task."""
    return bool(resource["resourceType"] == "Task")


def escort_task(chart: Chart, plan: Resource | None) -> Resource | None:
    """Give the plan's escort Task."""
    if plan is None:
        return None
    found = (each for each in children(chart, plan) if is_task(each))
    return next((task for task in found if tasks.has_code(task, terms.ESCORT_HOME)), None)


def is_infusion_encounter(encounter: Resource | None, clinic: Clinic) -> bool:
    """Tell whether the clinic lists the encounter's type, service type or location as an infusion's (design §9.1)."""
    if encounter is None or not clinic.infusion_encounters:
        return False
    concepts = [*(encounter.get("type") or ()), encounter.get("serviceType") or {}]
    codings = [coding for concept in concepts for coding in concept.get("coding") or ()]
    found = {(str(each.get("system", "")), str(each.get("code", ""))) for each in codings}
    for place in encounter.get("location") or ():
        type_, _, id_ = str((place.get("location") or {}).get("reference", "")).rpartition("/")
        found.add((type_.rsplit("/", 1)[-1], id_))
    return not found.isdisjoint(clinic.infusion_encounters)


def escort_state(task: Resource | None, told: EscortState | None) -> EscortState:
    """Give what is known of the escort: what was told now, else what the escort Task says."""
    if told is not None:
        return told
    if task is None:
        return "not-recorded"
    if task.get("status") == "completed":
        return "present"
    if task.get("status") == "failed":
        return "left-alone"
    return "not-recorded"


@dataclass(frozen=True, slots=True)
class Courses:
    """The patient's courses: the one an infusion would join, how many there ever were, its infusions' ends."""

    joined: Resource | None
    ever: int
    ends: tuple[datetime, ...] = ()


def find_course(chart: Chart, at: datetime, clinic: Clinic, *, but: Resource | None = None) -> Courses:
    """Give the course an infusion at ``at`` joins: the active one, unless six months have passed without (design §9.3).

    ``but`` is the infusion's own plan: it does not count among the earlier ones, but names its course if it has one.
    """
    courses = [plan for plan in chart.of("CarePlan") if careplan.is_kind(plan, "course")]
    own = (but or {}).get("partOf") or ()
    for course in courses:
        ends = _ends_of(chart, course, but)
        mine = any(refers_to(reference, course) for reference in own)
        living = course.get("status") in {"active", "on-hold"}
        recent = not ends or utc(at) - utc(max(ends, key=utc)) <= clinic.policy.course_max_gap
        if mine or (living and recent):
            return Courses(course, len(courses), tuple(sorted(ends)))
    return Courses(None, len(courses))


def _ends_of(chart: Chart, course: Resource, but: Resource | None) -> list[datetime]:
    found = []
    for plan in parts_of(chart, course):
        if plan.get("status") in careplan.ENDED or plan is but:
            continue
        start = tasks.moment((plan.get("period") or {}).get("start"))
        if start is not None:
            found.append(start)
    return found


def plan_zone(plan: Resource | None, clinic: Clinic) -> ZoneInfo:
    """Give the zone a plan is written in, else the clinic's."""
    for extension in (plan or {}).get("extension") or ():
        if extension.get("url") == terms.EXT_PLAN_TIMEZONE:
            try:
                return zone_of(str(extension.get("valueString")))
            except AftercareError:
                return clinic.zone
    return clinic.zone


def age_at(patient: Resource, at: datetime) -> int | None:
    """Give the age in whole years; None if the birth date is not known to the day."""
    try:
        born = date.fromisoformat(str(patient.get("birthDate")))
    except ValueError:
        return None
    day = at.date()
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def language_of(patient: Resource, asked: str | None, clinic: Clinic) -> str:
    """Give the language for the patient's texts: asked for, else the chart's preferred one, else the clinic's."""
    if asked:
        return asked.split("-", 1)[0].lower()
    for each in patient.get("communication") or ():
        if each.get("preferred"):
            for coding in (each.get("language") or {}).get("coding") or ():
                code = str(coding.get("code", "")).split("-", 1)[0].lower()
                if code in LANGUAGES:
                    return code
    return clinic.language


def score_points(chart: Chart, clinic: Clinic) -> list[Point]:
    """Give the patient's PHQ-9 and GAD-7 totals, oldest first; those of days 1 and 3 are marked (clinical §2.3)."""
    return [*chart.once(f"scores in {clinic.zone.key}", lambda chart: _scores(chart, clinic.zone))]


def _scores(chart: Chart, zone: ZoneInfo) -> list[Point]:
    points = tag_recall(read_score_points(chart.of("Observation")), infusion_ends(chart), zone)
    return sorted(points, key=lambda each: each.at)


def _pair(identifier: Resource) -> tuple[str, str]:
    return identifier["system"], identifier["value"]


def infusion_ends(chart: Chart) -> list[datetime]:
    """Give the ends E of the patient's infusions that have a living plan, oldest first."""
    found = []
    for plan in chart.of("CarePlan"):
        if careplan.is_kind(plan, "infusion") and plan.get("status") not in {*careplan.ENDED, "draft"}:
            start = tasks.moment((plan.get("period") or {}).get("start"))
            if start is not None:
                found.append(start)
    return sorted(found)


def infusion_starts(chart: Chart) -> list[datetime]:
    """Give the starts of the patient's infusions that have a living plan, oldest first.

    The escort Task opens when the infusion starts; a plan without one has only its beginning, which is not earlier.
    """
    return [*chart.once("infusion starts", _infusion_starts)]


def _infusion_starts(chart: Chart) -> list[datetime]:
    found = []
    for plan in chart.of("CarePlan"):
        if careplan.is_kind(plan, "infusion") and plan.get("status") not in careplan.ENDED:
            escort = escort_task(chart, plan)
            opens = tasks.window_of(escort)[0] if escort else None
            start = opens or tasks.moment((plan.get("period") or {}).get("start"))
            if start is not None:
                found.append(start)
    return sorted(found)


def history(chart: Chart, clinic: Clinic, at: datetime) -> History:
    """Give what came before answers of ``at``: PHQ-9 totals, the baseline, the last infusion, the first plan."""
    points = [each for each in score_points(chart, clinic) if each.instrument == PHQ9.key and each.at < at]
    ends = infusion_ends(chart)
    ours = [
        plan for plan in chart.of("CarePlan") if careplan.is_kind(plan, "infusion") or careplan.is_kind(plan, "course")
    ]
    began = [tasks.moment((plan.get("period") or {}).get("start")) for plan in ours]
    first = min((each for each in began if each is not None), default=None)
    start = min(infusion_starts(chart), default=None)
    before = baseline(points, start, clinic.policy) if start else None
    return History(
        previous=tuple(points),
        baseline=before.total if before else None,
        last_infusion_end=max((end for end in ends if end <= at), default=None),
        first_plan_at=first,
    )
