"""``fhir-aftercare demo`` tells the main job, on the sandbox or on a server of yours, and then serves it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.walking import Person, is_the_storys_overview
from fhir_aftercare.sandbox.ehr import LocalNames
from servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).parent / "fhir-aftercare"
KEYS = {
    "patient", "encounter", "carePlans", "tasks", "serviceRequests", "observations", "questionnaireResponse", "scores",
    "escalation", "seconds",
}  # fmt: skip


def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    # Wide, so that no line of the progress is broken.
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [COMMAND, "demo", *arguments], capture_output=True, text=True, timeout=timeout, check=False, env=environment
    )


def is_the_main_job(told: dict[str, Any]) -> None:
    assert told.keys() == KEYS
    assert told["carePlans"].keys() == {"infusion", "course"}
    assert len(told["serviceRequests"]) == 2
    assert {each["code"] for each in told["tasks"]} >= {"Escort home", "Telephone follow-up", "Clinical review"}
    assert told["scores"] == {"phq-9": 21, "band": "severe", "item9": 1}
    assert told["escalation"]["priority"] == "asap"
    assert {each["key"] for each in told["escalation"]["reasons"]} >= {"phq9-item9-low"}


def test_it_prints_one_object_and_nothing_else(tmp_path: Path) -> None:
    done = run("--once", "--json", "--port", str(free_port()))
    assert done.returncode == 0, done.stderr
    is_the_main_job(json.loads(done.stdout))
    assert "Refused, nothing activated" in done.stderr
    assert "Somebody must act now" in done.stderr


def test_without_json_it_says_in_plain_words_what_it_wrote_and_where() -> None:
    port = free_port()
    done = run("--once", "--port", str(port))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    for words in ("TEST DATA", "Observations", "two CarePlans", f"http://127.0.0.1:{port}/fhir/CarePlan/"):
        assert words in done.stderr


def test_it_keeps_serving_what_it_wrote() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    process = subprocess.Popen([COMMAND, "demo", "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert len(wait_for(f"{url}/CarePlan")["entry"]) == 2
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=15)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0


def wait_for(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found: dict[str, Any] = httpx.get(url).json()
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return found
    raise AssertionError(f"{url} did not answer")


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Run it until it serves, and give its object and the addresses it names; told to end, it leaves nothing."""
    environment = {**os.environ, "COLUMNS": "80", "AFTERCARE_HOST": "192.0.2.1", "TMPDIR": str(folder)}
    out, progress = folder / "out", folder / "progress"
    with out.open("wb") as stdout, progress.open("wb") as stderr:
        process = subprocess.Popen(
            [COMMAND, "demo", "--json", *arguments], stdout=stdout, stderr=stderr, env=environment
        )
    try:
        deadline = time.monotonic() + 60
        while "Stop with Ctrl-C" not in progress.read_text():
            assert process.poll() is None, progress.read_text()
            assert time.monotonic() < deadline, progress.read_text()
            time.sleep(0.1)
        yield json.loads(out.read_text()), re.findall(r"https?://\S+", progress.read_text().partition("\nOpen ")[2])
    finally:
        process.terminate()
        assert process.wait(20) == 0, progress.read_text()
    assert '"level":"error"' not in progress.read_text()
    assert list(folder.glob("fhir-aftercare-*")) == []


async def is_open_to_a_person_and_to_programs(told: dict[str, Any], named: list[str]) -> None:
    ehr, chart, app, docs, fhir = named
    async with Person() as person, httpx.AsyncClient(transport=LocalNames(), timeout=30) as http:
        is_the_storys_overview(await person.open_in_chart(ehr, told["patient"]))
        assert told["patient"].partition("/")[2] in chart
        assert (await person.get(chart)).status_code == 200
        assert "Sign in for Aftercare" in (await person.get(app)).text
        assert (await http.get(docs)).status_code == 200
        api = f"{docs.removesuffix('/docs')}/v1/clinics/demo"
        aftercare = await http.get(f"{api}/patients/{told['patient'].partition('/')[2]}/aftercare")
        assert aftercare.status_code == 200, aftercare.text
        assert aftercare.json()["infusions"][0]["reference"] == told["carePlans"]["infusion"]
        left = {"patient": told["patient"], "encounter": told["encounter"], "left_at": datetime.now(UTC).isoformat()}
        again = await http.post(f"{api}/discharges/happened", json=left)
        assert (again.status_code, again.json()["plan"]) == (200, told["carePlans"]["infusion"]), again.text
        # The way to the patients' data is the EHR's: with its token, or not at all.
        assert (await http.get(f"{ehr}/fhir/{told['patient']}")).status_code == 401
        assert (await http.get(f"{fhir}/{told['patient']}")).status_code == 200


async def test_it_serves_an_ehr_from_which_the_app_opens_and_the_api(tmp_path: Path) -> None:
    port = free_port()
    with served(tmp_path, "--port", str(port)) as (told, named):
        assert named[0] == f"http://ehr.localhost:{port + 1}"
        assert named[2].startswith(f"http://app.localhost:{port + 2}/")
        assert named[4] == f"http://127.0.0.1:{port}/fhir"
        await is_open_to_a_person_and_to_programs(told, named)


@pytest.mark.hapi
async def test_it_serves_them_over_a_server_of_yours_if_asked(hapi_url: str, tmp_path: Path) -> None:
    base = "https://fhir-aftercare.example.org/demo"
    given = ("--fhir-base-url", hapi_url, "--serve", "--identifier-base", base, "--port", str(free_port()))
    with served(tmp_path, *given) as (told, named):
        assert named[4] == hapi_url
        await is_open_to_a_person_and_to_programs(told, named)


def test_a_port_in_use_is_named_before_anything_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--port", str(port - 2))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "TEST DATA" not in done.stderr
    assert "Traceback" not in done.stderr


def test_to_end_at_once_and_to_serve_contradict_each_other() -> None:
    done = run("--once", "--serve")
    assert done.returncode == 2
    assert "--once or --serve" in done.stderr


@pytest.mark.hapi
def test_it_works_again_and_again_on_a_server_that_holds_data(hapi_url: str) -> None:
    first, second = (run("--json", "--fhir-base-url", hapi_url) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    told = [json.loads(each.stdout) for each in (first, second)]
    for each in told:
        is_the_main_job(each)
    assert told[0]["patient"] != told[1]["patient"]


def test_a_server_that_does_not_answer_is_named_with_what_to_do() -> None:
    done = run("--once", "--fhir-base-url", f"http://127.0.0.1:{free_port()}/fhir")
    assert done.returncode == 1
    assert "no connection to the FHIR server" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_elsewhere_needs_identifiers_of_its_owner() -> None:
    done = run("--once", "--fhir-base-url", "https://fhir.example.com/r4")
    assert done.returncode == 2
    assert "--identifier-base" in done.stderr
