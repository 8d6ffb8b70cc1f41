"""Tokens: how they are asked for, what is believed of an answer, how they are kept and handed back (our §1.2)."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fhir_aftercare.smart import LaunchSession, Legacy, Registrations, SessionTokens, TokenSet, addresses, scopes
from fhir_aftercare.smart.faults import DiscoveryFault, SmartFault, TokenMalformed, TokenRefused
from smart.clinic import COOKIE, REDIRECT, Clinic, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr


@requirement("1.2-11", "a code is traded by a form POST that repeats the redirect URI", rows=(62, 67, 68, 69, 70))
async def test_a_code_is_traded_by_a_form_post(clinic: Clinic, ehr: StrictEhr) -> None:
    callback = await clinic.browser(await clinic.depart(ehr))
    await clinic.launcher.finish(callback, session=COOKIE)
    [request] = clinic.internet.asked(ehr.token_url)
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    [form] = ehr.token_requests
    assert form["grant_type"] == "authorization_code"
    assert form["code"] == dict(callback)["code"]
    assert form["redirect_uri"] == REDIRECT


@requirement("1.2-11", "a public client sends its client_id in the form and proves nothing", rows=(63, 71))
async def test_a_public_client_names_itself_in_the_form(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    await Clinic(Registrations([registered(ehr, kind="public")]), internet, clock).sign_in(ehr)
    [form], [request] = ehr.token_requests, internet.asked(ehr.token_url)
    assert form["client_id"] == "app of harbor/public"
    assert "authorization" not in request.headers
    assert not {"client_secret", "client_assertion"} & set(form)


@requirement("1.2-11", "a symmetric client uses HTTP Basic and no client_id in the form", rows=(23, 64, 72, 345))
async def test_a_symmetric_client_uses_http_basic(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    await Clinic(Registrations([registered(ehr, kind="symmetric")]), internet, clock).sign_in(ehr)
    [form], [request] = ehr.token_requests, internet.asked(ehr.token_url)
    assert not {"client_id", "client_secret", "client_assertion"} & set(form)
    scheme, _, packed = request.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    # RFC 6749 §2.3.1: each half is form-encoded, so that a colon in it cannot be mistaken.
    assert base64.b64decode(packed) == b"app+of+harbor%2Fsymmetric:s3cret+with%3A+%26+%25"


@requirement("1.2-11", "an asymmetric client sends an assertion and no client_id", rows=(22, 64, 72, 333, 334))
async def test_an_asymmetric_client_sends_an_assertion(clinic: Clinic, ehr: StrictEhr) -> None:
    await clinic.sign_in(ehr)
    [form], [request] = ehr.token_requests, clinic.internet.asked(ehr.token_url)
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert form["client_assertion"].count(".") == 2
    assert "client_id" not in form
    assert "authorization" not in request.headers


@requirement("1.2-12", "what was asked for and not granted is told, never assumed")
async def test_what_was_not_granted_is_told(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.granted = "launch openid fhirUser user/Patient.rs user/CarePlan.rs user/Observation.read"
    arrived = await clinic.sign_in(ehr)
    assert arrived.missing == ("online_access", "user/CarePlan.cu", "user/Observation.c?category=survey")
    assert not arrived.tokens.granted.allows("CarePlan", "c")
    assert arrived.tokens.granted.allows("CarePlan", "s")


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"access_token": None}, "access_token"),
        ({"access_token": ["x"]}, "access_token"),
        ({"access_token": "with space"}, "access_token"),
        ({"access_token": "line\r\nX-Injected: 1"}, "access_token"),
        ({"access_token": ""}, "access_token"),
        ({"access_token": "x" * 20_000}, "access_token"),
        ({"token_type": None}, "token_type"),
        ({"token_type": "mac"}, "token_type"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"scope": None}, "scope"),
        ({"scope": ["openid"]}, "scope"),
        ({"scope": 'x"y'}, "scope"),
        ({"refresh_token": 7}, "refresh_token"),
    ],
)
async def test_a_token_answer_that_breaks_the_rules_is_refused_by_name(
    clinic: Clinic, ehr: StrictEhr, members: dict[str, Any], named: str
) -> None:
    ehr.faults.token = members
    with pytest.raises(TokenMalformed) as refused:
        await clinic.sign_in(ehr)
    assert refused.value.where == (named,)
    assert "Injected" not in str(refused.value)


async def test_a_lifetime_written_as_text_or_left_out_is_understood(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    ehr.faults.token = {"expires_in": "1800", "token_type": "bearer"}
    assert (await clinic.sign_in(ehr)).tokens.expires_at == clock() + timedelta(minutes=30)
    ehr.faults.token = {"expires_in": None}
    assert (await clinic.sign_in(ehr)).tokens.expires_at == clock() + timedelta(minutes=5)


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "invalid_scope", "Sam Doe"])
async def test_a_refusal_is_told_with_a_remedy_and_without_the_servers_words(
    clinic: Clinic, ehr: StrictEhr, error: str
) -> None:
    ehr.faults.token_error = (400, error)
    with pytest.raises(TokenRefused) as refused:
        await clinic.sign_in(ehr)
    assert refused.value.error == ("unknown" if error == "Sam Doe" else error)
    assert refused.value.remedy
    assert "Doe" not in f"{refused.value} {refused.value.where} {refused.value.remedy}"


@requirement("1.2-16", "patient, encounter, fhirContext, intent, banner and tenant are read", rows=(191,))
async def test_the_launch_context_is_read(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(
        ehr,
        patient="pat-1",
        encounter="enc-1",
        fhirContext=[
            {"reference": "DiagnosticReport/9"},
            {
                "canonical": "https://x.example/Questionnaire/phq9|1",
                "role": "https://x.example/role",
                "type": "Questionnaire",
            },
            {"reference": "https://elsewhere.example/fhir/List/3"},
            {"identifier": {"system": "urn:x", "value": "7"}, "type": "ServiceRequest"},
        ],
        intent="review-aftercare",
        need_patient_banner=False,
        smart_style_url=f"{ehr.base}/style.json",
        tenant="t-1",
    )
    context = arrived.context
    assert (context.patient, context.encounter, context.intent, context.tenant) == (
        "pat-1",
        "enc-1",
        "review-aftercare",
        "t-1",
    )
    assert context.need_patient_banner is False
    assert context.smart_style_url == f"{ehr.base}/style.json"
    assert [item.role for item in context.items] == ["launch", "https://x.example/role", "launch", "launch"]
    assert [item.is_local for item in context.items] == [True, False, False, False]


async def test_without_a_word_on_it_the_banner_is_drawn_and_the_view_is_the_default(
    clinic: Clinic, ehr: StrictEhr
) -> None:
    context = (await clinic.sign_in(ehr, patient="pat-1")).context
    assert context.need_patient_banner is True
    assert (context.encounter, context.intent, context.items) == (None, None, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patient", 7),
        ("patient", "Patient/7"),
        ("patient", ".."),
        ("patient", "7/../8"),
        ("encounter", ["x"]),
        ("need_patient_banner", "true"),
        ("intent", {"x": 1}),
        ("tenant", "x" * 2000),
        ("fhirContext", {"reference": "X/1"}),
        ("fhirContext", [{}]),
        ("fhirContext", ["Patient/1"]),
        ("fhirContext", [{"reference": 1}]),
        ("fhirContext", [{"identifier": "x"}]),
    ],
)
async def test_a_context_that_cannot_be_used_ends_the_launch(
    clinic: Clinic, ehr: StrictEhr, name: str, value: object
) -> None:
    with pytest.raises(SmartFault) as refused:
        await clinic.sign_in(ehr, **{name: value})
    assert refused.value.code == "smart-context"
    assert refused.value.where == (name,)
    assert len(ehr.revoked) == 2, "tokens that are not kept are handed back"


@requirement("1.2-18", "sign-out revokes the refresh token and the access token, and forgets both")
async def test_signing_out_revokes_both_tokens(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    assert await clinic.sessions.end(arrived.launch_id) is True
    assert ehr.revoked == [arrived.tokens.refresh_token, arrived.tokens.access_token]
    with pytest.raises(SmartFault) as over:
        await clinic.sessions.of(arrived.launch_id)
    assert over.value.code == "smart-session-over"
    assert await clinic.sessions.end(arrived.launch_id) is False


@requirement("1.2-18", "the session is over here even if the EHR does not take the tokens back")
async def test_signing_out_works_even_if_revocation_fails(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    ehr.faults.refuse_revocation = True
    with pytest.raises(SmartFault):
        await clinic.sessions.end(arrived.launch_id)
    assert await clinic.store.get(arrived.launch_id) is None


async def test_an_ehr_that_cannot_revoke_is_not_asked(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    ehr.faults.config = {"revocation_endpoint": None}
    clinic = Clinic(Registrations([registered(ehr)]), internet, clock)
    arrived = await clinic.sign_in(ehr)
    assert await clinic.sessions.end(arrived.launch_id) is False
    assert internet.asked("/revoke") == []


async def test_all_sessions_of_a_clinic_can_be_found_to_end_them(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = [await clinic.sign_in(ehr) for _ in range(3)]
    assert set(await clinic.store.of_clinic("harbor")) == {session.launch_id for session in arrived}
    assert await clinic.store.of_clinic("hill") == []


@requirement("1.2-19", "the token goes to the FHIR base as a bearer header", rows=(93, 264))
async def test_the_token_opens_the_fhir_base(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr)
    token = await SessionTokens(clinic.sessions, arrived.launch_id).token()
    url = f"{ehr.base}/Patient/pat-1"
    assert (await clinic.http.get(url)).status_code == 401
    assert (await clinic.http.get(url, headers={"Authorization": f"Bearer {token}"})).status_code == 200


@requirement("1.1-8", "tokens show in no repr, no address and nothing a browser is given", rows=(7,))
async def test_secrets_show_nowhere(clinic: Clinic, ehr: StrictEhr) -> None:
    departure = await clinic.depart(ehr)
    callback = await clinic.browser(departure)
    arrived = await clinic.launcher.finish(callback, session=COOKIE)
    secrets = [arrived.tokens.access_token, arrived.tokens.refresh_token, dict(callback)["code"]]
    secrets.append(ehr.token_requests[-1]["code_verifier"])
    shown = f"{departure} {arrived!r} {clinic.registrations.of_clinic('harbor')!r}"
    shown += "".join(str(request.url) for request in clinic.internet.requests)
    assert not [secret for secret in secrets if secret and secret in shown]
    assert COOKIE not in repr(clinic.launches._records)


async def test_a_session_survives_being_stored_as_json(clinic: Clinic, ehr: StrictEhr) -> None:
    arrived = await clinic.sign_in(ehr, patient="pat-1", fhirContext=[{"reference": "List/1"}])
    assert LaunchSession.from_dict(arrived.to_dict()) == arrived


async def test_a_secret_never_reaches_another_ehrs_endpoint(clinic: Clinic, ehr: StrictEhr) -> None:
    registration = clinic.registrations.of_clinic("harbor")
    configuration = await clinic.discovery.of(registration)
    other = replace(registration, iss="https://other.example/fhir", legacy=frozenset({Legacy.NO_S256}))
    tokens = TokenSet("a", clinic.clock(), scopes.parse(""), "r")
    sent = len(clinic.internet.requests)
    with pytest.raises(DiscoveryFault):
        await clinic.endpoint.refresh(other, configuration, tokens)
    assert len(clinic.internet.requests) == sent


@requirement("1.2-19", "next links and references are followed only inside the FHIR base")
@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("https://ehr.example/fhir", True),
        ("https://ehr.example/fhir/Patient?_page=2", True),
        ("https://EHR.example:443/fhir/Patient", True),
        ("https://ehr.example/fhirs/Patient", False),
        ("https://ehr.example/fhir/../admin", False),
        ("https://ehr.example/fhir/%2e%2e/admin", False),
        ("https://ehr.example/fhir/..%5cadmin", False),
        ("https://ehr.example:444/fhir/Patient", False),
        ("http://ehr.example/fhir/Patient", False),
        ("https://ehr.example@evil.example/fhir/", False),
        ("https://user@ehr.example/fhir/", False),
        ("https://evil.example/fhir/", False),
        ("//evil.example/fhir", False),
        ("https://ehr.example\t/fhir", False),
    ],
)
def test_only_addresses_inside_the_fhir_base_may_be_followed(url: str, inside: bool) -> None:
    assert addresses.within("https://ehr.example/fhir", url) is inside


async def test_a_failing_ehr_is_told_apart_from_a_refusing_one(clinic: Clinic, ehr: StrictEhr) -> None:
    async def busy(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"error": "invalid_grant"})

    clinic.internet.answers[ehr.token_url] = busy
    with pytest.raises(SmartFault) as fault:
        await clinic.sign_in(ehr)
    assert (fault.value.code, fault.value.status, fault.value.issue) == ("smart-unreachable", 503, "transient")
