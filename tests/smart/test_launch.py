"""A launch: what is asked of the EHR, and what is made of its answer (SMART App Launch 2.2, client; our §1.1)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import Access, Legacy, Registrations, ScopeTable
from fhir_aftercare.smart.faults import DiscoveryFault, MalformedCallback, NotAuthorized, SmartFault, UnknownIssuer
from smart.clinic import COOKIE, REDIRECT, USER_SCOPES, Clinic, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from fhir_aftercare.smart import Departure
    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr


def asked(departure: Departure) -> dict[str, str]:
    """Give what an authorization request says."""
    if departure.method == "POST":
        return dict(departure.form)
    return {name: value for name, [value] in parse_qs(urlsplit(departure.url).query, strict_parsing=True).items()}


@requirement("1.1-1", "redirect and launch addresses are fixed, https, without a query", rows=(21,))
@pytest.mark.parametrize("field", ["redirect_uri", "launch_url", "jwks_url"])
@pytest.mark.parametrize(
    "url", ["http://app.example/x", "https://app.example/x?tenant=1", "https://app.example/#x", "/x"]
)
def test_addresses_that_cannot_be_registered_are_refused(ehr: StrictEhr, field: str, url: str) -> None:
    with pytest.raises(ConfigFault) as refused:
        registered(ehr, **{field: url})
    assert field in refused.value.message


@requirement("1.1-2", "an EHR launch needs an iss on the list; before that nothing is fetched", rows=(161,))
@pytest.mark.parametrize(
    "iss",
    [
        "https://evil.example/fhir",
        "https://ehr.example.evil.example/fhir",
        "https://ehr.example@evil.example/fhir",
        "https://ehr.example/fhir/../other",
        "https://ehr.example/fhir/%2e%2e/other",
        "https://ehr.example/fhir?x=1",
        "https://ehr.example:8443/fhir",
        "http://ehr.example/fhir",
        "https://EHR.example/FHIR",
        "https://ehr.example\\@evil.example/fhir",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "",
    ],
)
async def test_an_unknown_iss_is_refused_before_anything_is_fetched(clinic: Clinic, iss: str) -> None:
    with pytest.raises(UnknownIssuer):
        await clinic.launcher.from_ehr([("iss", iss), ("launch", "x")], session=COOKIE)
    assert clinic.internet.requests == []


@pytest.mark.parametrize(
    "iss", ["https://EHR.example/fhir", "https://ehr.example:443/fhir", "https://ehr.example/fhir/"]
)
async def test_the_same_iss_spelled_otherwise_is_known(clinic: Clinic, ehr: StrictEhr, iss: str) -> None:
    departure = await clinic.launcher.from_ehr([("iss", iss), ("launch", ehr.open_chart())], session=COOKIE)
    assert asked(departure)["aud"] == iss


@pytest.mark.parametrize(
    "pairs", [[("iss", "x"), ("iss", "https://ehr.example/fhir"), ("launch", "x")], [("launch", "x")]]
)
async def test_a_launch_without_one_iss_is_refused(clinic: Clinic, pairs: list[tuple[str, str]]) -> None:
    with pytest.raises((MalformedCallback, UnknownIssuer)):
        await clinic.launcher.from_ehr(pairs, session=COOKIE)


async def test_an_ehr_launch_without_launch_is_refused(clinic: Clinic, ehr: StrictEhr) -> None:
    with pytest.raises(MalformedCallback):
        await clinic.launcher.from_ehr([("iss", ehr.base)], session=COOKIE)


@requirement("1.1-3", "alone, no launch is sent and the context is asked for", rows=(36, 150, 151, 152, 153, 166))
async def test_a_standalone_launch_asks_for_its_context(clinic: Clinic) -> None:
    departure = await clinic.launcher.standalone("harbor", session=COOKIE)
    request = asked(departure)
    assert "launch" not in request
    assert {"launch/patient", "launch/encounter"} < set(request["scope"].split())
    assert "launch" not in request["scope"].split()
    arrived = await clinic.launcher.finish(await clinic.browser(departure), session=COOKIE)
    assert (arrived.context.patient, arrived.context.encounter) == ("pat-7", "enc-9")


@requirement("1.1-3", "context scopes are in lower case and may name a role", rows=(155, 156))
def test_context_scopes_are_lower_case_with_one_role_each() -> None:
    table = ScopeTable(
        (Access("user", "Patient", "r"),), context=("DiagnosticReport", "List?role=https://x.example/Home")
    )
    assert table.for_launch(2, from_ehr=True).split()[:3] == [
        "launch",
        "launch/diagnosticreport",
        "launch/list?role=https://x.example/Home",
    ]


@requirement("1.1-4", "the configuration is read from the FHIR base, as JSON, once in its TTL", rows=(29, 226, 227))
async def test_discovery_is_one_get_below_the_fhir_base(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    await clinic.depart(ehr)
    await clinic.depart(ehr)
    [request] = clinic.internet.requests
    assert (request.method, str(request.url)) == ("GET", f"{ehr.base}/.well-known/smart-configuration")
    assert request.headers["accept"] == "application/json"
    clock.move(hours=1)
    await clinic.depart(ehr)
    assert len(clinic.internet.requests) == 2


@requirement("1.1-4", "relative addresses are resolved against the FHIR base", rows=(379,))
@pytest.mark.parametrize(
    ("written", "meant"), [("auth", "https://ehr.example/fhir/auth"), ("/auth", "https://ehr.example/auth")]
)
async def test_relative_endpoints_are_below_the_fhir_base(
    clinic: Clinic, ehr: StrictEhr, written: str, meant: str
) -> None:
    ehr.faults.config = {"authorization_endpoint": written}
    assert (await clinic.depart(ehr)).url.startswith(f"{meant}?")


async def test_a_capability_statement_is_read_only_for_an_ehr_flagged_as_that_old(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    async def none(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    internet.answers[f"{ehr.base}/.well-known"] = none
    clinic = Clinic(Registrations([registered(ehr)]), internet, clock)
    with pytest.raises(SmartFault):
        await clinic.depart(ehr)
    assert internet.asked("metadata") == []

    old = registered(ehr, legacy=frozenset({Legacy.OAUTH_URIS}), openid_issuer=ehr.issuer)
    clinic = Clinic(Registrations([old]), internet, clock)
    assert (await clinic.sign_in(ehr)).context.patient == "pat-1"


@requirement(
    "1.1-5",
    "the authorization request holds all it must, and no more",
    rows=(3, 32, 33, 34, 35, 37, 41, 42, 44, 45, 47, 211, 317),
)
async def test_the_authorization_request_holds_what_it_must(clinic: Clinic, ehr: StrictEhr) -> None:
    launch = ehr.open_chart(patient="pat-1")
    request = asked(await clinic.launcher.from_ehr([("iss", ehr.base), ("launch", launch)], session=COOKIE))
    always = {"response_type", "client_id", "redirect_uri", "scope", "state", "aud", "launch", "nonce"}
    assert set(request) == always | {"code_challenge", "code_challenge_method"}
    assert request["response_type"] == "code"
    assert request["client_id"] == "app of harbor/asymmetric"
    assert request["redirect_uri"] == REDIRECT
    assert request["aud"] == ehr.base
    assert request["launch"] == launch
    assert request["code_challenge_method"] == "S256"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", request["code_challenge"])
    assert {"openid", "fhirUser", "launch", "online_access"} < set(request["scope"].split())


@requirement("1.1-5", "it is sent by GET, or where it is long and the EHR allows it, by POST", rows=(50, 51, 52))
async def test_a_long_request_is_posted_where_the_ehr_takes_that(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    many = tuple(Access("user", "Observation", "rs", (("category", f"c{n}" * 10),)) for n in range(60))
    clinic = Clinic(Registrations([registered(ehr, scopes=ScopeTable(many))]), internet, clock)
    departure = await clinic.depart(ehr)
    assert departure.method == "POST"
    assert "?" not in departure.url
    assert (await clinic.launcher.finish(await clinic.browser(departure), session=COOKIE)).missing == ()

    ehr.faults.config = {"capabilities": ["permission-v2"]}
    clinic = Clinic(clinic.registrations, internet, clock)
    assert (await clinic.depart(ehr)).method == "GET"


@requirement("1.1-6", "every launch uses PKCE with S256, whatever kind the client is", rows=(13, 70))
@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_every_kind_of_client_uses_pkce(ehr: StrictEhr, internet: Internet, clock: Clock, kind: str) -> None:
    clinic = Clinic(Registrations([registered(ehr, kind=kind)]), internet, clock)
    departure = await clinic.depart(ehr)
    await clinic.launcher.finish(await clinic.browser(departure), session=COOKIE)
    verifier = ehr.token_requests[-1]["code_verifier"]
    assert re.fullmatch(r"[A-Za-z0-9\-._~]{43,128}", verifier)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert challenge == asked(departure)["code_challenge"]


@requirement("1.1-6", "an EHR that does not name S256 is refused, unless it is flagged as that old", rows=(13,))
async def test_an_ehr_without_s256_is_refused_unless_flagged(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    ehr.faults.config = {"code_challenge_methods_supported": ["plain"]}
    with pytest.raises(DiscoveryFault):
        await Clinic(Registrations([registered(ehr)]), internet, clock).depart(ehr)
    old = registered(ehr, legacy=frozenset({Legacy.NO_S256}))
    assert (await Clinic(Registrations([old]), internet, clock).sign_in(ehr)).context.patient == "pat-1"


@requirement("1.1-7", "state is unpredictable, 256 random bits, new for each launch", rows=(2, 39, 40))
async def test_states_are_long_and_never_the_same(clinic: Clinic, ehr: StrictEhr) -> None:
    requests = [asked(await clinic.depart(ehr)) for _ in range(50)]
    for secret in ("state", "nonce", "code_challenge"):
        values = {request[secret] for request in requests}
        assert len(values) == 50
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", value) for value in values)


@requirement("1.1-8", "secrets go only over TLS to servers with a certificate", rows=(1, 230, 232, 318))
@pytest.mark.parametrize("name", ["token_endpoint", "authorization_endpoint", "revocation_endpoint", "issuer"])
async def test_an_endpoint_without_tls_is_refused(clinic: Clinic, ehr: StrictEhr, name: str) -> None:
    ehr.faults.config = {name: "http://login.ehr.example/x"}
    with pytest.raises(SmartFault):
        await clinic.depart(ehr)


@requirement("1.1-9", "each error of the authorization server is told, with its remedy and without its words")
@pytest.mark.parametrize(
    "error",
    [
        "access_denied",
        "invalid_request",
        "unauthorized_client",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "interaction_required",
        "login_required",
        "account_selection_required",
        "consent_required",
    ],
)
async def test_each_error_code_is_told_with_a_remedy(clinic: Clinic, ehr: StrictEhr, error: str) -> None:
    ehr.faults.authorize_error = error
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(NotAuthorized) as refused:
        await clinic.launcher.finish(callback, session=COOKIE)
    assert refused.value.error == error
    assert refused.value.remedy
    assert "Sam Doe" not in json.dumps([refused.value.message, refused.value.remedy, refused.value.where])


async def test_an_error_nobody_knows_is_not_repeated(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.authorize_error = "<script>alert(1)</script>"
    callback = await clinic.browser(await clinic.depart(ehr))
    with pytest.raises(NotAuthorized) as refused:
        await clinic.launcher.finish(callback, session=COOKIE)
    assert refused.value.error == "unknown"
    assert "script" not in refused.value.message


@requirement("1.1-10", "an answer that names its server is taken only from the one asked (RFC 9207)")
async def test_the_answering_server_is_the_one_that_was_asked(clinic: Clinic, ehr: StrictEhr) -> None:
    assert (await clinic.sign_in(ehr)).clinic == "harbor"
    for named in ("https://login.other.example", ""):
        ehr.faults.callback = {"iss": named}
        callback = await clinic.browser(await clinic.depart(ehr))
        with pytest.raises(SmartFault) as refused:
            await clinic.launcher.finish(callback, session=COOKIE)
        assert refused.value.code == "smart-mixed-up"
    assert len(ehr.token_requests) == 1


async def test_a_server_that_never_promised_to_name_itself_need_not(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.config = {"authorization_response_iss_parameter_supported": None}
    ehr.faults.callback = {"iss": ""}
    assert (await clinic.sign_in(ehr)).context.patient == "pat-1"


async def test_clinics_that_share_an_ehr_are_told_apart_by_the_launch_address(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    both = Registrations([registered(ehr, clinic="harbor"), registered(ehr, clinic="hill")])
    clinic = Clinic(both, internet, clock)
    launch = [("iss", ehr.base), ("launch", ehr.open_chart())]
    with pytest.raises(UnknownIssuer):
        await clinic.launcher.from_ehr(launch, session=COOKIE)
    departure = await clinic.launcher.from_ehr(launch, session=COOKIE, clinic="hill")
    assert departure.clinic == "hill"
    with pytest.raises(UnknownIssuer):
        await clinic.launcher.from_ehr(launch, session=COOKIE, clinic="elsewhere")


def test_all_faults_of_a_registration_are_told_at_once(ehr: StrictEhr) -> None:
    with pytest.raises(ConfigFault) as refused:
        registered(ehr, kind="symmetric", client_id=" ", redirect_uri="x", alg="ES384", openid_issuer="ftp://x")
    assert len(refused.value.faults) == 3
    assert USER_SCOPES.identity
