"""Our API behind a real authorization server: private_key_jwt, introspection, revocation, replay, new keys."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from api.service import Service, problem_of, running
from fhir_aftercare.api import scopes
from fhir_aftercare.smart import scopes as smart_scopes
from fhir_aftercare.smart.assertion import TYPE, client_assertion
from fhir_aftercare.smart.backend import BackendTokens
from fhir_aftercare.smart.bearer import BearerTokens, Trust
from fhir_aftercare.smart.bearer_faults import TokenRejected
from fhir_aftercare.smart.discovery import SmartConfiguration
from fhir_aftercare.smart.http import BoundedHttp, new_client
from fhir_aftercare.smart.introspection import REMEMBERED, Introspection, IntrospectionClient
from fhir_aftercare.smart.keys import KeyRing
from fhir_aftercare.smart.registration import ClientRegistration
from fhir_aftercare.smart.scopes import ScopeTable
from fhir_aftercare.smart.tokens import TokenEndpoint
from keycloak import ADMIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keycloak import Keycloak, Realm
    from servers import Server

pytestmark = pytest.mark.keycloak

AUDIENCE = "https://aftercare.harbor-clinic.com"
SMART = ("system/CarePlan.cu", "system/Task.cu", "system/Encounter.rs")
SECRET = "introspection-secret"


@dataclass(frozen=True)
class Party:
    """The realm, and the key rings of the portal that calls us and of our service itself."""

    realm: Realm
    portal: KeyRing
    ours: KeyRing

    async def ask(self, client: str, scope: str, *, assertion: str | None = None, **more: str) -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": TYPE,
            "client_assertion": assertion or self.assertion(client),
            **more,
        }
        async with httpx.AsyncClient(timeout=60) as http:
            return await http.post(self.realm.token_endpoint, data=form)

    def registration(self, client: str, *scope: str) -> ClientRegistration:
        return ClientRegistration(
            clinic="harbor",
            iss=self.realm.issuer,
            client_id=client,
            kind="asymmetric",
            scopes=ScopeTable(smart_scopes.parse(" ".join(scope)).access, context=(), identity=False),
            keys=self.portal,
        )

    def assertion(self, client: str) -> str:
        return client_assertion(self.registration(client), self.realm.token_endpoint, datetime.now(UTC))

    async def of(self, registration: ClientRegistration) -> SmartConfiguration:
        """Stand for what Keycloak has none of: ``.well-known/smart-configuration``."""
        return SmartConfiguration(
            iss=registration.iss,
            token_endpoint=self.realm.token_endpoint,
            revocation_endpoint=self.realm.revocation_endpoint,
            capabilities=frozenset({"permission-v2"}),
        )

    async def token(self, client: str = "portal", scope: str = "aftercare/plans.read") -> str:
        answer = await self.ask(client, scope)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def revoke(self, token: str) -> None:
        form = {"token": token, "client_assertion_type": TYPE, "client_assertion": self.assertion("portal")}
        async with httpx.AsyncClient(timeout=60) as http:
            assert (await http.post(self.realm.revocation_endpoint, data=form)).status_code == 200


@pytest.fixture(scope="module")
def party(keycloak: Keycloak) -> Party:
    realm = keycloak.realm(f"clinics-{uuid.uuid4().hex[:8]}")
    portal, ours = KeyRing.new("ES384"), KeyRing.new("ES384")
    names = [*(each.scope for each in scopes.PERMISSIONS), *SMART]
    for name in names:
        realm.scope(name)
    known: dict[str, Any] = {"jwks": portal.public_jwks(), "scopes": names, "audience": AUDIENCE}
    realm.client("portal", claims={"clinic": "harbor"}, **known)
    realm.client("group", claims={"clinic": ["quay", "harbor"]}, **known)
    realm.client("old", claims={"clinic": "harbor"}, rfc9068=False, **known)
    realm.client("elsewhere", claims={"clinic": "harbor"}, **{**known, "audience": "https://other.example"})
    realm.client("aftercare", secret=SECRET)
    realm.client("aftercare-by-key", jwks=ours.public_jwks())
    return Party(realm, portal, ours)


@pytest.fixture
async def service(party: Party, sandbox: Server, tmp_path: Path) -> AsyncIterator[Service]:
    settings = {"auth_issuers": party.realm.issuer, "auth_audience": AUDIENCE}
    async with running(sandbox, tmp_path, settings=settings) as made:
        yield made


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Ahead:
    """The real time, moved on."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by


def checking(party: Party, http: httpx.AsyncClient, now: Ahead, *, by_key: bool, **trust: Any) -> BearerTokens:
    us = IntrospectionClient(
        issuer=party.realm.issuer,
        endpoint=party.realm.introspection_endpoint,
        client_id="aftercare-by-key" if by_key else "aftercare",
        secret=None if by_key else SECRET,
        keys=(lambda: party.ours) if by_key else None,
    )
    trusted = Trust(issuers=(party.realm.issuer,), audience=AUDIENCE, permissions=scopes.WAYS, **trust)
    bounded = BoundedHttp(http)
    return BearerTokens(trusted, bounded, introspection=Introspection(us, bounded, now=now), revocable=True, now=now)


async def test_a_backend_service_calls_the_api(party: Party, service: Service) -> None:
    token = await party.token(scope="aftercare/plans.read")
    assert (await service.get("/worklist", headers=bearing(token))).status_code == 200
    answer = await service.post("/discharges/batch", {"discharges": []}, headers=bearing(token))
    problem_of(answer, 403, "forbidden")
    assert 'scope="aftercare/events.write"' in answer.headers["www-authenticate"]


async def test_our_own_backend_client_gets_tokens_renews_them_and_hands_them_back(
    party: Party, service: Service
) -> None:
    registration = party.registration("portal", *SMART)
    async with new_client() as http:
        endpoint = TokenEndpoint(BoundedHttp(http))
        backend = BackendTokens(registration, party, endpoint)  # type: ignore[arg-type]
        first = await backend.token()
        assert await backend.token() == first
        assert await backend.missing() == ()
        second = await backend.renew()
        assert second != first
        for token in (first, second):
            answer = await service.post("/discharges/batch", {"discharges": []}, headers=bearing(token))
            problem_of(answer, 422, "invalid-request")
        kept = backend._tokens
        assert kept
        assert await endpoint.revoke(registration, await party.of(registration), kept)


async def test_a_revoked_token_is_refused_by_a_service_that_asks_and_by_no_other(
    party: Party, service: Service, sandbox: Server, tmp_path: Path
) -> None:
    token = await party.token()
    await party.revoke(token)
    assert (await service.get("/worklist", headers=bearing(token))).status_code == 200
    (tmp_path / "careful").mkdir()
    settings = {
        "auth_issuers": party.realm.issuer,
        "auth_audience": AUDIENCE,
        "auth_introspect": "all",
        "auth_introspection_url": party.realm.introspection_endpoint,
        "auth_introspection_client": "aftercare",
        "auth_introspection_secret": SECRET,
    }
    async with running(sandbox, tmp_path / "careful", settings=settings) as careful:
        refused = await careful.get("/worklist", headers=bearing(token))
        assert problem_of(refused, 401, "unauthenticated")["where"] == ["active"]
        answer = await careful.get("/worklist", headers=bearing(await party.token()))
        assert answer.status_code == 200, answer.text


async def test_smart_scopes_of_the_server_open_what_comes_to_the_same(party: Party, service: Service) -> None:
    token = await party.token(scope=" ".join(SMART))
    answer = await service.post("/discharges/batch", {"discharges": []}, headers=bearing(token))
    problem_of(answer, 422, "invalid-request")
    problem_of(await service.get("/worklist", headers=bearing(token)), 403, "forbidden")


async def test_the_clinic_of_the_claim_is_the_one_that_opens(party: Party, service: Service) -> None:
    token = await party.token("group")
    assert (await service.get("/worklist", headers=bearing(token))).status_code == 200
    problem_of(await service.get("/worklist", clinic="quay", headers=bearing(token)), 404, "not-found")
    problem_of(await service.get("/worklist", clinic="pier", headers=bearing(token)), 403, "forbidden")


async def test_a_token_for_another_api_or_realm_or_none_is_refused(
    party: Party, service: Service, keycloak: Keycloak
) -> None:
    refused = await service.get("/worklist", headers=bearing(await party.token("elsewhere")))
    assert problem_of(refused, 401, "unauthenticated")["where"] == ["aud"]
    form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN[0], "password": ADMIN[1]}
    async with httpx.AsyncClient(timeout=60) as http:
        master = await http.post(f"{keycloak.base_url}/realms/master/protocol/openid-connect/token", data=form)
    for name, where in (("access_token", "typ"), ("refresh_token", "alg")):
        refused = await service.get("/worklist", headers=bearing(master.json()[name]))
        assert problem_of(refused, 401, "unauthenticated")["where"] == [where]


async def test_a_server_that_calls_its_tokens_jwt_needs_a_setting(
    party: Party, service: Service, sandbox: Server, tmp_path: Path
) -> None:
    token = await party.token("old")
    refused = await service.get("/worklist", headers=bearing(token))
    assert problem_of(refused, 401, "unauthenticated")["where"] == ["typ"]
    (tmp_path / "plain").mkdir()
    settings = {"auth_issuers": party.realm.issuer, "auth_audience": AUDIENCE, "auth_plain_jwt": True}
    async with running(sandbox, tmp_path / "plain", settings=settings) as plain:
        assert (await plain.get("/worklist", headers=bearing(token))).status_code == 200


async def test_an_assertion_is_good_once(party: Party) -> None:
    assertion = party.assertion("portal")
    assert (await party.ask("portal", "aftercare/plans.read", assertion=assertion)).status_code == 200
    again = await party.ask("portal", "aftercare/plans.read", assertion=assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_client")


async def test_a_scope_nobody_knows_is_not_given(party: Party) -> None:
    answer = await party.ask("portal", "aftercare/everything")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


async def test_a_revoked_token_ends_within_half_a_minute(party: Party) -> None:
    token, now = await party.token(), Ahead()
    async with new_client() as http:
        bearer = checking(party, http, now, by_key=False)
        assert (await bearer.caller(token)).client == "portal"
        assert (await checking(party, http, now, by_key=True).caller(token)).client == "portal"
        await party.revoke(token)
        # Asked with a key by a clock that is ahead, Keycloak refuses: an assertion of the future is none.
        for careful, ahead in ((checking(party, http, now, by_key=True), timedelta(0)), (bearer, REMEMBERED)):
            now.by = ahead
            with pytest.raises(TokenRejected) as fault:
                await careful.caller(token)
            assert fault.value.where == ("active",)
        await bearer.close()


async def test_what_introspection_says_is_enough_for_an_opaque_token(party: Party) -> None:
    """Keycloak's tokens are all signed; its answer is read as for one that is not."""
    token, now = await party.token(scope="aftercare/plans.write"), Ahead()
    async with new_client() as http:
        bearer = checking(party, http, now, by_key=True)
        assert bearer._introspection
        claims = await bearer._introspection.claims(token)
        bearer._check(claims, bearer._told_claims)
        caller = bearer._caller(claims, party.realm.issuer)
        assert (caller.client, caller.clinics) == ("portal", {"harbor"})
        assert caller.permissions == {"aftercare/plans.write", "aftercare/events.write"}
        with pytest.raises(TokenRejected):
            await bearer.caller("made-up")
        await bearer.close()


async def test_a_new_key_of_the_server_is_found_at_once(party: Party, keycloak: Keycloak) -> None:
    now = Ahead()
    async with new_client() as http:
        bearer = checking(party, http, now, by_key=False)
        await bearer.caller(await party.token())
        keycloak.renew()
        party.realm.create(
            "components",
            name="newer",
            providerId="rsa-generated",
            providerType="org.keycloak.keys.KeyProvider",
            config={"priority": ["1000"], "algorithm": ["RS256"], "keySize": ["2048"]},
        )
        token = await party.token()
        with pytest.raises(TokenRejected):
            await bearer.caller(token)  # the keys were read less than a minute ago
        now.by = timedelta(minutes=1)
        assert (await bearer.caller(token)).client == "portal"
        await bearer.close()
