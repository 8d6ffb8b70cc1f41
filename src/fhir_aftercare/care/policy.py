"""What a clinic's medical director decides in numbers: every threshold and deadline, with its default and its source.

A clinic overrides any of them in its file (``config``). The protocol in ``profiles/`` decides what is asked and when,
and the rules that use these numbers are ``infusion``, ``readiness``, ``escalation``, ``outcome`` and ``plan``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.care.infusion import Dissociation
from fhir_aftercare.errors import OutOfRange

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Policy:
    """The clinic's thresholds (``int``, in the unit named) and deadlines (``timedelta``, elapsed, from the event).

    A deadline of ``…_business_days`` counts days on which the clinic is open. Raises ``OutOfRange`` that names every
    field in ``where`` and every broken rule in the message, parted by "; ", each beginning with the field it is about.
    """

    # Staying after the infusion's end: design §9.19, after Oxford NHS (clinical §1.1).
    min_observation_with_escort: timedelta = _HOUR
    min_observation_without_escort: timedelta = 2 * _HOUR

    # Blood pressure in mmHg. After the start, and to leave: "elevated" from here on (clinical §1.6).
    bp_limit_systolic: int = 160
    bp_limit_diastolic: int = 100
    # "Severe" above this: no discharge (clinical §1.6, Del Sant 2020).
    bp_severe_systolic: int = 180
    bp_severe_diastolic: int = 110
    # A rise over the value before the drug that is flagged from here on (clinical §1.6, the esketamine label).
    bp_rise_systolic: int = 40
    bp_rise_diastolic: int = 25
    # To leave above the limit: at most this many percent above the patient's own baseline (design §10.11).
    bp_baseline_percent: int = 20
    # Before the drug: "elevated" above this (clinical §1.6); the other systolic limit from 65 years on (EU SmPC).
    predose_systolic: int = 140
    predose_diastolic: int = 90
    predose_systolic_65: int = 150
    # Before the drug: "hold" above this (clinical §1.6, marked M: the clinic confirms it).
    predose_hold_systolic: int = 160
    predose_hold_diastolic: int = 100

    # Flagged below or above, per minute (clinical §1.3, marked M).
    heart_rate_low: int = 50
    heart_rate_high: int = 120
    respiratory_rate_low: int = 10
    respiratory_rate_high: int = 24
    # Flagged below, in percent; to leave at least the first (clinical §1.3, marked M).
    spo2_watch: int = 94
    spo2_urgent: int = 90

    # Sedation by MOAA/S (clinical §1.4): needed to leave; urgent at or below.
    moaa_s_to_leave: int = 5
    moaa_s_urgent: int = 3
    # The most with which a patient may leave (clinical §1.4: nausea from 7 of 10, or vomiting twice, is acted on).
    nausea_max_to_leave: int = 6
    vomiting_max_to_leave: int = 1
    dissociation_to_leave: Dissociation = Dissociation.MILD

    # A score is a baseline if it is at most this old at the start (design §9.11).
    baseline_max_age: timedelta = 7 * _DAY
    # Never two forms of one kind within this many calendar days (clinical §2.3).
    min_days_between_forms: int = 5
    # An infusion this soon after the last joins its course; after the longer gap a new course begins (design §9.3).
    course_join: timedelta = 28 * _DAY
    course_max_gap: timedelta = 183 * _DAY
    # Forms are made as Tasks this far ahead (fhir-model §2.1: one Task per occurrence inside a horizon).
    horizon: timedelta = 14 * _DAY
    # The encounter's end is believed to be the infusion's within this time of its start (design §10.7).
    estimated_end_max: timedelta = 8 * _HOUR
    # Infusions of one encounter closer than this are one episode (design §9.2).
    episode_gap: timedelta = 12 * _HOUR

    # Deadlines of the escalation matrix (clinical §2.5; item 9 unknown: design §9.17).
    emergency: timedelta = timedelta(minutes=15)
    item9_high: timedelta = _HOUR
    item9_low: timedelta = _DAY
    item9_unknown: timedelta = _DAY
    post_discharge_dissociation: timedelta = 2 * _HOUR
    vomiting: timedelta = _DAY
    elevated_mood: timedelta = _DAY
    safety_event: timedelta = _DAY
    blood_in_urine: timedelta = _DAY
    urinary: timedelta = 7 * _DAY
    worse_business_days: int = 1
    wants_call_business_days: int = 1
    unreached_business_days: int = 1
    unanswered_business_days: int = 2
    # Dissociation or confusion at home is urgent from this long after the infusion's end (clinical §2.5).
    dissociation_expected_for: timedelta = 4 * _HOUR
    # Tiredness, mild nausea and dizziness are expected until then; after it staff call (clinical §2.5).
    side_effects_expected_for: timedelta = 2 * _DAY
    # Attempts of one follow-up call, after which it has failed (clinical §2.2, row 11).
    call_attempts_max: int = 3

    # PHQ-9: worse by so many points; response; remission below; relapse (clinical §2.4).
    worsening_points: int = 5
    response_percent: int = 50
    remission_below: int = 5
    relapse_at_least: int = 10
    relapse_above_best: int = 5
    relapse_confirm: timedelta = 7 * _DAY
    # GAD-7: a change that counts (clinical §2.4, marked M).
    gad7_change: int = 4

    # Asked at the checks of an infusion: breathing, and sedation by MOAA/S (clinical §1.2).
    ask_respiratory_rate: bool = True
    ask_sedation: bool = True
    # Offer a session with a therapist after 24 to 72 hours (clinical §2.2, row 16).
    integration_session: bool = False
    # A patient leaves with an escort, or a clinician overrides it with a reason (clinical §2.2, row 3).
    escort_required: bool = True
    # Write every answered item as an Observation of its own, not only totals and item 9.
    write_all_items: bool = False

    def __post_init__(self) -> None:
        broken = [*_out_of_bounds(self), *_not_positive(self), *_out_of_order(self), *_unsafe(self)]
        if broken:
            named = dict.fromkeys(field for fields_, _ in broken for field in fields_)
            raise OutOfRange("; ".join(rule for _, rule in broken), where=tuple(named))


_Broken = tuple[tuple[str, ...], str]

# What each number can be at all: pressures and rates as measured (clinical §1.3), scales and scores by their range.
_BOUNDS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("bp_limit_systolic", "bp_severe_systolic"), (40, 300)),
    **dict.fromkeys(("predose_systolic", "predose_systolic_65", "predose_hold_systolic"), (40, 300)),
    **dict.fromkeys(("bp_limit_diastolic", "bp_severe_diastolic"), (20, 200)),
    **dict.fromkeys(("predose_diastolic", "predose_hold_diastolic"), (20, 200)),
    **dict.fromkeys(("bp_rise_systolic", "bp_rise_diastolic"), (1, 200)),
    "bp_baseline_percent": (0, 100),
    **dict.fromkeys(("heart_rate_low", "heart_rate_high"), (20, 250)),
    **dict.fromkeys(("respiratory_rate_low", "respiratory_rate_high"), (2, 60)),
    **dict.fromkeys(("spo2_watch", "spo2_urgent"), (50, 100)),
    **dict.fromkeys(("moaa_s_to_leave", "moaa_s_urgent"), (0, 5)),
    "nausea_max_to_leave": (0, 10),
    "vomiting_max_to_leave": (0, 20),
    "min_days_between_forms": (1, 28),
    **dict.fromkeys(("worse_business_days", "wants_call_business_days"), (1, 10)),
    **dict.fromkeys(("unreached_business_days", "unanswered_business_days"), (1, 10)),
    "call_attempts_max": (1, 10),
    "response_percent": (1, 100),
    **dict.fromkeys(("worsening_points", "remission_below", "relapse_at_least", "relapse_above_best"), (1, 27)),
    "gad7_change": (1, 21),
}

# The first is at most the second.
_AT_MOST = (
    ("min_observation_with_escort", "min_observation_without_escort"),
    ("bp_limit_systolic", "bp_severe_systolic"),
    ("bp_limit_diastolic", "bp_severe_diastolic"),
    ("predose_systolic", "predose_systolic_65"),
    ("predose_systolic_65", "predose_hold_systolic"),
    ("predose_diastolic", "predose_hold_diastolic"),
    ("predose_hold_systolic", "bp_severe_systolic"),
    ("predose_hold_diastolic", "bp_severe_diastolic"),
    ("spo2_urgent", "spo2_watch"),
    ("course_join", "course_max_gap"),
    ("remission_below", "relapse_at_least"),
    ("emergency", "item9_high"),
    ("item9_high", "item9_low"),
    ("blood_in_urine", "urinary"),
)
# The first is below the second.
_BELOW = (
    ("bp_limit_diastolic", "bp_limit_systolic"),
    ("bp_severe_diastolic", "bp_severe_systolic"),
    ("predose_diastolic", "predose_systolic"),
    ("predose_hold_diastolic", "predose_hold_systolic"),
    ("heart_rate_low", "heart_rate_high"),
    ("respiratory_rate_low", "respiratory_rate_high"),
    ("moaa_s_urgent", "moaa_s_to_leave"),
)
# Clinical §2.5 promises these within a day; §1.4 lets nobody leave who is more than mildly dissociated.
_WITHIN_A_DAY = ("emergency", "item9_high", "item9_low", "item9_unknown")
_MAY_LEAVE = (Dissociation.ABSENT, Dissociation.MILD)


def _out_of_bounds(policy: Policy) -> Iterator[_Broken]:
    for field, (low, high) in _BOUNDS.items():
        if not low <= getattr(policy, field) <= high:
            yield (field,), f"{field} must be from {low} to {high}"


def _not_positive(policy: Policy) -> Iterator[_Broken]:
    for field in fields(policy):
        value = getattr(policy, field.name)
        if isinstance(value, timedelta) and value <= timedelta():
            yield (field.name,), f"{field.name} must be longer than nothing"


def _out_of_order(policy: Policy) -> Iterator[_Broken]:
    for first, second in _AT_MOST:
        if getattr(policy, first) > getattr(policy, second):
            yield (first, second), f"{first} must be at most {second}"
    for first, second in _BELOW:
        if getattr(policy, first) >= getattr(policy, second):
            yield (first, second), f"{first} must be below {second}"


def _unsafe(policy: Policy) -> Iterator[_Broken]:
    for field in _WITHIN_A_DAY:
        if getattr(policy, field) > _DAY:
            yield (field,), f"{field} must be at most 24 h"
    if policy.dissociation_to_leave not in _MAY_LEAVE:
        yield ("dissociation_to_leave",), "dissociation_to_leave must be absent or mild"
