"""Ask the forms that have come into the horizon, and take back those that are asked no longer (fhir-model §3.3).

A step of the flows that change what is to be asked, not a door. It counts what they have in their transaction already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import careplan
from fhir_aftercare.flows.running_course import RunningCourse

if TYPE_CHECKING:
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.draft import Draft
    from fhir_aftercare.flows.running_course import Asking

Resource = dict[str, Any]


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
