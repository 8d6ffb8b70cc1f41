"""Shapes of what is corrected: records of the drug, Observations, plans, restrictions and Tasks, each kept but changed.

Everything others wrote in a resource survives. What a change does to which of them is ``care.correction``'s to say.
"""

from __future__ import annotations

import copy
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.correction import ACTED, WORDS, Change
from fhir_aftercare.care.status import check_move
from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.fhir.notes import written_by
from fhir_aftercare.fhir.setting import SOFTWARE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.timing import Window

Resource = dict[str, Any]
Times = tuple["datetime | None", "datetime | None", "datetime | None"]

# Why something ended: keys of terms.STATUS_REASONS.
REASONS: Final[Mapping[Change, str]] = {
    Change.NOT_DONE: "infusion-not-done",
    Change.ENTERED_IN_ERROR: "infusion-entered-in-error",
    Change.WRONG_PATIENT: "wrong-patient",
}
_TAKEN_BACK: Final = frozenset({"entered-in-error", "cancelled"})
_CLINIC_PROFILES: Final = frozenset({terms.PROFILE_CLINIC_OBSERVATION, terms.PROFILE_READINESS})
_DURATION: Final = re.compile(r" over \d+ minutes?$")


def has_identifier_of(resource: Resource, system: str) -> bool:
    """Tell whether a resource carries an identifier of a system: by ours we know what we wrote."""
    return any(each.get("system") == system for each in resource.get("identifier") or ())


def has_reason(task: Resource, reason: str) -> bool:
    """Tell whether a Task ended for a reason, a key of ``terms.STATUS_REASONS``."""
    code = terms.STATUS_REASONS[reason]
    codings = (task.get("statusReason") or {}).get("coding") or ()
    return any(each.get("system") == code.system and each.get("code") == code.code for each in codings)


def is_withdrawn(task: Resource) -> bool:
    """Tell whether a Task was cancelled because its infusion was not done."""
    return task.get("status") == "cancelled" and has_reason(task, REASONS[Change.NOT_DONE])


def is_acted_on(task: Resource) -> bool:
    """Tell whether a person did something about a Task, also if a correction has closed it since.

    What has failed because it was missed was left undone.
    """
    noted = any(_is_note(each, text) for each in task.get("note") or () for text in WORDS.values())
    missed = task.get("status") == "failed" and has_reason(task, "missed")
    done = task.get("executionPeriod") or task.get("output")
    return (task.get("status") in ACTED and not missed) or bool(done) or noted


# --- the record of the drug ------------------------------------------------------------------------------------------
def record_corrected(
    record: Resource,
    status: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    reason: str | None = None,
) -> Resource | None:
    """Give a MedicationAdministration or Procedure of ours as it is after a change; None if it is that already.

    ``start`` and ``end`` in the zone they are shown in, None where they stay; ``reason`` is a key of
    ``terms.STATUS_REASONS``.
    """
    found = copy.deepcopy(record)
    found["status"] = status
    given = found.setdefault(f"{'performed' if record['resourceType'] == 'Procedure' else 'effective'}Period", {})
    for name, moment in (("start", start), ("end", end)):
        if moment is not None and not _same_instant(tasks.moment(given.get(name)), moment):
            given[name] = tasks.instant(moment)
            _tell_duration(found, given)
    if reason and record["status"] != status:
        concept = terms.STATUS_REASONS[reason].concept()
        found["statusReason"] = concept if record["resourceType"] == "Procedure" else [concept]
    return found if found != record else None


def period_of(record: Resource) -> tuple[datetime | None, datetime | None]:
    """Give when a record of ours says that the infusion started and ended."""
    given = record.get("effectivePeriod") or record.get("performedPeriod") or {}
    return tasks.moment(given.get("start")), tasks.moment(given.get("end"))


def _tell_duration(record: Resource, period: Resource) -> None:
    """Correct "over 40 minutes" where we wrote it."""
    start, end = tasks.moment(period.get("start")), tasks.moment(period.get("end"))
    if start is None or end is None:
        return
    minutes = round((utc(end) - utc(start)).total_seconds() / 60)
    ours = [record.get("dosage") or {}, *(n for n in record.get("note") or () if n.get("authorString") == SOFTWARE)]
    for each in ours:
        if isinstance(each.get("text"), str):
            each["text"] = _DURATION.sub(f" over {minutes} {'minute' if minutes == 1 else 'minutes'}", each["text"])


# --- Observations ----------------------------------------------------------------------------------------------------
def is_clinic_observation(observation: Resource) -> bool:
    """Tell whether an Observation is of the clinic's sheet, and not of a patient's answers."""
    return not _CLINIC_PROFILES.isdisjoint((observation.get("meta") or {}).get("profile") or ())


def taken_back(observation: Resource) -> Resource | None:
    """Give an Observation as entered in error; None if it was taken back already."""
    if observation.get("status") in _TAKEN_BACK:
        return None
    return {**copy.deepcopy(observation), "status": "entered-in-error"}


# --- plans, restrictions, Tasks --------------------------------------------------------------------------------------
def ended(resource: Resource, status: str) -> Resource | None:
    """Give a CarePlan or ServiceRequest with the status it ends in; None if it has it. Raises ``IllegalMove``."""
    if resource["status"] == status:
        return None
    check_move(resource["resourceType"], resource["status"], status)
    return {**copy.deepcopy(resource), "status": status}


def goal_cancelled(goal: Resource) -> Resource | None:
    """Give a Goal that is pursued no longer; None if it has ended."""
    if goal.get("lifecycleStatus") not in {"proposed", "planned", "accepted", "active", "on-hold"}:
        return None
    return {**copy.deepcopy(goal), "lifecycleStatus": "cancelled"}


def withdrawn(task: Resource, status: str, change: Change, at: datetime) -> Resource | None:
    """Give a Task whose infusion was taken back; None if there is nothing to change. Raises ``IllegalMove``.

    Whoever acted on it finds a note; to what has ended in its own way only that is added.
    """
    found = task
    if task["status"] != status:
        found = tasks.moved(task, status, "withdrawn", at=at, reason=REASONS[change])
    kept_for_nothing = task["status"] in {"rejected", "entered-in-error"}
    if is_acted_on(task) and not kept_for_nothing:
        found = with_note(found, WORDS[change], at)
    return found if found != task else None


def with_note(resource: Resource, text: str, at: datetime, *, author: str | None = None) -> Resource:
    """Give a resource with a note of ours, or of ``author`` (a reference); one that says so already stays as it is."""
    notes = resource.get("note") or []
    if any(_is_note(each, text, author) for each in notes):
        return resource
    note = {**_author(author), "time": tasks.instant(at), "text": text}
    found = {**copy.deepcopy(resource), "note": [*notes, note]}
    return _stamped(found, at) if resource["resourceType"] == "Task" else found


def _is_note(note: Resource, text: str, author: str | None = None) -> bool:
    return note.get("text") == text and all(note.get(name) == by for name, by in _author(author).items())


def _author(reference: str | None) -> Resource:
    return written_by(reference) if reference else {"authorString": SOFTWARE}


def rescheduled(task: Resource, times: Times, at: datetime) -> Resource:
    """Give a Task that opens, is due and expires at other times, everything else kept."""
    opens, due, expires = times
    found = copy.deepcopy(task)
    found["restriction"]["period"] = tasks.period(opens, due)
    for each in found.get("extension") or ():
        if each.get("url") == terms.EXT_TASK_EXPIRY and expires is not None:
            each["valueDateTime"] = tasks.instant(expires)
    return _stamped(found, at)


def _stamped(task: Resource, at: datetime) -> Resource:
    """Say when a Task was changed: never before it was made, whose clock may be ahead (R4 inv-1)."""
    made = tasks.moment(task.get("authoredOn"))
    task["lastModified"] = tasks.instant(at) if made is None or made <= at else task["authoredOn"]
    return task


def times_of(window: Window) -> Times:
    """Give when the Task of a window opens, is due and expires."""
    return window.opens, window.due or window.target, window.expires


def is_at(task: Resource, times: Times) -> bool:
    """Tell whether a Task opens, is due and expires then, to the second: otherwise a person has chosen its times."""
    return all(_same_instant(have, want) for have, want in zip(tasks.window_of(task), times, strict=True))


def restriction_end(request: Resource) -> datetime | None:
    """Give when a restriction ends."""
    return tasks.moment((request.get("occurrencePeriod") or {}).get("end"))


def restriction_moved(request: Resource, start: datetime, end: datetime, words: str | None) -> Resource | None:
    """Give a restriction for another time, with ``words`` for the patient if they change; None if nothing does."""
    found = copy.deepcopy(request)
    period = found.setdefault("occurrencePeriod", {})
    for name, moment in (("start", start), ("end", end)):
        if not _same_instant(tasks.moment(period.get(name)), moment):
            period[name] = tasks.instant(moment)
    if words is not None:
        found["patientInstruction"] = words
    return found if found != request else None


def without_extension(resource: Resource, url: str) -> Resource:
    """Give a resource without an extension."""
    found = copy.deepcopy(resource)
    left = [each for each in found.pop("extension", ()) if each.get("url") != url]
    return {**found, "extension": left} if left else found


def reworded(plan: Resource, lines: Sequence[tuple[str, str]]) -> Resource:
    """Give a plan whose narrative says new lines where it said old ones; what people wrote there stays."""
    found = copy.deepcopy(plan)
    text = found.get("text") or {}
    for old, new in lines:
        if isinstance(text.get("div"), str):
            text["div"] = text["div"].replace(f">{escape(old)}<", f">{escape(new)}<")
    return found


def _same_instant(first: datetime | None, second: datetime | None) -> bool:
    if first is None or second is None:
        return first is second
    return utc(first).replace(microsecond=0) == utc(second).replace(microsecond=0)
