"""The card that a clinician sees when a discharge is being prepared: how leaving stands, and a way into the app.

One card at most, and none where there was no infusion. It proposes nothing to be written; people decide (design §2.6).
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.timing import same_local_day

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.care.readiness import Panel
    from fhir_aftercare.intake.cds_look import Look

Card = dict[str, Any]

# CDS Hooks 2.0: fewer than 140 characters.
LONGEST_SUMMARY: Final = 139
_NAMESPACE: Final = uuid.UUID("6e0f6f0c-6d7c-5b0e-9a53-3d1f5a1f3c11")
_AFTER: Final = "The aftercare plan becomes active when the patient has left."


def cards_of(look: Look, clinic: Clinic, instance: str, launch_url: str, now: datetime) -> list[Card]:
    """Give the cards for one call; ``instance`` is its hookInstance, which names the card too. ``now`` is aware."""
    if look.infusion is False:
        return []
    if look.infusion is None:
        return [
            _card(
                "Whether this visit held a ketamine infusion could not be looked up in time.",
                "If it did, open aftercare to see whether the patient may leave.",
                "info",
                (clinic, instance, launch_url),
            )
        ]
    today = look.start is not None and same_local_day(look.start, now, clinic.zone)
    what = "Ketamine infusion today" if today else "Ketamine infusion in this visit"
    summary, detail, indicator = _standing(look.panel)
    return [_card(f"{what}: {summary}", f"{detail}\n\n{_AFTER}", indicator, (clinic, instance, launch_url))]


def _standing(panel: Panel | None) -> tuple[str, str, str]:
    if panel is None:
        return "what is needed to leave could not be looked up in time.", "Open aftercare to see it.", "warning"
    count = len(panel.judged)
    if panel.may_leave:
        return "the patient may leave by all criteria.", f"All {count} criteria were looked at.", "info"
    unmet = panel.unmet
    lines = [f"- {each.reason}" for each in unmet]
    summary = f"{len(unmet)} of {count} criteria for leaving are not met or not recorded."
    return summary, "\n".join(lines), "warning"


def _card(summary: str, detail: str, indicator: str, for_: tuple[Clinic, str, str]) -> Card:
    clinic, instance, launch_url = for_
    return {
        "uuid": str(uuid.uuid5(_NAMESPACE, f"{clinic.id} {instance}")),
        "summary": summary[:LONGEST_SUMMARY],
        "detail": detail,
        "indicator": indicator,
        "source": {"label": f"Ketamine aftercare, {clinic.name}"},
        "links": [
            {
                "label": "Open aftercare",
                "url": launch_url,
                "type": "smart",
                "appContext": json.dumps({"view": "readiness", "hookInstance": instance}),
            }
        ],
    }
