"""What a plan's children make of its status: a state machine that reads, and never guesses (fhir-model §1.5).

A plan ends by itself only when nothing can change its end any more: each child has ended and no further one will come.
So whatever is looked at, in whatever order and however often, the plan ends the same way. What it waits for is told,
never acted on; closing a plan in which something that had to be done was not, is a clinician's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from fhir_aftercare.care.timing import utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# Forms may be answered for so long after their window has closed (design §9.12): only then is a plan late.
GRACE: Final = timedelta(hours=48)

_DECIDED: Final = frozenset({"declined", "answered", "answered-late"})


class Outcome(Enum):
    """How one child of a plan stands. Unlike a status it tells what was missed from what was taken back."""

    OPEN = "open"
    DONE = "done"  # or decided by the patient: to decline is an answer
    UNDONE = "undone"
    WITHDRAWN = "withdrawn"
    VOID = "void"  # entered in error: there never was such a child


@dataclass(frozen=True, slots=True)
class Child:
    """One child: its outcome, and whether the protocol says that it must be done."""

    outcome: Outcome
    critical: bool = False


class Why(StrEnum):
    """Why a plan has the status it has."""

    NOT_RUNNING = "not-running"  # a draft, held or ended by somebody: not ours to move
    MORE_TO_COME = "more-to-come"
    CHILDREN_OPEN = "children-open"
    NOTHING_THERE = "nothing-there"
    CRITICAL_UNDONE = "critical-undone"
    ALL_WITHDRAWN = "all-withdrawn"
    ALL_ENDED = "all-ended"


@dataclass(frozen=True, slots=True)
class RollUp:
    """The status a plan should have, and why. ``late``: its time is over, and something of it is still open.

    ``needs_clinician``: something that had to be done was not; nobody but a clinician closes the plan.
    """

    status: str
    why: Why
    late: bool = False
    needs_clinician: bool = False


def task_outcome(status: str, business: str | None = None, *, has_output: bool = False) -> Outcome:
    """Give how a Task stands, by its status and its businessStatus (design §10.3).

    Not answered in time is ``cancelled`` and ``missed``; what was cancelled for any other reason was taken back, unless
    the answer came from elsewhere (``has_output``). A status we do not know has not ended.
    """
    if status == "entered-in-error":
        return Outcome.VOID
    if status in {"completed", "rejected"}:
        return Outcome.DONE
    if status not in {"failed", "cancelled"}:
        return Outcome.OPEN
    if business in _DECIDED or (has_output and status == "cancelled"):
        return Outcome.DONE
    return Outcome.UNDONE if status == "failed" or business == "missed" else Outcome.WITHDRAWN


def request_outcome(status: str) -> Outcome:
    """Give how a restriction, or a plan that is part of another, stands."""
    known = {"completed": Outcome.DONE, "revoked": Outcome.WITHDRAWN, "entered-in-error": Outcome.VOID}
    return known.get(status, Outcome.OPEN)


def roll_up(
    status: str,
    children: Sequence[Child],
    *,
    now: datetime,
    ends: datetime | None = None,
    more_to_come: bool = False,
) -> RollUp:
    """Give the status of a plan from its children (fhir-model §1.5 Roll-up, design §10.3).

    Each has ended and nothing critical is undone: completed. All were taken back: revoked. ``more_to_come``: further
    children are on their way, which a course has as long as it asks forms, or as an infusion may join it. ``ends`` is
    when the plan's period ends: a late plan stays active, it never completes by the clock.
    """
    if status != "active":
        return RollUp(status, Why.NOT_RUNNING)
    there = [each for each in children if each.outcome is not Outcome.VOID]
    is_open = any(each.outcome is Outcome.OPEN for each in there)
    undone = any(each.critical and each.outcome is Outcome.UNDONE for each in there)
    late = is_open and ends is not None and utc(now) > utc(ends) + GRACE
    found = _stays(there, is_open=is_open, undone=undone, more_to_come=more_to_come)
    if found is not None:
        return RollUp("active", found, late, undone)
    if all(each.outcome is Outcome.WITHDRAWN for each in there):
        return RollUp("revoked", Why.ALL_WITHDRAWN)
    return RollUp("completed", Why.ALL_ENDED)


def _stays(there: Sequence[Child], *, is_open: bool, undone: bool, more_to_come: bool) -> Why | None:
    """Give why a running plan goes on; None if it has ended."""
    if more_to_come:
        return Why.MORE_TO_COME
    if is_open:
        return Why.CHILDREN_OPEN
    if undone:
        return Why.CRITICAL_UNDONE
    return None if there else Why.NOTHING_THERE
