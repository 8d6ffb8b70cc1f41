"""``subscribe`` as a user meets it: what it prints, its exit codes, and that the secret is in none of it."""

from __future__ import annotations

import json
import signal
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from fhir_aftercare.cli.subscribe import subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

Resource = dict[str, Any]

SECRET = "a-secret-of-the-clinic-0001"
NEWER = "a-secret-of-the-clinic-0002"
CLINIC = """
name = "Harbor Clinic"
fhir_base_url = "{base}"
identifier_base = "https://aftercare.example.org/{mark}"
zone = "America/New_York"
organization = "Organization/42"
phone = "+1 555 0100"
[call_hours]
mon = "09:00-18:00"
"""
HERE = ("--endpoint", "https://aftercare.clinic.example")


class FhirServer:
    """As much of a FHIR server as subscribing needs, on loopback. ``refusals`` answer the next writes instead."""

    def __init__(self) -> None:
        self.stored: dict[str, Resource] = {}
        self.refusals: list[Resource] = []
        self.tokens: list[str | None] = []
        self.knows, self.down = ["Subscription"], False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*outer.read(self.path, self.headers.get("authorization")))

            def do_POST(self) -> None:
                self._answer(*outer.write(self._body()))

            def do_PUT(self) -> None:
                self.do_POST()

            def _body(self) -> Resource:
                found: Resource = json.loads(self.rfile.read(int(self.headers["content-length"])))
                return found

            def _answer(self, status: int, resource: Resource) -> None:
                content = json.dumps(resource).encode()
                self.send_response(status)
                self.send_header("content-type", "application/fhir+json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/fhir"

    def read(self, path: str, token: str | None) -> tuple[int, Resource]:
        self.tokens.append(token)
        if self.down:
            return 500, {"resourceType": "OperationOutcome", "issue": []}
        if path.endswith("/metadata"):
            known = [{"type": each, "interaction": [{"code": "create"}]} for each in self.knows]
            return 200, {"resourceType": "CapabilityStatement", "rest": [{"resource": known}]}
        if "?" not in path:
            return 200, self.stored[path.rsplit("/", 1)[1]]
        tag = path.rsplit("%7C", 1)[1]
        there = [each for each in self.stored.values() if each["meta"]["tag"][0]["code"] == tag]
        return 200, {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in there]}

    def write(self, resource: Resource) -> tuple[int, Resource]:
        if self.refusals:
            return 422, self.refusals.pop(0)
        if resource["resourceType"] == "Bundle":
            ids = [each["request"]["url"].rsplit("/", 1)[1] for each in resource["entry"]]
            gone = [self.stored.pop(each) for each in ids]
            entry = [{"response": {"status": "204"}} for _ in gone]
            return 200, {"resourceType": "Bundle", "type": "batch-response", "entry": entry}
        id_ = resource.setdefault("id", f"s{len(self.stored) + 1}")
        meta = {**resource["meta"], "versionId": uuid.uuid4().hex}
        self.stored[id_] = {**resource, "meta": meta, "status": "active"}
        return 200, self.stored[id_]


@pytest.fixture
def fhir() -> Iterator[FhirServer]:
    server = FhirServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def clinic(tmp_path: Path, fhir: FhirServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AFTERCARE_SUBSCRIPTION_SECRET_HARBOR", SECRET)
    path = tmp_path / "harbor.toml"
    path.write_text(CLINIC.format(base=fhir.base_url, mark=uuid.uuid4()))
    return path


def run(clinic: Path, *arguments: str, code: int = 0) -> Result:
    app = typer.Typer()
    app.command()(subscribe)
    result = CliRunner().invoke(app, ["--clinic", str(clinic), *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert not any(each in result.output for each in (SECRET, NEWER))
    return result


def lines(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


# --- made, looked at, taken away -------------------------------------------------------------------------------------
def test_it_says_what_was_made_and_what_the_server_makes_of_it(clinic: Path, fhir: FhirServer) -> None:
    first = lines(run(clinic, *HERE))
    assert [line[:3] for line in first] == [["created", "active", f"Subscription/s{each}"] for each in (1, 2, 3)]
    assert first[0][3] == "Encounter?status=finished,cancelled,entered-in-error"
    channel = fhir.stored["s1"]["channel"]
    assert channel["endpoint"] == "https://aftercare.clinic.example/hooks/harbor/subscription"
    assert channel["header"] == [f"X-Aftercare-Secret: {SECRET}"]


def test_repeated_it_says_that_nothing_changed(clinic: Path, fhir: FhirServer) -> None:
    run(clinic, *HERE)
    before = json.dumps(fhir.stored)
    assert [line[0] for line in lines(run(clinic, *HERE))] == ["unchanged"] * 3
    assert json.dumps(fhir.stored) == before


def test_a_new_secret_and_a_new_address_are_brought_to_the_server(
    clinic: Path, fhir: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clinic, *HERE)
    monkeypatch.setenv("AFTERCARE_SUBSCRIPTION_SECRET_HARBOR", NEWER)
    monkeypatch.setenv("AFTERCARE_SUBSCRIPTION_SECRET_HARBOR_BEFORE", SECRET)
    monkeypatch.setenv("AFTERCARE_PUBLIC_URL", "https://elsewhere.clinic.example")
    assert [line[0] for line in lines(run(clinic, "--check", code=1))] == ["outdated"] * 3
    assert [line[0] for line in lines(run(clinic))] == ["updated"] * 3
    assert fhir.stored["s2"]["channel"]["header"] == [f"X-Aftercare-Secret: {NEWER}"]
    assert fhir.stored["s2"]["channel"]["endpoint"].startswith("https://elsewhere.clinic.example/")
    assert len(fhir.stored) == 3


def test_a_look_changes_nothing_and_tells_by_its_exit_code(clinic: Path, fhir: FhirServer) -> None:
    assert [line[0] for line in lines(run(clinic, *HERE, "--check", code=1))] == ["missing"] * 3
    assert fhir.stored == {}
    run(clinic, *HERE)
    run(clinic, *HERE, "--check")
    fhir.stored["s2"] |= {"status": "error", "error": f"401 for X-Aftercare-Secret: {SECRET}"}
    shown = run(clinic, *HERE, "--check", code=1).stdout
    assert "unchanged  error      Subscription/s2" in shown
    assert "the server says: 401 for X-Aftercare-Secret: [secret]" in shown


def test_one_that_failed_is_switched_on_again(clinic: Path, fhir: FhirServer) -> None:
    run(clinic, *HERE)
    fhir.stored["s2"] |= {"status": "error", "error": "HTTP 500"}
    assert lines(run(clinic, *HERE))[1][:3] == ["activated", "active", "Subscription/s2"]
    assert "error" not in fhir.stored["s2"]


def test_it_takes_them_away(clinic: Path, fhir: FhirServer) -> None:
    run(clinic, *HERE)
    assert [line[0] for line in lines(run(clinic, "--remove"))] == ["removed"] * 3
    assert fhir.stored == {}


def test_json_holds_the_same(clinic: Path) -> None:
    found = json.loads(run(clinic, *HERE, "--json").stdout)
    assert [set(each) for each in found["subscriptions"]] == [{"wanted", "reference", "outcome", "status", "error"}] * 3
    assert found["subscriptions"][0]["outcome"] == "created"


def test_answers_and_topics_are_asked_for_as_well(clinic: Path, fhir: FhirServer) -> None:
    assert "QuestionnaireResponse?status=completed,amended" in run(clinic, *HERE, "--answers").stdout
    topic = "https://ehr.example.com/SubscriptionTopic/Encounter.signoff"
    assert topic in run(clinic, *HERE, "--topic", topic, "--filter", "Encounter?status=finished").stdout
    (made,) = [each for each in fhir.stored.values() if each["criteria"] == topic]
    assert made["_criteria"]["extension"][0]["valueString"] == "Encounter?status=finished"
    assert made["channel"]["endpoint"].endswith("/hooks/harbor/topic")


# --- watched ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def watching(clinic: Path) -> Iterator[Popen[str]]:
    command = "import typer; from fhir_aftercare.cli.subscribe import subscribe; typer.run(subscribe)"
    arguments = ["--clinic", str(clinic), *HERE, "--watch", "--every", "1"]
    with Popen([sys.executable, "-c", command, *arguments], stdout=PIPE, stderr=PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_watch_tells_only_what_changes_and_goes_on_when_the_server_fails(
    watching: Popen[str], fhir: FhirServer
) -> None:
    def told(count: int) -> list[list[str]]:
        assert watching.stdout
        return [watching.stdout.readline().split() for _ in range(count)]

    assert [line[0] for line in told(3)] == ["created"] * 3
    fhir.stored["s2"] |= {"status": "error", "error": "HTTP 500"}
    assert [line[:2] for line in told(4)] == [
        ["unchanged", "active"], ["activated", "active"], ["the", "server"], ["unchanged", "active"],
    ]  # fmt: skip
    assert [line[:2] for line in told(3)] == [["unchanged", "active"]] * 3
    fhir.down = True
    assert watching.stderr
    assert "500" in watching.stderr.readline()
    del fhir.stored["s3"]
    fhir.down = False
    assert [line[0] for line in told(3)] == ["unchanged", "unchanged", "created"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 0
    assert SECRET not in watching.stdout.read() + watching.stderr.read()


# --- what cannot be done ---------------------------------------------------------------------------------------------
def test_a_header_of_the_clinics_own_carries_the_secret(clinic: Path, fhir: FhirServer) -> None:
    clinic.write_text(clinic.read_text() + '\n[subscription]\nheader = "Authorization"\n')
    run(clinic, *HERE)
    assert fhir.stored["s1"]["channel"]["header"] == [f"Authorization: Bearer {SECRET}"]


def test_where_the_server_signs_it_says_that_the_ehr_describes_how(clinic: Path, fhir: FhirServer) -> None:
    clinic.write_text(clinic.read_text() + '\n[subscription]\ntopic_check = "signature"\n')
    assert "subscribe there as the EHR describes it" in run(clinic, *HERE, code=1).stderr
    assert fhir.tokens == []


def test_without_a_secret_it_says_which_variable_is_missing(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFTERCARE_SUBSCRIPTION_SECRET_HARBOR")
    assert "AFTERCARE_SUBSCRIPTION_SECRET_HARBOR: is missing" in run(clinic, *HERE, code=1).stderr


def test_a_secret_that_is_too_short_is_refused_and_not_shown(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_SUBSCRIPTION_SECRET_HARBOR", "shortsecret")
    said = run(clinic, *HERE, code=1).stderr
    assert "16 to 512" in said
    assert "shortsecret" not in said


def test_a_faulty_clinic_file_is_refused_with_all_its_faults(clinic: Path) -> None:
    clinic.write_text('name = ""')
    said = run(clinic, *HERE, code=1).stderr
    assert "harbor.toml: fhir_base_url: is missing" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--endpoint"),
        (("--endpoint", "aftercare.clinic.example"), "absolute URL"),
        (("--endpoint", "http://aftercare.clinic.example"), "must be https"),
        (("--endpoint", "https://a@aftercare.clinic.example"), "absolute URL"),
        ((*HERE, "--check", "--watch"), "use one of"),
        ((*HERE, "--filter", "Encounter?status=finished"), "a filter needs"),
        ((*HERE, "--topic", "own", "--filter", "Encounter?status=finished"), "a filter needs"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    clinic: Path, fhir: FhirServer, arguments: tuple[str, ...], said: str
) -> None:
    assert said in run(clinic, *arguments, code=2).stderr
    assert fhir.tokens == []


def test_an_address_without_tls_is_taken_only_if_that_is_said(clinic: Path, fhir: FhirServer) -> None:
    run(clinic, "--endpoint", "http://aftercare.internal.example:8000", "--allow-http")
    assert fhir.stored["s1"]["channel"]["endpoint"].startswith("http://aftercare.internal.example:8000/hooks/")


def test_a_token_comes_from_the_environment_and_leaves_over_tls_only(
    clinic: Path, fhir: FhirServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERCARE_FHIR_TOKEN", "a-token")
    run(clinic, *HERE)
    assert set(fhir.tokens) == {"Bearer a-token"}
    said = run(clinic, *HERE, "--fhir-base-url", "http://fhir.example.com/r4", code=1).stderr
    assert "only sent over https" in said
    assert "a-token" not in said


def test_what_the_server_refuses_is_shown_in_its_own_words_without_the_secret(clinic: Path, fhir: FhirServer) -> None:
    issue = {"severity": "error", "code": "processing", "diagnostics": f"bad header {SECRET}"}
    fhir.refusals = [{"resourceType": "OperationOutcome", "issue": [issue]}]
    assert "the server says: bad header [secret]" in run(clinic, *HERE, code=1).stderr


def test_a_server_without_subscriptions_is_told_with_what_helps(clinic: Path, fhir: FhirServer) -> None:
    fhir.knows.clear()
    assert "HL7 v2, CDS Hooks or REST" in run(clinic, *HERE, code=1).stderr


def test_a_server_that_is_not_there_is_told(clinic: Path) -> None:
    said = run(clinic, *HERE, "--fhir-base-url", "http://127.0.0.1:9/fhir", code=1).stderr
    assert "Check that the FHIR server runs" in said
