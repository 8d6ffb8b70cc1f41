"""Which status a Task, a CarePlan and a restriction may move to, and from which (fhir-model §1.5, design §10.1, §10.3).

A Task never moves backwards (design §5.3); from an end there is no way back, only to entered-in-error. Whether a move
is the right one is decided by whoever makes it. What a status is called in the chart is ``fhir/``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fhir_aftercare.errors import IllegalMove

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["Task", "CarePlan", "ServiceRequest"]

_WRONG: Final = "entered-in-error"
_RETRACTED: Final = frozenset({_WRONG})
_TASK_ENDS: Final = frozenset({"completed", "failed", "cancelled", _WRONG})
# R4: "rejected" is by one who has not begun yet; afterwards the Task is cancelled or has failed.
_UNBEGUN_ENDS: Final = _TASK_ENDS | {"rejected"}
_PLAN_ENDS: Final = frozenset({"completed", "revoked", _WRONG})

TASK_MOVES: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"requested", "ready", "cancelled", _WRONG}),
    "requested": frozenset({"received", "ready", "accepted", "in-progress", "on-hold"}) | _UNBEGUN_ENDS,
    "received": frozenset({"ready", "accepted", "in-progress", "on-hold"}) | _UNBEGUN_ENDS,
    "ready": frozenset({"accepted", "in-progress", "on-hold"}) | _UNBEGUN_ENDS,
    "accepted": frozenset({"in-progress", "on-hold"}) | _UNBEGUN_ENDS,
    "in-progress": frozenset({"on-hold"}) | _TASK_ENDS,
    # To go on where it was held is no step back; what was held before it was begun may still be declined.
    "on-hold": frozenset({"requested", "received", "ready", "accepted", "in-progress"}) | _UNBEGUN_ENDS,
    "completed": _RETRACTED,
    "failed": _RETRACTED,
    "cancelled": _RETRACTED,
    "rejected": _RETRACTED,
    _WRONG: frozenset(),
}

PLAN_MOVES: Final[Mapping[str, frozenset[str]]] = {
    "draft": frozenset({"active", "revoked", _WRONG}),
    "active": frozenset({"on-hold"}) | _PLAN_ENDS,
    "on-hold": frozenset({"active"}) | _PLAN_ENDS,
    "completed": _RETRACTED,
    "revoked": _RETRACTED,
    "unknown": _RETRACTED,
    _WRONG: frozenset(),
}

# A restriction's end of time completes it (design §10.5); otherwise it lives as a plan does.
RESTRICTION_MOVES: Final[Mapping[str, frozenset[str]]] = PLAN_MOVES

_MOVES: Final[Mapping[Kind, Mapping[str, frozenset[str]]]] = {
    "Task": TASK_MOVES,
    "CarePlan": PLAN_MOVES,
    "ServiceRequest": RESTRICTION_MOVES,
}


def check_move(kind: Kind, before: str, after: str) -> None:
    """Check that a resource of this FHIR type may go from status ``before`` to ``after``; to stay is always legal.

    Raises ``IllegalMove`` with the legal ones (fhir-model §1.5).
    """
    legal = _MOVES[kind].get(before, frozenset())
    if after != before and after not in legal:
        raise IllegalMove(
            f"A {kind} may not move from {before} to {after}.", legal=sorted(legal), where=f"{kind}.status"
        )
