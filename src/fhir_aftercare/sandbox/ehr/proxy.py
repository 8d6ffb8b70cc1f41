"""The FHIR base of the EHR: lets through what the token's scopes allow, to the store behind, and no more.

Single calls here, the entries of batches and transactions in ``bundles``. What a scope allows is decided in ``rights``;
the store decides everything else (conditional creates, If-Match, searches, faults) and its answers are passed on.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import httpx
from starlette.responses import Response

from fhir_aftercare.fhir import exact_json
from fhir_aftercare.sandbox.ehr import bundles, interactions
from fhir_aftercare.sandbox.ehr.addresses import Bases
from fhir_aftercare.sandbox.ehr.requests import body_of
from fhir_aftercare.sandbox.ehr.rights import Denied, Rights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from fhir_aftercare.sandbox.ehr.grants import Token
    from fhir_aftercare.sandbox.ehr.interactions import Interaction
    from fhir_aftercare.sandbox.ehr.state import PretendEhr

FHIR_JSON: Final = "application/fhir+json"
FORM: Final = "application/x-www-form-urlencoded"
MOST_BYTES: Final = 10_000_000
STORE_SECONDS: Final = 60.0
_INWARD: Final = (
    "if-match", "if-none-match", "if-none-exist", "if-modified-since", "cache-control", "traceparent", "x-request-id",
)  # fmt: skip
_OUTWARD: Final = ("etag", "last-modified", "location", "content-location", "retry-after", "x-request-id")
_NO_BODY: Final = (204, 304)
_BODY_TYPES: Final = (FHIR_JSON, "application/json", "application/json-patch+json", FORM)


class FhirProxy:
    """Answers everything below the EHR's FHIR base. ``store`` is the way to the server behind."""

    def __init__(self, ehr: PretendEhr, store: httpx.AsyncClient, store_base: str) -> None:
        self._ehr, self._store = ehr, store
        self._bases = Bases(ehr.settings.fhir_base, store_base)

    async def answer(self, request: Request) -> Response:
        """Answer one request; every refusal is an OperationOutcome."""
        try:
            return await self._answered(request)
        except Denied as denied:
            return self._refusal(request, denied)

    async def _answered(self, request: Request) -> Response:
        await asyncio.sleep(self._ehr.faults.slow_seconds)
        path, query = request.path_params.get("path", ""), request.url.query
        asked = interactions.read(request.method, path, query, if_none_exist=request.headers.get("if-none-exist"))
        if "xml" in dict(asked.asks).get("_format", ""):
            raise Denied(406, "not-supported", "Answers are JSON here.")
        if asked.name == "capabilities":
            return await self._passed_on(request, asked, None)
        rights = Rights(self._token(request), (self._bases.own, self._bases.store))
        body = await self._body(request, asked)
        if asked.name == "bundle":
            return await self._bundle(request, body, rights)
        if asked.name != "page":
            rights.demand(asked.letters, asked.type)
        await self._check_write(asked, body, rights)
        return await self._passed_on(request, asked, body, rights)

    def _token(self, request: Request) -> Token:
        """Give the token of a request. Raises ``Denied`` (401)."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if self._ehr.faults.unauthorized_once:
            self._ehr.faults.unauthorized_once = False
            raise Denied(401, "login", "Refused once, because that is switched on.")
        if scheme.lower() != "bearer" or not value:
            raise Denied(401, "login", "A bearer token is needed in the Authorization header.")
        token = self._ehr.grants.active(value)
        if token is None:
            raise Denied(401, "expired", "The token is not known, has run out, or was revoked.")
        if token.grant.audience != self._ehr.settings.fhir_base:
            raise Denied(401, "security", "The token was made for another resource server.")
        return token

    async def _body(self, request: Request, asked: Interaction) -> bytes | None:
        if request.method in {"GET", "DELETE"}:
            return None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _BODY_TYPES or (asked.searches and kind != FORM):
            raise Denied(415, "not-supported", f"Bodies are {FHIR_JSON}; searches by POST are {FORM}.")
        body = await body_of(request, MOST_BYTES)
        if body is None:
            raise Denied(413, "too-long", f"The body is longer than {MOST_BYTES} bytes.")
        return self._bases.inward(body)

    async def _check_write(self, asked: Interaction, body: bytes | None, rights: Rights) -> None:
        """See that what is written, and what it takes the place of, are both within the scopes."""
        if not asked.writes:
            return
        resource = _resource(body, asked.type) if asked.name in {"create", "update"} else None
        await self.check_write(asked, resource, rights)

    async def check_write(self, asked: Interaction, resource: dict[str, Any] | None, rights: Rights) -> None:
        """Raise ``Denied`` (403) for a write beyond the scopes; also used for the entries of Bundles."""
        letter = asked.letters[0]
        if rights.are_free(letter, asked.type):
            return
        if asked.name == "patch" or (asked.conditional and asked.name != "create"):
            raise Denied(403, "forbidden", "A patch or conditional change cannot be judged by this token's scopes.")
        if resource is not None and not rights.permit(letter, resource):
            raise Denied(403, "forbidden", f"The token's scopes do not reach this {asked.type}.")
        if asked.id is not None:
            stored = await self._call("GET", f"{asked.type}/{asked.id}", {}, None)
            if stored.status_code == 200 and not rights.permit(letter, _resource(stored.content, asked.type)):
                raise Denied(403, "forbidden", f"The token's scopes do not reach this {asked.type}.")

    async def _passed_on(
        self, request: Request, asked: Interaction, body: bytes | None, rights: Rights | None = None
    ) -> Response:
        more = rights.narrowing(asked.type, _all_asks(asked, request, body)) if rights and asked.searches else ()
        query = request.url.query
        if asked.searches and body is not None:
            whole = "&".join(part for part in (body.decode("ascii", "replace"), urlencode(more)) if part)
            body = self._inward_query(whole).encode()
        else:
            query = "&".join(part for part in (query, urlencode(more)) if part)
        query = self._inward_query(query)
        answer = await self._call(request.method, asked.path, request.headers, body, query)
        if rights is None or not answer.content or answer.status_code >= 300:
            return self._outward(answer)
        return self._outward(answer, _shown(asked, answer, rights))

    async def _bundle(self, request: Request, body: bytes | None, rights: Rights) -> Response:
        bundle = bundles.Bundle(_resource(body, "Bundle"), self._bases.store, rights)
        sent = await bundle.allowed(self.check_write)
        if sent is None:  # a batch none of whose entries may be sent
            return Response(exact_json.dumps(bundle.answer({"resourceType": "Bundle"})), media_type=FHIR_JSON)
        answer = await self._call("POST", "", request.headers, exact_json.dumps(sent))
        if answer.status_code != 200:
            return self._outward(answer)
        return self._outward(answer, exact_json.dumps(bundle.answer(_resource(answer.content, "Bundle"))))

    def _inward_query(self, query: str) -> str:
        """Give the query with values that begin with the EHR's base changed to the store's, all else as it was."""
        own, store = (urlencode({"": base})[1:] for base in (self._bases.own, self._bases.store))
        return query.replace(f"={own}%2F", f"={store}%2F").replace(f"={self._bases.own}/", f"={self._bases.store}/")

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, query: str = ""
    ) -> httpx.Response:
        """Send to the store. Raises ``Denied`` (502, 504) if it gives no answer."""
        sent = {name: self._bases.text_inward(headers[name]) for name in _INWARD if name in headers}
        prefer = [part for part in headers.get("prefer", "").split(",") if part and "respond-async" not in part]
        sent |= {"prefer": ",".join(prefer)} if prefer else {}
        sent |= {"accept": FHIR_JSON, "accept-encoding": "identity"}
        if body is not None:
            sent["content-type"] = headers.get("content-type", FHIR_JSON)
        url = f"{self._bases.store}/{path}".rstrip("/") + (f"?{query}" if query else "")
        try:
            return await self._store.request(method, url, headers=sent, content=body, timeout=STORE_SECONDS)
        except httpx.TimeoutException:
            raise Denied(504, "timeout", "The FHIR store behind gave no answer in time.") from None
        except httpx.HTTPError:
            raise Denied(502, "transient", "The FHIR store behind cannot be reached.") from None

    def _outward(self, answer: httpx.Response, content: bytes | None = None) -> Response:
        headers = {name: self._bases.text_outward(answer.headers[name]) for name in _OUTWARD if name in answer.headers}
        if answer.status_code in _NO_BODY:
            return Response(status_code=answer.status_code, headers=headers)
        content = self._bases.outward(answer.content if content is None else content)
        media = answer.headers.get("content-type", FHIR_JSON) if content else None
        return Response(content, answer.status_code, headers, media)

    def _refusal(self, request: Request, denied: Denied) -> Response:
        headers = {}
        if denied.status == 401:
            given = "authorization" in request.headers
            headers["WWW-Authenticate"] = 'Bearer realm="fhir"' + (', error="invalid_token"' if given else "")
        if denied.status == 403:
            headers["WWW-Authenticate"] = 'Bearer realm="fhir", error="insufficient_scope"'
        outcome = bundles.outcome(denied)
        outcome["id"] = secrets.token_hex(8)  # so that a refusal here is told from one of the store's
        return Response(exact_json.dumps(outcome), denied.status, headers, FHIR_JSON)


def _resource(body: bytes | None, type_: str) -> dict[str, Any]:
    """Read a resource. Raises ``Denied`` (400) if it is no JSON object, or another type than the address says."""
    try:
        resource = exact_json.loads(body or b"")
    except ValueError:
        raise Denied(400, "structure", "The body is not JSON.") from None
    if not isinstance(resource, dict) or resource.get("resourceType") != type_:
        raise Denied(400, "structure", f"The body is not a {type_}.")
    return resource


def _all_asks(asked: Interaction, request: Request, body: bytes | None) -> tuple[tuple[str, str], ...]:
    """Give the search parameters of query and form."""
    if request.method != "POST" or body is None:
        return asked.asks
    return asked.asks + interactions.read("GET", "Patient", body.decode("ascii", "replace")).asks


def _shown(asked: Interaction, answer: httpx.Response, rights: Rights) -> bytes | None:
    """Give the part of an answer that may be seen; None for all of it. Raises ``Denied`` (403) for none of it."""
    try:
        resource = exact_json.loads(answer.content)
    except ValueError:
        raise Denied(502, "structure", "The FHIR store behind sent no JSON.") from None
    if not isinstance(resource, dict) or resource.get("resourceType") == "OperationOutcome":
        return None
    if resource.get("resourceType") == "Bundle" and asked.type != "Bundle":
        return exact_json.dumps(resource) if bundles.hide(resource, rights) else None
    if asked.name == "read" and not rights.permit("r", resource):
        raise Denied(403, "forbidden", f"The token's scopes do not reach this {asked.type}.")
    if asked.writes and answer.status_code == 200 and asked.conditional and not rights.permit("rs", resource):
        return b""  # it was there already, and may not be read
    return None
