"""The token endpoint's grants, and the answers about tokens: revocation (RFC 7009) and introspection (RFC 7662)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from fhir_aftercare.sandbox.ehr.faults import TOKEN_ERRORS
from fhir_aftercare.sandbox.ehr.grants import Grant
from fhir_aftercare.sandbox.ehr.requests import Refused
from fhir_aftercare.sandbox.ehr.signing import subject

if TYPE_CHECKING:
    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.client_gate import ClientGate
    from fhir_aftercare.sandbox.ehr.grants import Token
    from fhir_aftercare.sandbox.ehr.scopes import Scopes
    from fhir_aftercare.sandbox.ehr.settings import EhrClient
    from fhir_aftercare.sandbox.ehr.state import PretendEhr


class TokenEndpoint:
    """Answers ``/token``, ``/revoke`` and ``/introspect``. Raises ``Refused`` for what is not allowed."""

    def __init__(self, ehr: PretendEhr, gate: ClientGate) -> None:
        self._settings, self._faults, self._gate = ehr.settings, ehr.faults, gate
        self._policy, self._grants, self._signer = ehr.policy, ehr.grants, ehr.signer

    async def token(self, request: Request) -> Response:
        """Trade a code, a refresh token or the client's own standing for an access token."""
        await asyncio.sleep(self._faults.slow_seconds)
        form, client = await self._gate.admitted(request)
        error = self._faults.token_error
        if error:
            raise Refused(error, "switched on", TOKEN_ERRORS[error])
        kinds = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._by_itself,
        }
        answer = kinds.get(form.get("grant_type", ""))
        if answer is None:
            raise Refused("unsupported_grant_type", "grant_type")
        return JSONResponse(answer(form, client))

    async def revoke(self, request: Request) -> Response:
        """End a token. Unknown ones, and those of another client, are answered alike."""
        form, client = await self._gate.admitted(request)
        if "token" not in form:
            raise Refused("invalid_request", "token is missing")
        self._grants.revoke(form["token"], client_id=client.client_id)
        return Response(status_code=200)

    async def introspect(self, request: Request) -> Response:
        """Say what a token is good for, to a client that can prove who it is."""
        form, client = await self._gate.admitted(request)
        if client.kind == "public":
            raise Refused("invalid_client", "introspection is for clients that prove who they are", 401)
        if "token" not in form:
            raise Refused("invalid_request", "token is missing")
        access = self._grants.active(form["token"])
        token = access or self._grants.active_refresh(form["token"])
        return JSONResponse(self._about(token, access is not None) if token else {"active": False})

    def _by_code(self, form: dict[str, str], client: EhrClient) -> dict[str, Any]:
        grant = self._grants.redeem(
            form.get("code", ""),
            client_id=client.client_id,
            redirect_uri=form.get("redirect_uri"),
            verifier=form.get("code_verifier"),
        )
        return self._answer(grant, grant.scopes, identity=True)

    def _by_refresh(self, form: dict[str, str], client: EhrClient) -> dict[str, Any]:
        value = form.get("refresh_token", "")
        grant = self._grants.rotate(value, client_id=client.client_id)
        scope = self._policy.for_refresh(form.get("scope"), grant.scopes)
        self._grants.spend(value)
        return self._answer(grant, scope, identity=False)

    def _by_itself(self, form: dict[str, str], client: EhrClient) -> dict[str, Any]:
        resource = form.get("resource", self._settings.fhir_base)
        of_fhir = resource == self._settings.fhir_base
        if not of_fhir and resource not in self._settings.apis:
            raise Refused("invalid_target", "resource is neither the FHIR base nor a known API")
        if client.kind == "public" or (of_fhir and client.kind != "asymmetric"):
            raise Refused("unauthorized_client", "backend services are for asymmetric clients")
        scope = self._policy.for_backend(form.get("scope", ""), client, of_fhir=of_fhir)
        return self._answer(Grant(client.client_id, scope, resource), scope, identity=False)

    def _answer(self, grant: Grant, scope: Scopes, *, identity: bool) -> dict[str, Any]:
        access = self._grants.new_access(grant, scope, self._faults.token_life)
        answer: dict[str, Any] = {
            "access_token": access.value,
            "token_type": "Bearer",
            "expires_in": self._faults.token_life,
            "scope": str(scope),
            **grant.context,
        }
        refresh = self._grants.new_refresh(grant)
        if refresh is not None:
            answer["refresh_token"] = refresh.value
        if identity and "openid" in grant.scopes.words and not self._faults.no_id_token:
            answer["id_token"] = self._signer.id_token(grant, access.value)
        return answer

    def _about(self, token: Token, is_access: bool) -> dict[str, Any]:
        grant = token.grant
        said: dict[str, Any] = {
            "active": True,
            **({"token_type": "Bearer"} if is_access else {}),
            "iss": self._settings.issuer,
            "aud": grant.audience,
            "client_id": grant.client_id,
            "sub": subject(self._settings.issuer, grant.user.reference) if grant.user else grant.client_id,
            "scope": str(token.scopes),
            "iat": int(token.issued_at),
            "exp": int(token.good_until),
            "tenant": self._settings.tenant,
        }
        if grant.user is not None:
            said["fhirUser"] = f"{self._settings.fhir_base}/{grant.user.reference}"
        said |= {name: grant.context[name] for name in ("patient", "encounter") if name in grant.context}
        return said
