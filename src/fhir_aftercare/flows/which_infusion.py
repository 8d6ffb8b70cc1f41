"""Which infusion a correction is about: our record of the drug, the plan, and what else was given in that episode.

Looks only. Unlike ``situation.find_episode``, which gives what is to be made next, it also finds what was taken back
already, so that a correction that comes twice finds the same infusion twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.plan import Episode, episode_number
from fhir_aftercare.errors import NotFound, WrongSubject
from fhir_aftercare.fhir import careplan, corrections, tasks
from fhir_aftercare.fhir.findings import read_administrations
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.situation import administrations, is_standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.fhir.findings import Administration
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# Episodes and generations of one encounter that are looked for; each is an infusion 12 hours after another, or a plan
# made anew after a retraction.
_MANY = 9
# The id of an infusion where the caller gives none, as in care.infusion.InfusionRecord.
_DEFAULT = "1"


@dataclass(frozen=True, slots=True)
class Infusion:
    """One infusion: the episode of its plan, the plan and our record of the drug as they are on the server, if any.

    ``given`` are the administrations of its episode that stand, whoever recorded them.
    """

    episode: Episode
    plan: Resource | None
    record: Resource | None
    given: tuple[Administration, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One episode of an encounter, with its plans (a generation each) and our record of the drug."""

    episode: Episode
    plans: tuple[Resource, ...]
    record: Resource | None


def find_infusion(
    context: ClinicContext, chart: Chart, encounter: str | None, infusion: str | None, plan: str | None
) -> Infusion:
    """Give the infusion with this id (the first one's, if None) of an encounter, the latest if several have it.

    ``plan`` (``CarePlan/1``) names one of several plans. Raises ``NotFound``, ``WrongSubject``, and ``InvalidInput`` if
    there is neither an encounter nor an id.
    """
    candidates = _candidates(context, chart, encounter, infusion)
    chosen = _with_plan(candidates, plan) if plan else _choose(context, chart, candidates)
    if chosen.record is not None and not refers_to(chosen.record.get("subject"), chart.patient):
        raise WrongSubject("The infusion is another patient's.", where="infusion")
    found = next((each for each in chosen.plans if reference_of(each) == plan), None) or _meant(chosen)
    generation = chosen.plans.index(found) + 1 if found else 1
    episode = replace(chosen.episode, generation=generation)
    return Infusion(episode, found, chosen.record, _given(context.clinic, chart, chosen.record, found))


def _with_plan(candidates: Sequence[_Candidate], plan: str) -> _Candidate:
    for each in candidates:
        if any(reference_of(found) == plan for found in each.plans):
            return each
    raise NotFound("The plan is none of this encounter's.", where="plan")


def _choose(context: ClinicContext, chart: Chart, candidates: Sequence[_Candidate]) -> _Candidate:
    recorded = next((each for each in candidates if each.record is not None), None)
    if recorded is not None:
        return recorded
    system = context.identifiers.system("drug-record")
    records = [*chart.of("MedicationAdministration"), *chart.of("Procedure")]
    if any(corrections.has_identifier_of(each, system) for each in records):
        raise NotFound("There is no infusion with this id.", where="infusion")
    planned = next((each for each in candidates if each.plans), None)
    if planned is None:
        raise NotFound("There is nothing of ours about this infusion.", where="infusion")
    return planned


def _meant(candidate: _Candidate) -> Resource | None:
    """Give which plan is meant: the living one, but the last that ended if the record was taken back before."""
    living = [plan for plan in candidate.plans if plan.get("status") not in careplan.ENDED]
    dead = [plan for plan in candidate.plans if plan.get("status") in careplan.ENDED]
    if (candidate.record or {}).get("status") in {"entered-in-error", "not-done"} and dead:
        return dead[-1]
    return next(iter([*living[::-1], *dead[::-1]]), None)


def _candidates(context: ClinicContext, chart: Chart, encounter: str | None, infusion: str | None) -> list[_Candidate]:
    """Give the episodes of which anything of ours is there, the latest first."""
    identifiers, known = context.identifiers, chart.by_identifier()
    found = []
    for number in range(1, _MANY + 1 if encounter else 2):
        episode = Episode.of(context.clinic.id, encounter, infusion, number)
        plans = []
        for generation in range(1, _MANY + 1):
            key = Episode(episode.clinic, episode.visit, number, generation).key
            plan = known.get(_pair(identifiers.identifier("plan", *key)))
            if plan is None:
                break
            plans.append(plan)
        key = (*episode.infusion_key, infusion or _DEFAULT)
        record = known.get(_pair(identifiers.identifier("drug-record", *key)))
        found.append(_Candidate(episode, tuple(plans), record))
    return found[::-1]


def _given(clinic: Clinic, chart: Chart, record: Resource | None, plan: Resource | None) -> tuple[Administration, ...]:
    """Give the administrations that stand and belong to the same episode as the record or, without one, the plan."""
    standing = [each for each in administrations(chart, clinic) if is_standing(each)]
    at = _time_of(record, plan, clinic)
    if at is None:
        return tuple(standing)
    gap = clinic.policy.episode_gap
    starts = [each.start for each in standing]
    number = episode_number(starts, at, gap)
    return tuple(each for each in standing if episode_number(starts, each.start, gap) == number)


def _time_of(record: Resource | None, plan: Resource | None, clinic: Clinic) -> datetime | None:
    if record is not None:
        whatever_became_of_it = read_administrations([{**record, "status": "completed"}], clinic)
        return next((each.start for each in whatever_became_of_it), None)
    return tasks.moment(((plan or {}).get("period") or {}).get("start"))


def episode_of(plan: Resource, clinic: Clinic, identifiers: Identifiers) -> Episode | None:
    """Give the episode of an infusion's plan; None if it cannot be told (no encounter: the id is not in the plan)."""
    encounter = (plan.get("encounter") or {}).get("reference")
    if not encounter:
        return None
    values = {each.get("value") for each in plan.get("identifier") or ()}
    visit = str(encounter).rsplit("/", 1)[-1]
    for number in range(1, _MANY + 1):
        for generation in range(1, _MANY + 1):
            episode = Episode(clinic.id, visit, number, generation)
            if identifiers.value(*episode.key) in values:
                return episode
    return None


def _pair(identifier: Resource) -> tuple[str, str]:
    return identifier["system"], identifier["value"]
