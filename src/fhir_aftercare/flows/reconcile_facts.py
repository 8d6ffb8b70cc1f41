"""What a plan was made for, read back from what it has become: the facts that its protocol may depend on.

Looks only; ``reconcile`` compares. What was true when the patient left counts, and not what is true now: a Task that
was missed since then tells nothing of the escort, and a policy changed since then asks for nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import unescape
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.plan import Anchor
from fhir_aftercare.care.readiness import Criterion
from fhir_aftercare.care.timing import local, utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.apply import Applying
from fhir_aftercare.fhir.facts import Facts, text_in
from fhir_aftercare.fhir.readiness import CRITERIA
from fhir_aftercare.fhir.setting import SOFTWARE
from fhir_aftercare.flows.chart import Section
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.moving import told_times
from fhir_aftercare.flows.situation import age_at, children, escort_task, find_course, is_task, language_of, plan_zone
from fhir_aftercare.flows.task_facts import business_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.plan import Episode, EscortState
    from fhir_aftercare.fhir.definitions import Action, Plan
    from fhir_aftercare.fhir.facts import Wanted
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

# A Task that nobody should have, or that was not wanted any more, tells nothing of what happened.
_TAKEN_BACK: Final = frozenset({"entered-in-error", "cancelled"})


def readiness_section(patient: str) -> Section:
    """Give what was known of the patient's readiness, whenever the patient left."""
    code = terms.READINESS
    query = f"Observation?patient={patient}&code={code.system}|{code.code}&_count=200"
    return Section("readiness", "Observation", query)


@dataclass(frozen=True, slots=True)
class PlanMade:
    """An active plan of an infusion with its episode and the version of the protocol it was made with."""

    context: ClinicContext
    chart: Chart
    plan: Resource
    episode: Episode
    definition: Plan

    def facts(self) -> Facts | None:
        """Give the facts; None if the plan does not say when the infusion ended."""
        context, chart, clinic = self.context, self.chart, self.context.clinic
        start, end = told_times(chart, self.plan)
        if end is None:
            return None
        anchor = Anchor(start or end, end, estimated=self._is_estimated(), known=not self._end_is_asked())
        unmet = self._unmet()
        courses = find_course(chart, anchor.start, clinic, but=self.plan)
        earlier = [each for each in courses.ends if utc(each) < utc(end)]
        encounter = (self.plan.get("encounter") or {}).get("reference")
        return Facts(
            clinic=clinic,
            identifiers=context.identifiers,
            episode=self.episode,
            patient=reference_of(chart.patient),
            encounter=str(encounter) if encounter else None,
            anchor=anchor,
            zones=self._zones(),
            language=self._language(),
            now=context.clock(),
            requester=clinic.organization,
            patient_has_left=True,
            escort=self._escort(),
            readiness_met=not unmet,
            unmet=unmet,
            release_needs_human=True,
            phq9_baseline=True,
            gad7_baseline=True,
            course_active=bool(earlier),
            infusion_number=len(earlier) + 1,
            age_years=age_at(chart.patient, anchor.start),
        )

    def is_of_todays_policy(self, action: Action) -> bool:
        """Tell whether an action hangs on what the clinic had not decided, or otherwise, when the plan was made."""
        named = any("integrationSession" in condition.names for condition in action.conditions)
        given = (each.get("valueString") for each in self.plan.get("extension") or () if _is_hash(each))
        return named and next(given, "") != self.context.clinic.policy_hash

    def as_told(self, facts: Facts, action: Action) -> Facts:
        """Give the facts of a restriction: in which zones it ends, and whether by the clock alone (design §10.5).

        Both were decided from what is not in the plan (who was sure, sedatives). Its narrative names the end only where
        that alone releases. Where it does not, the later end counts, and a person must release.
        """
        for zones in (facts.zones[:1], facts.zones):
            told = replace(facts, zones=zones, release_needs_human=False)
            if facts.anchor.known and self._says(told, action):
                return told
        return facts

    def _says(self, facts: Facts, action: Action) -> bool:
        anchors = dict.fromkeys(self.definition.anchors, facts.anchor)
        applying = Applying(self.context.protocol, self.definition, facts, reference_of(self.plan), anchors)
        until = wording.until_text(applying.windows(action)[0].target, facts.zone, facts.language)
        line = f"{text_in(applying.definition(action).titles, facts.language)}: {until}"
        return f">{line}<" in unescape(str((self.plan.get("text") or {}).get("div", "")))

    def as_it_went(self, wanted: Wanted, facts: Facts) -> Wanted:
        """Give what is missing as it stood: an escort that has taken over is not waited for (design §9.5)."""
        if facts.escort != "present" or not tasks.has_code(wanted.resource, terms.ESCORT_HOME):
            return wanted
        left = tasks.moment((self._panel() or {}).get("effectiveDateTime")) or facts.now
        done = tasks.moved(wanted.resource, "completed", "confirmed", at=local(left, facts.zone))
        return replace(wanted, resource=done)

    def _is_estimated(self) -> bool:
        return any(each.get("url") == terms.EXT_ANCHOR_ESTIMATED for each in self.plan.get("extension") or ())

    def _end_is_asked(self) -> bool:
        there = children(self.chart, self.plan)
        return any(is_task(each) and tasks.has_code(each, terms.CONFIRM_END) and tasks.is_open(each) for each in there)

    def _zones(self) -> tuple[ZoneInfo, ...]:
        """Where nobody was sure, the later of two counted; which they were is not in the plan, and later is safer."""
        zone, clinic = plan_zone(self.plan, self.context.clinic), self.context.clinic.zone
        return (zone,) if zone.key == clinic.key else (zone, clinic)

    def _language(self) -> str:
        said = self.plan.get("title")
        found = (language for language, words in self.definition.titles.items() if words == said)
        return next(found, language_of(self.chart.patient, None, self.context.clinic))

    def _escort(self) -> EscortState:
        task = escort_task(self.chart, self.plan)
        if task is not None and task.get("status") == "completed":
            return "present"
        if task is not None and business_of(task) == "left-alone":
            return "left-alone"
        lost = task is None or task.get("status") in _TAKEN_BACK
        return "present" if lost and self._judged().get(Criterion.ESCORT) else "not-recorded"

    def _unmet(self) -> tuple[str, ...]:
        """Give what was not met when the patient left; nothing if a person overrode it, or if nothing is known."""
        panel = self._panel()
        if panel is None or any(note.get("authorString") != SOFTWARE for note in panel.get("note") or ()):
            return ()
        return tuple(criterion.value for criterion, met in self._judged().items() if not met)

    def _panel(self) -> Resource | None:
        key = (*self.episode.key, terms.READINESS.code)
        identifier = self.context.identifiers.identifier("observation", *key)
        found = self.chart.by_identifier().get((identifier["system"], identifier["value"]))
        return found if found is not None and found.get("status") != "entered-in-error" else None

    def _judged(self) -> dict[Criterion, bool]:
        parts = (self._panel() or {}).get("component") or ()
        return {
            criterion: part.get("valueBoolean") is True
            for criterion, code in CRITERIA.items()
            for part in parts
            if tasks.has_code(part, code)
        }


def _is_hash(extension: Resource) -> bool:
    return bool(extension.get("url") == terms.EXT_POLICY_HASH)
