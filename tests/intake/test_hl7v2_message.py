"""What an ADT message is read as, and what is refused with its reason: no sockets here."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.intake.hl7v2_message import NotUnderstood, read_header, read_message, read_time
from intake.hl7v2_cases import FILES, HARBOR, MRN, VISIT, answered, message

NEW_YORK = ZoneInfo("America/New_York")


async def test_a_discharge_names_visit_patient_and_when_the_patient_left() -> None:
    ack, inbox = await answered(message("a03_discharge.hl7"))
    assert (ack.code, ack.control_id, ack.reason) == ("AA", "MSG00001", "")
    (signal,) = inbox.taken
    assert (signal.clinic, signal.source, signal.kind) == ("harbor", "hl7v2", "finished")
    assert (signal.encounter, signal.patient) == (None, None)
    assert signal.encounter_identifier == (VISIT, "V-5005")
    assert signal.patient_identifier == (MRN, "MRN-1001")
    assert signal.occurred_at == datetime(2026, 9, 16, 19, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a03_bare.hl7", "finished"),
        ("a13_cancel_discharge.hl7", "cancelled"),
        ("a11_cancel_admit.hl7", "cancelled"),
        ("a08_visit.hl7", "changed"),
    ],
)
async def test_each_event_of_a_visit_becomes_one_signal(name: str, kind: str) -> None:
    ack, inbox = await answered(message(name))
    assert ack.code == "AA"
    (signal,) = inbox.taken
    assert (signal.kind, signal.encounter_identifier, signal.occurred_at) == (kind, (VISIT, "V-5005"), None)


async def test_a_merge_has_both_patients_looked_at() -> None:
    ack, inbox = await answered(message("a40_merge.hl7"))
    assert ack.code == "AA"
    assert [(each.kind, each.patient_identifier) for each in inbox.taken] == [
        ("merged", (MRN, "MRN-1001")),
        ("merged", (MRN, "MRN-0999")),
    ]


async def test_several_merges_in_one_message_are_all_taken() -> None:
    more = "MRG|MRN-0999^^^HARBOR^MR\nPID|2||MRN-2001^^^HARBOR^MR\nMRG|MRN-1999^^^HARBOR^MR"
    ack, inbox = await answered(message("a40_merge.hl7", ("MRG|MRN-0999^^^HARBOR^MR", more)))
    assert ack.code == "AA"
    assert [each.patient_identifier[1] for each in inbox.taken if each.patient_identifier] == [
        "MRN-1001", "MRN-0999", "MRN-2001", "MRN-1999",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a01_admit.hl7", "a08_person.hl7"])
async def test_what_concerns_nobodys_leaving_is_accepted_and_nothing_is_done(name: str) -> None:
    ack, inbox = await answered(message(name))
    assert (ack.code, inbox.told) == ("AA", 0)


async def test_the_same_message_is_the_same_work_however_often_it_comes() -> None:
    first, inbox = await answered(message("a03_discharge.hl7"))
    again, _ = await answered(message("a03_discharge.hl7"), inbox=inbox)
    assert (first.code, again.code, len(inbox.taken)) == ("AA", "AA", 1)


@pytest.mark.parametrize(
    "change", [("MSG00001", "MSG00002"), ("20260916151205.120", "20260917090000.120"), ("|HARBOR|AFT", "|SOUTH|AFT")]
)
async def test_another_number_another_time_or_another_sender_is_other_work(change: tuple[str, str]) -> None:
    south = replace(HARBOR, facility="SOUTH")
    _, inbox = await answered(message("a03_discharge.hl7"), HARBOR, south)
    await answered(message("a03_discharge.hl7", change), HARBOR, south, inbox=inbox)
    assert len({each.work_id for each in inbox.taken}) == 2


async def test_nothing_the_sender_wrote_is_part_of_the_works_name() -> None:
    _, inbox = await answered(message("a03_discharge.hl7", ("MSG00001", "Test^Synthia")))
    assert "Synthia" not in inbox.taken[0].event
    assert "Synthia" not in inbox.taken[0].work_id


@pytest.mark.parametrize(
    ("name", "change", "condition", "place"),
    [
        ("oru_r01.hl7", ("|P|", "|P|"), "200", "MSH^1^9"),
        ("a03_discharge.hl7", ("ADT^A03^ADT_A03", "ADT"), "201", "MSH^1^9"),
        ("a03_discharge.hl7", ("|MSG00001|", "||"), "101", "MSH^1^10"),
        ("a03_discharge.hl7", ("|P|", "|T|"), "202", "MSH^1^11"),
        ("a03_discharge.hl7", ("|2.5.1|", "|3.0|"), "203", "MSH^1^12"),
        ("a03_discharge.hl7", ("ADT^1.2.3.4^ISO|", "OTHER|"), "103", "MSH^1^3"),
        ("a03_discharge.hl7", ("|HARBOR|AFT", "|ELSEWHERE|AFT"), "103", "MSH^1^3"),
        ("a03_discharge.hl7", ("UNICODE UTF-8", "8859/1 KLINGON"), "103", "MSH^1^18"),
        ("a03_discharge.hl7", ("UNICODE UTF-8", "ASCII"), "102", "MSH^1^18"),
        ("a03_discharge.hl7", ("UNICODE UTF-8", ""), "102", "MSH^1^18"),
        ("a03_discharge.hl7", ("V-5005^^^HARBOR^VN", ""), "101", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005^^^HARBOR^VN", '""'), "101", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005^^^HARBOR", "V-5005^^^SOUTH"), "204", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005^^^HARBOR", "V-5005"), "204", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005", "V-\\Q\\5005"), "102", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005", "V-\\X4\\5005"), "102", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005", "V-\\5005"), "102", "PV1^1^19"),
        ("a03_discharge.hl7", ("V-5005", "V\\.sp99999999999\\"), "102", "PV1^1^19"),
        ("a03_discharge.hl7", ("HARBOR&1.2.3.9&ISO", "OTHER"), "204", "PID^1^3"),
        ("a03_discharge.hl7", ("0007^^^OTHER", "0007^^^HARBOR"), "102", "PID^1^3"),
        ("a03_discharge.hl7", ("|20260916150500-0400", "|20261316150500-0400"), "102", "PV1^1^45"),
        ("a03_discharge.hl7", ("PID|1", "pid|1"), "100", ""),
        ("a03_discharge.hl7", ("PV2|", "MSH|"), "100", ""),
        ("a13_cancel_discharge.hl7", ("PV1|", "ZV1|"), "101", "PV1^1^19"),
        ("a13_cancel_discharge.hl7", ("PID|", "ZID|"), "101", "PID^1^3"),
        ("a40_merge.hl7", ("MRG|", "ZRG|"), "101", "MRG^1"),
        ("a40_merge.hl7", ("PID|", "ZID|"), "101", "PID^1^3"),
    ],
)
async def test_what_cannot_be_understood_is_rejected_with_place_and_reason(
    name: str, change: tuple[str, str], condition: str, place: str
) -> None:
    ack, inbox = await answered(message(name, change))
    assert (ack.code, inbox.told) == ("AR", 0)
    assert ack.field("ERR", 3).split("^")[0] == condition
    assert ack.field("ERR", 2) == place
    assert ack.reason
    assert ack.reason == ack.field("ERR", 8)
    for told in ("MRN-1001", "V-5005", "Synthia", "T\u00e9st"):
        assert told not in ack.text.encode("latin-1").decode("utf-8", "replace")


async def test_before_version_2_5_the_error_has_its_older_form() -> None:
    ack, _ = await answered(message("a03_bare.hl7", ("V-5005", "")))
    assert (ack.code, ack.field("MSH", 12)) == ("AR", "2.3")
    assert ack.field("ERR", 1).startswith("PV1^1^19^")


async def test_the_answer_goes_back_to_where_the_message_came_from() -> None:
    ack, _ = await answered(message("a03_discharge.hl7"))
    assert [ack.field("MSH", number) for number in (3, 4, 5, 6)] == ["AFTERCARE", "HARBOR", "ADT^1.2.3.4^ISO", "HARBOR"]
    assert (ack.field("MSH", 9), ack.field("MSH", 12)) == ("ACK^A03^ACK", "2.5.1")
    assert ack.field("MSH", 7) == "20260916191206+0000"
    assert ack.field("MSH", 10) not in {"", "MSG00001"}


async def test_a_sender_with_its_own_separators_is_understood_and_answered_in_them() -> None:
    wire = message("a13_cancel_discharge.hl7").translate(bytes.maketrans(rb"|^~\&", rb"#@*!%"))
    ack, inbox = await answered(wire)
    assert ack.text.startswith("MSH#@*!%#")
    assert "MSA#AA#MSG00003" in ack.text
    assert inbox.taken[0].encounter_identifier == (VISIT, "V-5005")


async def test_escapes_in_an_identifier_are_resolved() -> None:
    _, inbox = await answered(message("a03_discharge.hl7", ("V-5005", "V\\T\\5\\S\\0\\E\\\\X2D\\5")))
    assert inbox.taken[0].encounter_identifier == (VISIT, "V&5^0\\-5")


async def test_a_line_feed_as_segment_end_is_understood_too() -> None:
    for end in (b"\n", b"\r\n"):
        ack, inbox = await answered(message("a03_discharge.hl7").replace(b"\r", end))
        assert (ack.code, len(inbox.taken)) == ("AA", 1)


async def test_a_message_in_another_character_set_is_read_as_it_says() -> None:
    wire = message("a03_discharge.hl7", ("UNICODE UTF-8", "8859/1"), ("V-5005", "V-\u00fc"), encoding="latin-1")
    _, inbox = await answered(wire)
    assert inbox.taken[0].encounter_identifier == (VISIT, "V-\u00fc")


async def test_the_senders_character_set_holds_where_the_message_names_none() -> None:
    wire = message("a03_discharge.hl7", ("UNICODE UTF-8", ""))
    ack, _ = await answered(wire, replace(HARBOR, charset="UNICODE UTF-8"))
    assert ack.code == "AA"


async def test_the_assigning_authority_may_be_named_by_its_universal_id_or_be_missing() -> None:
    by_oid = replace(HARBOR, patients={"1.2.3.9": "urn:oid:1.2.3.9"}, visits={"": VISIT})
    ack, inbox = await answered(message("a03_discharge.hl7", ("V-5005^^^HARBOR^VN", "V-5005")), by_oid)
    assert ack.code == "AA"
    assert inbox.taken[0].patient_identifier == ("urn:oid:1.2.3.9", "MRN-1001")
    assert inbox.taken[0].encounter_identifier == (VISIT, "V-5005")


async def test_of_several_authorities_the_first_of_the_settings_counts() -> None:
    both = replace(HARBOR, patients={"OTHER": "urn:oid:1.2", "HARBOR": MRN})
    _, inbox = await answered(message("a03_discharge.hl7"), both)
    assert inbox.taken[0].patient_identifier == ("urn:oid:1.2", "0007")


async def test_a_time_without_offset_is_in_the_senders_zone() -> None:
    wire = message("a03_discharge.hl7", ("|20260916150500-0400", "|20260916150500"))
    for zone, hour in (("America/New_York", 19), ("Europe/Berlin", 13)):
        _, inbox = await answered(wire, replace(HARBOR, zone=ZoneInfo(zone)))
        assert inbox.taken[0].occurred_at == datetime(2026, 9, 16, hour, 5, tzinfo=UTC)


async def test_without_a_discharge_time_the_event_tells_when_it_happened() -> None:
    wire = message("a03_discharge.hl7", ("|20260916150500-0400", "|20260916"))
    _, inbox = await answered(wire)
    assert inbox.taken[0].occurred_at == datetime(2026, 9, 16, 19, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "2026", "20260916", "2026091613", "20260308023000", "20261101013000"])
def test_a_time_that_names_no_one_instant_is_none(text: str) -> None:
    assert read_time(text, NEW_YORK, "EVN^1^6") is None


@pytest.mark.parametrize(
    "text", ["x", "20261316", "202609161", "20260916250000", "2026-09-16T15:05:00", "00010101000000"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    if text == "20261316":  # a date only: its month is nobody's business here
        assert read_time(text, NEW_YORK, "EVN^1^6") is None
        return
    with pytest.raises(NotUnderstood):
        read_time(text, NEW_YORK, "EVN^1^6")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_time_with_offset_is_read_exactly(wall: datetime, minutes: int) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{wall:%Y%m%d%H%M%S}{sign}{size // 60:02}{size % 60:02}"
    expected = wall.replace(microsecond=0, tzinfo=UTC) - timedelta(minutes=minutes)
    assert read_time(text, NEW_YORK, "EVN^1^6") == expected


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20)


@given(
    _TEXT, st.lists(st.sampled_from(sorted(set(string.punctuation) - set("_"))), min_size=5, max_size=5, unique=True)
)
def test_whatever_is_escaped_comes_back_as_it_was(text: str, separators: list[str]) -> None:
    bar, *rest = separators
    names = dict(zip(separators, "FSRET", strict=True))
    escaped = "".join(f"{rest[2]}{names[each]}{rest[2]}" if each in names else each for each in text)
    block = f"MSH{bar}{''.join(rest)}{bar}ADT\rZZZ{bar}{escaped}".encode()
    read = read_message(block, read_header(block), "UNICODE UTF-8")
    assert read.plain(read.field("ZZZ", 1), "") == ("" if text == '""' else text)


@pytest.mark.parametrize(
    "block",
    [b"", b"MSH", b"MSHA^~\\&|", b"MSH|^^\\&|ADT|", b"MSH|^~|ADT|", b"MSH|^~\\&#!|ADT|", b"PID|1||3", b"\x00" * 9],
)
def test_without_a_usable_header_nothing_is_read(block: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_header(block)


@given(st.data())
async def test_a_message_with_any_bytes_changed_is_answered(data: st.DataObject) -> None:
    wire = bytearray(message(data.draw(st.sampled_from(FILES))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    ack, inbox = await answered(bytes(wire))
    assert "\x1c\r" not in ack.text
    assert not ack.text.startswith("MSH|") or ack.code in {"AA", "AR"}
    assert all(each.clinic == "harbor" for each in inbox.taken)
