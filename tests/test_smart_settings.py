"""The ``[smart]`` table of a clinic's file: what it says of the EHR, and everything that is wrong with it at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fhir_aftercare.smart_settings import secret_name, smart_of


def read(environ: dict[str, str] | None = None, **table: Any) -> tuple[Any, list[str]]:
    return smart_of("harbor", table, environ or {})


def test_without_a_table_nobody_launches_anything() -> None:
    assert smart_of("harbor", None, {}) == (None, [])


def test_what_is_not_said_is_the_safe_choice() -> None:
    found, faults = read(client_id="aftercare")
    assert faults == []
    assert (found.kind, found.idle, found.write_as) == ("public", timedelta(minutes=15), "user")
    assert (found.frame_ancestors, found.prescribers, found.allow_cookieless_callback) == ((), frozenset(), False)


def test_what_is_said_is_taken() -> None:
    found, faults = read(
        client_id="aftercare",
        frame_ancestors=["https://ehr.example.com"],
        write_as="backend",
        prescribers=["Practitioner/3", "PractitionerRole/4"],
        backend={"client_id": "aftercare-service"},
    )
    assert faults == []
    assert (found.write_as, found.prescribers) == ("backend", {"Practitioner/3", "PractitionerRole/4"})
    assert (found.frame_ancestors, found.backend_id) == (("https://ehr.example.com",), "aftercare-service")


def test_a_secret_comes_from_the_environment_alone() -> None:
    assert read(client_id="aftercare", client="symmetric")[1][0].startswith(secret_name("harbor"))
    found, _ = read({secret_name("harbor"): "s3cret"}, client_id="aftercare", client="symmetric")
    assert found.secret == "s3cret"
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({}, "must name a client_id"),
        ({"client_id": "a", "idle_minutes": 0}, "idle_minutes"),
        ({"client_id": "a", "frame_ancestors": ["https://ehr.example.com/path"]}, "frame_ancestors"),
        ({"client_id": "a", "prescribers": ["Patient/3"]}, "prescribers"),
        ({"client_id": "a", "prescribers": ["Dr Grey"]}, "prescribers"),
        ({"client_id": "a", "write_as": "backend"}, "needs a [smart.backend]"),
        ({"client_id": "a", "write_as": "nobody"}, "write_as"),
        ({"client_id": "a", "unknown": 1}, "unknown"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table: dict[str, Any], fault: str) -> None:
    found, faults = read(**table)
    assert found is None
    assert fault in " ".join(faults)


def test_all_faults_are_told_at_once() -> None:
    _, faults = read(client_id="", idle_minutes=9999, old_ehr=["stone-age"], prescribers=["x"])
    assert len(faults) == 4


def test_what_is_no_table_is_told_as_such() -> None:
    assert smart_of("harbor", "aftercare", {})[1] == ["smart: must be a table, [smart]"]
