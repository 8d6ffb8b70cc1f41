"""No EHR can hold the service up: every answer is bounded in time and size, and read as one JSON object or not at all.

Each fault is tried on all four kinds of call: discovery, OpenID configuration, keys and tokens.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from fhir_aftercare.errors import FhirServerError, FhirUnreachable
from fhir_aftercare.smart import BoundedHttp, Limits, Registrations
from fhir_aftercare.smart.faults import AnswerRefused, EhrTimeout, EhrUnreachable, SmartFault
from smart.clinic import Clinic, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr

CALLS = ["/.well-known/smart-configuration", "/.well-known/openid-configuration", "/jwks", "/token"]
SECRETS = b'{"access_token": "Sam Doe"}'


class Dripping(httpx.AsyncByteStream):
    """A body that never ends: a byte every now and then, each well within any time limit of its own."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)


class Endless(httpx.AsyncByteStream):
    """A body that never ends, as fast as it can. ``sent`` counts its bytes."""

    def __init__(self) -> None:
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 65_536
            yield b" " * 65_536


def answering(internet: Internet, ehr: StrictEhr, path: str, answer: httpx.Response) -> None:
    base = ehr.base if "smart" in path else ehr.issuer

    async def give(_: httpx.Request) -> httpx.Response:
        return answer

    internet.answers[f"{base}{path}"] = give


@pytest.fixture
def hurried(ehr: StrictEhr, internet: Internet, clock: Clock) -> Clinic:
    return Clinic(Registrations([registered(ehr)]), internet, clock, Limits(seconds=0.1, size=50_000))


@requirement("attack", "a slow answer is cut off, however it drips")
@pytest.mark.parametrize("path", CALLS)
async def test_an_answer_that_drips_is_cut_off(hurried: Clinic, ehr: StrictEhr, path: str) -> None:
    answering(hurried.internet, ehr, path, httpx.Response(200, stream=Dripping()))
    began = time.monotonic()
    with pytest.raises(EhrTimeout):
        await hurried.sign_in(ehr)
    assert time.monotonic() - began < 2


@requirement("attack", "an oversized answer is not read to its end")
@pytest.mark.parametrize("path", CALLS)
async def test_an_answer_that_is_too_large_is_not_read(hurried: Clinic, ehr: StrictEhr, path: str) -> None:
    body = Endless()
    answering(hurried.internet, ehr, path, httpx.Response(200, stream=body))
    with pytest.raises(AnswerRefused) as refused:
        await hurried.sign_in(ehr)
    assert "larger" in refused.value.message
    assert body.sent < 200_000


@requirement("attack", "a packed answer, which may unpack to anything, is refused")
async def test_a_packed_answer_is_refused(hurried: Clinic, ehr: StrictEhr) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    answer = httpx.Response(200, content=bomb)
    answer.headers["content-encoding"] = "gzip"
    answering(hurried.internet, ehr, CALLS[0], answer)
    with pytest.raises(AnswerRefused):
        await hurried.sign_in(ehr)
    [request] = hurried.internet.requests
    assert request.headers["accept-encoding"] == "identity"


@requirement("1.1-8", "redirects are not followed: a code or secret goes to the address it was meant for", rows=(1, 6))
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", CALLS)
async def test_redirects_are_not_followed(hurried: Clinic, ehr: StrictEhr, path: str, status: int) -> None:
    answering(hurried.internet, ehr, path, httpx.Response(status, headers={"location": "https://evil.example/x"}))
    with pytest.raises(AnswerRefused):
        await hurried.sign_in(ehr)
    assert hurried.internet.asked("evil.example") == []


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sam Doe</html>",
        b"[]",
        b'"x"',
        b"null",
        b'{"issuer": NaN}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe",
        b"[" * 20_000,
        b'{"keys": "\xed\xa0\x80"}',
    ],
)
async def test_what_is_not_one_json_object_is_refused(hurried: Clinic, ehr: StrictEhr, path: str, body: bytes) -> None:
    answering(hurried.internet, ehr, path, httpx.Response(200, content=body))
    with pytest.raises(SmartFault) as refused:
        await hurried.sign_in(ehr)
    assert "Doe" not in str(refused.value)


async def test_an_answer_that_names_a_member_twice_is_refused(hurried: Clinic, ehr: StrictEhr) -> None:
    twice = b'{"access_token": "one", "access_token": "two", "token_type": "Bearer", "scope": "launch"}'
    answering(hurried.internet, ehr, "/token", httpx.Response(200, content=twice))
    with pytest.raises(AnswerRefused):
        await hurried.sign_in(ehr)


@pytest.mark.parametrize("path", CALLS[:3])
@pytest.mark.parametrize("status", [201, 204, 401, 403, 404])
async def test_a_document_that_is_not_there_is_told(hurried: Clinic, ehr: StrictEhr, path: str, status: int) -> None:
    answering(hurried.internet, ehr, path, httpx.Response(status, content=SECRETS))
    with pytest.raises(AnswerRefused) as refused:
        await hurried.sign_in(ehr)
    assert str(status) in refused.value.message


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_failing_server_may_be_asked_again(hurried: Clinic, ehr: StrictEhr, path: str, status: int) -> None:
    answering(hurried.internet, ehr, path, httpx.Response(status, content=SECRETS))
    with pytest.raises(EhrUnreachable) as fault:
        await hurried.sign_in(ehr)
    assert fault.value.http_status == status
    assert isinstance(fault.value, FhirUnreachable), "repeated as a FHIR server that cannot be reached"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (httpx.ConnectError("x"), EhrUnreachable),
        (httpx.ConnectTimeout("x"), EhrUnreachable),
        (httpx.ReadTimeout("x"), EhrTimeout),
        (httpx.RemoteProtocolError("x"), EhrTimeout),
        (httpx.ReadError("x"), EhrTimeout),
    ],
)
async def test_what_was_not_sent_is_told_apart_from_what_got_no_answer(
    raised: Exception, expected: type[SmartFault]
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise raised

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(expected) as fault:
            await BoundedHttp(client).get("https://ehr.example/fhir/x?patient=Sam", "document")
    assert isinstance(fault.value, FhirServerError)
    assert "Sam" not in json.dumps([fault.value.message, fault.value.where])


async def test_discovery_that_failed_is_tried_again_and_one_that_worked_is_kept(
    hurried: Clinic, ehr: StrictEhr
) -> None:
    answering(hurried.internet, ehr, CALLS[0], httpx.Response(503))
    with pytest.raises(EhrUnreachable):
        await hurried.depart(ehr)
    hurried.internet.answers.clear()
    await asyncio.gather(*(hurried.depart(ehr) for _ in range(20)))
    assert len(hurried.internet.asked(CALLS[0])) == 2
    hurried.discovery.forget(hurried.registrations.of_clinic("harbor"))
    await hurried.depart(ehr)
    assert len(hurried.internet.asked(CALLS[0])) == 3


async def test_a_client_that_follows_redirects_by_itself_is_not_let(ehr: StrictEhr) -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "ehr.example"
        return httpx.Response(302, headers={"location": "https://evil.example/"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(redirect), follow_redirects=True) as client:
        with pytest.raises(AnswerRefused):
            await BoundedHttp(client).post(f"{ehr.base}/token", [("code", "x")], "token request")
