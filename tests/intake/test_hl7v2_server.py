"""ADT messages over real sockets: framing, limits, answers only after what was told is durable, TLS, hostile bytes."""

from __future__ import annotations

import asyncio
import ssl
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import hl7
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hl7.mllp import open_hl7_connection
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.intake.hl7v2_server import BEGIN, END, listening
from fhir_aftercare.intake.hl7v2_settings import Listener, tls_context
from intake.hl7v2_cases import FILES, HARBOR, NOW, framed, line, message, open_door, senders
from intake.inboxes import RecordingInbox

if TYPE_CHECKING:
    from pathlib import Path

    from fhir_aftercare.flows.signal import DischargeSignal

DISCHARGE = framed(message("a03_discharge.hl7"))


async def test_a_discharge_is_acknowledged_to_another_vendors_client() -> None:
    inbox = RecordingInbox()
    async with open_door(inbox) as port:
        reader, writer = await open_hl7_connection("127.0.0.1", port, encoding="utf-8")
        writer.writemessage(hl7.parse(message("a03_discharge.hl7").decode()))
        ack = await asyncio.wait_for(reader.readmessage(), 5)
        writer.close()
        await writer.wait_closed()
    assert [str(ack["MSA"][0][1]), str(ack["MSA"][0][2])] == ["AA", "MSG00001"]
    assert [each.kind for each in inbox.taken] == ["finished"]


async def test_the_answer_comes_only_after_the_signal_is_durable() -> None:
    inbox = RecordingInbox(seconds=0.2)
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(DISCHARGE)
        await asyncio.sleep(0.05)
        assert not inbox.taken
        assert (await sender.ack()).code == "AA"
        assert len(inbox.taken) == 1


async def test_if_it_cannot_be_kept_the_sender_is_told_to_repeat_and_then_it_is_kept() -> None:
    inbox = RecordingInbox(failures=1)
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(DISCHARGE)
        ack = await sender.ack()
        assert (ack.code, ack.control_id, ack.field("ERR", 3).split("^")[0]) == ("AE", "MSG00001", "207")
        assert "send it again" in ack.reason
        await sender.send(DISCHARGE)
        assert (await sender.ack()).code == "AA"
    assert len(inbox.taken) == 1


async def test_if_the_first_half_of_a_merge_is_kept_and_the_other_is_not_it_is_no_yes() -> None:
    class Half(RecordingInbox):
        async def take(self, signal: DischargeSignal) -> bool:
            self.failures = 1 if self.taken and self.told == 1 else 0
            return await super().take(signal)

    inbox = Half()
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(framed(message("a40_merge.hl7")))
        assert (await sender.ack()).code == "AE"
        await sender.send(framed(message("a40_merge.hl7")))
        assert (await sender.ack()).code == "AA"
    assert len(inbox.taken) == 2


async def test_an_inbox_that_fails_in_a_way_nobody_foresaw_is_no_yes_either() -> None:
    class Broken(RecordingInbox):
        async def take(self, signal: DischargeSignal) -> bool:
            raise RuntimeError(f"MRN-1001 {signal}")

    with capture_logs() as logs:
        async with open_door(Broken()) as port, line(port) as sender:
            await sender.send(DISCHARGE)
            assert (await sender.ack()).code == "AE"
    assert "MRN-1001" not in str(logs)


async def test_an_inbox_that_takes_too_long_is_no_yes() -> None:
    async with open_door(RecordingInbox(seconds=5), longest=0.05) as port, line(port) as sender:
        await sender.send(DISCHARGE)
        assert (await sender.ack()).code == "AE"


async def test_many_messages_on_one_connection_are_answered_in_their_order() -> None:
    inbox = RecordingInbox()
    numbers = [f"MSG1{number:04}" for number in range(50)]
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(b"".join(framed(message("a03_discharge.hl7", ("MSG00001", each))) for each in numbers))
        acks = [await sender.ack() for _ in numbers]
    assert [each.control_id for each in acks] == numbers
    assert {each.code for each in acks} == {"AA"}
    assert len(inbox.taken) == 50


async def test_a_message_in_many_packets_and_line_ends_between_messages_are_no_trouble() -> None:
    inbox = RecordingInbox()
    async with open_door(inbox) as port, line(port) as sender:
        for at in range(0, len(DISCHARGE), 97):
            await sender.send(DISCHARGE[at : at + 97])
            await asyncio.sleep(0)
        assert (await sender.ack()).code == "AA"
        await sender.send(b"\r\n" + framed(message("a13_cancel_discharge.hl7")) + b"\n")
        assert (await sender.ack()).code == "AA"
    assert [each.kind for each in inbox.taken] == ["finished", "cancelled"]


async def test_a_message_that_is_refused_does_not_stop_those_after_it() -> None:
    inbox = RecordingInbox()
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(framed(b"nonsense") + framed(message("oru_r01.hl7")) + DISCHARGE)
        assert [(await sender.ack()).code for _ in range(3)] == ["AR", "AR", "AA"]
    assert len(inbox.taken) == 1


async def test_half_a_message_and_a_cut_line_leave_nothing_and_harm_nobody() -> None:
    inbox = RecordingInbox()
    async with open_door(inbox) as port:
        async with line(port) as sender:
            await sender.send(DISCHARGE[:200])
        async with line(port) as other:
            await other.send(DISCHARGE)
            assert (await other.ack()).code == "AA"
    assert len(inbox.taken) == 1


async def test_a_sender_that_leaves_before_its_answer_has_still_been_heard() -> None:
    inbox = RecordingInbox(seconds=0.05)
    async with open_door(inbox) as port:
        async with line(port) as sender:
            await sender.send(DISCHARGE)
            await asyncio.sleep(0.02)
        for _ in range(100):
            if inbox.taken:
                break
            await asyncio.sleep(0.01)
    assert len(inbox.taken) == 1


@pytest.mark.parametrize(
    "raw",
    [
        message("a03_discharge.hl7") + END,
        b"GET / HTTP/1.1\r\n\r\n" + END,
        BEGIN + b"MSH|^~\\&|half" + DISCHARGE,
        END,
    ],
)
async def test_what_is_no_frame_is_refused_and_the_line_closed(raw: bytes) -> None:
    inbox = RecordingInbox()
    async with open_door(inbox) as port, line(port) as sender:
        await sender.send(raw)
        ack = await sender.ack()
        assert (ack.code, ack.control_id) == ("AR", "")
        assert await sender.ended()
    assert inbox.told == 0


async def test_a_message_that_is_too_large_is_refused_while_it_is_still_coming() -> None:
    inbox = RecordingInbox()
    async with open_door(inbox, max_message=2_000) as port, line(port) as sender:
        await sender.send(BEGIN + b"MSH|^~\\&|ADT|" + b"x" * 10_000)
        ack = await sender.ack()
        assert (ack.code, "larger" in ack.reason) == ("AR", True)
    async with open_door(inbox, max_message=2_000) as port, line(port) as sender:
        await sender.send(DISCHARGE)
        assert (await sender.ack()).code == "AA"


async def test_a_silent_line_is_closed() -> None:
    async with open_door(idle=0.1) as port, line(port) as sender:
        assert await sender.ended()
    async with open_door(idle=0.2) as port, line(port) as sender:
        await sender.send(DISCHARGE[:100])
        assert await sender.ended()


async def test_only_so_many_connections_are_served_and_a_place_becomes_free_again() -> None:
    async with open_door(max_connections=2) as port:
        async with line(port) as first, line(port) as second:
            for each in (first, second):
                await each.send(DISCHARGE)
                assert (await each.ack()).code == "AA"
            async with line(port) as third:
                assert await third.ended()
        for _ in range(100):
            async with line(port) as fourth:
                await fourth.send(DISCHARGE)
                try:
                    assert (await fourth.ack()).code == "AA"
                    break
                except (asyncio.IncompleteReadError, ConnectionError):
                    await asyncio.sleep(0.01)
        else:
            pytest.fail("no place became free")


async def test_what_is_being_kept_when_the_service_stops_is_still_answered() -> None:
    inbox = RecordingInbox(seconds=0.2)
    async with open_door(inbox) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(DISCHARGE)
        await writer.drain()
        await asyncio.sleep(0.05)
    assert b"MSA|AA|MSG00001" in await asyncio.wait_for(reader.readuntil(END), 5)
    assert await idle_reader.read() == b""
    for each in (writer, idle_writer):
        each.close()
        await each.wait_closed()


async def test_nothing_of_a_patient_is_logged() -> None:
    with capture_logs() as logs:
        async with open_door() as port:
            for name in FILES:
                async with line(port) as sender:
                    await sender.send(framed(message(name)))
                    await sender.ack()
            async with line(port) as sender:
                await sender.send(
                    framed(message("a03_discharge.hl7", ("|A03|", "|MRN-1001|"), ("^A03^", "^MRN-1001^")))
                )
                await sender.ack()
    assert len(logs) > len(FILES)
    text = str(logs)
    for secret in ("MRN", "V-5005", "Synthia", "Test", "1988", "MSG0"):
        assert secret not in text


async def test_without_the_library_the_fault_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hl7.mllp", None)
    with pytest.raises(ConfigFault, match=r"pip install 'fhir-aftercare\[hl7v2\]'"):
        async with open_door():
            pass


async def test_an_address_that_is_taken_is_a_fault() -> None:
    async with open_door() as port:
        with pytest.raises(ConfigFault, match=f"127.0.0.1 port {port} cannot be listened on"):
            async with open_door(port=port):
                pass


async def test_over_tls_only_a_sender_with_a_certificate_of_ours_is_heard(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    listener = Listener(port=0, tls=tls_context(certificate, key, client_ca=certificate))
    known = ssl.create_default_context(cafile=certificate)
    known.load_cert_chain(certificate, key)
    stranger = ssl.create_default_context(cafile=certificate)
    inbox = RecordingInbox()
    async with listening(listener, senders(HARBOR), inbox, clock=lambda: NOW) as port:
        async with line(port, ssl=known, server_hostname="localhost") as sender:
            await sender.send(DISCHARGE)
            assert (await sender.ack()).code == "AA"
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await _heard(port, stranger)
    assert inbox.told == 1


async def _heard(port: int, context: ssl.SSLContext) -> None:
    async with line(port, ssl=context, server_hostname="localhost") as sender:
        await sender.send(DISCHARGE)
        await sender.ack()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA384())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


_PIECES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([BEGIN, END, b"\x1c", b"\r", b"MSH|^~\\&|", b"\x0b\x1c\r", DISCHARGE, DISCHARGE[:150]]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=6))
async def test_any_bytes_get_an_answer_or_a_closed_line_and_the_next_sender_is_heard(pieces: list[bytes]) -> None:
    inbox = RecordingInbox()
    async with open_door(inbox, max_message=3_000) as port:
        async with line(port) as sender:
            await sender.send(b"".join(pieces))
            sender.writer.write_eof()
            try:
                said = await asyncio.wait_for(sender.reader.read(), 5)
            except ConnectionError:
                said = b""
        for answer in said.split(END)[:-1]:
            assert answer.startswith(BEGIN + b"MSH")
            assert answer.count(b"MSA") == 1
        kept = len(inbox.taken)
        assert kept <= said.count(b"MSA|AA|") or not said
        async with line(port) as other:
            await other.send(framed(message("a13_cancel_discharge.hl7")))
            assert (await other.ack()).code == "AA"
