"""Examples of moves and corrections: in the OpenAPI file, and sent as they are by the tests."""

from typing import Final

from fastapi.openapi.models import Example

from fhir_aftercare.api.examples import ENCOUNTER, NURSE, PATIENT

MOVE: Final[dict[str, Example]] = {
    "claim": {"summary": "I take it", "value": {"move": "claim", "person": NURSE}},
    "no-answer": {
        "summary": "Called, nobody answered",
        "value": {"move": "attempt", "person": NURSE, "outcome": "no-answer"},
    },
    "reached": {
        "summary": "Called and reached",
        "value": {"move": "attempt", "person": NURSE, "outcome": "reached", "note": "Slept well, feels clear."},
    },
    "complete": {
        "summary": "Done",
        "value": {"move": "complete", "person": NURSE, "outcome": "Spoke with the patient; no change of the plan."},
    },
}
CORRECTION: Final[dict[str, Example]] = {
    "later": {
        "summary": "The infusion ended later than recorded",
        "value": {
            "patient": PATIENT,
            "encounter": ENCOUNTER,
            "kind": "end-moved",
            "end": "2026-09-16T13:55:00-04:00",
            "reason": "The pump log says 13:55.",
            "recorded_by": NURSE,
        },
    },
    "wrong-patient": {
        "summary": "It was recorded on the wrong patient",
        "value": {
            "patient": PATIENT,
            "encounter": ENCOUNTER,
            "kind": "wrong-patient",
            "reason": "Recorded on the wrong chart.",
            "recorded_by": NURSE,
        },
    },
}
RETRACTION: Final[dict[str, Example]] = {
    "mistyped": {
        "summary": "A row that belongs to somebody else",
        "value": {"patient": PATIENT, "reason": "Taken from another room's monitor.", "recorded_by": NURSE},
    }
}
SIGNAL: Final[dict[str, Example]] = {
    "left": {
        "summary": "The patient has left",
        "value": {
            "event": "adt-2026-000123",
            "encounter": ENCOUNTER,
            "patient": PATIENT,
            "occurred_at": "2026-09-16T15:10:00-04:00",
        },
    },
    "reopened": {
        "summary": "The discharge was a mistake",
        "value": {"event": "adt-2026-000124", "encounter": ENCOUNTER, "kind": "cancelled"},
    },
}
