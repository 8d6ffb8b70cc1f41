"""What can be wrong with a token that somebody else's client sends to our API.

    SmartFault
    ├── TokenRejected        the caller's fault: not a token we accept            401 / login
    └── IssuerUnavailable    nobody can say now whether the token is good         503 / transient

No message holds a token, a part of one, or a value of a claim: ``where`` names the claim or header.
"""

from __future__ import annotations

from fhir_aftercare.smart.faults import SmartFault


class TokenRejected(SmartFault):
    """The access token is not accepted; ``where`` names what is wrong with it, such as ``exp`` or ``aud``."""

    code, status, issue = "token-rejected", 401, "login"
    default_remedy = "Ask the authorization server for a new access token for this API."


class IssuerUnavailable(SmartFault):
    """The authorization server could not be asked for its keys, or about the token. The token may be good."""

    code, status, issue = "issuer-unavailable", 503, "transient"
    default_remedy = "Repeat the call later; look at the authorization server if it stays."
