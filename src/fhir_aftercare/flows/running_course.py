"""A course that runs: its infusions, the version of the protocol it was made with, and the forms it asks now and later.

A step of the flows that look at a course, not a door. A protocol that changed never touches a running plan: only the
very version that the CarePlan names counts, and if that is not loaded any more nothing is asked (fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.correction import MOVABLE
from fhir_aftercare.care.plan import Anchor, Episode
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, corrections, tasks, terms
from fhir_aftercare.fhir.course import Course, propose_course, superseded
from fhir_aftercare.fhir.facts import Facts
from fhir_aftercare.flows.begin_plan import has_baselines
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.form_answers import answers_in, as_asked
from fhir_aftercare.flows.situation import age_at, children, infusion_starts, is_task, language_of, parts_of, plan_zone
from fhir_aftercare.flows.task_facts import is_ours
from fhir_aftercare.flows.which_infusion import episode_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.course import Coming
    from fhir_aftercare.fhir.definitions import Plan, Protocol
    from fhir_aftercare.fhir.facts import Wanted
    from fhir_aftercare.fhir.identifiers import Identifiers
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.form_answers import Answer

Resource = dict[str, Any]

# Why the software itself takes a form back: if it is wanted again, it is asked under a further number.
_TAKEN_BACK: Final = ("superseded", *corrections.REASONS.values())


@dataclass(frozen=True, slots=True)
class Infusion:
    """An infusion of a course that stands and whose patient has left: E, and its CarePlan."""

    end: datetime
    plan: Resource


@dataclass(frozen=True, slots=True)
class Asking:
    """What a course asks: ``wanted`` are the forms of now, each under the identifier of its Task; ``coming`` the later
    ones; ``replaced`` the Tasks that a later infusion or an answer has made needless, as they will be.
    """

    wanted: tuple[Wanted, ...] = ()
    coming: tuple[Coming, ...] = ()
    replaced: tuple[Resource, ...] = ()


def pinned(protocol: Protocol, plan: Resource, url: str) -> Plan:
    """Give the PlanDefinition a CarePlan was made with, exactly that version. Raises ``ProtocolFault`` without it."""
    named = [str(each) for each in plan.get("instantiatesCanonical") or () if str(each).partition("|")[0] == url]
    exact = next((each for each in named if each.partition("|")[2]), None)
    if exact is None:
        raise ProtocolFault(f"The plan does not say which version of {url} it was made with.")
    return protocol.plan(exact)


def infusions_of(chart: Chart, course: Resource) -> list[Infusion]:
    """Give the infusions of a course that stand and whose patient has left, the last one last."""
    found = []
    for plan in parts_of(chart, course):
        end = tasks.moment((plan.get("period") or {}).get("start"))
        if plan.get("status") not in {*careplan.ENDED, "draft"} and end is not None:
            found.append(Infusion(end, plan))
    return sorted(found, key=lambda each: utc(each.end))


def course_start(chart: Chart) -> datetime | None:
    """Give when the first infusion of the patient's newest course began: the baseline lies before it (design §9.3).

    The first of all infusions, where no infusion is known to be part of a course that stands.
    """
    return chart.once("course start", _course_start)


def _course_start(chart: Chart) -> datetime | None:
    courses = [each for each in chart.of("CarePlan") if careplan.is_kind(each, "course")]
    standing = [each for each in courses if each.get("status") not in careplan.ENDED and infusions_of(chart, each)]
    newest = max(standing, key=lambda each: utc(infusions_of(chart, each)[-1].end), default=None)
    if newest is None:
        return min(infusion_starts(chart), key=utc, default=None)
    own = replace(chart, resources={**chart.resources, "CarePlan": parts_of(chart, newest)})
    return min(infusion_starts(own), key=utc, default=None)


@dataclass(frozen=True, slots=True)
class RunningCourse:
    """One course as the chart has it. ``infusions`` are those that have ended, the last one last."""

    context: ClinicContext
    chart: Chart
    plan: Resource
    definition: Plan
    infusions: tuple[Infusion, ...]

    @classmethod
    def of(cls, context: ClinicContext, chart: Chart, plan: Resource) -> RunningCourse:
        """Give a course of the chart. Raises ``ProtocolFault`` if its version of the protocol is not loaded."""
        definition = pinned(context.protocol, plan, terms.PLAN_COURSE)
        return cls(context, chart, plan, definition, tuple(infusions_of(chart, plan)))

    @property
    def may_be_joined(self) -> bool:
        """Whether another infusion may still become part of it (design §9.3), also one that is known late."""
        if not self.infusions:
            return True
        policy, now = self.context.clinic.policy, self.context.clock()
        return utc(now) - utc(self.infusions[-1].end) <= policy.course_max_gap + policy.horizon

    def asking(self, joining: Facts | None = None) -> Asking:
        """Give what the course asks, at its distance to all that was asked and answered (clinical §2.3).

        ``joining`` are the facts of an infusion that joins it now and is its last one from now on. Raises
        ``ProtocolFault`` if any part of its protocol cannot be evaluated.
        """
        if not self.infusions and joining is None:
            return Asking()
        context, forms, facts = self.context, self.forms(), joining or self._facts()
        answers = answers_in(context, self.chart, forms)
        there = [*forms, *map(as_asked, answers)]
        proposal = propose_course(context.protocol, self.definition, facts, self._course(joining), there)
        known, group = self.chart.by_identifier(), facts.group if joining else self._group(facts)
        wanted = [self._in_place(_in_group(each, group), forms, known) for each in proposal.wanted]
        replaced = {each["id"]: each for each in superseded(self._waiting(forms), wanted, facts.now)}
        replaced.update({each["id"]: each for each in self._answered(forms, answers)})
        return Asking(tuple(wanted), proposal.coming, tuple(replaced.values()))

    def forms(self) -> list[Resource]:
        """Give the Tasks of the course that ask for a form, open and closed."""
        found = (each for each in children(self.chart, self.plan) if is_task(each))
        return [each for each in found if tasks.asks_for(each) is not None]

    def _waiting(self, forms: Sequence[Resource]) -> list[Resource]:
        """Give the open ones of ours within the horizon: beyond it nothing is asked yet, so nothing is superseded."""
        horizon = utc(self.context.clock()) + self.context.clinic.policy.horizon
        found = []
        for task in forms:
            opens = tasks.window_of(task)[0]
            if opens is not None and utc(opens) <= horizon and self._is_untouched(task):
                found.append(task)
        return found

    def _is_untouched(self, task: Resource) -> bool:
        return task.get("status") in MOVABLE and is_ours(task, self.context.identifiers)

    def _answered(self, forms: Sequence[Resource], answers: Sequence[Answer]) -> list[Resource]:
        """Give the waiting Tasks that an answer from elsewhere has made needless, cancelled, with what was answered."""
        policy, zone = self.context.clinic.policy, plan_zone(self.plan, self.context.clinic)
        found = []
        for task in forms:
            opens, family = tasks.window_of(task)[0], tasks.asks_for(task)
            if opens is None or not self._is_untouched(task):
                continue
            first = local(opens, zone).toordinal() - policy.min_days_between_forms
            near = [each for each in answers if each.family == family and local(each.at, zone).toordinal() > first]
            if near:
                outputs = [tasks.score_output(each.reference) for each in near[-1:] if each.reference]
                found.append(_superseded(task, self.context.clock().astimezone(zone), outputs))
        return found

    def _course(self, joining: Facts | None) -> Course:
        identifiers, began = self.context.identifiers, tasks.moment((self.plan.get("period") or {}).get("start"))
        if joining is not None:
            end, key = joining.anchor.end or joining.anchor.start, joining.episode.key
        else:
            last = self.infusions[-1]
            episode = episode_of(last.plan, self.context.clinic, identifiers)
            end, key = last.end, episode.key if episode else ("plan", _our_value(last.plan, identifiers))
        return Course(
            key=("course", _our_value(self.plan, identifiers)),
            reference=reference_of(self.plan),
            start=began or (self.infusions[0].end if self.infusions else end),
            last_end=end,
            last_key=key,
        )

    def _facts(self) -> Facts:
        """Give what the course's protocol may depend on, as of its last infusion."""
        context, chart, last = self.context, self.chart, self.infusions[-1]
        clinic, identifiers = context.clinic, context.identifiers
        episode = episode_of(last.plan, clinic, identifiers)
        phq9, gad7 = has_baselines(chart, Anchor(course_start(chart) or last.end, None), context)
        return Facts(
            clinic=clinic,
            identifiers=identifiers,
            episode=episode or Episode.of(clinic.id, None, _our_value(last.plan, identifiers)),
            patient=reference_of(chart.patient),
            encounter=None,
            anchor=Anchor(last.end, last.end),
            zones=(plan_zone(self.plan, clinic),),
            language=language_of(chart.patient, None, clinic),
            now=context.clock(),
            requester=clinic.organization,
            patient_has_left=True,
            phq9_baseline=phq9,
            gad7_baseline=gad7,
            course_active=True,
            infusion_number=len(self.infusions),
            age_years=age_at(chart.patient, last.end),
        )

    def _group(self, facts: Facts) -> Resource:
        """Give what holds the last infusion's resources together, as its own Tasks have it."""
        others = children(self.chart, self.infusions[-1].plan)
        found = (each["groupIdentifier"] for each in others if each.get("groupIdentifier"))
        return next(found, facts.group)

    def _in_place(self, form: Wanted, forms: Sequence[Resource], known: Mapping[tuple[str, str], Resource]) -> Wanted:
        """Give a form under the identifier of the Task that asks for it; of one taken back, under the next number.

        A Task is also known by what it asks and when: an infusion without an encounter does not tell its key.
        """
        identifiers = self.context.identifiers
        base, number = form.identifier[1], 1
        while (task := known.get(form.identifier)) is not None and _is_taken_back(task):
            number += 1
            identifier = identifiers.identifier("activity", base, f"r{number}")
            urn = identifiers.full_url("activity", base, f"r{number}")
            form = replace(form, urn=urn, resource={**form.resource, "identifier": [identifier]})
        if task is not None:
            return form
        same = next((each for each in forms if self._is_same(each, form)), None)
        return replace(form, resource={**form.resource, "identifier": same["identifier"]}) if same else form

    def _is_same(self, task: Resource, form: Wanted) -> bool:
        opens, wanted = tasks.window_of(task)[0], tasks.window_of(form.resource)[0]
        if opens is None or wanted is None or utc(opens) != utc(wanted) or _is_taken_back(task):
            return False
        return tasks.asks_for(task) == tasks.asks_for(form.resource) and is_ours(task, self.context.identifiers)


def _in_group(form: Wanted, group: Resource) -> Wanted:
    return replace(form, resource={**form.resource, "groupIdentifier": group})


def _superseded(task: Resource, now: datetime, outputs: Sequence[Resource]) -> Resource:
    return tasks.moved(task, "cancelled", "superseded", at=now, reason="superseded", outputs=outputs)


def _is_taken_back(task: Resource) -> bool:
    """Tell whether the software took a form back before it opened: it never was asked, and may be asked again."""
    if task.get("status") == "entered-in-error":
        return True
    opens, ended = tasks.window_of(task)[0], tasks.moment(task.get("lastModified"))
    by_us = task.get("status") == "cancelled" and any(corrections.has_reason(task, each) for each in _TAKEN_BACK)
    return by_us and opens is not None and ended is not None and utc(ended) < utc(opens)


def _our_value(plan: Resource, identifiers: Identifiers) -> str:
    """Give the value of a plan's identifier under the clinic's base, else of its first one."""
    system = identifiers.system("plan")
    given = [each for each in plan.get("identifier") or () if each.get("value")]
    own = [each for each in given if each.get("system") == system]
    return next((str(each["value"]) for each in [*own, *given]), str(plan["id"]))
