"""Compare a patient's active infusion plans with what their protocol wants, and complete what is missing.

    patient → one batch → fhir.apply → left-scoped difference → PUT CarePlan (If-Match) + conditional creates

Only what we own is compared: that a Task or a restriction is there, by its business identifier. What it says by now is
people's: owner, status, notes and dates are never undone, and no Task moves. What is there beyond what the protocol
wants is told of and stays. A plan made with another version of the protocol is left alone (fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.fhir.apply import propose
from fhir_aftercare.fhir.identifiers import token_query
from fhir_aftercare.flows.chart import Section, patient_section, plan_sections, read_chart, require
from fhir_aftercare.flows.draft import Draft, reference_of
from fhir_aftercare.flows.reconcile_facts import PlanMade, readiness_section
from fhir_aftercare.flows.running_course import pinned
from fhir_aftercare.flows.settle import preview, settle
from fhir_aftercare.flows.situation import children, is_task
from fhir_aftercare.flows.task_facts import task_key
from fhir_aftercare.flows.which_infusion import episode_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.facts import Wanted
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

log = structlog.get_logger(__name__)

_CHILDREN: Final = frozenset({"Task", "ServiceRequest"})


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A plan that was not compared, and why: it has another version of the protocol, or does not tell what it is of."""

    plan: str
    why: str


@dataclass(slots=True)
class Difference:
    """What a plan lacks, what it has beyond, what was left alone; references are ``Type/id`` or ``urn:uuid``."""

    missing: list[str] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReconcileDecision:
    """The difference to write, and what it is."""

    transaction: Transaction
    difference: Difference


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was done and found, as ``Type/id``. ``made`` was missing; ``extra`` nobody asks for, and stays as it is."""

    made: tuple[str, ...]
    extra: tuple[str, ...]
    left_alone: tuple[LeftAlone, ...]
    changed: bool


async def reconcile(context: ClinicContext, patient: str) -> Reconciled:
    """Complete the active infusion plans of a patient (``Patient/1``).

    Raises ``NotFound`` and what failures of the FHIR server become; nothing is written then.
    """
    found = decide(context, patient, require(await read_chart(context.fhir, sections(patient)))).difference
    references: tuple[str, ...] = ()
    changed = False
    if found.wanted:
        # What somebody has taken out of the plan, but not off the server, is not seen with the plan.
        everything = [*sections(patient), *_by_identifier(found)]
        settled = await settle(context, patient, everything, lambda chart: decide(context, patient, chart))
        found, changed = settled.decision.difference, settled.wrote
        new = (place for urn, place in settled.references.items() if urn.startswith("urn:"))
        references = tuple(sorted(each for each in new if each.partition("/")[0] in _CHILDREN))
    _tell(context, references, found)
    return Reconciled(references, tuple(found.extra), tuple(found.left_alone), changed)


async def preview_reconciling(context: ClinicContext, patient: str) -> Resource:
    """Give the Bundle that ``reconcile`` would send now; nothing is written. Raises the same errors."""
    found = decide(context, patient, require(await read_chart(context.fhir, sections(patient)))).difference
    everything = [*sections(patient), *_by_identifier(found)]
    return await preview(context, everything, lambda chart: decide(context, patient, chart))


def sections(patient: str) -> list[Section]:
    """Give what is read for it, in one batch."""
    return [patient_section(patient), *plan_sections(patient), readiness_section(patient)]


def decide(context: ClinicContext, patient: str, chart: Chart) -> ReconcileDecision:
    """Compare what the protocol wants with what the chart has. Pure."""
    draft, found = Draft(context, chart, patient), Difference()
    policy = []
    for made in _plans(context, chart, found):
        wanted = _missing(draft, made)
        found.extra += _extra(draft, made)
        if wanted:
            found.wanted += wanted
            references = [draft.ensure_wanted(each) for each in wanted]
            found.missing += references
            draft.transaction.update(careplan.with_activities(made.plan, references), made.plan)
            policy.append(made.definition.canonical)
    draft.sign(list(dict.fromkeys(policy)), person=None)
    return ReconcileDecision(draft.transaction, found)


def _plans(context: ClinicContext, chart: Chart, found: Difference) -> Iterator[PlanMade]:
    """Give the active infusion plans of the version of the protocol that is in use."""
    for plan in chart.of("CarePlan"):
        if plan.get("status") != "active" or not careplan.is_kind(plan, "infusion"):
            continue
        try:
            definition = pinned(context.protocol, plan, terms.PLAN_INFUSION)
        except ProtocolFault as fault:
            found.left_alone.append(LeftAlone(reference_of(plan), fault.message))
            continue
        episode = episode_of(plan, context.clinic, context.identifiers)
        if definition.canonical != context.protocol.infusion.canonical:
            found.left_alone.append(LeftAlone(reference_of(plan), "It was made with another version of the protocol."))
        elif episode is None:
            found.left_alone.append(LeftAlone(reference_of(plan), "It does not tell which infusion it is of."))
        else:
            yield PlanMade(context, chart, plan, episode, definition)


def _missing(draft: Draft, made: PlanMade) -> list[Wanted]:
    """Give what the protocol wants and the server has not, as far as it can still be done (design §10.7)."""
    facts = made.facts()
    if facts is None:
        return []
    actions = {each.id: each for each in made.definition.actions}
    wanted = propose(made.context.protocol, made.definition, facts, reference_of(made.plan)).wanted
    found: list[Wanted] = []
    for each in wanted:
        action = actions[each.action]
        if draft.existing(each.resource) is not None or made.is_of_todays_policy(action):
            continue
        if each.resource["resourceType"] == "ServiceRequest":
            told = made.as_told(facts, action)
            proposal = propose(made.context.protocol, made.definition, told, reference_of(made.plan))
            found += [one for one in (proposal.of(action.id),) if one is not None]
        else:
            found.append(made.as_it_went(each, facts))
    places = {each.urn: draft.where(each) for each in wanted if draft.existing(each.resource) is not None}
    places.update({each.urn: each.urn for each in found})
    return [about for each in found if (about := _about(each, places)) is not None]


def _about(wanted: Wanted, places: Mapping[str, str]) -> Wanted | None:
    """Give what is about something else with the reference of that; None if that is over, and so is this."""
    about = (wanted.resource.get("reasonReference") or {}).get("reference")
    if about is None:
        return wanted
    if about not in places:
        return None
    return replace(wanted, resource={**wanted.resource, "reasonReference": {"reference": places[about]}})


def _extra(draft: Draft, made: PlanMade) -> list[str]:
    """Give what goes on under our identifiers in a plan, and neither its protocol, a record nor an answer calls for."""
    identifiers, found = draft.context.identifiers, []
    keys = [(*made.episode.key, action.id) for action in made.definition.actions]
    # A restriction that had ended before it was known to last longer is made again under a further number.
    known = {identifiers.value(*key, *more) for key in keys for more in ((), *((f"r{each}",) for each in range(2, 10)))}
    for child in children(draft.chart, made.plan):
        goes_on = tasks.is_open(child) if is_task(child) else child.get("status") == "active"
        key = task_key(child, identifiers)
        if goes_on and key is not None and key not in known and not _is_called_for(made, child):
            found.append(reference_of(child))
    return found


def _is_called_for(made: PlanMade, child: Resource) -> bool:
    """Tell whether a child was raised beside the protocol's actions: its activity, or its code, is none of theirs."""
    protocol, named = made.context.protocol, child.get("instantiatesCanonical") or ()
    of_plan = {action.definition for action in made.definition.actions}
    canonicals = [named] if isinstance(named, str) else [str(each) for each in named]
    if canonicals:
        return all(protocol.is_activity(each) and each not in of_plan for each in canonicals)
    made_by = [each for name, each in protocol.activities.items() if name in of_plan]
    codes = {coding.get("code") for each in made_by for coding in each.code.get("coding") or ()}
    return any(
        coding.get("system") == terms.AFTERCARE and coding.get("code") not in codes
        for coding in (child.get("code") or {}).get("coding") or ()
    )


def _by_identifier(found: Difference) -> list[Section]:
    return [
        Section("what is missing", each.resource["resourceType"], f"{each.resource['resourceType']}?{query}")
        for each in found.wanted
        for query in (token_query("identifier", each.resource["identifier"][0]),)
    ]


def _tell(context: ClinicContext, made: Sequence[str], found: Difference) -> None:
    for event, references in (("missing made", made), ("nobody asks for it", found.extra)):
        for type_ in sorted({each.partition("/")[0] for each in references}):
            count = sum(each.startswith(f"{type_}/") for each in references)
            log.warning(event, clinic=context.clinic.id, resource_type=type_, count=count)
