"""Readiness in words: each criterion with how it stands, why, and when that was found (clinical §1.5).

Wording only: how a criterion stands is ``care.readiness_rules``' to judge, and people decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.readiness import Criterion, State
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.flows.open_visit import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.readiness import Judged, Panel
    from fhir_aftercare.flows.open_visit import VisitView

Resource = dict[str, Any]

NAMES: Final[Mapping[Criterion, str]] = {
    Criterion.MIN_OBSERVATION: "Watched long enough",
    Criterion.BLOOD_PRESSURE: "Blood pressure acceptable",
    Criterion.SPO2: "Oxygen saturation acceptable on air",
    Criterion.SEDATION: "Sedation gone",
    Criterion.DISSOCIATION: "Dissociation gone",
    Criterion.ORIENTED: "Oriented",
    Criterion.WALKS_UNAIDED: "Walks unaided",
    Criterion.NAUSEA: "Nausea under control",
    Criterion.NO_SUICIDAL_INTENT: "No acute suicidal intent",
    Criterion.ESCORT: "Escort is here",
    Criterion.WRITTEN_INSTRUCTIONS: "Written instructions given",
    Criterion.EMERGENCY_CONTACT: "Emergency contact confirmed",
}
MARKS: Final = {State.MET: "Met", State.NOT_MET: "Not met", State.NOT_RECORDED: "Not recorded"}
# What a nurse says on this page with yes or no, by the field of ``care.infusion.Check``; the rest is measured.
ASKED: Final[Mapping[str, Criterion]] = {
    "oriented": Criterion.ORIENTED,
    "walks_unaided": Criterion.WALKS_UNAIDED,
    "no_acute_suicidal_intent": Criterion.NO_SUICIDAL_INTENT,
    "written_instructions": Criterion.WRITTEN_INSTRUCTIONS,
    "emergency_contact": Criterion.EMERGENCY_CONTACT,
    "escort_present": Criterion.ESCORT,
}
_FIELDS: Final = {criterion: name for name, criterion in ASKED.items()}
NOTHING: Final[Mapping[Stage, str]] = {
    Stage.NO_VISIT: "No visit is open in the EHR for this patient. Start the visit there, then open this page again.",
    Stage.NOT_STARTED: "No infusion is recorded for this visit yet. There is nothing to judge.",
    Stage.NOT_DONE: "The infusion of this visit was not done. Nothing is owed.",
}
_RUNNING: Final = "The infusion is still running. What must be found after it counts only then."


@dataclass(frozen=True, slots=True)
class CriterionLine:
    """One criterion: ``state`` is met, not-met or not-recorded, ``at`` when it was found (empty: not known).

    ``field`` is what a nurse answers with yes or no here; empty for what is measured or counted.
    """

    name: str
    state: str
    mark: str
    reason: str
    at: str
    required: bool
    field: str


@dataclass(frozen=True, slots=True)
class EscortLine:
    """Who takes the patient home, as far as it is known, and how the Task stands."""

    name: str
    relationship: str
    phone: str
    state: str


@dataclass(frozen=True, slots=True)
class ReadyView:
    """The page. ``nothing`` says why there is nothing to judge."""

    nothing: str | None
    note: str | None
    met: int
    lines: tuple[CriterionLine, ...]
    escort: EscortLine
    may_leave: bool
    left: bool
    gaps: tuple[str, ...]


def ready(view: VisitView, zone: ZoneInfo) -> ReadyView:
    """Give the page of a visit; times in ``zone``."""
    panel = view.panel
    judged = panel.judged if panel else ()
    return ReadyView(
        nothing=NOTHING.get(view.stage),
        note=_RUNNING if view.stage is Stage.RUNNING else None,
        met=sum(each.state is State.MET for each in judged),
        lines=tuple(criteria(panel, zone)) if panel else (),
        escort=escort(view.escort),
        may_leave=panel is not None and panel.may_leave,
        left=view.stage is Stage.LEFT,
        gaps=tuple(view.gaps),
    )


def criteria(panel: Panel, zone: ZoneInfo) -> Iterable[CriterionLine]:
    """Give the criteria in their order: first those that are open, as they are what is to be done."""
    ordered = sorted(panel.judged, key=lambda each: each.state is State.MET)
    return (_line(each, panel, zone) for each in ordered)


def _line(judged: Judged, panel: Panel, zone: ZoneInfo) -> CriterionLine:
    return CriterionLine(
        name=NAMES[judged.criterion],
        state=judged.state.value,
        mark=MARKS[judged.state],
        reason=judged.reason,
        at=wording.short_text(judged.at, zone) if judged.at else "",
        required=judged.criterion not in panel.not_required,
        field=_FIELDS.get(judged.criterion, ""),
    )


def escort(task: Resource | None) -> EscortLine:
    """Give what the escort Task tells; all empty where there is none."""
    given = {
        name: next(iter(tasks.texts((task or {}).get("input"), code)), "")
        for name, code in (
            ("name", terms.INPUT_ESCORT_NAME),
            ("relationship", terms.INPUT_ESCORT_RELATION),
            ("phone", terms.INPUT_ESCORT_PHONE),
        )
    }
    status = (task or {}).get("status")
    return EscortLine(**given, state={"completed": "took over", "failed": "left alone"}.get(str(status), ""))
