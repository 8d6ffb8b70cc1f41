"""What a person may ask of one Task: a move, and what belongs to it. Refused with every faulty field named.

Whether the move is legal for the Task as it is now is not decided here (``task_facts``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from fhir_aftercare.care.timing import require_aware, utc
from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.flows.call_attempt import NO_ANSWER, REACHED
from fhir_aftercare.flows.task_facts import Move

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

# How work ends that was not done (design §10.3), by the reasons a person may give: status, businessStatus. The other
# keys of terms.STATUS_REASONS belong to the discharge (left alone) and to corrections, which do more than end one Task.
FAIL_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "missed": ("failed", "missed"),
    "unreachable": ("failed", "unreachable"),
    "superseded": ("cancelled", "superseded"),
}
# What each move takes beside person, note, if_match and patient, and what it needs.
_TAKES: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "claim": (frozenset(), frozenset({"person"})),
    "release": (frozenset(), frozenset()),
    "attempt": (frozenset({"outcome", "next_try"}), frozenset({"outcome"})),
    "complete": (frozenset({"outcome"}), frozenset()),
    "fail": (frozenset({"reason"}), frozenset({"reason"})),
    "decline": (frozenset(), frozenset()),
    "reassign": (frozenset({"owner"}), frozenset({"owner"})),
}
_OPTIONAL: Final = ("person", "outcome", "reason", "next_try", "owner")
_ID: Final = r"/[A-Za-z0-9\-.]{1,64}"
_SHAPES: Final = {
    "task": re.compile("Task" + _ID),
    "person": re.compile("(Practitioner|PractitionerRole|Patient|RelatedPerson)" + _ID),
    "owner": re.compile("(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService)" + _ID),
}


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """One move of one Task (``Task/1``). Persons and owners are FHIR references.

    ``outcome``: of an attempt ``reached`` or ``no-answer``; of a completion the words for what came of it, which a
    clinical review needs. ``reason`` is a key of ``FAIL_REASONS``. ``next_try``: when a call not answered is due again.
    ``owner``: to whom it is reassigned. ``if_match``: the version or ETag that was looked at. With ``patient`` the
    Task must be this patient's.
    """

    task: str
    move: Move
    person: str | None = None
    outcome: str | None = None
    reason: str | None = None
    note: str | None = None
    next_try: datetime | None = None
    owner: str | None = None
    if_match: str | None = None
    patient: str | None = None


def check_request(request: MoveRequest, now: datetime) -> None:
    """Raise ``InvalidInput`` naming every faulty field, ``MissingZone`` for a next try without an offset."""
    if request.move not in _TAKES:
        raise InvalidInput("A move is one of " + ", ".join(get_args(Move)) + ".", where="move")
    wrong = dict([*_not_its_own(request), *_misshapen(request), *_untimely(request, now)])
    if wrong:
        raise InvalidInput("; ".join(f"{name} {rule}" for name, rule in wrong.items()) + ".", where=tuple(wrong))
    if request.next_try is not None:
        require_aware(request.next_try, "next_try")


def _not_its_own(request: MoveRequest) -> Iterator[tuple[str, str]]:
    takes, needs = _TAKES[request.move]
    for name in _OPTIONAL:
        given = getattr(request, name) is not None
        if given and name not in takes | {"person"}:
            yield name, "belongs to another move"
        elif not given and name in needs:
            yield name, "is needed"


def _misshapen(request: MoveRequest) -> Iterator[tuple[str, str]]:
    for name in ("outcome", "note"):
        words = getattr(request, name)
        if words is not None and not words.strip():
            yield name, "is empty"
    for name, shape in _SHAPES.items():
        reference = getattr(request, name)
        if reference is not None and not shape.fullmatch(reference):
            yield name, "is no reference that can stand there"
    if request.move == "attempt" and request.outcome not in (None, REACHED, NO_ANSWER):
        yield "outcome", f"of an attempt is {REACHED} or {NO_ANSWER}"
    if request.move == "fail" and request.reason is not None and request.reason not in FAIL_REASONS:
        yield "reason", "is one of " + ", ".join(FAIL_REASONS)


def _untimely(request: MoveRequest, now: datetime) -> Iterator[tuple[str, str]]:
    at = request.next_try
    if at is not None and request.outcome == REACHED:
        yield "next_try", "is of a call that was not answered"
    elif at is not None and at.utcoffset() is not None and utc(at) <= utc(now):
        yield "next_try", "must be in the future"
