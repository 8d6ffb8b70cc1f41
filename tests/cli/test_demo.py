"""``fhir-aftercare demo`` tells the main job on the sandbox or on a server of yours, again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers import free_port

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
        assert process.wait(15) == 0
        process.communicate()


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
