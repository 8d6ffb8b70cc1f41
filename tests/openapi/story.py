"""The story that the examples of the OpenAPI file tell: each is sent to the real service, and its answer recorded.

A new route needs its examples in ``api/examples.py`` and lines here. Chapters share the service and have a patient, an
encounter and ids of their own, all written as those of the examples. Whoever changes what is answered records anew:

    RECORD_ANSWERS=1 .venv/bin/python -m pytest tests/openapi/test_examples.py && make openapi
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
from sekmet.fhir import common

from fhir_aftercare.api import examples
from fhir_aftercare.bootstrap import shipped_protocol
from fhir_aftercare.config import Settings
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows.clock import SettableClock
from fhir_aftercare.flows.context import ClinicContext, Clinics
from fhir_aftercare.service import create_app
from intake.inboxes import KeptWork
from openapi.document import operations
from world import make_clinic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import pytest
    from fastapi import FastAPI

    from fhir_aftercare.sandbox.store import SandboxStore

Resource = dict[str, Any]
Memory = dict[str, Any]
Named = Callable[[Memory], Mapping[str, str]]

CLINIC: Final = "harbor"
ORGANIZATION: Final = "Organization/example-clinic"
PORTAL: Final = examples.STORED["portal"]["value"]["reference"]
DISCHARGED: Final = datetime.fromisoformat(examples.LEFT) + timedelta(minutes=2)
NEXT_DAY: Final = datetime.fromisoformat("2026-09-17T10:06:00-04:00")
WEEK_LATER: Final = datetime.fromisoformat("2026-09-23T18:21:00-04:00")
STORED: Final = "2026-09-16T19:12:00.000Z"
KEPT_ENTRIES: Final = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One call. ``said`` is the summary under which its answer is recorded; without it the answer is only checked.

    ``example`` names the example of the body; ``body`` changes it, or makes one. ``code`` is the error to be answered.
    ``path``, ``query`` and ``headers`` may be functions of what was answered before, by operationId.
    """

    operation: str
    example: str = ""
    status: int = 200
    said: str = ""
    name: str = ""
    code: str = ""
    body: Callable[[Any], Any] | None = None
    path: Named | None = None
    query: Named | None = None
    headers: Named | None = None

    @property
    def label(self) -> str:
        """The name of the recorded answer."""
        return self.name or self.example or "answer"


Move = datetime


def _watched_to_the_end(body: Any) -> Any:
    return {**body, "checks": body["checks"][:-1]}


def _of_another(body: Any) -> Any:
    return {**body, "encounter": "Encounter/example-elsewhere"}


def _impossible(body: Any) -> Any:
    return {**body, "checks": [{**body["checks"][0], "systolic": 900}]}


def _call(memory: Memory) -> Mapping[str, str]:
    """Name the first Task that is a call."""
    return _task(memory, "attempt")


def _work(memory: Memory) -> Mapping[str, str]:
    """Name the first Task that can be done."""
    return _task(memory, "complete")


def _task(memory: Memory, move: str) -> Mapping[str, str]:
    found = next(each for each in memory["listTasks"].body["items"] if move in each["legal_moves"])
    return {"task": found["task"].partition("/")[2]}


def _as_seen(memory: Memory) -> Mapping[str, str]:
    return {"If-Match": memory["getTask"].etag}


def _move(example: str, said: str = "", task: Named = _call, **more: Any) -> list[Step]:
    """Look at the Task, and move it."""
    return [Step("getTask", path=task), Step("moveTask", example, said=said, path=task, headers=_as_seen, **more)]


def _first_observation(memory: Memory) -> Mapping[str, str]:
    return {"observation": memory["recordInfusion"].body["observations"][0].partition("/")[2]}


def _next_page(memory: Memory) -> Mapping[str, str]:
    return {"limit": "2", "cursor": memory["getWorklist"].body["next"]}


def _page_of_two(_: Memory) -> Mapping[str, str]:
    return {"limit": "2"}


RECORD: Final = Step("recordInfusion", "monitored", 201)


def _without_zone(body: Any) -> Any:
    return {**body, "occurred_at": "2026-09-16T15:10:00"}


CHAPTERS: Final[Mapping[str, Sequence[Step | Move]]] = {
    "probes": [
        Step("livez", said="The process serves"),
        Step("readyz", said="Everything is there"),
    ],
    "infusion": [
        Step("previewInfusion", "running", said="What would be written (its first entry)"),
        Step("previewInfusion", "monitored"),
        Step("recordInfusion", "running", 201),
        Step("recordInfusion", "monitored", 201, "It is recorded, and the plan begun as a draft"),
        Step("recordInfusion", "monitored", 200, "Sent again: nothing was left to write"),
        Step("recordInfusion", "monitored", 422, code="out-of-range", body=_impossible),
        Step("recordInfusion", "monitored", 404, code="not-found", body=_of_another),
    ],
    "ready": [
        RECORD,
        Step("judgeReadiness", "escorted", said="Every criterion is met"),
        Step("previewAskDischarge", "escorted", said="What would be written (its first entry)"),
        Step("askDischarge", "escorted", 201, "The patient may go, and the plan is active"),
        Step("askDischarge", "escorted", 200, "Sent again: nothing was left to write"),
        Step("reportDischarge", "escorted", 200, "It is the same one plan"),
        Step("getAftercare", said="Just after the discharge"),
        Step("getAftercare", status=404, code="not-found", path=lambda _: {"patient": "example-nobody"}),
    ],
    "early": [
        Step("recordInfusion", "monitored", 201, body=_watched_to_the_end),
        Step("judgeReadiness", "escorted", said="Not everything was recorded", name="early"),
        Step("askDischarge", "escorted", 409, code="not-ready"),
        Step("judgeReadiness", "overridden"),
        Step("previewAskDischarge", "overridden"),
        Step("askDischarge", "overridden", 201, "A clinician has decided"),
    ],
    "left": [
        RECORD,
        Step("previewReportDischarge", "escorted", said="What would be written (its first entry)"),
        Step("previewReportDischarge", "overridden"),
        Step("reportDischarge", "escorted", 201, "The plan is active"),
    ],
    "overruled": [RECORD, Step("reportDischarge", "overridden", 201)],
    "unrecorded": [
        Step("reportDischarge", "escorted", 422, code="not-an-infusion"),
        Step("judgeReadiness", "without-record"),
        Step("previewReportDischarge", "without-record"),
        Step("reportDischarge", "without-record", 201, "There is a plan; what was not met is one urgent Task"),
    ],
    "signals": [
        Step("sendSignal", "left", 202, "It is kept, and will be followed"),
        Step("sendSignal", "left", 202, "Sent again: it is known", name="again"),
        Step("sendSignal", "reopened", 202),
        Step("sendSignal", "left", 422, code="missing-zone", body=_without_zone),
        Step("countWork", said="Two wait"),
    ],
    "backlog": [Step("reportDischarges", "two", said="A result for each")],
    "answers": [
        RECORD,
        Step("reportDischarge", "escorted", 201),
        NEXT_DAY,
        Step("previewResponse", "check-in"),
        Step("submitResponse", "check-in", 201, "Somebody must act"),
        WEEK_LATER,
        Step("previewResponse", "phq-9", said="What would be written (its first entry)"),
        Step("submitResponse", "phq-9", 201, "Scored, and the Task that asked is complete"),
        Step("submitResponse", "phq-9", 200, "Sent again: nothing was left to write"),
        Step("readStoredAnswers", "portal", said="Scored, and somebody must act"),
        Step("getAftercare", said="A week later", name="week-later"),
        Step("submitResponse", "phq-9", 400, code="invalid-input", body=lambda body: {**body, "status": "stopped"}),
    ],
    "work": [
        RECORD,
        Step("reportDischarge", "escorted", 201),
        NEXT_DAY,
        Step("listTasks", said="What is open, the most pressing first"),
        Step("getTask", path=_call, said="A call, with its version in `ETag`"),
        Step("getTask", status=304, path=_call, headers=lambda memory: {"If-None-Match": memory["getTask"].etag}),
        Step("moveTask", "claim", 428, code="precondition-required", path=_call),
        *_move("claim", "It is mine now"),
        Step("moveTask", "no-answer", 412, code="stale", path=_call, headers=_as_seen),
        *_move("no-answer", "The attempt is kept, and another one is due"),
        *_move("reached"),
        *_move("claim", status=409, code="illegal-move"),
        Step("listTasks"),
        *_move("complete", "It has ended: no move is left", _work),
        Step("getWorklist", said="The first page: `next` is where the second begins", query=_page_of_two),
        Step("getWorklist", query=_next_page),
        Step("getWorklist", status=400, code="invalid-cursor", query=lambda _: {"cursor": "bm9uZQ"}),
    ],
    "later": [
        RECORD,
        Step("reportDischarge", "escorted", 201),
        Step("previewCorrection", "later", said="What would be written (its first entry)"),
        Step("correctInfusion", "later", said="The plan has moved, and the patient is told"),
        Step("retractObservation", "mistyped", said="It is marked as entered in error", path=_first_observation),
    ],
    "wrong": [
        RECORD,
        Step("reportDischarge", "escorted", 201),
        Step("previewCorrection", "wrong-patient"),
        Step("correctInfusion", "wrong-patient", said="All of it is taken back; nothing is erased"),
    ],
}


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one step. ``value`` is the answer's body with the ids of the examples."""

    chapter: str
    step: Step
    status: int
    headers: Mapping[str, str]
    value: Any


@dataclass(frozen=True, slots=True)
class Service:
    """The whole service on a sandbox of its own, with a clock to set."""

    app: FastAPI
    http: httpx.AsyncClient
    store: SandboxStore
    base_url: str
    clock: SettableClock


@asynccontextmanager
async def service(store: SandboxStore, base_url: str, folder: Path) -> AsyncIterator[Service]:
    """Run the service over a store, reached without a network."""
    clock = SettableClock(DISCHARGED)

    @asynccontextmanager
    async def opening(_: Any) -> AsyncIterator[Clinics]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=store)) as http:
            context = ClinicContext(
                clinic=make_clinic(ORGANIZATION),
                fhir=FhirClient(base_url, http),
                protocol=shipped_protocol(),
                identifiers=Identifiers(terms.BASE),
                clock=clock,
            )
            yield Clinics({CLINIC: context})

    settings = Settings(database_url=f"sqlite:///{folder / 'aftercare.db'}", metrics_port=0, work=False)
    app = create_app(settings, clock=clock, opening=opening)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.localhost") as http,
    ):
        app.state.inbox = app.state.work = KeptWork()
        yield Service(app, http, store, base_url, clock)


def count_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the sandbox count the ids it gives, so that two runs answer alike."""
    given = iter(range(1, 1_000_000))
    monkeypatch.setattr(common, "uuid", SimpleNamespace(uuid4=lambda: UUID(int=next(given))))


async def tell(running: Service) -> list[Told]:
    """Tell all chapters, and give what was answered."""
    told: list[Told] = []
    document = running.app.openapi()
    known = operations(document)
    for number, (chapter, steps) in enumerate(CHAPTERS.items(), 1):
        names = _Names(f"-{number}")
        await _set_up(running, names)
        running.clock.move_to(DISCHARGED)
        memory: Memory = {}
        for step in steps:
            if isinstance(step, datetime):
                running.clock.move_to(step)
                continue
            operation = known[step.operation]
            path = {"clinic": CLINIC, "patient": examples.PATIENT.rpartition("/")[2]}
            path |= step.path(memory) if step.path else {}
            body = operation.request_examples[step.example] if step.example else None
            body = step.body(body) if step.body else body
            answer = await running.http.request(
                operation.method,
                names.own(operation.path.format(**path)),
                params=step.query(memory) if step.query else None,
                content=names.own(json.dumps(body)).encode() if body is not None else None,
                headers={
                    "x-request-id": "7d0c1f5e2b9a4c06",
                    **({"content-type": "application/json"} if body is not None else {}),
                    **(step.headers(memory) if step.headers else {}),
                },
            )
            text = answer.text or "null"
            memory[step.operation] = SimpleNamespace(body=json.loads(text), etag=answer.headers.get("etag"))
            value = cut(json.loads(names.theirs(text)))
            told.append(Told(chapter, step, answer.status_code, answer.headers, value))
    return told


def cut(value: Any) -> Any:
    """Cut a Bundle: the first entry that is created shows what the others look like."""
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        created = [entry for entry in value["entry"] if entry["request"]["method"] == "POST"]
        return {**value, "entry": created[:KEPT_ENTRIES]}
    return value


@dataclass(slots=True)
class _Names:
    """The ids of one chapter: those of the examples with a mark, and those the server gave, counted by type."""

    mark: str
    given: dict[str, dict[str, int]] = field(default_factory=dict)

    def own(self, text: str) -> str:
        """Give a text of the examples with this chapter's ids."""
        return re.sub(r"\bexample-(ana|infusion|portal)\b", rf"example-\1{self.mark}", text)

    def theirs(self, text: str) -> str:
        """Give a text with the ids of the examples: a worklist has the patients of other chapters too.

        The sandbox's own time is made one, since its clock cannot be set.
        """
        text = re.sub(r"\bexample-(ana|infusion|portal)-\d+\b", r"example-\1", text)
        text = re.sub(r'(?<="lastUpdated":")[^"]+', STORED, text)
        return re.sub(r"\b([A-Z][A-Za-z]+)/(0{8}-[0-9a-f-]{27})\b", self._counted, text)

    def _counted(self, match: re.Match[str]) -> str:
        known = self.given.setdefault(match[1], {})
        return f"{match[1]}/{known.setdefault(match[2], len(known) + 1)}"


async def _set_up(running: Service, names: _Names) -> None:
    patient = {"reference": examples.PATIENT}
    answers = examples.RESPONSE["phq-9"]["value"]
    for resource in (
        {**_identified(ORGANIZATION), "name": "Harbor Clinic"},
        {**_identified(examples.NURSE), "name": [{"family": "Okafor", "given": ["Ngozi"]}]},
        {**_identified(examples.PATIENT), "birthDate": "1988-03-04"},
        {
            **_identified(examples.ENCOUNTER),
            "status": "in-progress",
            "class": terms.AMBULATORY.coding(),
            "subject": patient,
            "period": {"start": examples.START},
        },
        {**answers, **_identified(PORTAL), "item": [{**each, **_often()} for each in answers["item"]]},
    ):
        reference = names.own(f"{resource['resourceType']}/{resource['id']}")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=running.store)) as http:
            stored = await http.put(
                f"{running.base_url}/{reference}",
                content=names.own(json.dumps(resource)).encode(),
                headers={"content-type": "application/fhir+json"},
            )
        assert stored.status_code in {200, 201}, stored.text


def _often() -> Resource:
    return {"answer": [{"valueCoding": terms.FREQUENCY_ANSWERS[2].coding()}]}


def _identified(reference: str) -> Resource:
    type_, _, id_ = reference.partition("/")
    return {"resourceType": type_, "id": id_}
