"""Logs, metrics, traces and errors name no patient: a patient made of strings nobody else has is sent through every
route, right and wrong, to servers that quote it; then everything that leaves the service is searched for them.

A route that is not driven here with success and with an error makes ``test_every_route_was_driven`` fail: give it a
step in ``_story``. Whatever is in the OpenAPI file with an example is driven with faulty bodies by itself.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.bodies import BEFORE, body_of_answers, body_of_discharge, body_of_infusion
from api.service import API, answers, running
from fhir_aftercare.fhir import tasks, terms
from fhir_aftercare.observe import logs
from fhir_aftercare.observe.tracing import tracing
from flows.cases import LEFT, check_in, of_patient, only, phq9, with_code
from world import END, START

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import httpx

    from api.service import Service, Wire
    from servers import Server

Resource = dict[str, Any]

# No string below appears in the service, the protocol or the tests' other data.
WORDS: Final = {
    "family": "Quexwolfe",
    "given": "Zibbadiah",
    "born": "1931-07-23",
    "phone": "+15559137746",
    "escort": "Orvandel Thrupkiss",
    "relationship": "stepgodfather",
    "nurse": "Drusillabeth Vonk",
    "reason": "Wumpelstilt was gone",
    "note": "Glimfrotz said so",
    "answer": "Sklorpy at night",
    "quoted": "Brontifex is told",
    "raised": "Yarrowmunge fell",
    "key": "Mirlquant-key",
    "submission": "Fnordwick-form",
    "infusion": "pump-Vexolith",
}
NUMBERS: Final = {"dose": "37.31846", "weight": "71.29384", "temperature": "36.87431"}


@dataclass
class Seeds:
    """Who is sent through, and what must not be found. ``ids`` may stand in FHIR addresses, and nowhere else."""

    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:10])

    def __post_init__(self) -> None:
        self.patient, self.encounter, self.nurse = (
            f"{type_}/zq{letter}{self.mark}"
            for type_, letter in (("Patient", "p"), ("Encounter", "e"), ("Practitioner", "n"))
        )

    @property
    def ids(self) -> list[str]:
        return [each.partition("/")[2] for each in (self.patient, self.encounter, self.nurse)]

    @property
    def words(self) -> list[str]:
        """Each word by itself, since a text may be cut; dates and telephone numbers without their signs, too."""
        texts = [part for text in WORDS.values() for part in re.findall(r"[\w.+-]{6,}", text)]
        return [*texts, WORDS["born"].replace("-", ""), WORDS["phone"].lstrip("+"), *NUMBERS.values()]


@dataclass
class Told:
    """Everything that left the service but good answers: what a test may search."""

    log: list[Resource] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)
    metrics: str = ""
    sent: list[httpx.Request] = field(default_factory=list)
    stored: bytes = b""
    statuses: dict[str, set[int]] = field(default_factory=dict)

    def open_to_people(self) -> dict[str, str]:
        """Give by name what no patient's data may be in, ids included."""
        return {
            "logs": "\n".join(map(json.dumps, self.log)),
            "errors": "\n".join(self.errors),
            "headers": "\n".join(self.headers),
            "spans": "\n".join(self.spans),
            "metrics": self.metrics,
        }


@contextmanager
def logged(lines: list[Resource]) -> Iterator[None]:
    """Collect what would stand on stderr with everything switched on, and put logging back."""
    root, out = logging.getLogger(), io.StringIO()
    before, was = root.handlers[:], root.level
    logs.configure("debug", out)
    try:
        yield
    finally:
        lines += [json.loads(line) for line in out.getvalue().splitlines()]
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers, root.level = before, was


class Driver:
    """Sends requests to a service that holds the seeded patient, and keeps what a stranger could see of the answers."""

    def __init__(self, service: Service, told: Told, seeds: Seeds) -> None:
        self.service, self.seeds, self._told = service, seeds, told

    async def prepare(self) -> None:
        put, seeds = self.service.put, self.seeds
        name = [{"family": WORDS["family"], "given": [WORDS["given"]]}]
        patient = {**_of(seeds.patient), "name": name, "birthDate": WORDS["born"]}
        await put({**patient, "telecom": [{"system": "phone", "value": WORDS["phone"]}]})
        await put({**_of(seeds.nurse), "name": [{"text": WORDS["nurse"]}]})
        await put(
            {
                **_of(seeds.encounter),
                "status": "in-progress",
                "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                "subject": {"reference": seeds.patient, "display": WORDS["family"]},
                "period": {"start": START.isoformat()},
            }
        )
        self.service.world.clock.move_to(LEFT + timedelta(minutes=1))

    async def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send it (a path below the clinic, or from the root with ``//``) and keep what may be searched."""
        url = path[1:] if path.startswith("//") else self.service.url(path)
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = await self.service.http.request(method, API + url, content=content, headers=headers, **more)
        self._told.headers.append(json.dumps(list(answer.headers.items())))
        if answer.status_code >= 400:
            self._told.errors.append(answer.text)
        elif path.endswith("/batch"):
            self._told.errors += [json.dumps(each["problem"]) for each in answer.json()["items"] if each["problem"]]
        return answer

    async def good(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = await self.send(method, path, body, **more)
        assert answer.status_code < 400, answer.text
        return answer.json()


def _of(reference: str) -> Resource:
    type_, _, id_ = reference.partition("/")
    return {"resourceType": type_, "id": id_}


# --- what is sent ----------------------------------------------------------------------------------------------------
def an_infusion(driver: Driver, **more: Any) -> Resource:
    seeds = driver.seeds
    escort = {"name": WORDS["escort"], "relationship": WORDS["relationship"], "phone": WORDS["phone"], "arranged": True}
    body = body_of_infusion(
        driver.service.world, seeds.patient, seeds.encounter, recorded_by=seeds.nurse, escort=escort
    )
    body |= {"dose_mg": float(NUMBERS["dose"]), "reason": WORDS["reason"], "infusion": WORDS["infusion"], **more}
    measured = {name: float(NUMBERS[name]) for name in ("weight", "temperature")}
    body["checks"] = [{**body["checks"][0], **measured, "id": WORDS["note"]}, *body["checks"][1:]]
    return body


def a_discharge(driver: Driver, **more: Any) -> Resource:
    seeds = driver.seeds
    override = {"by": seeds.nurse, "by_name": WORDS["nurse"], "at": LEFT.isoformat(), "reason": WORDS["reason"]}
    escort = {"name": WORDS["escort"], "phone": WORDS["phone"]}
    body = body_of_discharge(driver.service.world, seeds.patient, seeds.encounter, recorded_by=seeds.nurse)
    return {**body, "override": override, "escort_person": escort, **more}


def some_answers(driver: Driver, level: int = 2) -> Resource:
    at = driver.service.world.clock()
    form = body_of_answers(phq9(at, (level,) * 9), driver.seeds.patient)
    form["subject"]["display"] = f"{WORDS['given']} {WORDS['family']}"
    form["item"].append({"linkId": "words", "text": "Anything else?", "answer": [{"valueString": WORDS["answer"]}]})
    return form


# --- the routes, right -----------------------------------------------------------------------------------------------
async def _story(driver: Driver) -> None:
    """Drive every route with success, in the order of a case."""
    world, seeds = driver.service.world, driver.seeds
    patient = seeds.patient.partition("/")[2]
    infusion, leaving = an_infusion(driver), a_discharge(driver)
    await driver.good("POST", "/infusions/preview", infusion)
    recorded = await driver.good("POST", "/infusions", infusion, headers={"idempotency-key": WORDS["key"]})
    await driver.good("POST", "/infusions", infusion, headers={"idempotency-key": WORDS["key"]})
    await driver.good("POST", "/readiness", leaving)
    for mode in ("ask", "happened"):
        await driver.good("POST", f"/discharges/{mode}/preview", leaving)
        await driver.good("POST", f"/discharges/{mode}", leaving)
    await driver.good("POST", "/discharges/batch", {"discharges": [leaving, {**leaving, "encounter": "Encounter/no"}]})
    told = {"event": "adt-1", "patient": seeds.patient, "encounter": seeds.encounter, "occurred_at": LEFT.isoformat()}
    await driver.good("POST", "/signals", told)
    await driver.good("GET", "/work")
    await _answer(driver)
    call = only(with_code(await of_patient(world, "Task", seeds.patient), terms.FOLLOW_UP_CALL))
    opens = tasks.window_of(call)[0]
    assert opens is not None
    world.clock.move_to(opens + timedelta(minutes=30))
    await driver.good("GET", f"/patients/{patient}/aftercare")
    await driver.good("GET", f"/patients/{patient}/tasks", params={"status": "all"})
    await driver.good("GET", "/worklist", params={"owner": seeds.nurse, "limit": 1})
    page = await driver.send("GET", "/worklist", params={"limit": 1})
    assert WORDS["family"] in page.text
    await driver.good("GET", f"/worklist?{page.links['next']['url'].partition('?')[2]}" if page.links else "/worklist")
    read = await driver.send("GET", f"/tasks/{call['id']}")
    moved = {"move": "attempt", "person": seeds.nurse, "outcome": "no-answer", "note": WORDS["note"]}
    await driver.good("POST", f"/tasks/{call['id']}/moves", moved, headers={"if-match": read.headers["etag"]})
    gone = {"patient": seeds.patient, "reason": WORDS["reason"], "recorded_by": seeds.nurse}
    await driver.good("POST", f"/observations/{recorded['observations'][0].partition('/')[2]}/retraction", gone)
    correction = {
        "patient": seeds.patient, "encounter": seeds.encounter, "kind": "end-moved", "recorded_by": seeds.nurse,
        "end": (END + timedelta(minutes=5)).isoformat(), "reason": WORDS["reason"], "infusion": WORDS["infusion"],
    }  # fmt: skip
    await driver.good("POST", "/infusions/corrections/preview", correction)
    await driver.good("POST", "/infusions/corrections", correction)


async def _answer(driver: Driver) -> None:
    world, seeds = driver.service.world, driver.seeds
    world.clock.move_to(LEFT + timedelta(hours=2))
    params = {"submission": WORDS["submission"]}
    await driver.good("POST", "/responses/preview", some_answers(driver), params=params)
    await driver.good("POST", "/responses", some_answers(driver), params=params)
    await driver.good("POST", "/responses", some_answers(driver, 3), params=params)
    worse = check_in(world.clock(), {"feels-worse": {"valueBoolean": True}, "mood": {"valueString": WORDS["answer"]}})
    await driver.good("POST", "/responses", body_of_answers(worse, seeds.patient))
    stored = await world.server.client().create(some_answers(driver))
    body = {"patient": seeds.patient, "reference": f"QuestionnaireResponse/{stored['id']}"}
    await driver.good("POST", "/responses/stored", body)


# --- the routes, wrong -----------------------------------------------------------------------------------------------
def _quoting(seeds: Seeds) -> Resource:
    said = " ".join([WORDS["quoted"], WORDS["family"], WORDS["born"], *seeds.ids])
    coding = [{"system": "https://hapi.example/codes", "code": WORDS["family"] + " x", "display": said}]
    issue = {"severity": "error", "code": "processing", "diagnostics": said, "expression": [said]}
    return {"resourceType": "OperationOutcome", "issue": [{**issue, "details": {"text": said, "coding": coding}}]}


async def _wrong_to_the_server(driver: Driver, operations: Mapping[tuple[str, str], Any]) -> None:
    """Let the FHIR server, or the way to it, quote the patient in every way, on every route."""
    outcome = _quoting(driver.seeds)
    html = f"<html>{WORDS['quoted']} {driver.seeds.ids[0]}</html>"

    async def raises(_: Wire, request: httpx.Request) -> httpx.Response:
        raise KeyError(WORDS["raised"], str(request.url), driver.seeds.ids)

    faults = [answers(status, json=outcome) for status in (400, 401, 404, 409, 410, 412, 422, 429, 500)]
    faults += [answers(200, html=html), answers(404, html=html), answers(200, json={**outcome, "id": "x"}), raises]
    for (method, path), body in operations.items():
        for fault in faults:
            driver.service.wire.breaks(fault)
            headers = {"if-match": 'W/"1"'} if path.endswith("/moves") else {}
            await driver.send(method, path, body, headers=headers)
            driver.service.wire.mend()


async def _wrong_to_us(driver: Driver, operations: Mapping[tuple[str, str], Any]) -> None:
    """Send what does not fit, one leaf at a time, so that each rule may quote what it was given."""
    said = f"{WORDS['reason']} {WORDS['family']} {WORDS['born']} {driver.seeds.ids[0]}"
    for (method, path), body in operations.items():
        if body is None:
            continue
        text = json.dumps(body).encode()
        bodies: list[Any] = [
            *_spoiled(body, said), {**body, "comment": said}, [said], said, {"patient": said}, text[:-5], b"{" + text,
            text.replace(b'"patient": "', b'"patient": "\xff'), text.replace(b"35", b"NaN"), {"deep": _deep(said)},
        ]  # fmt: skip
        for each in bodies:
            await driver.send(method, path, each, headers={"if-match": 'W/"1"'})
        for headers in ({"content-type": said}, {"idempotency-key": said}, {"if-match": said}, {"accept": said}):
            await driver.send(method, path, {**body, "comment": said}, headers=headers)
        fhir = {"accept": "application/fhir+json", "if-match": 'W/"1"'}
        await driver.send(method, path, {**body, "comment": said}, headers=fhir)
    unknown = quote(said)
    for path in (f"/patients/{unknown}/aftercare", f"/{unknown}", f"//v1/clinics/{unknown}/worklist", f"//{unknown}"):
        for method in ("GET", "POST", "DELETE"):
            await driver.send(method, path, {"a": said})
    for params in ({"cursor": said}, {"limit": said}, {"owner": said}, {"state": said}, {said: said}):
        await driver.send("GET", "/worklist", params=params)
        await driver.send("POST", "/responses", some_answers(driver), params=params)
    await driver.send("POST", "/responses", some_answers(driver), params={"submission": said})


def _spoiled(body: Any, said: str) -> Iterator[Any]:
    """Yield the body with one leaf after the other replaced: by words, by a number nobody measures, by a list."""
    for place in _leaves(body):
        for value in (said, 987654321.5, [said], {"said": said}):
            spoiled = copy.deepcopy(body)
            inner = spoiled
            for step in place[:-1]:
                inner = inner[step]
            inner[place[-1]] = value
            yield spoiled


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else None
    if inside is None:
        yield place
        return
    for name, each in inside:
        yield from _leaves(each, (*place, name))


def _deep(said: str) -> Any:
    value: Any = said
    for _ in range(100):
        value = [value]
    return value


def operations_of(driver: Driver) -> dict[tuple[str, str], Any]:
    """Give every route of the OpenAPI file, the seeded patient's ids in its path, with a body that speaks of them."""
    seeds, own = driver.seeds, {}
    infusion, leaving = an_infusion(driver, checks=[BEFORE]), a_discharge(driver)
    ids = {"{patient}": seeds.ids[0], "{task}": f"zqt{seeds.mark}", "{observation}": f"zqo{seeds.mark}"}
    bodies = {
        "/infusions": infusion, "/infusions/preview": infusion, "/readiness": leaving,
        "/signals": {"event": "adt-2", "encounter": seeds.encounter, "patient": seeds.patient},
        "/discharges/batch": {"discharges": [leaving]}, "/responses": some_answers(driver),
        "/responses/preview": some_answers(driver),
        **{f"/discharges/{each}": leaving for each in ("ask", "happened", "ask/preview", "happened/preview")},
    }  # fmt: skip
    for path, methods in driver.service.app.openapi()["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method, operation in methods.items():
            below = path.removeprefix("/v1/clinics/{clinic}")
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            example = next(iter(content.get("examples", {}).values()), {}).get("value")
            for name, id_ in ids.items():
                below = below.replace(name, id_)
            own[method.upper(), below] = bodies.get(below, _seeded(example, seeds))
    return own


def _seeded(value: Any, seeds: Seeds) -> Any:
    """Give an example with the seeded patient in the place of its own, and words of ours in that of its reasons."""
    text = json.dumps(value)
    for type_, reference in (("Patient", seeds.patient), ("Encounter", seeds.encounter), ("Practitioner", seeds.nurse)):
        text = re.sub(rf'"{type_}/[^"]*"', f'"{reference}"', text)
    text = re.sub(r'"(reason|note)": "[^"]*"', rf'"\1": "{WORDS["reason"]}"', text)
    return json.loads(text)


# --- the search ------------------------------------------------------------------------------------------------------
@dataclass
class Run:
    """What was told in one run, and whom it must not tell of."""

    told: Told
    seeds: Seeds
    routes: set[str]


async def drive(server: Server, folder: Path, *, faulty: bool) -> Run:
    told, seeds, exporter = Told(), Seeds(), InMemorySpanExporter()
    with logged(told.log), tracing(None, exporter=exporter) as traced:
        async with running(server, folder, tracing=traced) as service:
            driver = Driver(service, told, seeds)
            await driver.prepare()
            await _story(driver)
            told.sent += service.wire.sent
            operations = operations_of(driver)
            if faulty:
                await _wrong_to_us(driver, operations)
                told.sent += service.wire.sent
                await _wrong_to_the_server(driver, operations)
            told.metrics = service.metrics.text()
            told.stored = stored_in(folder)
            paths = {each for each in service.app.openapi()["paths"] if each.startswith("/v1/")}
        assert traced
        traced.provider.force_flush()
        told.spans += [span.to_json() for span in exporter.get_finished_spans()]
    for line in told.log:
        if line["event"] == "request":
            told.statuses.setdefault(line["route"], set()).add(line["status"])
    return Run(told, seeds, paths)


def stored_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(folder.glob("aftercare.db*")))


@pytest.fixture(scope="module")
async def run(sandbox: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Everything, right and wrong, on the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fhir_aftercare.flows.settle._JITTER", 0.0)
        return await drive(sandbox, tmp_path_factory.mktemp("told"), faulty=True)


def found_in(text: str, seeds: list[str]) -> list[str]:
    lowered = text.lower()
    return [seed for seed in seeds if seed.lower() in lowered]


@pytest.mark.parametrize("what", ["logs", "errors", "headers", "spans", "metrics"])
def test_nothing_of_the_patient_is_in(run: Run, what: str) -> None:
    text = run.told.open_to_people()[what]
    assert len(text) > 1000
    assert found_in(text, [*run.seeds.words, *run.seeds.ids]) == []


def test_addresses_and_headers_sent_to_the_fhir_server_hold_ids_and_no_more(run: Run) -> None:
    text = "\n".join(f"{each.url} {list(each.headers.items())}" for each in run.told.sent)
    assert found_in(text, run.seeds.words) == []
    inside = "\n".join(
        entry["request"]["url"] + str(entry["request"].get("ifNoneExist"))
        for each in run.told.sent
        if each.method == "POST"
        for entry in json.loads(each.content)["entry"]
    )
    assert found_in(inside, run.seeds.words) == []
    assert set(found_in(inside, run.seeds.ids)) >= set(run.seeds.ids[:2])


def test_the_services_own_tables_hold_none_of_it(run: Run) -> None:
    assert len(run.told.stored) > 1000
    assert found_in(run.told.stored.decode("latin-1"), run.seeds.words) == []


def test_all_of_it_was_really_sent(run: Run) -> None:
    text = "\n".join(each.content.decode() for each in run.told.sent)
    not_for_the_server = {"quoted", "raised", "key", "submission", "infusion", "born", "family", "given", "nurse"}
    expected = [word for name, word in WORDS.items() if name not in not_for_the_server]
    assert found_in(text, [*expected, *NUMBERS.values()]) == [*expected, *NUMBERS.values()]


def test_every_route_was_driven(run: Run) -> None:
    missed = {}
    for route in run.routes:
        statuses = run.told.statuses.get(route, set())
        refused = any(each >= 400 for each in statuses) or route.endswith("/work")  # there is nothing to get wrong
        if not (any(each < 400 for each in statuses) and refused):
            missed[route] = statuses
    assert missed == {}


def test_faults_of_ours_are_logged_with_their_place_and_without_their_text(run: Run) -> None:
    unexpected = [line for line in run.told.log if line["event"] == "unexpected error"]
    asking = [route for route in run.routes if not route.endswith(("/work", "/signals"))]  # of the FHIR server
    assert len(unexpected) >= len(asking)
    assert all(line["fault"][0]["type"] == "KeyError" and line["fault"][0]["at"] for line in unexpected)


@pytest.mark.hapi
async def test_nothing_of_the_patient_leaves_the_service_with_hapi_behind_it(
    hapi: Server, tmp_path: Path, no_jitter: None
) -> None:
    run = await drive(hapi, tmp_path, faulty=False)
    for what, text in run.told.open_to_people().items():
        assert found_in(text, [*run.seeds.words, *run.seeds.ids]) == [], what
    addresses = "\n".join(f"{each.url} {list(each.headers.items())}" for each in run.told.sent)
    assert found_in(addresses, run.seeds.words) == []
