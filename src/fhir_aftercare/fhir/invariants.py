"""Rules of whole resources: R4's own invariants by their key, ours by their rule in ``profiles/``.

They are asked only of what has the structure R4 gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.faults import Fault, has_value, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Resource = dict[str, Any]


def _task(task: Resource) -> Iterator[Fault]:
    for name in ("for", "authoredOn", "requester"):
        if name not in task:
            yield Fault(name, "is required of a Task")
    status, dates = task["status"], (task.get("restriction") or {}).get("period") or {}
    if "end" not in dates:
        yield Fault("restriction.period.end", "is required: a Task is due some time")
    if not in_order(task.get("authoredOn"), task.get("lastModified")):  # inv-1
        yield Fault("lastModified", "is before authoredOn")
    if status in {"cancelled", "failed", "rejected"} and "statusReason" not in task:
        yield Fault("statusReason", "is required of a Task that ended without being done")
    if status in {"requested", "ready"} and "executionPeriod" in task:
        yield Fault("executionPeriod", "is only of a Task that somebody has acted on")
    for each in task.get("extension") or ():
        if each["url"] == terms.EXT_TASK_EXPIRY and not in_order(dates.get("end"), each.get("valueDateTime")):
            yield Fault("extension", "expires before it is due")
    if tasks.has_code(task, terms.COMPLETE_QUESTIONNAIRE):
        yield from _form_task(task)


def _form_task(task: Resource) -> Iterator[Fault]:
    if "focus" in task:  # sdc-t1
        yield Fault("focus", "is not of a Task that asks for a questionnaire")
    if tasks.asks_for(task) is None:
        yield Fault("input", "does not name the questionnaire")
    if task["status"] == "completed" and not any(
        tasks.has_code({"code": each["type"]}, terms.SDC_RESPONSE) for each in task.get("output") or ()
    ):
        yield Fault("output", "does not point to the answers")


def _care_plan(plan: Resource) -> Iterator[Fault]:
    for index, each in enumerate(plan.get("activity") or ()):
        if "detail" in each or "reference" not in each:  # cpl-3, design §5.1
            yield Fault(f"activity[{index}]", "is not by reference alone")
    if plan["status"] not in {"draft", "entered-in-error"} and "start" not in (plan.get("period") or {}):
        yield Fault("period.start", "is required of a plan that is no longer a draft")


def _restriction(request: Resource) -> Iterator[Fault]:
    restricts = terms.PROFILE_RESTRICTION in ((request.get("meta") or {}).get("profile") or ())
    if restricts and request.get("doNotPerform") is not True:  # without it, it orders what it was to forbid
        yield Fault("doNotPerform", "is required to be true of a restriction")
    if request.get("doNotPerform") and not {"start", "end"} <= (request.get("occurrencePeriod") or {}).keys():
        yield Fault("occurrencePeriod", "needs start and end: a restriction ends some time")


def _observation(observation: Resource) -> Iterator[Fault]:
    if "subject" not in observation:
        yield Fault("subject", "is required of an Observation")
    if not has_value(observation) and not observation.keys() & {"component", "hasMember", "dataAbsentReason"}:
        yield Fault("value", "is required, or the reason why it is absent")
    parts = [
        ("", observation),
        *((f"component[{i}].", each) for i, each in enumerate(observation.get("component") or ())),
    ]
    for place, part in parts:
        if has_value(part) and "dataAbsentReason" in part:  # obs-6
            yield Fault(f"{place}dataAbsentReason", "is only where there is no value")
        if place and not has_value(part) and "dataAbsentReason" not in part:
            yield Fault(f"{place}value", "is required, or the reason why it is absent")


def _answers(response: Resource) -> Iterator[Fault]:
    if "subject" not in response:
        yield Fault("subject", "is required: answers of nobody are found by nobody")


def _goal(goal: Resource) -> Iterator[Fault]:
    for index, each in enumerate(goal.get("target") or ()):
        if "measure" not in each and any(name.startswith("detail") for name in each):  # gol-1
            yield Fault(f"target[{index}].measure", "is required where there is a detail")


def _administration(record: Resource) -> Iterator[Fault]:
    dosage = record.get("dosage")
    if dosage is not None and not dosage.keys() & {"dose", "rateRatio", "rateQuantity"}:  # mad-1
        yield Fault("dosage", "needs a dose or a rate")
    yield from _ended(record, "effectivePeriod")


def _ended(record: Resource, name: str) -> Iterator[Fault]:
    if record["status"] == "completed" and "end" not in (record.get(name) or {"end"}):
        yield Fault(f"{name}.end", "is required of what is completed")


def _provenance(provenance: Resource) -> Iterator[Fault]:
    for index, each in enumerate(provenance["target"]):
        if "/_history/" in str(each.get("reference")):  # the transaction itself gives the versions (design §5.3)
            yield Fault(f"target[{index}]", "is versioned")


INVARIANTS: Final[Mapping[str, Callable[[Resource], Iterator[Fault]]]] = {
    "Task": _task,
    "CarePlan": _care_plan,
    "ServiceRequest": _restriction,
    "Observation": _observation,
    "Goal": _goal,
    "MedicationAdministration": _administration,
    "Procedure": lambda procedure: _ended(procedure, "performedPeriod"),
    "Provenance": _provenance,
    "QuestionnaireResponse": _answers,
}
