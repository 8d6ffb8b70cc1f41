"""Pressing work that nobody took by its deadline passes to whom the clinic has on call (clinical §2.5, design §10.4).

A step of ``tend_plans``, not a door. By the deadline and not by the priority, and once: who gives it to somebody else
afterwards has decided. A clinic that names nobody on call is told of it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.expiry import is_over
from fhir_aftercare.ehr.answers import location_of
from fhir_aftercare.fhir import corrections, tasks
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.task_facts import is_claimed, is_form, is_ours, owner_of

if TYPE_CHECKING:
    from fhir_aftercare.flows.draft import Draft

Resource = dict[str, Any]

PRESSING: Final = ("asap", "stat")
PASSED_ON: Final = "Nobody had taken this by its deadline: passed to whom the clinic has on call."
_UNBEGUN: Final = frozenset({"requested", "received", "ready"})
_PERSONS: Final = frozenset({"Practitioner", "PractitionerRole"})


@dataclass(frozen=True, slots=True)
class Untaken:
    """Tasks that nobody took by their deadline: those passed on now, and those that stay where they are."""

    passed_on: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


def pass_on(draft: Draft) -> Untaken:
    """Add to the transaction who is to act now, for the patient's Tasks as the transaction leaves them."""
    found, on_call = Untaken(), draft.context.clinic.owners.on_call
    for task in map(draft.transaction.current, draft.chart.of("Task")):
        if not _is_untaken(draft, task):
            continue
        noted = corrections.with_note(task, PASSED_ON, draft.now)
        if on_call is None or owner_of(task) == on_call or noted is task:
            found.waiting.append(reference_of(task))
        else:
            found.passed_on.append(draft.transaction.update({**noted, "owner": {"reference": on_call}}, task))
    return found


def _is_untaken(draft: Draft, task: Resource) -> bool:
    pressing = task.get("priority") in PRESSING and not is_form(task) and is_ours(task, draft.context.identifiers)
    return pressing and not is_taken(task) and tasks.is_open(task) and is_over(tasks.window_of(task)[1], draft.now)


def is_taken(task: Resource) -> bool:
    """Tell whether somebody has said that they act, or is acting. What was claimed and released is nobody's."""
    owner = location_of(owner_of(task))
    released = task.get("status") == "accepted" and not is_claimed(task)
    return not (task.get("status") in _UNBEGUN or (released and (owner is None or owner.type not in _PERSONS)))
