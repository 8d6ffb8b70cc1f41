"""Assertions, keys and backend services (our §1.3)."""

from __future__ import annotations

import ast
import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fhir_aftercare.smart
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.smart import KeyRing, Registrations, http
from fhir_aftercare.smart.faults import EhrUnreachable, KeyFault, TokenRefused
from smart.clinic import RINGS, USER_SCOPES, Clinic, backend_of, registered
from smart.conformance import requirement

if TYPE_CHECKING:
    from smart.clinic import Clock, Internet
    from smart.strict_server import StrictEhr


@requirement(
    "1.3-21",
    "assertions are signed with RS384 and with ES384, with alg, kid and typ JWT in the header",
    rows=(307, 308, 309, 320, 321, 322, 323),
)
@pytest.mark.parametrize("alg", ["ES384", "RS384"])
async def test_assertions_are_signed_with_either_algorithm(
    ehr: StrictEhr, internet: Internet, clock: Clock, alg: str
) -> None:
    await Clinic(Registrations([registered(ehr, alg=alg)]), internet, clock).sign_in(ehr)
    [(header, _)] = ehr.gate.assertions
    assert header == {"alg": alg, "kid": RINGS[alg].signing(alg).kid, "typ": "JWT"}


@requirement("1.3-21", "a jku is sent only if it was registered, and is the registered address", rows=(301, 325))
async def test_a_jku_is_the_registered_address(ehr: StrictEhr, internet: Internet, clock: Clock) -> None:
    url = "https://app.example/.well-known/jwks.json"
    await Clinic(Registrations([registered(ehr, jwks_url=url)]), internet, clock).sign_in(ehr)
    assert ehr.gate.assertions[-1][0]["jku"] == url


@requirement(
    "1.3-22",
    "an assertion names the client twice and the token endpoint, lives five minutes at most, and is new each time",
    rows=(233, 319, 327, 328, 329, 330, 331, 332),
)
async def test_each_assertion_is_new_and_short_lived(ehr: StrictEhr, clinic: Clinic, clock: Clock) -> None:
    for _ in range(5):
        await clinic.sign_in(ehr)
    client = "app of harbor/asymmetric"
    for _, claims in ehr.gate.assertions:
        assert (claims["iss"], claims["sub"], claims["aud"]) == (client, client, ehr.token_url)
        assert isinstance(claims["exp"], int)
        assert timedelta(0) < timedelta(seconds=claims["exp"] - clock.seconds()) <= timedelta(minutes=5)
    assert len({claims["jti"] for _, claims in ehr.gate.assertions}) == 5
    assert all(len(claims["jti"]) >= 22 for _, claims in ehr.gate.assertions)


@requirement(
    "1.3-24", "a backend asks with client_credentials, its scope and its assertion", rows=(234, 235, 236, 237, 238)
)
async def test_a_backend_asks_with_client_credentials(clinic: Clinic, ehr: StrictEhr) -> None:
    backend = clinic.backend(backend_of(ehr))
    token = await backend.token()
    [form] = ehr.token_requests
    assert set(form) == {"grant_type", "scope", "client_assertion_type", "client_assertion"}
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "system/CarePlan.crus system/Encounter.rs"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    headers = {"Authorization": f"Bearer {token}"}
    assert (await clinic.http.get(f"{ehr.base}/CarePlan/1", headers=headers)).status_code == 200


@requirement("1.3-24", "only an asymmetric client is a backend", rows=(229,))
@pytest.mark.parametrize("kind", ["public", "symmetric"])
def test_only_an_asymmetric_client_is_a_backend(clinic: Clinic, ehr: StrictEhr, kind: str) -> None:
    with pytest.raises(ConfigFault):
        clinic.backend(backend_of(ehr, kind=kind))
    with pytest.raises(ConfigFault):
        clinic.backend(backend_of(ehr, scopes=USER_SCOPES))


@requirement("1.3-24", "a backend's token is cached, asked for again before it runs out, and never refreshed")
async def test_a_backends_token_is_asked_for_again_in_time(clinic: Clinic, ehr: StrictEhr, clock: Clock) -> None:
    ehr.faults.expires_in = 300
    backend = clinic.backend(backend_of(ehr))
    first = await backend.token()
    clock.move(minutes=3, seconds=59)
    assert await backend.token() == first
    clock.move(seconds=2)
    assert await backend.token() != first
    assert [form["grant_type"] for form in ehr.token_requests] == ["client_credentials"] * 2


async def test_a_token_of_half_a_minute_is_not_asked_for_before_every_call(
    clinic: Clinic, ehr: StrictEhr, clock: Clock
) -> None:
    ehr.faults.expires_in = 30
    backend = clinic.backend(backend_of(ehr))
    first = await backend.token()
    clock.move(seconds=20)
    assert await backend.token() == first
    clock.move(seconds=5)
    assert await backend.token() != first


async def test_many_who_ask_a_backend_at_once_cause_one_request(clinic: Clinic, ehr: StrictEhr) -> None:
    backend = clinic.backend(backend_of(ehr))
    assert len(set(await asyncio.gather(*(backend.token() for _ in range(50))))) == 1
    assert len(ehr.token_requests) == 1
    everybody = asyncio.Barrier(50)

    async def refused() -> str:
        await backend.token()
        await everybody.wait()
        return await backend.renew()

    assert len(set(await asyncio.gather(*(refused() for _ in range(50))))) == 1
    assert len(ehr.token_requests) == 2


async def test_a_token_refused_with_401_is_asked_for_again(clinic: Clinic, ehr: StrictEhr) -> None:
    backend = clinic.backend(backend_of(ehr))
    first = await backend.token()
    assert await backend.renew() != first
    assert await backend.renew() != first
    assert len(ehr.token_requests) == 3


async def test_after_a_failure_the_backend_asks_again(clinic: Clinic, ehr: StrictEhr) -> None:
    backend = clinic.backend(backend_of(ehr))
    ehr.faults.token_error = (400, "invalid_scope")
    with pytest.raises(TokenRefused):
        await backend.token()
    ehr.faults.token_error = (503, "x")
    with pytest.raises(EhrUnreachable):
        await backend.token()
    ehr.faults.token_error = None
    assert await backend.token()


async def test_a_backend_tells_what_it_was_not_granted(clinic: Clinic, ehr: StrictEhr) -> None:
    ehr.faults.granted = "system/CarePlan.rs"
    backend = clinic.backend(backend_of(ehr))
    assert await backend.missing() == ("system/CarePlan.cu", "system/Encounter.rs")
    assert (await backend.granted()).allows("CarePlan", "r", levels=("system",))


async def test_a_rotated_key_signs_while_the_ehr_still_knows_the_old_one(
    ehr: StrictEhr, internet: Internet, clock: Clock
) -> None:
    registration = backend_of(ehr)
    rotated = RINGS["ES384"].rotate()
    # The EHR has cached the set from before the rotation, in which the key that signs now was published as next.
    backend = Clinic(Registrations([]), internet, clock).backend(replace(registration, iss=ehr.base, keys=rotated))
    assert await backend.token()
    assert ehr.gate.assertions[-1][0]["kid"] == rotated.signing("ES384").kid != RINGS["ES384"].signing("ES384").kid


@requirement("1.1-8", "the client speaks TLS 1.2 or newer and checks certificates", rows=(230, 232, 318))
async def test_connections_need_tls_1_2_and_a_certificate() -> None:
    async with http.new_client() as client:
        context = client._transport._pool._ssl_context  # type: ignore[attr-defined]
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert not client.follow_redirects


@requirement("1.1-8", "nothing that was sent to it is executed as code", rows=(5,))
def test_nothing_is_executed_that_came_from_outside() -> None:
    forbidden = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "subprocess", "yaml"}
    for path in Path(fhir_aftercare.smart.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not forbidden & (called | imported), path.name


async def test_a_client_without_a_key_for_its_algorithm_is_refused_at_once(ehr: StrictEhr) -> None:
    with pytest.raises(ConfigFault):
        replace(registered(ehr), keys=KeyRing.new("RS384"))
    with pytest.raises(KeyFault):
        KeyRing.new("HS256")
