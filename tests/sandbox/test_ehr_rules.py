"""Each rule of the pretend EHR's authorization server is kept: one refusal for each."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.sandbox.ehr import EhrClient, EhrSettings
from sandbox.ehr_world import API, AUTH, BASE, NURSE, ORIGIN, PRESCRIBER, REDIRECT, SECRET, VERIFIER, clients
from smart.clinic import RINGS

if TYPE_CHECKING:
    from sandbox.ehr_world import EhrWorld

TOKEN_URL = f"{AUTH}/token"
SCOPE = "launch openid fhirUser user/Patient.rs"


class TestAuthorization:
    async def test_a_request_that_keeps_every_rule_gets_a_code_state_and_iss(
        self, world: EhrWorld, patient: str
    ) -> None:
        request = world.asks(SCOPE, launch=world.opened(patient))
        answer = await world.authorized(request)
        assert answer.keys() == {"code", "state", "iss"}
        assert (answer["state"], answer["iss"]) == (request["state"], AUTH)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "unsupported_response_type"),
            ({"aud": None}, "invalid_request"),
            ({"aud": f"{BASE}/"}, "invalid_request"),
            ({"aud": "http://ehr.localhost:8001"}, "invalid_request"),
            ({"state": None}, "invalid_request"),
            ({"state": "s" * 21}, "invalid_request"),
            ({"nonce": None}, "invalid_request"),
            ({"code_challenge": None}, "invalid_request"),
            ({"code_challenge": VERIFIER}, "invalid_request"),
            ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"response_mode": "fragment"}, "invalid_request"),
            ({"max_age": "60"}, "invalid_request"),
            ({"request": "eyJ"}, "invalid_request"),
            ({"launch": "made-up"}, "invalid_request"),
            ({"launch": None}, "invalid_scope"),
            ({"scope": None}, "invalid_scope"),
            ({"scope": "openid fhirUser user/Patient.rs"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Patient.rs"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Task.sr"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Task."}, "invalid_scope"),
            ({"scope": f"{SCOPE} nonsense"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Patient.d"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Medication.r"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Observation.c"}, "invalid_scope"),
            ({"scope": f"{SCOPE} user/Observation.rs?value=1"}, "invalid_scope"),
            ({"scope": f"{SCOPE} system/CarePlan.rs"}, "invalid_scope"),
        ],
    )
    async def test_a_broken_rule_is_told_to_the_app_with_its_state(
        self, world: EhrWorld, patient: str, changes: dict[str, Any], error: str
    ) -> None:
        request = world.asks(SCOPE, **{"launch": world.opened(patient), **changes})
        answer = await world.authorized(request)
        assert answer["error"] == error
        assert "code" not in answer
        assert answer.get("state") == request.get("state")
        assert answer["iss"] == AUTH

    @pytest.mark.parametrize(
        "changes",
        [
            {"client_id": "unknown"},
            {"client_id": None},
            {"redirect_uri": None},
            {"redirect_uri": f"{REDIRECT}/"},
            {"redirect_uri": f"{REDIRECT}?x=1"},
            {"redirect_uri": REDIRECT.upper()},
            {"redirect_uri": "https://evil.example/"},
            {"client_id": "backend"},
        ],
    )
    async def test_an_unknown_client_or_redirect_uri_is_never_redirected(
        self, world: EhrWorld, patient: str, changes: dict[str, Any]
    ) -> None:
        request = world.asks(SCOPE, **{"launch": world.opened(patient), **changes})
        answer = await world.http.get(f"{AUTH}/authorize", params=request)
        assert answer.status_code == 400
        assert "location" not in answer.headers

    async def test_a_parameter_given_twice_is_refused(self, world: EhrWorld, patient: str) -> None:
        request = world.asks(SCOPE, launch=world.opened(patient))
        pairs = [*request.items(), ("state", "s" * 22)]
        assert (await world.http.get(f"{AUTH}/authorize", params=pairs)).status_code == 400

    async def test_a_posted_request_must_be_a_form(self, world: EhrWorld, patient: str) -> None:
        request = world.asks(SCOPE, launch=world.opened(patient))
        assert (await world.http.post(f"{AUTH}/authorize", json=request)).status_code == 400

    async def test_a_launch_is_used_once(self, world: EhrWorld, patient: str) -> None:
        launch = world.opened(patient)
        await world.authorized(world.asks(SCOPE, launch=launch))
        assert (await world.authorized(world.asks(SCOPE, launch=launch)))["error"] == "invalid_request"

    async def test_a_launch_is_used_up_by_a_refused_request_too(self, world: EhrWorld, patient: str) -> None:
        launch = world.opened(patient)
        await world.authorized(world.asks(SCOPE, launch=launch, aud="x"))
        assert (await world.authorized(world.asks(SCOPE, launch=launch)))["error"] == "invalid_request"

    async def test_a_launch_is_bound_to_its_client(self, world: EhrWorld, patient: str) -> None:
        launch = world.opened(patient, client="app-ES384")
        assert (await world.authorized(world.asks(SCOPE, launch=launch)))["error"] == "invalid_request"

    async def test_a_launch_is_bound_to_its_user_and_patient(self, world: EhrWorld, patient: str) -> None:
        answer = await world.tokens(patient, SCOPE, user=PRESCRIBER)
        claims = jwt.decode(answer["id_token"], RSAKey.import_key(world.ehr.signer.jwks()["keys"][0])).claims
        assert claims["fhirUser"] == f"{BASE}/Practitioner/grey"
        assert answer["patient"] == patient

    async def test_a_launch_lives_five_minutes(self, world: EhrWorld, patient: str) -> None:
        launch = world.opened(patient)
        world.clock.move(minutes=5)
        assert (await world.authorized(world.asks(SCOPE, launch=launch)))["error"] == "invalid_request"

    async def test_a_sign_in_page_is_good_for_five_minutes(self, world: EhrWorld, patient: str) -> None:
        asked = await world.http.get(f"{AUTH}/authorize", params=world.asks("launch/patient user/Patient.rs"))
        key = asked.text.partition('name="request" value="')[2].partition('"')[0]
        world.clock.move(minutes=5)
        form = {"request": key, "user": "nurse", "patient": patient, "decision": "allow"}
        assert (await world.http.post(f"{AUTH}/decide", data=form)).status_code == 400

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_the_other_scope_syntax_is_refused(self, world: EhrWorld, patient: str, version: str) -> None:
        world.ehr.faults.scope_version = version
        scope = {"v1": "launch user/Patient.rs", "v2": "launch user/Patient.read"}[version]
        assert (await world.authorized(world.asks(scope, launch=world.opened(patient))))["error"] == "invalid_scope"

    async def test_patient_scopes_need_a_patient(self, world: EhrWorld) -> None:
        asks = world.asks("launch patient/Patient.rs", launch=world.opened(None))  # type: ignore[arg-type]
        assert (await world.authorized(asks))["error"] == "invalid_scope"


class TestCodes:
    async def refused(self, world: EhrWorld, **form: str) -> str:
        answer = await world.asks_token(**form)
        assert answer.status_code == 400
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.json()["error"])

    async def test_a_code_is_used_once_and_its_second_use_ends_its_tokens(self, world: EhrWorld, patient: str) -> None:
        code = await world.code(patient, "launch online_access user/Patient.rs")
        tokens = (await world.asks_token(code=code)).json()
        assert world.ehr.grants.active(tokens["access_token"])
        assert await self.refused(world, code=code) == "invalid_grant"
        assert world.ehr.grants.active(tokens["access_token"]) is None
        refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert await self.refused(world, **refresh) == "invalid_grant"

    async def test_a_code_lives_a_minute(self, world: EhrWorld, patient: str) -> None:
        code = await world.code(patient)
        world.clock.move(seconds=60)
        assert await self.refused(world, code=code) == "invalid_grant"

    @pytest.mark.parametrize(
        "changes",
        [
            {"redirect_uri": f"{REDIRECT}/"},
            {"code_verifier": VERIFIER + "x"},
            {"code_verifier": "short"},
            {"code_verifier": ""},
            {"code": "made-up"},
        ],
    )
    async def test_a_code_is_bound_to_redirect_uri_and_verifier(
        self, world: EhrWorld, patient: str, changes: dict[str, str]
    ) -> None:
        assert await self.refused(world, **{"code": await world.code(patient), **changes}) == "invalid_grant"

    async def test_a_wrong_verifier_uses_the_code_up(self, world: EhrWorld, patient: str) -> None:
        code = await world.code(patient)
        await self.refused(world, code=code, code_verifier=VERIFIER[::-1])
        assert await self.refused(world, code=code) == "invalid_grant"

    async def test_a_code_is_bound_to_its_client(self, world: EhrWorld, patient: str) -> None:
        code = await world.code(patient, client="app/symmetric")
        assert await self.refused(world, code=code) == "invalid_grant"

    async def test_an_unknown_grant_type_is_refused(self, world: EhrWorld) -> None:
        assert await self.refused(world, grant_type="password") == "unsupported_grant_type"

    async def test_a_parameter_given_twice_is_refused(self, world: EhrWorld, patient: str) -> None:
        code = await world.code(patient)
        body = f"grant_type=authorization_code&client_id=app-public&code={code}&code={code}"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await world.http.post(TOKEN_URL, content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    async def test_the_body_must_be_a_form(self, world: EhrWorld) -> None:
        answer = await world.http.post(TOKEN_URL, json={"grant_type": "authorization_code"})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    async def test_parameters_in_the_address_are_not_read(self, world: EhrWorld, patient: str) -> None:
        query = {"grant_type": "authorization_code", "client_id": "app-public", "code": await world.code(patient)}
        answer = await world.http.post(TOKEN_URL, params=query, data={"redirect_uri": REDIRECT})
        assert answer.status_code == 401


class TestRefresh:
    async def refreshed(self, world: EhrWorld, refresh_token: str, **more: str) -> httpx.Response:
        return await world.asks_token(grant_type="refresh_token", refresh_token=refresh_token, **more)

    async def test_each_refresh_gives_a_new_token_and_a_second_use_ends_the_family(
        self, world: EhrWorld, patient: str
    ) -> None:
        first = await world.tokens(patient, "launch offline_access user/Patient.rs")
        second = (await self.refreshed(world, first["refresh_token"])).json()
        assert second["refresh_token"] != first["refresh_token"]
        assert second["patient"] == patient
        again = await self.refreshed(world, first["refresh_token"])
        assert again.json()["error"] == "invalid_grant"
        assert (await self.refreshed(world, second["refresh_token"])).json()["error"] == "invalid_grant"
        assert world.ehr.grants.active(second["access_token"]) is None

    async def test_less_may_be_asked_for_and_never_more(self, world: EhrWorld, patient: str) -> None:
        first = await world.tokens(patient, "launch offline_access user/Patient.rs user/Task.r")
        more = await self.refreshed(world, first["refresh_token"], scope="user/Patient.rs user/CarePlan.r")
        assert more.json()["error"] == "invalid_scope"
        less = (await self.refreshed(world, first["refresh_token"], scope="user/Patient.rs")).json()
        assert less["scope"] == "user/Patient.rs"
        assert (await world.fhir("GET", "Task", less["access_token"])).status_code == 403

    async def test_a_refresh_token_is_bound_to_its_client(self, world: EhrWorld, patient: str) -> None:
        first = await world.tokens(patient, "launch offline_access user/Patient.rs")
        form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        answer = await world.http.post(TOKEN_URL, data=form, headers=basic("app/symmetric", SECRET))
        assert answer.json()["error"] == "invalid_grant"

    async def test_without_its_scope_there_is_no_refresh_token(self, world: EhrWorld, patient: str) -> None:
        assert "refresh_token" not in await world.tokens(patient)

    async def test_online_access_ends_with_the_day(self, world: EhrWorld, patient: str) -> None:
        first = await world.tokens(patient, "launch online_access user/Patient.rs")
        world.clock.move(hours=8)
        assert (await self.refreshed(world, first["refresh_token"])).json()["error"] == "invalid_grant"


def basic(client_id: str, secret: str, scheme: str = "Basic") -> dict[str, str]:
    pair = str(httpx.QueryParams({client_id: secret})).replace("=", ":", 1)
    return {"Authorization": f"{scheme} {base64.b64encode(pair.encode()).decode()}"}


class TestSecrets:
    async def status(self, world: EhrWorld, patient: str, headers: dict[str, str], **more: str) -> int:
        form = {
            "grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **more,
            "code": await world.code(patient, client="app/symmetric"),
        }  # fmt: skip
        answer = await world.http.post(TOKEN_URL, data=form, headers=headers)
        if answer.status_code == 401:
            assert answer.json()["error"] == "invalid_client"
            assert answer.headers["www-authenticate"].startswith("Basic")
        return answer.status_code

    async def test_the_right_secret_in_basic_is_taken(self, world: EhrWorld, patient: str) -> None:
        assert await self.status(world, patient, basic("app/symmetric", SECRET)) == 200

    @pytest.mark.parametrize(
        ("headers", "more"),
        [
            (basic("app/symmetric", "wrong"), {}),
            (basic("app/symmetric", ""), {}),
            (basic("app-public", ""), {}),
            (basic("unknown", SECRET), {}),
            (basic("app/symmetric", SECRET, "Bearer"), {}),
            ({"Authorization": "Basic !!!"}, {}),
            ({}, {"client_id": "app/symmetric", "client_secret": SECRET}),
            (basic("app/symmetric", SECRET), {"client_secret": SECRET}),
            ({}, {"client_id": "app/symmetric"}),
            (basic("app/symmetric", SECRET), {"client_id": "app-public"}),
            ({}, {}),
        ],
    )
    async def test_anything_else_is_not(
        self, world: EhrWorld, patient: str, headers: dict[str, str], more: dict[str, str]
    ) -> None:
        assert await self.status(world, patient, headers, **more) == 401


class TestAssertions:
    def made(
        self, world: EhrWorld, *, alg: str = "ES384", header: Any = (), key: Any = None, **claims: Any
    ) -> dict[str, str]:
        """Make an assertion that keeps every rule, with some changes (None takes away)."""
        signing, now = RINGS[alg].signing(alg), int(world.clock.seconds())
        head = {"alg": alg, "kid": signing.kid, "typ": "JWT", **dict(header)}
        said = {"iss": "backend", "sub": "backend", "aud": TOKEN_URL, "exp": now + 300, "jti": "first", **claims}
        said = {name: value for name, value in said.items() if value is not None}
        head = {name: value for name, value in head.items() if value is not None}
        assertion = jws.serialize_compact(head, json.dumps(said), key or signing.jose, algorithms=[head["alg"]])
        return {
            "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }

    async def sent(self, world: EhrWorld, assertion: dict[str, str], **more: str) -> httpx.Response:
        form = {"grant_type": "client_credentials", "scope": "system/CarePlan.r", **assertion, **more}
        return await world.http.post(TOKEN_URL, data=form)

    async def test_one_that_keeps_every_rule_is_taken(self, world: EhrWorld) -> None:
        answer = await self.sent(world, self.made(world))
        assert answer.status_code == 200
        assert "refresh_token" not in answer.json()

    async def test_the_same_jti_is_taken_once(self, world: EhrWorld) -> None:
        await self.sent(world, self.made(world))
        again = await self.sent(world, self.made(world, exp=int(world.clock.seconds()) + 200))
        assert (again.status_code, again.json()["error"]) == (401, "invalid_client")

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "http://ehr.localhost:8001/auth"},
            {"aud": [TOKEN_URL, "https://other.example"]},
            {"aud": None},
            {"sub": "app-ES384"},
            {"iss": "app-ES384"},
            {"iss": "app-public", "sub": "app-public"},
            {"iss": "nobody", "sub": "nobody"},
            {"jti": None},
            {"jti": ""},
            {"exp": None},
            {"nbf": 99_999_999_999},
            {"header": {"typ": "at+jwt"}},
            {"header": {"typ": None}},
            {"header": {"kid": "unknown"}},
            {"header": {"kid": None}},
            {"header": {"jku": "https://evil.example/jwks"}},
            {"key": ECKey.generate_key("P-384")},
        ],
    )
    async def test_one_that_breaks_a_rule_is_refused(self, world: EhrWorld, changes: dict[str, Any]) -> None:
        answer = await self.sent(world, self.made(world, **changes))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")

    @pytest.mark.parametrize("ahead", [0, -1, 301, 3600])
    async def test_exp_is_ahead_and_five_minutes_at_most(self, world: EhrWorld, ahead: int) -> None:
        answer = await self.sent(world, self.made(world, exp=int(world.clock.seconds()) + ahead))
        assert answer.status_code == 401

    async def test_other_algorithms_are_refused(self, world: EhrWorld) -> None:
        key = ECKey.generate_key("P-256")
        assertion = self.made(world, header={"alg": "ES256"}, key=key)
        assert (await self.sent(world, assertion)).status_code == 401

    async def test_the_type_must_be_named(self, world: EhrWorld) -> None:
        assertion = self.made(world) | {"client_assertion_type": "jwt"}
        assert (await self.sent(world, assertion)).status_code == 401

    async def test_two_ways_at_once_are_refused(self, world: EhrWorld) -> None:
        form = {"grant_type": "client_credentials", "scope": "system/CarePlan.r", **self.made(world)}
        answer = await world.http.post(TOKEN_URL, data=form, headers=basic("app/symmetric", SECRET))
        assert answer.status_code == 401

    async def test_garbage_is_refused(self, world: EhrWorld) -> None:
        for text in ("", "a.b", "a.b.c", "e30.e30.e30", "bnVsbA.bnVsbA.x"):
            assert (await self.sent(world, self.made(world) | {"client_assertion": text})).status_code == 401

    @pytest.mark.parametrize(
        ("scope", "error"),
        [
            ("", "invalid_scope"),
            ("user/CarePlan.r", "invalid_scope"),
            ("system/CarePlan.r openid", "invalid_scope"),
            ("system/Patient.r", "invalid_scope"),
            ("aftercare/plans.read", "invalid_scope"),
        ],
    )
    async def test_backend_services_have_system_scopes_only(self, world: EhrWorld, scope: str, error: str) -> None:
        answer = await self.sent(world, self.made(world), scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, error)

    async def test_backend_services_are_for_asymmetric_clients(self, world: EhrWorld) -> None:
        form = {"grant_type": "client_credentials", "scope": "system/CarePlan.r"}
        answer = await world.http.post(TOKEN_URL, data=form, headers=basic("app/symmetric", SECRET))
        assert answer.json()["error"] == "unauthorized_client"
        answer = await world.http.post(TOKEN_URL, data={**form, "client_id": "app-public"})
        assert answer.json()["error"] == "unauthorized_client"

    async def test_a_token_for_another_api_is_no_token_for_fhir(self, world: EhrWorld) -> None:
        answer = await self.sent(world, self.made(world), scope="aftercare/plans.read", resource=API)
        assert answer.status_code == 200
        refused = await world.fhir("GET", "CarePlan", answer.json()["access_token"])
        assert refused.status_code == 401
        assert "another resource server" in refused.json()["issue"][0]["diagnostics"]
        strange = await self.sent(world, self.made(world, jti="2"), resource="https://other.example")
        assert strange.json()["error"] == "invalid_target"

    async def test_a_jwks_url_is_read_again_for_an_unknown_kid_and_not_more(self, world: EhrWorld) -> None:
        changes: dict[str, Any] = {"iss": "app-RS384", "sub": "app-RS384", "alg": "RS384"}
        await self.sent(world, self.made(world, header={"kid": "new"}, **changes))
        assert len([each for each in world.hosts.requests if each.url.path.endswith("jwks.json")]) == 2

    async def test_a_jwks_url_that_does_not_answer_is_a_refusal(self, world: EhrWorld) -> None:
        del world.hosts.apps["app.localhost:8000"]
        changes: dict[str, Any] = {"iss": "app-RS384", "sub": "app-RS384", "alg": "RS384"}
        assert (await self.sent(world, self.made(world, **changes))).status_code == 401


class TestAboutTokens:
    async def asked(self, world: EhrWorld, token: str) -> dict[str, Any]:
        headers = basic("app/symmetric", SECRET)
        return dict((await world.http.post(f"{AUTH}/introspect", data={"token": token}, headers=headers)).json())

    async def test_introspection_tells_all_of_a_good_token(self, world: EhrWorld, patient: str) -> None:
        tokens = await world.tokens(patient, "launch openid offline_access user/Patient.rs")
        said = await self.asked(world, tokens["access_token"])
        assert said["active"] is True
        assert (said["client_id"], said["aud"], said["iss"]) == ("app-public", BASE, AUTH)
        assert (said["patient"], said["fhirUser"]) == (patient, f"{BASE}/Practitioner/nurse")
        assert said["exp"] - said["iat"] == 3600
        assert (await self.asked(world, tokens["refresh_token"]))["active"] is True

    async def test_introspection_of_any_other_text_says_no_more_than_that(self, world: EhrWorld, patient: str) -> None:
        tokens = await world.tokens(patient)
        world.ehr.act("expire_tokens")
        assert await self.asked(world, tokens["access_token"]) == {"active": False}
        assert await self.asked(world, "made-up") == {"active": False}

    async def test_introspection_needs_a_client_that_proves_itself(self, world: EhrWorld) -> None:
        answer = await world.http.post(f"{AUTH}/introspect", data={"token": "x", "client_id": "app-public"})
        assert answer.status_code == 401

    async def test_a_revoked_refresh_token_takes_the_access_token_with_it(self, world: EhrWorld, patient: str) -> None:
        tokens = await world.tokens(patient, "launch offline_access user/Patient.rs")
        form = {"token": tokens["refresh_token"], "client_id": "app-public"}
        assert (await world.http.post(f"{AUTH}/revoke", data=form)).status_code == 200
        assert await self.asked(world, tokens["access_token"]) == {"active": False}
        assert (await world.fhir("GET", f"Patient/{patient}", tokens["access_token"])).status_code == 401

    async def test_nobody_revokes_another_clients_token(self, world: EhrWorld, patient: str) -> None:
        tokens = await world.tokens(patient)
        form = {"token": tokens["access_token"]}
        answer = await world.http.post(f"{AUTH}/revoke", data=form, headers=basic("app/symmetric", SECRET))
        assert answer.status_code == 200
        assert (await self.asked(world, tokens["access_token"]))["active"] is True

    async def test_revocation_of_an_unknown_token_is_answered_alike(self, world: EhrWorld) -> None:
        form = {"token": "made-up", "client_id": "app-public"}
        assert (await world.http.post(f"{AUTH}/revoke", data=form)).status_code == 200
        assert (await world.http.post(f"{AUTH}/revoke", data={"client_id": "app-public"})).status_code == 400


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"origin": "https://ehr.example.org"}, "origin"),
        ({"origin": f"{ORIGIN}/ehr"}, "origin"),
        ({"app_origins": ("app.localhost",)}, "app_origins"),
        ({"users": ()}, "users"),
        ({"users": (NURSE, NURSE)}, "stands once"),
        ({"clients": (EhrClient("a", "public", "launch"), EhrClient("a", "public", "launch"))}, "stands once"),
        ({"clients": (EhrClient("a", "public", "launch", secret="x"),)}, "secret"),
        ({"clients": (EhrClient("a", "asymmetric", "launch"),)}, "jwks"),
        ({"clients": (EhrClient("a", "public", "user/Nothing"),)}, "SMART scope"),
        ({"clients": (EhrClient("a", "public", "launch", redirect_uris=("http://a.example/x",)),)}, "redirect_uris"),
        ({"clients": (EhrClient("a", "public", "launch", launch_url=f"{ORIGIN}/x"),)}, "needs a redirect URI"),
    ],
)
def test_settings_that_cannot_be_used_are_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigFault, match=told):
        EhrSettings(**{"origin": ORIGIN, "clients": clients(), "users": (NURSE,), **changes})
