"""The pretend EHR and our own SMART client do whole launches with each other, with every kind of client."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import FhirUnauthorized
from fhir_aftercare.sandbox.ehr import AUTHORIZE_ERRORS, TOKEN_ERRORS, EhrUser
from fhir_aftercare.smart import BackendTokens, ClientRegistration, SessionTokens
from fhir_aftercare.smart.faults import (
    EhrUnreachable,
    IdTokenRefused,
    MixedUp,
    NotAuthorized,
    SessionOver,
    SmartFault,
    TokenRefused,
)
from sandbox.ehr_world import AUTH, BACKEND_TABLE, BASE, COOKIE, ORIGIN, EhrWorld
from smart.clinic import RINGS

if TYPE_CHECKING:
    from servers import Server


KINDS = [("public", ""), ("symmetric", ""), ("asymmetric", "ES384"), ("asymmetric", "RS384")]


async def visit(sandbox: Server, patient: str, status: str = "in-progress") -> str:
    encounter = {
        "resourceType": "Encounter",
        "status": status,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": f"Patient/{patient}"},
    }
    return str((await sandbox.client().create(encounter))["id"])


@pytest.mark.parametrize(("kind", "alg"), KINDS)
async def test_each_kind_of_client_launches_from_a_chart_and_reads_the_patient(
    world: EhrWorld, patient: str, kind: str, alg: str
) -> None:
    clinic = world.clinic(kind, alg or "ES384")
    arrived = await clinic.sign_in(patient, encounter="enc-1", intent="review")
    assert (arrived.context.patient, arrived.context.encounter, arrived.context.intent) == (patient, "enc-1", "review")
    assert (arrived.context.tenant, arrived.context.need_patient_banner) == ("sandbox", False)
    assert arrived.user
    assert arrived.user.reference == "Practitioner/nurse"
    assert arrived.missing == ()
    fhir = FhirClient(BASE, world.http, token=SessionTokens(clinic.sessions, arrived.launch_id))
    assert (await fhir.read("Patient", patient))["id"] == patient


@pytest.mark.parametrize(("kind", "alg"), KINDS)
async def test_each_kind_of_client_refreshes_after_a_401_and_signs_out(
    world: EhrWorld, patient: str, kind: str, alg: str
) -> None:
    clinic = world.clinic(kind, alg or "ES384")
    arrived = await clinic.sign_in(patient)
    tokens = SessionTokens(clinic.sessions, arrived.launch_id)
    fhir = FhirClient(BASE, world.http, token=tokens)
    world.ehr.faults.unauthorized_once = True
    assert (await fhir.read("Patient", patient))["id"] == patient
    renewed = await tokens.token()
    assert renewed != arrived.tokens.access_token
    world.ehr.act("expire_tokens")
    assert (await fhir.read("Patient", patient))["id"] == patient
    assert await clinic.sessions.end(arrived.launch_id)
    assert world.ehr.grants.active(renewed) is None
    with pytest.raises(SessionOver):
        await tokens.token()


async def test_a_long_request_is_posted(world: EhrWorld, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fhir_aftercare.smart.launch._LONGEST_URL", 100)
    clinic = world.clinic("public")
    departure = await clinic.depart(patient)
    assert departure.method == "POST"
    assert (await clinic.come_back(await clinic.browser(departure))).context.patient == patient


@pytest.mark.parametrize("kind", ["public", "asymmetric"])
async def test_a_standalone_launch_asks_who_and_for_whom(
    world: EhrWorld, sandbox: Server, patient: str, kind: str
) -> None:
    await visit(sandbox, patient, "finished")
    encounter = await visit(sandbox, patient)
    clinic = world.clinic(kind)
    departure = await clinic.launcher.standalone("harbor", session=COOKIE)
    asked = await clinic.browser(departure)
    assert asked.status_code == 200
    key = re.search(r'name="request" value="([^"]+)"', asked.text)
    assert key
    form = {"request": key[1], "user": "prescriber", "patient": patient, "decision": "allow"}
    arrived = await clinic.come_back(await world.http.post(f"{AUTH}/decide", data=form))
    assert (arrived.context.patient, arrived.context.encounter) == (patient, encounter)
    assert arrived.context.need_patient_banner
    assert arrived.user
    assert arrived.user.reference == "Practitioner/grey"
    again = await world.http.post(f"{AUTH}/decide", data=form)
    assert again.status_code == 400


async def test_whoever_says_no_is_not_signed_in(world: EhrWorld, patient: str) -> None:
    clinic = world.clinic("public")
    asked = await clinic.browser(await clinic.launcher.standalone("harbor", session=COOKIE))
    key = re.search(r'name="request" value="([^"]+)"', asked.text)
    assert key
    answer = await world.http.post(f"{AUTH}/decide", data={"request": key[1], "decision": "deny", "patient": patient})
    with pytest.raises(NotAuthorized) as refused:
        await clinic.come_back(answer)
    assert refused.value.error == "access_denied"


async def test_a_patient_opens_the_app_from_the_portal_and_is_its_user(world: EhrWorld, patient: str) -> None:
    answer = await world.http.get(f"{ORIGIN}/portal", params={"client": "app-public", "patient": patient})
    assert answer.status_code == 303
    launched = httpx.URL(answer.headers["location"])
    clinic = world.clinic("public")
    departure = await clinic.launcher.from_ehr(launched.params.multi_items(), session=COOKIE)
    arrived = await clinic.come_back(await clinic.browser(departure))
    assert arrived.user
    assert arrived.user.reference == f"Patient/{patient}"
    assert arrived.context.patient == patient


async def test_a_patient_who_signs_in_alone_sees_nobody_else(world: EhrWorld, sandbox: Server, patient: str) -> None:
    other = str((await sandbox.client().create({"resourceType": "Patient"}))["id"])
    clinic = world.clinic("public")
    asked = await clinic.browser(await clinic.launcher.standalone("harbor", session=COOKIE))
    key = re.search(r'name="request" value="([^"]+)"', asked.text)
    assert key
    form = {"request": key[1], "user": "patient", "patient": patient, "decision": "allow"}
    arrived = await clinic.come_back(await world.http.post(f"{AUTH}/decide", data=form))
    assert arrived.user
    assert arrived.user.reference == f"Patient/{patient}"
    fhir = FhirClient(BASE, world.http, token=SessionTokens(clinic.sessions, arrived.launch_id))
    assert (await fhir.read("Patient", patient))["id"] == patient
    with pytest.raises(FhirUnauthorized):
        await fhir.read("Patient", other)


def backend(world: EhrWorld) -> BackendTokens:
    clinic = world.clinic("public")
    registration = ClientRegistration(
        clinic="harbor", iss=BASE, client_id="backend", kind="asymmetric", scopes=BACKEND_TABLE, keys=RINGS["ES384"]
    )
    return BackendTokens(registration, clinic.discovery, clinic.endpoint, now=world.clock)


async def test_backend_services_write_by_themselves_and_ask_again_after_a_401(world: EhrWorld, patient: str) -> None:
    tokens = backend(world)
    fhir = FhirClient(BASE, world.http, token=tokens)
    plan = {
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "identifier": [{"system": "urn:x", "value": str(uuid.uuid4())}],
        "subject": {"reference": f"Patient/{patient}"},
    }
    query = f"identifier=urn:x|{plan['identifier'][0]['value']}"  # type: ignore[index]
    made = await fhir.create(plan, if_none_exist=query)
    assert (await fhir.create(plan, if_none_exist=query))["id"] == made["id"]
    world.ehr.act("revoke_tokens")
    changed = await fhir.update({**made, "status": "completed"}, if_match=made["meta"]["versionId"])
    assert changed["meta"]["versionId"] != made["meta"]["versionId"]
    with pytest.raises(FhirUnauthorized):
        await fhir.read("Patient", patient)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_either_scope_syntax_alone_is_enough(world: EhrWorld, patient: str, version: str) -> None:
    world.ehr.faults.scope_version = version
    arrived = await world.clinic("public").sign_in(patient)
    assert arrived.missing == ()
    assert ("user/CarePlan.read" in arrived.tokens.granted.text) == (version == "v1")


async def test_less_can_be_granted_than_was_asked_for(world: EhrWorld, patient: str) -> None:
    world.ehr.faults.withheld = "user/CarePlan.cu online_access"
    arrived = await world.clinic("public").sign_in(patient)
    assert arrived.missing == ("online_access", "user/CarePlan.cu")
    assert arrived.tokens.refresh_token is None


async def test_fhir_user_may_be_relative(world: EhrWorld, patient: str) -> None:
    world.ehr.faults.fhir_user = "relative"
    arrived = await world.clinic("public").sign_in(patient)
    assert arrived.user
    assert arrived.user.url == f"{BASE}/Practitioner/nurse"


async def test_changed_signing_keys_are_found(world: EhrWorld, patient: str) -> None:
    clinic = world.clinic("public")
    await clinic.sign_in(patient)
    world.ehr.act("rotate_keys")
    world.clock.move(minutes=2)
    assert (await clinic.sign_in(patient)).user


@pytest.mark.parametrize("error", AUTHORIZE_ERRORS)
async def test_each_error_of_the_authorization_endpoint_can_be_switched_on(
    world: EhrWorld, patient: str, error: str
) -> None:
    world.ehr.faults.authorize_error = error
    with pytest.raises(NotAuthorized) as refused:
        await world.clinic("public").sign_in(patient)
    assert refused.value.error == error


@pytest.mark.parametrize("error", TOKEN_ERRORS)
async def test_each_error_of_the_token_endpoint_can_be_switched_on(world: EhrWorld, patient: str, error: str) -> None:
    world.ehr.faults.token_error = error
    with pytest.raises(SmartFault) as refused:
        await world.clinic("public").sign_in(patient)
    if TOKEN_ERRORS[error] >= 500:
        assert isinstance(refused.value, EhrUnreachable)
    else:
        assert isinstance(refused.value, TokenRefused)
        assert refused.value.error == error


@pytest.mark.parametrize(
    ("switch", "told", "where"),
    [
        ("no_id_token", IdTokenRefused, "id_token"),
        ("wrong_nonce", IdTokenRefused, "nonce"),
        ("wrong_iss", IdTokenRefused, "iss"),
        ("wrong_callback_iss", MixedUp, "iss"),
    ],
)
async def test_false_identities_can_be_switched_on(
    world: EhrWorld, patient: str, switch: str, told: type[SmartFault], where: str
) -> None:
    setattr(world.ehr.faults, switch, True)
    with pytest.raises(told) as refused:
        await world.clinic("public").sign_in(patient)
    assert refused.value.where == (where,)


async def test_a_slow_answer_takes_its_time(world: EhrWorld, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("fhir_aftercare.sandbox.ehr.token_endpoint.asyncio.sleep", pause)
    world.ehr.faults.slow_seconds = 7.5
    await world.clinic("public").sign_in(patient)
    assert 7.5 in paused


async def test_a_user_with_a_patient_of_settings_is_never_staff(world: EhrWorld) -> None:
    assert EhrUser("p", "Ana", "Patient/1").patient == "1"
    assert EhrUser("n", "Nurse", "Practitioner/1").patient is None
