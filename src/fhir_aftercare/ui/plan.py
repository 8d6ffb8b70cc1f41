"""The plan in words: what signing would write, or what is in force; and what changed while somebody was reading.

Wording only. What would be written is ``flows.review_plan``'s to say, whether the patient may leave ``care``'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.readiness import Criterion
from fhir_aftercare.fhir import careplan, tasks, terms
from fhir_aftercare.flows.open_visit import Stage
from fhir_aftercare.flows.task_facts import is_form
from fhir_aftercare.ui import people
from fhir_aftercare.ui.ready import MARKS, NAMES, NOTHING, escort

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.flows.open_visit import VisitView

Resource = dict[str, Any]

# In the order people think of them: tonight first.
_ORDER: Final = ("ServiceRequest", "Task", "CarePlan", "Goal", "Observation")
_NOTHING: Final = {
    **NOTHING,
    Stage.NOT_STARTED: "No infusion is recorded for this visit yet, so there is nothing to plan.",
    Stage.RUNNING: "The infusion is still running. The plan hangs on its end: end it in the record first.",
}
_OPEN: Final = {"requested": "open", "received": "open", "ready": "open", "accepted": "taken", "in-progress": "begun"}


@dataclass(frozen=True, slots=True)
class ItemLine:
    """One thing of the plan: what, when, whose work, how it stands; ``reference`` is empty while it is not written."""

    kind: str
    what: str
    when: str
    who: str
    state: str
    priority: str
    reference: str


def nothing(view: VisitView) -> str | None:
    """Say why there is no plan to review; None: there is one."""
    return _NOTHING.get(view.stage)


@dataclass(frozen=True, slots=True)
class Items:
    """What a plan holds: ``now`` is what people do today and tomorrow, ``forms`` the patient's, ``rest`` what holds it
    together.
    """

    now: tuple[ItemLine, ...]
    forms: tuple[ItemLine, ...]
    rest: tuple[ItemLine, ...]

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.now) + len(self.forms) + len(self.rest)


def grouped(lines: Sequence[ItemLine]) -> Items:
    """Give the lines of a plan by what they are to people."""
    return Items(
        now=tuple(each for each in lines if each.kind in {"Restriction", "Task"}),
        forms=tuple(each for each in lines if each.kind == "Form"),
        rest=tuple(each for each in lines if each.kind not in {"Restriction", "Task", "Form"}),
    )


def items(resources: Iterable[Resource], clinic: Clinic, zone: ZoneInfo, *, written: bool) -> list[ItemLine]:
    """Give what is written, or would be; ``written``: the resources are on the server. Times in ``zone``.

    Who signs and with which software is left out: every transaction says so.
    """
    shown = [each for each in resources if each["resourceType"] in _ORDER]
    shown.sort(key=lambda each: (_ORDER.index(each["resourceType"]), _from(each)))
    return [_item(each, clinic, zone, written=written) for each in shown]


def _from(resource: Resource) -> float:
    if resource["resourceType"] != "Task":
        return 0.0
    opens, due, _ = tasks.window_of(resource)
    first = opens or due
    return first.timestamp() if first else 0.0


def _item(resource: Resource, clinic: Clinic, zone: ZoneInfo, *, written: bool) -> ItemLine:
    type_ = resource["resourceType"]
    kind, what, when, who = _WORDS[type_](resource, clinic, zone)
    priority = str(resource.get("priority") or "routine")
    status = str(resource.get("status") or resource.get("lifecycleStatus") or "")
    return ItemLine(
        kind=kind,
        what=what,
        when=when,
        who=who,
        state=_OPEN.get(status, status) if type_ == "Task" else status,
        priority="" if priority == "routine" else priority,
        reference=f"{type_}/{resource['id']}" if written else "",
    )


_Words = tuple[str, str, str, str]


def _task(task: Resource, clinic: Clinic, zone: ZoneInfo) -> _Words:
    opens, due, _ = tasks.window_of(task)
    when = f"by {wording.short_text(due, zone, with_zone=True)}" if due else "no time set"
    if opens and due:
        when = f"{wording.short_text(opens, zone)} to {wording.short_text(due, zone, with_zone=True)}"
    said = (task.get("code") or {}).get("text")
    what = task.get("description") if is_form(task) else said
    return "Form" if is_form(task) else "Task", str(what or said or "Task"), when, owner(task, clinic)


def _restriction(request: Resource, _: Clinic, zone: ZoneInfo) -> _Words:
    end = tasks.moment((request.get("occurrencePeriod") or {}).get("end"))
    until = f"until {wording.short_text(end, zone, with_zone=True)}" if end else "no end set"
    return "Restriction", str((request.get("code") or {}).get("text") or "Restriction"), until, "Patient"


def _plan(plan: Resource, _: Clinic, zone: ZoneInfo) -> _Words:
    dates = plan.get("period") or {}
    when = f"from {people.when(dates.get('start'), zone)}"
    if dates.get("end"):
        when += f" until {people.when(dates['end'], zone)}"
    kind = "Course plan" if careplan.is_kind(plan, "course") else "Infusion plan"
    return kind, str(plan.get("title") or "Plan"), when, ""


def _goal(goal: Resource, _: Clinic, zone: ZoneInfo) -> _Words:
    due = next((each.get("dueDate") for each in goal.get("target") or () if each.get("dueDate")), None)
    return "Goal", str((goal.get("description") or {}).get("text") or "Goal"), people.when(due, zone) if due else "", ""


def _observation(found: Resource, _: Clinic, zone: ZoneInfo) -> _Words:
    named = (found.get("code") or {}).get("text") or "Observation"
    what = "Readiness to leave, as it was judged" if tasks.has_code(found, terms.READINESS) else str(named)
    return "Observation", what, people.when(found.get("effectiveDateTime"), zone), ""


_WORDS: Final = {
    "Task": _task,
    "ServiceRequest": _restriction,
    "CarePlan": _plan,
    "Goal": _goal,
    "Observation": _observation,
}


def owner(task: Resource, clinic: Clinic) -> str:
    """Say whose work a Task is: the patient's, a role of the clinic, the clinic's, or somebody named in the chart."""
    reference = str((task.get("owner") or {}).get("reference") or "")
    if not reference:
        return "Nobody"
    if reference == (task.get("for") or {}).get("reference"):
        return "Patient"
    owners = clinic.owners
    roles = {
        owners.nurse: "Nurse",
        owners.prescriber: "Prescriber",
        owners.care_team: "Care team",
        owners.on_call: "On call",
        clinic.organization: "Clinic",
    }
    return roles.get(reference) or str((task.get("owner") or {}).get("display") or "Somebody named")


# --- what changed meanwhile ------------------------------------------------------------------------------------------
def facts(view: VisitView, zone: ZoneInfo) -> dict[str, str]:
    """Give what a plan rests on, by name, as the page shows it. Time alone changes none of it."""
    found: dict[str, str] = {}
    for number, each in enumerate(view.given, 1):
        end = wording.short_text(each.end, zone) if each.end else "end not recorded"
        name = "Infusion" if len(view.given) == 1 else f"Infusion {number}"
        found[name] = f"{wording.short_text(each.start, zone)} to {end}, {each.status.value}"
    for judged in view.panel.judged if view.panel else ():
        if judged.criterion is not Criterion.MIN_OBSERVATION:
            found[NAMES[judged.criterion]] = MARKS[judged.state].lower()
    known = escort(view.escort)
    found["Escort"] = ", ".join(part for part in (known.name, known.phone) if part) or "not named"
    found["Plan"] = str((view.plan or {}).get("status") or "not begun")
    return found


def packed(seen: Mapping[str, str]) -> str:
    """Give facts as one text, for a form to carry."""
    return json.dumps(seen, ensure_ascii=False, separators=(",", ":"))


def changes(seen: str, now: Mapping[str, str]) -> list[str]:
    """Say what is no longer as it was shown: one sentence each. A form that says nothing readable saw nothing."""
    try:
        before = json.loads(seen)
    except ValueError:
        before = {}
    if not isinstance(before, dict):
        before = {}
    return list(_changes({str(name): str(value) for name, value in before.items()}, now))


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        was, is_ = before.get(name), now.get(name)
        if was != is_:
            yield f"{name}: {f'was {was}' if was else 'was not there'}, {f'is now {is_}' if is_ else 'is gone'}."
