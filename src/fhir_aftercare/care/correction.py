"""What a correction of an infusion does to everything that hangs on it, by its state (fhir-model §1.6, design §10.1).

Pure rules over statuses and times. Corrections only take back, never revive: in whatever order and however often they
arrive, what stands at the end is the same. Which resources there are, and their shapes, is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.escalation_rules import Level
from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import IllegalMove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_WRONG: Final = "entered-in-error"
_NOT_DONE: Final = "not-done"
_RUNNING: Final = frozenset({"preparation", "in-progress", "on-hold"})


class Change(StrEnum):
    """What became known of an infusion after it was recorded."""

    END_MOVED = "end-moved"
    STOPPED = "stopped"
    NOT_DONE = "not-done"
    ENTERED_IN_ERROR = "entered-in-error"
    WRONG_PATIENT = "wrong-patient"

    @property
    def in_error(self) -> bool:
        """Whether there never was such a record of this patient."""
        return self in {Change.ENTERED_IN_ERROR, Change.WRONG_PATIENT}

    @property
    def retracts(self) -> bool:
        """Whether no aftercare is owed any more. An infusion stopped early still owes it: a dose was given."""
        return self.in_error or self is Change.NOT_DONE


# What a note says to whoever acted on something that is taken back.
WORDS: Final[Mapping[Change, str]] = {
    Change.NOT_DONE: "The infusion this belongs to was not done.",
    Change.ENTERED_IN_ERROR: "The infusion this belongs to was entered in error.",
    Change.WRONG_PATIENT: "The infusion this belongs to was recorded on the wrong patient.",
}

# A Task nobody has begun: only such a one is moved (fhir-model §1.6).
MOVABLE: Final = frozenset({"requested", "ready"})
# A Task a person has done something about. A cancelled one may have been by a person or by a sweep: it proves nothing.
ACTED: Final = frozenset({"received", "accepted", "in-progress", "on-hold", "completed", "failed", "rejected"})
_TASK_ENDS: Final = frozenset({"completed", "failed", "cancelled", "rejected", _WRONG})

# What a patient must know is told as soon as an arrival home is asked for (design §10.10) …
_TELL_WITHIN: Final = timedelta(hours=2)
# … and within the hour if the patient may be driving already.
_TELL_NOW: Final = timedelta(hours=1)


def record_after(change: Change, status: str) -> str:
    """Give the status of the record of the drug after a change.

    Raises ``IllegalMove`` if it would give life to what was taken back, or move the end of an infusion that still runs.
    """
    if change.in_error:
        return _WRONG
    if status == _WRONG or (status == _NOT_DONE and change is not Change.NOT_DONE):
        raise _illegal("What was taken back stays taken back: record the infusion anew.", status)
    if change is Change.NOT_DONE:
        return _NOT_DONE
    if change is Change.STOPPED:
        return "stopped"
    if status in _RUNNING:
        raise _illegal("The infusion still runs: record its end.", status)
    return status


def _illegal(message: str, status: str) -> IllegalMove:
    if status == _WRONG:
        legal = [each for each in Change if each.in_error]
    elif status == _NOT_DONE:
        legal = [each for each in Change if each.retracts]
    else:
        legal = [each for each in Change if each is not Change.END_MOVED]
    return IllegalMove(message, legal=legal, where="kind")


def plan_after(change: Change, status: str, *, acted: bool) -> str:
    """Give the status of an infusion's plan. ``acted``: a person did something about it (design §10.1).

    A completed plan has one way out only; as completed it would go on counting as an infusion.
    """
    if not change.retracts or status == _WRONG:
        return status
    if status in {"completed", "unknown"}:
        return _WRONG
    return _WRONG if change.in_error and not acted else "revoked"


def restriction_after(change: Change, status: str, *, acted: bool) -> str:
    """Give the status of a restriction. One whose time has passed was kept by the patient: it stays as it is."""
    return status if status == "completed" else plan_after(change, status, acted=acted)


def task_after(change: Change, status: str, *, withdrawn: bool = False) -> str:
    """Give the status of a Task of the infusion's plan. What has ended stays, but for what a correction ended.

    ``withdrawn``: it was cancelled because the infusion was not done, which now turns out to be an error altogether.
    """
    if not change.retracts or (status in _TASK_ENDS and not (withdrawn and status == "cancelled")):
        return status
    if change.in_error:
        return _WRONG
    return "cancelled"


class CourseEffect(Enum):
    """What becomes of the course when one of its infusions is taken back (fhir-model §1.6)."""

    KEEP = auto()
    REANCHOR = auto()  # its last forms hang on the infusion before
    WITHDRAW_FORMS = auto()  # no infusion is left, but answers are: a person decides
    REVOKE = auto()


def course_after(*, finished: int, running: int, was_last: bool, answered: bool) -> CourseEffect:
    """Tell what becomes of the course: ``finished`` and ``running`` count its other infusions that stand.

    A running one re-anchors the course by itself when its patient leaves.
    """
    if finished:
        return CourseEffect.REANCHOR if was_last else CourseEffect.KEEP
    if running:
        return CourseEffect.KEEP
    return CourseEffect.WITHDRAW_FORMS if answered else CourseEffect.REVOKE


def release_after(told: datetime, computed: datetime, *, agreed: bool) -> datetime:
    """Give when a restriction ends: later by itself, earlier only if a clinician agrees (fhir-model §1.6)."""
    return computed if agreed or utc(computed) > utc(told) else told


@dataclass(frozen=True, slots=True)
class Telling:
    """How soon the patient must be told: in ``due``'s zone."""

    level: Level
    due: datetime


def tell_of_later_release(told: datetime, now: datetime) -> Telling:
    """Say how soon a patient must be told that driving is allowed later than they were ``told``: before they drive."""
    if utc(told) <= utc(now):
        return Telling(Level.ASAP, now + _TELL_NOW)
    return Telling(Level.URGENT, min(now + _TELL_WITHIN, told, key=utc).astimezone(now.tzinfo))


def tell_of_retraction(change: Change, now: datetime) -> Telling:
    """Say how soon a patient must be told that instructions no longer hold; sooner if they were another's."""
    level = Level.ASAP if change is Change.WRONG_PATIENT else Level.URGENT
    return Telling(level, now + _TELL_WITHIN)
