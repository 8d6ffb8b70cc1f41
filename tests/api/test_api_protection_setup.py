"""How protection is set up: settings with all their faults at once, the well-known addresses, the key file."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from structlog.testing import capture_logs

from fhir_aftercare.api import scopes
from fhir_aftercare.api.security import Protection
from fhir_aftercare.config import Settings, read_settings
from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.service import _KeyFile, create_app
from fhir_aftercare.smart.assertion import client_assertion
from fhir_aftercare.smart.faults import KeyFault
from fhir_aftercare.smart.keys import KeyRing
from fhir_aftercare.smart.registration import ClientRegistration
from fhir_aftercare.smart.scopes import ScopeTable

if TYPE_CHECKING:
    from pathlib import Path

ISSUER, AUDIENCE = "https://login.example", "https://aftercare.harbor-clinic.com"
METADATA, JWKS = "/.well-known/oauth-protected-resource", "/.well-known/jwks.json"
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104  (what the tests are about)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HOST", "PORT", "KEYS", "INSECURE_BIND", "PUBLIC_URL"):
        monkeypatch.delenv(f"AFTERCARE_{name}", raising=False)
    return monkeypatch


def set_to(env: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        env.setenv(f"AFTERCARE_{name}", value)


def faults_of(env: pytest.MonkeyPatch, **values: str) -> dict[str, str]:
    set_to(env, **values)
    with pytest.raises(ConfigFault) as refused:
        read_settings()
    found: dict[str, str] = {}
    for name, _, text in (each.partition(": ") for each in refused.value.faults):
        found[name] = "; ".join(filter(None, [found.get(name), text]))
    assert list(found) == list(refused.value.where)
    return {name.removeprefix("AFTERCARE_"): text for name, text in found.items()}


async def get(app: Any, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.localhost") as http:
        return await http.get(path, headers=headers)


# --- settings --------------------------------------------------------------------------------------------------------
def test_with_authentication_all_may_reach_the_service(env: pytest.MonkeyPatch) -> None:
    set_to(env, AUTH_ISSUERS=f"{ISSUER}, https://other.example/", AUTH_AUDIENCE=AUDIENCE, HOST=ALL_ADDRESSES)
    settings = read_settings()
    assert settings.auth_issuers == (ISSUER, "https://other.example/")
    assert (settings.host, settings.public_url) == (ALL_ADDRESSES, AUDIENCE)


def test_without_it_only_this_machine_may(env: pytest.MonkeyPatch) -> None:
    found = faults_of(env, HOST=ALL_ADDRESSES)
    assert list(found) == ["HOST"]
    assert "AFTERCARE_AUTH_ISSUERS" in found["HOST"]
    assert list(faults_of(env, HOST=ALL_ADDRESSES, AUTH_AUDIENCE=AUDIENCE)) == ["HOST"]


def test_all_faults_are_told_at_once(env: pytest.MonkeyPatch) -> None:
    found = faults_of(env, AUTH_ISSUERS=ISSUER, AUTH_INTROSPECTION_URL="http://login.example/x", AUTH_INTROSPECT="all")
    assert list(found) == ["AUTH_AUDIENCE", "AUTH_INTROSPECTION_URL"]
    found = faults_of(env, AUTH_INTROSPECTION_URL=f"{ISSUER}/introspect")
    assert list(found) == ["AUTH_AUDIENCE", "AUTH_INTROSPECTION_CLIENT", "AUTH_INTROSPECTION_SECRET"]
    found = faults_of(env, AUTH_ISSUERS="http://login.example nonsense https://u:secret@login.example")
    assert all(f"entry {number} must be" in found["AUTH_ISSUERS"] for number in (1, 2, 3))
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.example",
        "login.example",
        "https://u@login.example",
        "https://login.example?x=1",
        "https://l\u00f6",
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_the_only_fault_told(env: pytest.MonkeyPatch, issuer: str) -> None:
    """That the host is open is no fault: authentication was meant."""
    found = faults_of(env, AUTH_ISSUERS=issuer, AUTH_AUDIENCE=AUDIENCE, HOST=ALL_ADDRESSES)
    assert list(found) == ["AUTH_ISSUERS"]


def test_an_issuer_on_this_machine_may_be_http(env: pytest.MonkeyPatch) -> None:
    set_to(env, AUTH_ISSUERS="http://127.0.0.1:18081/realms/test", AUTH_AUDIENCE=AUDIENCE)
    assert read_settings().auth_issuers == ("http://127.0.0.1:18081/realms/test",)


def test_an_audience_that_is_no_address_needs_one_beside_it(env: pytest.MonkeyPatch) -> None:
    found = faults_of(env, AUTH_ISSUERS=ISSUER, AUTH_AUDIENCE="aftercare-api")
    assert list(found) == ["PUBLIC_URL"]
    set_to(env, PUBLIC_URL=f"{AUDIENCE}/")
    assert read_settings().public_url == AUDIENCE


def test_introspection_without_an_issuer_is_a_fault(env: pytest.MonkeyPatch) -> None:
    found = faults_of(env, AUTH_INTROSPECTION_URL=f"{ISSUER}/introspect", AUTH_INTROSPECTION_CLIENT="us", KEYS="k.json")
    assert list(found) == ["AUTH_INTROSPECTION_URL"]
    env.delenv("AFTERCARE_AUTH_INTROSPECTION_URL")
    assert list(faults_of(env, AUTH_INTROSPECT="all")) == ["AUTH_INTROSPECT"]


def test_a_secret_does_not_show(env: pytest.MonkeyPatch) -> None:
    set_to(env, AUTH_INTROSPECTION_SECRET="s3cret")
    assert "s3cret" not in f"{read_settings()!r} {read_settings()}"


# --- well-known addresses --------------------------------------------------------------------------------------------
def on(**more: Any) -> Settings:
    return Settings(**{"auth_issuers": ISSUER, "auth_audience": AUDIENCE, **more})


async def test_everybody_may_read_how_the_api_is_protected() -> None:
    app = create_app(on(auth_audience="aftercare-api", public_url="https://host.example/aftercare/"))
    app.state.protection = Protection(resource="https://host.example/aftercare", issuers=(ISSUER,))
    answer = await get(app, METADATA)
    assert answer.json() == {
        "resource": "https://host.example/aftercare",
        "authorization_servers": [ISSUER],
        "scopes_supported": [each.scope for each in scopes.PERMISSIONS],
        "bearer_methods_supported": ["header"],
        "resource_name": "fhir-aftercare",
    }
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["content-type"] == "application/json"
    refused = await get(app, "/v1/clinics/harbor/worklist")
    assert 'resource_metadata="https://host.example/aftercare/.well-known/' in refused.headers["www-authenticate"]


@pytest.mark.parametrize("path", [METADATA, JWKS])
async def test_what_there_is_none_of_is_not_there(path: str) -> None:
    answer = await get(create_app(Settings()), path)
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-route")


async def test_there_is_no_smart_configuration_at_the_root() -> None:
    assert (await get(create_app(on()), "/.well-known/smart-configuration")).status_code == 404


async def test_public_keys_are_published_and_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    ring = KeyRing.new("ES384", "RS384")
    ring.save(file)
    app = create_app(Settings(keys=file))
    answer = await get(app, JWKS)
    assert answer.json() == ring.public_jwks()
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & {name for key in answer.json()["keys"] for name in key}

    rotated = ring.rotate("ES384")
    rotated.save(file)
    assert (await get(app, JWKS)).json() == rotated.public_jwks()

    file.write_text("not keys", "utf-8")
    with capture_logs() as lines:
        assert (await get(app, JWKS)).json() == rotated.public_jwks()
        assert (await get(app, JWKS)).json() == rotated.public_jwks()
    assert len([line for line in lines if line["event"] == "key file not read"]) == 1
    file.unlink()
    assert (await get(app, JWKS)).json() == rotated.public_jwks()


def test_who_signs_with_the_file_follows_it_too(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    ring = KeyRing.new()
    ring.save(file)
    us = ClientRegistration(
        clinic="harbor", iss=ISSUER, client_id="us", kind="asymmetric", scopes=ScopeTable(()), keys=_KeyFile(file)
    )

    def signed_by() -> str:
        head = client_assertion(us, f"{ISSUER}/token", datetime.now(UTC)).partition(".")[0]
        return str(json.loads(base64.urlsafe_b64decode(head + "=="))["kid"])

    assert signed_by() == ring.signing("ES384").kid
    rotated = ring.rotate()
    rotated.save(file)
    assert signed_by() == rotated.signing("ES384").kid


def test_a_key_file_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    KeyRing.new().save(file)
    file.chmod(0o644)
    with pytest.raises(KeyFault):
        create_app(Settings(keys=file))
    with pytest.raises(KeyFault):
        create_app(Settings(keys=tmp_path / "nowhere.json"))


def test_private_members_never_reach_the_document(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    ring = KeyRing.new()
    ring.save(file)
    said = json.dumps(create_app(Settings(keys=file)).openapi())
    assert not [key.kid for key in ring.keys if key.kid in said]
