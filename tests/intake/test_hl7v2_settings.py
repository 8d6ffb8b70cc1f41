"""What ``[hl7v2]`` of a clinic's file may say, and what is said about its faults."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.intake.hl7v2 import senders_of
from fhir_aftercare.intake.hl7v2_settings import VERSIONS, Hl7Settings, Sender, hl7v2_of, tls_context

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """
[[hl7v2.senders]]
application = "ADT"
facility = "HARBOR"
zone = "America/New_York"
charset = "8859/1"
versions = ["2.3", "2.5.1"]
processing_ids = ["P", "T"]
patients = { HARBOR = "https://ehr.example.com/mrn", "" = "urn:oid:1.2.3" }
visits = { HARBOR = "https://ehr.example.com/visit" }

[[hl7v2.senders]]
application = "ENGINE"
zone = "America/Chicago"
patients = { A = "urn:a" }
visits = { A = "urn:v" }
"""


def table(text: str) -> Any:
    return tomllib.loads(text).get("hl7v2")


def test_without_a_table_the_clinic_has_no_senders() -> None:
    assert hl7v2_of(None) == (None, [])


def test_each_sender_is_read_with_its_mapping() -> None:
    settings, faults = hl7v2_of(table(WHOLE))
    assert faults == []
    assert settings is not None
    first, second = settings.senders
    assert first.charset == "8859/1"
    assert (first.versions, first.processing_ids) == (("2.3", "2.5.1"), ("P", "T"))
    assert list(first.patients.items()) == [("HARBOR", "https://ehr.example.com/mrn"), ("", "urn:oid:1.2.3")]
    assert second == Sender(
        "ENGINE", "", ZoneInfo("America/Chicago"), {"A": "urn:a"}, {"A": "urn:v"}, "ASCII", VERSIONS
    )


def test_all_faults_are_told_at_once_each_with_its_place_and_no_value() -> None:
    settings, faults = hl7v2_of(
        table(
            """
            [hl7v2]
            port = 2575
            [[hl7v2.senders]]
            facility = "HAR|BOR"
            zone = "Atlantis/Lost"
            charset = "EBCDIC"
            versions = ["3.0"]
            processing_ids = []
            patients = {}
            visits = { HARBOR = "not-a-uri" }
            """
        )
    )
    assert settings is None
    text = "\n".join(faults)
    for place in (
        "hl7v2.port: is unknown",
        "hl7v2.senders[0].application: is missing (for example ADT)",
        "hl7v2.senders[0].facility: ",
        "hl7v2.senders[0].zone: must be an IANA name",
        "hl7v2.senders[0].charset: must be one of ASCII, UNICODE UTF-8",
        "hl7v2.senders[0].versions[0]: must be one of 2.1",
        "hl7v2.senders[0].processing_ids: ",
        "hl7v2.senders[0].patients: must be a table",
        "hl7v2.senders[0].visits: each identifier system must be an absolute URI",
    ):
        assert place in text, text
    assert "Atlantis" not in text


@pytest.mark.parametrize("given", ["yes", [], 3, {"senders": []}, {"senders": "ADT"}, {}])
def test_what_is_no_table_of_senders_is_a_fault(given: object) -> None:
    settings, faults = hl7v2_of(given)
    assert settings is None
    assert faults


def test_a_sender_is_named_once_in_a_clinic_and_in_one_clinic_only() -> None:
    twice = WHOLE.replace('"ENGINE"', '"ADT"\nfacility = "HARBOR"')
    assert hl7v2_of(table(twice))[1] == ["hl7v2.senders: application and facility together must name one sender only"]
    settings, _ = hl7v2_of(table(WHOLE))
    assert isinstance(settings, Hl7Settings)
    with pytest.raises(ConfigFault, match=r"south: hl7v2\.senders: the sender is also that of the clinic harbor"):
        senders_of({"harbor": settings, "south": settings})


def test_tls_files_that_cannot_be_used_are_a_fault(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for certificate in (empty, tmp_path / "missing.pem"):
        with pytest.raises(ConfigFault, match="the TLS files cannot be used"):
            tls_context(certificate, empty)
