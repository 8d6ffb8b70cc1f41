"""Examples of what callers send: in the OpenAPI file, and sent as they are by the tests.

They speak of a patient, an encounter and a nurse with these ids, which the tests create.
"""

from typing import Any, Final

from fastapi.openapi.models import Example

from fhir_aftercare.fhir import terms

PATIENT: Final = "Patient/example-ana"
ENCOUNTER: Final = "Encounter/example-infusion"
NURSE: Final = "Practitioner/example-nurse"
START: Final = "2026-09-16T13:00:00-04:00"
END: Final = "2026-09-16T13:40:00-04:00"
LEFT: Final = "2026-09-16T15:10:00-04:00"

_READY: Final[dict[str, Any]] = {
    "at": "2026-09-16T15:05:00-04:00",
    "systolic": 126,
    "diastolic": 80,
    "heart_rate": 74,
    "spo2": 98,
    "dissociation": "absent",
    "moaa_s": 5,
    "nausea": 0,
    "vomiting": 0,
    "oriented": True,
    "walks_unaided": True,
    "no_acute_suicidal_intent": True,
    "escort_present": True,
    "written_instructions": True,
    "emergency_contact": True,
}
_INFUSION: Final[dict[str, Any]] = {
    "patient": PATIENT,
    "encounter": ENCOUNTER,
    "status": "completed",
    "start": START,
    "end": END,
    "dose_mg": 35,
    "route": "intravenous",
    "recorded_by": NURSE,
    "escort": {"name": "Sam Rivera", "relationship": "brother", "phone": "+1 555 0142", "arranged": True},
    "checks": [
        {
            "at": "2026-09-16T12:50:00-04:00",
            "systolic": 124,
            "diastolic": 78,
            "heart_rate": 72,
            "spo2": 98,
            "dissociation": "absent",
            "moaa_s": 5,
        },
        {
            "at": END,
            "systolic": 146,
            "diastolic": 88,
            "heart_rate": 84,
            "spo2": 97,
            "dissociation": "moderate",
            "moaa_s": 4,
        },
        _READY,
    ],
}
INFUSION: Final[dict[str, Example]] = {
    "monitored": {"summary": "An infusion of 40 minutes, watched until the patient was ready", "value": _INFUSION},
    "running": {
        "summary": "An infusion that has just begun",
        "value": {
            "patient": PATIENT,
            "encounter": ENCOUNTER,
            "status": "in-progress",
            "start": START,
            "recorded_by": NURSE,
            "checks": [_INFUSION["checks"][0]],
        },
    },
}
_DISCHARGE: Final[dict[str, Any]] = {
    "patient": PATIENT,
    "encounter": ENCOUNTER,
    "left_at": LEFT,
    "escort": "present",
    "escort_person": {"name": "Sam Rivera", "phone": "+1 555 0142"},
    "call": {"phone": "+1 555 0101"},
    "zone": "America/New_York",
    "recorded_by": NURSE,
}
ASK: Final[dict[str, Example]] = {
    "escorted": {"summary": "The patient leaves with an adult", "value": _DISCHARGE},
    "overridden": {
        "summary": "A clinician lets the patient leave before ready",
        "value": {
            **_DISCHARGE,
            "override": {
                "by": NURSE,
                "by_name": "Ngozi Okafor",
                "at": LEFT,
                "reason": "Seen by the prescriber; goes home with two adults.",
            },
        },
    },
}
_UNRECORDED: Final[dict[str, Any]] = {
    "patient": PATIENT,
    "encounter": ENCOUNTER,
    "left_at": LEFT,
    "start": START,
    "end": END,
}
DISCHARGE: Final[dict[str, Example]] = {
    **ASK,
    "without-record": {
        "summary": "Nothing was recorded: the caller tells when the infusion was",
        "value": _UNRECORDED,
    },
}
BATCH: Final[dict[str, Example]] = {
    "two": {
        "summary": "Two discharges that nobody reported when they happened",
        "value": {
            "discharges": [
                {
                    "patient": PATIENT,
                    "infusion": "2026-09-09",
                    "start": "2026-09-09T13:00:00-04:00",
                    "end": "2026-09-09T13:40:00-04:00",
                    "left_at": "2026-09-09T15:20:00-04:00",
                },
                _UNRECORDED,
            ]
        },
    }
}
RESPONSE: Final[dict[str, Example]] = {
    "phq-9": {
        "summary": "A PHQ-9",
        "value": {
            "resourceType": "QuestionnaireResponse",
            "questionnaire": terms.QUESTIONNAIRE_PHQ9,
            "status": "completed",
            "subject": {"reference": PATIENT},
            "source": {"reference": PATIENT},
            "authored": "2026-09-23T18:20:00-04:00",
            "item": [
                {"linkId": f"/{item.code}", "answer": [{"valueCoding": terms.FREQUENCY_ANSWERS[answer].coding()}]}
                for item, answer in zip(terms.PHQ9_ITEMS, (1, 2, 1, 2, 1, 1, 1, 0, 0), strict=True)
            ],
        },
    },
    "check-in": {
        "summary": "The day after: I feel worse",
        "value": {
            "resourceType": "QuestionnaireResponse",
            "questionnaire": terms.QUESTIONNAIRE_CHECK_IN,
            "status": "completed",
            "subject": {"reference": PATIENT},
            "source": {"reference": PATIENT},
            "authored": "2026-09-17T10:05:00-04:00",
            "item": [{"linkId": "feels-worse", "answer": [{"valueBoolean": True}]}],
        },
    },
}
STORED: Final[dict[str, Example]] = {
    "portal": {
        "summary": "Answers that the portal has written",
        "value": {"patient": PATIENT, "reference": "QuestionnaireResponse/example-portal"},
    }
}
