"""Ask the forms that have come into the horizon, and take back those that are asked no longer (fhir-model §3.3).

A step of the flows that change what is to be asked, not a door. It counts what they have in their transaction already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import utc
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan, tasks
from fhir_aftercare.flows.running_course import RunningCourse

if TYPE_CHECKING:
    from datetime import datetime

    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.draft import Draft
    from fhir_aftercare.flows.running_course import Asking

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ComingForm:
    """A form that will be asked and is no Task yet: its title in the patient's language, when it opens and is due."""

    title: str
    opens: datetime
    due: datetime


def ask_forms(draft: Draft) -> list[str]:
    """Add the forms that the patient's running courses ask by now, and give the references of what is new.

    For flows that have changed what is to be asked: it counts what they have in their transaction. A course whose
    protocol cannot be applied is left as it is; ``tend_plans`` tells of it.
    """
    now = replace(draft, chart=chart_after(draft))
    made: list[str] = []
    for plan in running_courses(now.chart):
        try:
            asking = RunningCourse.of(now.context, now.chart, plan).asking()
        except ProtocolFault:
            continue
        made += add_forms(now, asking)
    return made


def add_forms(draft: Draft, asking: Asking) -> list[str]:
    """Add what a course asks to the transaction, take back what it asks no longer, and give what is new."""
    there = {each["id"]: each for each in draft.chart.of("Task")}
    for changed in asking.replaced:
        draft.transaction.update(changed, there[changed["id"]])
    return [draft.ensure_wanted(each) for each in asking.wanted if draft.existing(each.resource) is None]


def coming_forms(context: ClinicContext, chart: Chart) -> list[ComingForm]:
    """Give the forms of the running courses that are no Tasks yet, in order of time. Raises ``ProtocolFault``."""
    found: list[ComingForm] = []
    known = chart.by_identifier()
    for plan in running_courses(chart):
        asking = RunningCourse.of(context, chart, plan).asking()
        found += [ComingForm(each.title, each.opens, each.due) for each in asking.coming]
        for each in asking.wanted:
            opens, due, _ = tasks.window_of(each.resource)
            if opens is not None and due is not None and each.identifier not in known:
                found.append(ComingForm(str(each.resource["description"]), opens, due))
    return sorted(found, key=lambda each: utc(each.opens))


def running_courses(chart: Chart) -> list[Resource]:
    """Give the patient's courses that are active."""
    plans = (each for each in chart.of("CarePlan") if careplan.is_kind(each, "course"))
    return [each for each in plans if each.get("status") == "active"]


def chart_after(draft: Draft) -> Chart:
    """Give the chart as a transaction in the making will leave it; what is new there has its ``urn:uuid`` as id."""
    found = {
        type_: [draft.transaction.current(each) for each in resources]
        for type_, resources in draft.chart.resources.items()
    }
    for reference, resource in draft.transaction.written():
        if reference.startswith("urn:"):
            found.setdefault(resource["resourceType"], []).append({**resource, "id": reference})
    return replace(draft.chart, resources=found)
