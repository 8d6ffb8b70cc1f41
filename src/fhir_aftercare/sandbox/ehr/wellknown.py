"""What the EHR publishes about itself: SMART configuration, OpenID configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.sandbox.ehr.client_gate import ALGORITHMS
from fhir_aftercare.sandbox.ehr.signing import ALG

if TYPE_CHECKING:
    from fhir_aftercare.sandbox.ehr.state import PretendEhr

_CAPABILITIES: Final = (
    "launch-ehr", "launch-standalone", "authorize-post", "client-public", "client-confidential-symmetric",
    "client-confidential-asymmetric", "sso-openid-connect", "context-banner", "context-style", "context-ehr-patient",
    "context-ehr-encounter", "context-standalone-patient", "context-standalone-encounter", "permission-offline",
    "permission-online", "permission-patient", "permission-user",
)  # fmt: skip
_AUTHENTICATION: Final = ("client_secret_basic", "private_key_jwt", "none")


def smart_configuration(ehr: PretendEhr) -> dict[str, Any]:
    """Give ``.well-known/smart-configuration`` (SMART App Launch 2.2)."""
    version = ehr.faults.scope_version
    permissions = [f"permission-{each}" for each in ("v1", "v2") if version in {"both", each}]
    return {
        **_shared(ehr),
        "capabilities": [*_CAPABILITIES, *permissions],
        "scopes_supported": sorted({scope for client in ehr.settings.clients for scope in client.scopes.split()}),
        "associated_endpoints": [{"url": ehr.settings.fhir_base, "capabilities": [*_CAPABILITIES, *permissions]}],
    }


def openid_configuration(ehr: PretendEhr) -> dict[str, Any]:
    """Give ``.well-known/openid-configuration`` (OpenID Connect Discovery)."""
    return {
        **_shared(ehr),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALG],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash", "fhirUser"],
        "scopes_supported": ["openid", "fhirUser"],
    }


def _shared(ehr: PretendEhr) -> dict[str, Any]:
    issuer = ehr.settings.issuer
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/jwks",
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": ehr.settings.token_url,
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(_AUTHENTICATION),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
    }
