"""Move a restriction to another end of its infusion: later by itself, earlier only if a clinician agrees.

A step of ``move_plan``, not a door. Who was told a time that is too early now is told anew (fhir-model §1.6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care import wording
from fhir_aftercare.care.correction import release_after, tell_of_later_release
from fhir_aftercare.care.timing import Window, local, utc
from fhir_aftercare.fhir import careplan, corrections
from fhir_aftercare.flows.draft import reference_of
from fhir_aftercare.flows.inform_patient import News

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.fhir.apply import Applying
    from fhir_aftercare.fhir.definitions import Action
    from fhir_aftercare.flows.moving import Timetable

Resource = dict[str, Any]


def move_restriction(times: Timetable, action: Action, request: Resource) -> None:
    """Add to the transaction what becomes of a restriction, and note what the plan must say of it."""
    told, now = corrections.restriction_end(request), times.draft.now
    if told is None or request["status"] in careplan.ENDED:
        return
    window, key = _release(times, action, told), times.child(action)[1]
    end = local(release_after(told, window.target, agreed=times.moving.agreed_by is not None), times.zone)
    if request["status"] == "completed":
        if utc(end) > utc(told) and end > now:
            _restrict_again(times, action, request, told, replace(window, target=end))
        times.found.ends.append((told, max(end, told, key=utc)))
        return
    if utc(window.target) < utc(end) and told > now:
        times.found.awaiting.append(reference_of(request))
    words = _words(times, action, request, told, end)
    moved = corrections.restriction_moved(request, local(window.opens or end, times.zone), end, words)
    if moved is not None and utc(end) < utc(told):
        moved = corrections.with_note(moved, times.moving.why, now, author=times.moving.agreed_by)
    if moved is not None:
        times.draft.transaction.update(moved, request)
    times.found.ends.append((told, end))
    times.reword(action, key, _until(told), _until(end))
    if words is not None and utc(end) > utc(told):
        _tell(times, reference_of(request), told, end)


def _restrict_again(times: Timetable, action: Action, ended: Resource, told: datetime, window: Window) -> None:
    """Add a restriction in place of one whose time had passed before it was known to last longer."""
    _, key, following = times.child(action)
    wanted = times.after.make(action, window, following)
    again = {**wanted.resource, "replaces": [{"reference": reference_of(ended)}]}
    made = times.draft.transaction.create(again, wanted.urn)
    times.found.made.append(made)
    times.reword(action, key, _until(told), window)
    if again["patientInstruction"] != ended.get("patientInstruction"):
        _tell(times, made, told, window.target)


def _tell(times: Timetable, about: str, told: datetime, end: datetime) -> None:
    """Who has left was told a time that is too early now; of a time that has passed nobody needs to hear."""
    now = times.draft.now
    if times.moving.plan["status"] == "draft" or end <= now:
        return
    until = wording.short_text(end, times.zone, with_zone=True)
    text = f"The infusion ended later than was known: no driving and no machines before {until}."
    times.found.news = News(tell_of_later_release(told, now), text, about)


def _release(times: Timetable, action: Action, told: datetime) -> Window:
    """Give a restriction's window now, in the zones it was made for: which they were shows in its end.

    Where it does not show, in all that are possible: later is safer.
    """
    tonight = times.before.facts.zones[:1]
    if utc(_in_zones(times.before, tonight).windows(action)[0].target) == utc(told):
        return _in_zones(times.after, tonight).windows(action)[0]
    return times.after.windows(action)[0]


def _words(times: Timetable, action: Action, request: Resource, told: datetime, end: datetime) -> str | None:
    """Give the patient's instruction for another end, in the language and wording it was given; None if it stays.

    Words of a person that we do not know are replaced: they may name a time that is no longer right.
    """
    if utc(told) == utc(end):
        return None
    given = request.get("patientInstruction")
    for applying in times.wordings():
        if _instruction(times, applying, action, told) == given:
            words = _instruction(times, applying, action, end)
            return words if words != given else None
    return _instruction(times, times.after, action, end)


def _instruction(times: Timetable, applying: Applying, action: Action, end: datetime) -> str | None:
    key = (*times.moving.episode.key, action.id)
    return applying.make(action, _until(end), key).resource.get("patientInstruction")


def _until(end: datetime) -> Window:
    return Window(opens=None, target=end, due=None, expires=None)


def _in_zones(applying: Applying, zones: Sequence[ZoneInfo]) -> Applying:
    return replace(applying, facts=replace(applying.facts, zones=zones))
