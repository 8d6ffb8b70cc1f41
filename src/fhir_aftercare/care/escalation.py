"""Which answers somebody must act on, and by when: the escalation matrix (clinical §2.5, design §9.17, §9.20, §10.4).

Every response is looked at, however old it is and whatever came later (design §10.9). Decides reasons for people to
look, each with its rule and source; what they do is theirs. Whose Task it becomes is ``flows/review``'s; what an
answer was called in its form is ``fhir/``'s. The thresholds and deadlines are ``policy``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.escalation_rules import (
    CONFUSED,
    DOUBTFUL,
    HEADACHE,
    ITEM9_HIGH,
    ITEM9_LOW,
    ITEM9_UNKNOWN,
    SIDE_EFFECTS,
    WORSENING,
    YES,
    Level,
    Rule,
)
from fhir_aftercare.care.instruments import PHQ9
from fhir_aftercare.care.outcome import Point, assess, newest_per_day, tag_recall
from fhir_aftercare.care.timing import local, utc, wall_clock
from fhir_aftercare.errors import OutOfRange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fhir_aftercare.care.instruments import Score
    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.care.timing import OpenHours


@dataclass(frozen=True, slots=True)
class Reason:
    """Why somebody must look. ``key`` is stable; ``text`` is for staff and names the rule and its source.

    ``deadline`` is in the clinic's zone and never past: what is late is due now.
    """

    key: str
    level: Level
    deadline: datetime
    text: str
    source: str


SEVERITIES: Final = ("dissociation", "confusion", "nausea", "dizziness", "headache", "fatigue", "drowsiness")
_NONE, _MILD, _MODERATE, _STRONG = range(4)
_LIMITS: Final = {**dict.fromkeys(SEVERITIES, _STRONG), "mood": 10}


@dataclass(frozen=True, slots=True)
class CheckIn:
    """What a check-in says; None is not asked or not answered, and never "no".

    Severities are 0 (none), 1 (a little), 2 (moderate), 3 (strong); ``mood`` is 0 (worst) to 10 (best); the rest is yes
    or no. Raises ``OutOfRange`` naming every field outside its limits.
    """

    feels_worse: bool | None = None
    unsafe: bool | None = None
    mood: int | None = None
    dissociation: int | None = None
    confusion: int | None = None
    nausea: int | None = None
    dizziness: int | None = None
    headache: int | None = None
    fatigue: int | None = None
    drowsiness: int | None = None
    vomiting_3_or_no_fluids: bool | None = None
    emergency_symptoms: bool | None = None
    drove: bool | None = None
    alcohol: bool | None = None
    slept: bool | None = None
    feels_clear: bool | None = None
    elevated_mood: bool | None = None
    urinary: bool | None = None
    blood_in_urine: bool | None = None
    wants_call: bool | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in _LIMITS}
        wrong = [name for name, value in given.items() if value is not None and not 0 <= value <= _LIMITS[name]]
        if wrong:
            raise OutOfRange("Answers outside the limits of the check-in: " + ", ".join(wrong) + ".", where=wrong)

    def severity(self, name: str) -> int:
        """Give the severity answered for one of ``SEVERITIES``; 0 if none was."""
        found = getattr(self, name)
        return int(found) if found is not None else _NONE


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the patient besides these answers.

    ``previous`` are PHQ-9 totals in any order, ``baseline`` the course's; ``last_infusion_end`` the last E before the
    answers. None: there is none, or it is not known.
    """

    previous: tuple[Point, ...] = ()
    baseline: int | None = None
    last_infusion_end: datetime | None = None
    first_plan_at: datetime | None = None


def decide(
    *,
    score: Score | None,
    check_in: CheckIn | None,
    at: datetime,
    now: datetime,
    history: History,
    policy: Policy,
    hours: OpenHours,
) -> list[Reason]:
    """Give the reasons to act on one response, the most pressing first; empty if nothing calls for it.

    ``at`` is when it was answered, ``now`` when it is looked at; deadlines count from the answer (from ``now`` if the
    answer claims to be of the future), on the clinic's ``hours``. A score from before the patient's first plan raises
    nothing (design §9.20). Raises ``MissingZone`` if a time has no offset.
    """
    rules: list[Rule] = []
    if score is not None and not _before_first_plan(at, history):
        rules += _of_score(score, at, history, policy, hours)
    if check_in is not None:
        rules += _of_check_in(check_in, at, history, policy)
    asked = min(at, now, key=utc)
    reasons = [_reason(rule, asked, now, policy, hours) for rule in rules]
    return sorted(reasons, key=lambda each: (-each.level, utc(each.deadline), each.key))


def business_deadline(at: datetime, days: int, hours: OpenHours) -> datetime:
    """Give when the clinic closes on the ``days``-th day on which it opens after ``at``, in the clinic's zone.

    A day on which it has already opened does not count. A clinic that does not open often enough within a year has
    that many times 24 hours: no hours at all must not mean no deadline.
    """
    here = local(at, hours.zone)
    begun = hours.open_time(wall_clock(here.date(), time.min, hours.zone), here) > timedelta()
    closings: dict[object, datetime] = {}
    for opens, closes in hours.spans(here, utc(here) + timedelta(days=366)):
        day = opens.date()
        if begun and day == here.date():
            continue
        if day not in closings and len(closings) == days:
            break
        closings[day] = closes
    if len(closings) < days:
        return (utc(here) + timedelta(days=days)).astimezone(hours.zone)
    return max(closings.values(), key=utc)


def _reason(rule: Rule, asked: datetime, now: datetime, policy: Policy, hours: OpenHours) -> Reason:
    allowed: int | timedelta = getattr(policy, rule.deadline)
    deadline = utc(asked) + allowed if isinstance(allowed, timedelta) else business_deadline(asked, allowed, hours)
    due = max(deadline, now, key=utc).astimezone(hours.zone)
    return Reason(rule.key, rule.level, due, f"{rule.text} [{rule.source}]", rule.source)


def _before_first_plan(at: datetime, history: History) -> bool:
    """A patient without any plan is not known to be old: then the score counts."""
    return history.first_plan_at is not None and utc(at) < utc(history.first_plan_at)


def _of_score(score: Score, at: datetime, history: History, policy: Policy, hours: OpenHours) -> Iterator[Rule]:
    if not score.item9_known:
        yield ITEM9_UNKNOWN
    elif score.item9:
        yield ITEM9_LOW if score.item9 == 1 else ITEM9_HIGH
    if _worse(score, at, history, policy, hours):
        yield WORSENING


def _worse(score: Score, at: datetime, history: History, policy: Policy, hours: OpenHours) -> bool:
    """Tell whether a PHQ-9 is worse than the baseline or the last one before it (clinical §2.4).

    One whose recall does not match, days 1 and 3 after an infusion, is no change (clinical §2.3).
    """
    if score.instrument is not PHQ9 or score.total is None:
        return False
    newest = Point(at, score.total, PHQ9.key, None, item9=score.item9)
    earlier = [each for each in history.previous if utc(each.at) < utc(at)]
    ends = [history.last_infusion_end] if history.last_infusion_end else []
    points = tag_recall(newest_per_day([*earlier, newest], hours.zone), ends, hours.zone)
    if points[-1].recall_mismatch:
        return False
    start = utc(points[0].at) - timedelta(days=1)
    before = None if history.baseline is None else Point(start, history.baseline, PHQ9.key, None)
    return bool(assess(points, before, policy, since=start).worsening)


def _of_check_in(given: CheckIn, at: datetime, history: History, policy: Policy) -> Iterator[Rule]:
    yield from (rule for name, rule in YES.items() if getattr(given, name))
    since = _since_infusion(at, history)
    # Without a known infusion nothing shows that it is still expected.
    unexpected = since is None or since > policy.dissociation_expected_for
    if unexpected and max(given.severity("dissociation"), given.severity("confusion")) >= _MODERATE:
        yield CONFUSED
    if given.headache == _STRONG and not given.emergency_symptoms:
        yield HEADACHE
    if _beyond_expected(given, since, policy):
        yield SIDE_EFFECTS
    if given.slept is False or given.feels_clear is False:
        yield DOUBTFUL


def _since_infusion(at: datetime, history: History) -> timedelta | None:
    return None if history.last_infusion_end is None else utc(at) - utc(history.last_infusion_end)


def _beyond_expected(given: CheckIn, since: timedelta | None, policy: Policy) -> bool:
    """Tell whether side effects are more than the matrix expects after an infusion, or last longer.

    A little is not followed up at any time: weekly forms ask people with depression whether they are tired.
    """
    soon = since is None or since <= policy.side_effects_expected_for
    worst = max(given.severity(name) for name in ("nausea", "dizziness", "fatigue", "drowsiness"))
    return worst == _STRONG or (not soon and max(worst, given.severity("headache")) >= _MODERATE)
