"""Where a launch lands: what this person needs now (ui §4.0).

The EHR's ``intent`` decides if it names a page; else who it is and where the visit stands: a nurse whose infusion runs
wants the record, one that has ended and has no plan yet wants the plan, a prescriber wants to see how the patient is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fhir_aftercare.flows.open_visit import Stage

if TYPE_CHECKING:
    from fhir_aftercare.flows.open_visit import VisitView

OVERVIEW: Final = "overview"
# What an EHR may say in ``intent``, and the page it opens; those of staff only are not for others.
INTENTS: Final = frozenset({"record", "ready", "plan", OVERVIEW, "handout", "worklist", "board"})
_BY_STAGE: Final = {Stage.NOT_STARTED: "record", Stage.RUNNING: "record", Stage.ENDED: "plan"}


def intended(intent: str | None, *, staff: bool) -> str | None:
    """Give the page an EHR asks for; None if it asks for none that there is."""
    if intent not in INTENTS:
        return None
    return intent if staff or intent in {OVERVIEW, "handout"} else OVERVIEW


def landing(view: VisitView) -> str:
    """Give the page for a member of staff who prescribes nothing, from where the visit stands."""
    if view.stage is Stage.NOT_STARTED and not _is_under_way(view):
        return OVERVIEW
    return _BY_STAGE.get(view.stage, OVERVIEW)


def _is_under_way(view: VisitView) -> bool:
    """A visit that has begun and not ended, in which nothing is recorded yet, is about to be one with an infusion."""
    return (view.chart.encounter or {}).get("status") in {"arrived", "triaged", "in-progress"}
