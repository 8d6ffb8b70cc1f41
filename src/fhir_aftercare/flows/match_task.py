"""Which Task did this answer? (design §9.10)

A response that names its Task is always accepted, before or after the window. Otherwise patient, questionnaire (version
ignored) and open window decide, the oldest first. An answer that fits no Task is kept and scored all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import WrongSubject
from fhir_aftercare.fhir import tasks

if TYPE_CHECKING:
    from fhir_aftercare.fhir.responses import Reading
    from fhir_aftercare.flows.chart import Chart

Resource = dict[str, Any]


def match_task(chart: Chart, patient: str, reading: Reading, named: str | None) -> Resource | None:
    """Give the Task that is answered. ``named`` is the value of the Task identifier the response carries.

    Raises ``WrongSubject`` if it names a Task that is not this patient's, or that asked for another form.
    """
    if named is not None:
        task = next((each for each in chart.of("Task") if _has_value(each, named)), None)
        if task is None:
            raise WrongSubject("The response names a Task that is not this patient's.", where="response.identifier")
        asked = tasks.asks_for(task)
        if asked and reading.questionnaire and asked != reading.questionnaire:
            raise WrongSubject("The response answers another form than its Task asked for.", where="response")
        return task
    answered = reading.reference
    candidates = [each for each in chart.of("Task") if _fits(each, patient, reading)]
    already = [each for each in candidates if answered and _holds(each, answered)]
    if already:
        return already[0]
    waiting = [each for each in candidates if tasks.is_open(each) and tasks.is_in_window(each, reading.authored)]
    return min(waiting, key=lambda each: str(tasks.window_of(each)[1]), default=None)


def _has_value(task: Resource, value: str) -> bool:
    return any(each.get("value") == value for each in task.get("identifier") or ())


def _fits(task: Resource, patient: str, reading: Reading) -> bool:
    for_ = str((task.get("for") or {}).get("reference", ""))
    return (
        reading.questionnaire is not None
        and tasks.asks_for(task) == reading.questionnaire
        and (for_ == patient or for_.endswith("/" + patient))
    )


def _holds(task: Resource, response: str) -> bool:
    return any((each.get("valueReference") or {}).get("reference") == response for each in task.get("output") or ())
