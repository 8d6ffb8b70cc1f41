"""What others read about this service at fixed addresses: how our API is protected, and our public keys.

Open to all. The forms are those of RFC 9728 and RFC 7517, so they are not in the OpenAPI document. There is no
``smart-configuration``: it belongs under a FHIR base, and we serve none (integration §3, Well-known).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fhir_aftercare.api import scopes
from fhir_aftercare.api.faults import NoSuchRoute
from fhir_aftercare.api.security import RESOURCE_METADATA, Protection

JWKS: Final = "/.well-known/jwks.json"
# Shorter than the time that a next key is published before it signs.
CACHE_CONTROL: Final = "public, max-age=3600"

# Gives the JWK Set to publish, public members only.
PublicKeys = Callable[[], Mapping[str, Any]]


def add_well_known(app: FastAPI, keys: PublicKeys | None = None) -> None:
    """Add both addresses. ``keys`` is asked at each call; without it there are none and the address says 404."""

    async def resource(request: Request) -> Response:
        protection: Protection = request.app.state.protection
        if not protection.issuers:
            raise NoSuchRoute("This service asks for no access token.")
        metadata = {
            "resource": protection.resource,
            "authorization_servers": list(protection.issuers),
            "scopes_supported": [each.scope for each in scopes.PERMISSIONS],
            "bearer_methods_supported": ["header"],
            "resource_name": app.title,
        }
        return _json(metadata, "application/json")

    async def jwks(_: Request) -> Response:
        if keys is None:
            raise NoSuchRoute("This service has no keys.")
        return _json(keys(), "application/jwk-set+json")

    app.add_route(RESOURCE_METADATA, resource, include_in_schema=False)
    app.add_route(JWKS, jwks, include_in_schema=False)


def _json(content: Mapping[str, Any], media_type: str) -> Response:
    return Response(orjson.dumps(content), headers={"cache-control": CACHE_CONTROL}, media_type=media_type)
