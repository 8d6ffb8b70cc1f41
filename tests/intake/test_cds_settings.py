"""What ``[cds_hooks]`` of a clinic's file may say, and what is said about its faults."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from fhir_aftercare.intake.cds_settings import CdsClient, cds_hooks_of

WHOLE = """
[cds_hooks]
public_url = "https://Aftercare.Harbor.test/"
launch_url = "https://aftercare.harbor.test/launch"
allowed_origins = ["https://ehr.example.com"]
open_discovery = true

[[cds_hooks.clients]]
iss = "https://ehr.example.com/"
jku = ["https://ehr.example.com/jwks.json", "https://ehr.example.com/keys?next=1"]
tenant = "harbor"
"""


def table(text: str) -> Any:
    return tomllib.loads(text).get("cds_hooks")


def test_without_a_table_the_clinic_has_no_cds_services() -> None:
    assert cds_hooks_of(None) == (None, [])


def test_a_whole_table_is_read_addresses_in_one_form_and_iss_as_it_is() -> None:
    settings, faults = cds_hooks_of(table(WHOLE))
    assert faults == []
    assert settings is not None
    assert settings.public_url == "https://aftercare.harbor.test"
    assert settings.clients == (
        CdsClient(
            "https://ehr.example.com/",
            ("https://ehr.example.com/jwks.json", "https://ehr.example.com/keys?next=1"),
            "harbor",
        ),
    )
    assert (settings.allowed_origins, settings.open_discovery) == (frozenset({"https://ehr.example.com"}), True)


def test_on_this_machine_http_will_do() -> None:
    local = WHOLE.replace("https://ehr.example.com/jwks.json", "http://127.0.0.1:9000/jwks.json")
    assert cds_hooks_of(table(local))[1] == []


def test_all_faults_are_told_at_once_each_with_its_place() -> None:
    settings, faults = cds_hooks_of(
        table(
            """
            [cds_hooks]
            public_url = "http://aftercare.harbor.test"
            secret = "x"
            allowed_origins = ["https://ehr.example.com/app", "*"]
            [[cds_hooks.clients]]
            iss = ""
            jku = ["http://ehr.example.com/jwks.json", "https://user:hush@ehr.example.com/", "ftp://x"]
            [[cds_hooks.clients]]
            iss = "https://ehr.example.com"
            jku = []
            """
        )
    )
    assert settings is None
    text = "\n".join(faults)
    for place in (
        "cds_hooks.public_url: the address must be https (http only on this machine)",
        "cds_hooks.launch_url: is missing (for example https://aftercare.your-clinic.com/launch)",
        "cds_hooks.secret: is unknown",
        "cds_hooks.allowed_origins[0]: must be an origin, without a path",
        "cds_hooks.allowed_origins[1]: ",
        "cds_hooks.clients[0].iss: ",
        "cds_hooks.clients[0].jku[0]: the address must be https",
        "cds_hooks.clients[0].jku[1]: ",
        "cds_hooks.clients[0].jku[2]: ",
        "cds_hooks.clients[1].jku: ",
    ):
        assert place in text, text
    assert "hush" not in text


@pytest.mark.parametrize("given", ["yes", [], 3, {}, {"clients": "x"}])
def test_what_is_no_table_of_clients_is_a_fault(given: object) -> None:
    settings, faults = cds_hooks_of(given)
    assert settings is None
    assert faults


def test_a_client_is_named_once() -> None:
    client = {"iss": "https://ehr.example.com", "jku": ["https://ehr.example.com/jwks.json"]}
    urls = {"public_url": "https://a.harbor.test", "launch_url": "https://a.harbor.test/launch"}
    assert cds_hooks_of({**urls, "clients": [client, client]})[1] == [
        "cds_hooks.clients: iss and tenant together must name one client only"
    ]
    tenants = [{**client, "tenant": "a"}, {**client, "tenant": "b"}]
    assert cds_hooks_of({**urls, "clients": tenants})[1] == []
