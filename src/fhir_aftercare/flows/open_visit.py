"""Open a visit: what was given and measured, whether the patient may leave, and how the plan stands, from one batch.

Data only, no page (design §4.4). Without an encounter the one that matters now is looked for first: the patient's
newest with an infusion, else the one under way; that costs a second batch. A part that could not be read is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.infusion import InfusionRecord, InfusionStatus
from fhir_aftercare.care.readiness import Criterion, State
from fhir_aftercare.care.readiness_rules import judge
from fhir_aftercare.fhir import careplan
from fhir_aftercare.fhir.drug_record import dose_of, route_of
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.chart import (
    Section,
    encounter_sections,
    patient_section,
    plan_sections,
    read_chart,
    recent_observations,
    score_section,
)
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import (
    administrations,
    age_at,
    children,
    escort_state,
    escort_task,
    find_anchor,
    find_episode,
    findings,
    infusion_plan,
    of_episode,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.plan import Anchor, Episode
    from fhir_aftercare.care.readiness import Finding, Panel
    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# What was measured of a visit lies within this time: a sheet typed the next morning still finds it.
_BEFORE: Final = timedelta(hours=36)
# A visit that is over for longer is history, and not what somebody opens the chart for.
RECENT: Final = timedelta(hours=36)
# The ids under which infusions of one visit are recorded here: as many as can be told apart.
INFUSIONS: Final = tuple(str(each) for each in range(1, 10))


class Stage(StrEnum):
    """Where an infusion visit stands."""

    NO_VISIT = "no-visit"
    NOT_STARTED = "not-started"
    RUNNING = "running"
    ENDED = "ended"
    NOT_DONE = "not-done"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class VisitView:
    """One visit as it stands at ``as_of``. ``given`` are the administrations of its latest episode, oldest first.

    ``panel`` is None while nothing was given. ``plan`` is the infusion's CarePlan, ``escort`` its Task.
    """

    chart: Chart
    stage: Stage
    episode: Episode | None
    given: tuple[Administration, ...]
    anchor: Anchor | None
    findings: tuple[Finding, ...]
    panel: Panel | None
    plan: Resource | None
    escort: Resource | None
    as_of: datetime
    age: int | None

    @property
    def patient(self) -> Resource:
        """The Patient."""
        return self.chart.patient

    @property
    def start(self) -> datetime | None:
        """When the infusion started; None where nothing tells it."""
        return self.anchor.start if self.anchor else None

    @property
    def encounter(self) -> str | None:
        """The reference of the visit's Encounter."""
        return reference_of(self.chart.encounter) if self.chart.encounter else None

    @property
    def gaps(self) -> Mapping[str, AftercareError]:
        """What could not be read."""
        return self.chart.gaps

    @property
    def is_escorted(self) -> bool:
        """Whether it is recorded that the escort is here."""
        return self.panel is not None and self.panel.of(Criterion.ESCORT).state is State.MET

    @property
    def plan_children(self) -> list[Resource]:
        """The Tasks and ServiceRequests of the infusion's plan."""
        return children(self.chart, self.plan) if self.plan else []

    def record(self, identifiers: Identifiers) -> InfusionRecord | None:
        """Give the latest infusion as it is recorded, without checks: what is sent again with new ones changes nothing
        else. None while nothing is recorded.
        """
        if not self.given or self.episode is None:
            return None
        latest = self.given[-1]
        known = {(each.get("system"), each.get("value")) for each in latest.resource.get("identifier") or ()}
        system, key = identifiers.system("drug-record"), self.episode.infusion_key
        infusion = next((each for each in INFUSIONS if (system, identifiers.value(*key, each)) in known), "1")
        # An EHR may call an infusion completed and not say when: a record needs an end then, and nobody knows it.
        endless = latest.end is None and latest.status is InfusionStatus.COMPLETED
        return InfusionRecord(
            start=latest.start,
            end=latest.end,
            status=InfusionStatus.STOPPED if endless else latest.status,
            dose_mg=dose_of(latest.resource),
            route=route_of(latest.resource),
            infusion=infusion,
        )


async def open_visit(context: ClinicContext, patient: str, encounter: str | None) -> VisitView:
    """Read one visit of a patient; references are ``Type/id``, ``encounter`` None for the one that matters now.

    Raises ``NotFound``, ``WrongSubject`` (an encounter of another patient), and what a failure of the whole batch
    becomes.
    """
    if encounter is None:
        encounter = await find_encounter(context, patient)
    return await open_known(context, patient, encounter)


async def open_known(context: ClinicContext, patient: str, encounter: str | None) -> VisitView:
    """As ``open_visit``, without looking for another encounter: None is a patient without a visit."""
    chart = await read_chart(context.fhir, sections(context, patient, encounter))
    return look(context, chart)


async def find_encounter(context: ClinicContext, patient: str) -> str | None:
    """Give the encounter that matters now: of the newest infusion of the last days, else one under way; None: none."""
    found = await find_encounters(context, patient)
    return reference_of(found[0]) if found else None


async def find_encounters(context: ClinicContext, patient: str) -> list[Resource]:
    """Give the encounters that may matter now: the one of the newest infusion of the last days, else all under way,
    the newest first.
    """
    since = (context.clock() - RECENT).date().isoformat()
    chart = await read_chart(
        context.fhir,
        [
            patient_section(patient),
            Section("encounters", "Encounter", f"Encounter?patient={patient}&_sort=-date&_count=20"),
            Section(
                "drug records",
                "MedicationAdministration",
                f"MedicationAdministration?patient={patient}&effective-time=ge{since}&_count=50"
                "&_include=MedicationAdministration:medication",
            ),
            Section("procedures", "Procedure", f"Procedure?patient={patient}&date=ge{since}&_count=50"),
        ],
    )
    encounters = chart.of("Encounter")
    for given in reversed(administrations(chart, context.clinic)):
        place = given.resource.get("context") or given.resource.get("encounter") or {}
        named = next((each for each in encounters if refers_to(place, each)), None)
        if named is not None:
            return [named]
    return [each for each in encounters if each.get("status") in {"arrived", "triaged", "in-progress", "onleave"}]


def sections(context: ClinicContext, patient: str, encounter: str | None) -> list[Section]:
    """Give what is read for it, in one batch."""
    return [
        patient_section(patient),
        *(encounter_sections(encounter) if encounter else ()),
        recent_observations(patient, context.clock() - _BEFORE),
        *plan_sections(patient),
        score_section(patient),
    ]


def look(context: ClinicContext, chart: Chart) -> VisitView:
    """Say what a chart tells of the visit. Pure."""
    now, clinic = context.clock(), context.clinic
    found = findings(chart)
    if chart.encounter is None:
        return VisitView(chart, Stage.NO_VISIT, None, (), None, found, None, None, None, now, None)
    everything = administrations(chart, clinic)
    episode = find_episode(chart, clinic, context.identifiers, None, None)
    given = tuple(of_episode(everything, episode.number, clinic))
    plan = infusion_plan(chart, context.identifiers, episode)
    escort = escort_task(chart, plan)
    anchor = find_anchor(given, chart.encounter, start=None, end=None, left_at=None, clinic=clinic) if given else None
    panel = None
    if anchor is not None:
        told = escort_state(escort, None)
        panel = judge(
            found,
            start=anchor.start,
            end=anchor.end if anchor.known else None,
            left_at=now,
            escort={"present": True, "left-alone": False}.get(told),
            policy=clinic.policy,
            age=age_at(chart.patient, anchor.start),
        )
    stage = _stage(everything, given, plan)
    age = age_at(chart.patient, now)
    return VisitView(chart, stage, episode, given, anchor, found, panel, plan, escort, now, age)


def _stage(everything: Sequence[Administration], given: Sequence[Administration], plan: Resource | None) -> Stage:
    if plan is not None and plan.get("status") not in {"draft", *careplan.ENDED}:
        return Stage.LEFT
    if not given:
        return Stage.NOT_DONE if everything else Stage.NOT_STARTED
    running = any(each.status is InfusionStatus.IN_PROGRESS for each in given)
    return Stage.RUNNING if running else Stage.ENDED
