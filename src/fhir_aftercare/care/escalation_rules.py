"""The rows of the escalation matrix: what staff are told, how pressing it is, by when (clinical §2.5, design §10.4).

When a row holds is ``escalation``'s to decide; how long its deadline is, the policy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Level(IntEnum):
    """How pressing it is, lowest first (design §10.4)."""

    ROUTINE = 0
    URGENT = 1
    ASAP = 2
    STAT = 3

    @property
    def priority(self) -> str:
        """The FHIR request-priority of the same rank."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the matrix. ``deadline`` is the field of ``Policy`` that says by when."""

    key: str
    level: Level
    deadline: str
    text: str
    source: str = "clinical §2.5"


ITEM9_HIGH = Rule(
    "phq9-item9-high",
    Level.STAT,
    "item9_high",
    "PHQ-9 item 9 (thoughts of death or self-harm) was answered more than half the days or nearly every day: "
    "a clinician calls and does the C-SSRS.",
    "clinical §2.5, design §10.4",
)
ITEM9_LOW = Rule(
    "phq9-item9-low",
    Level.ASAP,
    "item9_low",
    "PHQ-9 item 9 (thoughts of death or self-harm) was answered several days: a clinician calls and does the C-SSRS.",
    "clinical §2.5, design §10.4",
)
ITEM9_UNKNOWN = Rule(
    "phq9-item9-unknown",
    Level.URGENT,
    "item9_unknown",
    "PHQ-9 item 9 (thoughts of death or self-harm) is not known: ask the patient.",
    "design §9.17, clinical §3.5",
)
WORSENING = Rule(
    "phq9-worsening",
    Level.URGENT,
    "worse_business_days",
    "The PHQ-9 is worse than at baseline or before: call, and look at the treatment plan.",
    "clinical §2.4, §2.5",
)
CONFUSED = Rule(
    "dissociation-at-home",
    Level.ASAP,
    "post_discharge_dissociation",
    "Moderate or strong dissociation or confusion at home, beyond the time in which it is expected: a clinician calls; "
    "to the emergency department if unsafe.",
)
# The matrix counts a severe headache at home among the emergencies, also where the question about those is not "yes".
HEADACHE = Rule(
    "severe-headache",
    Level.STAT,
    "emergency",
    "Strong headache at home: call now; the patient was told to call 911 if it is very bad.",
)
SIDE_EFFECTS = Rule(
    "side-effects",
    Level.ROUTINE,
    "wants_call_business_days",
    "Nausea, dizziness, headache, tiredness or sleepiness that is strong, or moderate and longer than expected: call.",
)
# The software never releases the restriction on the patient's word (design §10.5): a nurse decides.
DOUBTFUL = Rule(
    "driving-doubtful",
    Level.URGENT,
    "safety_event",
    "The patient has not slept, or does not feel clear: a nurse decides about driving and tells the patient.",
    "design §10.5, clinical §4.4",
)

# What is acted on wherever it is answered "yes".
YES: Final = {
    "emergency_symptoms": Rule(
        "emergency-symptoms",
        Level.STAT,
        "emergency",
        "Chest pain, breathlessness, fainting or severe headache at home: call now; the patient was told to call 911.",
    ),
    # Whoever says so is reached as fast as after a high item 9, which asks the same with less haste.
    "unsafe": Rule(
        "unsafe",
        Level.STAT,
        "item9_high",
        "The patient thinks of dying or feels unsafe: a clinician calls and does the C-SSRS.",
    ),
    "drove": Rule(
        "drove",
        Level.ASAP,
        "safety_event",
        "The patient drove before it was allowed: a nurse calls, incident note.",
        "clinical §2.5, design §10.4",
    ),
    "alcohol": Rule(
        "alcohol",
        Level.ASAP,
        "safety_event",
        "The patient had alcohol or sedatives in the first 24 hours: a nurse calls, incident note.",
        "clinical §2.5, design §10.4",
    ),
    "vomiting_3_or_no_fluids": Rule(
        "vomiting", Level.URGENT, "vomiting", "Vomited three times or more, or no fluids for 12 hours: call."
    ),
    "elevated_mood": Rule(
        "elevated-mood",
        Level.URGENT,
        "elevated_mood",
        "Unusually high or racing, with little sleep (a switch to mania?): the prescriber looks.",
    ),
    "blood_in_urine": Rule(
        "blood-in-urine", Level.URGENT, "blood_in_urine", "Blood in the urine: urinalysis, dose review, urology."
    ),
    "feels_worse": Rule(
        "feels-worse",
        Level.URGENT,
        "worse_business_days",
        "The patient feels worse than before the infusion: call, and look at the treatment plan.",
    ),
    "urinary": Rule(
        "urinary",
        Level.ROUTINE,
        "urinary",
        "Passes urine more often, in a hurry or with pain: urinalysis, dose review, urology.",
    ),
    "wants_call": Rule(
        "wants-call", Level.ROUTINE, "wants_call_business_days", "The patient would like a call.", "clinical §2.5"
    ),
}
