"""schemathesis over the whole API: every operation, what fits its schema and what does not, all checks, no failure.

The application is the real one, called in this process; the FHIR server is the sandbox on loopback, or HAPI.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.engine import events, from_schema
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER
from schemathesis.python import asgi
from structlog.testing import capture_logs

from fhir_aftercare.config import Settings
from fhir_aftercare.sandbox.store import create_store
from fhir_aftercare.service import create_app
from intake.inboxes import KeptWork
from openapi.fuzz import CLINIC, People, minutes_ago, with_real_ids
from openapi.loopback import served
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI
    from schemathesis import Case, CheckContext, HookContext, Response

EXAMPLES: Final = 15
CLINIC_FILE: Final = """
name = "Harbor Clinic"
fhir_base_url = "{url}"
identifier_base = "https://fhir-aftercare.example.org/test/{run}"
zone = "America/New_York"
organization = "Organization/{organization}"
phone = "+1 555 0100"
[call_hours]
mon = "09:00-18:00"
tue = "09:00-18:00"
wed = "09:00-18:00"
thu = "09:00-18:00"
fri = "09:00-18:00"
"""
# What a request that fits the schema may be refused for: rules that no JSON Schema can say.
DOMAIN_RULES: Final = frozenset(
    {
        "invalid-input",  # an end before its start, a time in the future, a move whose fields do not belong together
        "out-of-range",  # a systolic pressure below the diastolic one
        "unknown-zone",  # the zones are IANA's database
        "wrong-subject",  # an encounter of another patient
        "not-an-infusion",  # nothing is recorded that could be discharged from
        "idempotency-key-reused",  # the same key with another body
        "invalid-cursor",  # a text that this list did not give out
    }
)
CONFIG: Final[dict[str, Any]] = {
    "seed": 20260916,
    "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
    "checks": {
        # 400 and 422 are answered for DOMAIN_RULES too: an end before its start has the shape of a good request.
        # ``fits_the_schema`` below keeps the check as sharp as it was: it refuses all other codes. 412 is a version
        # that somebody has changed meanwhile, 410 a resource that was deleted: the schema knows neither.
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "304", "400", "404", "409", "410", "412", "422"],
        },
        # RFC 6585: without the If-Match that is required it is 428. 422 is of an Idempotency-Key used before.
        "missing_required_header": {"expected-statuses": ["400", "422", "428"]},
        "max_response_time": 30,
    },
}

# Times near now, else nearly every time is refused as one in the future, or as days apart from the others.
schemathesis.openapi.format("date-time", st.integers(2, 3 * 24 * 60).map(minutes_ago))


@schemathesis.check
def fits_the_schema(_: CheckContext, response: Response, case: Case) -> None:
    """What fits the schema is never said not to fit it."""
    if case.meta and case.meta.generation.mode.is_positive and response.status_code in {400, 413, 415, 422}:
        code = json.loads(response.content)["code"]
        assert code in DOMAIN_RULES, f"{code} for a request that fits the schema"


@pytest.fixture(params=["sandbox", pytest.param("hapi", marks=pytest.mark.hapi)])
def server_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def phases(server_name: str) -> dict[str, Any]:
    # Some 2,500 systematic cases of what does not fit the schema are refused before any FHIR server is asked: once is
    # enough. The other phases send what fits and what does not to both.
    return {"coverage": {"generation": {"mode": "positive"}}} if server_name == "hapi" else {}


@pytest.fixture
def fhir_url(request: pytest.FixtureRequest, server_name: str, tmp_path: Path) -> Iterator[str]:
    if server_name == "hapi":
        yield request.getfixturevalue("hapi_url")
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    store = create_store(tmp_path / "store", url)
    try:
        with served(store, port):
            yield url
    finally:
        store.close()


@contextmanager
def treated(fhir_url: str, folder: Path) -> Iterator[tuple[FastAPI, People]]:
    """Give the service with people on its FHIR server, of whom half were treated."""
    clinics = folder / "clinics"
    clinics.mkdir()
    with httpx.Client(base_url=fhir_url, timeout=60) as http:
        people = People(http)
        people.arrive()
        text = CLINIC_FILE.format(url=fhir_url, run=uuid.uuid4(), organization=people.staff["Organization"])
        (clinics / f"{CLINIC}.toml").write_text(text, "utf-8")
        url = f"sqlite:///{folder / 'aftercare.db'}"
        # Without an engine: what its threads draw at random would look to Hypothesis as if a strategy had.
        app = create_app(Settings(clinics=clinics, database_url=url, metrics_port=0, work=False))
        app.state.inbox = app.state.work = KeptWork()

        def post(path: str, body: Any) -> Any:
            answer = client.post(f"/v1/clinics/{CLINIC}{path}", json=body)
            assert answer.status_code in {200, 201}, answer.text
            return answer.json()

        try:
            with asgi.get_client(app) as client:
                people.be_treated(post)
            yield app, people
        finally:
            asgi.shutdown_lifespans()


@contextmanager
def real_ids(people: People) -> Iterator[None]:
    """Have every request name people who exist."""

    def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
        with_real_ids(people, case)

    schemathesis.hook(before_call)
    try:
        yield
    finally:
        GLOBAL_HOOK_DISPATCHER.unregister(before_call)


def test_the_whole_api_keeps_to_its_openapi_document(fhir_url: str, phases: dict[str, Any], tmp_path: Path) -> None:
    failures: dict[tuple[str, str], str] = {}
    statuses: dict[str, set[int]] = defaultdict(set)
    with ExitStack() as stack:
        lines = stack.enter_context(capture_logs())
        app, people = stack.enter_context(treated(fhir_url, tmp_path))
        stack.enter_context(real_ids(people))
        config = schemathesis.Config.from_dict({**CONFIG, "phases": phases})
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
        for event in from_schema(schema).execute():
            match event:
                case events.NonFatalError():
                    failures["error", event.label] = f"{event.label} [{event.phase}] {event.value!r}"
                case events.FatalError():
                    raise event.exception
                case events.ScenarioFinished():
                    _note(event, failures, statuses)
                case _:
                    pass
    assert not failures, f"{len(failures)} kinds of failure:\n\n" + "\n\n".join(failures.values())
    assert not [line for line in lines if line["event"] == "unexpected error"]
    operations = {operation.ok().label for operation in schema.get_all_operations()}
    unreached = {label for label in operations if not any(status < 300 for status in statuses[label])}
    assert not unreached, f"never answered with success, so not tried in earnest: {unreached}"


def _note(event: events.ScenarioFinished, failures: dict[tuple[str, str], str], statuses: dict[str, set[int]]) -> None:
    for id_, interaction in event.recorder.interactions.items():
        if interaction.response is not None:
            label = event.recorder.cases[id_].value.operation.label
            statuses[label].add(interaction.response.status_code)
    for id_, checks in event.recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                response = event.recorder.interactions[id_].response
                answered = response.content.decode("utf-8", "replace")[:1000] if response else ""
                told = f"{event.label} [{event.phase}] {check.failure_info.failure}\n{check.failure_info.code_sample}"
                failures.setdefault((str(event.label), check.name), f"{told}\n{answered}")
