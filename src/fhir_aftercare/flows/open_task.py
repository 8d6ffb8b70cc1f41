"""Open one Task: whose it is, for whom, what was tried, from one batch. Data only, no page (design §4.4).

A review of a PHQ-9 costs a second one: the scores that raised it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fhir_aftercare.care.worklist import is_last_try
from fhir_aftercare.errors import NotFound, WrongSubject
from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.flows.behind_tasks import Behind, behind
from fhir_aftercare.flows.chart import Chart
from fhir_aftercare.flows.course_events import calls_in
from fhir_aftercare.flows.task_facts import is_ours, legal_moves, owner_of, patient_of, version_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fhir_aftercare.care.policy import Policy
    from fhir_aftercare.errors import AftercareError
    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.flows.course_events import Call
    from fhir_aftercare.flows.task_facts import Move

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskView:
    """One Task as it stands at ``as_of``. ``known`` are the persons that were read, by reference."""

    task: Resource
    version: str | None
    patient: Resource
    calls: tuple[Call, ...]
    known: Mapping[str, Resource]
    legal_moves: tuple[Move, ...]
    as_of: datetime
    behind: Behind
    gap: AftercareError | None = None

    @property
    def reference(self) -> str:
        """``Task/1``."""
        return f"Task/{self.task['id']}"

    @property
    def due(self) -> datetime | None:
        """When it is due."""
        return tasks.window_of(self.task)[1]

    def is_last_try(self, policy: Policy) -> bool:
        """Tell whether one more unanswered attempt is the last of those there are to be (clinical §2.2 row 11)."""
        unanswered = sum(not each.reached for each in self.calls)
        return is_last_try(unanswered + 1, policy)


async def open_task(context: ClinicContext, task: str) -> TaskView:
    """Read a Task (its id) with its patient, owner and attempts.

    Raises ``NotFound``, ``WrongSubject`` for a Task that is not this clinic's, and what the FHIR server's failures
    become. Attempts that could not be read are ``gap``.
    """
    id_ = quote(task, safe="")
    queries = [
        f"Task?_id={id_}&_include=Task:subject&_include=Task:owner",
        f"Communication?part-of=Task/{id_}&_include=Communication:sender:Practitioner&_count=100",
    ]
    of_task, of_calls = await context.fhir.batch(queries)
    entries = [each["resource"] for each in of_task.unwrap().get("entry") or ()]
    found = next((each for each in entries if each["resourceType"] == "Task"), None)
    if found is None:
        raise NotFound("There is no such Task.", where="task")
    patient = next((each for each in entries if each["resourceType"] == "Patient"), None)
    if not is_ours(found, context.identifiers) or patient is None or patient_of(found) is None:
        raise WrongSubject("The Task is not this clinic's.", where="task")
    if not refers_to(found.get("for"), patient):
        raise WrongSubject("The Task is for another patient.", where="task")
    tried = [each["resource"] for each in (of_calls.resource or {}).get("entry") or ()]
    persons = [each for each in (*entries, *tried) if each["resourceType"] in {"Practitioner", "PractitionerRole"}]
    calls = calls_in(
        Chart(patient, None, {"Communication": [e for e in tried if e["resourceType"] == "Communication"]})
    )
    return TaskView(
        task=found,
        version=version_in(found),
        patient=patient,
        calls=tuple(calls),
        known={f"{each['resourceType']}/{each['id']}": each for each in persons},
        legal_moves=legal_moves(found),
        as_of=context.clock(),
        behind=await behind(context, [found], known={owner_of(found) or ""}),
        gap=of_calls.error,
    )
