"""What schemathesis needs to reach what lies behind the schema: real people, real Tasks, times near now.

``People`` are made on a FHIR server and treated by the service itself. ``with_real_ids`` puts their ids where a request
has ids that fit the schema, in place of ids that exist nowhere; what does not fit the schema stays as it is.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.api import examples
from fhir_aftercare.api.previews import ID
from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.task_facts import legal_moves

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from schemathesis import Case

Resource = dict[str, Any]

FHIR: Final = {"content-type": "application/fhir+json"}
CLINIC: Final = "harbor"
PATIENTS: Final = 6
_ID: Final = re.compile(ID)
_CLINIC: Final = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_REFERENCE: Final = re.compile(f"([A-Z][A-Za-z]+)/{ID}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
_ETAG: Final = re.compile(r'(W/)?"[!#-~]{1,200}"')


@dataclass(frozen=True, slots=True)
class Person:
    """A patient with a visit, and what the service made of them: ids, of ``named`` by type."""

    patient: str
    named: dict[str, str]
    tasks: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()


@dataclass(slots=True)
class People:
    """Everybody who is on the FHIR server; ``staff`` has one id of each type. ``http`` reaches it."""

    http: httpx.Client
    staff: dict[str, str] = field(default_factory=dict)
    persons: list[Person] = field(default_factory=list)

    def arrive(self) -> None:
        """Make the clinic, those who work there, and patients with a visit and answers of the portal."""
        self._hire({"resourceType": "Organization", "name": "Harbor Clinic"})
        self._hire({"resourceType": "Practitioner", "name": [{"family": "Okafor"}]})
        nurse = {"reference": f"Practitioner/{self.staff['Practitioner']}"}
        self._hire({"resourceType": "PractitionerRole", "practitioner": nurse})
        self._hire({"resourceType": "CareTeam", "name": "Aftercare"})
        self._hire({"resourceType": "HealthcareService", "name": "Aftercare"})
        for _ in range(PATIENTS):
            patient = self.create({"resourceType": "Patient", "birthDate": "1988-03-04"})
            made = [
                {
                    "resourceType": "Encounter",
                    "status": "in-progress",
                    "class": terms.AMBULATORY.coding(),
                    "period": {"start": minutes_ago(300)},
                },
                {**examples.RESPONSE["phq-9"]["value"], "source": {"reference": f"Patient/{patient}"}},
                {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"coding": [terms.PHQ9_TOTAL.coding()]},
                    "effectiveDateTime": minutes_ago(60 * 24 * 4),
                    "valueQuantity": {"value": 14, "system": terms.UCUM, "code": "{score}"},
                },
            ]
            subject = {"subject": {"reference": f"Patient/{patient}"}}
            named = {str(each["resourceType"]): self.create({**each, **subject}) for each in made}
            related = {"resourceType": "RelatedPerson", "patient": subject["subject"]}
            named["RelatedPerson"] = self.create(related)
            self.persons.append(Person(patient, named))

    def _hire(self, resource: Resource) -> None:
        self.staff[resource["resourceType"]] = self.create(resource)

    def be_treated(self, post: Callable[[str, Resource], Resource]) -> None:
        """Have half of them recorded and discharged; ``post`` calls a route of the clinic and gives its answer."""
        for number, person in enumerate(self.persons):
            if number % 2 == 0:
                infusion = self.of(person, examples.INFUSION["monitored"]["value"])
                observations = post("/infusions", infusion)["observations"]
                left = post("/discharges/happened", self.of(person, examples.DISCHARGE["escorted"]["value"]))
                named = {**person.named, "CarePlan": _ids([left["plan"]])[0]}
                self.persons[number] = Person(person.patient, named, _ids(left["tasks"]), _ids(observations))

    def of(self, person: Person, value: Any) -> Any:
        """Give a value with this person's ids in place of all others that fit."""
        match value:
            case dict():
                return {name: self.of(person, each) for name, each in value.items()}
            case list():
                return [self.of(person, each) for each in value]
            case str() if found := _REFERENCE.fullmatch(value):
                known = self.named(person, found[1])
                return f"{found[1]}/{known}" if known else value
            case _:
                return value

    def named(self, person: Person, type_: str) -> str | None:
        """Give the id of a resource of this person, or of those who treat; None if there is none of that type."""
        return {**self.staff, **person.named, "Patient": person.patient}.get(type_)

    def version(self, task: str) -> str:
        """Give the ETag of a Task as it is now."""
        return f'W/"{self._task(task)["meta"]["versionId"]}"'

    def movable(self, person: Person, move: Any, task: str) -> str:
        """Give the first Task of a person, from ``task`` on, that may make the move now; ``task`` if none may."""
        start = person.tasks.index(task)
        turn = (*person.tasks[start:], *person.tasks[:start])
        return next((each for each in turn if move in legal_moves(self._task(each))), task)

    def _task(self, task: str) -> Resource:
        return dict(self.http.get(f"/Task/{task}", headers={"cache-control": "no-cache"}).json())

    def create(self, resource: Resource) -> str:
        """Create a resource and give its id."""
        answer = self.http.post(f"/{resource['resourceType']}", content=json.dumps(resource), headers=FHIR)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


def with_real_ids(people: People, case: Case) -> None:
    """Put ids that exist into a case, in place: which person's is chosen by what the case says, its times apart.

    They are near now, so with them every run would choose others, and one day none that can be answered with success.
    """
    path = case.path_parameters
    said = zlib.crc32(_TIME.sub("", json.dumps([path, case.body], sort_keys=True, default=str)).encode())
    treated = [person for person in people.persons if person.tasks]
    persons = treated if {"task", "observation"} & path.keys() else people.persons
    person = persons[said % len(persons)]
    if _CLINIC.fullmatch(str(path.get("clinic", ""))):
        path["clinic"] = CLINIC
    for name, known in (("patient", (person.patient,)), ("task", person.tasks), ("observation", person.observations)):
        if known and _ID.fullmatch(str(path.get(name, ""))):
            path[name] = known[said // 7 % len(known)]
    if path.get("task") in person.tasks and isinstance(case.body, dict) and "move" in case.body:
        path["task"] = people.movable(person, case.body["move"], path["task"])
    if path.get("task") in person.tasks and _ETAG.fullmatch(str(case.headers.get("If-Match", ""))):
        case.headers["If-Match"] = people.version(path["task"])
    if isinstance(case.body, dict | list):
        case.body = people.of(person, case.body)


def minutes_ago(minutes: float) -> str:
    """Give an instant before now, as FHIR writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")


def _ids(references: list[str]) -> tuple[str, ...]:
    return tuple(each.partition("/")[2] for each in references)
