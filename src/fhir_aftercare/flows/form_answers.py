"""When a patient answered which form: by a Task of ours, or by a score that the EHR wrote.

Looks only. It is what keeps two forms of one family apart (clinical §2.3): an answer counts wherever it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fhir_aftercare.care.timing import utc
from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.lint_rules_forms import instrument_of
from fhir_aftercare.flows.situation import score_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from fhir_aftercare.care.outcome import Point
    from fhir_aftercare.fhir.definitions import Protocol
    from fhir_aftercare.flows.chart import Chart
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One form as it was answered: its address without version, when, and the score's reference if it has one."""

    family: str
    at: datetime
    reference: str | None = None


def answers_in(context: ClinicContext, chart: Chart, forms: Sequence[Resource]) -> list[Answer]:
    """Give the answers in a chart, oldest first: the scores, and of ``forms`` (Tasks) those completed without one.

    A score is an answer to every form of its instrument that the protocol knows.
    """
    points = score_points(chart, context.clinic)
    found = [*_scored(context.protocol, points), *_completed(forms, points)]
    return sorted(found, key=lambda each: utc(each.at))


def as_asked(answer: Answer) -> Resource:
    """Give an answer as a Task that asked for it when it was given: so it keeps its distance to what is asked."""
    return {
        "resourceType": "Task",
        "status": "completed",
        "restriction": {"period": tasks.period(answer.at, None)},
        "input": [tasks.form_input(answer.family)],
    }


def _scored(protocol: Protocol, points: Sequence[Point]) -> Iterator[Answer]:
    families: dict[str, dict[str, None]] = {}
    for form in protocol.forms.values():
        scored = instrument_of(form)
        if scored is not None:
            families.setdefault(scored.instrument.key, {})[form.url] = None
    for point in points:
        for family in families.get(point.instrument, ()):
            yield Answer(family, point.at, _reference(point))


def _completed(forms: Sequence[Resource], points: Sequence[Point]) -> Iterator[Answer]:
    scores = {_reference(point) for point in points}
    for task in forms:
        family, at = tasks.asks_for(task), tasks.moment((task.get("executionPeriod") or {}).get("end"))
        outputs = {(each.get("valueReference") or {}).get("reference") for each in task.get("output") or ()}
        if task.get("status") == "completed" and family and at is not None and outputs.isdisjoint(scores):
            yield Answer(family, at)


def _reference(point: Point) -> str | None:
    """Give the reference of a score; one that is being written is known by its ``urn:uuid`` alone."""
    source = point.source or ""
    return source[source.find("urn:uuid:") :] if "urn:uuid:" in source else point.source
