"""A status moves forward, or to "entered in error", or not at all."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, get_args

import pytest

from fhir_aftercare.care.status import PLAN_MOVES, RESTRICTION_MOVES, TASK_MOVES, Kind, check_move
from fhir_aftercare.errors import IllegalMove

if TYPE_CHECKING:
    from collections.abc import Mapping

MOVES: dict[Kind, Mapping[str, frozenset[str]]] = {
    "Task": TASK_MOVES,
    "CarePlan": PLAN_MOVES,
    "ServiceRequest": RESTRICTION_MOVES,
}
# The value sets of R4.
STATUSES: dict[Kind, set[str]] = {
    "Task": {
        "draft", "requested", "received", "accepted", "rejected", "ready", "cancelled", "in-progress", "on-hold",
        "failed", "completed", "entered-in-error",
    },
    "CarePlan": {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"},
    "ServiceRequest": {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"},
}  # fmt: skip
ENDS = {"completed", "failed", "cancelled", "rejected", "revoked"}
ORDER = ("draft", "requested", "received", "ready", "accepted", "in-progress")
KINDS = get_args(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_status_of_r4_has_its_moves(kind: Kind) -> None:
    assert MOVES[kind].keys() == STATUSES[kind]
    assert {after for moves in MOVES[kind].values() for after in moves} <= STATUSES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_from_an_end_the_only_way_out_is_entered_in_error(kind: Kind) -> None:
    for end in ENDS & STATUSES[kind]:
        assert MOVES[kind][end] == {"entered-in-error"}
    assert MOVES[kind]["entered-in-error"] == frozenset()


@pytest.mark.parametrize("kind", KINDS)
def test_anything_may_turn_out_to_have_been_an_error(kind: Kind) -> None:
    for before in STATUSES[kind] - {"entered-in-error"}:
        check_move(kind, before, "entered-in-error")


def test_a_task_never_moves_backwards() -> None:
    for before, after in product(ORDER, ORDER):
        if ORDER.index(after) < ORDER.index(before):
            with pytest.raises(IllegalMove):
                check_move("Task", before, after)


def test_what_was_begun_cannot_be_rejected_any_more() -> None:
    check_move("Task", "accepted", "rejected")
    with pytest.raises(IllegalMove):
        check_move("Task", "in-progress", "rejected")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Task", ("requested", "completed")),
        ("Task", ("requested", "failed")),
        ("Task", ("requested", "cancelled")),
        ("Task", ("requested", "received", "ready", "accepted", "in-progress", "on-hold", "in-progress", "completed")),
        ("CarePlan", ("draft", "active", "on-hold", "active", "completed", "entered-in-error")),
        ("CarePlan", ("draft", "revoked")),
        ("ServiceRequest", ("active", "completed")),
        ("ServiceRequest", ("active", "revoked")),
    ],
)
def test_the_ways_work_takes_are_open(kind: Kind, path: tuple[str, ...]) -> None:
    for before, after in pairwise(path):
        check_move(kind, before, after)


@pytest.mark.parametrize("kind", KINDS)
def test_to_stay_is_no_move(kind: Kind) -> None:
    for status in STATUSES[kind]:
        check_move(kind, status, status)


def test_who_tries_is_told_the_legal_moves() -> None:
    with pytest.raises(IllegalMove) as refused:
        check_move("CarePlan", "on-hold", "draft")
    assert refused.value.legal == ("active", "completed", "entered-in-error", "revoked")
    assert refused.value.where == ("CarePlan.status",)
    assert "on-hold" in refused.value.message


def test_a_status_nobody_knows_leads_nowhere() -> None:
    with pytest.raises(IllegalMove) as refused:
        check_move("Task", "bogus", "completed")
    assert refused.value.legal == ()
